"""Frames: the hot path. One look-up gives the blob and the byte runs of the wanted frames; one ranged read gives the bytes.

Nothing is parsed. Pixels are decoded only when the receiver takes nothing that is stored.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.db.locate import InstanceLocation
from app.db.locate import locate_frames as locate_frame_rows
from app.dicom.codecs import decoded_image
from app.dicom.frame_index import FrameRuns, locate_frames
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.native_pixels import extract_bits, swap_bytes, swap_width
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import TransferSyntax, transfer_syntax
from app.errors import CodecError, NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.decoding import decode_frames
from app.services.inflating import read_data_set
from app.services.syntaxes import Alternative, choose

GROUP_BYTES = 8 * 1024 * 1024  # frames read together; bounds the memory of a request for many


@dataclass(frozen=True, slots=True)
class FrameDelivery:
    """Frames found and planned, not yet read.

    index       of the alternative that was chosen
    converted   True when frames are decoded; their sizes are known all the same
    sizes       bytes of each frame as delivered, in the order asked for
    bit_packed  1-bit frames that do not begin or end at a byte (PS3.5 8.1.1): each is delivered from its own first bit on
    """

    location: InstanceLocation
    layout: InstanceLayout
    image: ImagePixel | None
    runs: tuple[FrameRuns, ...]
    numbers: tuple[int, ...]
    index: int
    transfer_syntax_uid: str
    converted: bool
    sizes: tuple[int, ...]
    bit_packed: bool


async def retrieve_frames(
    archive: Archive, ref: InstanceRef, numbers: Sequence[int], alternatives: Sequence[Alternative]
) -> FrameDelivery:
    """Plan the delivery of frames. Raises NotFound, Gone, NotAcceptable, Unavailable."""
    location, packed = await locate_frame_rows(archive.db, ref, numbers)
    if not packed:
        raise NotFound("this instance has no frames")
    return plan_frames(location, locate_frames(packed, numbers), numbers, alternatives)


def plan_frames(
    location: InstanceLocation,
    runs: Sequence[FrameRuns],
    numbers: Sequence[int],
    alternatives: Sequence[Alternative],
) -> FrameDelivery:
    """The same once the frames are located. Raises NotAcceptable."""
    stored = location.transfer_syntax_uid
    chosen = choose([stored], alternatives)
    if chosen is None:
        raise NotAcceptable(f"frames stored in transfer syntax {stored} cannot be had in any of the accepted ones")
    index, (target,) = chosen
    layout = InstanceLayout.from_json(location.layout)
    source = transfer_syntax(stored)
    converted = source.encapsulated and target != stored
    image = layout.image
    if converted:
        if image is None:
            raise NotAcceptable("the size of the image is not known: its frames can only be had as stored")
        try:
            image = decoded_image(image, stored)
        except CodecError as error:
            raise NotAcceptable(str(error)) from error
        sizes = tuple((image.frame_bits + 7) // 8 for _ in numbers)
    else:
        sizes = tuple((run.bit_length + 7) // 8 if not source.encapsulated else run.length for run in runs)
    bit_packed = not source.encapsulated and not all(run.whole_bytes for run in runs)
    return FrameDelivery(
        location, layout, image, tuple(runs), tuple(numbers), index, target, converted, sizes, bit_packed
    )


async def read_frames(archive: Archive, delivery: FrameDelivery) -> AsyncIterator[bytes]:
    """The frames in the order asked for, one item each. Raises BlobNotFound, CodecError, Unavailable."""
    stored = transfer_syntax(delivery.location.transfer_syntax_uid)
    position = 0
    while position < len(delivery.runs):
        count = _group(delivery, position)
        runs = delivery.runs[position : position + count]
        pieces = await _read_runs(archive, delivery, stored, runs)
        if delivery.converted and delivery.layout.image is not None:
            async for frame in decode_frames(archive, pieces, delivery.layout.image, stored.uid):
                yield frame
        else:
            for run, piece in zip(runs, pieces, strict=True):
                yield extract_bits(piece, run.first_bit, run.bit_length) if delivery.bit_packed else piece
        position += count


def _group(delivery: FrameDelivery, position: int) -> int:
    """How many frames from `position` on are read at once."""
    total = count = 0
    for run in delivery.runs[position:]:
        total += max(run.length, 1)
        if count and total > GROUP_BYTES:
            break
        count += 1
    return count


async def _read_runs(
    archive: Archive, delivery: FrameDelivery, stored: TransferSyntax, runs: Sequence[FrameRuns]
) -> list[bytes]:
    """The stored bytes of each frame, its fragments put together, in little-endian order."""
    ranges = [one for run in runs for one in run.runs]
    key = delivery.location.blob_key
    if stored.deflated:
        data = await read_data_set(archive, delivery.location)
        return [bytes(data[offset : offset + length]) for offset, length in ranges]
    if stored.big_endian:
        words = [_whole_words(delivery.layout, *one) for one in ranges]
        pieces = await archive.blobs.get_ranges(key, [(offset, length) for offset, length, _, _ in words])
        return [
            swap_bytes(piece, width)[skip : skip + length]
            for piece, (_, _, skip, width), (_, length) in zip(pieces, words, ranges, strict=True)
        ]
    pieces = await archive.blobs.get_ranges(key, ranges)
    frames, at = [], 0
    for run in runs:
        count = len(run.runs)
        frames.append(pieces[at] if count == 1 else b"".join(pieces[at : at + count]))
        at += count
    return frames


def _whole_words(layout: InstanceLayout, offset: int, length: int) -> tuple[int, int, int, int]:
    """The range to read so that its words are whole, how many bytes to skip after swapping them, and their width.

    A frame of 8-bit or 1-bit samples in OW may begin in the middle of a swapped word (PS3.5 8.1.1, Annex D).
    """
    image, pixel_data = layout.image, layout.pixel_data
    if image is None or pixel_data is None or pixel_data.length is None:
        return offset, length, 0, 1
    width = swap_width(pixel_data.vr, image.bits_allocated)
    first = (offset - pixel_data.offset) // width * width
    last = min(-(-(offset - pixel_data.offset + length) // width) * width, pixel_data.length)
    return pixel_data.offset + first, last - first, offset - pixel_data.offset - first, width
