"""Data sets of Deflated Explicit VR Little Endian (PS3.5 A.5): the only stored form without random access.

Each is inflated once, into a file of the cache: of half a gigabyte nothing is held while a slow client takes its time.
"""

import asyncio

from app.db.locate import InstanceLocation
from app.dicom.deflated import DataSetInflater
from app.dicom.layout import InstanceLayout
from app.errors import OutOfSpace
from app.services.archive import Archive
from app.services.derived_files import DerivedFile, DerivedWriter


async def open_data_set(archive: Archive, location: InstanceLocation) -> DerivedFile:
    """The inflated data set, at most `limits.parse.max_inflated_bytes`. Raises BlobNotFound, DicomError, Unavailable."""
    start = InstanceLayout.from_json(location.layout).dataset_offset

    async def inflate(writer: DerivedWriter) -> None:
        inflater = DataSetInflater(archive.limits.parse)
        async for chunk in archive.blobs.open(location.blob_key, start):
            await asyncio.to_thread(_inflate, inflater, chunk, writer)
        await writer.write(inflater.end())

    try:
        return await archive.cache.open_or_make(f"inflated data set of {location.digest}", inflate)
    except OSError as error:
        raise OutOfSpace("there is no room for an inflated data set") from error


async def read_range(file: DerivedFile, offset: int, length: int) -> bytes:
    """So much as to be held in memory."""
    return b"".join([piece async for piece in file.read(offset, length)])


def _inflate(inflater: DataSetInflater, chunk: bytes, writer: DerivedWriter) -> None:
    for piece in inflater.feed(chunk):
        writer.append(piece)
