"""Frames: the hot path. One look-up gives the blob and the byte runs of the wanted frames; one ranged read gives the bytes.

Nothing is parsed. Pixels are decoded only when the receiver takes nothing that is stored.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.db.locate import InstanceLocation
from app.db.locate import locate_frames as locate_frame_rows
from app.dicom.frame_index import FrameRuns, locate_frames
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.native_pixels import concatenate_bits, extract_bits, swap_bytes, swap_width
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import TransferSyntax, transfer_syntax
from app.errors import CodecError, NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.decoding import decode_frames
from app.services.inflating import read_data_set
from app.services.syntaxes import Acceptable, choose

GROUP_BYTES = 8 * 1024 * 1024  # frames read together; bounds the memory of a request for many


@dataclass(frozen=True, slots=True)
class FrameDelivery:
    """Frames found and planned, not yet read.

    index       of the alternative that was chosen
    converted   True when frames are decoded; their sizes are known all the same
    sizes       bytes of each frame as delivered, in the order asked for
    bit_packed  1-bit frames that need not begin at a byte: several of them are delivered as one run of bits
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
    archive: Archive, ref: InstanceRef, numbers: Sequence[int], alternatives: Sequence[Acceptable]
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
    alternatives: Sequence[Acceptable],
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
        from app.dicom.codecs import decoded_image

        if image is None:
            raise NotAcceptable("the size of the image is not known: its frames can only be had as stored")
        try:
            image = decoded_image(image, stored)
        except CodecError as error:
            raise NotAcceptable(str(error)) from error
        sizes = tuple((image.frame_bits + 7) // 8 for _ in numbers)
    else:
        sizes = tuple(run.length for run in runs)
    bit_packed = image is not None and image.bits_allocated == 1 and (converted or not source.encapsulated)
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
        pieces = await _read_runs(archive, delivery.location, stored, runs)
        if delivery.converted and delivery.layout.image is not None:
            async for frame in decode_frames(archive, pieces, delivery.layout.image, stored.uid):
                yield frame
        else:
            for run, piece in zip(runs, pieces, strict=True):
                yield _native_frame(delivery, stored, run, piece)
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
    archive: Archive, location: InstanceLocation, stored: TransferSyntax, runs: Sequence[FrameRuns]
) -> list[bytes]:
    """The stored bytes of each frame, its fragments put together."""
    ranges = [one for run in runs for one in run.runs]
    if stored.deflated:
        data = await read_data_set(archive, location)
        pieces = [bytes(data[offset : offset + length]) for offset, length in ranges]
    else:
        pieces = await archive.blobs.get_ranges(location.blob_key, ranges)
    frames, at = [], 0
    for run in runs:
        count = len(run.runs)
        frames.append(pieces[at] if count == 1 else b"".join(pieces[at : at + count]))
        at += count
    return frames


def _native_frame(delivery: FrameDelivery, stored: TransferSyntax, run: FrameRuns, piece: bytes) -> bytes:
    if stored.encapsulated:
        return piece
    image, pixel_data = delivery.layout.image, delivery.layout.pixel_data
    if stored.big_endian and image is not None and pixel_data is not None:
        piece = swap_bytes(piece, swap_width(pixel_data.vr, image.bits_allocated))
    if delivery.bit_packed:
        return extract_bits(piece, run.first_bit, run.bit_length)
    return piece


__all__ = ["FrameDelivery", "concatenate_bits", "plan_frames", "read_frames", "retrieve_frames"]
