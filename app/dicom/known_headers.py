"""What the instances of a series say alike is read once.

Of the two hundred elements in the header of an image, its neighbours in the series have all but ten, byte for byte. A header
that was read is remembered as runs of elements, their bytes and their JSON; another of the series is compared with it run by
run. Only what differs is read, by the same reader as ever, and splits the run for those who come next.

An element is taken from memory only where its bytes, the encoding and the character set are the same and its JSON depends on
nothing else: never one whose VR or sign others decide, never bulkdata, nothing from the pixel data on.
"""

import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from app.dicom.character_sets import DEFAULT_ENCODINGS
from app.dicom.data_set_reader import DataSetReader, Odd
from app.dicom.element_heads import (
    EXPLICIT_LITTLE_ENDIAN,
    EXTENDED,
    IMPLICIT_LITTLE_ENDIAN,
    PIXELS,
    SEQUENCE,
    Encoding,
    Place,
)
from app.dicom.parse_limits import ParseLimits
from app.errors import DicomError

MAX_HEADERS = 32
MAX_HEADER_BYTES = 64 * 1024  # without pixel data; larger ones differ in most of their bytes
_FIRST_BYTES = 32 * 1024  # the Series Instance UID is among them
_SERIES = {
    id(EXPLICIT_LITTLE_ENDIAN): (b"\x20\x00\x0e\x00UI", struct.Struct("<H")),
    id(IMPLICIT_LITTLE_ENDIAN): (b"\x20\x00\x0e\x00", struct.Struct("<I")),
}
_Elements = dict[str, Any]


@dataclass(slots=True)
class _Piece:
    """One element: its bytes, its key, and how many elements are within."""

    raw: bytes
    key: str
    element: Any
    nested: int


class _Run:
    """Elements one behind the other that may be taken from memory together."""

    __slots__ = ("elements", "encodings", "first", "last", "nested", "pieces", "raw")

    def __init__(self, pieces: list[_Piece], encodings: Any) -> None:
        self.pieces = pieces
        self.encodings = encodings
        self.raw = b"".join(piece.raw for piece in pieces)
        self.elements = {piece.key: piece.element for piece in pieces}
        self.nested = sum(piece.nested for piece in pieces)
        self.first, self.last = pieces[0].key, pieces[-1].key


class KnownHeader:
    """`parts` in the order of the header: runs, and the keys of elements that are read each time."""

    def __init__(self, parts: list[_Run | str]) -> None:
        self.parts = parts

    def read(self, reader: DataSetReader, offset: int, place: Place, dataset: _Elements) -> int:
        """The beginning of a data set as far as it is alike. Raises as DataSetReader.read_elements."""
        parts, index, last = self.parts, 0, place.end - 8
        data: Any = reader.data.obj  # bytes: compared where they are
        while index < len(parts) and offset <= last:
            part = parts[index]
            if isinstance(part, str):
                if place.highest >= part:
                    break
                offset = reader.read_elements(offset, offset, place, dataset)
                if place.ended or place.highest > part:
                    break
                index += place.highest == part  # else one that was not there before
                continue
            if part.first <= place.highest or part.encodings != place.encodings:
                break
            stop = offset + len(part.raw)
            if data.startswith(part.raw, offset):
                dataset.update(part.elements)
                place.highest = part.last
                reader.elements += part.nested
                offset = stop
                index += 1
            else:
                parts[index : index + 1] = _split(part, reader.data[offset:stop].tobytes())
        return offset


def _split(run: _Run, found: bytes) -> list[_Run | str]:
    """At the first element that differs."""
    offset = count = 0
    for piece in run.pieces:
        if found[offset : offset + len(piece.raw)] != piece.raw:
            break
        offset += len(piece.raw)
        count += 1
    parts: list[_Run | str] = [_Run(run.pieces[:count], run.encodings)] if count else []
    parts.append(run.pieces[count].key)
    if count + 1 < len(run.pieces):
        parts.append(_Run(run.pieces[count + 1 :], run.encodings))
    return parts


class KnownHeaders:
    """The headers of the series that came last. Not for several threads at a time."""

    def __init__(self, most: int = MAX_HEADERS) -> None:
        self._most = most
        self._headers: OrderedDict[tuple[Any, ...], KnownHeader | None] = OrderedDict()

    def header_for(self, data: bytes, offset: int, encoding: Encoding, limits: ParseLimits) -> KnownHeader | None:
        """Of the series that the data set at `offset` belongs to. Its second instance is remembered: many have only one."""
        series = _series_of(data, offset, encoding)
        if series is None:
            return None
        key = (series, id(encoding), limits)
        if key not in self._headers:
            self._headers[key] = None
            if len(self._headers) > self._most:
                self._headers.popitem(last=False)
            return None
        self._headers.move_to_end(key)
        known = self._headers[key]
        if known is None:
            known = self._headers[key] = _remembered(data, offset, encoding, limits)
        return known


def _series_of(data: bytes, offset: int, encoding: Encoding) -> bytes | None:
    """The bytes of the Series Instance UID, or what looks like it: whether elements are alike is seen at each of them."""
    tag, length = _SERIES.get(id(encoding), (b"", None))
    if length is None:
        return None
    place = data.find(tag, offset, offset + _FIRST_BYTES)
    value = place + len(tag) + length.size
    if place < 0 or value > len(data):
        return None
    (size,) = length.unpack_from(data, value - length.size)
    return data[value : value + size] if size <= 64 else None


def _remembered(data: bytes, start: int, encoding: Encoding, limits: ParseLimits) -> KnownHeader:
    """Of one that cannot be read as far as its pixel data, what can be read."""
    reader = DataSetReader(memoryview(data), limits)
    place = Place(encoding, DEFAULT_ENCODINGS, "", 0, len(data), delimited=False)
    dataset: _Elements = {}
    parts: list[_Run | str] = []
    pieces: list[_Piece] = []
    offset, encodings = start, place.encodings

    def end_run() -> None:
        if pieces:
            parts.append(_Run(list(pieces), encodings))
            pieces.clear()

    try:
        while offset + 8 <= len(data) and offset - start < MAX_HEADER_BYTES:
            head = encoding.head(encoding.unpack(reader.data, offset)[0])
            if head is None or head.special in (PIXELS, EXTENDED) or head.key <= place.highest:
                break
            before = len(reader.bulkdata), len(reader.pending), reader.elements
            stop = reader.read_elements(offset, offset, place, dataset)
            if place.ended:
                break
            if head.special in (0, SEQUENCE) and (len(reader.bulkdata), len(reader.pending)) == before[:2]:
                element = dataset[head.key]
                pieces.append(_Piece(data[offset:stop], head.key, element, reader.elements - before[2]))
            else:
                end_run()
                parts.append(head.key)
            encodings = place.encodings
            offset = stop
    except (Odd, DicomError):
        pass
    end_run()
    return KnownHeader(parts)
