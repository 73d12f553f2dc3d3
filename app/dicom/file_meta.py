"""Preamble and file meta information (PS3.10 section 7.1), and a guess for files that lack them."""

import struct
from dataclasses import dataclass, replace

from app.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from app.dicom.vr_lookup import LONG_VRS, STANDARD_VRS, public_vr
from app.errors import MalformedDicom, NotDicom, TruncatedDicom

_PREFIX_OFFSET = 128
_DATASET_OFFSET = 132
_MAX_ELEMENTS = 1_000  # the group has a dozen
_VR_BYTES = frozenset(vr.encode("ascii") for vr in STANDARD_VRS)
_LONG_VR_BYTES = frozenset(vr.encode("ascii") for vr in LONG_VRS)
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file says about itself; "" where it does not.

    dataset_offset  of the first byte of the data set
    prefixed        whether there is a preamble with DICM behind it
    complete        whether the group was read to its end
    """

    transfer_syntax_uid: str
    media_storage_sop_class_uid: str
    media_storage_sop_instance_uid: str
    dataset_offset: int
    prefixed: bool
    complete: bool


def read_file_meta(data: bytes | memoryview) -> FileMeta:
    """Never raises: of a broken file it tells what could be read, so that a refusal can name the instance.

    The group length is not believed: it is wrong in too many files.
    """
    view = memoryview(data)
    prefixed = view[_PREFIX_OFFSET:_DATASET_OFFSET].tobytes() == b"DICM"
    offset, end = (_DATASET_OFFSET if prefixed else 0), len(view)
    values: dict[int, str] = {}
    complete = False
    for _ in range(_MAX_ELEMENTS):
        if offset + 8 > end or view[offset : offset + 2].tobytes() != b"\x02\x00":
            complete = True
            break
        element, vr, length = struct.unpack_from("<H2sH", view, offset + 2)
        value = offset + 8
        if vr in _LONG_VR_BYTES:
            value += 4
            if value > end:
                break
            (length,) = struct.unpack_from("<I", view, value - 4)
        elif vr not in _VR_BYTES:
            # Some writers put the whole file into Implicit VR.
            (length,) = struct.unpack_from("<I", view, offset + 4)
        if value + length > end:
            break
        offset = value + length
        if element in (0x0002, 0x0003, 0x0010):
            values[element] = bytes(view[value : min(offset, value + 128)]).decode("latin-1").strip(" \0")
    return FileMeta(values.get(0x0010, ""), values.get(0x0002, ""), values.get(0x0003, ""), offset, prefixed, complete)


def settled_file_meta(data: bytes | memoryview) -> FileMeta:
    """As read_file_meta, with a transfer syntax in any case: guessed from the first element where none is named.

    Raises NotDicom for bytes that neither begin like a PS3.10 file nor like a data set, TruncatedDicom, MalformedDicom.
    """
    view = memoryview(data)
    meta = read_file_meta(view)
    if not meta.complete:
        raise TruncatedDicom("the file ends within its file meta information")
    if meta.transfer_syntax_uid:
        return meta
    guess = guess_transfer_syntax(view, meta.dataset_offset)
    if guess:
        return replace(meta, transfer_syntax_uid=guess)
    if meta.prefixed or meta.dataset_offset:
        raise MalformedDicom("no transfer syntax is named, and the data set does not tell")
    raise NotDicom("neither a PS3.10 file nor a DICOM data set")


def guess_transfer_syntax(view: memoryview, offset: int) -> str:
    """One of the three native, not deflated syntaxes, from the header of the first element; "" for none.

    Data sets begin in group 0008 (0004: a directory), rarely a little later; anything else is not taken for DICOM.
    """
    if offset + 8 <= len(view):
        group, element, vr, length = struct.unpack_from("<HH2sH", view, offset)
        if vr in _VR_BYTES:
            if _may_come_first(group):
                return EXPLICIT_VR_LITTLE_ENDIAN
            if _may_come_first(group >> 8 | (group & 0xFF) << 8):
                return EXPLICIT_VR_BIG_ENDIAN
        (length,) = struct.unpack_from("<I", view, offset + 4)
        known = element == 0 or public_vr(group << 16 | element) != "UN"
        if _may_come_first(group) and known and (length == _UNDEFINED or offset + 8 + length <= len(view)):
            return IMPLICIT_VR_LITTLE_ENDIAN
    return ""


def _may_come_first(group: int) -> bool:
    return group % 2 == 0 and 0x0004 <= group <= 0x0028


def says_vr(view: memoryview, offset: int) -> bool:
    """Whether an element header at `offset` carries a VR."""
    return bytes(view[offset + 4 : offset + 6]) in _VR_BYTES
