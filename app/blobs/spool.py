"""Blobs on their way in: memory first, then a spool file, hashed once; shared by the local and the object stores."""

import asyncio
import contextlib
import errno
import fcntl
import mmap
import os
import secrets
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from app.blobs.base import BlobWriter, KeyOf
from app.blobs.digests import BlobHash, digest_of, is_new_kind
from app.blobs.held_bytes import HeldBytes, Piece
from app.blobs.keys import validate_key
from app.blobs.threads import in_thread, settled
from app.errors import BlobStoreUnavailable, GantryError, OutOfSpace

MEMORY_LIMIT = 1024 * 1024  # bytes of a blob held before they go to its spool file
FILE_MODE = 0o640  # patients' data: nothing for others
_HASH_INLINE = 64 * 1024  # hashing this much takes less time than changing to a thread and back
_SUFFIX = ".part"
_SAME_TIME = 1.0  # seconds
_FREE_IS_KNOWN = 0.1  # seconds: other programs write too
_AT_ONCE = 512  # pieces of one system call, which takes 1024 (IOV_MAX)
# EFBIG: a limit of the file system or of the process on the size of one file.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

T = TypeVar("T")


def storage_error(error: OSError) -> OutOfSpace | BlobStoreUnavailable:
    """What an OSError of a read or a write means to the caller. The cause stays chained for the log; paths stay out."""
    if error.errno in _NO_SPACE:
        return OutOfSpace("there is no room left in the blob store")
    return BlobStoreUnavailable(f"the blob store cannot be read or written ({error.strerror or type(error).__name__})")


@dataclass(slots=True)
class SpoolFolder:
    """Where spool files live. Blocking; raises OSError, and OutOfSpace when less than `min_free_bytes` would be free."""

    path: Path
    min_free_bytes: int = 0
    _spare: int = 0  # bytes that were free beyond those, less what was asked for since
    _looked: float = 0.0

    def new_file(self) -> "SpoolFile":
        return SpoolFile(self.path / f"{secrets.token_hex(16)}{_SUFFIX}")

    def require_room(self, size: int) -> None:
        """Raises OutOfSpace unless `size` more bytes leave enough free."""
        if not self.min_free_bytes:
            return
        self._spare -= size
        if self._spare < 0 or time.monotonic() - self._looked > _FREE_IS_KNOWN:
            status = os.statvfs(self.path)
            self._spare = status.f_bavail * status.f_frsize - self.min_free_bytes - size
            self._looked = time.monotonic()
            if self._spare < 0:
                raise OutOfSpace("there is no room left for uploads")

    def remove_stale(self, older_than: timedelta) -> int:
        """Remove spool files last written before `older_than` ago whose process is dead; how many."""
        removed = 0
        deadline = time.time() - older_than.total_seconds()
        with os.scandir(self.path) as entries:
            paths = [Path(entry.path) for entry in entries if entry.name.endswith(_SUFFIX)]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime <= deadline and _is_unused(path):
                    path.unlink()
                    removed += 1
        return removed


class SpoolFile:
    """One spool file, open from its creation until it is published or dropped.

    The lock on it tells `SpoolFolder.remove_stale` that its process is alive; the kernel lets it go when the process dies.
    Blocking; used by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._written = time.monotonic()
        self._mappings: list[tuple[mmap.mmap, memoryview]] = []
        self._descriptor = -1  # a bare number: each call into the system costs a turn at the interpreter's lock
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with contextlib.suppress(OSError):  # a file system without locks: then age alone tells a stale file
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __del__(self) -> None:
        """A writer that somebody forgets still closes its descriptor."""
        self._close_descriptor()

    def fileno(self) -> int:
        if self._descriptor < 0:
            raise ValueError("the spool file is closed")
        return self._descriptor

    def append(self, pieces: Sequence[Piece]) -> None:
        self._written = time.monotonic()
        waiting = list(pieces)
        while waiting:
            written = os.writev(self.fileno(), waiting[:_AT_ONCE])
            self.size += written
            while waiting and written >= len(waiting[0]):
                written -= len(waiting.pop(0))
            if written:
                waiting[0] = memoryview(waiting[0])[written:]

    def map(self) -> memoryview:
        """A read-only view of all that was written, valid until `close`. There must be something."""
        if not self._mappings or len(self._mappings[-1][1]) != self.size:
            mapping = mmap.mmap(self.fileno(), self.size, access=mmap.ACCESS_READ)
            self._mappings.append((mapping, memoryview(mapping)))
        return self._mappings[-1][1]

    def forget(self) -> None:
        """Pages of the mappings leave the memory of the process; they come back when they are looked at."""
        for mapping, _ in tuple(self._mappings):
            with contextlib.suppress(ValueError, OSError):  # closed meanwhile
                mapping.madvise(mmap.MADV_DONTNEED)

    def read(self, size: int) -> Iterator[bytes]:
        """All that was written, in pieces of `size` bytes."""
        for offset in range(0, self.size, size):
            yield os.pread(self.fileno(), size, offset)

    def read_range(self, offset: int, length: int) -> bytes:
        """Fewer bytes where the file ends."""
        return os.pread(self.fileno(), length, offset)

    def sync(self) -> None:
        # The time of the commit, not of the last write: a sweep must not take a slow upload for an old blob.
        if time.monotonic() - self._written > _SAME_TIME:
            os.utime(self.fileno())
        os.fdatasync(self.fileno())

    def close(self) -> None:
        for mapping, view in self._mappings:
            # A part of the view that the caller still holds keeps the mapping alive: it goes when that does.
            with contextlib.suppress(BufferError):
                view.release()
                mapping.close()
        self._mappings.clear()
        self._close_descriptor()

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def drop(self) -> None:
        """Close and remove. Never raises; what cannot be removed now is removed as stale later."""
        with contextlib.suppress(OSError):
            self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def _is_unused(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # no locks here: age has to do
    return True


class SpoolWriter(BlobWriter):
    """A writer whose blob is published by a subclass.

    Up to MEMORY_LIMIT bytes stay in memory; each further MiB costs one change to a thread, which hashes and writes it.
    After an error or a cancellation nothing is held any more, and each further call but `cancel` raises the error again.
    """

    def __init__(self, folder: SpoolFolder, pool: ThreadPoolExecutor) -> None:
        self.size = 0
        self._folder = folder
        self._pool = pool
        self._held = HeldBytes()
        self._hash = BlobHash()
        self._hashed = 0  # bytes of those held that the hash has seen
        self._file: SpoolFile | None = None
        self._ended = False
        self._error: GantryError | None = None

    @abstractmethod
    async def _publish(self, key: str | KeyOf) -> None:
        """Make what is held and the spool file a blob. Raises GantryError or OSError. On CancelledError, nothing may be visible."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._require_open()
        with memoryview(data) as given, given.cast("B") as view:
            taken = 0
            while taken < len(view):
                if self._held.size == MEMORY_LIMIT:
                    await self._guarded(self._flush)
                piece = view[taken : taken + MEMORY_LIMIT - self._held.size]
                self._held.add(piece)
                self.size += len(piece)
                taken += len(piece)

    async def digest(self, like: str = "") -> str:
        self._require_open()
        if not is_new_kind(like):
            contents = await self.contents()
            return await self._guarded(lambda: digest_of(contents, like))
        if self._held.size - self._hashed > _HASH_INLINE:
            await self._guarded(self._hash_held)
        else:
            self._hash_held()
        return self._hash.digest

    def head(self, length: int) -> bytes | None:
        self._require_open()
        return self._held.head(length) if self._file is None else None

    async def contents(self) -> bytes | memoryview:
        self._require_open()
        if self._file is None:
            return self._held.whole()
        return await self._guarded(self._map)

    def forget_contents(self) -> None:
        if (file := self._file) is not None:
            file.forget()

    async def read(self, offset: int, length: int) -> bytes:
        self._require_open()
        if self._file is None:
            return self._held.whole()[offset : offset + length]
        return await self._guarded(lambda: self._flush().read_range(offset, length))

    async def commit(self, key: str | KeyOf) -> None:
        """Also: a commit that is cancelled takes the blob back, should it be visible already."""
        self._require_open()
        if isinstance(key, str):
            validate_key(key)
        try:
            async with self._dropping_on_failure():
                await self._publish(key)
        finally:
            self._ended = True
        await self._end()

    async def cancel(self) -> None:
        self._ended = True
        await self._end()

    def _require_open(self) -> None:
        if self._error is not None:
            raise type(self._error)(str(self._error))
        if self._ended:
            raise RuntimeError("the writer has been committed or cancelled")

    async def _guarded(self, function: Callable[[], T]) -> T:
        async with self._dropping_on_failure():
            return await in_thread(self._pool, function)

    @contextlib.asynccontextmanager
    async def _dropping_on_failure(self) -> AsyncIterator[None]:
        """After any failure the blob is incomplete for ever: remember why, and let go of everything at once."""
        try:
            yield
        except OSError as error:
            self._error = storage_error(error)
            await self._end()
            raise self._error from error
        except GantryError as error:
            self._error = error
            await self._end()
            raise
        except BaseException:
            self._error = BlobStoreUnavailable("the upload was interrupted")
            await self._end()
            raise

    async def _end(self) -> None:
        """Let go of memory, descriptor and spool file; complete even when the caller is cancelled meanwhile."""
        self._held.clear()
        file, self._file = self._file, None
        if file is None:
            return
        try:
            dropping = self._pool.submit(file.drop)
        except RuntimeError:  # the store has been closed
            file.drop()
            return
        if await settled(dropping):
            raise asyncio.CancelledError

    # What follows runs in threads.

    def _named(self, key: str | KeyOf) -> str:
        """The key of the blob, all of whose bytes are here."""
        if isinstance(key, str):
            return key
        self._hash_held()
        return validate_key(key(self._hash.digest))

    def _hash_held(self) -> None:
        for piece in self._held.behind(self._hashed):
            self._hash.update(piece)
        self._hashed = self._held.size

    def _flush(self, *, into_reserve: bool = False) -> SpoolFile:
        """All bytes are hashed and in the spool file, which is made if need be; `into_reserve` where uploads have no room left."""
        if not into_reserve:
            self._folder.require_room(self._held.size)
        if self._file is None:
            self._file = self._folder.new_file()
        if self._held.size:
            self._hash_held()
            self._file.append(self._held.pieces)
            self._held.clear()
            self._hashed = 0
        return self._file

    def _map(self) -> memoryview:
        return self._flush().map()
