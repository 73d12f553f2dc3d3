"""Encapsulated pixel data as it lies in the file: an offset table item, fragments, a delimiter (PS3.5 section A.4)."""

import struct
from array import array
from dataclasses import dataclass

from app.errors import MalformedDicom, TruncatedDicom

MAX_FRAGMENTS = 5_000_000
_ITEM = struct.Struct("<HHI")


class TooManyFragments(MalformedDicom):
    """More than are read, or more than are to be read at once."""


@dataclass(frozen=True, slots=True)
class Fragments:
    """table_offset, table_length  value of the Basic Offset Table item, in bytes; length 0 = empty table

    offsets, lengths            of the value of each fragment, in bytes, from the start of the data (arrays of uint64)
    stop                        offset of the sequence delimiter
    end                         offset of the first byte behind the sequence delimiter
    """

    table_offset: int
    table_length: int
    offsets: "array[int]"
    lengths: "array[int]"
    stop: int
    end: int

    def __len__(self) -> int:
        return len(self.offsets)


def walk_fragments(data: memoryview, offset: int, end: int | None = None, *, most: int = MAX_FRAGMENTS) -> Fragments:
    """Reads the item headers from the offset table item at `offset` on, and nothing in between.

    `end` bounds the element (default: the end of the data). Always little-endian: no big-endian syntax encapsulates.
    Raises TruncatedDicom when the data ends before the delimiter, MalformedDicom when something else than an item comes,
    TooManyFragments when there are more than `most` or MAX_FRAGMENTS.
    """
    most = min(most, MAX_FRAGMENTS)
    if end is None:
        end = len(data)
    unpack = _ITEM.unpack_from
    offsets, lengths = array("Q"), array("Q")
    add_offset, add_length = offsets.append, lengths.append
    position = offset
    last = end - 8
    while position <= last:
        group, element, length = unpack(data, position)
        position += 8
        if group != 0xFFFE or element != 0xE000:
            if group == 0xFFFE and element == 0xE0DD and offsets:
                return Fragments(offsets[0], lengths[0], offsets[1:], lengths[1:], stop=position - 8, end=position)
            raise MalformedDicom("encapsulated pixel data does not consist of items")
        add_offset(position)
        add_length(length)
        position += length
        if len(offsets) > most:
            raise TooManyFragments(f"more than {most} fragments of pixel data")
    raise TruncatedDicom("encapsulated pixel data has no end")
