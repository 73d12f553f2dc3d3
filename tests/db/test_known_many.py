"""What fits more than is counted is not counted again for a while; what can be counted always is."""

from datetime import timedelta
from typing import Any

import pytest

from app.db import known_many
from app.db import search as search_module
from app.db.deletion import delete
from app.db.engine import Database
from app.db.known_many import MOST, SECONDS, KnownMany
from app.db.search import search
from app.db.search_page import SearchPage
from app.dicom.attributes import standard_path
from app.dicom.instance import InstanceRecord
from app.dicom.matching import AttributeMatch, Level, Rule, SearchQuery
from app.dicom.references import StudyRef
from tests.support.archive import instance, store, study_of_doe
from tests.support.databases import StatementCounter
from tests.support.matching_cases import between, is_value, like

_STUDIES = 30
_KEYS: dict[str, dict[str, Rule]] = {
    "all": {},
    "modality": {"ModalitiesInStudy": is_value("MR")},
    "date": {"StudyDate": between("20240101", None)},
    "beginning": {"PatientID": like("P*")},
    "part": {"PatientID": like("*P*")},
    "name": {"PatientName": like("doe*")},
    "word": {"PatientName": is_value("john")},
}


async def _fill(db: Database) -> None:
    await store(db, [_study(number) for number in range(_STUDIES)])


def _study(number: int) -> InstanceRecord:
    return study_of_doe(number, Modality="MR")


def _query(keys: dict[str, Rule], level: Level = Level.STUDY, **options: Any) -> SearchQuery:
    matches = tuple(AttributeMatch(standard_path(name), rule) for name, rule in keys.items())
    return SearchQuery(level, matches=matches, fuzzy=keys is _KEYS["word"], **options)


def _uids(page: SearchPage) -> list[str]:
    return [result.dataset["0020000D"]["Value"][0] for result in page.results]


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
@pytest.mark.parametrize("keys", _KEYS.values(), ids=_KEYS)
async def test_what_is_known_to_be_many_is_not_counted_again(
    db: Database, statement_counter: StatementCounter, keys: dict[str, Rule], level: Level
) -> None:
    await _fill(db)
    everything = _uids(await search(db, _query(keys, level)))
    assert len(everything) == _STUDIES
    counted = await search(db, _query(keys, level, limit=5), count_cap=10)
    assert (counted.remaining, counted.remaining_is_exact, counted.total_known) == (10, False, None)
    with statement_counter.counting(1):
        again = await search(db, _query(keys, level, limit=5), count_cap=10)
    assert again == counted
    with statement_counter.counting(1):
        behind = await search(db, _query(keys, level, limit=5, offset=3), count_cap=10)
    assert _uids(behind) == everything[3:8]
    assert (behind.remaining, behind.remaining_is_exact) == (7, False)  # 15 were met, 8 of them are not behind the page
    far = await search(db, _query(keys, level, limit=5, offset=9), count_cap=10)
    assert _uids(far) == everything[9:14]
    assert (far.remaining, far.remaining_is_exact) == (10, False)  # too little was known: counted anew
    last = await search(db, _query(keys, level, limit=5, offset=20), count_cap=10)
    assert last.remaining == 5


@pytest.mark.parametrize("keys", _KEYS.values(), ids=_KEYS)
async def test_what_can_be_counted_is_counted_each_time(db: Database, keys: dict[str, Rule]) -> None:
    await _fill(db)
    for stored in range(3):
        page = await search(db, _query(keys, limit=5))
        assert (page.remaining, page.remaining_is_exact) == (_STUDIES - 5 + stored, True)
        await store(db, [_study(_STUDIES + stored)])


async def test_other_searches_are_not_concerned(db: Database) -> None:
    await _fill(db)
    await search(db, _query({}, limit=5), count_cap=10)
    for keys in ({"PatientID": is_value("P7")}, {"StudyDate": is_value("20240102")}, {"PatientID": like("P1*")}):
        page = await search(db, _query(keys, limit=1), count_cap=20)
        assert page.remaining_is_exact
    page = await search(db, _query({}, Level.INSTANCE, limit=25), count_cap=10)
    assert (page.remaining, page.remaining_is_exact) == (5, True)


async def test_deleting_makes_everything_be_counted_again(db: Database) -> None:
    await _fill(db)
    assert not (await search(db, _query({}, limit=5), count_cap=20)).remaining_is_exact
    for number in range(10):
        await delete(db, StudyRef(f"1.{number}"), retention=timedelta(days=1))
    page = await search(db, _query({}, limit=5), count_cap=20)
    assert (page.remaining, page.remaining_is_exact) == (15, True)


async def test_what_another_process_deleted_is_seen_where_the_page_ends(db: Database) -> None:
    await _fill(db)
    await search(db, _query({}, limit=5), count_cap=20)
    known = dict(db.known_many._known)
    for number in range(27):
        await delete(db, StudyRef(f"1.{number}"), retention=timedelta(days=1))
    db.known_many._known.update(known)
    page = await search(db, _query({}, limit=5), count_cap=20)
    assert (len(page.results), page.remaining, page.remaining_is_exact) == (3, 0, True)


@pytest.mark.parametrize("keys", [_KEYS["all"], _KEYS["modality"], _KEYS["date"]])
async def test_in_an_archive_of_many_studies_less_is_counted(
    db: Database, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Rule]
) -> None:
    monkeypatch.setattr(known_many, "FEW_STUDIES", _STUDIES - 2)
    monkeypatch.setattr(search_module, "_COUNT_CAP_OF_MANY", 10)
    await _fill(db)
    await search(db, _query({}))  # which meets the newest studies
    db.known_many.forget()
    page = await search(db, _query(keys, limit=5))
    assert (page.remaining, page.remaining_is_exact, page.total_known) == (10, False, None)
    page = await search(db, _query(keys, limit=5, offset=20))
    assert (page.remaining, page.remaining_is_exact, page.total_known) == (5, True, _STUDIES)


async def test_what_is_in_one_study_is_counted_in_any_archive(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_many, "FEW_STUDIES", 0)
    monkeypatch.setattr(search_module, "_COUNT_CAP_OF_MANY", 10)
    await store(db, [instance("1", "1.1", f"1.1.{number}") for number in range(_STUDIES)])
    for _ in range(2):
        page = await search(db, SearchQuery(Level.INSTANCE, study_instance_uid="1", limit=5))
        assert (page.remaining, page.remaining_is_exact) == (_STUDIES - 5, True)


def test_it_is_remembered_for_a_while() -> None:
    now = 100.0
    known = KnownMany(lambda: now)
    key, other = (Level.STUDY, "a = ?", ("x",)), (Level.STUDY, "a = ?", ("y",))
    known.note(key, 10_050)
    assert (known.number(key), known.number(other)) == (10_050, 0)
    assert known.number((Level.SERIES, "a = ?", ("x",))) == 0
    now += SECONDS - 0.01
    assert known.number(key) == 10_050
    now += 0.02
    assert known.number(key) == 0
    known.note(key, 11_000)
    known.forget()
    assert known.number(key) == 0


def test_few_and_short_searches_are_remembered() -> None:
    known = KnownMany()
    for number in range(MOST + 5):
        known.note((Level.STUDY, "a = ?", (number,)), 10_001)
    found = [known.number((Level.STUDY, "a = ?", (number,))) for number in range(MOST + 5)]
    assert found == [0] * 5 + [10_001] * MOST
    long = (Level.STUDY, "a = ANY(?)", (("1.2.3.4.5.6.7.8.9",) * 1000,))
    known.note(long, 10_001)
    assert known.number(long) == 0
