"""The first bytes of a file: against pydicom over every file of its package, and by hand."""

import os
import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.dicom_head import HEAD_SIZE, Head, read_head
from tests.support.dicom_bytes import (
    BIG_ENDIAN,
    CT_IMAGE_STORAGE,
    EXPLICIT,
    IMPLICIT,
    element,
    file_meta,
    make_instance,
    part10,
    sequence,
)

DEFLATED = "1.2.840.10008.1.2.1.99"
UID = "1.2.826.0.1.3680043.8.498.77"


def corpus() -> list[Path]:
    folders = [Path(pydicom.__file__).parent / "data" / name for name in ("test_files", "charset_files")]
    if more := os.environ.get("GANTRY_TEST_DATA"):
        folders.append(Path(more))
    return sorted(
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".dcm", "") and path.is_file()
    )


def by_pydicom(path: Path) -> str | None:
    """The SOP Instance UID that pydicom finds; None where it finds no data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        if not dataset and not dataset.file_meta:
            return None
        return str(dataset.get("SOPInstanceUID") or dataset.file_meta.get("MediaStorageSOPInstanceUID") or "")


def test_agrees_with_pydicom_over_its_own_files() -> None:
    differing = {}
    for path in corpus():
        head = read_head(path.read_bytes()[:HEAD_SIZE])
        if path.name in ("no_meta.dcm", "bad_sequence.dcm") or (not path.suffix and head is None):
            continue  # broken before (0008,0018), and texts
        expected = by_pydicom(path)
        if head is None or head.sop_instance_uid != expected:
            differing[str(path)] = (head, expected)
    assert differing == {}
    assert len(corpus()) > 100


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, "1.2.840.10008.1.2.4.90"])
def test_finds_the_instance_in_every_encoding(syntax: str) -> None:
    head = read_head(make_instance(sop=UID, transfer_syntax=syntax)[:HEAD_SIZE])
    assert head == Head(UID, is_directory=False, transfer_syntax_uid=syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_finds_the_instance_without_preamble_and_meta(syntax: str) -> None:
    bare = element(0x00080016, "UI", CT_IMAGE_STORAGE, syntax) + element(0x00080018, "UI", UID, syntax)
    assert read_head(bare + bytes(1000)) == Head(UID, is_directory=False)


def test_meta_without_preamble() -> None:
    content = file_meta(EXPLICIT, "1.2.3") + element(0x00080018, "UI", UID)
    assert read_head(content) == Head(UID, is_directory=False, transfer_syntax_uid=EXPLICIT)


def test_the_data_set_wins_over_the_meta_information() -> None:
    content = part10(element(0x00080018, "UI", UID), sop_instance="1.2.3")
    head = read_head(content)
    assert head is not None
    assert head.sop_instance_uid == UID


def test_the_meta_information_serves_where_the_data_set_cannot_be_followed() -> None:
    # A sequence of undefined length stands before (0008,0018): (0008,0006).
    data_set = sequence(0x00080006, [b""], undefined=True) + element(0x00080018, "UI", UID)
    head = read_head(part10(data_set, sop_instance="1.2.3"))
    assert head is not None
    assert head.sop_instance_uid == "1.2.3"


def test_a_damaged_deflated_data_set_leaves_the_meta_information() -> None:
    content = bytes(128) + b"DICM" + file_meta(DEFLATED, "1.2.3") + b"\xff" * 50
    head = read_head(content)
    assert head is not None
    assert head.sop_instance_uid == "1.2.3"


def test_a_directory_is_recognised() -> None:
    content = part10(b"", sop_class="1.2.840.10008.1.3.10")
    head = read_head(content)
    assert head is not None
    assert head.is_directory


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"DICM",
        b"hello, world, this is a text" * 20,
        b"\x89PNG\r\n\x1a\n" + bytes(300),
        b"PK\x03\x04" + bytes(300),
        b"\xff\xd8\xff\xe0" + bytes(300),
        bytes(2000),
        b"\x08\x00",  # a lone group number
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100",  # one element is not enough to believe it
        b"\x02\x00\x10\x00XX\x04\x00abcd",  # no such VR
        b"\x08\x00\x18\x00UI\xff\xff1.2",  # longer than the file
    ],
)
def test_other_files_are_not_taken_for_dicom(content: bytes) -> None:
    assert read_head(content) is None


def test_a_prefix_makes_it_dicom_whatever_follows() -> None:
    assert read_head(bytes(128) + b"DICM" + b"\xff" * 100) == Head("", is_directory=False)


def test_what_is_no_uid_is_not_given_out() -> None:
    head = read_head(part10(element(0x00080018, "UI", "../../etc/passwd"), sop_instance="a/b"))
    assert head == Head("", is_directory=False, transfer_syntax_uid=EXPLICIT)


def test_descending_tags_end_the_walk() -> None:
    loop = struct.pack("<HHI", 0x0008, 0x0005, 0) * 5000
    head = read_head(part10(loop, IMPLICIT, sop_instance="1.2.3"))
    assert head is not None
    assert head.sop_instance_uid == "1.2.3"


@given(st.binary(max_size=600))
def test_any_bytes_are_answered(content: bytes) -> None:
    head = read_head(content)
    assert head is None or isinstance(head.sop_instance_uid, str)


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED]))
def test_any_bytes_behind_a_sound_beginning_are_answered(content: bytes, syntax: str) -> None:
    head = read_head(bytes(128) + b"DICM" + file_meta(syntax, "1.2.3") + content)
    assert head is not None
    assert head.transfer_syntax_uid == syntax
