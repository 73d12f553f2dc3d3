"""Instances, whole: each passed through as stored, or as Explicit VR Little Endian where the receiver takes nothing else.

Every instance is planned before the first byte, so that what cannot be delivered is said with a status. What a converted
instance's header will be is worked out when its turn comes: a series of thousands is not held in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from app.db.locate import InstanceLocation, locate_instances
from app.db.locate import locate_frames as locate_frame_rows
from app.dicom.codecs import decoded_image
from app.dicom.conversion_plan import ConversionPlan, Copy, DecodedFrames, Literal, Swap
from app.dicom.frame_index import locate_frames
from app.dicom.layout import InstanceLayout
from app.dicom.native_pixels import BitConcatenator, swap_bytes
from app.dicom.references import Reference
from app.dicom.transcode import plan_deflated, plan_explicit_vr_little_endian
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import CodecError, NotAcceptable
from app.services.archive import Archive
from app.services.decoding import decode_frames
from app.services.inflating import read_data_set
from app.services.syntaxes import Alternative, choose


@dataclass(frozen=True, slots=True)
class InstanceDelivery:
    """One instance and the syntax it goes out in. `as_stored`: bit for bit, `location.size` bytes."""

    location: InstanceLocation
    transfer_syntax_uid: str

    @property
    def as_stored(self) -> bool:
        return self.transfer_syntax_uid == self.location.transfer_syntax_uid


async def retrieve_instances(
    archive: Archive, ref: Reference, alternatives: Sequence[Alternative]
) -> tuple[int, list[InstanceDelivery]]:
    """Plan a study, a series or an instance: the alternative chosen, and the instances in a stable order.

    Raises NotFound, Gone, NotAcceptable, Unavailable.
    """
    locations = await locate_instances(archive.db, ref)
    chosen = choose([location.transfer_syntax_uid for location in locations], alternatives)
    if chosen is None:
        stored = ", ".join(sorted({location.transfer_syntax_uid for location in locations}))
        raise NotAcceptable(f"stored in {stored}: cannot be had in any of the accepted transfer syntaxes")
    index, targets = chosen
    deliveries = [InstanceDelivery(*pair) for pair in zip(locations, targets, strict=True)]
    for delivery in deliveries:
        _check(delivery)
    return index, deliveries


def _check(delivery: InstanceDelivery) -> None:
    """A conversion that is sure to fail is refused while there is still a status to say so. Raises NotAcceptable."""
    location = delivery.location
    if delivery.as_stored or not transfer_syntax(location.transfer_syntax_uid).encapsulated:
        return
    layout = InstanceLayout.from_json(location.layout)
    if layout.pixel_data is None:
        return
    if layout.image is None:
        raise NotAcceptable(f"{location.ref.sop_instance_uid} has no image size: it can only be had as stored")
    try:
        image = decoded_image(layout.image, location.transfer_syntax_uid)
    except CodecError as error:
        raise NotAcceptable(f"{location.ref.sop_instance_uid}: {error}") from error
    if image.frame_bits * image.number_of_frames // 8 > 2**32 - 2:
        # PS3.18 8.7.8: pixel data of that size cannot be written with an explicit length.
        raise NotAcceptable(f"{location.ref.sop_instance_uid} is too large for Explicit VR Little Endian")


async def open_instance(archive: Archive, delivery: InstanceDelivery) -> tuple[int, AsyncIterator[bytes]]:
    """Length in bytes and the bytes themselves. Raises BlobNotFound, CodecError, Unavailable."""
    location = delivery.location
    if delivery.as_stored:
        return location.size, archive.blobs.open(location.blob_key)
    plan = await _plan(archive, location)
    return plan.length, _execute(archive, location, plan)


async def _plan(archive: Archive, location: InstanceLocation) -> ConversionPlan:
    layout = InstanceLayout.from_json(location.layout)
    stored = transfer_syntax(location.transfer_syntax_uid)
    blobs, key = archive.blobs, location.blob_key
    if stored.deflated:
        meta = await blobs.get_range(key, 0, layout.dataset_offset) if layout.dataset_offset else b""
        return await asyncio.to_thread(plan_deflated, meta, await read_data_set(archive, location))
    if layout.pixel_data is None:
        head, tail = await blobs.get_range(key, 0, location.size), b""
    else:
        head = await blobs.get_range(key, 0, layout.pixel_data.offset)
        rest = location.size - layout.pixel_data.end
        tail = await blobs.get_range(key, layout.pixel_data.end, rest) if rest > 0 else b""
    plan = partial(plan_explicit_vr_little_endian, head, layout, stored.uid, tail, size=location.size)
    return await asyncio.to_thread(plan)


async def _execute(archive: Archive, location: InstanceLocation, plan: ConversionPlan) -> AsyncIterator[bytes]:
    frames, waiting = None, b""
    for segment in plan.segments:
        if isinstance(segment, DecodedFrames) and segment.count:
            # Pixels that cannot be decoded are found out before anything is sent, at least of the first frame.
            frames = _decoded(archive, location, segment.count)
            waiting = await anext(frames)
    for segment in plan.segments:
        if isinstance(segment, Literal):
            yield segment.data
        elif isinstance(segment, Copy):
            async for chunk in archive.blobs.open(location.blob_key, segment.offset, segment.length):
                yield chunk
        elif isinstance(segment, Swap):
            pending = b""
            async for chunk in archive.blobs.open(location.blob_key, segment.offset, segment.length):
                pending += chunk
                whole = len(pending) - len(pending) % segment.width
                yield swap_bytes(pending[:whole], segment.width)
                pending = pending[whole:]
            yield pending
        elif isinstance(segment, DecodedFrames) and frames is not None:
            joined = BitConcatenator() if segment.is_bit_packed else None
            yield joined.add(waiting, segment.frame_bits) if joined else waiting
            async for frame in frames:
                yield joined.add(frame, segment.frame_bits) if joined else frame
            if joined:
                yield joined.end()


async def _decoded(archive: Archive, location: InstanceLocation, count: int) -> AsyncIterator[bytes]:
    """All frames of an encapsulated instance, a few at a time."""
    layout = InstanceLayout.from_json(location.layout)
    if layout.image is None:
        raise CodecError("the size of the image is not known")
    _, packed = await locate_frame_rows(archive.db, location.ref, range(1, count + 1))
    step = 16
    for first in range(1, count + 1, step):
        runs = locate_frames(packed, range(first, min(first + step, count + 1)))
        ranges = [one for run in runs for one in run.runs]
        pieces = await archive.blobs.get_ranges(location.blob_key, ranges)
        codestreams, at = [], 0
        for run in runs:
            codestreams.append(b"".join(pieces[at : at + len(run.runs)]))
            at += len(run.runs)
        async for frame in decode_frames(archive, codestreams, layout.image, location.transfer_syntax_uid):
            yield frame
