"""search_query, search_values, attribute_paths: acceptance rows COM-007 to -018 and QID-*."""

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.attributes import standard_path
from app.dicom.matching import (
    AnyOfValues,
    AttributePath,
    EmptyValue,
    Level,
    ListOfUid,
    Range,
    Rule,
    SearchQuery,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicomweb.search_query import MAX_COUNT, parse_search_query
from app.errors import InvalidQuery


def parse(text: str, level: Level = Level.INSTANCE, study: str | None = None, series: str | None = None) -> SearchQuery:
    """The query, which gave no warning."""
    parsed = parse_search_query(text, level=level, study_instance_uid=study, series_instance_uid=series)
    assert parsed.warnings == ()
    return parsed.query


def rules(text: str, level: Level = Level.INSTANCE) -> dict[str, Rule]:
    return {match.path.dotted: match.rule for match in parse(text, level).matches}


def rule(text: str) -> Rule:
    [found] = rules(text).values()
    return found


def warnings(text: str, level: Level = Level.INSTANCE, study: str | None = None, series: str | None = None) -> str:
    parsed = parse_search_query(text, level=level, study_instance_uid=study, series_instance_uid=series)
    assert parsed.query.matches == ()
    assert parsed.query.includes == ()
    return " ".join(parsed.warnings)


def test_nothing_asked() -> None:
    assert parse("", Level.STUDY) == SearchQuery(Level.STUDY)
    assert parse("&&", Level.STUDY) == SearchQuery(Level.STUDY)
    assert parse("accept=application/dicom%2Bjson&charset=utf-8", Level.STUDY) == SearchQuery(Level.STUDY)  # 8.3.3


def test_path_is_kept() -> None:
    query = parse("", Level.INSTANCE, "1.2", "1.2.3")
    assert (query.study_instance_uid, query.series_instance_uid) == ("1.2", "1.2.3")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("PatientID=X", "PatientID"),
        ("00100020=X", "PatientID"),  # COM-013
        ("0020000d=1.2", "StudyInstanceUID"),
        ("OtherPatientIDsSequence.00100020=X", "OtherPatientIDsSequence.PatientID"),  # COM-014
        ("00400275.RequestedProcedureID=X", "RequestAttributesSequence.RequestedProcedureID"),
        ("ContentSequence.PersonName=X", "ContentSequence.PersonName"),
    ],
)
def test_attribute_names(text: str, path: str) -> None:
    [match] = parse(text).matches
    assert match.path == standard_path(path)


VALUES: list[tuple[str, Rule]] = [
    ("PatientID=X", SingleValue("X")),
    ("PatientID=%20X%20", SingleValue("X")),
    ("PatientID=", Universal()),
    ("PatientID", Universal()),
    ("PatientID=*", Universal()),  # QID-046
    ("StudyDate=*", Universal()),
    ("PatientID=A*", Wildcard("A*")),  # QID-045
    ("PatientName=d%3Fe%5Ejohn", Wildcard("d?e^john")),
    ("PatientName=d%2A", Wildcard("d*")),
    ("PatientName=Buc%5EJ%C3%A9r%C3%B4me", SingleValue("Buc^Jérôme")),  # COM-017
    ("PatientName=A%26B%2C%3D%23%5B%5D", SingleValue("A&B,=#[]")),  # COM-016
    ("PatientName=A=B", SingleValue("A=B")),
    ("PatientName=Doe+John", SingleValue("Doe John")),
    ("PatientName=Doe%2BJohn", SingleValue("Doe+John")),
    ("PatientID=50%", SingleValue("50%")),
    ("PatientID=%25_", SingleValue("%_")),  # QID-047
    ("PatientID=a,b", SingleValue("a,b")),  # QID-044
    ('PatientID=""', SingleValue('""')),
    ('PatientID=""&emptyvaluematching=true', EmptyValue()),  # QID-059
    ('StudyDate=""&emptyvaluematching=true', EmptyValue()),
    ("PatientID=a%5Cb", SingleValue("a\\b")),
    ("PatientID=a%5Cb*&multiplevaluematching=true", AnyOfValues((SingleValue("a"), Wildcard("b*")))),
    ("PatientID=a%5C%5Ca&multiplevaluematching=true", SingleValue("a")),
    ("PatientID=%5C&multiplevaluematching=true", Universal()),
    ("PatientID=a%5C*&multiplevaluematching=true", Universal()),
    ("InstanceNumber=1%5C2&multiplevaluematching=true", AnyOfValues((SingleValue("1"), SingleValue("2")))),
    ("SOPInstanceUID=1.2", SingleValue("1.2")),
    ("SOPInstanceUID=1.2,1.3,,1.2", ListOfUid(("1.2", "1.3"))),  # QID-043
    ("SOPInstanceUID=1.2%5C1.3", ListOfUid(("1.2", "1.3"))),
    ("SOPInstanceUID=1.2&SOPInstanceUID=1.3,1.4&00080018=1.2", ListOfUid(("1.2", "1.3", "1.4"))),
    ("SOPInstanceUID=1.2&SOPInstanceUID=1.2", SingleValue("1.2")),
    ("ReferencedSeriesSequence.SeriesInstanceUID=1.2&00081115.0020000e=1.3", ListOfUid(("1.2", "1.3"))),
    ("StudyDate=20240101", SingleValue("20240101")),  # QID-054
    ("StudyDate=2024.01.01", SingleValue("2024.01.01")),
    ("StudyDate=20240101-20240131", Range("20240101", "20240131")),  # QID-050
    ("StudyDate=20240101-", Range("20240101", None)),
    ("StudyDate=-20240131", Range(None, "20240131")),
    ("StudyTime=1000-1200", Range("1000", "1200")),  # QID-051
    ("StudyTime=10-10", Range("10", "10")),
    ("StudyTime=1000", SingleValue("1000")),  # QID-052
    ("StudyTime=235959.9-", Range("235959.9", None)),
    ("AcquisitionDateTime=2024", SingleValue("2024")),
    ("AcquisitionDateTime=20240101120000.5-0500", SingleValue("20240101120000.5-0500")),
    ("AcquisitionDateTime=20240101120000+0100", SingleValue("20240101120000+0100")),
    ("AcquisitionDateTime=20240101120000%2B0100-20240102", Range("20240101120000+0100", "20240102")),
    ("AcquisitionDateTime=20240101-0500-20240102-0500", Range("20240101-0500", "20240102-0500")),
    ("AcquisitionDateTime=2023-2024", Range("2023", "2024")),
    ("AcquisitionDateTime=20240101-", Range("20240101", None)),
    ("AcquisitionDateTime=-20240101-0500", Range(None, "20240101-0500")),
    ("InstanceNumber=-3", SingleValue("-3")),
    ("SliceThickness=1.5e1", SingleValue("1.5e1")),
    ("Rows=512", SingleValue("512")),
    ("PatientAge=030y".replace("y", "Y"), SingleValue("030Y")),
    ("FrameIncrementPointer=0018106a", SingleValue("0018106A")),
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_values(text: str, expected: Rule) -> None:
    assert rule(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "limit=abc", "limit=-1", "limit=", "limit=1&limit=2", "offset=1.5", "offset=%2B1", "limit=%D9%A1",  # COM-008 to -010
        "fuzzymatching=maybe", "fuzzymatching=True", "fuzzymatching", "emptyvaluematching=1", "multiplevaluematching=",  # QID-058
        "fuzzymatching=true&fuzzymatching=true",
        "StudyDate=2024-01-01", "StudyDate=20240230", "StudyDate=20241301", "StudyDate=2024", "StudyDate=2024*",  # QID-056
        "StudyDate=-", "StudyDate=20240101-20240102-20240103", "StudyDate=20240102-20240101", "StudyDate=x-20240101",
        "StudyTime=2400", "StudyTime=100", "StudyTime=-", "StudyTime=1800-0600", "StudyTime=10:61",
        "AcquisitionDateTime=x", "AcquisitionDateTime=20240101-0560", "AcquisitionDateTime=2024-2020", "AcquisitionDateTime=-",
        "StudyDate=20240101&StudyTime=1800-0600",
        "StudyInstanceUID=abc", "StudyInstanceUID=1.2.*", "StudyInstanceUID=,", f"StudyInstanceUID={'1' * 65}",
        "SOPInstanceUID=" + ",".join(f"1.{n}" for n in range(1001)),
        "InstanceNumber=x", "InstanceNumber=1*", "Rows=-1", "SliceThickness=1e", "PatientAge=30",
        "PatientID=a&PatientID=b", "PatientID=a&00100020=b", "0020000d=1.2&0020000D=1.2.*",  # QID-042
        "SOPInstanceUID=" + "&00080018=".join(f"1.{n}" for n in range(400)) + "," + ",".join(f"2.{n}" for n in range(601)),
        "RequestAttributesSequence=x", "RequestAttributesSequence=x*", 'RequestAttributesSequence=""',  # COM-015
        "PatientID.PatientName=x", "includefield=PatientID.PatientName",
        "PatientID=%FF", "%C3=x", "PatientID=%00", "PatientID=a%0Ab",
        "TimezoneOffsetFromUTC=0500", "00080201=x", "00080201=%2B2500",
        "PatientID=" + "x" * 1025, "x" * 140_000,
        "&".join(f"0010{n:04X}=x" for n in range(0x1000, 0x1100)) + "&" + "a=b&" * 600,
        ".".join(["ContentSequence"] * 9) + ".CodeValue=x",
        "includefield=" + ",".join(["PatientID"] * 600),
    ],
)  # fmt: skip
def test_invalid(text: str) -> None:
    with pytest.raises(InvalidQuery):
        parse_search_query(text, level=Level.INSTANCE)


def test_number_of_keys_is_bounded() -> None:
    text = "&".join(f"ContentSequence.0040{n:04X}=x" for n in range(1, 100))
    with pytest.raises(InvalidQuery, match="matching keys"):
        parse_search_query(text, level=Level.INSTANCE)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("foo=bar", "foo"),  # COM-007
        ("LIMIT=1", "LIMIT"),  # COM-011
        ("patientid=x", "patientid"),  # COM-012
        ("00100099=x", "00100099"),
        ("00020010=1.2", "00020010"),
        ("00100000=1", "00100000"),
        ("PixelData=x", "PixelData"),
        # QID-068: nothing of the kind is kept of any study
        ("NumberOfPatientRelatedStudies=1", "NumberOfPatientRelatedStudies"),
        ("NumberOfPatientRelatedSeries=1", "NumberOfPatientRelatedSeries"),
        ("NumberOfPatientRelatedInstances=", "NumberOfPatientRelatedInstances"),
        ("AnatomicRegionsInStudyCodeSequence.CodeValue=x", "AnatomicRegionsInStudyCodeSequence.CodeValue"),
        ("RetrieveURL=http", "RetrieveURL"),
        ("QueryRetrieveLevel=STUDY", "QueryRetrieveLevel"),
        ("00080053=CLASSIC", "00080053"),
        ("RetrieveAETitle=ARCHIVE", "RetrieveAETitle"),
        ("00231001=x", "00231001"),
        ("00230010=Acme", "00230010"),
        ("includefield=Nonsense", "includefield=Nonsense"),
        ("includefield=00020002", "includefield=00020002"),
        ("PatientID..x=1", "PatientID..x"),
        ("=x", ""),
    ],
)
def test_what_is_not_known_is_left_out_and_told(text: str, named: str) -> None:
    text = warnings(text)
    assert text.startswith("The following parameters are not supported and have been ignored: ")
    assert text.endswith(named)


@pytest.mark.parametrize(
    ("text", "level", "study", "series"),
    [
        ("Modality=CT", Level.STUDY, None, None),
        ("SOPInstanceUID=1", Level.SERIES, None, None),
        ("PatientID=x", Level.SERIES, "1.2", None),  # QID-062
        ("PatientID=x", Level.INSTANCE, "1.2", None),
        ("Modality=CT", Level.INSTANCE, "1.2", "1.3"),
        ("includefield=Modality", Level.STUDY, None, None),  # QID-033
        ("includefield=Rows", Level.SERIES, "1.2", None),
        ("includefield=00020010", Level.SERIES, None, None),
    ],
)
def test_attribute_of_another_level_is_left_out_and_told(
    text: str, level: Level, study: str | None, series: str | None
) -> None:
    assert "not of a level" in warnings(text, level, study, series)


@pytest.mark.parametrize(
    ("text", "level", "study", "series"),
    [
        ("ModalitiesInStudy=CT", Level.STUDY, None, None),
        ("PatientID=x", Level.SERIES, None, None),
        ("Modality=CT", Level.SERIES, "1.2", None),
        ("PatientID=x", Level.INSTANCE, None, None),
        ("Modality=CT", Level.INSTANCE, "1.2", None),
        ("SOPClassUID=1.2", Level.INSTANCE, "1.2", "1.3"),
    ],
)
def test_attribute_of_an_allowed_level(text: str, level: Level, study: str | None, series: str | None) -> None:
    assert len(parse(text, level, study, series).matches) == 1


def test_a_long_list_of_unknown_parameters_gives_a_short_warning() -> None:
    text = warnings("&".join(f"{'x' * 100}{n}=1&y{n}=2" for n in range(100)))
    assert len(text) < 1000
    assert text.endswith("and 81 more")


@pytest.mark.parametrize(
    ("text", "limit", "offset"),
    [
        ("", None, 0),
        ("limit=0", 0, 0),  # QID-012
        ("limit=25&offset=50", 25, 50),
        ("limit=007", 7, 0),
        ("limit=99999999999999999999&offset=99999999999999999999", MAX_COUNT, MAX_COUNT),
    ],
)
def test_paging(text: str, limit: int | None, offset: int) -> None:
    query = parse(text)
    assert (query.limit, query.offset) == (limit, offset)


def test_fuzzy_matching() -> None:
    assert parse("fuzzymatching=true").fuzzy is True
    assert parse("fuzzymatching=false").fuzzy is False


@pytest.mark.parametrize("text", ["TimezoneOffsetFromUTC=-0500", "00080201=%2D0500"])
def test_timezone(text: str) -> None:
    query = parse(text, Level.STUDY)  # QID-055
    assert (query.timezone, query.matches) == ("-0500", ())


def test_plus_of_a_timezone_may_be_a_blank() -> None:
    assert parse("TimezoneOffsetFromUTC=+0100").timezone == "+0100"
    assert parse("TimezoneOffsetFromUTC=%2B0100").timezone == "+0100"
    assert parse("TimezoneOffsetFromUTC=").timezone is None
    assert parse("TimezoneOffsetFromUTC=**").timezone is None


@pytest.mark.parametrize(
    "text",
    [
        "includefield=PatientSex&includefield=00081030",  # QID-035, QID-039
        "includefield=PatientSex,StudyDescription",  # QID-036
        "includefield=PatientSex,%20StudyDescription,,PatientSex",
    ],
)
def test_includes(text: str) -> None:
    assert parse(text).includes == (standard_path("PatientSex"), standard_path("StudyDescription"))


def test_include_of_paths_and_sequences() -> None:
    query = parse("includefield=RequestAttributesSequence.ScheduledProcedureStepID,ProcedureCodeSequence")  # QID-040
    assert query.includes == (
        standard_path("RequestAttributesSequence.ScheduledProcedureStepID"),
        standard_path("ProcedureCodeSequence"),
    )


@pytest.mark.parametrize("name", ["00020010", "TransferSyntaxUID"])
def test_include_of_the_transfer_syntax(name: str) -> None:
    """What ez-wsi-dicomweb asks for; nothing else of File Meta Information is known."""
    query = parse(f"includefield={name}")
    assert query.includes == (AttributePath(("00020010",), "UI", ("",)),)


def test_include_all() -> None:
    assert parse("includefield=all").include_all is True  # QID-037
    query = parse("includefield=all&includefield=PatientSex")  # QID-038
    assert query.include_all is True


def test_private_attribute_with_its_creator() -> None:
    query = parse("00230010=Acme&00231001=x*")  # QID-063
    [match] = query.matches
    assert match.path == AttributePath(("00230001",), "", ("Acme",))
    assert match.rule == Wildcard("x*")


def test_private_attribute_that_the_dictionary_knows() -> None:
    query = parse("00190010=SIEMENS%20MR%20HEADER&0019100C=50&includefield=0019100B")
    assert query.matches[0].path == AttributePath(("0019000C",), "IS", ("SIEMENS MR HEADER",))
    assert query.includes == (AttributePath(("0019000B",), "DS", ("SIEMENS MR HEADER",)),)


def test_private_attribute_within_a_sequence() -> None:
    query = parse("RequestAttributesSequence.00230010=Acme&00400275.00231001=x")
    [match] = query.matches
    assert match.path == AttributePath(("00400275", "00230001"), "", ("", "Acme"))
    assert "ignored" in warnings("00230010=Acme&00400275.00231001=x")


def test_decoded_pairs_are_taken_as_they_are() -> None:
    parsed = parse_search_query([("PatientID", "a+b%20&c"), ("limit", "3")], level=Level.STUDY)
    assert parsed.query.matches[0].rule == SingleValue("a+b%20&c")
    assert parsed.query.limit == 3
    with pytest.raises(InvalidQuery):
        parse_search_query([("PatientID", "\udcff")], level=Level.STUDY)


names = st.sampled_from(
    ["PatientID", "PatientName", "StudyDate", "StudyTime", "AcquisitionDateTime", "StudyInstanceUID", "InstanceNumber",
     "00230010", "00231001", "RequestAttributesSequence.00400009", "includefield", "limit", "offset", "Rows", "SliceThickness",
     "TimezoneOffsetFromUTC", "PatientAge", "multiplevaluematching", "emptyvaluematching"]
) | st.text(max_size=12)  # fmt: skip
texts = st.text(max_size=20) | st.text('0123456789.-+*?\\" ,:true', max_size=24)


@given(st.lists(st.tuples(names, texts), max_size=8), st.sampled_from(Level))
def test_any_parameters_are_read_or_refused(pairs: list[tuple[str, str]], level: Level) -> None:
    encoded = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    outcomes = []
    for query in (encoded, [(name, value) for name, value in pairs if name or value]):
        try:
            outcomes.append(parse_search_query(query, level=level).query)
        except InvalidQuery as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_search_query(text, level=Level.INSTANCE)
    except InvalidQuery:
        return
    assert parsed.query.level is Level.INSTANCE


@pytest.mark.parametrize("unit", ["&", "=", "%", "PatientID.", "-", "1.", ",", "\\", "a&", "includefield=,", "+"])
@pytest.mark.parametrize("name", ["", "StudyInstanceUID=", "AcquisitionDateTime=", "includefield=", "PatientID="])
def test_long_garbage_takes_no_long_time(name: str, unit: str) -> None:
    started = time.perf_counter()
    for length in (1_000, 130_000, 1_000_000):
        try:
            parse_search_query(name + unit * (length // len(unit)), level=Level.INSTANCE)
        except InvalidQuery:
            continue
    assert time.perf_counter() - started < 2
