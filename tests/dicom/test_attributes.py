import os
from pathlib import Path

import orjson
import pydicom.data
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom import attributes
from app.dicom.attributes import (
    DEFAULT_RETURNED,
    KEYWORDS,
    MAX_ATTRIBUTE_BYTES,
    MAX_NAMES_PER_PATH,
    MAX_VALUES_PER_PATH,
    REQUIRED_KEYS,
    SEARCHABLE,
    TAGS,
    elements_at,
    instance_columns,
    is_indexable,
    keyword_path,
    level_of,
    searchable_values,
    series_attributes,
    series_columns,
    standard_path,
    stored_path,
    study_attributes,
    study_columns,
    without_bulkdata,
)
from app.dicom.header import parse_instance
from app.dicom.matching import AttributePath, Level
from app.errors import DicomError
from tests.support.archive import dataset

# Which level the modules of PS3.3 put them at.
LEVELS = {
    Level.STUDY: """PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex OtherPatientIDsSequence PatientComments
        EthnicGroup PatientSpeciesDescription ResponsiblePerson PatientIdentityRemoved DeidentificationMethod
        ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialSubjectID ClinicalTrialTimePointID StudyInstanceUID
        StudyDate StudyTime StudyID StudyDescription AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName
        ConsultingPhysicianName PhysiciansOfRecord NameOfPhysiciansReadingStudy RequestingService ReferencedStudySequence
        ProcedureCodeSequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize
        PatientWeight Occupation AdditionalPatientHistory AdmissionID ServiceEpisodeID PregnancyStatus MedicalAlerts
        RequestingPhysician RequestedProcedureDescription ModalitiesInStudy SOPClassesInStudy NumberOfStudyRelatedSeries
        NumberOfStudyRelatedInstances TimezoneOffsetFromUTC InstanceAvailability""",
    Level.SERIES: """Modality SeriesInstanceUID SeriesNumber Laterality SeriesDate SeriesTime PerformingPhysicianName ProtocolName
        SeriesDescription OperatorsName ReferencedPerformedProcedureStepSequence BodyPartExamined PatientPosition
        RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepStartDate
        PerformedProcedureStepStartTime PerformedProcedureStepDescription ClinicalTrialCoordinatingCenterName
        ClinicalTrialSeriesID FrameOfReferenceUID PositionReferenceIndicator SynchronizationFrameOfReferenceUID
        Manufacturer InstitutionName StationName ManufacturerModelName DeviceSerialNumber SoftwareVersions Units
        CountsSource PresentationIntentType NumberOfSeriesRelatedInstances""",
    Level.INSTANCE: """SOPInstanceUID SOPClassUID InstanceNumber ContentDate AcquisitionDate AcquisitionDateTime ImageType Rows
        Columns BitsAllocated NumberOfFrames PixelData PixelPaddingValue ViewPosition ImagePositionPatient SliceThickness
        ContentLabel ConceptNameCodeSequence ExaminedBodyThickness LossyImageCompression AvailableTransferSyntaxUID""",
}


@pytest.mark.parametrize(
    ("keyword", "level"), [(keyword, level) for level, text in LEVELS.items() for keyword in text.split()]
)
def test_level_of(keyword: str, level: Level) -> None:
    assert level_of(TAGS[keyword]) is level


def test_private_attributes_are_of_the_instance() -> None:
    assert level_of("00091001") is Level.INSTANCE
    assert level_of("00111001") is Level.INSTANCE


def test_required_keys_are_those_of_table_10_6_1_5() -> None:
    keys = {level: {keyword_path(path) for path in paths} for level, paths in REQUIRED_KEYS.items()}
    assert len(keys[Level.STUDY]) == 9
    assert len(keys[Level.SERIES]) == 8
    assert keys[Level.INSTANCE] == {"SOPClassUID", "SOPInstanceUID", "InstanceNumber"}
    assert "RequestAttributesSequence.ScheduledProcedureStepID" in keys[Level.SERIES]


@pytest.mark.parametrize("table", [REQUIRED_KEYS, SEARCHABLE])
def test_keys_belong_to_the_level_they_are_listed_at(table: dict[Level, tuple[AttributePath, ...]]) -> None:
    for level, paths in table.items():
        assert paths
        for path in paths:
            assert level_of(path.tags[0]) is level, keyword_path(path)


def test_returned_attributes_are_those_of_tables_10_6_3_3_to_5() -> None:
    counts = {level: len(returned) for level, returned in DEFAULT_RETURNED.items()}
    assert counts == {Level.STUDY: 16, Level.SERIES: 12, Level.INSTANCE: 10}
    types = {keyword_path(one.path): one.type for one in DEFAULT_RETURNED[Level.STUDY]}
    assert types["PatientSex"] == "R"
    assert types["StudyInstanceUID"] == "U"
    assert types["TimezoneOffsetFromUTC"] == "C"


def test_every_default_searchable_attribute_fits_its_table() -> None:
    for paths in SEARCHABLE.values():
        assert len({stored_path(path) for path in paths}) == len(paths)
        assert all(is_indexable(path) for path in paths)


def test_paths() -> None:
    path = standard_path("RequestAttributesSequence.ScheduledProcedureStepID")
    assert path == AttributePath(("00400275", "00400009"), "SH", ("", ""))
    assert keyword_path(path) == "RequestAttributesSequence.ScheduledProcedureStepID"
    assert stored_path(path) == "00400275.00400009"
    assert stored_path(AttributePath(("00230001",), "LO", ("ACME",))) == "ACME|00230001"
    assert stored_path(AttributePath(("00230010", "00080100"), "SH", ("A.B", ""))) == "A.B|00230010.00080100"
    assert stored_path(AttributePath(("00100020",), "LO", ("",))) == "00100020"
    assert keyword_path(AttributePath(("00230001",), "LO", ("ACME",))) == "00230001"
    with pytest.raises(KeyError):
        standard_path("NoSuchKeyword")
    assert not is_indexable(standard_path("PatientComments"))
    assert not is_indexable(standard_path("AcquisitionDateTime"))
    assert not is_indexable(AttributePath(("00230001",), "", ("ACME",)))


def test_the_dictionary_is_both_ways() -> None:
    assert KEYWORDS["0020000D"] == "StudyInstanceUID"
    assert attributes.VRS["00280106"] == "US"  # "US or SS"
    assert all(KEYWORDS[tag] == keyword for keyword, tag in TAGS.items())


def test_study_and_series_attributes_are_told_apart() -> None:
    data = dataset(
        PatientID="A",
        StudyDate="20240101",
        Modality="CT",
        SeriesDescription="head",
        TimezoneOffsetFromUTC="+0100",
        InstanceNumber=1,
        Rows=3,
    )
    assert list(study_attributes(data)) == ["00080020", "00080201", "00100020"]
    assert list(series_attributes(data)) == ["00080060", "00080201", "0008103E"]


def test_what_the_archive_computes_is_not_taken_from_an_instance() -> None:
    data = dataset(
        ModalitiesInStudy=["CT"],
        NumberOfStudyRelatedInstances=7,
        NumberOfSeriesRelatedInstances=7,
        RetrieveURL="http://elsewhere",
        InstanceAvailability="OFFLINE",
        SpecificCharacterSet="ISO_IR 100",
        PatientID="A",
        Modality="CT",
    )
    assert list(study_attributes(data)) == ["00100020"]
    assert list(series_attributes(data)) == ["00080060"]


def test_bulkdata_is_left_out_at_every_depth_and_the_original_stays() -> None:
    nested = {"00080100": {"vr": "SH", "Value": ["A"]}, "00420011": {"vr": "OB", "BulkDataURI": "\x01/x"}}
    data = dataset(PatientID="A", ProcedureCodeSequence=[nested], PatientComments=None)
    data["00104000"] = {"vr": "LT", "BulkDataURI": "\x01/bulkdata/00104000"}
    before = orjson.dumps(data)
    chosen = study_attributes(data)
    assert list(chosen) == ["00081032", "00100020"]
    assert chosen["00081032"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["A"]}}]
    assert orjson.dumps(data) == before
    assert without_bulkdata("garbage") is None


def test_an_attribute_too_large_for_a_row_is_left_to_the_metadata() -> None:
    items = [dataset(CodeValue="x" * 100) for _ in range(MAX_ATTRIBUTE_BYTES // 100)]
    assert list(study_attributes(dataset(PatientID="A", ProcedureCodeSequence=items))) == ["00100020"]


def test_columns() -> None:
    data = dataset(
        StudyDate="20240131",
        StudyTime="1000",
        AccessionNumber=" ACC ",
        StudyID="S1",
        PatientID="Ä\0",
        PatientName="Müller^Jörg=山田^太郎=やまだ^たろう",
        ReferringPhysicianName="DOE^",
        TimezoneOffsetFromUTC="-0530",
        Modality="CT",
        SeriesNumber="007",
        PerformedProcedureStepStartDate="20240130",
        PerformedProcedureStepStartTime="235960.5",
        InstanceNumber=-3,
    )
    assert study_columns(data) == {
        "study_date": "20240131",
        "study_time": "100000.000000",
        "accession_number": "ACC",
        "study_id": "S1",
        "patient_id": "Ä",
        "patient_name_alphabetic": "muller^jorg",
        "patient_name_ideographic": "山田^太郎",
        "patient_name_phonetic": "やまだ^たろう",
        "referring_physician_name_alphabetic": "doe",
        "referring_physician_name_ideographic": "",
        "referring_physician_name_phonetic": "",
        "timezone_offset": "-0530",
    }
    assert series_columns(data) == {
        "modality": "CT",
        "series_number": 7,
        "performed_procedure_step_start_date": "20240130",
        "performed_procedure_step_start_time": "235960.500000",
    }
    assert instance_columns(data) == {
        "instance_number": -3,
        "attributes": b'{"00080201":{"vr":"SH","Value":["-0530"]},"00200013":{"vr":"IS","Value":[-3]}}',
    }


def test_columns_of_nothing() -> None:
    assert set(study_columns({}).values()) == {""}
    assert series_columns({})["series_number"] is None
    assert instance_columns({}) == {"instance_number": None, "attributes": b"{}"}
    assert instance_columns(dataset(NumberOfFrames="1" * 100_000))["attributes"] is None


@pytest.mark.parametrize("number", ["", "abc", "1.5", 2**63, "9" * 5000, "1e400", "nan", {"x": 1}, [1], True])
def test_a_number_that_is_none(number: object) -> None:
    assert series_columns({"00200011": {"vr": "IS", "Value": [number]}})["series_number"] is None


_ANY_CHARACTER = st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"]) | st.sampled_from("\0\ud800")
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(_ANY_CHARACTER),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_INTERESTING = sorted(
    {path.tags[0] for paths in SEARCHABLE.values() for path in paths}
    | {path.tags[0] for paths in REQUIRED_KEYS.values() for path in paths}
)


@given(
    st.dictionaries(
        st.sampled_from(_INTERESTING),
        _JSON | st.fixed_dictionaries({"vr": st.sampled_from(["SQ", "PN", "LO", "DA"]), "Value": _JSON}),
        max_size=8,
    )
)
def test_garbage_breaks_nothing(data: dict[str, object]) -> None:
    columns = study_columns(data) | series_columns(data) | instance_columns(data)
    prepared = columns.pop("attributes")
    assert prepared is None or isinstance(prepared, bytes)
    for name, value in columns.items():
        if value is None or isinstance(value, int):
            assert name in ("series_number", "instance_number")
            continue
        assert isinstance(value, str)
        assert "\0" not in value
        assert len(value.encode()) <= 1024  # encodes: no lone surrogates
    for level, path, value in searchable_values(data):
        assert level in (0, 1, 2)
        assert value
        assert "\0" not in value
        assert len(value.encode()) + len(path) < 1200


def test_a_date_that_is_none_is_kept_out_of_the_way() -> None:
    for garbage in ("20240230", "2024", "yesterday", "20240101-", "00000000", "٢٠٢٤٠١٠١"):
        column = study_columns(dataset(StudyDate=garbage))["study_date"]
        assert isinstance(column, str)
        assert column.startswith("!")
        assert column < "0"


def test_searchable_values() -> None:
    request = dataset(ScheduledProcedureStepID="SPS1", RequestedProcedureID="RP1")
    data = dataset(
        PatientName="Müller^Jörg",
        PatientBirthDate="1970.01.02",
        OtherPatientIDs=["A", "B", "A", None, ""],
        OperatorsName=["Doe^Jane=山田"],
        RequestAttributesSequence=[request, dataset(ScheduledProcedureStepID="SPS2"), dataset()],
        ConceptNameCodeSequence=[dataset(CodeValue="113000", CodingSchemeDesignator="DCM")],
    )
    rows = searchable_values(data)
    assert len(rows) == len(set(rows))
    assert [row for row in rows if row[1] == "00101000"] == [(0, "00101000", "A"), (0, "00101000", "B")]
    assert (0, "00100030", "19700102") in rows
    assert {row for row in rows if row[1].startswith("00400275")} == {
        (1, "00400275.00400009", "SPS1"),
        (1, "00400275.00400009", "SPS2"),
        (1, "00400275.00401001", "RP1"),
    }
    assert {row[2] for row in rows if row[1] == "00081070"} == {"doe^jane", "山田"}
    assert {row[2] for row in rows if row[1] == "00081070~word"} == {"doe", "jane", "山田"}
    assert {row[2] for row in rows if row[1] == "00100010~word"} == {"muller", "jorg"}
    assert (2, "0040A043.00080100", "113000") in rows
    assert not [row for row in rows if row[1] == "00100010"]  # has a column


def test_searchable_values_of_one_level() -> None:
    data = dataset(PatientSex="M", StationName="CT1", ContainerIdentifier="C", PatientName="Doe")
    extra = [standard_path("ContentDate"), standard_path("PatientState")]
    every = searchable_values(data, extra)
    for level, number in attributes.LEVEL_NUMBER.items():
        assert searchable_values(data, extra, [level]) == [row for row in every if row[0] == number]


def test_extra_searchable_values() -> None:
    data = dataset(
        ContentDate="20240101",
        AcquisitionDateTime="20240101",
        ImageComments="long text",
        _00430010={"vr": "LO", "Value": ["GEMS_PARM_01 "]},
        _00431001={"vr": "SS", "Value": [5, -1]},
        _00430011={"vr": "LO", "Value": ["OTHER"]},
        _00431101={"vr": "SS", "Value": [9]},
    )
    private = AttributePath(("00430001",), "SS", ("GEMS_PARM_01",))
    extra = [standard_path(keyword) for keyword in ("ContentDate", "AcquisitionDateTime", "ImageComments")]
    rows = searchable_values(data, [*extra, private])
    assert rows == [
        (2, "00080023", "20240101"),
        (2, "GEMS_PARM_01|00430001", "5"),
        (2, "GEMS_PARM_01|00430001", "-1"),
    ]


def test_the_number_of_values_is_bounded() -> None:
    values = [str(number) for number in range(2 * MAX_VALUES_PER_PATH)]
    assert len(searchable_values(dataset(OtherPatientIDs=values))) == MAX_VALUES_PER_PATH
    names = [f"{number}" for number in range(2 * MAX_NAMES_PER_PATH)]
    assert len(searchable_values(dataset(PhysiciansOfRecord=names))) == 3 * MAX_NAMES_PER_PATH  # name, word, spelling
    words = " ".join(f"word{number}" for number in range(1000))
    assert len(searchable_values(dataset(PatientName=words))) <= 2 * 32


def test_private_blocks_are_found_by_their_creator() -> None:
    inner = {
        "00090011": {"vr": "LO", "Value": ["ACME"]},
        "00091105": {"vr": "LO", "Value": ["inner"]},
    }
    data = {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00090020": {"vr": "LO", "Value": ["ACME "]},
        "00090021": {"vr": "LO", "Value": ["acme"]},
        "00091005": {"vr": "LO", "Value": ["one"]},
        "00092005": {"vr": "LO", "Value": ["two"]},
        "00092105": {"vr": "LO", "Value": ["other"]},
        "00081032": {"vr": "SQ", "Value": [inner, "garbage", None]},
    }
    path = AttributePath(("00090005",), "LO", ("ACME",))
    assert [element["Value"] for element in elements_at(data, path)] == [["one"], ["two"]]
    nested = AttributePath(("00081032", "00090005"), "LO", ("", "ACME"))
    assert [element["Value"] for element in elements_at(data, nested)] == [["inner"]]
    literal = AttributePath(("00091005",), "LO", ("",))
    assert [element["Value"] for element in elements_at(data, literal)] == [["one"]]


def _files() -> list[Path]:
    folder = os.environ.get("GANTRY_TEST_DATA")
    if folder:
        return [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    package = Path(pydicom.data.__file__).parent
    return sorted(path for name in ("test_files", "charset_files") for path in (package / name).glob("*.dcm"))


def test_real_files_give_columns_and_values_that_fit() -> None:
    read = 0
    for file in _files():
        try:
            parsed = parse_instance(file.read_bytes())
        except DicomError:
            continue
        read += 1
        stored = orjson.dumps([study_attributes(parsed.dataset), series_attributes(parsed.dataset)])
        assert b"BulkDataURI" not in stored
        columns = study_columns(parsed.dataset) | series_columns(parsed.dataset) | instance_columns(parsed.dataset)
        assert columns["patient_id"] == parsed.text("00100020").strip()[:256]
        assert (columns["instance_number"] is None) == (not parsed.text("00200013")), file
        for _, _, value in searchable_values(parsed.dataset):
            assert 0 < len(value.encode()) <= 1024
    assert read > 30
