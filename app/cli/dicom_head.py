"""What the first bytes of a file say: is it DICOM, and which instance is it? Pure: bytes in, values out.

The importer must name the file behind a refused instance, and the store response only gives the SOP Instance UID. A full
reader would be waste here: (0008,0018) stands among the first elements of every data set (PS3.5 section 7.1: ascending tags).
"""

import struct
import zlib
from dataclasses import dataclass

from app.dicom.references import is_uid
from app.dicom.vr_lookup import LONG_VRS, STANDARD_VRS

HEAD_SIZE = 16 * 1024  # bytes of a file that are enough for the file meta information and group 0008 up to (0008,0018)

_PREAMBLE = 128
_MEDIA_STORAGE_SOP_CLASS = 0x00020002
_MEDIA_STORAGE_SOP_INSTANCE = 0x00020003
_TRANSFER_SYNTAX = 0x00020010
_SOP_INSTANCE = 0x00080018
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
# VRs with a reserved field and a 32-bit length in explicit syntaxes (PS3.5 section 7.1.2).
_LONG_VRS = frozenset(vr.encode("ascii") for vr in LONG_VRS)
_SHORT_VRS = frozenset(vr.encode("ascii") for vr in STANDARD_VRS - LONG_VRS)
_MAX_ELEMENTS = 200


@dataclass(frozen=True, slots=True)
class Head:
    """is_directory: a DICOMDIR (PS3.10 section 8), which is an index of a medium and no instance to store."""

    sop_instance_uid: str
    is_directory: bool
    transfer_syntax_uid: str = ""  # "" where there is no file meta information


def read_head(head: bytes) -> Head | None:
    """What the first HEAD_SIZE bytes of a file say; None when they are not DICOM.

    A file without the DICM prefix is taken for DICOM when it begins with at least two well-formed elements in ascending
    order, of which the first is of group 0002 or 0008. `sop_instance_uid` is "" where it was not found.
    """
    if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        start = _PREAMBLE + 4
    elif head[:2] == b"\x02\x00" and head[4:6] in _SHORT_VRS | _LONG_VRS:
        start = 0
    else:
        return _read_bare(head)
    meta, position = _walk(head, start, explicit=True, little=True, stop_after=0x0002FFFF)
    if not meta and start == 0:
        return None
    syntax = meta.get(_TRANSFER_SYNTAX, "")
    if syntax == _DEFLATED:
        body = _inflate(head[position:])
    else:
        body = head[position:]
    dataset, _ = _walk(
        body,
        0,
        explicit=syntax != _IMPLICIT_LITTLE,
        little=syntax != _EXPLICIT_BIG,
        stop_after=_SOP_INSTANCE,
    )
    return Head(
        dataset.get(_SOP_INSTANCE) or meta.get(_MEDIA_STORAGE_SOP_INSTANCE, ""),
        meta.get(_MEDIA_STORAGE_SOP_CLASS) == _MEDIA_STORAGE_DIRECTORY,
        syntax,
    )


def _read_bare(head: bytes) -> Head | None:
    """A data set without preamble and file meta information, in one of the three plain encodings."""
    for explicit, little in ((True, True), (False, True), (True, False)):
        group = head[:2] if little else head[1::-1]
        if group != b"\x08\x00":
            continue
        values, _ = _walk(head, 0, explicit=explicit, little=little, stop_after=_SOP_INSTANCE)
        if len(values) >= 2:
            return Head(values.get(_SOP_INSTANCE, ""), is_directory=False)
    return None


def _walk(data: bytes, position: int, *, explicit: bool, little: bool, stop_after: int) -> tuple[dict[int, str], int]:
    """Values of the elements from `position` up to tag `stop_after`, UIDs as text and others as "", and where it ended.

    Ends quietly at the first element that is malformed, of undefined length, or not wholly in `data`.
    """
    order = "<" if little else ">"
    values: dict[int, str] = {}
    previous = -1
    while len(values) < _MAX_ELEMENTS and position + 8 <= len(data):
        group, element = struct.unpack_from(order + "HH", data, position)
        tag = group << 16 | element
        if tag <= previous or tag > stop_after:
            break
        vr = data[position + 4 : position + 6]
        if not explicit:
            (length,) = struct.unpack_from(order + "I", data, position + 4)
            start = position + 8
        elif vr in _SHORT_VRS:
            (length,) = struct.unpack_from(order + "H", data, position + 6)
            start = position + 8
        elif vr in _LONG_VRS and position + 12 <= len(data):
            (length,) = struct.unpack_from(order + "I", data, position + 8)
            start = position + 12
        else:
            break
        if length == 0xFFFFFFFF or start + length > len(data):
            break
        text = data[start : start + length].rstrip(b"\0 ").decode("latin-1") if length <= 66 else ""
        values[tag] = text if is_uid(text) else ""
        previous = tag
        position = start + length
    return values, position


def _inflate(data: bytes) -> bytes:
    """The first HEAD_SIZE bytes of a deflated data set (PS3.5 section A.5); what can be had when it is damaged."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD_SIZE)
    except zlib.error:
        return b""
