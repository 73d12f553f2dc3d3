"""Where each frame's bytes are in the stored file, found once at store time and packed for look-up by slices.

Packed form, little-endian: a head of HEAD_SIZE bytes, then a table.

    native   no table: frame n starts at bit (n - 1) * frame_bits behind `base`
    table    per frame `width` pairs of uint64 (offset, length); unused pairs are zero
    ragged   per frame, and once more, a uint64: its first pair's number; then the pairs. Only for frames cut into so
             differing numbers of fragments that a table would waste space

A reader that must not fetch everything takes the head, asks `slice_of` for the part of one frame, and gives both to
`runs_in_slice`. Native frames are computed from the head alone (their slice is empty).
"""

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.dicom.encapsulation import frame_groups
from app.dicom.fragments import Fragments, walk_fragments
from app.dicom.instance import PixelData
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import Family, TransferSyntax
from app.errors import NotFound, TruncatedDicom

_HEAD = struct.Struct("<BBHIQQQQ")  # kind, version, 0, width, count, base, frame bits, packed size
HEAD_SIZE = _HEAD.size
_VERSION = 1
_NATIVE, _TABLE, _RAGGED = 1, 2, 3
_PAIR = 16
# A table may waste this many times the pairs that are needed before the ragged form is taken.
_MAX_WASTE = 8

# Bits of one sample that the element itself fixes (PS3.3 C.7.6.24, C.7.6.25).
_SAMPLE_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True, slots=True)
class FrameRuns:
    """Bytes of one frame, in the order they are to be joined.

    runs        (offset, length) in bytes, from the start of the file (deflated: of the inflated data set)
    first_bit   of the frame in its first byte, 0 = least significant; not 0 only for 1-bit frames (PS3.5 8.1.1)
    bit_length  of the frame; less than eight times the bytes where a 1-bit frame does not fill them

    In Explicit VR Big Endian a native frame of VR OW lies in swapped 16-bit words: a frame that begins or ends at an odd
    byte needs its neighbour byte before words can be swapped.
    """

    runs: tuple[tuple[int, int], ...]
    first_bit: int
    bit_length: int

    @property
    def length(self) -> int:
        """Bytes in all runs."""
        return sum(length for _, length in self.runs)

    @property
    def whole_bytes(self) -> bool:
        """Whether the runs are the frame, with no bits of its neighbours."""
        return self.first_bit == 0 and self.bit_length == 8 * self.length


def build_frame_index(
    data: bytes | memoryview,
    pixel_data: PixelData,
    image: ImagePixel | None,
    transfer_syntax: TransferSyntax,
    *,
    fragments: Fragments | None = None,
    extended_offsets: bytes = b"",
    extended_lengths: bytes = b"",
) -> bytes:
    """The packed index; b"" where there are no frames to tell apart.

    data                 what the offsets of `pixel_data` refer to
    fragments            as already walked; else walked here
    extended_offsets     values of (7FE0,0001) and (7FE0,0002), little-endian
    Raises TruncatedDicom when native pixel data is shorter than its frames.
    """
    if image is None or transfer_syntax.family is Family.JPIP:
        return b""
    if pixel_data.length is not None:
        return _native_index(pixel_data, pixel_data.length, image)
    view = memoryview(data)
    if fragments is None:
        fragments = walk_fragments(view, pixel_data.offset)
    groups = frame_groups(view, fragments, image, transfer_syntax, extended_offsets, extended_lengths)
    return _pack_groups(fragments, groups.starts, groups.lengths)


def _native_index(pixel_data: PixelData, length: int, image: ImagePixel) -> bytes:
    frame_bits = image.frame_bits
    if pixel_data.keyword in _SAMPLE_BITS:
        frame_bits = image.rows * image.columns * image.samples_per_pixel * _SAMPLE_BITS[pixel_data.keyword]
    available = length * 8
    if image.photometric_interpretation == "YBR_FULL_422":
        # Some writers name 4:2:2 and store every sample: then the length says so exactly (but for the padding).
        full = image.rows * image.columns * image.samples_per_pixel * image.bits_allocated
        if 0 <= available - full * image.number_of_frames <= 8:
            frame_bits = full
    if frame_bits * image.number_of_frames > available:
        raise TruncatedDicom(
            f"pixel data of {length} bytes is too short for {image.number_of_frames} frames of {frame_bits // 8} bytes"
        )
    return _HEAD.pack(_NATIVE, _VERSION, 0, 0, image.number_of_frames, pixel_data.offset, frame_bits, HEAD_SIZE)


def _pack_groups(fragments: Fragments, starts: Sequence[int], exact_lengths: "array[int] | None") -> bytes:
    """`starts`: number of the first fragment of each frame, ascending from 0."""
    count, total = len(starts), len(fragments)
    if not count:
        return b""
    lengths = exact_lengths or fragments.lengths
    pairs = array("Q", bytes(_PAIR * total))
    pairs[0::2] = fragments.offsets
    pairs[1::2] = lengths
    if count == total:
        return _table(pairs, 1, count)
    borders = [*starts, total]
    width = max(after - start for start, after in pairwise(borders))
    if width * count > _MAX_WASTE * total:
        index = array("Q", borders)
        return _packed(_RAGGED, 0, count, index, pairs)
    table = array("Q", bytes(_PAIR * width * count))
    for number, start in enumerate(starts):
        run = pairs[2 * start : 2 * borders[number + 1]]
        place = 2 * width * number
        table[place : place + len(run)] = run
    return _table(table, width, count)


def _table(pairs: "array[int]", width: int, count: int) -> bytes:
    return _packed(_TABLE, width, count, pairs)


def _packed(kind: int, width: int, count: int, *parts: "array[int]") -> bytes:
    if sys.byteorder == "big":
        for part in parts:
            part.byteswap()
    body = b"".join(part.tobytes() for part in parts)
    return _HEAD.pack(kind, _VERSION, 0, width, count, 0, 0, HEAD_SIZE + len(body)) + body


def frame_count(packed: bytes) -> int:
    """Number of frames; the head is enough."""
    return _head(packed)[2] if packed else 0


def locate_frames(packed: bytes, numbers: Sequence[int]) -> list[FrameRuns]:
    """Frames by 1-based number, in the order asked. Raises NotFound for one that is not there."""
    result = []
    for number in numbers:
        offset, length = slice_of(packed, number)
        part = packed.part(offset, length) if isinstance(packed, PartialIndex) else packed[offset : offset + length]
        result.append(runs_in_slice(packed, number, part))
    return result


class PartialIndex(bytes):
    """The head of a large packed index, with only some parts of its table: `parts` are (offset in the index, bytes)."""

    parts: Sequence[tuple[int, bytes]] = ()

    def part(self, offset: int, length: int) -> bytes:
        """b"" for what is not there."""
        for start, part in self.parts:
            if start <= offset and offset + length <= start + len(part):
                return part[offset - start : offset - start + length]
        return b""


def slice_of(head: bytes, number: int) -> tuple[int, int]:
    """(offset, length) of the bytes of the packed index that `runs_in_slice` needs for frame `number` besides the head.

    `head` is at least the first HEAD_SIZE bytes. Raises NotFound.
    """
    kind, width, count, _, _, size = _head(head)
    if not 1 <= number <= count:
        raise NotFound(f"there is no frame {number}: the instance has {count}")
    if kind == _NATIVE:
        return HEAD_SIZE, 0
    if kind == _TABLE:
        return HEAD_SIZE + (number - 1) * width * _PAIR, width * _PAIR
    return HEAD_SIZE, size - HEAD_SIZE


def runs_in_slice(head: bytes, number: int, part: bytes) -> FrameRuns:
    """The frame `number` from the head and from the bytes that `slice_of` named."""
    kind, _, count, base, frame_bits, _ = _head(head)
    if kind == _NATIVE:
        first = (number - 1) * frame_bits
        start, after = first // 8, (first + frame_bits + 7) // 8
        return FrameRuns(((base + start, after - start),), first % 8, frame_bits)
    if kind == _RAGGED:
        start, after = struct.unpack_from("<2Q", part, (number - 1) * 8)
        pairs = (count + 1) * 8
        part = part[pairs + start * _PAIR : pairs + after * _PAIR]
    # Fragments without a byte are left out with the unused pairs: there is nothing of them to read.
    runs = tuple(pair for pair in struct.iter_unpack("<2Q", part) if pair[1])
    return FrameRuns(runs, 0, 8 * sum(length for _, length in runs))


def _head(packed: bytes) -> tuple[int, int, int, int, int, int]:
    """kind, width, count, base, frame bits, packed size. Raises NotFound where there are no frames."""
    if len(packed) < HEAD_SIZE:
        raise NotFound("the instance has no frames")
    kind, _, _, width, count, base, frame_bits, size = _HEAD.unpack_from(packed)
    return kind, width, count, base, frame_bits, size
