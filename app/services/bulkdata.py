"""Bulkdata: the values that metadata names by URI, in little-endian order, texts in the character set of the metadata."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import orjson

from app.blobs.base import BlobStore
from app.db.locate import InstanceLocation, locate_bulkdata
from app.db.metadata import stream_metadata
from app.dicom.bulkdata import find_bulkdata, unpack_bulkdata
from app.dicom.character_sets import decode_text
from app.dicom.instance import FRAGMENT, FRAGMENTS, INSTANCE_URL_MARK, BulkdataItem
from app.dicom.layout import InstanceLayout
from app.dicom.native_pixels import swap_bytes, swap_width
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from app.services.archive import Archive
from app.services.inflating import open_data_set

ENCAPSULATED_DOCUMENT = "00420011"
PIXEL_DATA_PATHS = ("7FE00010", "7FE00008", "7FE00009")
MAX_TEXT_BYTES = 64 * 1024 * 1024  # longer texts are not converted: that takes several times as much memory
_DELIMITER = 8  # bytes of the item that ends a sequence (PS3.5 A.4)
_WINDOW = 64 * 1024  # bytes that are read to find the next fragments


@dataclass(frozen=True, slots=True)
class BulkdataDelivery:
    """One value, found but not read. `item.length` is -1 for encapsulated pixel data: ask for its frames instead."""

    location: InstanceLocation
    item: BulkdataItem

    @property
    def is_encapsulated(self) -> bool:
        return self.item.length < 0

    @property
    def transfer_syntax_uid(self) -> str:
        """Of the value as it is given out: icons and the like stay compressed as they are stored (PS3.18 8.7.3.3.2)."""
        stored = self.location.transfer_syntax_uid
        is_compressed = self.item.coding in (FRAGMENT, FRAGMENTS) and transfer_syntax(stored).encapsulated
        return stored if is_compressed else EXPLICIT_VR_LITTLE_ENDIAN


@dataclass(frozen=True, slots=True)
class BulkdataValue:
    """A value that can be read, `size` bytes.

    runs  (offset, length) in the blob of the fragments that it is joined from, None where there are none to be joined
    text  in UTF-8, where it is stored otherwise
    """

    delivery: BulkdataDelivery
    size: int
    runs: tuple[tuple[int, int], ...] | None = None
    text: bytes | None = None


async def retrieve_bulkdata(archive: Archive, ref: InstanceRef, path: str) -> BulkdataDelivery:
    """Find the value at `path` (see BulkdataItem). Raises NotFound, Gone, Unavailable."""
    location, packed = await locate_bulkdata(archive.db, ref)
    return _delivery(location, find_bulkdata(packed, path))


async def mime_type(archive: Archive, ref: InstanceRef) -> str:
    """MIME Type of Encapsulated Document (0042,0012), lower case; "" where it is not given. Raises NotFound, Gone."""
    async for _, text in stream_metadata(archive.db, ref):
        values = orjson.loads(text.replace(INSTANCE_URL_MARK, b"")).get("00420012", {}).get("Value") or [""]
        return str(values[0]).partition(";")[0].strip().lower()
    return ""


async def list_bulkdata(archive: Archive, ref: InstanceRef, *, pixel_data_only: bool) -> list[BulkdataDelivery]:
    """Every value of an instance that its metadata names by URI. Raises NotFound, Gone, Unavailable."""
    location, packed = await locate_bulkdata(archive.db, ref)
    return [
        _delivery(location, item)
        for item in unpack_bulkdata(packed)
        if not pixel_data_only or item.path in PIXEL_DATA_PATHS
    ]


def _delivery(location: InstanceLocation, item: BulkdataItem) -> BulkdataDelivery:
    """Compressed pixel data of an image without Rows or Columns has no frames: its fragments are one value, as those of icons."""
    if item.length < 0:
        layout = InstanceLayout.from_json(location.layout)
        if layout.image is None and layout.pixel_data is not None:
            length = layout.pixel_data.end - _DELIMITER - item.offset
            item = replace(item, length=length, coding=FRAGMENTS)
    return BulkdataDelivery(location, item)


async def open_bulkdata(archive: Archive, delivery: BulkdataDelivery) -> BulkdataValue:
    """What the value is before it is read: of texts and fragments the length has to be found out.

    Rows that were made before texts were converted know no character set: such values come as they are stored. Raises
    BlobNotFound, Unavailable.
    """
    item = delivery.item
    if item.coding == FRAGMENTS and delivery.transfer_syntax_uid != EXPLICIT_VR_LITTLE_ENDIAN:
        runs = await _fragments(archive.blobs, delivery.location.blob_key, item.offset, item.offset + item.length)
        return BulkdataValue(delivery, sum(length for _, length in runs), runs)
    if item.coding in ("", FRAGMENT, FRAGMENTS, "utf-8") or item.length > MAX_TEXT_BYTES:
        return BulkdataValue(delivery, item.length)
    raw = b"".join([chunk async for chunk in _stored_bytes(archive, delivery, 0, item.length)])
    codecs = item.coding.split(",")
    text = await asyncio.to_thread(lambda: decode_text(raw, codecs).encode("utf-8", "replace"))
    return BulkdataValue(delivery, len(text), text=text)


async def read_bulkdata(
    archive: Archive, value: BulkdataValue, start: int = 0, length: int | None = None
) -> AsyncIterator[bytes]:
    """The value's bytes, or `length` of them from `start` on. Raises BlobNotFound, Unavailable."""
    length = value.size - start if length is None else length
    if value.text is not None:
        yield value.text[start : start + length]
        return
    delivery = value.delivery
    if value.runs is not None:
        chunks = read_runs(archive.blobs, delivery.location.blob_key, value.runs, start, length)
    else:
        chunks = _stored_bytes(archive, delivery, start, length)
    async for chunk in chunks:
        yield chunk


async def read_runs(
    blobs: BlobStore, key: str, runs: Sequence[tuple[int, int]], offset: int, length: int
) -> AsyncIterator[bytes]:
    """`length` bytes from `offset` on of what lies in several runs of a blob. Raises BlobNotFound, Unavailable."""
    for start, size in runs:
        count = min(size - offset, length)
        if count > 0:
            async for chunk in blobs.open(key, start + offset, count):
                yield chunk
            length -= count
        offset = max(0, offset - size)


async def _fragments(blobs: BlobStore, key: str, offset: int, stop: int) -> tuple[tuple[int, int], ...]:
    """Runs of the fragments between two offsets; the first item, the offset table, is none of them."""
    runs: list[tuple[int, int]] = []
    window, begin = b"", offset
    while offset + 8 <= stop:
        if not window or offset + 8 > begin + len(window):
            begin, window = offset, await blobs.get_range(key, offset, min(_WINDOW, stop - offset))
        length = int.from_bytes(window[offset - begin + 4 : offset - begin + 8], "little")
        runs.append((offset + 8, length))
        offset += 8 + length
    return tuple(runs[1:])


async def _stored_bytes(archive: Archive, delivery: BulkdataDelivery, start: int, length: int) -> AsyncIterator[bytes]:
    """In little-endian order. Raises BlobNotFound, Unavailable."""
    item, location = delivery.item, delivery.location
    if length <= 0:
        return
    syntax = transfer_syntax(location.transfer_syntax_uid)
    if syntax.deflated:
        inflated = await open_data_set(archive, location)
        async for chunk in inflated.read(item.offset + start, length):
            yield chunk
        return
    width = _word(delivery) if syntax.big_endian else 1
    # Whole words are read and swapped; what was not asked for at either end is cut off.
    first = start - start % width
    last = min(item.length, -(-(start + length) // width) * width)
    skip, left = start - first, length
    async for chunk in read_words(archive.blobs, location.blob_key, item.offset + first, last - first, width):
        piece = chunk[skip : skip + left]
        skip, left = 0, left - len(piece)
        yield piece


async def read_words(blobs: BlobStore, key: str, offset: int, length: int, width: int) -> AsyncIterator[bytes]:
    """A range of a blob, the bytes of each of its words reversed; what is behind the last whole word comes as it is."""
    if width == 1:
        async for chunk in blobs.open(key, offset, length):
            yield chunk
        return
    pending = b""
    async for chunk in blobs.open(key, offset, length):
        pending += chunk
        whole = len(pending) - len(pending) % width
        yield swap_bytes(pending[:whole], width)
        pending = pending[whole:]
    if pending:
        yield pending


def _word(delivery: BulkdataDelivery) -> int:
    image = InstanceLayout.from_json(delivery.location.layout).image
    is_pixel_data = delivery.item.path in PIXEL_DATA_PATHS and image is not None
    return swap_width(delivery.item.vr, image.bits_allocated if is_pixel_data and image else 16)
