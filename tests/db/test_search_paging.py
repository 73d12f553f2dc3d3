from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

import app.db.search as module
from app.db.candidate_filter import filter_candidates
from app.db.deletion import delete
from app.db.engine import Database
from app.db.search import search
from app.db.search_page import SearchPage
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, SearchQuery, SingleValue, Wildcard
from app.dicom.references import StudyRef
from tests.support.archive import instance, store

_UID = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}


async def _fill(db: Database, number: int) -> None:
    await store(
        db,
        [
            instance(
                f"1.{study}",
                f"1.{study}.{series}",
                f"1.{study}.{series}.1",
                StudyDate=f"202401{study % 3 + 1:02}",
                PatientID=f"P{study % 2}",
                PatientComments="even" if study % 2 == 0 else "odd",
                Modality="CT" if series else "MR",
                SeriesNumber=series,
            )
            for study in range(number)
            for series in range(2)
        ],
    )


def _uids(page: SearchPage, level: Level) -> list[str]:
    return [result.dataset[_UID[level]]["Value"][0] for result in page.results]


def _keys(**keys: Any) -> tuple[AttributeMatch, ...]:
    return tuple(AttributeMatch(standard_path(keyword), rule) for keyword, rule in keys.items())


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"PatientID": SingleValue("P1")},
        {"ModalitiesInStudy": SingleValue("CT")},
        {"PatientComments": SingleValue("even")},
        {"PatientID": Wildcard("*0")},
    ],
    ids=str,
)
async def test_pages_lose_and_repeat_nothing(db: Database, level: Level, keys: dict[str, Any]) -> None:
    await _fill(db, 11)
    matches = _keys(**keys)
    everything = _uids(await search(db, SearchQuery(level, matches=matches)), level)
    assert len(everything) == len(set(everything)) > 4
    paged: list[str] = []
    while True:
        page = await search(db, SearchQuery(level, matches=matches, limit=3, offset=len(paged)))
        paged += _uids(page, level)
        assert page.remaining == len(everything) - len(paged)
        assert page.remaining_is_exact
        assert page.total_known == len(everything)
        assert not page.candidates_capped
        if not page.remaining:
            break
    assert paged == everything


async def test_order_of_studies_series_and_instances(db: Database) -> None:
    await store(db, [instance("1.1", "1.1.1", "1.1.1.1", StudyDate="20240101")])
    await store(db, [instance("1.2", "1.2.1", "1.2.1.1", StudyDate="20240101")])
    await store(db, [instance("1.3", "1.3.1", "1.3.1.1", StudyDate="20240201")])
    await store(db, [instance("1.4", "1.4.1", "1.4.1.1")])
    await store(db, [instance("1.5", "1.5.1", "1.5.1.1", StudyDate="not a date")])
    page = await search(db, SearchQuery(Level.STUDY))
    assert _uids(page, Level.STUDY) == ["1.3", "1.2", "1.1", "1.5", "1.4"]
    for series, number in (("9.1", 10), ("9.2", 2), ("9.3", None), ("9.4", 2)):
        await store(db, [instance("9", series, f"{series}.1", SeriesNumber=number)])
    page = await search(db, SearchQuery(Level.SERIES, study_instance_uid="9"))
    assert _uids(page, Level.SERIES) == ["9.2", "9.4", "9.1", "9.3"]
    for one, number in (("9.1.2", 10), ("9.1.3", 2), ("9.1.4", None)):
        await store(db, [instance("9", "9.1", one, SeriesNumber=10, InstanceNumber=number)])
    page = await search(db, SearchQuery(Level.INSTANCE, study_instance_uid="9", series_instance_uid="9.1"))
    assert _uids(page, Level.INSTANCE) == ["9.1.3", "9.1.2", "9.1.1", "9.1.4"]


@pytest.mark.parametrize("keys", [{}, {"PatientComments": Wildcard("*e*n*")}], ids=["indexed", "filtered"])
async def test_limits(db: Database, keys: dict[str, Any]) -> None:
    await _fill(db, 10)
    total = 5 if keys else 10
    matches = _keys(**keys)
    for limit, offset, maximum, expected in [
        (None, 0, 1000, total),
        (None, 0, 3, 3),
        (2, 0, 3, 2),
        (7, 0, 3, 3),
        (0, 0, 3, 0),
        (0, 2, 3, 0),
        (3, total - 1, 1000, 1),
        (3, total, 1000, 0),
        (3, 2**70, 1000, 0),
        (2**70, 1, 1000, total - 1),
    ]:
        query = SearchQuery(Level.STUDY, matches=matches, limit=limit, offset=offset)
        page = await search(db, query, max_results=maximum)
        assert len(page.results) == expected, (limit, offset)
        assert page.remaining == max(0, total - offset - expected), (limit, offset)
        assert page.remaining_is_exact
        assert page.total_known in (total, None)
        assert (page.total_known is None) <= (offset >= total)


async def test_the_count_stops_at_its_cap(db: Database) -> None:
    await _fill(db, 12)
    page = await search(db, SearchQuery(Level.STUDY, limit=2), count_cap=4)
    assert (len(page.results), page.remaining, page.remaining_is_exact, page.total_known) == (2, 4, False, None)
    page = await search(db, SearchQuery(Level.STUDY, limit=8), count_cap=4)
    assert (page.remaining, page.remaining_is_exact, page.total_known) == (4, True, 12)


async def test_the_filter_stops_at_its_cap_and_says_so(db: Database) -> None:
    await _fill(db, 12)
    matches = _keys(PatientComments=SingleValue("odd"))
    capped = await search(db, SearchQuery(Level.STUDY, matches=matches), candidate_cap=5)
    assert capped.candidates_capped
    assert not capped.remaining_is_exact
    assert capped.total_known is None
    assert 0 < len(capped.results) < 6
    just = await search(db, SearchQuery(Level.STUDY, matches=matches), candidate_cap=12)
    assert (just.candidates_capped, just.total_known) == (False, 6)
    helped = await search(
        db, SearchQuery(Level.STUDY, matches=(*matches, *_keys(PatientID=SingleValue("P1")))), candidate_cap=6
    )
    assert (helped.candidates_capped, helped.total_known) == (False, 6)


async def test_an_empty_archive(db: Database) -> None:
    for level in Level:
        for keys in ({}, {"PatientComments": SingleValue("x")}):
            page = await search(db, SearchQuery(level, matches=_keys(**keys)))
            assert page == SearchPage([], 0, 0, True, False)


async def test_many_pages_of_candidates(db: Database) -> None:
    await _fill(db, 450)  # more than one batch
    page = await search(db, SearchQuery(Level.SERIES, matches=_keys(PatientComments=SingleValue("even")), limit=7))
    assert page.total_known == 450
    assert page.remaining == 443


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("when", ["before", "behind"])
async def test_ids_that_others_have_been_given_meanwhile(
    db: Database, monkeypatch: pytest.MonkeyPatch, level: Level, when: str
) -> None:
    """What is deleted between the steps of a search is left out, and nothing comes in its place, of another study say."""
    own = {"PatientComments": "even", "PatientID": "P1"}
    await store(db, [instance("1.2", "1.2.1", "1.2.1.1", **own)])
    candidates: Sequence[Any] = []

    async def filtered(db: Database, query: SearchQuery, found: Sequence[Any], keys: Sequence[AttributeMatch]) -> Any:
        nonlocal candidates
        candidates = found
        result = await filter_candidates(db, query, found, keys) if when == "behind" else []
        await delete(db, StudyRef("1.2"), retention=timedelta(days=1))
        await store(db, [instance("1.9", "1.9.1", "1.9.1.1", **(own | {"PatientID": "P2"}))])
        return result if when == "behind" else await filter_candidates(db, query, found, keys)

    monkeypatch.setattr(module, "filter_candidates", filtered)
    keys = _keys(PatientComments=SingleValue("even"), PatientID=SingleValue("P1"))
    page = await search(db, SearchQuery(level, matches=keys))
    assert len(candidates) == 1
    assert page.results == []


async def test_a_search_is_one_statement_and_on_sqlite_a_count_only_if_there_is_more(
    db: Database, statement_counter: Any
) -> None:
    await _fill(db, 5)
    with_count = 2 if db.dialect == "sqlite" else 1
    for level in Level:
        with statement_counter.counting(1):
            everything = (await search(db, SearchQuery(level))).results
        with statement_counter.counting(with_count):
            await search(db, SearchQuery(level, limit=2))
        with statement_counter.counting(with_count):
            page = await search(db, SearchQuery(level, limit=2, offset=1))
        assert (page.results, page.remaining) == (everything[1:3], len(everything) - 3)
    with statement_counter.counting(1):
        await search(db, SearchQuery(Level.STUDY, limit=0))
