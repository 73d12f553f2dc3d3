"""What the first bytes of a data element mean: tag, VR and length in each of the three encodings (PS3.5 section 7.1)."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.dicom.file_meta import says_vr
from app.dicom.json_model import EMITTERS, EMITTERS_BIG_ENDIAN, LONG_TEXT_VRS, Emitter, remembering
from app.dicom.vr_lookup import (
    LONG_VRS,
    LUT_DESCRIPTORS,
    STANDARD_VRS,
    US_OR_OW,
    US_OR_SS,
    is_private_creator,
    public_vr,
)

PIXEL_DATA_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00001, 0x7FE00002
_CHARACTER_SET = 0x00080005
_PIXEL_VRS = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}
SHORT_VALUE = 64  # bytes; values that are worth remembering from instance to instance
_MAX_CACHED = 50_000  # there are about 5,000 standard tags; strangers could invent tags without end

# What `special` says of an element, 0 = read it like most.
SEQUENCE, UNKNOWN, CHARACTER_SET, AMBIGUOUS, LUT, DROP, DELIMITER, PIXELS, EXTENDED, NOT_HERE = range(1, 11)


class Head(NamedTuple):
    """key      8 hex digits
    vr       of the JSON; in Implicit VR from the dictionary
    wide     the length is the 32 bits behind the two reserved ones (Explicit VR)
    emit     bytes of the value -> its JSON object
    again    the same for short values, its result not to be changed (app.dicom.json_model.remembering)
    special  one of the constants above
    """

    key: str
    vr: str
    wide: bool
    emit: Emitter
    again: Emitter
    special: int
    tag: int


class Encoding:
    """One way to write elements. What its heads mean is kept from file to file, up to a bound.

    unpack         first bytes of an element -> (the bytes that `heads` is keyed by, length of 16 or 32 bits)
    unpack_length  of 32 bits
    unpack_item    group, element, length of an item or a delimiter
    """

    __slots__ = (
        "big_endian",
        "emitters",
        "heads",
        "implicit",
        "remembering",
        "unpack",
        "unpack_item",
        "unpack_length",
        "unpack_tag",
    )

    def __init__(self, *, implicit: bool, big_endian: bool) -> None:
        order = ">" if big_endian else "<"
        self.implicit = implicit
        self.big_endian = big_endian
        self.emitters = EMITTERS_BIG_ENDIAN if big_endian else EMITTERS
        self.remembering = remembering(self.emitters)
        self.heads: dict[bytes, Head] = {}
        form = order + ("4sI" if implicit else "6sH")
        self.unpack: Callable[[memoryview, int], tuple[Any, ...]] = struct.Struct(form).unpack_from
        self.unpack_length: Callable[[memoryview, int], tuple[Any, ...]] = struct.Struct(order + "I").unpack_from
        self.unpack_item: Callable[[memoryview, int], tuple[Any, ...]] = struct.Struct(order + "HHI").unpack_from
        self.unpack_tag: Callable[[bytes], tuple[Any, ...]] = struct.Struct(order + "HH").unpack

    def head(self, first: bytes) -> Head | None:
        """What `first`, as unpacked, means; None when it holds no known VR where there must be one."""
        group, element = self.unpack_tag(first[:4])
        tag = group << 16 | element
        if group == 0xFFFE:
            head = self.make_head("", "", False, DELIMITER, tag)
        elif self.implicit:
            head = self.classify(tag, public_vr(tag))
        else:
            vr = first[4:].decode("latin-1")
            if vr not in STANDARD_VRS:
                return None
            head = self.classify(tag, vr)
        if len(self.heads) < _MAX_CACHED:
            self.heads[first] = head
        return head

    def classify(self, tag: int, vr: str) -> Head:
        """`vr` as written, or in Implicit VR as `public_vr` has it."""
        wide = not self.implicit and vr in LONG_VRS
        special = 0
        if tag >> 16 in (0x0000, 0x0002):
            special = NOT_HERE
        elif tag & 0xFFFF == 0:
            special = DROP
        elif tag in PIXEL_DATA_KEYWORDS:
            special = PIXELS
            vr = vr if vr in ("OB", "OW", "OF", "OD") else _PIXEL_VRS[tag]
        elif vr == "UN" and is_private_creator(tag):
            vr = "LO"
        elif vr in ("SQ", "UN"):
            special = SEQUENCE if vr == "SQ" else UNKNOWN
        elif tag == _CHARACTER_SET:
            special = CHARACTER_SET
        elif vr in (US_OR_SS, US_OR_OW):
            special, vr = AMBIGUOUS, vr[:2] if vr == US_OR_SS else vr[-2:]
        elif tag in LUT_DESCRIPTORS and vr == "SS":
            special = LUT
        elif tag in (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS):
            special = EXTENDED
        return self.make_head(f"{tag:08X}", vr, wide, special, tag)

    def make_head(self, key: str, vr: str, wide: bool, special: int, tag: int) -> Head:
        """With the emitters of a VR, those of UN where it has none."""
        known = vr if vr in self.emitters else "UN"
        return Head(key, vr, wide, self.emitters[known], self.remembering[known], special, tag)


IMPLICIT_LITTLE_ENDIAN = Encoding(implicit=True, big_endian=False)
EXPLICIT_LITTLE_ENDIAN = Encoding(implicit=False, big_endian=False)
EXPLICIT_BIG_ENDIAN = Encoding(implicit=False, big_endian=True)
ITEM_TAG = b"\xfe\xff\x00\xe0"


def inner_encoding(data: memoryview, value: int, end: int) -> Encoding:
    """How items of an unknown element are written: Implicit VR LE by the Standard, explicit by some writers."""
    explicit = value + 14 <= end and data[value : value + 4] == ITEM_TAG and says_vr(data, value + 8)
    return EXPLICIT_LITTLE_ENDIAN if explicit else IMPLICIT_LITTLE_ENDIAN


class Place:
    """Where a data set stands: how it is written, how deep, what its paths begin with, where it must end.

    encodings  codecs of its texts; they change when it declares its own
    ended      set when its end was found before `end`
    highest    of the keys that were read
    """

    __slots__ = ("delimited", "depth", "encoding", "encodings", "end", "ended", "highest", "prefix")

    def __init__(
        self, encoding: Encoding, encodings: Sequence[str], prefix: str, depth: int, end: int, *, delimited: bool
    ) -> None:
        self.encoding = encoding
        self.encodings = encodings
        self.prefix = prefix
        self.depth = depth
        self.end = end
        self.delimited = delimited
        self.ended = False
        self.highest = ""

    def coding_of(self, vr: str) -> str:
        """Of a long text as bulkdata, see BulkdataItem; "" for other values."""
        return ",".join(self.encodings) if vr in LONG_TEXT_VRS else ""
