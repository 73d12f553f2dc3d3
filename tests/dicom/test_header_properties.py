"""Data sets that pydicom writes are read alike in every encoding; broken files raise nothing but DicomError, soon."""

import io
import struct
import time
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from app.dicom.deflated import inflate_data_set
from app.dicom.frame_index import frame_count, locate_frames
from app.dicom.header import parse_instance, read_file_meta
from app.dicom.instance import INSTANCE_URL_MARK, ParsedInstance
from app.dicom.json_model import EMITTERS, EMITTERS_BIG_ENDIAN, to_little_endian
from app.dicom.layout import layout_of
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.dicom.xml_model import to_native_xml
from app.errors import DicomError
from tests.dicom.test_header_against_pydicom import PACKAGE, check_against_pydicom
from tests.support.dicom_bytes import BIG_ENDIAN, EXPLICIT, IMPLICIT, make_instance, part10

DEFLATED = "1.2.840.10008.1.2.1.99"

TEXT = st.text(alphabet="abcZ 09^=\\éЖ山", max_size=20)
SHORT = st.text(alphabet="ABC_09", max_size=12)
NUMBERS = st.decimals(-1000, 1000, places=4, allow_nan=False).map(str)


def several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(one, max_size=4)


ELEMENTS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "ImageType": ("CS", several(SHORT)),
    "SOPInstanceUID": ("UI", st.from_regex(r"1(\.[1-9][0-9]{0,5}){1,5}", fullmatch=True)),
    "StudyDate": ("DA", st.dates().map(lambda day: f"{day:%Y%m%d}".rjust(8, "0"))),
    "PatientName": ("PN", st.lists(st.text(alphabet="abZ ^éЖ山", max_size=12), max_size=3).map("=".join)),
    "PatientComments": ("LT", TEXT),
    "OtherPatientIDs": ("LO", TEXT),
    "ImagePositionPatient": ("DS", several(NUMBERS)),
    "ReferencedFrameNumber": ("IS", several(st.integers(-(2**31), 2**31 - 1).map(str))),
    "FrameIncrementPointer": ("AT", several(st.integers(0, 2**32 - 1))),
    "Rows": ("US", st.integers(0, 2**16 - 1)),
    "TagAngleSecondAxis": ("SS", st.integers(-(2**15), 2**15 - 1)),
    "SimpleFrameList": ("UL", several(st.integers(0, 2**32 - 1))),
    "ReferencePixelX0": ("SL", st.integers(-(2**31), 2**31 - 1)),
    "RecommendedDisplayFrameRateInFloat": ("FL", st.floats(width=32)),
    "DopplerCorrectionAngle": ("FD", several(st.floats())),
    "SelectorSVValue": ("SV", several(st.integers(-(2**63), 2**63 - 1))),
    "SelectorUVValue": ("UV", several(st.integers(0, 2**64 - 1))),
    "EncapsulatedDocument": ("OB", st.binary(max_size=600).map(lambda raw: raw * 3)),
    "RedPaletteColorLookupTableData": ("OW", st.binary(max_size=600).map(lambda raw: raw * 4)),
    "PointCoordinatesData": ("OF", st.binary(max_size=300).map(lambda raw: raw * 8)),
    "LongCodeValue": ("UC", TEXT),
    "RetrieveURL": ("UR", st.just("http://example.org/a?b")),
    "TextValue": ("UT", st.one_of(TEXT, st.just("long " * 300))),
}


def datasets(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    fields: dict[str, st.SearchStrategy[Any]] = {keyword: value for keyword, (_, value) in ELEMENTS.items()}
    if depth:
        fields["ReferencedSeriesSequence"] = st.lists(datasets(depth - 1), max_size=2)
    return st.fixed_dictionaries({}, optional=fields)


def dataset_of(values: dict[str, Any], *, undefined: bool, big_endian: bool) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        if keyword == "ReferencedSeriesSequence":
            items = [dataset_of(one, undefined=undefined, big_endian=big_endian) for one in value]
            for one in items:
                one.is_undefined_length_sequence_item = undefined
            dataset.ReferencedSeriesSequence = items
            dataset["ReferencedSeriesSequence"].is_undefined_length = undefined
        elif big_endian and isinstance(value, bytes):
            setattr(dataset, keyword, to_little_endian(value, ELEMENTS[keyword][0]))  # pydicom writes bytes as they are
        else:
            setattr(dataset, keyword, value)
    return dataset


def written(values: dict[str, Any], syntax: str, *, undefined: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax != BIG_ENDIAN
    buffer.is_implicit_VR = syntax == IMPLICIT
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.update(dataset_of(values, undefined=undefined, big_endian=syntax == BIG_ENDIAN))
    write_dataset(buffer, dataset, "utf8")
    return buffer.getvalue()


def without_bulkdata(parsed: ParsedInstance, data: bytes) -> Any:
    """The JSON with the bulkdata put back as values, so that byte orders can be compared."""
    syntax = TRANSFER_SYNTAXES[parsed.transfer_syntax_uid]
    stored = inflate_data_set(data[parsed.dataset_offset :]) if syntax.deflated else data
    read = orjson.loads(parsed.json.replace(INSTANCE_URL_MARK, b""))
    for item in parsed.bulkdata:
        *places, last = item.path.split(".")
        inner = read
        for key, number in zip(places[::2], places[1::2], strict=True):
            inner = inner[key]["Value"][int(number) - 1]
        emitters = EMITTERS_BIG_ENDIAN if syntax.big_endian else EMITTERS
        inner[last] = emitters[item.vr](stored[item.offset : item.offset + item.length], ("utf-8",))
    return read


@pytest.mark.filterwarnings("ignore:Value exceeds:UserWarning", "ignore:Invalid value:UserWarning")
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50, deadline=None)
@given(values=datasets(), undefined=st.booleans())
def test_same_json_in_every_encoding(values: dict[str, Any], undefined: bool) -> None:
    results = []
    for uid in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED):
        syntax = EXPLICIT if uid == DEFLATED else uid
        data = part10(written(values, syntax, undefined=undefined), uid)
        parsed = parse_instance(data)
        check_against_pydicom(data, parsed)
        results.append(without_bulkdata(parsed, data))
    assert all(result == results[0] for result in results)


SMALL = [
    next(PACKAGE.rglob(name)).read_bytes()
    for name in (
        "rtplan.dcm",
        "test-SR.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "image_dfl.dcm",
        "reportsi.dcm",
        "priv_SQ.dcm",
        "UN_sequence.dcm",
        "chrH32.dcm",
        "SC_rgb_rle_16bit_2frame.dcm",
    )
] + [make_instance(transfer_syntax=uid, frames=3) for uid in (IMPLICIT, "1.2.840.10008.1.2.4.50")]

# (position as a share of the file, bytes to take away, bytes to put there)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=6
)


def changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for where, removed, added in changes:
        place = 132 + int(where * max(0, len(data) - 132))
        data = data[:place] + added + data[place + removed :]
    return data


def read_all(data: bytes) -> None:
    """Everything that is made of a file; DicomError is the only thing that may go wrong."""
    began = time.process_time()
    read_file_meta(data)
    try:
        parsed = parse_instance(data)
    except DicomError:
        return
    finally:
        assert time.process_time() - began < 2
    read = orjson.loads(parsed.json.replace(INSTANCE_URL_MARK, b""))
    assert list(read) == sorted(read)
    layout_of(parsed)
    to_native_xml(parsed.dataset)
    size = len(data)
    if TRANSFER_SYNTAXES[parsed.transfer_syntax_uid].deflated:
        size = len(inflate_data_set(data[parsed.dataset_offset :]))
    assert all(item.offset >= 0 and item.offset + max(item.length, 0) <= size for item in parsed.bulkdata)
    count = frame_count(parsed.frame_index)
    for frame in locate_frames(parsed.frame_index, {1, count}) if count else ():
        assert all(offset >= 0 and offset + length <= size for offset, length in frame.runs)


@settings(max_examples=400, deadline=None)
@given(data=st.sampled_from(SMALL), changes=CHANGES)
def test_changed_files_raise_nothing_else(data: bytes, changes: list[tuple[float, int, bytes]]) -> None:
    read_all(changed(data, changes))


@settings(max_examples=200, deadline=None)
@given(data=st.sampled_from(SMALL), share=st.floats(0, 1))
def test_cut_files_raise_nothing_else(data: bytes, share: float) -> None:
    read_all(data[: int(share * len(data))])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, "1.2.840.10008.1.2.4.90"]))
@example(b"", EXPLICIT)
def test_random_data_sets_raise_nothing_else(dataset: bytes, uid: str) -> None:
    read_all(part10(dataset, uid))
    read_all(dataset)


@pytest.mark.parametrize("uid", [EXPLICIT, IMPLICIT])
def test_a_million_bytes_of_nothing_are_read_in_time(uid: str) -> None:
    head = struct.pack("<HHI", 0x0008, 0x0001, 0) if uid == IMPLICIT else b"\x08\x00\x01\x00UN\0\0\0\0\0\0"
    for filler in (
        head,
        b"\xfe\xff\x0d\xe0\0\0\0\0",
        b"\x09\x00\x10\x10ZZ\0\0",
        b"\x09\x00\x10\x10",
        bytes(8),
        b"\xff" * 8,
    ):
        began = time.process_time()
        with suppress(DicomError):
            parse_instance(part10(head + filler * (1_000_000 // len(filler)) + b"x", uid))
        assert time.process_time() - began < 10


def test_pydicom_reads_what_the_builder_writes() -> None:
    data = make_instance(PatientName="山田^太郎", SpecificCharacterSet="ISO_IR 192")
    check_against_pydicom(data, parse_instance(data))
    assert io.BytesIO(data).read(132)[128:] == b"DICM"
