"""Bytes that were worked out from stored ones, kept in a local folder of bounded size: losing any of them costs time only.

A file's name is the digest of its key; its content is followed by its length and checksum, so that a torn or damaged file is a
miss. Files appear by renaming and vanish by unlinking: processes that share the folder never see half of one, and whoever has
one open reads it to its end. Nothing is forced to disk. What was used least recently goes first.
"""

import asyncio
import hashlib
import os
import struct
import tempfile
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from threading import Lock

from app.observability import log
from app.services.single_flight import SingleFlight

CHUNK = 1 << 20
_TRAILER = struct.Struct("<4sIQ")  # mark, CRC-32 and length of the content
_MARK = b"GDC1"
_TOUCH_AFTER = 60.0  # seconds: how exactly the time of the last use is kept
_STALE_AFTER = 6 * 3600.0  # seconds: unfinished files older than this have no writer any more
_ROOM_AFTER_EVICTION = 0.9
_MAX_REMEMBERED = 4096


class DerivedFile:
    """A finished file, open until nobody refers to it. `size` in bytes."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size
        weakref.finalize(self, os.close, descriptor)

    async def read(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes, or `length` of them from `offset` on."""
        end = self.size if length is None else min(self.size, offset + length)
        while offset < end:
            piece = await asyncio.to_thread(self._piece, min(CHUNK, end - offset), offset)
            offset += len(piece)
            yield piece

    def _piece(self, length: int, offset: int) -> bytes:
        # A method: the thread that reads keeps the file open, whoever else has gone.
        piece = os.pread(self._descriptor, length, offset)
        if not piece:
            raise OSError("a derived file ends too early")
        return piece


class DerivedWriter:
    """Takes the bytes of one file; `size` so far. Ends with `finish` or `cancel`.

    `append`, `seal` and `drop` are the same, blocking. A lock keeps the file open while a thread writes whose waiter has been
    cancelled: its descriptor must not be another file's by then.
    """

    def __init__(self, cache: "DerivedCache", descriptor: int, path: Path | None) -> None:
        self._cache, self._descriptor, self._path = cache, descriptor, path
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
                _write_all(self._opened(), piece)
                self._checksum = zlib.crc32(piece, self._checksum)
                self.size += len(piece)

    def seal(self, key: str) -> DerivedFile:
        with self._lock:
            keep = self._path is not None and key and self._cache.keeps(self.size)
            if keep:
                _write_all(self._opened(), _TRAILER.pack(_MARK, self._checksum, self.size))
            file = DerivedFile(self._opened(), self.size)
            self._descriptor = -1
            if self._path is not None and keep:
                self._cache.adopt(self._path, key, self.size)
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


class DerivedCache:
    """folder     None: nothing is kept; files live as long as who made them
    max_bytes  of all files together; may be exceeded by a sixteenth between two evictions
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = 0) -> None:
        self._folder = folder if max_bytes > 0 else None
        self._max_bytes = max_bytes
        self._flights = SingleFlight()
        self._since_look = max_bytes  # bytes added since the folder was looked through: at first it is not known
        self._lock = Lock()
        self._sound: set[tuple[Path, int, int]] = set()  # files that this process has found whole

    async def get(self, key: str) -> bytes | None:
        """What was put under `key`, or None. Never raises."""
        (found,) = await self.get_many([key])
        return found

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """As `get` for each."""
        if self._folder is None:
            return [None] * len(keys)
        return await asyncio.to_thread(lambda: [self._get(key) for key in keys])

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data`. Never raises: what cannot be kept is not."""
        if self._folder is None or not self.keeps(len(data)):
            return
        try:
            await asyncio.to_thread(self._put, key, data)
        except OSError as error:
            log.warning("cache.not_written", error=str(error))

    async def once(self, key: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """The result of `work`, which is done once for all who ask for it under this key at the same time."""
        return await self._flights.run(key, work)

    async def get_or_make(self, key: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """What is kept under `key`, else what `make` makes, which is kept then. Made once, however many wait for it here."""

        async def work() -> bytes:
            found = await self.get(key)
            if found is None:
                found = await make()
                await self.put(key, found)
            return found

        return await self.once(key, work)

    async def open(self, key: str) -> DerivedFile | None:
        """The file that is kept under `key`, or None. Never raises."""
        return await asyncio.to_thread(self._open, key)

    async def open_or_make(self, key: str, write: Callable[[DerivedWriter], Awaitable[None]]) -> DerivedFile:
        """As `get_or_make`, for what is too large to be held in memory: `write` writes it. Raises what `write` raises."""

        async def work() -> DerivedFile:
            found = await self.open(key)
            if found is not None:
                return found
            writer = await self.create()
            try:
                await write(writer)
                return await writer.finish(key)
            finally:
                await writer.cancel()

        return await self._flights.run(f"{key} file", work)

    async def create(self) -> DerivedWriter:
        """A writer of a new file, which is nobody's until it is finished. Raises OSError."""
        return await asyncio.to_thread(self._create)

    def keeps(self, size: int) -> bool:
        """Whether a file of this size may stay: one of half the bound or more would drive everything else out."""
        return self._folder is not None and size <= self._max_bytes // 2

    def adopt(self, path: Path, key: str, size: int) -> None:
        """Make a finished file, trailer included, known under its key; it vanishes where that is not possible."""
        try:
            target = self._path(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            path.unlink(missing_ok=True)
            log.warning("cache.not_written", error=str(error))
            return
        with self._lock:
            self._since_look += size + _TRAILER.size
            due = self._since_look > self._max_bytes // 16
            if due:
                self._since_look = 0
        if due:
            self._evict()

    def _path(self, key: str) -> Path:
        if self._folder is None:
            raise OSError("there is no cache folder")
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name[2:]

    def _create(self) -> DerivedWriter:
        if self._folder is None:
            with tempfile.TemporaryFile() as unnamed:
                return DerivedWriter(self, os.dup(unnamed.fileno()), None)
        unfinished = self._folder / "unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=unfinished)
        return DerivedWriter(self, descriptor, Path(name))

    def _put(self, key: str, data: bytes) -> None:
        writer = self._create()
        try:
            writer.append(data)
            writer.seal(key)
        finally:
            writer.drop()

    def _get(self, key: str) -> bytes | None:
        try:
            path = self._path(key)
            raw = path.read_bytes()
            mark, checksum, size = _TRAILER.unpack_from(raw, len(raw) - _TRAILER.size)
            data = raw[: -_TRAILER.size]
            if (mark, checksum, size) != (_MARK, zlib.crc32(data), len(data)):
                raise ValueError("damaged")
            _touch(path)
        except (OSError, ValueError, struct.error):
            return None
        return data

    def _open(self, key: str) -> DerivedFile | None:
        if self._folder is None:
            return None
        try:
            path = self._path(key)
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            size = self._checked_size(path, descriptor)
            _touch(path)
        except (OSError, ValueError):
            os.close(descriptor)
            return None
        return DerivedFile(descriptor, size)

    def _checked_size(self, path: Path, descriptor: int) -> int:
        """Length of the content of a whole file. Raises ValueError for any other. Read through once: ranges come by the hundred."""
        status = os.fstat(descriptor)
        size = status.st_size - _TRAILER.size
        mark = (path, status.st_ino, size)
        if mark in self._sound:
            return size
        if size < 0 or os.pread(descriptor, _TRAILER.size, size) != _TRAILER.pack(
            _MARK, _checksum(descriptor, size), size
        ):
            raise ValueError("damaged")
        if len(self._sound) >= _MAX_REMEMBERED:
            self._sound.clear()
        self._sound.add(mark)
        return size

    def _evict(self) -> None:
        """Remove what was used least recently until there is room, and what dead writers left. Never raises."""
        if self._folder is None:
            return
        found: list[tuple[float, int, Path]] = []
        for path in self._folder.rglob("*"):
            try:
                status = path.stat()
            except OSError:
                continue  # another process was faster
            if not path.is_dir():
                found.append((status.st_mtime, status.st_size, path))
        unfinished = self._folder / "unfinished"
        now = time.time()
        kept = [one for one in found if one[2].parent != unfinished]
        removed = [path for used, _, path in found if path.parent == unfinished and used < now - _STALE_AFTER]
        total = sum(size for _, size, _ in kept)
        if total > self._max_bytes:
            for _, size, path in sorted(kept):
                if total <= self._max_bytes * _ROOM_AFTER_EVICTION:
                    break
                total -= size
                removed.append(path)
        for path in removed:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("cache.not_evicted", error=str(error))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _touch(path: Path) -> None:
    if path.stat().st_mtime < time.time() - _TOUCH_AFTER:
        os.utime(path)


def _checksum(descriptor: int, size: int) -> int:
    checksum, offset = 0, 0
    while offset < size:
        piece = os.pread(descriptor, min(CHUNK, size - offset), offset)
        checksum = zlib.crc32(piece, checksum)
        offset += len(piece) or size
    return checksum
