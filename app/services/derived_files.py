"""The files of the cache of derived bytes: written by one, whole or not there, and read while they are open.

Their content is followed by a trailer of its length and checksum.
"""

import asyncio
import os
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

from app.blobs.files import FileSlice, OpenFile

CHUNK = 1 << 20
TRAILER = struct.Struct("<4sIQ")  # mark, CRC-32 and length of the content
_MARK = b"GDC1"
TOUCH_AFTER = 60.0  # seconds: how exactly the time of the last use is kept
# What is read where it is asked for, when the kernel has it in memory: a way to a thread and back takes longer.
_AT_ONCE = 256 << 10


class Keeper(Protocol):
    """Who has the folder."""

    def keeps(self, size: int) -> bool: ...

    def adopt(self, path: Path, key: str, size: int) -> None: ...


class DerivedFile:
    """A finished file, open until nobody refers to it. `size` in bytes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._file = OpenFile(descriptor, size)
        self.size = size

    async def read(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes, or `length` of them from `offset` on."""
        async for piece in self.pieces(offset, length):
            async for chunk in piece.read():
                yield chunk

    async def pieces(self, offset: int = 0, length: int | None = None) -> AsyncIterator[FileSlice]:
        """The same for those who pass it on unseen."""
        wanted = self.size - offset if length is None else min(self.size - offset, length)
        if wanted > 0:
            yield FileSlice(self._file, offset, wanted)


class DerivedWriter:
    """Takes the bytes of one file; `size` so far. Ends with `finish` or `cancel`.

    `append`, `seal` and `drop` are the same, blocking. A lock keeps the file open while a thread writes whose waiter has been
    cancelled: its descriptor must not be another file's by then.
    """

    def __init__(self, keeper: Keeper, descriptor: int, path: Path | None) -> None:
        self._keeper, self._descriptor, self._path = keeper, descriptor, path
        self._checksum = 0
        self._lock = Lock()
        self.size = 0

    async def write(self, *pieces: bytes) -> None:
        """Append. Raises OSError when the disk is full."""
        await asyncio.to_thread(self.append, *pieces)

    async def finish(self, key: str = "") -> DerivedFile:
        """The file, kept under `key` for others if it is small enough; with no key only for the one who has it."""
        return await asyncio.to_thread(self.seal, key)

    async def cancel(self) -> None:
        """Drop what was written; nothing happens after `finish`."""
        await asyncio.to_thread(self.drop)

    def append(self, *pieces: bytes) -> None:
        with self._lock:
            for piece in pieces:
                write_all(self._opened(), piece)
                self._checksum = zlib.crc32(piece, self._checksum)
                self.size += len(piece)

    def seal(self, key: str) -> DerivedFile:
        with self._lock:
            keep = self._path is not None and key and self._keeper.keeps(self.size)
            if keep:
                write_all(self._opened(), trailer(self._checksum, self.size))
            file = DerivedFile(self._opened(), self.size)
            self._descriptor = -1
            if self._path is not None and keep:
                self._keeper.adopt(self._path, key, self.size)
            elif self._path is not None:
                self._path.unlink(missing_ok=True)
            return file

    def drop(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                if self._path is not None:
                    self._path.unlink(missing_ok=True)

    def _opened(self) -> int:
        if self._descriptor < 0:
            raise OSError("the file is finished or dropped")
        return self._descriptor


def trailer(checksum: int, size: int) -> bytes:
    return TRAILER.pack(_MARK, checksum, size)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def touch(path: Path) -> None:
    if path.stat().st_mtime < time.time() - TOUCH_AFTER:
        os.utime(path)


def touch_if_there(path: Path) -> None:
    with suppress(OSError):
        touch(path)


def what_is_in_memory(descriptor: int) -> bytearray | None:
    """A small file that the kernel need not fetch; None for any other."""
    size = os.fstat(descriptor).st_size
    if sys.platform != "linux" or size > _AT_ONCE:
        return None
    raw = bytearray(size)
    try:
        return raw if os.preadv(descriptor, [raw], 0, os.RWF_NOWAIT) == size else None
    except OSError:  # it is not in memory, or this file system cannot tell
        return None


def content_of(raw: bytes | bytearray) -> bytes:
    """Of a whole file without its trailer. Raises ValueError for a damaged one."""
    size = len(raw) - TRAILER.size
    content = memoryview(raw)[: max(size, 0)]
    if raw[max(size, 0) :] != trailer(zlib.crc32(content), len(content)):
        raise ValueError("damaged")
    return bytes(content)


def checksum_of(descriptor: int, size: int) -> int:
    checksum, offset = 0, 0
    while offset < size:
        piece = os.pread(descriptor, min(CHUNK, size - offset), offset)
        checksum = zlib.crc32(piece, checksum)
        offset += len(piece) or size
    return checksum
