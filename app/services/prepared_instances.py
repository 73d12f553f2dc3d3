"""Instances whose length is known only when all is done: compressed frames, data sets that are deflated or inflated.

Each is written to a file once, by whoever asks first, and kept in the cache.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from app.db.locate import InstanceLocation
from app.dicom.conversion_plan import Copy, EncodedFrames, Literal, Swap
from app.dicom.encapsulate import EncapsulatedResult, fragment, plan_encapsulated
from app.dicom.file_meta import read_file_meta
from app.dicom.layout import InstanceLayout
from app.dicom.lossy_compression import LossyCompression
from app.dicom.transcode import file_meta_of_result
from app.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from app.errors import CodecError, OutOfSpace
from app.services.archive import Archive
from app.services.derived_files import DerivedFile, DerivedWriter
from app.services.explicit_instances import (
    execute_plan,
    plan_explicit_instance,
    read_head_and_tail,
    read_meta,
    read_segment,
)
from app.services.frames import FrameDelivery, read_frames, retrieve_all_frames
from app.services.inflating import open_data_set, read_range
from app.services.transcoding import conversion_key

_HEAD = 64 * 1024  # more than any file meta information that was rewritten


async def prepare_instance(archive: Archive, location: InstanceLocation, target: str) -> DerivedFile:
    """The instance as a file in `target`: an encapsulated syntax, Deflated Explicit VR Little Endian, or Explicit VR Little Endian
    of what is stored deflated or is one large header.

    Raises BlobNotFound, CodecError, DicomError, NotAcceptable, TooLarge, Unavailable.
    """
    write = _WRITERS.get(target, _write_encapsulated)

    async def prepare(writer: DerivedWriter) -> None:
        await write(archive, location, target, writer)

    try:
        return await archive.cache.open_or_make(conversion_key(location.digest, target), prepare)
    except OSError as error:
        raise OutOfSpace("there is no room for a converted instance") from error


async def _write_encapsulated(archive: Archive, location: InstanceLocation, target: str, writer: DerivedWriter) -> None:
    """Frames first, into a file of their own: the header needs their sizes."""
    layout = InstanceLayout.from_json(location.layout)
    count = layout.image.number_of_frames if layout.image else 0
    delivery = await retrieve_all_frames(archive, location, count, target)
    fragments = await archive.cache.create()
    try:
        sizes = []
        async for frame in read_frames(archive, delivery, keep=False):
            before, after = fragment(frame)
            await fragments.write(before, frame, after)
            sizes.append(len(frame))
        await _write_file(archive, delivery, sizes, await fragments.finish(), writer)
    finally:
        await fragments.cancel()


async def _write_file(
    archive: Archive, delivery: FrameDelivery, sizes: list[int], fragments: DerivedFile, writer: DerivedWriter
) -> None:
    location, layout = delivery.location, delivery.layout
    result = _result(delivery, sizes)
    stored_uid, inflated, offset = location.transfer_syntax_uid, None, layout.dataset_offset
    if transfer_syntax(stored_uid).deflated:
        inflated = await open_data_set(archive, location)
        begin, end = (layout.pixel_data.offset, layout.pixel_data.end) if layout.pixel_data else (inflated.size,) * 2
        head = await read_meta(archive, location, layout) + await read_range(inflated, 0, begin)
        tail = await read_range(inflated, end, inflated.size - end)
        layout, stored_uid = _behind(layout), EXPLICIT_VR_LITTLE_ENDIAN
    else:
        head, tail = await read_head_and_tail(archive, location, layout)
    plan = await asyncio.to_thread(partial(plan_encapsulated, head, layout, stored_uid, tail, result))
    for segment in plan.segments:
        if isinstance(segment, Literal):
            await writer.write(segment.data)
        elif isinstance(segment, EncodedFrames):
            async for piece in fragments.read():
                await writer.write(piece)
        elif isinstance(segment, Copy) and inflated is not None:
            async for piece in inflated.read(segment.offset - offset, segment.length):
                await writer.write(piece)
        elif isinstance(segment, Copy | Swap):
            async for piece in read_segment(archive, location, segment):
                await writer.write(piece)
    if writer.size != plan.length:
        raise RuntimeError(f"the converted instance has {writer.size} bytes, not {plan.length}")


def _behind(layout: InstanceLayout) -> InstanceLayout:
    """The layout of a deflated instance, as if its inflated data set stood in the file."""
    pixels, offset = layout.pixel_data, layout.dataset_offset
    if pixels is not None:
        pixels = replace(pixels, offset=pixels.offset + offset, end=pixels.end + offset)
    return replace(layout, pixel_data=pixels)


def _result(delivery: FrameDelivery, sizes: list[int]) -> EncapsulatedResult:
    conversion, location = delivery.conversion, delivery.location
    if conversion is None:
        raise CodecError("there is nothing to convert")
    lossy = None
    if conversion.loses:
        native = conversion.native.frame_bits / 8 * len(sizes)
        lossy = LossyCompression(
            transfer_syntax_uid=conversion.target_uid,
            sop_class_uid=location.sop_class_uid,
            sop_instance_uid=location.ref.sop_instance_uid,
            digest=location.digest,
            ratio=native / max(1, sum(sizes)),
            source_is_lossless=transfer_syntax(conversion.stored_uid).lossless,
        )
    return EncapsulatedResult(conversion.target_uid, conversion.result, sizes, lossy)


async def _write_deflated(archive: Archive, location: InstanceLocation, target: str, writer: DerivedWriter) -> None:
    """Explicit VR Little Endian, its data set deflated as a whole (PS3.5 A.5)."""
    plan = await plan_explicit_instance(archive, location)
    compressor = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    meta, packed = b"", 0
    async for chunk in _whole_meta_first(execute_plan(archive, location, plan)):
        if not meta:
            offset = read_file_meta(chunk).dataset_offset
            meta = file_meta_of_result(chunk[:offset], {}, target)
            await writer.write(meta)
            chunk = chunk[offset:]
        piece = await asyncio.to_thread(compressor.compress, chunk)
        packed += len(piece)
        if piece:
            await writer.write(piece)
    last = compressor.flush()
    await writer.write(last, b"\0" * ((packed + len(last)) % 2))


async def _write_explicit(archive: Archive, location: InstanceLocation, _target: str, writer: DerivedWriter) -> None:
    """Explicit VR Little Endian."""
    if not transfer_syntax(location.transfer_syntax_uid).deflated:
        async for chunk in execute_plan(archive, location, await plan_explicit_instance(archive, location)):
            await writer.write(chunk)
        return
    meta = await read_meta(archive, location, InstanceLayout.from_json(location.layout))
    await writer.write(file_meta_of_result(meta, {}))
    async for piece in (await open_data_set(archive, location)).read():
        await writer.write(piece)


async def _whole_meta_first(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, the first piece large enough to hold the file meta information."""
    first: bytes | None = b""
    async for chunk in chunks:
        if first is None:
            yield chunk
            continue
        first += chunk
        if len(first) >= _HEAD:
            yield first
            first = None
    if first:
        yield first


_WRITERS = {
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: _write_deflated,
    EXPLICIT_VR_LITTLE_ENDIAN: _write_explicit,
}
