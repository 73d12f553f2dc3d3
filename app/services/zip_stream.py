"""Instances as one ZIP file, written while it is sent: stored, never deflated (pixel data does not shrink, time does).

Not in PS3.18; other archives of the field offer it under the same media type. Files are as they were stored, bit for bit.
"""

import zipfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from app.db.locate import InstanceLocation
from app.services.archive import Archive

# Files from this size on get 64-bit fields; readers older than ZIP64 can still open archives of small files.
ZIP64_FROM = 2**31 - 2**16


class _Sink:
    """What zipfile writes to: collects, and cannot be sought, so sizes and checksums follow each file's data."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def write(self, data: bytes, /) -> int:
        self._pieces.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        """zipfile asks for it; there is nothing to flush."""

    def close(self) -> None:
        """Part of what zipfile expects of a file; nothing is open."""

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


async def zip_stream(archive: Archive, locations: Sequence[InstanceLocation]) -> AsyncGenerator[bytes, None]:
    """The ZIP file in pieces; a folder per series, named by UIDs. Raises BlobNotFound, Unavailable."""
    sink = _Sink()
    file = zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED)
    blobs = [(location.blob_key, location.size) for location in locations]
    async with aclosing(archive.blobs.open_each(blobs)) as streams:
        for location in locations:
            ref = location.ref
            name = f"{ref.study_instance_uid}/{ref.series_instance_uid}/{ref.sop_instance_uid}.dcm"
            entry = zipfile.ZipInfo(name, location.created_at.timetuple()[:6])
            entry.file_size = location.size
            with file.open(entry, "w", force_zip64=location.size >= ZIP64_FROM) as member:
                async for chunk in await anext(streams):
                    member.write(chunk)
                    yield sink.take()
    file.close()
    yield sink.take()
