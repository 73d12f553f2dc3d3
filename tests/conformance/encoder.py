"""DICOM files written element by element (PS3.5 section 7, PS3.10 section 7), for tests that know every byte.

A data set is a dict of tag to (VR, value). Values: str (encoded in `charset`), bytes (as they are, little endian), a tuple of
numbers (for VRs of numbers and AT), a list of data sets (SQ), or Fragments (encapsulated pixel data).
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
MPEG4 = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"

IMPLEMENTATION_CLASS_UID = "2.25.302594637208211395853142437212571113221"

_LONG_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_NUMBERS = {
    "AT": "HH",
    "FD": "d",
    "FL": "f",
    "OD": "d",
    "OF": "f",
    "OL": "I",
    "OV": "Q",
    "OW": "H",
    "SL": "i",
    "SS": "h",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_SWAPPED = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # given as little-endian bytes


@dataclass(frozen=True, slots=True)
class Fragments:
    """Encapsulated pixel data (PS3.5 A.4): fragments as they are, the Basic Offset Table's value before them."""

    fragments: tuple[bytes, ...]
    offset_table: bytes = b""


Dataset = Mapping[int, tuple[str, "Value"]]
Value = str | bytes | tuple[float, ...] | Sequence[Dataset] | Fragments


def attributes(**by_keyword: Value) -> dict[int, tuple[str, Value]]:
    """A data set from keywords; VRs are those of PS3.6 (the first where it allows several)."""
    dataset: dict[int, tuple[str, Value]] = {}
    for keyword, value in by_keyword.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        dataset[tag] = (dictionary_VR(tag).split(" or ")[0], value)
    return dataset


def encode(dataset: Dataset, syntax: str = EXPLICIT, charset: str = "utf-8") -> bytes:
    """The data set in ascending order of its tags; undeflated for Deflated Explicit VR LE."""
    return b"".join(
        _element(tag, vr, value, syntax == IMPLICIT, syntax == BIG_ENDIAN, charset)
        for tag, (vr, value) in sorted(dataset.items())
    )


def _element(tag: int, vr: str, value: Value, implicit: bool, big: bool, charset: str) -> bytes:
    order = ">" if big else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if isinstance(value, Fragments):
        return head + vr.encode() + bytes(2) + b"\xff" * 4 + _fragments(value)
    content = _content(vr, value, implicit, big, charset)
    if implicit:
        return head + struct.pack("<I", len(content)) + content
    if vr in _LONG_VRS:
        return head + vr.encode() + bytes(2) + struct.pack(f"{order}I", len(content)) + content
    return head + vr.encode() + struct.pack(f"{order}H", len(content)) + content


def _content(vr: str, value: Value, implicit: bool, big: bool, charset: str) -> bytes:
    order = ">" if big else "<"
    if isinstance(value, str):
        encoded = value.encode(charset)
        return encoded + (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)
    if isinstance(value, bytes):
        value += bytes(len(value) % 2)
        return _swap(value, _SWAPPED[vr]) if big and vr in _SWAPPED else value
    if isinstance(value, tuple):
        if vr == "AT":
            return b"".join(struct.pack(f"{order}HH", int(tag) >> 16, int(tag) & 0xFFFF) for tag in value)
        kind = _NUMBERS[vr]
        return struct.pack(f"{order}{len(value)}{kind}", *(value if kind in "df" else map(int, value)))
    assert not isinstance(value, Fragments)
    items = b""
    for item in value:
        syntax = IMPLICIT if implicit else BIG_ENDIAN if big else EXPLICIT
        body = encode(item, syntax, charset)
        items += struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(body)) + body
    return items


def _swap(value: bytes, width: int) -> bytes:
    return b"".join(value[start : start + width][::-1] for start in range(0, len(value), width))


def _fragments(value: Fragments) -> bytes:
    written = b""
    for item in (value.offset_table, *value.fragments):
        item += bytes(len(item) % 2)
        written += struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    return written + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def part10(
    dataset: Dataset,
    syntax: str = EXPLICIT,
    *,
    charset: str = "utf-8",
    preamble: bytes = bytes(128),
    meta: Mapping[str, str] | None = None,
) -> bytes:
    """A PS3.10 file. `meta` replaces values of the file meta information by keyword; an empty value drops the element."""
    body = encode(dataset, syntax, charset)
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-15)
        body = deflater.compress(body) + deflater.flush()
        body += bytes(len(body) % 2)  # PS3.5 A.5
    values: dict[str, Value] = {
        "MediaStorageSOPClassUID": dataset.get(0x00080016, ("UI", ""))[1],
        "MediaStorageSOPInstanceUID": dataset.get(0x00080018, ("UI", ""))[1],
        "TransferSyntaxUID": syntax,
        "ImplementationClassUID": IMPLEMENTATION_CLASS_UID,
        **(meta or {}),
    }
    named = attributes(**{keyword: value for keyword, value in values.items() if value})
    header = encode({0x00020001: ("OB", b"\0\1"), **named})
    group_length = encode({0x00020000: ("UL", (len(header),))})
    return preamble + b"DICM" + group_length + header + body
