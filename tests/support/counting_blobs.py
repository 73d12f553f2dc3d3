"""A blob store that counts what goes through it. The real work is done by the store it wraps."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from app.blobs.base import BlobStat, BlobStore, BlobWriter, KeyOf
from app.blobs.files import FileSlice


@dataclass(slots=True)
class Traffic:
    """reads      calls that read, with the (key, offset, length) of each range; length None = to the end
    read       bytes that came back
    written    bytes given to writers
    digests, contents, rereads, commits   calls of writers' methods
    """

    reads: list[list[tuple[str, int, int | None]]] = field(default_factory=list)
    read: int = 0
    written: int = 0
    digests: int = 0
    contents: int = 0
    rereads: int = 0
    commits: int = 0

    def clear(self) -> None:
        self.reads.clear()
        self.read = self.written = self.digests = self.contents = self.rereads = self.commits = 0


class CountingBlobs(BlobStore):
    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self.traffic = Traffic()

    async def open_writer(self) -> BlobWriter:
        return _CountingWriter(await self.store.open_writer(), self.traffic)

    async def open(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.traffic.reads.append([(key, offset, length)])
        async for chunk in self.store.open(key, offset, length):
            self.traffic.read += len(chunk)
            yield chunk

    @property
    def keeps_checksums(self) -> bool:  # type: ignore[override]
        return self.store.keeps_checksums

    @property
    def passes_files(self) -> bool:  # type: ignore[override]
        return self.store.passes_files

    async def pieces(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes | FileSlice]:
        self.traffic.reads.append([(key, offset, length)])
        async for piece in self.store.pieces(key, offset, length):
            self.traffic.read += piece.length if isinstance(piece, FileSlice) else len(piece)
            yield piece

    async def pieces_each(
        self, blobs: Sequence[tuple[str, int]]
    ) -> AsyncGenerator[AsyncIterator[bytes] | list[FileSlice], None]:
        keys = iter([key for key, _ in blobs])
        async with contextlib.aclosing(self.store.pieces_each(blobs)) as streams:
            async for stream in streams:
                for _ in stream if isinstance(stream, list) else [stream]:
                    self.traffic.reads.append([(next(keys), 0, None)])
                if isinstance(stream, list):
                    self.traffic.read += sum(file.length for file in stream)
                    yield stream
                else:
                    yield self._counted(stream)

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self.traffic.read += len(chunk)
            yield chunk

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.traffic.reads.append([(key, offset, length)])
        data = await self.store.get_range(key, offset, length)
        self.traffic.read += len(data)
        return data

    async def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.traffic.reads.append([(key, *one) for one in ranges])
        found = await self.store.get_ranges(key, ranges)
        self.traffic.read += sum(map(len, found))
        return found

    async def stat(self, key: str) -> BlobStat:
        return await self.store.stat(key)

    async def delete(self, key: str) -> None:
        await self.store.delete(key)

    def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        return self.store.list(prefix)

    async def close(self) -> None:
        await self.store.close()


class _CountingWriter(BlobWriter):
    def __init__(self, writer: BlobWriter, traffic: Traffic) -> None:
        self._writer = writer
        self._traffic = traffic

    @property
    def size(self) -> int:  # type: ignore[override]
        return self._writer.size

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._traffic.written += len(data)
        await self._writer.write(data)

    async def digest(self, like: str = "") -> str:
        self._traffic.digests += 1
        return await self._writer.digest(like)

    def head(self, length: int) -> bytes | None:
        return self._writer.head(length)

    async def contents(self) -> bytes | memoryview:
        self._traffic.contents += 1
        return await self._writer.contents()

    def forget_contents(self) -> None:
        self._writer.forget_contents()

    async def read(self, offset: int, length: int) -> bytes:
        self._traffic.rereads += 1
        return await self._writer.read(offset, length)

    async def commit(self, key: str | KeyOf) -> None:
        self._traffic.commits += 1
        await self._writer.commit(key)

    async def cancel(self) -> None:
        await self._writer.cancel()
