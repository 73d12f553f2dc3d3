"""Bytes that were worked out from stored ones, kept in a local folder of bounded size: losing any of them costs time only.

A file's name is the digest of its key; its content is followed by its length and checksum, so that a torn or damaged file is a
miss. Files appear by renaming and vanish by unlinking: processes that share the folder never see half of one, and whoever has
one open reads it to its end. Nothing is forced to disk. What was used least recently goes first.

A key names its content: what was made for it once is right for ever. So what is asked for a second time is kept in memory as
well, up to a bound; its file is still marked as used, and nothing is lost when that vanishes.
"""

import asyncio
import hashlib
import os
import secrets
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from pathlib import Path
from threading import Lock

from app.blobs.threads import ended
from app.observability import log
from app.services.derived_files import (
    TOUCH_AFTER,
    TRAILER,
    DerivedFile,
    DerivedWriter,
    checksum_of,
    content_of,
    touch,
    touch_if_there,
    trailer,
    what_is_in_memory,
    write_all,
)
from app.services.hot_entries import HotEntries
from app.services.single_flight import SingleFlight

_STALE_AFTER = 6 * 3600.0  # seconds: unfinished files older than this have no writer any more
_ROOM_AFTER_EVICTION = 0.9
_MAX_REMEMBERED = 4096
_HOT_BYTES = 32 << 20  # of all that is kept in memory
_HOT_ENTRY = 1 << 20
_MANY = 16  # keys that are looked up by a thread, whatever their size


class _Later(Enum):
    """It is not in memory: a thread has to look."""

    LATER = 0


_LATER = _Later.LATER


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
        self._hot = HotEntries(min(_HOT_BYTES, max_bytes), _HOT_ENTRY)

    async def get(self, key: str) -> bytes | None:
        """What was put under `key`, or None. Never raises."""
        (found,) = await self.get_many([key])
        return found

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """As `get` for each."""
        if self._folder is None:
            return [None] * len(keys)
        at_once = self._at_once if len(keys) <= _MANY else self._in_memory
        found = {key: at_once(key) for key in keys}
        left = [key for key, data in found.items() if data is _LATER]
        if left:
            read = await asyncio.to_thread(lambda: [self._get(key) for key in left])
            for key, data in zip(left, read, strict=True):
                found[key] = data
                if data is not None:
                    self._hot.put(key, data, time.time())
        return [data if isinstance(data, bytes) else None for data in map(found.__getitem__, keys)]

    async def put(self, key: str, data: bytes) -> None:
        """Keep `data`. Never raises: what cannot be kept is not."""
        if self._folder is None or not self.keeps(len(data)):
            return
        self._hot.drop(key)
        try:
            await asyncio.to_thread(self._put, key, data)
        except OSError as error:
            log.warning("cache.not_written", error=str(error))

    async def once(self, key: str, work: Callable[[], Awaitable[bytes]]) -> bytes:
        """The result of `work`, which is done once for all who ask for it under this key at the same time."""
        return await self._flights.run(key, work)

    async def get_or_make(self, key: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """What is kept under `key`, else what `make` makes, which is kept then. Made once, however many wait for it here."""
        found = self._at_once(key)
        if isinstance(found, bytes):
            return found

        async def work() -> bytes:
            made = None if found is None else await self.get(key)
            if made is None:
                made = await make()
                await self.put(key, made)
            return made

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
        making = asyncio.get_running_loop().run_in_executor(None, self._create)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await ended(making)
            if making.exception() is None:  # nobody else will
                await ended(asyncio.ensure_future(making.result().cancel()))
            raise

    def keeps(self, size: int) -> bool:
        """Whether a file of this size may stay: one of half the bound or more would drive everything else out."""
        return self._folder is not None and size <= self._max_bytes // 2

    def adopt(self, path: Path, key: str, size: int) -> None:
        """Make a finished file, trailer included, known under its key; it vanishes where that is not possible."""
        try:
            target = self._path(key)
            try:
                path.replace(target)
            except FileNotFoundError:  # the first of its folder
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
        except OSError as error:
            path.unlink(missing_ok=True)
            log.warning("cache.not_written", error=str(error))
            return
        with self._lock:
            self._since_look += size + TRAILER.size
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
        if self._folder is None:
            return
        path = self._folder / "unfinished" / secrets.token_hex(8)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            try:
                write_all(descriptor, data)
                write_all(descriptor, trailer(zlib.crc32(data), len(data)))
            finally:
                os.close(descriptor)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self.adopt(path, key, len(data))

    def _in_memory(self, key: str) -> bytes | _Later:
        entry = self._hot.get(key)
        if entry is None:
            return _LATER
        now = time.time()
        if entry.used < now - TOUCH_AFTER:
            entry.used = now
            asyncio.get_running_loop().run_in_executor(None, touch_if_there, self._path(key))
        return entry.data

    def _at_once(self, key: str) -> bytes | _Later | None:
        """What is kept, as far as nobody has to wait for it; _LATER when a thread has to read it."""
        if self._folder is None:
            return None
        found = self._in_memory(key)
        if found is not _LATER:
            return found
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            raw = what_is_in_memory(descriptor)
            if raw is None:
                return _LATER
            data = content_of(raw)
            touch(path)
        except (OSError, ValueError):
            return None
        finally:
            os.close(descriptor)
        self._hot.put(key, data, time.time())
        return data

    def _get(self, key: str) -> bytes | None:
        try:
            path = self._path(key)
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            size = os.fstat(descriptor).st_size
            if size > _HOT_ENTRY:  # its checksum takes longer than all else: it is computed once
                whole = self._checked_size(path, descriptor)
                data = os.pread(descriptor, whole, 0)
                if len(data) != whole:
                    return None
            else:
                data = content_of(os.pread(descriptor, size, 0))
            touch(path)
        except (OSError, ValueError):
            return None
        finally:
            os.close(descriptor)
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
            touch(path)
        except (OSError, ValueError):
            os.close(descriptor)
            return None
        return DerivedFile(descriptor, size)

    def _checked_size(self, path: Path, descriptor: int) -> int:
        """Length of the content of a whole file. Raises ValueError for any other. Read through once: ranges come by the hundred."""
        status = os.fstat(descriptor)
        size = status.st_size - TRAILER.size
        mark = (path, status.st_ino, size)
        if mark in self._sound:
            return size
        if size < 0 or os.pread(descriptor, TRAILER.size, size) != trailer(checksum_of(descriptor, size), size):
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
