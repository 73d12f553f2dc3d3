"""What a search returns (PS3.18 section 10.6.3.3)."""

from typing import Any

import orjson
import pytest

from app.db.engine import Database, close_database, open_database
from app.db.matching_sql import MAX_PATTERNS
from app.db.search import search
from app.dicom.attributes import DEFAULT_RETURNED, TAGS, VRS, standard_path
from app.dicom.matching import (
    AnyOfValues,
    AttributeMatch,
    AttributePath,
    Level,
    Rule,
    SearchQuery,
    SingleValue,
    Universal,
    Wildcard,
)
from app.errors import InvalidQuery
from tests.support.archive import CT_IMAGE, dataset, instance, record, store
from tests.support.matching_cases import any_of, date_times_between, empty, is_value, uids

STRUCTURED_REPORT = "1.2.840.10008.5.1.4.1.1.88.11"


async def _archive(db: Database) -> None:
    study = {
        "PatientName": "Müller^Jörg=山田^太郎",
        "PatientID": "P1",
        "PatientBirthDate": "19700102",
        "StudyDate": "20240101",
        "StudyTime": "101500",
        "StudyDescription": "Head",
        "PatientComments": "long",
        "TimezoneOffsetFromUTC": "+0100",
        "ModalitiesInStudy": ["XX"],
        "NumberOfStudyRelatedInstances": 99,
    }
    request = dataset(ScheduledProcedureStepID="SPS1", ScheduledProcedureStepDescription="scan")
    await store(
        db,
        [
            instance(
                "1",
                "1.1",
                f"1.1.{number}",
                **study,
                Modality="CT",
                SeriesNumber=1,
                SeriesDescription="axial",
                Manufacturer="ACME",
                RequestAttributesSequence=[request, dataset()],
                InstanceNumber=number,
                Rows=64,
                Columns=32,
                BitsAllocated=16,
                NumberOfFrames=3,
                SpecificCharacterSet="ISO_IR 192",
                ImageComments="image",
                ContentSequence=[dataset(ConceptNameCodeSequence=[dataset(CodeValue="C")])],
                _00430010={"vr": "LO", "Value": ["GEMS"]},
                _00431001={"vr": "LO", "Value": ["private"]},
                _7FE00010={"vr": "OW", "BulkDataURI": "\x01/bulkdata/7FE00010"},
                _00420011={"vr": "OB", "InlineBinary": "AAA="},
            )
            for number in (1, 2)
        ],
    )
    await store(
        db,
        [instance("1", "1.2", "1.2.1", **study, Modality="SR", SOPClassUID=STRUCTURED_REPORT, SeriesNumber=2)],
    )


async def _results(db: Database, level: Level, **query: Any) -> list[dict[str, Any]]:
    page = await search(db, SearchQuery(level, **query))
    results = [result.dataset for result in page.results]
    for result in results:
        assert list(result) == sorted(result)
        assert result["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
        assert "00081190" not in result
        assert "BulkDataURI" not in orjson.dumps(result).decode()
        assert TAGS["StudyInstanceUID"] in result
        for element in result.values():
            assert element["vr"]
            assert element.get("Value") != []
    return results


def _match(path: str, rule: Rule) -> AttributeMatch:
    return AttributeMatch(standard_path(path), rule)


def _value(result: dict[str, Any], keyword: str) -> Any:
    return result[TAGS[keyword]].get("Value")


_STUDY_TAGS = {one.path.tags[0] for one in DEFAULT_RETURNED[Level.STUDY]} - {"00081190"}
_SERIES_TAGS = {one.path.tags[0] for one in DEFAULT_RETURNED[Level.SERIES]} - {"00081190"}
_INSTANCE_TAGS = {one.path.tags[0] for one in DEFAULT_RETURNED[Level.INSTANCE]} - {"00081190"}


async def test_study_results(db: Database) -> None:
    await _archive(db)
    (result,) = await _results(db, Level.STUDY)
    assert set(result) == _STUDY_TAGS | {"00080005"}
    assert result["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg", "Ideographic": "山田^太郎"}]}
    assert result["00080061"] == {"vr": "CS", "Value": ["CT", "SR"]}
    assert result["00201206"] == {"vr": "IS", "Value": [2]}
    assert result["00201208"] == {"vr": "IS", "Value": [3]}
    assert result["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert result["00080201"] == {"vr": "SH", "Value": ["+0100"]}
    assert result["00080050"] == {"vr": "SH"}  # type R, unknown
    assert result["00100040"] == {"vr": "CS"}


async def test_a_study_of_which_nothing_is_known(db: Database) -> None:
    await store(db, [instance("5", "5.1", "5.1.1")])
    (study,) = await _results(db, Level.STUDY)
    assert set(study) == _STUDY_TAGS - {"00080201"} | {"00080005"}
    assert study["00080061"] == {"vr": "CS"}
    (series,) = await _results(db, Level.SERIES, study_instance_uid="5")
    assert set(series) == {"00080005", "0020000D", "00080060", "0020000E", "00200011", "00201209"}
    (one,) = await _results(db, Level.INSTANCE, study_instance_uid="5", series_instance_uid="5.1")
    assert set(one) == {"00080005", "0020000D", "0020000E", "00080016", "00080018", "00080056", "00200013"}


async def test_series_results(db: Database) -> None:
    await _archive(db)
    first, second = await _results(db, Level.SERIES, study_instance_uid="1")
    assert set(first) == _SERIES_TAGS - {"00400244", "00400245"} | {"00080005", "0020000D"}
    assert first["00201209"] == {"vr": "IS", "Value": [2]}
    assert first["0008103E"] == {"vr": "LO", "Value": ["axial"]}
    assert first["00400275"] == {
        "vr": "SQ",
        "Value": [
            {"00400009": {"vr": "SH", "Value": ["SPS1"]}, "00401001": {"vr": "SH"}},
            {"00400009": {"vr": "SH"}, "00401001": {"vr": "SH"}},
        ],
    }
    assert "00400275" not in second
    assert "0008103E" not in second
    everywhere = await _results(db, Level.SERIES)
    assert [set(result) for result in everywhere] == [set(first) | _STUDY_TAGS, set(second) | _STUDY_TAGS]
    assert _value(everywhere[0], "NumberOfStudyRelatedInstances") == [3]


async def test_instance_results(db: Database) -> None:
    await _archive(db)
    of_series = await _results(db, Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1")
    assert [set(result) for result in of_series] == [_INSTANCE_TAGS | {"00080005", "0020000D", "0020000E"}] * 2
    assert _value(of_series[0], "Rows") == [64]
    assert _value(of_series[0], "NumberOfFrames") == [3]
    assert _value(of_series[0], "SOPClassUID") == [CT_IMAGE]
    of_study = await _results(db, Level.INSTANCE, study_instance_uid="1")
    assert len(of_study) == 3
    assert set(of_study[0]) == set(of_series[0]) | (_SERIES_TAGS - {"00400244", "00400245"})
    everywhere = await _results(db, Level.INSTANCE)
    assert set(everywhere[0]) == set(of_study[0]) | _STUDY_TAGS
    assert _value(everywhere[2], "Modality") == ["SR"]


async def test_match_keys_are_returned(db: Database) -> None:
    await _archive(db)
    (result,) = await _results(
        db,
        Level.STUDY,
        matches=(
            _match("StudyDescription", Wildcard("H*")),
            _match("PatientComments", Universal()),
            _match("EthnicGroup", empty()),
            _match("SOPClassesInStudy", Universal()),
        ),
    )
    assert _value(result, "StudyDescription") == ["Head"]
    assert _value(result, "PatientComments") == ["long"]
    assert result[TAGS["EthnicGroup"]] == {"vr": "SH"}
    assert _value(result, "SOPClassesInStudy") == [CT_IMAGE, STRUCTURED_REPORT]
    (series,) = await _results(
        db, Level.SERIES, study_instance_uid="1", matches=(_match("Manufacturer", SingleValue("ACME")),)
    )
    assert _value(series, "Manufacturer") == ["ACME"]
    interval = date_times_between("StudyTime", "20240101000000.000000", None)
    (series, _) = await _results(db, Level.SERIES, study_instance_uid="1", matches=(_match("StudyDate", interval),))
    assert _value(series, "StudyTime") == ["101500"]


async def test_includes_of_the_level_and_above(db: Database) -> None:
    await _archive(db)
    includes = tuple(
        standard_path(path)
        for path in ("StudyDescription", "PatientWeight", "Manufacturer", "ImageComments", "AvailableTransferSyntaxUID")
    )
    includes += (AttributePath(("00020010",), "UI", ("",)),)
    (study,) = await _results(db, Level.STUDY, includes=includes)
    assert set(study) - _STUDY_TAGS == {"00080005", TAGS["StudyDescription"], TAGS["PatientWeight"]}
    assert study[TAGS["PatientWeight"]] == {"vr": "DS"}
    series = (await _results(db, Level.SERIES, study_instance_uid="1", includes=includes))[0]
    assert _value(series, "StudyDescription") == ["Head"]
    assert _value(series, "Manufacturer") == ["ACME"]
    assert TAGS["ImageComments"] not in series
    one = (await _results(db, Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1", includes=includes))[0]
    assert _value(one, "StudyDescription") == ["Head"]
    assert _value(one, "ImageComments") == ["image"]
    assert _value(one, "AvailableTransferSyntaxUID") == _value(one, "TransferSyntaxUID") == ["1.2.840.10008.1.2.1"]


async def test_includes_within_sequences(db: Database) -> None:
    await _archive(db)
    narrow = standard_path("RequestAttributesSequence.ScheduledProcedureStepDescription")
    series = (await _results(db, Level.SERIES, study_instance_uid="1", includes=(narrow,)))[0]
    assert series["00400275"]["Value"][0] == {
        "00400007": {"vr": "LO", "Value": ["scan"]},
        "00400009": {"vr": "SH", "Value": ["SPS1"]},
        "00401001": {"vr": "SH"},
    }
    whole = AttributePath(("00400275",), "SQ", ("",))
    for includes in ((whole,), (whole, narrow), (narrow, whole)):
        series, other = await _results(db, Level.SERIES, study_instance_uid="1", includes=includes)
        assert series["00400275"]["Value"] == [
            dataset(ScheduledProcedureStepID="SPS1", ScheduledProcedureStepDescription="scan"),
            {},
        ]
        assert other["00400275"] == {"vr": "SQ"}
    deep = standard_path("ContentSequence.ConceptNameCodeSequence.CodeValue")
    one = (await _results(db, Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1", includes=(deep,)))[0]
    expected = {"0040A043": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["C"]}}]}}
    assert one["0040A730"]["Value"] == [expected]


async def test_include_all(db: Database) -> None:
    await _archive(db)
    (study,) = await _results(db, Level.STUDY, include_all=True)
    assert set(study) == _STUDY_TAGS | {"00080005", TAGS["StudyDescription"], TAGS["PatientComments"]}
    assert _value(study, "ModalitiesInStudy") == ["CT", "SR"]
    series = (await _results(db, Level.SERIES, study_instance_uid="1", include_all=True))[0]
    assert _value(series, "Manufacturer") == ["ACME"]
    assert "00400007" in series["00400275"]["Value"][0]
    assert TAGS["StudyDescription"] not in series
    one = (await _results(db, Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1", include_all=True))[0]
    assert _value(one, "ImageComments") == ["image"]
    assert _value(one, "AvailableTransferSyntaxUID") == ["1.2.840.10008.1.2.1"]
    assert one["00431001"]["Value"] == ["private"]
    assert one["00420011"] == {"vr": "OB", "InlineBinary": "AAA="}
    assert "7FE00010" not in one
    assert not any(tag.startswith("0002") for tag in one)
    # What the instance itself claims of its study is not true.
    assert "00080061" not in one
    assert "00201208" not in one
    everywhere = (await _results(db, Level.INSTANCE, include_all=True))[0]
    assert _value(everywhere, "NumberOfStudyRelatedInstances") == [3]
    assert set(one) < set(everywhere)


async def test_all_of_an_instance_that_differs_from_its_study(db: Database) -> None:
    """It is found by what is known of its study and series, so that is what its result says of them."""
    early = {"PatientName": "Old", "Manufacturer": "Old", "TimezoneOffsetFromUTC": "+0100", "ImageComments": "early"}
    late = {"PatientName": "New", "Manufacturer": "New", "TimezoneOffsetFromUTC": "+0200", "StudyDescription": "Head"}
    await store(db, [instance("1", "1.1", "1.1.1", **early), instance("1", "1.1", "1.1.2", **late)])
    key = AttributeMatch(standard_path("PatientName"), is_value("New"))
    for whole in (False, True):
        includes = () if whole else (standard_path("Manufacturer"),)
        found = await _results(db, Level.INSTANCE, matches=(key,), includes=includes, include_all=whole)
        assert [_value(one, "PatientName") for one in found] == [[{"Alphabetic": "New"}]] * 2
        assert [_value(one, "Manufacturer") for one in found] == [["New"]] * 2
        assert [_value(one, "TimezoneOffsetFromUTC") for one in found] == [["+0100"], ["+0200"]]
    assert [_value(one, "StudyDescription") for one in found] == [["Head"]] * 2
    assert _value(found[0], "ImageComments") == ["early"]
    in_series = {"study_instance_uid": "1", "series_instance_uid": "1.1", "include_all": True}
    own = await _results(db, Level.INSTANCE, **in_series)
    assert [_value(one, "PatientName") for one in own] == [[{"Alphabetic": "Old"}], [{"Alphabetic": "New"}]]


async def test_private_attributes(db: Database) -> None:
    await _archive(db)
    path = AttributePath(("00430001",), "LO", ("GEMS",))
    other = AttributePath(("00430001",), "LO", ("OTHER",))
    found = await _results(db, Level.INSTANCE, matches=(AttributeMatch(path, is_value("private")),))
    assert len(found) == 2
    assert found[0]["00430010"]["Value"] == ["GEMS"]
    assert found[0]["00431001"]["Value"] == ["private"]
    assert not await _results(db, Level.INSTANCE, matches=(AttributeMatch(other, is_value("private")),))
    one = (await _results(db, Level.INSTANCE, includes=(path, other)))[0]
    assert one["00431001"]["Value"] == ["private"]
    plain = (await _results(db, Level.INSTANCE, includes=(AttributePath(("00431001",), "", ("",)),)))[0]
    assert plain["00431001"]["Value"] == ["private"]
    assert not (await _results(db, Level.STUDY, includes=(path,)))[0].keys() & {"00430010", "00431001"}


async def test_attributes_that_the_operator_made_searchable(database_url: str) -> None:
    private = AttributePath(("00430001",), "LO", ("GEMS",))
    db = await open_database(database_url, searchable=[private, standard_path("ContentDate")])
    await _archive(db)
    await store(db, [instance("2", "2.1", "2.1.1", ContentDate="20240506")])
    match = AttributeMatch(private, is_value("private"))
    # No candidate may be looked at, and still everything is found: the index has it.
    page = await search(db, SearchQuery(Level.INSTANCE, matches=(match,)), candidate_cap=0)
    assert (page.total_known, page.candidates_capped) == (2, False)
    page = await search(
        db, SearchQuery(Level.INSTANCE, matches=(_match("ContentDate", is_value("20240506")),)), candidate_cap=0
    )
    assert page.total_known == 1
    await close_database(db)


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE studies; --",
        '" OR ""="',
        "%' OR '1'='1",
        "\\' OR 1=1 --",
        "$1",
        ":param",
        "%(x)s",
        "a\0b",
        "\ud800",
        "\U0010ffff",
        "\ufdd0",
        "!%",
        "x" * 5000,
        "\ud7ff",
    ],
)
async def test_nothing_that_is_asked_is_sql(db: Database, text: str) -> None:
    await store(db, [instance("1", "1.1", "1.1.1", PatientID="A", PatientName="Doe", StudyDescription="Head")])
    for path in (
        "PatientID",
        "StudyInstanceUID",
        "PatientName",
        "StudyDescription",
        "PatientComments",
        "ModalitiesInStudy",
    ):
        for pattern in (text, f"{text}*", f"*{text}", f"?{text}*"):
            rules: list[Rule] = [Wildcard(pattern)] if "*" in pattern else [SingleValue(pattern), Wildcard(pattern)]
            for rule in rules:
                for fuzzy in (False, True):
                    query = SearchQuery(Level.STUDY, matches=(_match(path, rule),), fuzzy=fuzzy)
                    found = (await search(db, query)).total_known
                    assert found == (1 if _is_any(rule) else 0), (path, rule)
    assert (await search(db, SearchQuery(Level.STUDY))).total_known == 1


def _is_any(rule: Rule) -> bool:
    return isinstance(rule, Wildcard) and not rule.pattern.strip("*")


async def test_hostile_values_are_stored_and_searched(db: Database) -> None:
    deep: dict[str, Any] = {"00080100": {"vr": "SH", "Value": ["x"]}}
    for _ in range(50):
        deep = {"00081032": {"vr": "SQ", "Value": [deep]}}
    data = dataset(
        StudyInstanceUID="1",
        SeriesInstanceUID="1.1",
        SOPInstanceUID="1.1.1",
        PatientID="A" * 5000,
        PatientName="Ä\0" * 10_000,
        StudyDate="x" * 10_000,
        SeriesNumber="9" * 100,
        InstanceNumber="NaN",
        Modality="C\0T",
        OtherPatientIDs=["y" * 5000] * 500,
        StudyDescription="\U0001f600" * 3000,
    )
    await store(db, [record({**data, **deep})])
    for level in Level:
        assert len(await _results(db, level, include_all=True)) == 1
    for path, value in (("PatientID", "A" * 5000), ("StudyDescription", "\U0001f600" * 3000), ("Modality", "CT")):
        level = Level.SERIES if path == "Modality" else Level.STUDY
        assert (await search(db, SearchQuery(level, matches=(_match(path, is_value(value)),)))).total_known == 1


@pytest.mark.parametrize("fuzzy", [False, True])
@pytest.mark.parametrize(
    "path", ["PatientName", "PatientID", "PhysiciansOfRecord", "StudyDescription", "PatientComments"]
)
async def test_as_many_values_as_a_query_may_hold(db: Database, path: str, fuzzy: bool) -> None:
    await store(db, [instance("1", "1.1", "1.1.1", **{path: "v4711"})])
    for pattern in ("v{}", "v{}*", "*v{}"):
        texts = [pattern.format(number) for number in (*range(100, 100 + MAX_PATTERNS - 1), 4711)]
        query = SearchQuery(Level.STUDY, matches=(_match(path, any_of(*texts)),), fuzzy=fuzzy)
        assert (await search(db, query)).total_known == 1
    too_many = any_of("v4711", *(f"w{number}*" for number in range(MAX_PATTERNS + 1)))
    with pytest.raises(InvalidQuery, match="at most 32"):
        await search(db, SearchQuery(Level.STUDY, matches=(_match(path, too_many),)))


async def test_plain_values_may_be_many(db: Database) -> None:
    known = {"PatientID": "v4711", "StudyDescription": "v4711", "OtherStudyNumbers": 4711, "Modality": "CT"}
    await store(db, [instance("1", "1.1", "1.1.1", SeriesNumber=4711, **known)])
    texts = [f"v{number}" for number in (*range(1000), 4711)]
    numbers = any_of(*(text[1:] for text in texts))
    for level, path, rule in [
        (Level.STUDY, "StudyInstanceUID", uids(*map(str, range(1000)))),
        (Level.STUDY, "PatientID", any_of(*texts)),
        (Level.STUDY, "StudyDescription", any_of(*texts)),
        (Level.STUDY, "OtherStudyNumbers", numbers),
        (Level.STUDY, "NumberOfStudyRelatedSeries", numbers),
        (Level.STUDY, "ModalitiesInStudy", AnyOfValues((Wildcard("?T"), *map(SingleValue, texts)))),
        (Level.SERIES, "SeriesNumber", numbers),
    ]:
        assert (await search(db, SearchQuery(level, matches=(_match(path, rule),)))).total_known == 1, path


async def test_a_query_of_many_keys_and_includes(db: Database) -> None:
    await store(db, [instance("1", "1.1", "1.1.1", PatientName=" ".join(f"w{number}" for number in range(32)))])
    words = " ".join(f"w{number}" for number in range(31, -1, -1))
    keywords = [keyword for keyword, tag in TAGS.items() if tag.startswith("0010") and VRS[tag] == "LO"][:60]
    keys = (_match("PatientName", is_value(words)), *(_match(keyword, empty()) for keyword in keywords))
    includes = tuple(standard_path(keyword) for keyword in keywords)
    page = await search(db, SearchQuery(Level.STUDY, matches=keys, includes=includes, fuzzy=True))
    assert len(page.results) == 1
    assert len(page.results[0].dataset) > 60 // 2
