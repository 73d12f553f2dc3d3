"""Instances as Explicit VR Little Endian, streamed: the length is known before the first byte, nothing is held but a frame."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from app.db.locate import InstanceLocation
from app.dicom.conversion_plan import ConversionPlan, Copy, DecodedFrames, Literal, Swap
from app.dicom.layout import InstanceLayout
from app.dicom.native_pixels import BitConcatenator
from app.dicom.transcode import plan_explicit_vr_little_endian
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from app.services.archive import Archive
from app.services.bulkdata import read_words
from app.services.frames import GROUP_BYTES, read_frames, retrieve_all_frames


async def plan_explicit_instance(archive: Archive, location: InstanceLocation) -> ConversionPlan:
    """What the instance becomes that is not stored deflated (app.services.prepared_instances).

    Raises BlobNotFound, CodecError, DicomError, TooLarge, Unavailable.
    """
    layout = InstanceLayout.from_json(location.layout)
    stored = transfer_syntax(location.transfer_syntax_uid)
    head, tail = await read_head_and_tail(archive, location, layout)
    plan = partial(plan_explicit_vr_little_endian, head, layout, stored.uid, tail, size=location.size)
    return await asyncio.to_thread(plan)


async def read_meta(archive: Archive, location: InstanceLocation, layout: InstanceLayout) -> bytes:
    """The file in front of its data set."""
    if not layout.dataset_offset:
        return b""
    return await archive.blobs.get_range(location.blob_key, 0, layout.dataset_offset)


async def read_head_and_tail(
    archive: Archive, location: InstanceLocation, layout: InstanceLayout
) -> tuple[bytes, bytes]:
    """The file in front of the value of its pixel data, and behind its pixel data."""
    blobs, key = archive.blobs, location.blob_key
    if layout.pixel_data is None:
        return await blobs.get_range(key, 0, location.size), b""
    head = await blobs.get_range(key, 0, layout.pixel_data.offset)
    rest = location.size - layout.pixel_data.end
    return head, await blobs.get_range(key, layout.pixel_data.end, rest) if rest > 0 else b""


async def execute_plan(archive: Archive, location: InstanceLocation, plan: ConversionPlan) -> AsyncIterator[bytes]:
    """The bytes of the result. Raises BlobNotFound, CodecError, Unavailable."""
    frames, waiting = None, list[bytes]()
    for segment in plan.segments:
        if isinstance(segment, DecodedFrames) and segment.count:
            # Pixels that cannot be decoded are found out before anything is sent, at least those of the first frames.
            frames = _decoded(archive, location, segment.count)
            waiting = await _first_of(frames)
    for segment in plan.segments:
        if isinstance(segment, Literal):
            yield segment.data
        elif isinstance(segment, Copy | Swap):
            async for chunk in read_segment(archive, location, segment):
                yield chunk
        elif isinstance(segment, DecodedFrames) and frames is not None:
            joined = BitConcatenator() if segment.is_bit_packed else None
            for frame in waiting:
                yield joined.add(frame, segment.frame_bits) if joined else frame
            waiting.clear()
            async for frame in frames:
                yield joined.add(frame, segment.frame_bits) if joined else frame
            if joined:
                yield joined.end()


async def _first_of(frames: AsyncIterator[bytes]) -> list[bytes]:
    """As many as are held at once anyway. Raises CodecError, Unavailable."""
    held, size = list[bytes](), 0
    async for frame in frames:
        held.append(frame)
        size += len(frame)
        if size >= GROUP_BYTES:
            break
    return held


def read_segment(archive: Archive, location: InstanceLocation, segment: Copy | Swap) -> AsyncIterator[bytes]:
    """A range of the stored file, its words reversed where the segment says so."""
    width = segment.width if isinstance(segment, Swap) else 1
    return read_words(archive.blobs, location.blob_key, segment.offset, segment.length, width)


async def _decoded(archive: Archive, location: InstanceLocation, count: int) -> AsyncIterator[bytes]:
    """All frames of an encapsulated instance, a few at a time; not kept, one whole instance would drive out everything."""
    delivery = await retrieve_all_frames(archive, location, count, EXPLICIT_VR_LITTLE_ENDIAN)
    async for frame in read_frames(archive, delivery, keep=False):
        yield frame
