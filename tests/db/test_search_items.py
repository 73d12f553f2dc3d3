"""Of a sequence that a key leads into, results hold the items that match (PS3.4 C.2.2.2.6)."""

from typing import Any

import pytest

from app.db.engine import Database
from app.db.search import search
from app.dicom.attributes import TAGS, standard_path
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributeMatch, AttributePath, Level, Rule, SearchQuery, Universal
from tests.support.archive import dataset, instance, store
from tests.support.matching_cases import any_of, between, date_times_between, empty, is_value, like

_REQUEST = "RequestAttributesSequence"
_STEP, _PROCEDURE = f"{_REQUEST}.ScheduledProcedureStepID", f"{_REQUEST}.RequestedProcedureID"
_CODE = f"{_REQUEST}.RequestedProcedureCodeSequence"
_START, _TIME = f"{_REQUEST}.ScheduledProcedureStepStartDate", f"{_REQUEST}.ScheduledProcedureStepStartTime"


async def _archive(db: Database) -> None:
    codes = [dataset(CodeValue=value, CodeMeaning=f"code {value}") for value in ("A", "B")]
    items = [
        dataset(
            ScheduledProcedureStepID="S1",
            RequestedProcedureID="P1",
            RequestedProcedureCodeSequence=codes,
            RequestedProcedureDescription="first",
        ),
        dataset(ScheduledProcedureStepID="S2", RequestedProcedureID="P1", RequestedProcedureCodeSequence=codes[1:]),
        dataset(
            ScheduledProcedureStepID="S3",
            RequestedProcedureID="P3",
            ScheduledProcedureStepStartDate="20240102",
            ScheduledProcedureStepStartTime="0200",
        ),
    ]
    attributes: dict[str, Any] = {_REQUEST: items, "TimezoneOffsetFromUTC": "+0100"}
    attributes["ContentSequence"] = [dataset(ValueType="TEXT", TextValue=text) for text in ("one", "two")]
    attributes["_00430010"] = {"vr": "LO", "Value": ["GEMS"]}
    attributes["_00431001"] = {"vr": "LO", "Value": ["private"]}
    await store(db, [instance("1", "1.1", "1.1.1", Modality="CT", **attributes)])


async def _result(db: Database, level: Level, *keys: tuple[str, Rule], **query: Any) -> DicomJson:
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in keys)
    (result,) = (await search(db, SearchQuery(level, matches=matches, **query))).results
    return result.dataset


def _steps(result: DicomJson) -> list[str]:
    return [item[TAGS["ScheduledProcedureStepID"]]["Value"][0] for item in result[TAGS[_REQUEST]]["Value"]]


@pytest.mark.parametrize("level", [Level.SERIES, Level.INSTANCE])
async def test_items_that_match_are_returned(db: Database, level: Level) -> None:
    await _archive(db)
    for keys, steps in (
        ([(_STEP, is_value("S1"))], ["S1"]),
        ([(_STEP, any_of("S1", "S3"))], ["S1", "S3"]),
        ([(_PROCEDURE, is_value("P1"))], ["S1", "S2"]),
        ([(_PROCEDURE, is_value("P1")), (_STEP, like("?2"))], ["S2"]),
        ([(f"{_CODE}.CodeValue", is_value("A"))], ["S1"]),
        ([(f"{_CODE}.CodeValue", is_value("B"))], ["S1", "S2"]),
        ([(_START, between("20240101", None))], ["S3"]),
        ([(_START, date_times_between(_TIME, "20240102010000.000000", None))], ["S3"]),
        ([(_STEP, Universal())], ["S1", "S2", "S3"]),
        ([(_STEP, like("**"))], ["S1", "S2", "S3"]),
        ([("Modality", is_value("CT"))], ["S1", "S2", "S3"]),
        ([(f"{_REQUEST}.AccessionNumber", empty())], ["S1", "S2", "S3"]),
    ):
        for includes in ((), (AttributePath(("00430001",), "LO", ("GEMS",)),) if level is Level.INSTANCE else ()):
            assert _steps(await _result(db, level, *keys, includes=includes)) == steps, keys


async def test_an_item_holds_what_is_asked_for(db: Database) -> None:
    await _archive(db)
    (item,) = (await _result(db, Level.SERIES, (_STEP, is_value("S1"))))[TAGS[_REQUEST]]["Value"]
    assert item == dataset(ScheduledProcedureStepID="S1", RequestedProcedureID="P1")
    included = (standard_path(f"{_REQUEST}.RequestedProcedureDescription"),)
    (item,) = (await _result(db, Level.SERIES, (_STEP, is_value("S1")), includes=included))[TAGS[_REQUEST]]["Value"]
    assert item[TAGS["RequestedProcedureDescription"]]["Value"] == ["first"]


async def test_items_within_items(db: Database) -> None:
    await _archive(db)
    key = (f"{_CODE}.CodeValue", is_value("A"))
    code = TAGS["RequestedProcedureCodeSequence"]
    (item,) = (await _result(db, Level.SERIES, key))[TAGS[_REQUEST]]["Value"]
    assert item[code]["Value"] == [dataset(CodeValue="A")]
    (item,) = (await _result(db, Level.SERIES, key, includes=(standard_path(_CODE),)))[TAGS[_REQUEST]]["Value"]
    assert [one[TAGS["CodeMeaning"]]["Value"] for one in item[code]["Value"]] == [["code A"], ["code B"]]


@pytest.mark.parametrize(
    "query",
    [
        {"includes": (standard_path(_REQUEST),)},
        {"include_all": True},
    ],
    ids=str,
)
async def test_whoever_asks_for_the_sequence_gets_all_of_it(db: Database, query: dict[str, Any]) -> None:
    await _archive(db)
    result = await _result(db, Level.SERIES, (_STEP, is_value("S1")), **query)
    assert _steps(result) == ["S1", "S2", "S3"]
    assert TAGS["RequestedProcedureDescription"] in result[TAGS[_REQUEST]]["Value"][0]


async def test_an_empty_key_returns_the_sequence(db: Database) -> None:
    await _archive(db)
    result = await _result(db, Level.SERIES, (_REQUEST, Universal()))
    assert _steps(result) == ["S1", "S2", "S3"]
    assert TAGS["RequestedProcedureDescription"] in result[TAGS[_REQUEST]]["Value"][0]
    await store(db, [instance("2", "2.1", "2.1.1", Modality="MR")])
    none = await _result(db, Level.SERIES, (_REQUEST, Universal()), ("Modality", is_value("MR")))
    assert none[TAGS[_REQUEST]] == {"vr": "SQ"}


async def test_items_of_instances(db: Database) -> None:
    await _archive(db)
    result = await _result(db, Level.INSTANCE, ("ContentSequence.TextValue", is_value("two")))
    assert result[TAGS["ContentSequence"]]["Value"] == [dataset(TextValue="two")]


async def test_items_are_compared_in_the_zone_of_the_query(db: Database) -> None:
    await _archive(db)
    key = (_START, is_value("20240101"))
    for zone, steps in (("-0500", ["S3"]), ("+0100", None)):
        matches = (AttributeMatch(standard_path(key[0]), key[1]),)
        results = (await search(db, SearchQuery(Level.SERIES, matches=matches, timezone=zone))).results
        assert [_steps(result.dataset) for result in results] == ([steps] if steps else [])


async def test_a_slide_of_hundreds_of_specimens_is_found_by_each(db: Database) -> None:
    specimens = [dataset(SpecimenIdentifier=f"core {number}") for number in range(300)]
    await store(db, [instance("1", "1.1", "1.1.1", SpecimenDescriptionSequence=specimens)])
    path = standard_path("SpecimenDescriptionSequence.SpecimenIdentifier")
    for value, found in (("core 0", 1), ("core 64", 1), ("core 299", 1), ("core 300", 0)):
        page = await search(db, SearchQuery(Level.INSTANCE, matches=(AttributeMatch(path, is_value(value)),)))
        assert len(page.results) == found, value
