"""Blobs in memory: for tests, and for trying things out. Gone when the process ends."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from app.blobs.base import BlobStat, BlobStore, BlobWriter, KeyOf
from app.blobs.digests import digest_of
from app.blobs.keys import validate_key, validate_prefix
from app.blobs.ranges import validate_range
from app.errors import BlobNotFound, BlobStoreUnavailable

CHUNK = 512 * 1024


class MemoryBlobStore(BlobStore):
    """A dictionary with the manners of the other stores."""

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[bytes, datetime]] = {}

    async def open_writer(self) -> BlobWriter:
        return _MemoryWriter(self.blobs)

    async def open(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        validate_range(offset, 1 if length is None else length)
        data, _ = self._find(key)
        end = len(data) if length is None else offset + length
        if offset > len(data) or end > len(data):
            raise BlobStoreUnavailable("a stored object is shorter than expected")
        for start in range(offset, end, CHUNK):
            yield data[start : min(start + CHUNK, end)]

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        validate_range(offset, length)
        data, _ = self._find(key)
        if offset + length > len(data):
            raise BlobStoreUnavailable("a stored object is shorter than expected")
        return data[offset : offset + length]

    async def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [await self.get_range(key, offset, length) for offset, length in ranges]

    async def stat(self, key: str) -> BlobStat:
        data, modified = self._find(key)
        return BlobStat(key, len(data), modified)

    async def delete(self, key: str) -> None:
        self.blobs.pop(validate_key(key), None)

    async def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        validate_prefix(prefix)
        for key, (data, modified) in tuple(self.blobs.items()):
            if key.startswith(prefix):
                yield BlobStat(key, len(data), modified)

    def _find(self, key: str) -> tuple[bytes, datetime]:
        try:
            return self.blobs[validate_key(key)]
        except KeyError:
            raise BlobNotFound("a stored object is missing from the blob store") from None


class _MemoryWriter(BlobWriter):
    def __init__(self, blobs: dict[str, tuple[bytes, datetime]]) -> None:
        self.size = 0
        self._blobs = blobs
        self._data: bytearray | None = bytearray()

    def _written(self) -> bytearray:
        if self._data is None:
            raise RuntimeError("the writer has been committed or cancelled")
        return self._data

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written().extend(data)
        self.size = len(self._written())

    async def digest(self, like: str = "") -> str:
        return digest_of(self._written(), like)

    async def contents(self) -> bytes | memoryview:
        return bytes(self._written())

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self._written()[offset : offset + length])

    async def commit(self, key: str | KeyOf) -> None:
        key = key if isinstance(key, str) else key(await self.digest())
        self._blobs[validate_key(key)] = (bytes(self._written()), datetime.now(UTC))
        self._data = None

    async def cancel(self) -> None:
        self._data = None
