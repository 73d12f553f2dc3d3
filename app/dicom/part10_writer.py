"""A PS3.10 file from a data set whose large values lie elsewhere (PS3.10 7.1, PS3.5 7.1 and A.4).

The result is a plan (app.dicom.conversion_plan): bytes that are known, and ranges to be copied from where bulkdata was
spooled. What is copied is never held in memory here. Always Explicit VR Little Endian; encapsulated where pixel data is compressed.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.dicom.conversion_plan import ConversionPlan, Copy, conversion_plan
from app.dicom.explicit_elements import (
    ITEM,
    MAX_LENGTH,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    element,
    element_header,
    item_header,
    padding,
    written_vr,
)
from app.dicom.metadata_elements import BulkReference, DataSet, text_of
from app.dicom.transcode import IMPLEMENTATION_CLASS_UID
from app.errors import MalformedDicom

IMPLEMENTATION_VERSION_NAME = "GANTRY"
PIXEL_DATA, EXTENDED_OFFSETS, EXTENDED_LENGTHS = 0x7FE00010, 0x7FE00001, 0x7FE00002
_MAX_OFFSET = 0xFFFFFFFF

Piece = bytes | Copy
PiecesOf = Callable[[BulkReference], Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """Pixel data as fragments, each given by its pieces.

    per_frame  there is one fragment per frame, so that an offset table can tell where each begins
    """

    fragments: tuple[tuple[Piece, ...], ...]
    per_frame: bool


def part10_plan(
    data_set: DataSet, transfer_syntax_uid: str, pieces_of: PiecesOf, pixel_data: Encapsulated | None = None
) -> ConversionPlan:
    """The whole file.

    pieces_of   where the bytes of a BulkReference are, in order
    pixel_data  takes the place of what the data set says of (7FE0,0010); None leaves that as it is
    Raises MalformedDicom for what does not fit a length field.
    """
    meta = _file_meta(text_of(data_set, 0x00080016), text_of(data_set, 0x00080018), transfer_syntax_uid)
    return conversion_plan([meta, *_elements(data_set, pieces_of, pixel_data)], transfer_syntax_uid)


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    texts = (
        (0x00020002, "UI", sop_class_uid),
        (0x00020003, "UI", sop_instance_uid),
        (0x00020010, "UI", transfer_syntax_uid),
        (0x00020012, "UI", IMPLEMENTATION_CLASS_UID),
        (0x00020013, "SH", IMPLEMENTATION_VERSION_NAME),
    )
    body = element(0x00020001, "OB", b"\0\1")
    body += b"".join(element(tag, vr, text.encode("utf-8")) for tag, vr, text in texts)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(body))) + body


def _elements(data_set: DataSet, pieces_of: PiecesOf, pixel_data: Encapsulated | None = None) -> Iterator[Piece]:
    tags = set(data_set) | ({PIXEL_DATA} if pixel_data else set())
    for tag in sorted(tags):
        if tag == PIXEL_DATA and pixel_data is not None:
            yield from _encapsulated(pixel_data)
            continue
        vr, value = data_set[tag].vr, data_set[tag].value
        if isinstance(value, bytes):
            yield from _with_length(tag, vr, [value])
        elif isinstance(value, BulkReference):
            yield from _with_length(tag, vr, pieces_of(value))
        else:
            yield from _sequence(tag, value, pieces_of)


def length_of(pieces: Sequence[Piece]) -> int:
    """Bytes in all pieces."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)


def _with_length(tag: int, vr: str, pieces: Sequence[Piece]) -> Iterator[Piece]:
    length = length_of(pieces)
    even = length + length % 2
    if even > MAX_LENGTH:
        raise MalformedDicom(f"{tag:08X} has {length} bytes: more than a length field can say")
    yield element_header(tag, written_vr(vr, even), even)
    yield from pieces
    if length % 2:
        yield padding(vr)


def _sequence(tag: int, data_sets: Sequence[DataSet], pieces_of: PiecesOf) -> Iterator[Piece]:
    """Lengths are written; what is too long for that ends with delimiters (PS3.5 7.5)."""
    content: list[Piece] = []
    for data_set in data_sets:
        pieces = list(_elements(data_set, pieces_of))
        length = length_of(pieces)
        if length > MAX_LENGTH:
            content += [item_header(ITEM, UNDEFINED_LENGTH), *pieces, item_header(0xFFFEE00D, 0)]
        else:
            content += [item_header(ITEM, length), *pieces]
    length = length_of(content)
    if length > MAX_LENGTH:
        content.append(item_header(SEQUENCE_END, 0))
        length = UNDEFINED_LENGTH
    yield element_header(tag, "SQ", length)
    yield from content


def _encapsulated(pixel_data: Encapsulated) -> Iterator[Piece]:
    """An Extended Offset Table where the basic one cannot reach (PS3.3 C.7.6.3.1.8), else a basic one for several frames."""
    lengths = [length_of(fragment) for fragment in pixel_data.fragments]
    evens = [length + length % 2 for length in lengths]
    if max(evens) > MAX_LENGTH:
        raise MalformedDicom("a fragment of the pixel data is longer than a length field can say")
    table = b""
    if pixel_data.per_frame and len(lengths) > 1:
        offsets = [0, *accumulate(even + 8 for even in evens[:-1])]
        if offsets[-1] > _MAX_OFFSET:
            yield element(EXTENDED_OFFSETS, "OV", struct.pack(f"<{len(offsets)}Q", *offsets))
            yield element(EXTENDED_LENGTHS, "OV", struct.pack(f"<{len(lengths)}Q", *lengths))
        else:
            table = struct.pack(f"<{len(offsets)}I", *offsets)
    yield element_header(PIXEL_DATA, "OB", UNDEFINED_LENGTH)
    yield item_header(ITEM, len(table)) + table
    for fragment, length, even in zip(pixel_data.fragments, lengths, evens, strict=True):
        yield item_header(ITEM, even)
        yield from fragment
        if length % 2:
            yield b"\0"
    yield item_header(SEQUENCE_END, 0)
