"""Data sets of any encoding rewritten as Explicit VR Little Endian, values unaltered.

Text stays byte for byte, numbers of Explicit VR Big Endian are reversed, VRs that Implicit VR leaves out come from the
dictionaries (PS3.6), those that depend on other attributes from these (PS3.5 Annex A, PS3.3 C.7.6.3, C.11.1, C.10.9).
Private elements of unknown creators become UN. Group lengths of the data set are left out (retired, PS3.5 7.2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.dicom.conversion_plan import Copy, Segment, Swap
from app.dicom.explicit_elements import (
    ITEM,
    ITEM_END,
    MAX_LENGTH,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Element,
    Encoding,
    element_header,
    guess_encoding,
    implicit_vr,
    item_header,
    padding,
    read_element,
    written_vr,
)
from app.dicom.native_pixels import swap_bytes, swap_width
from app.dicom.vr_lookup import STANDARD_VRS, is_private_creator
from app.errors import DicomError, MalformedDicom, TooLarge, TruncatedDicom

MAX_DEPTH = 64
_LARGE_VALUE = 64 * 1024  # longer values are not copied into the plan, but named as ranges of the stored file
_SHORT_VALUE = 64  # a UID at most: what is worth remembering

_PIXEL_REPRESENTATION, _LUT_DESCRIPTOR, _PIXEL_DATA = 0x00280103, 0x00283002, 0x7FE00010
_IMPLICIT = Encoding(implicit_vr=True, big_endian=False)

Piece = bytes | Segment
# decode_icon(attributes of the item, fragments joined) -> elements that replace those of the item, pixel data included
DecodeIcon = Callable[[Mapping[int, bytes], bytes], Mapping[int, bytes]]
# What becomes of an element: other bytes, nothing (None), or what a function makes of it (b"" where none is stored), the
# whole element in Explicit VR Little Endian each time.
Change = bytes | None | Callable[[bytes], bytes]


@dataclass(slots=True)
class Level:
    """What was met so far in one data set or item.

    values     short values, little endian, by tag: of group 0028 and of what names the instance
    creators   private creators by (group << 8 | block)
    positions  index in `pieces` of elements that are one piece
    """

    parent: "Level | None" = None
    values: dict[int, bytes] = field(default_factory=dict)
    creators: dict[int, str] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    length: int = 0

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.length += len(piece) if isinstance(piece, bytes) else piece.length

    def replace(self, tag: int, piece: bytes) -> None:
        """The element `tag`, if it is there as one piece, becomes `piece`."""
        position = self.positions.get(tag)
        if position is not None:
            old = self.pieces[position]
            self.length += len(piece) - (len(old) if isinstance(old, bytes) else old.length)
            self.pieces[position] = piece

    def number(self, tag: int) -> int | None:
        """First value of an unsigned short at this level or the nearest one around it that has it."""
        level: Level | None = self
        while level is not None:
            value = level.values.get(tag, b"")
            if len(value) >= 2:
                return int.from_bytes(value[:2], "little")
            level = level.parent
        return None


class Rewriter:
    """Rewrites what lies in `data`, whose first byte has the offset `base` in the stored file."""

    def __init__(self, data: bytes, base: int, decode_icon: DecodeIcon) -> None:
        self._data = data
        self._base = base
        self._decode_icon = decode_icon

    def data_set(
        self,
        start: int,
        declared: Encoding,
        level: Level,
        *,
        stop: int | None = None,
        changes: Mapping[int, Change] | None = None,
    ) -> None:
        """The elements from `start` to the end of the data, into `level`.

        stop     offset of the value of the element at which to stop, which is not written
        changes  elements to write instead of those stored (also where none is stored), None to leave one out

        Raises TruncatedDicom, MalformedDicom, TooLarge.
        """
        encoding = guess_encoding(self._data, start, declared)
        changes = dict(changes or {})
        pending = sorted(tag for tag, replacement in changes.items() if replacement is not None)
        position, end = start, len(self._data.rstrip(b"\0"))
        while position < end:  # zeros behind the data set: writers that fill up to a block
            head = read_element(self._data, position, encoding)
            while pending and pending[0] < head.tag:
                self._write_change(level, changes[pending.pop(0)])
            if stop is not None and head.value == stop:
                break
            if head.tag not in changes:
                position = self._element(head, encoding, level, 0)
                continue
            stored = Level(level)
            position = self._element(head, encoding, stored, 0)
            if pending and pending[0] == head.tag:
                self._write_change(level, changes[pending.pop(0)], stored)
        for tag in pending:
            self._write_change(level, changes[tag])

    @staticmethod
    def _write_change(level: Level, change: Change, stored: Level | None = None) -> None:
        if callable(change):
            pieces = stored.pieces if stored else []
            element = b"".join(piece for piece in pieces if isinstance(piece, bytes))
            if stored and len(element) != stored.length:
                raise MalformedDicom("an attribute that has to be extended is too large")
            change = change(element)
        if change:
            level.add(change)

    def _element(self, head: Element, encoding: Encoding, level: Level, depth: int) -> int:
        """One element; returns the offset behind it."""
        if head.tag >> 16 == 0xFFFE:
            raise MalformedDicom("an item stands outside of a sequence")
        vr = self._vr(head, encoding, level)
        if head.length == UNDEFINED_LENGTH:
            if head.tag == _PIXEL_DATA and vr in ("OB", "OW", "UN", "OB or OW"):
                return self._encapsulated(head, level, depth)
            # UN of undefined length holds a sequence in Implicit VR Little Endian (PS3.5 6.2.2).
            return self._sequence(head, _IMPLICIT if vr == "UN" else encoding, level, depth)
        end = head.value + head.length
        if end > len(self._data):
            raise TruncatedDicom("a value reaches beyond the end of the data set")
        if vr == "SQ" and head.length and not self._is_sequence(head, encoding):
            vr = "UN"
        if vr == "SQ":
            return self._defined_sequence(head, encoding, level, depth)
        if head.tag & 0xFFFF:
            self._value(head, vr, encoding, level)
        return end

    def _vr(self, head: Element, encoding: Encoding, level: Level) -> str:
        if not encoding.implicit_vr:
            return head.vr if head.vr in STANDARD_VRS else "UN"
        block = head.tag >> 16 << 8 | (head.tag >> 8 & 0xFF)
        vr = implicit_vr(head.tag, level.creators.get(block, ""), head.length)
        if head.length == UNDEFINED_LENGTH:
            return vr if head.tag == _PIXEL_DATA else "SQ"
        if " or " not in vr:
            return vr
        if vr == "US or SS":
            return "SS" if level.number(_PIXEL_REPRESENTATION) == 1 else "US"
        if vr == "US or OW" and level.number(_LUT_DESCRIPTOR) == 1:
            return "US"
        return "OW"

    def _is_sequence(self, head: Element, encoding: Encoding) -> bool:
        try:
            return read_element(self._data, head.value, encoding).tag in (ITEM, SEQUENCE_END)
        except TruncatedDicom:
            return False

    def _value(self, head: Element, vr: str, encoding: Encoding, level: Level) -> None:
        """An element that is not a sequence."""
        start, end = head.value, head.value + head.length
        pad = padding(vr) if head.length % 2 else b""
        length = head.length + len(pad)
        if length > MAX_LENGTH:
            raise TooLarge("a value is too long for Explicit VR Little Endian")
        bits_allocated = (level.number(0x00280100) or 0) if head.tag == _PIXEL_DATA else 0
        width = swap_width(vr, bits_allocated) if encoding.big_endian else 1
        start_of_element = element_header(head.tag, written_vr(vr, length), length)
        if head.length >= _LARGE_VALUE:
            level.add(start_of_element)
            offset = self._base + start
            level.add(Swap(offset, head.length, width) if width > 1 else Copy(offset, head.length))
            if pad:
                level.add(pad)
            return
        value = swap_bytes(self._data[start:end], width)
        level.positions[head.tag] = len(level.pieces)
        level.add(start_of_element + value + pad)
        group = head.tag >> 16
        if is_private_creator(head.tag):
            level.creators[group << 8 | head.tag & 0xFF] = value.decode("latin-1").strip("\0 ")
        elif group in (0x0008, 0x0028) and len(value) <= _SHORT_VALUE:
            level.values[head.tag] = value

    def _defined_sequence(self, head: Element, encoding: Encoding, level: Level, depth: int) -> int:
        end = head.value + head.length
        inside = Level(level)
        try:
            position = self._items(head.value, end, encoding, inside, depth + 1)
            if position != end:
                raise MalformedDicom("the items of a sequence reach beyond it")
        except DicomError:
            if not encoding.implicit_vr:
                raise
            # The dictionary said so, the bytes do not: they are kept as what they are, unknown.
            self._value(head, "UN", encoding, level)
            return end
        if inside.length > MAX_LENGTH:
            raise TooLarge("a sequence is too long for Explicit VR Little Endian")
        level.add(element_header(head.tag, "SQ", inside.length))
        self._extend(level, inside)
        return end

    def _sequence(self, head: Element, encoding: Encoding, level: Level, depth: int) -> int:
        """A sequence of undefined length, written as such."""
        level.add(element_header(head.tag, "SQ", UNDEFINED_LENGTH))
        inside = Level(level)
        position = self._items(head.value, None, encoding, inside, depth + 1)
        self._extend(level, inside)
        level.add(item_header(SEQUENCE_END, 0))
        return position

    def _items(self, position: int, end: int | None, encoding: Encoding, level: Level, depth: int) -> int:
        """Items up to `end`, or up to a delimiter; returns the offset behind them."""
        if depth > MAX_DEPTH:
            raise MalformedDicom(f"sequences are nested deeper than {MAX_DEPTH}")
        while end is None or position < end:
            head = read_element(self._data, position, encoding)
            if head.tag == SEQUENCE_END:
                return head.value
            if head.tag != ITEM:
                raise MalformedDicom("a sequence holds something else than items")
            inside = Level(level.parent)
            if head.length == UNDEFINED_LENGTH:
                position = self._item(head.value, None, encoding, inside, depth)
                level.add(item_header(ITEM, UNDEFINED_LENGTH))
                self._extend(level, inside)
                level.add(item_header(ITEM_END, 0))
                continue
            item_end = head.value + head.length
            if item_end > len(self._data) or (end is not None and item_end > end):
                raise TruncatedDicom("an item reaches beyond the end of its sequence")
            position = self._item(head.value, item_end, encoding, inside, depth)
            if position != item_end:
                raise MalformedDicom("the elements of an item reach beyond it")
            level.add(item_header(ITEM, inside.length))
            self._extend(level, inside)
        return position

    def _item(self, position: int, end: int | None, declared: Encoding, level: Level, depth: int) -> int:
        encoding = guess_encoding(self._data, position, declared) if end is None or position + 8 <= end else declared
        while end is None or position < end:
            head = read_element(self._data, position, encoding)
            if head.tag == ITEM_END:
                return head.value
            position = self._element(head, encoding, level, depth)
        return position

    def _encapsulated(self, head: Element, level: Level, depth: int) -> int:
        """Pixel data of an item (an icon, PS3.3 F.7) that is compressed as the image is: decoded here."""
        fragments, position = [], head.value
        while True:
            item = read_element(self._data, position, Encoding(implicit_vr=False, big_endian=False))
            if item.tag == SEQUENCE_END:
                break
            end = item.value + item.length
            if item.tag != ITEM or item.length == UNDEFINED_LENGTH or end > len(self._data):
                raise MalformedDicom("encapsulated pixel data is not a sequence of fragments")
            fragments.append(self._data[item.value : end])
            position = end
        if depth == 0:
            raise MalformedDicom("encapsulated pixel data stands where none is expected")
        for tag, piece in self._decode_icon(level.values, b"".join(fragments[1:])).items():
            if tag == _PIXEL_DATA:
                level.add(piece)
            else:
                level.replace(tag, piece)
        return item.value

    @staticmethod
    def _extend(level: Level, inside: Level) -> None:
        level.pieces.extend(inside.pieces)
        level.length += inside.length
