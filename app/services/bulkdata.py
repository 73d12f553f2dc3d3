"""Bulkdata: the values that metadata names by URI, as they are in the stored file, in little-endian order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from app.blobs.base import BlobStore
from app.db.locate import InstanceLocation, locate_bulkdata
from app.db.metadata import stream_metadata
from app.dicom.bulkdata import find_bulkdata, unpack_bulkdata
from app.dicom.instance import INSTANCE_URL_MARK, BulkdataItem
from app.dicom.layout import InstanceLayout
from app.dicom.native_pixels import swap_bytes, swap_width
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import transfer_syntax
from app.services.archive import Archive
from app.services.inflating import open_data_set

ENCAPSULATED_DOCUMENT = "00420011"
PIXEL_DATA_PATHS = ("7FE00010", "7FE00008", "7FE00009")


@dataclass(frozen=True, slots=True)
class BulkdataDelivery:
    """One value, found but not read. `item.length` is -1 for encapsulated pixel data: ask for its frames instead."""

    location: InstanceLocation
    item: BulkdataItem

    @property
    def is_encapsulated(self) -> bool:
        return self.item.length < 0


async def retrieve_bulkdata(archive: Archive, ref: InstanceRef, path: str) -> BulkdataDelivery:
    """Find the value at `path` (see BulkdataItem). Raises NotFound, Gone, Unavailable."""
    location, packed = await locate_bulkdata(archive.db, ref)
    return BulkdataDelivery(location, find_bulkdata(packed, path))


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
        BulkdataDelivery(location, item)
        for item in unpack_bulkdata(packed)
        if not pixel_data_only or item.path in PIXEL_DATA_PATHS
    ]


async def read_bulkdata(
    archive: Archive, delivery: BulkdataDelivery, start: int = 0, length: int | None = None
) -> AsyncIterator[bytes]:
    """The value's bytes, or `length` of them from `start` on. Raises BlobNotFound, Unavailable."""
    item, location = delivery.item, delivery.location
    length = item.length - start if length is None else length
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
    async for chunk in _read_words(archive.blobs, location.blob_key, item.offset + first, last - first, width):
        piece = chunk[skip : skip + left]
        skip, left = 0, left - len(piece)
        yield piece


async def _read_words(blobs: BlobStore, key: str, offset: int, length: int, width: int) -> AsyncIterator[bytes]:
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
