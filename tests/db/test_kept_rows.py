"""Rows of searches that are asked for again: kept while nothing has changed, and not a moment longer."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.db import kept_rows
from app.db.deletion import delete
from app.db.engine import Database, close_database, open_database
from app.db.kept_rows import MOST, MOST_ASKED, MOST_BYTES, PAUSE, SECONDS, KeptRows
from app.db.postgresql import STATE
from app.db.search import search
from app.dicom.attributes import standard_path
from app.dicom.instance import InstanceRecord
from app.dicom.matching import AttributeMatch, Level, Rule, SearchQuery
from app.dicom.references import StudyRef
from tests.support.archive import store, study_of_doe
from tests.support.databases import StatementCounter
from tests.support.matching_cases import between, is_value, like

_STATEMENT = ("SELECT ?", (1,))
_KEYS: list[tuple[Level, dict[str, Rule], dict[str, Any]]] = [
    (Level.STUDY, {}, {}),
    (Level.STUDY, {}, {"offset": 7}),
    (Level.STUDY, {"StudyInstanceUID": is_value("1.3")}, {}),
    (Level.STUDY, {"PatientID": is_value("P3")}, {}),
    (Level.STUDY, {"PatientID": is_value("nobody")}, {}),
    (Level.STUDY, {"ModalitiesInStudy": is_value("MR"), "StudyDate": between("20240102", None)}, {}),
    (Level.STUDY, {"PatientName": like("doe*")}, {}),
    (Level.STUDY, {"PatientName": like("*oe*")}, {}),
    (Level.STUDY, {"PatientName": is_value("john doe")}, {"fuzzy": True}),
    (Level.STUDY, {"PatientComments": is_value("even")}, {}),
    (Level.SERIES, {}, {"study_instance_uid": "1.3"}),
    (Level.INSTANCE, {}, {"study_instance_uid": "1.3", "series_instance_uid": "1.3.1"}),
]


def _study(number: int) -> InstanceRecord:
    comments = "even" if number % 2 == 0 else "odd"
    return study_of_doe(number, PatientComments=comments, Modality="MR" if number % 3 else "CT")


def _query(keys: dict[str, Rule], level: Level = Level.STUDY, **options: Any) -> SearchQuery:
    matches = tuple(AttributeMatch(standard_path(name), rule) for name, rule in keys.items())
    return SearchQuery(level, matches=matches, **{"limit": 5, **options})


def _looked_up(statements: list[str]) -> list[str]:
    """Without those that only ask whether anything has changed."""
    return [one for one in statements if one not in (STATE, "PRAGMA data_version")]


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """The same database as another process sees it."""
    opened = await open_database(database_url)
    yield opened
    await close_database(opened)


@pytest.mark.parametrize(("level", "keys", "options"), _KEYS, ids=str)
async def test_what_is_asked_again_is_not_looked_up_again(
    db: Database,
    statement_counter: StatementCounter,
    monkeypatch: pytest.MonkeyPatch,
    level: Level,
    keys: dict[str, Rule],
    options: dict[str, Any],
) -> None:
    monkeypatch.setattr(kept_rows, "PAUSE", 0.0)
    await store(db, [_study(number) for number in range(20)])
    query = _query(keys, level, **options)
    first = await search(db, query)
    assert bool(first.results) is ("nobody" not in str(keys))
    looked_up = []
    for _ in range(30):  # on PostgreSQL whatever changes in other databases of the server counts as a change
        before = len(statement_counter.statements)
        assert await search(db, query) == first
        looked_up.append(_looked_up(statement_counter.statements[before:]))
    fewest = min(looked_up, key=len)
    if db.dialect == "postgresql" and "PatientComments" in keys:
        assert all("ANY(" in one for one in fewest)  # by lists, which are not remembered
    elif db.dialect == "postgresql" and not first.results:
        assert len(fewest) == 1  # nothing that was found says of which state it is
    else:
        assert not fewest


async def test_it_goes_on_for_as_long_as_nothing_changes(
    db: Database, statement_counter: StatementCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_rows, "PAUSE", 0.0)
    clock = Clock()
    monkeypatch.setattr(db.kept_rows, "_clock", clock)
    await store(db, [_study(1)])
    query, counts = _query({}), []
    for _ in range(5):  # see above
        before = len(statement_counter.statements)
        for _ in range(12):
            await search(db, query)
            clock.time += SECONDS / 3
        counts.append(len(_looked_up(statement_counter.statements[before:])))
    assert min(counts) <= 5


@pytest.mark.parametrize("pause", [0.0, PAUSE])
async def test_changes_are_seen_at_once(
    db: Database, other: Database, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(kept_rows, "PAUSE", pause)
    queries = [_query({}, limit=100), _query({"PatientName": like("doe*")}, limit=100)]
    for number in range(12):
        await store(other if number % 2 else db, [_study(number)])
        for _ in range(1 + number % 4):
            for query in queries:
                page = await search(db, query)
                assert (len(page.results), page.total_known) == (number + 1, number + 1)
    for number in range(12):
        await delete(other, StudyRef(f"1.{number}"), retention=timedelta(days=1))
        for _ in range(3):
            for query in queries:
                assert len((await search(db, query)).results) == 11 - number


async def test_what_others_have_begun_is_seen_when_it_is_committed(
    db: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_rows, "PAUSE", 0.0)
    await store(db, [_study(1)])
    query = _query({})
    pages = [await search(db, query) for _ in range(3)]
    async with other.engine.begin() as connection:
        await connection.execute(text("UPDATE series SET number_of_instances = 77"))
        assert await search(db, query) == pages[0]
        assert await search(db, query) == pages[0]
    assert (await search(db, query)).results[0].dataset["00201208"]["Value"] == [77]


async def test_nothing_is_asked_for_a_moment_behind_a_change(
    db: Database, other: Database, monkeypatch: pytest.MonkeyPatch, statement_counter: StatementCounter
) -> None:
    monkeypatch.setattr(kept_rows, "PAUSE", 3600.0)
    await store(db, [_study(number) for number in range(3)])
    query = _query({})
    for _ in range(3):
        await search(db, query)
    await store(other, [_study(3)])
    assert len((await search(db, query)).results) == 4
    statement_counter.statements.clear()
    for _ in range(3):
        await search(db, query)
    assert STATE not in statement_counter.statements
    assert len(statement_counter.statements) == 3


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


def test_only_what_is_soon_asked_again_is_worth_it() -> None:
    clock = Clock()
    kept = KeptRows(clock)
    assert not kept.is_asked_again(_STATEMENT)
    clock.time = SECONDS - 1
    assert kept.is_asked_again(_STATEMENT)
    clock.time = 2 * SECONDS
    assert not kept.is_asked_again(_STATEMENT)
    assert kept.is_asked_again(_STATEMENT)
    for number in range(MOST_ASKED):
        assert not kept.is_asked_again(("SELECT ?", (-number,)))
    assert not kept.is_asked_again(_STATEMENT)
    for unusual in [("SELECT ?", ([1],)), ("SELECT ?", ("x" * 5000,))]:
        assert not any(kept.is_asked_again(unusual) for _ in range(3))


def test_rows_are_those_of_a_state() -> None:
    clock, other = Clock(), ("SELECT 2", ())
    kept = KeptRows(clock)
    assert kept.rows(_STATEMENT, "a") is None
    kept.keep(_STATEMENT, "a", [(1,)])
    kept.keep(other, "a", [(2,)])
    assert kept.holds(_STATEMENT)
    assert kept.rows(_STATEMENT, "a") == [(1,)]
    kept.is_asked_again(_STATEMENT)
    assert kept.rows(_STATEMENT, "b") is None
    assert not kept.holds(_STATEMENT)
    assert not kept.holds(other)
    assert not kept.is_asked_again(_STATEMENT)
    clock.time += PAUSE
    assert kept.is_asked_again(_STATEMENT)
    kept.keep(_STATEMENT, "b", [(2,)])
    assert kept.rows(other, "b") is None
    assert kept.is_asked_again(_STATEMENT)  # what is not kept is no change
    assert kept.rows(_STATEMENT, "b") == [(2,)]
    kept.keep(other, "c", [(3,)])
    assert kept.rows(_STATEMENT, "c") is None
    clock.time += SECONDS + 1
    assert kept.rows(other, "c") is None


def test_little_is_kept() -> None:
    kept = KeptRows()
    kept.keep(_STATEMENT, "a", [("x" * MOST_BYTES,)])
    assert kept.holds(_STATEMENT)
    kept.keep(("large", ()), "a", [("x" * MOST_BYTES, b"y")])
    assert not kept.holds(("large", ()))
    for number in range(MOST):
        kept.keep(("SELECT ?", (-number,)), "a", [])
    assert not kept.holds(_STATEMENT)
    assert sum(kept.holds(("SELECT ?", (-number,))) for number in range(MOST)) == MOST
