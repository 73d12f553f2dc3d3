"""The one-pass reader against pydicom, over every file there is, but for the differences that app.dicom.header documents."""

import base64
import csv
import io
import os
import warnings
from pathlib import Path

import orjson
import pydicom
import pytest
from pydicom.data import get_testdata_file

from app.dicom import header
from app.dicom.deflated import inflate_data_set
from app.dicom.header import parse_instance
from app.dicom.instance import INSTANCE_URL_MARK, ParsedInstance
from app.dicom.json_model import EMITTERS, EMITTERS_BIG_ENDIAN, to_little_endian
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import DicomError

PACKAGE = Path(pydicom.__file__).parent / "data"
BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
# The package's own files that break the rules: they may be refused.
MAY_BE_REFUSED = {
    "MR_truncated.dcm",
    "rtplan_truncated.dcm",
    "DICOMDIR-nooffset",
    "meta_missing_tsyntax.dcm",
    "no_meta.dcm",
    "UN_sequence.dcm",
    "bad_sequence.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
}


def package_files() -> list[Path]:
    found = [path for path in sorted(PACKAGE.rglob("*")) if path.is_file()]
    return [path for path in found if path.suffix == ".dcm" or path.name.startswith("DICOMDIR")]


def manifest_files() -> list[tuple[Path, str]]:
    folder = os.environ.get("GANTRY_TEST_DATA")
    if not folder:
        return []
    with (Path(folder) / "MANIFEST.csv").open(newline="") as manifest:
        return [(Path(folder) / row["file"], row["expect"]) for row in csv.DictReader(manifest)]


FILES = [(path, "either" if path.name in MAY_BE_REFUSED else "accept") for path in package_files()] + manifest_files()


@pytest.mark.parametrize(("path", "expect"), FILES, ids=lambda value: getattr(value, "name", value))
def test_same_json_as_pydicom(path: Path, expect: str) -> None:
    data = path.read_bytes()
    try:
        parsed = parse_instance(data)
    except DicomError:
        assert expect == "either"
        return
    check_against_pydicom(data, parsed)


@pytest.mark.parametrize(("path", "expect"), FILES, ids=lambda value: getattr(value, "name", value))
def test_slow_reader_gives_the_same(path: Path, expect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = path.read_bytes()
    try:
        fast = parse_instance(data)
    except DicomError:
        assert expect == "either"
        return

    def give_up(*_: object) -> None:
        raise header.Odd("on purpose")

    monkeypatch.setattr(header.DataSetReader, "read_top_level", give_up)
    slow = parse_instance(data)
    assert orjson.loads(text_of(slow)) == orjson.loads(text_of(fast))
    assert set(slow.bulkdata) == set(fast.bulkdata)
    assert (slow.pixel_data, slow.frame_index) == (fast.pixel_data, fast.frame_index)


def test_a_view_of_a_mapped_file_is_read_like_bytes() -> None:
    data = Path(get_testdata_file("CT_small.dcm")).read_bytes()
    assert parse_instance(memoryview(data)).json == parse_instance(data).json


def text_of(parsed: ParsedInstance) -> bytes:
    """JSON text with the mark replaced, as it is served."""
    return parsed.json.replace(INSTANCE_URL_MARK, b"http://archive")


def check_against_pydicom(data: bytes, parsed: ParsedInstance) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        try:
            theirs = dataset.to_json_dict()
        except ValueError:
            assert "1A" in parsed.text("00280008")  # badVR.dcm: what pydicom cannot convert is kept as text here
            return
    syntax = transfer_syntax(parsed.transfer_syntax_uid)
    stored = inflate_data_set(data[parsed.dataset_offset :]) if syntax.deflated else data
    values = {item.path: stored[item.offset : item.offset + item.length] for item in parsed.bulkdata}
    if parsed.pixel_data is not None and parsed.pixel_data.length is None:
        # Encapsulated: all from the offset table on; pydicom keeps no delimiter.
        values[f"{int(dataset['PixelData'].tag):08X}"] = stored[parsed.pixel_data.offset : parsed.pixel_data.end - 8]
    compare(orjson.loads(text_of(parsed)), theirs, values, big_endian=syntax.big_endian, prefix="")


def compare(ours: dict, theirs: dict, values: dict[str, bytes], *, big_endian: bool, prefix: str) -> None:
    theirs = {key: element for key, element in theirs.items() if key[4:] != "0000" and key[:4] not in ("0000", "0002")}
    assert list(ours) == sorted(theirs)
    for key, element in ours.items():
        compare_element(prefix + key, key, element, theirs[key], values, big_endian=big_endian)


def compare_element(
    path: str, key: str, ours: dict, theirs: dict, values: dict[str, bytes], *, big_endian: bool
) -> None:
    vr = ours["vr"]
    assert len(ours) <= 2
    assert vr == theirs["vr"] or vr in theirs["vr"].split(" or "), path
    if key == "00080005":
        assert ours["Value"] == ["ISO_IR 192"]
    elif vr == "SQ":
        assert len(ours.get("Value", ())) == len(theirs.get("Value", ())), path
        pairs = zip(ours.get("Value", ()), theirs.get("Value", ()), strict=True)
        for number, (one, other) in enumerate(pairs, start=1):
            compare(one, other, values, big_endian=big_endian, prefix=f"{path}.{number}.")
    elif vr in BINARY:
        expected = base64.b64decode(theirs.get("InlineBinary", ""))
        if "BulkDataURI" in ours:
            assert ours["BulkDataURI"] == f"http://archive/bulkdata/{path}"
            assert values[path] == expected, path
        else:
            swapped = to_little_endian(expected, vr) if big_endian else expected
            assert base64.b64decode(ours.get("InlineBinary", "")) == swapped, path
    else:
        if "BulkDataURI" in ours:
            table = EMITTERS_BIG_ENDIAN if big_endian else EMITTERS
            ours = table[vr](values[path], ("latin-1",))
        assert [plain(value) for value in ours.get("Value", ())] == expected_values(theirs), path


def expected_values(theirs: dict) -> list:
    values = [plain(value) for value in theirs.get("Value", ())]
    return [] if values == [None] else values


def plain(value: object) -> object:
    """A value without what is a matter of form: padding, empty or null, 2 or 2.0 or "2"."""
    if isinstance(value, dict):
        return {group: text.strip(" \0") for group, text in value.items() if text.strip(" \0")} or None
    if isinstance(value, str):
        text = value.strip(" \0")
        try:
            value = float(text)
        except ValueError:
            return text or None
    if value is None:
        return None
    number = float(value)
    return number if number == number else "NaN"
