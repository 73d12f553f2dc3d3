"""Which fragments make up which frame (PS3.5 section A.4), by a ladder of evidence, the best first.

    1  video                     the whole stream is one "frame"
    2  Extended Offset Table     one fragment per frame, with exact lengths (PS3.3 C.7.6.3.1.8)
    3  Basic Offset Table        an entry per frame, each at the start of a fragment
    4  one fragment, or as many fragments as frames
    5  one frame                 all fragments, unless every one of them is a whole codestream
    6  markers                   fragments that begin a codestream behind one that ends

Tables that do not fit the fragments are not believed, and Number of Frames is not when the markers contradict it.
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.dicom.fragments import Fragments
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import Family, TransferSyntax

# First bytes of a codestream, and whether it ends with FFD9 (JPEG: EOI, JPEG 2000: EOC).
_JPEG_STARTS = (b"\xff\xd8\xff",)
_JPEG_2000_STARTS = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_JPEG_XL_STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")
_STARTS: dict[Family, tuple[bytes, ...]] = {
    Family.JPEG: _JPEG_STARTS,
    Family.JPEG_LS: _JPEG_STARTS,
    Family.JPEG_2000: _JPEG_2000_STARTS,
    Family.HTJ2K: _JPEG_2000_STARTS,
    Family.JPEG_XL: _JPEG_XL_STARTS,
}
_END = b"\xff\xd9"
_WITH_END = frozenset((Family.JPEG, Family.JPEG_LS, Family.JPEG_2000, Family.HTJ2K))
_TAIL = 16  # an end marker may be followed by padding


@dataclass(frozen=True, slots=True)
class FrameGroups:
    """starts   number of the first fragment of each frame, ascending from 0; empty when nothing tells frames apart
    lengths  bytes of each fragment without padding, where a table says so
    """

    starts: Sequence[int]
    lengths: "array[int] | None" = None


def frame_groups(
    data: memoryview,
    fragments: Fragments,
    image: ImagePixel,
    transfer_syntax: TransferSyntax,
    extended_offsets: bytes = b"",
    extended_lengths: bytes = b"",
) -> FrameGroups:
    """Looks at the first and last bytes of fragments only when no table and no count settles the matter."""
    total, frames = len(fragments), image.number_of_frames
    if not total:
        return FrameGroups(())
    if transfer_syntax.is_video:
        return FrameGroups((0,))
    exact = _extended_lengths(fragments, frames, extended_offsets, extended_lengths)
    if exact is not None:
        return FrameGroups(range(total), exact)
    starts = _basic_offsets(data, fragments, frames)
    if starts is not None:
        return FrameGroups(starts)
    if total in (1, frames):
        return FrameGroups(range(total))
    begun, ended = _codestreams(data, fragments, transfer_syntax.family)
    if frames == 1:
        return FrameGroups(range(total) if all(begun) and all(ended) else (0,))
    return FrameGroups(_starts_by_markers(begun, ended, frames))


def _extended_lengths(fragments: Fragments, frames: int, offsets: bytes, lengths: bytes) -> "array[int] | None":
    total = len(fragments)
    if total != frames or len(offsets) != 8 * frames or len(lengths) != 8 * frames:
        return None
    origin = fragments.offsets[0]
    expected = [offset - origin for offset in fragments.offsets]
    exact = array("Q", struct.unpack(f"<{frames}Q", lengths))
    if list(struct.unpack(f"<{frames}Q", offsets)) != expected:
        return None
    fits = all(0 <= length - one <= 1 for one, length in zip(exact, fragments.lengths, strict=True))
    return exact if fits else None


def _basic_offsets(data: memoryview, fragments: Fragments, frames: int) -> list[int] | None:
    count = fragments.table_length // 4
    if count != frames or fragments.table_length % 4 or count > len(fragments):
        return None
    entries = struct.unpack_from(f"<{count}I", data, fragments.table_offset)
    origin = fragments.offsets[0]
    numbers = {offset - origin: number for number, offset in enumerate(fragments.offsets)}
    starts = [numbers.get(entry, -1) for entry in entries]
    ascending = all(before < after for before, after in pairwise(starts))
    return starts if starts[0] == 0 and ascending else None


def _codestreams(data: memoryview, fragments: Fragments, family: Family) -> tuple[list[bool], list[bool]]:
    """For each fragment: does a codestream begin with it, may one end with it."""
    pieces = list(zip(fragments.offsets, fragments.lengths, strict=True))
    heads = _STARTS.get(family)
    if heads is not None:
        begun = [data[offset : offset + min(12, length)].tobytes().startswith(heads) for offset, length in pieces]
    elif family is Family.RLE:
        begun = [_is_rle_header(data[offset : offset + min(8, length)].tobytes()) for offset, length in pieces]
    else:
        begun = [False] * len(pieces)
    if family not in _WITH_END:
        return begun, [True] * len(pieces)
    ended = []
    for offset, length in pieces:
        tail = data[offset + max(0, length - _TAIL) : offset + length].tobytes()
        ended.append(tail.rstrip(b"\0").endswith(_END))
    return begun, ended


def _is_rle_header(head: bytes) -> bool:
    """PS3.5 G.5: number of segments, then the offset of the first, which follows the 64 bytes of the header."""
    if len(head) < 8:
        return False
    segments: int
    first: int
    segments, first = struct.unpack("<2I", head)
    return 1 <= segments <= 15 and first == 64


def _starts_by_markers(begun: Sequence[bool], ended: Sequence[bool], frames: int) -> Sequence[int]:
    total = len(begun)
    by_both = [n for n in range(total) if begun[n] and (n == 0 or ended[n - 1])]
    by_start = [n for n in range(total) if begun[n]]
    by_end = [n for n in range(total) if n == 0 or ended[n - 1]]
    for starts in (by_both, by_start, by_end):
        if len(starts) == frames and starts[0] == 0:
            return starts
    if by_both and by_both[0] == 0:
        return by_both
    # Fewer fragments than frames are frames that are missing; more, without any marker, cannot be told apart.
    return range(total) if total < frames else ()
