"""Frames: the hot path. One look-up gives the blob and the byte runs of the wanted frames; one ranged read gives the bytes.

Nothing is parsed. Pixels are decoded, and encoded again, only when the receiver takes nothing that is stored.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.blobs.files import FileSlice
from app.db.locate import InstanceLocation
from app.db.locate_frames import locate_frames as locate_frame_rows
from app.dicom.frame_conversion import FrameConversion, plan_frame_conversion
from app.dicom.frame_index import FrameRuns, locate_frames
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.native_pixels import extract_bits, swap_bytes, swap_width
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import AS_STORED, TransferSyntax, transfer_syntax
from app.errors import CodecError, NotAcceptable, NotFound, Unavailable, UnsupportedTransferSyntax
from app.services.archive import Archive
from app.services.inflating import open_data_set, read_range
from app.services.syntaxes import Alternative, Stored, choose, choose_untouched, refusal
from app.services.transcoding import ConvertedFrames, check_limits

GROUP_BYTES = 8 * 1024 * 1024  # frames read together; bounds the memory of a request for many
STREAM_BYTES = 1024 * 1024  # larger frames are better sent in chunks than held whole
_PLANNED_AT_ONCE = 500  # frames: a millisecond
SLICE_BYTES = 64 * 1024  # larger frames are better passed on as parts of their file, where the blob store has files


@dataclass(frozen=True, slots=True)
class FrameDelivery:
    """Frames found and planned, not yet read.

    index       of the alternative that was chosen
    image       description of the frames as delivered
    conversion  None when they are passed on as they are stored, or only their bytes are put in order
    sizes       bytes of each frame as delivered, in the order asked for; None for those that have to be encoded first
    bit_packed  1-bit frames that do not begin or end at a byte (PS3.5 8.1.1): each is delivered from its own first bit on
    """

    location: InstanceLocation
    layout: InstanceLayout
    image: ImagePixel | None
    runs: tuple[FrameRuns, ...]
    numbers: tuple[int, ...]
    index: int
    transfer_syntax_uid: str
    conversion: FrameConversion | None
    sizes: tuple[int | None, ...]
    bit_packed: bool


async def retrieve_frames(
    archive: Archive, ref: InstanceRef, numbers: Sequence[int], alternatives: Sequence[Alternative]
) -> FrameDelivery:
    """Plan the delivery of frames. Raises NotFound, Gone, NotAcceptable, Unavailable."""
    location, packed = await locate_frame_rows(archive.db, ref, numbers)
    if not packed:
        raise NotFound("this instance has no frames")
    return plan_frames(location, locate_frames(packed, numbers), numbers, alternatives)


async def retrieve_all_frames(
    archive: Archive, location: InstanceLocation, count: int, transfer_syntax_uid: str
) -> FrameDelivery:
    """Plan the delivery of each of `count` frames of the version of an instance that was found before.

    Raises NotFound, Gone, NotAcceptable, Unavailable: also where another version has taken its place since.
    """
    numbers = range(1, count + 1)
    found, packed = await locate_frame_rows(archive.db, location.ref, numbers)
    if found.blob_key != location.blob_key:
        raise Unavailable("an instance was replaced while it was being read")

    def plan() -> FrameDelivery:
        return deliver_frames(location, locate_frames(packed, numbers), numbers, transfer_syntax_uid)

    return plan() if count <= _PLANNED_AT_ONCE else await asyncio.to_thread(plan)


def plan_frames(
    location: InstanceLocation,
    runs: Sequence[FrameRuns],
    numbers: Sequence[int],
    alternatives: Sequence[Alternative],
) -> FrameDelivery:
    """The same once the frames are located. Raises NotAcceptable."""
    index, target = choose_syntax(location, alternatives)
    return deliver_frames(location, runs, numbers, target, index)


def choose_syntax(location: InstanceLocation, alternatives: Sequence[Alternative]) -> tuple[int, str]:
    """The alternative that frames come by, and their transfer syntax. Raises NotAcceptable."""
    stored = Stored(location.transfer_syntax_uid, location.layout, only_frames=True)
    chosen = choose([stored], alternatives)
    if chosen is None:
        raise NotAcceptable(_why_not(stored, alternatives))
    index, (target,) = chosen
    return index, target


def without_codec(delivery: FrameDelivery, alternatives: Sequence[Alternative]) -> FrameDelivery | None:
    """The same frames by the first alternative for which nothing is decoded or encoded; None where there is none."""
    location = delivery.location
    stored = Stored(location.transfer_syntax_uid, location.layout, only_frames=True)
    chosen = None if delivery.conversion is None else choose_untouched(stored, alternatives)
    if chosen is None:
        return None
    index, target = chosen
    return deliver_frames(location, delivery.runs, delivery.numbers, target, index)


def deliver_frames(
    location: InstanceLocation, runs: Sequence[FrameRuns], numbers: Sequence[int], target: str, index: int = 0
) -> FrameDelivery:
    """The same once the transfer syntax is chosen as well. Raises NotAcceptable."""
    layout = InstanceLayout.from_json(location.layout)
    source = transfer_syntax(location.transfer_syntax_uid)
    image, conversion = layout.image, None
    sizes: tuple[int | None, ...]
    if target != source.uid and (source.encapsulated or transfer_syntax(target).encapsulated):
        try:
            conversion = plan_frame_conversion(layout, source.uid, target)
        except (CodecError, UnsupportedTransferSyntax) as error:
            raise NotAcceptable(str(error)) from error
        image = conversion.result
        known = not (conversion.encodes or conversion.recompresses)
        sizes = tuple((image.frame_bits + 7) // 8 if known else None for _ in numbers)
    else:
        sizes = tuple((run.bit_length + 7) // 8 if not source.encapsulated else run.length for run in runs)
    bit_packed = not source.encapsulated and not all(run.whole_bytes for run in runs)
    return FrameDelivery(
        location, layout, image, tuple(runs), tuple(numbers), index, target, conversion, sizes, bit_packed
    )


def _why_not(stored: Stored, alternatives: Sequence[Alternative]) -> str:
    named = [uid for one in alternatives for uid in one.transfer_syntaxes if uid != AS_STORED]
    reason = refusal(stored, named[0]) if named else None
    uid = stored.transfer_syntax_uid
    return f"frames stored in transfer syntax {uid} cannot be had in any of the accepted ones" + (
        f": {reason}" if reason else ""
    )


async def read_frames(archive: Archive, delivery: FrameDelivery, *, keep: bool = True) -> AsyncIterator[bytes]:
    """The frames in the order asked for, one item each.

    keep  whether converted frames shall be kept for those who come after
    Raises BlobNotFound, CodecError, Unavailable.
    """
    converted = None
    if delivery.conversion is not None:
        check_limits(archive, delivery.conversion)
        converted = ConvertedFrames(archive, delivery.location.digest, delivery.conversion, keep=keep)
    position = 0
    while position < len(delivery.runs):
        count = _group(delivery, position)
        runs = delivery.runs[position : position + count]
        numbers = delivery.numbers[position : position + count]
        position += count
        if converted is None:
            for frame in await _native_or_stored(archive, delivery, runs):
                yield frame
            continue
        found = await converted.find(numbers)
        missing = [run for run, frame in zip(runs, found, strict=True) if frame is None]
        sources = await _native_or_stored(archive, delivery, missing) if missing else []
        async for frame in converted.convert(numbers, found, sources):
            yield frame


async def first_read(
    archive: Archive, delivery: FrameDelivery, alternatives: Sequence[Alternative]
) -> tuple[FrameDelivery, AsyncIterator[bytes]]:
    """Frames of which the first is there, as planned or, where a codec cannot make it, `without_codec`.

    Raises BlobNotFound, CodecError, Unavailable.
    """
    frames = read_frames(archive, delivery)
    try:
        first = await anext(frames)
    except CodecError:
        untouched = without_codec(delivery, alternatives)
        if untouched is None:
            raise
        return untouched, read_frames(archive, untouched)

    async def all_frames() -> AsyncIterator[bytes]:
        yield first
        async for frame in frames:
            yield frame

    return delivery, all_frames()


async def read_few_frames(archive: Archive, delivery: FrameDelivery) -> list[bytes] | None:
    """As `read_frames`, all at once; None where they are too much for that, or have to be converted."""
    if delivery.conversion is not None or _group(delivery, 0) < len(delivery.runs):
        return None
    return await _native_or_stored(archive, delivery, delivery.runs)


def single_range(delivery: FrameDelivery) -> tuple[int, int] | None:
    """Where in its blob the only frame of a delivery lies, just as it goes out: offset and length in bytes. None for all others."""
    if not _goes_out_as_it_lies(delivery) or len(delivery.runs) != 1 or len(delivery.runs[0].runs) != 1:
        return None
    return delivery.runs[0].runs[0]


def can_stream(archive: Archive, delivery: FrameDelivery) -> bool:
    """Whether the frames go out just as they lie in the blob, and one of them is large."""
    large = SLICE_BYTES if archive.blobs.passes_files else STREAM_BYTES
    return any(run.length > large for run in delivery.runs) and _goes_out_as_it_lies(delivery)


def _goes_out_as_it_lies(delivery: FrameDelivery) -> bool:
    stored = transfer_syntax(delivery.location.transfer_syntax_uid)
    return delivery.conversion is None and not (delivery.bit_packed or stored.deflated or stored.big_endian)


async def frame_slices(archive: Archive, delivery: FrameDelivery) -> Sequence[FileSlice] | None:
    """Frames of which `can_stream` holds, each as a part of a file; None where the blob store has no files, or a frame lies in
    several pieces. Raises BlobNotFound, Unavailable."""
    if not archive.blobs.passes_files or any(len(run.runs) != 1 for run in delivery.runs):
        return None
    return await archive.blobs.slices(delivery.location.blob_key, [run.runs[0] for run in delivery.runs])


async def stream_frame(
    archive: Archive, delivery: FrameDelivery, index: int, offset: int = 0, length: int | None = None
) -> AsyncIterator[bytes | FileSlice]:
    """A part of one of the frames of which `can_stream` holds, in pieces. Raises BlobNotFound, Unavailable."""
    run = delivery.runs[index]
    left = run.length - offset if length is None else length
    for start, size in run.runs:
        taken = min(size - offset, left)
        if taken > 0:
            async for chunk in archive.blobs.pieces(delivery.location.blob_key, start + offset, taken):
                yield chunk
            left -= taken
        offset = max(0, offset - size)


async def _native_or_stored(archive: Archive, delivery: FrameDelivery, runs: Sequence[FrameRuns]) -> list[bytes]:
    """Frames as they are stored; native ones in little-endian order, each from its own first bit on."""
    stored = transfer_syntax(delivery.location.transfer_syntax_uid)
    pieces = await _read_runs(archive, delivery, stored, runs)
    if not delivery.bit_packed:
        return pieces
    return [extract_bits(piece, run.first_bit, run.bit_length) for run, piece in zip(runs, pieces, strict=True)]


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
        inflated = await open_data_set(archive, delivery.location)
        return [await read_range(inflated, offset, length) for offset, length in ranges]
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
