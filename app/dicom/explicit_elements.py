"""Data elements of any encoding, and the same as Explicit VR Little Endian (PS3.5 7.1, Annex A)."""

import struct
from dataclasses import dataclass

from app.dicom.dictionary import dictionary_vr, private_dictionary_vr
from app.dicom.native_pixels import swap_width
from app.dicom.vr_lookup import LONG_VRS, STANDARD_VRS, is_private, is_private_creator
from app.errors import TruncatedDicom

UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_LENGTH = 0xFFFFFFFE  # of a value whose length is written (PS3.5 7.1.1)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_MAX_SHORT_LENGTH = 0xFFFE
_PADDED_BY_SPACE = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written: PS3.5 7.1.3 (implicit VR) and 7.3 (byte order)."""

    implicit_vr: bool
    big_endian: bool


@dataclass(frozen=True, slots=True)
class Element:
    """One element's header. vr  "" where none is written; value  offset of the first byte of the value."""

    tag: int
    vr: str
    length: int
    value: int


_EXPLICIT_LITTLE = Encoding(implicit_vr=False, big_endian=False)
_IMPLICIT_LITTLE = Encoding(implicit_vr=True, big_endian=False)


def read_element(data: bytes, offset: int, encoding: Encoding) -> Element:
    """The header at `offset`. Raises TruncatedDicom when `data` ends within it."""
    order = ">" if encoding.big_endian else "<"
    try:
        group, number = struct.unpack_from(order + "HH", data, offset)
        tag = group << 16 | number
        if encoding.implicit_vr or group == 0xFFFE:  # items have no VR in any syntax (PS3.5 7.5)
            (length,) = struct.unpack_from(order + "I", data, offset + 4)
            return Element(tag, "", length, offset + 8)
        vr = data[offset + 4 : offset + 6].decode("latin-1")
        if vr in LONG_VRS:
            (length,) = struct.unpack_from(order + "I", data, offset + 8)
            return Element(tag, vr, length, offset + 12)
        (length,) = struct.unpack_from(order + "H", data, offset + 6)
        return Element(tag, vr, length, offset + 8)
    except struct.error as error:
        raise TruncatedDicom("the data set ends within an element") from error


def guess_encoding(data: bytes, offset: int, declared: Encoding) -> Encoding:
    """The encoding of the elements at `offset`: the declared one, unless its VRs are missing or unexpectedly there.

    Writers that label the syntax wrongly, or write some items in the other form, are known; readers look at the first
    element. Explicit VR Big Endian is what its label says.
    """
    if declared.big_endian or len(data) < offset + 6:
        return declared
    vr = data[offset + 4 : offset + 6]
    explicit = vr.isalpha() and vr.isupper() if not declared.implicit_vr else vr.decode("latin-1") in STANDARD_VRS
    if data[offset : offset + 2] == b"\xfe\xff" or explicit != declared.implicit_vr:
        return declared
    return _EXPLICIT_LITTLE if explicit else _IMPLICIT_LITTLE


def element_header(tag: int, vr: str, length: int) -> bytes:
    """Header in Explicit VR Little Endian."""
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")
    if vr in LONG_VRS:
        return start + b"\0\0" + struct.pack("<I", length)
    return start + struct.pack("<H", length)


def item_header(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """A whole element in Explicit VR Little Endian; odd values are padded (PS3.5 6.2)."""
    if len(value) % 2:
        value += padding(vr)
    return element_header(tag, vr, len(value)) + value


def padding(vr: str) -> bytes:
    return b" " if vr in _PADDED_BY_SPACE else b"\0"


def written_vr(vr: str, length: int) -> str:
    """`vr`, or UN for a value that its 16-bit length field cannot hold (PS3.5 6.2.2)."""
    return "UN" if vr not in LONG_VRS and length > _MAX_SHORT_LENGTH else vr


def implicit_vr(tag: int, creator: str, length: int) -> str:
    """VR of an element that was written without, from the dictionaries; several joined by " or " where it depends.

    creator  the private creator of the element's block, "" when there is none. UN where nothing is known, and where the
             length contradicts what is.
    """
    if is_private_creator(tag):
        return "LO"  # private creators (PS3.5 7.8.1)
    try:
        vr = private_dictionary_vr(tag, creator) if is_private(tag) else dictionary_vr(tag)
    except KeyError:
        return "UN"
    if vr not in STANDARD_VRS and " or " not in vr:
        return "UN"
    width = swap_width(vr.split(" or ")[0], 0)
    return "UN" if length != UNDEFINED_LENGTH and width > 1 and length % width else vr
