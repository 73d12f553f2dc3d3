"""Keys that may fit few studies or very many: all ways to the page find the same, in the same order, and say what they know."""

import itertools
from typing import Any

import pytest

from app.db import known_many, wide_search
from app.db import search as search_module
from app.db.engine import Database
from app.db.matching_sql import matching_of, several_of
from app.db.search import search
from app.db.search_page import SearchPage
from app.db.wide_keys import WideKey
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, Rule, SearchQuery
from tests.support.archive import instance, store
from tests.support.databases import StatementCounter
from tests.support.matching_cases import any_of, between, empty, is_value, like

_NAMES = (
    "Meyer^Hans",
    "Meier^Anna=山田^太郎",
    "Maier^Hans Meyer",
    "=Meyer",
    "Doe^Meyer",
    "Mey",
    "Müller^Jörg=mey^x=mey^y",
    "",
)
_KEYS: list[tuple[dict[str, Rule], bool]] = [
    ({"PatientName": like("mey*")}, False),
    ({"PatientName": like("*ey*")}, False),
    ({"PatientName": like("m?ier^*")}, False),
    ({"PatientName": like("mey*")}, True),
    ({"PatientName": is_value("meyer")}, True),
    ({"PatientName": is_value("hans meyer")}, True),
    ({"PatientName": like("*yer")}, True),
    ({"PatientName": like("mey*"), "StudyDate": between("20240102", None)}, False),
    ({"PatientName": is_value("meyer"), "StudyDate": is_value("20240103")}, True),
    ({"PatientID": like("P1*")}, False),
    ({"PatientID": like("*2"), "StudyDate": between("20240101", "20240103")}, False),
    ({"AccessionNumber": like("?1*")}, False),
    ({"StudyDescription": like("He*")}, False),
    ({"StudyDescription": like("*a*"), "StudyDate": between(None, "20240103")}, False),
    ({"OtherPatientIDs": like("x*")}, False),
    ({"PatientName": like("nobody*")}, True),
]


async def _fill(db: Database) -> None:
    await store(
        db,
        [
            instance(
                f"1.{number}",
                f"1.{number}.1",
                f"1.{number}.1.1",
                StudyDate=f"2024010{number % 5 + 1}",
                PatientName=_NAMES[number % len(_NAMES)],
                PatientID=f"P{number}",
                AccessionNumber=f"A{number}",
                StudyDescription=("Head", "Heart", "Abdomen")[number % 3],
                PatientSex="F" if number % 4 < 2 else "M",
                OtherPatientIDs=[f"x{number}", f"xx{number}", "y"],
                Modality="CT" if number % 4 else "MR",
                SeriesDescription="axial" if number % 3 else "coronal",
            )
            for number in range(40)
        ],
    )


def _query(keys: dict[str, Rule], level: Level = Level.STUDY, **options: Any) -> SearchQuery:
    return SearchQuery(
        level, matches=tuple(AttributeMatch(standard_path(name), rule) for name, rule in keys.items()), **options
    )


def _walk(monkeypatch: pytest.MonkeyPatch, newest: int) -> None:
    """So many of the newest studies are worth a look."""
    monkeypatch.setattr(WideKey, "worth_walking", lambda _key, _studies, _wanted: newest)


def _uids(page: SearchPage) -> list[str]:
    return [result.dataset["0020000D"]["Value"][0] for result in page.results]


@pytest.mark.parametrize(("keys", "fuzzy"), _KEYS, ids=str)
async def test_all_ways_find_the_same(
    db: Database, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Rule], fuzzy: bool
) -> None:
    await _fill(db)
    along_index = await search(db, _query(keys, fuzzy=fuzzy))
    everything = _uids(along_index)
    assert along_index.total_known == len(everything) == len(set(everything))
    monkeypatch.setattr(search_module, "_MAX_WIDE", -1)
    assert _uids(await search(db, _query(keys, fuzzy=fuzzy))) == everything
    monkeypatch.setattr(search_module, "_MAX_WIDE", 50_000)
    monkeypatch.setattr(search_module, "_WIDE_COUNT_CAP", 0)
    monkeypatch.setattr(search_module, "_COUNT_CAP_OF_MANY", 0)
    windows = (
        (1, 0),
        (2, 0),
        (3, 2),
        (2, len(everything) - 1),
        (2, len(everything)),
        (0, 0),
        (0, 1),
        (50, 1),
    )
    for newest, (limit, offset) in itertools.product((0, 7, 39, 40, 41), windows):
        _walk(monkeypatch, newest)
        monkeypatch.setattr(known_many, "FEW_STUDIES", 0)
        db.known_many.forget()
        page = await search(db, _query(keys, fuzzy=fuzzy, limit=limit, offset=max(0, offset)))
        behind = everything[max(0, offset) :]
        assert _uids(page) == behind[:limit], (newest, limit, offset)
        assert page.remaining <= len(behind[limit:])
        if page.remaining_is_exact:
            assert page.remaining == len(behind[limit:]), (limit, offset)
            assert page.total_known in (len(everything), None)
        else:
            assert page.total_known is None


@pytest.mark.parametrize("newest", [0, 10, 40])
@pytest.mark.parametrize(
    "keys", [{"PatientID": like("P*")}, {"PatientName": like("*e*")}, {"OtherPatientIDs": like("x*")}], ids=str
)
async def test_pages_of_what_is_known_to_fit_many(
    db: Database, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Rule], newest: int
) -> None:
    await _fill(db)
    everything = _uids(await search(db, _query(keys)))
    _walk(monkeypatch, newest)
    assert not (await search(db, _query(keys, limit=2), count_cap=10)).remaining_is_exact
    for offset in (0, 2, 4):
        page = await search(db, _query(keys, limit=2, offset=offset), count_cap=5)
        assert (_uids(page), page.remaining) == (everything[offset : offset + 2], 5)


_SEVERAL: list[tuple[dict[str, Rule], bool]] = [
    ({"PatientName": like("mey*"), "ModalitiesInStudy": is_value("CT")}, False),
    ({"PatientName": like("*ey*"), "ModalitiesInStudy": any_of("CT", "MR"), "PatientSex": is_value("F")}, False),
    ({"PatientName": is_value("meyer"), "PatientSex": is_value("M")}, False),
    ({"PatientName": is_value("hans meyer"), "StudyDate": between("20240102", None)}, True),
    ({"PatientName": like("m*"), "PatientID": like("P1*"), "StudyDate": between("20240102", "20240104")}, False),
    ({"PatientID": like("P1*"), "StudyDate": is_value("20240103")}, False),
    ({"StudyDescription": like("He*"), "PatientSex": is_value("F"), "ModalitiesInStudy": like("M*")}, False),
    ({"StudyDescription": any_of("Head", "Heart"), "OtherPatientIDs": like("x*")}, False),
    ({"OtherPatientIDs": is_value("y"), "AccessionNumber": like("*1*"), "StudyDate": between(None, "20240103")}, False),
    ({"PatientSex": is_value("F"), "ModalitiesInStudy": is_value("XA")}, False),
]


@pytest.mark.parametrize(("keys", "fuzzy"), _SEVERAL, ids=str)
async def test_several_keys(db: Database, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Rule], fuzzy: bool) -> None:
    """What is found among few studies, by one statement for all keys, is found in every way that there is among many."""
    await _fill(db)
    everything = _uids(await search(db, _query(keys, fuzzy=fuzzy)))
    assert 0 < len(everything) < 40 or "XA" in str(keys)
    monkeypatch.setattr(known_many, "FEW_STUDIES", 0)
    assert db.known_many.are_many_studies or not everything
    db.known_many.meet_study(1)
    windows = ((1, 0), (3, 2), (2, max(0, len(everything) - 1)), (2, len(everything)), (0, 0), (50, 1))
    for soon, newest, (limit, offset) in itertools.product((0, 50, 10_000), (0, 2, 100), windows):
        monkeypatch.setattr(wide_search, "_SOON", soon)
        _walk(monkeypatch, newest)
        page = await search(db, _query(keys, fuzzy=fuzzy, limit=limit, offset=offset))
        behind = everything[offset:]
        assert _uids(page) == behind[:limit], (soon, newest, limit, offset)
        if page.remaining_is_exact:
            assert page.remaining == len(behind[limit:]), (soon, newest, limit, offset)
            assert page.total_known in (len(everything), None)
        else:
            assert 0 < page.remaining <= len(behind[limit:]), (soon, newest, limit, offset)
            assert page.total_known is None


@pytest.mark.parametrize(
    ("keys", "few", "below"),
    [
        ({"PatientName": like("mey*")}, False, True),
        ({"PatientName": like("mey*"), "StudyDate": between("20240102", None)}, True, True),
        ({"PatientName": is_value("meyer"), "StudyDate": between("20240102", None)}, False, True),
        ({"PatientName": like("mey*"), "PatientID": is_value("P1")}, False, False),
        ({"PatientName": like("mey*"), "StudyTime": between("10", None)}, False, False),
        ({"PatientName": like("mey*"), "PatientComments": is_value("x")}, False, False),
        ({"PatientSex": is_value("F"), "StudyDescription": empty()}, False, False),
        ({"PatientSex": is_value("F"), "StudyDescription": is_value("Head")}, True, True),
        ({"ModalitiesInStudy": is_value("CT"), "StudyDate": between("20240102", None)}, False, True),
        ({"Modality": is_value("CT"), "PatientSex": is_value("F")}, False, True),
        ({"SeriesDescription": is_value("axial"), "PatientSex": is_value("F")}, False, False),
    ],
    ids=str,
)
async def test_which_keys_are_several(db: Database, keys: dict[str, Rule], few: bool, below: bool) -> None:
    assert (several_of(_query(keys), db.dialect) is not None) == few
    for level in (Level.SERIES, Level.INSTANCE):
        assert (several_of(_query(keys, level), db.dialect) is not None) == below
        assert several_of(_query(keys, level, study_instance_uid="1"), db.dialect) is None
    assert several_of(_query(keys, timezone="+0100"), db.dialect) is None


async def test_more_is_walked_where_there_is_more_and_where_it_is_cheap(db: Database) -> None:
    by_index, other, fuzzy = (
        matching_of(_query(keys, fuzzy=is_fuzzy), db.dialect).wide
        for keys, is_fuzzy in (
            ({"PatientName": like("m*")}, False),
            ({"ReferringPhysicianName": like("m*")}, False),
            ({"PatientName": like("m*")}, True),
        )
    )
    assert by_index is not None
    assert other is not None
    assert fuzzy is not None
    assert by_index.worth_walking(10**6, 100) == 10_000
    assert other.worth_walking(10**6, 100) == fuzzy.worth_walking(10**6, 100) == 2_000
    assert by_index.worth_walking(100, 5000) == by_index.worth_walking(0, 5000) == 5000


async def test_what_lies_behind_is_counted_up_to_the_cap(db: Database, statement_counter: StatementCounter) -> None:
    await _fill(db)
    keys = {"PatientID": like("P*")}
    first_two = _uids(await search(db, _query({}, limit=2)))
    walked = 2 if db.dialect == "sqlite" else 1  # on PostgreSQL one statement counts and walks
    for cap, statements, remaining, is_exact in ((38, 1, 38, True), (37, walked, 37, False), (5, walked, 5, False)):
        db.known_many.forget()
        with statement_counter.counting(statements):
            page = await search(db, _query(keys, limit=2), count_cap=cap)
        assert (page.remaining, page.remaining_is_exact) == (remaining, is_exact)
        assert _uids(page) == first_two
    with statement_counter.counting(1):
        assert (await search(db, _query({"PatientName": like("mey*")}))).total_known == 20
    with statement_counter.counting(1):
        assert (await search(db, _query({"PatientName": like("mey*")}, limit=0))).remaining == 20


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        (Level.STUDY, {"PatientSex": is_value("F"), "ModalitiesInStudy": is_value("MR")}),
        (Level.STUDY, {"PatientSex": is_value("F"), "StudyDescription": is_value("Head")}),
        (Level.SERIES, {"PatientSex": is_value("M")}),
        (Level.SERIES, {"SeriesDescription": is_value("axial"), "PatientSex": is_value("M")}),
        (Level.INSTANCE, {"SeriesDescription": is_value("axial")}),
    ],
    ids=str,
)
async def test_long_lists_are_looked_up_one_by_one(
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
    statement_counter: StatementCounter,
    level: Level,
    keys: dict[str, Rule],
) -> None:
    await _fill(db)
    listed = await search(db, _query(keys, level))
    monkeypatch.setattr(search_module, "_LONG_LIST", 1)
    with statement_counter.counting(2):
        looked_up = await search(db, _query(keys, level))
    assert 0 < len(listed.results) < 40
    assert looked_up == listed
    assert "EXISTS" in statement_counter.statements[-1]


@pytest.mark.parametrize("dates", [{}, {"StudyDate": between("20240101", "20240105")}], ids=["all", "dates"])
async def test_long_lists_are_not_sorted_where_the_newest_studies_do(
    db: Database, monkeypatch: pytest.MonkeyPatch, statement_counter: StatementCounter, dates: dict[str, Rule]
) -> None:
    """How many the keys fit, and the page; a third statement only where the newest studies did not fill it."""
    await _fill(db)
    monkeypatch.setattr(known_many, "FEW_STUDIES", 0)
    monkeypatch.setattr(wide_search, "_SOON", 5)
    db.known_many.meet_study(1)
    keys = {"PatientSex": is_value("F"), "ModalitiesInStudy": is_value("CT"), **dates}
    for newest, statements in ((40, 2), (2, 3)):
        _walk(monkeypatch, newest // 2)
        monkeypatch.setattr(wide_search, "_BREADTH", 2)
        with statement_counter.counting(statements):
            assert len((await search(db, _query(keys, limit=3))).results) == 3
