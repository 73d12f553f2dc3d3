"""The one pass over a data set: from its bytes to the DICOM JSON Model, whatever the VR encoding and byte order.

The loop in `DataSetReader.read_elements` is the hot path of every store: an element costs one unpack, one look-up of what its
tag and VR mean, one call of its emitter. All that is rare hangs behind a single test of `special`. Bulkdata is never touched.
"""

from collections.abc import Callable
from typing import Any

from app.dicom.character_sets import DEFAULT_ENCODINGS, encodings_of
from app.dicom.element_heads import (
    AMBIGUOUS,
    CHARACTER_SET,
    DELIMITER,
    DROP,
    EXTENDED,
    IMPLICIT_LITTLE_ENDIAN,
    ITEM_TAG,
    LUT,
    NOT_HERE,
    PIXEL_DATA_KEYWORDS,
    PIXELS,
    SEQUENCE,
    SHORT_VALUE,
    UNKNOWN,
    Encoding,
    Head,
    Place,
    inner_encoding,
)
from app.dicom.fragments import Fragments, walk_fragments
from app.dicom.instance import FRAGMENT, FRAGMENTS, BulkdataItem, PixelData
from app.dicom.json_model import BULKDATA_VRS, Element, bulkdata_uri, first_value, in_tag_order, unsign_first
from app.dicom.parse_limits import ParseLimits
from app.dicom.vr_lookup import LUT_DESCRIPTORS, US_OR_OW, US_OR_SS, is_private, vr_of_unknown
from app.errors import DicomError, MalformedDicom, TruncatedDicom

UNDEFINED = 0xFFFFFFFF
_PIXEL_REPRESENTATION, _LUT_DESCRIPTOR, _CHARACTER_SET_KEY = "00280103", "00283002", "00080005"

_Reads = Callable[["DataSetReader", int, Place, dict[str, Any]], int]


class Odd(Exception):
    """The bytes leave more than one way to go on: not for a reader that does not guess."""


class DataSetReader:
    """Reads one data set with all it contains; the results that are not JSON collect in its attributes.

    bulkdata     items in file order
    pixel_data   of the top level, and its fragments where it is encapsulated
    elements     how many were read, nested ones too
    pending      US or SS elements whose Pixel Representation is not known yet: JSON, value, encoding, LUT descriptor?
    extended     Extended Offset Table and its lengths: (offset, length) of the values by tag
    """

    def __init__(self, data: memoryview, limits: ParseLimits, size: int | None = None) -> None:
        self.data, self.limits = data, limits
        self._size = len(data) if size is None else size  # where pixel data may end: the rest need not be in `data`
        self.bulkdata: list[BulkdataItem] = []
        self.pixel_data: PixelData | None = None
        self.fragments: Fragments | None = None
        self.extended: dict[int, tuple[int, int]] = {}
        self.pending: list[tuple[Element, bytes, Encoding, bool]] = []
        self._pixel_tag = self._start = self._bulk_bytes = self.elements = 0
        self._last = limits.at_once_bytes

    def read_top_level(self, offset: int, encoding: Encoding, known: "_Reads | None" = None) -> dict[str, Any]:
        """The data set that begins at `offset` and ends with the data; of its beginning, `known` reads what it knows.

        Raises Odd, TruncatedDicom, MalformedDicom.
        """
        self._start, self._last = offset, offset + self.limits.at_once_bytes
        place = Place(encoding, DEFAULT_ENCODINGS, "", 0, len(self.data), delimited=False)
        dataset: dict[str, Any] = {}
        if known is not None:
            offset = known(self, offset, place, dataset)
        offset = self.read(offset, place, dataset, first_pending=0)
        while self._pixel_tag and self._goes_on(offset, encoding):
            place.ended = False
            self._last = offset + self.limits.at_once_bytes
            offset = self.read(offset, place, dataset)
        return in_tag_order(dataset)

    def read(self, offset: int, place: Place, dataset: dict[str, Any], first_pending: int | None = None) -> int:
        """Fills `dataset` with elements from `offset` on; returns where it ends (behind its delimiter if it has one).

        At the top level it stops behind pixel data. Raises Odd, TruncatedDicom, MalformedDicom.
        """
        first_pending = len(self.pending) if first_pending is None else first_pending
        if not place.ended:
            offset = self.read_elements(offset, min(place.end - 8, self._last), place, dataset)
        if not place.ended:
            offset = self._end_of(offset, place)
        self.finish(dataset, offset, first_pending)
        return offset

    def read_elements(self, offset: int, last: int, place: Place, dataset: dict[str, Any]) -> int:
        """The elements that begin up to `last`, or to the end of the data set. Returns where the next one begins."""
        data, encoding, encodings, end = self.data, place.encoding, place.encodings, place.end
        unpack, unpack_length, heads = encoding.unpack, encoding.unpack_length, encoding.heads
        threshold = self.limits.bulkdata_threshold
        start, highest = offset, place.highest
        while offset <= last:
            first, length = unpack(data, offset)
            head = heads.get(first) or encoding.head(first)
            if head is None:
                offset = self._without_vr(offset, offset == start, place, dataset)
                place.ended = True
                break
            key, _vr, wide, emit, again, special, _tag = head
            value = offset + 8
            if wide:
                if value + 4 > end:
                    raise self._cut(value + 4)
                (length,) = unpack_length(data, value)
                value += 4
            if key > highest:
                highest = key
            elif key in dataset:
                raise Odd(f"{key} comes twice")
            if special:
                offset = self._read_special(head, value, length, place, dataset)
                encodings = place.encodings
                if place.ended:
                    break
            elif length > threshold:
                offset = self._read_large(head, value, length, place, dataset)
            else:
                offset = value + length
                if offset > end:
                    raise self._cut(offset)
                dataset[key] = (again if length <= SHORT_VALUE else emit)(data[value:offset].tobytes(), encodings)
        place.highest = highest
        return offset

    def add(self, head: Head, value: int, length: int, place: Place, dataset: dict[str, Any]) -> None:
        """One element whose head somebody else has read; `value` is its offset. Raises as `read`."""
        if head.special:
            self._read_special(head, value, length, place, dataset)
        elif length > self.limits.bulkdata_threshold:
            self._read_large(head, value, length, place, dataset)
        elif value + length > place.end:
            raise self._cut(value + length)
        else:
            dataset[head.key] = head.emit(self.data[value : value + length].tobytes(), place.encodings)

    def extended_value(self, tag: int) -> bytes:
        """Value of an offset table of the top level, b"" where there is none."""
        offset, length = self.extended.get(tag, (0, 0))
        return self.data[offset : offset + length].tobytes() if length != UNDEFINED else b""

    def finish(self, dataset: dict[str, Any], offset: int, first_pending: int) -> None:
        """To be called at the end of each data set, `first_pending` as it was at its beginning. Raises MalformedDicom."""
        self.elements += len(dataset) + 1
        if self.elements > self.limits.max_elements:
            raise MalformedDicom(f"more than {self.limits.max_elements} elements")
        self._check_header_size(offset)
        if len(self.pending) > first_pending and _PIXEL_REPRESENTATION in dataset:
            self._settle_signs(first_pending, dataset[_PIXEL_REPRESENTATION].get("Value") == [1])

    def _check_header_size(self, offset: int) -> None:
        if offset - self._start - self._bulk_bytes > self.limits.max_header_bytes:
            raise MalformedDicom(f"more than {self.limits.max_header_bytes} bytes besides bulkdata")

    def _cut(self, wanted: int) -> DicomError | Odd:
        """The exception for a value that goes on to `wanted`, beyond the end of its data set."""
        if wanted > len(self.data):
            return TruncatedDicom(f"{wanted - len(self.data)} bytes are missing at the end")
        return Odd("an element is longer than the item it is in")

    def _end_of(self, offset: int, place: Place) -> int:
        """Fewer than eight bytes are left, too few for an element; or this is as far as is to be read."""
        if offset <= place.end - 8:
            raise Odd("this is more than is to be read at once")
        if place.delimited:
            raise self._cut(place.end + 8)
        if offset == place.end:
            return offset
        if place.depth:
            raise Odd("an item ends within an element")
        if not self.is_padding(offset):
            raise TruncatedDicom("the data set ends within the header of an element")
        return place.end

    def is_padding(self, offset: int) -> bool:
        """Whether nothing but NUL or white space comes from `offset` on, such as a transport may add."""
        chunks = range(offset, len(self.data), 1 << 16)
        return not any(self.data[begin : begin + (1 << 16)].tobytes().strip(b"\0 \r\n") for begin in chunks)

    def _goes_on(self, offset: int, encoding: Encoding) -> bool:
        """Whether elements follow the top-level pixel data, or only garbage: all before is whole, so that does no harm."""
        if offset + 8 > len(self.data):
            return False
        first, length = encoding.unpack(self.data, offset)
        head = encoding.head(first)
        if head is None or head.tag <= self._pixel_tag:
            return False
        return not encoding.implicit or head.vr != "UN" or length <= len(self.data) - offset - 8

    def _without_vr(self, offset: int, is_first: bool, place: Place, dataset: dict[str, Any]) -> int:
        place.ended = True
        if place.depth == 0 and self.is_padding(offset):
            return place.end
        if is_first and place.depth and not place.encoding.big_endian:
            # Some writers put items in Implicit VR into a data set in Explicit VR.
            place.encoding, place.ended = IMPLICIT_LITTLE_ENDIAN, False
            return self.read(offset, place, dataset)
        raise Odd(f"no VR at offset {offset}")

    def _read_special(self, head: Head, value: int, length: int, place: Place, dataset: dict[str, Any]) -> int:
        special, stop = head.special, value + length
        if special == SEQUENCE:
            return self._add_sequence(head.key, value, length, place, place.encoding, dataset)
        if special == UNKNOWN:
            return self._read_unknown(head, value, length, place, dataset)
        if special == DELIMITER:
            return self._read_delimiter(value, place)
        if special == PIXELS and place.depth == 0:
            place.ended = True
            return self._read_pixel_data(head, value, length, dataset)
        if special == NOT_HERE:
            if place.depth or not self.is_padding(value - 8):
                raise Odd(f"{head.key} in a data set")
            place.ended = True
            return place.end
        if special == EXTENDED and place.depth == 0:
            self.extended[head.tag] = (value, length)
        if length == UNDEFINED or (length > self.limits.bulkdata_threshold and special not in (DROP, CHARACTER_SET)):
            return self._read_large(head, value, length, place, dataset)
        if stop > place.end:
            raise self._cut(stop)
        if special == CHARACTER_SET:
            self._read_character_set(value, stop, place, dataset)
        elif special != DROP:
            self._read_by_context(head, self.data[value:stop].tobytes(), place, dataset)
        return stop

    def _read_delimiter(self, value: int, place: Place) -> int:
        """A delimiter or an item where an element should be."""
        _, element, length = place.encoding.unpack_item(self.data, value - 8)
        if element == 0xE00D and place.delimited:
            place.ended = True
        elif length or element not in (0xE00D, 0xE0DD) or (place.depth and value != place.end):
            raise Odd(f"(FFFE,{element:04X}) where an element should be")
        return value  # else one too many: nothing is lost by passing over it

    def _read_character_set(self, value: int, stop: int, place: Place, dataset: dict[str, Any]) -> None:
        if any(key > _CHARACTER_SET_KEY for key in dataset):
            raise Odd("the character set comes behind texts")
        # The JSON is UTF-8, and a reader that converts it back must know (PS3.18 section 8.8).
        dataset[_CHARACTER_SET_KEY] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        text = self.data[value : min(stop, value + 1024)].tobytes().decode("latin-1").rstrip(" \0")
        place.encodings = encodings_of(text.split("\\"))

    def _read_by_context(self, head: Head, raw: bytes, place: Place, dataset: dict[str, Any]) -> None:
        """Elements whose VR or value depends on others."""
        emit = head.emit
        if head.special == AMBIGUOUS and head.vr == "OW" and first_value(dataset.get(_LUT_DESCRIPTOR)) == 1:
            emit = place.encoding.emitters["US"]  # LUT Data of one entry (PS3.3 C.11.1.1.1)
        dataset[head.key] = emitted = emit(raw, place.encodings)
        if head.special == AMBIGUOUS and head.vr == "US":
            self.pending.append((emitted, raw, place.encoding, head.tag in LUT_DESCRIPTORS))
        elif head.special == LUT:
            unsign_first(emitted)

    def _settle_signs(self, first: int, signed: bool) -> None:
        """US or SS elements of this data set and of items without a Pixel Representation of their own."""
        if signed:
            for element, raw, encoding, is_lut_descriptor in self.pending[first:]:
                if "Value" in element:
                    element |= encoding.emitters["SS"](raw, ())
                    if is_lut_descriptor:
                        unsign_first(element)
        del self.pending[first:]

    def _add_sequence(
        self, key: str, value: int, length: int, place: Place, encoding: Encoding, dataset: dict[str, Any]
    ) -> int:
        items, offset = self._read_items(place.prefix + key, value, length, place, encoding)
        dataset[key] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        return offset

    def _read_items(
        self, path: str, value: int, length: int, place: Place, encoding: Encoding
    ) -> tuple[list[dict[str, Any]], int]:
        if place.depth >= self.limits.max_depth:
            raise MalformedDicom(f"sequences nested deeper than {self.limits.max_depth}")
        undefined = length == UNDEFINED
        end = place.end if undefined else value + length
        if end > place.end:
            raise self._cut(end)
        items: list[dict[str, Any]] = []
        offset = value
        while undefined or offset < end:
            if offset + 8 > end:
                raise self._cut(offset + 8)
            group, element, size = encoding.unpack_item(self.data, offset)
            offset += 8
            if group != 0xFFFE or element not in (0xE000, 0xE0DD):
                raise Odd(f"no item at offset {offset - 8}")
            if element == 0xE0DD:
                if undefined or offset == end:
                    break
                raise Odd("a sequence ends before its length")
            item: dict[str, Any] = {}
            delimited = size == UNDEFINED
            stop = end if delimited else offset + size
            if stop > end:
                raise self._cut(stop)
            inner = Place(
                encoding, place.encodings, f"{path}.{len(items) + 1}.", place.depth + 1, stop, delimited=delimited
            )
            offset = self.read(offset, inner, item)
            items.append(in_tag_order(item))
        return items, offset

    def _read_unknown(self, head: Head, value: int, length: int, place: Place, dataset: dict[str, Any]) -> int:
        """UN, or a private element in Implicit VR: the dictionaries may know better (PS3.5 section 6.2.2)."""
        key, end = head.key, place.end
        if length == UNDEFINED:
            # UN of undefined length is a sequence in Implicit VR LE; an unknown tag in Implicit VR may be one.
            if place.encoding.implicit and value + 4 <= end and self.data[value : value + 4] != ITEM_TAG:
                raise Odd(f"{key} of undefined length is no sequence")
            return self._add_sequence(key, value, length, place, inner_encoding(self.data, value, end), dataset)
        stop = value + length
        if stop > end:
            raise self._cut(stop)
        creator = first_value(dataset.get(f"{key[:4]}00{key[4:6]}")) if is_private(head.tag) else None
        vr = vr_of_unknown(head.tag, length, creator)
        if vr == "SQ":
            marks = len(self.bulkdata), len(self.pending), self._bulk_bytes
            try:
                return self._add_sequence(key, value, length, place, inner_encoding(self.data, value, stop), dataset)
            except (Odd, TruncatedDicom):
                # The dictionary was wrong about these bytes: they stay what they were said to be, unknown.
                del self.bulkdata[marks[0] :], self.pending[marks[1] :]
                self._bulk_bytes = marks[2]
                vr = "UN"
        special = AMBIGUOUS if vr in (US_OR_SS, US_OR_OW) else 0
        vr = {US_OR_SS: "US", US_OR_OW: "OW"}.get(vr, vr)
        known = place.encoding.make_head(key, vr, True, special, head.tag)
        if length > self.limits.bulkdata_threshold:
            return self._read_large(known, value, length, place, dataset)
        self._read_by_context(known, self.data[value:stop].tobytes(), place, dataset)
        return stop

    def _read_large(self, head: Head, value: int, length: int, place: Place, dataset: dict[str, Any]) -> int:
        """A value beyond the threshold, or one of undefined length."""
        path, vr = place.prefix + head.key, head.vr
        if length == UNDEFINED:
            return self._read_encapsulated(path, head, value, place, dataset)
        stop = value + length
        if stop > place.end:
            raise self._cut(stop)
        coding = place.coding_of(vr)
        if vr in BULKDATA_VRS and not (coding and length <= self.limits.text_threshold):
            self.bulkdata.append(BulkdataItem(path, vr, value, length, coding))
            dataset[head.key] = {"vr": vr, "BulkDataURI": bulkdata_uri(path)}
            self._bulk_bytes += length
            return stop
        self._check_header_size(stop)
        dataset[head.key] = head.emit(self.data[value:stop].tobytes(), place.encodings)
        return stop

    def _read_encapsulated(self, path: str, head: Head, value: int, place: Place, dataset: dict[str, Any]) -> int:
        """Fragments elsewhere than in the top-level pixel data: icons, vendors' private images."""
        if head.vr not in ("OB", "OW") or place.encoding.big_endian:
            raise Odd(f"{head.key} of undefined length")
        fragments = walk_fragments(self.data, value, place.end, most=self.limits.at_once_fragments)
        self._bulk_bytes += fragments.end - value
        offset, length, coding = value, fragments.stop - value, FRAGMENTS
        if len(fragments) == 1:
            offset, length, coding = fragments.offsets[0], fragments.lengths[0], FRAGMENT
        self.bulkdata.append(BulkdataItem(path, head.vr, offset, length, coding))
        dataset[head.key] = {"vr": head.vr, "BulkDataURI": bulkdata_uri(path)}
        return fragments.end

    def _read_pixel_data(self, head: Head, value: int, length: int, dataset: dict[str, Any]) -> int:
        key, vr, keyword = head.key, head.vr, PIXEL_DATA_KEYWORDS[head.tag]
        self._pixel_tag = head.tag
        if length == UNDEFINED:
            self.fragments = walk_fragments(self.data, value, most=self.limits.at_once_fragments)
            end = self.fragments.end
            vr = vr if head.wide else "OB"  # PS3.5 A.4 wants OB; some writers say OW
            self.pixel_data = PixelData(keyword, vr, value, None, end)
        else:
            end = value + length
            if end > self._size:
                raise self._cut(end)
            if length == 0:
                dataset[key] = {"vr": vr}  # nothing to point to, and no frames
                return end
            self.pixel_data = PixelData(keyword, vr, value, length, end)
        self._bulk_bytes += end - value
        dataset[key] = {"vr": vr, "BulkDataURI": bulkdata_uri(key)}
        self.bulkdata.append(BulkdataItem(key, vr, value, -1 if length == UNDEFINED else length))
        return end
