"""Every real file, converted, says what it said before: pydicom reads equal elements and equal pixels."""

import io
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from app.dicom.header import parse_instance
from app.dicom.native_pixels import swap_bytes
from app.dicom.transfer_syntaxes import TransferSyntax, transfer_syntax
from app.errors import CodecError, DicomError
from tests.dicom.conversion import execute, packaged_files, plan_of

PIXEL_DATA = 0x7FE00010
ENCAPSULATION = {PIXEL_DATA, 0x7FE00001, 0x7FE00002, 0x7FE00003}
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Its SIZ marker segment was overwritten on purpose: no decoder reads it.
UNDECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}


def additional_files() -> list[Path]:
    folder = os.environ.get("GANTRY_TEST_DATA")
    return sorted(Path(folder).rglob("*.dcm")) if folder else []


@pytest.mark.parametrize("path", [*packaged_files(), *additional_files()], ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore")  # pydicom warns of what is odd in these files, on reading either side
def test_a_converted_file_says_what_it_said(path: Path) -> None:
    data = path.read_bytes()
    try:
        parsed = parse_instance(data)
    except DicomError:
        return  # not accepted, so never converted
    if path.name in UNDECODABLE:
        with pytest.raises(CodecError):
            execute(plan_of(data, parsed), data, parsed)
        return
    syntax = transfer_syntax(parsed.transfer_syntax_uid)
    converted = execute(plan_of(data, parsed), data, parsed)

    before = pydicom.dcmread(io.BytesIO(data), force=True)
    after = pydicom.dcmread(io.BytesIO(converted))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    check_file_meta(converted, before, after)
    check_elements(before, after, syntax, is_top_level=True)
    if any(keyword in after for keyword in PIXEL_KEYWORDS) and path.name != "badVR.dcm" and "Rows" in after:
        check_pixels(before, after)


def check_file_meta(converted: bytes, before: Dataset, after: Dataset) -> None:
    assert converted[128:132] == b"DICM"
    length = int.from_bytes(converted[140:144], "little")
    assert converted[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    following = converted[144 + length : 146 + length]
    assert following != b"\x02\x00"
    for element in getattr(before, "file_meta", ()):
        if element.keyword not in ("FileMetaInformationGroupLength", "TransferSyntaxUID"):
            assert after.file_meta[element.tag].value == element.value


def check_elements(before: Dataset, after: Dataset, syntax: TransferSyntax, *, is_top_level: bool) -> None:
    changed = set()
    if is_top_level:
        changed = {PIXEL_DATA}
        if syntax.encapsulated and "PixelData" in before:
            changed |= ENCAPSULATION | {0x00280004, 0x00280006}
    kept = {e.tag for e in before if e.tag.element} - changed
    assert kept == {e.tag for e in after if e.tag.element} - changed
    for tag in sorted(kept):
        old, new = before[tag], after[tag]
        assert new.VR == old.VR or old.VR == "US or SS"
        if old.VR == "SQ":
            assert len(old.value) == len(new.value)
            for old_item, new_item in zip(old.value, new.value, strict=True):
                check_elements(old_item, new_item, syntax, is_top_level=False)
            continue
        value = old.value
        if isinstance(value, bytes):
            width = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}.get(old.VR, 1) if syntax.big_endian else 1
            value = swap_bytes(value, width) + b"\0" * (len(value) % 2)
        assert new.value == value or (new.value != new.value and value != value)


def check_pixels(before: Dataset, after: Dataset) -> None:
    pixels = after.pixel_array
    try:
        expected = before.pixel_array  # in RGB where pydicom thinks that the codestream is YCbCr, as we do
    except (RuntimeError, NotImplementedError, AttributeError, ValueError):
        # No decoder of pydicom for it here: tests/dicom/test_codecs.py compares these with what they were made from.
        assert pixels.size == after.Rows * after.Columns * after.SamplesPerPixel * int(after.get("NumberOfFrames") or 1)
        return
    assert pixels.shape == expected.shape
    assert pixels.dtype.kind == expected.dtype.kind
    # Bit for bit, lossy codecs included: both sides use libjpeg-turbo and OpenJPEG. Another build may round otherwise.
    tolerance = (
        1 if after.get("LossyImageCompression") == "01" or "JPEG" in before.file_meta.TransferSyntaxUID.name else 0
    )
    difference = np.abs(pixels.astype("f8") - expected.astype("f8"))
    assert difference.max(initial=0) <= tolerance
