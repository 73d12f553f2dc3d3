"""Blobs in a folder: a spool file, synced, renamed to its place, and the folders synced. Nothing else is ever visible.

    {root}/.spool/                blobs on their way in; on the same file system, so that a rename publishes them
    {root}/instances/...          the key is the path

The spool folder also marks the root as a blob store: when it is not there, the disk is not mounted, and blobs that cannot
be found are not "missing".
"""

import asyncio
import os
import stat as file_type
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.blobs.base import BlobStat, BlobStore, BlobWriter, KeyOf
from app.blobs.files import FileSlice, OpenFile, OpenFiles, are_ends_in_memory
from app.blobs.folder_tree import FOLDER_MODE, FolderTree
from app.blobs.keys import INSTANCES, TOMBSTONES, is_key, validate_key, validate_prefix
from app.blobs.publishing import Publishing
from app.blobs.ranges import RangeGroup, coalesce, distribute, validate_range
from app.blobs.spool import SpoolFile, SpoolFolder, SpoolWriter, storage_error
from app.blobs.threads import in_thread, iterate, outcome, settled
from app.errors import BlobNotFound, BlobStoreUnavailable

CHUNK = 512 * 1024
SYNC_THREADS = 16
READ_THREADS = 16
READ_AT_ONCE = 1024 * 1024  # bytes that are copied from the page cache faster than a thread is reached
FEW_BYTES = 64 * 1024  # looking whether they are in memory takes as long as reading them
OPEN_FILES = 1024
OPEN_AT_ONCE, OPEN_BYTES = 16, 8 * 1024 * 1024  # of a series: reaching a thread takes longer than opening a file
SEND_BYTES = 1024 * 1024  # of a series, sent at once
MERGE_GAP = 16 * 1024  # reading over a gap of this size costs no more than another read
MERGE_BYTES = 8 * 1024 * 1024


class LocalBlobStore(BlobStore):
    """A folder. `sync=False` gives up durability for speed (tests, throw-away copies); `min_free_bytes` stay free.

    The constructor makes the folder if need be; where `create` is False it has to be a blob store already. Raises
    BlobStoreUnavailable.
    """

    passes_files = True

    def __init__(self, root: Path, *, sync: bool = True, min_free_bytes: int = 0, create: bool = True) -> None:
        self.root = root.absolute()
        self.spool = SpoolFolder(self.root / ".spool", min_free_bytes)
        # A copy of a blob store may lack the spool, in which nothing lasts.
        if not create and not self.spool.path.is_dir() and not (self.root / INSTANCES).is_dir():
            raise BlobStoreUnavailable(
                "the folder of the blob store holds none: is its disk mounted? One is made beside an empty database only"
            )
        try:
            self.spool.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error) from error
        self.tree = FolderTree(self.root, self.spool.path, sync=sync)
        self._writes = ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="blob-write")
        self._reads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="blob-read")
        self._publishing = Publishing(self.tree, self._writes)
        self._files = OpenFiles(OPEN_FILES)

    async def open_writer(self) -> BlobWriter:
        return _LocalWriter(self.spool, self._writes, self._publishing)

    async def open(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        validate_range(offset, 1 if length is None else length)
        file = await self._file(key)
        remaining = _within(file, offset, length)
        ahead = self._read_ahead(file, offset, remaining)
        try:
            while ahead is not None:
                chunk = await outcome(ahead)
                offset += len(chunk)
                remaining -= len(chunk)
                ahead = self._read_ahead(file, offset, remaining)
                yield chunk
        finally:
            # No read goes on behind the back of whoever left.
            if ahead is not None and not ahead.cancel() and await settled(ahead):
                raise asyncio.CancelledError

    def _read_ahead(self, file: OpenFile, offset: int, remaining: int) -> Future[bytes] | None:
        return self._reads.submit(self._read, file, offset, min(CHUNK, remaining)) if remaining else None

    async def pieces(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes | FileSlice]:
        validate_range(offset, 1 if length is None else length)
        file = await self._file(key)
        wanted = _within(file, offset, length)
        if wanted:
            yield FileSlice(file, offset, wanted)

    async def slices(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[FileSlice]:
        file = await self._file(key)
        for offset, length in ranges:
            validate_range(offset, length)
            _within(file, offset, length)
        return [FileSlice(file, offset, length) for offset, length in ranges]

    def at_hand(self, key: str, offset: int, length: int, *, as_file: bool) -> bytes | FileSlice | None:
        file = self._files.get(key)
        if file is None or offset + length > file.size:
            return None
        if as_file:
            return FileSlice(file, offset, length)
        return file.read_from_memory(offset, length) if length <= FEW_BYTES else None

    async def pieces_each(
        self, blobs: Sequence[tuple[str, int]]
    ) -> AsyncGenerator[AsyncIterator[bytes] | list[FileSlice], None]:
        waiting = deque(blobs)
        in_memory = False
        while waiting:
            if files := self._at_hand(waiting, opening=in_memory):
                in_memory = files[-1].in_memory
                yield files
                continue
            group = _next_to_open(waiting)
            found = await in_thread(self._reads, self._open_all, group)
            in_memory = all(isinstance(one, FileSlice) and one.in_memory for one in found)
            for key in group:
                opened = found.popleft()
                if isinstance(opened, FileSlice):
                    self._files.keep(key, opened.file)
                    yield [opened]
                else:
                    yield _failing(opened)

    def _at_hand(self, waiting: deque[tuple[str, int]], *, opening: bool) -> list[FileSlice]:
        """Whole files of the next blobs, which do not wait any more, as long as no thread has to open them."""
        files: list[FileSlice] = []
        total = 0
        while waiting and len(files) < OPEN_AT_ONCE and total < SEND_BYTES:
            file = self._file_at_hand(waiting[0][0], opening=opening)
            if file is None:
                break
            waiting.popleft()
            files.append(file)
            total += file.length
            opening = file.in_memory
        return files

    def _file_at_hand(self, key: str, *, opening: bool) -> FileSlice | None:
        """A whole file that is open, or can be opened here; None where a thread has to.

        `opening` where the file before was in memory: then this one lies there too, and is opened faster than a thread is reached.
        The answer has begun then, so one that is open is not looked at: if it ends too early, sending it tells.
        """
        file = self._files.get(key, looks=not opening)
        if file is None:
            if not opening:
                return None
            try:
                file = self._open(key)
            except (BlobNotFound, BlobStoreUnavailable, ValueError):
                return None
            self._files.keep(key, file)
        return FileSlice(file, 0, file.size, in_memory=_is_small_in_memory(file, in_a_row=opening))

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        validate_range(offset, length)
        file = await self._file(key)
        _within(file, offset, length)
        if length <= FEW_BYTES and (found := file.read_from_memory(offset, length)) is not None:
            return found
        return (await self._read_groups(file, [RangeGroup(offset, length, (0,))]))[0]

    async def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if len(ranges) == 1:
            return [await self.get_range(key, *ranges[0])]
        groups = coalesce(ranges, max_gap=MERGE_GAP, max_bytes=MERGE_BYTES)
        if not groups:
            return []
        file = await self._file(key)
        _within(file, groups[-1].offset, groups[-1].length)  # the last ends last: its end proves the others
        reads = await self._read_groups(file, groups)
        return distribute(ranges, zip(groups, reads, strict=True))

    async def _file(self, key: str) -> OpenFile:
        """The file of a blob, opened in a thread unless it is open already. Raises BlobNotFound, BlobStoreUnavailable."""
        file = self._files.get(key)
        if file is None:
            file = await in_thread(self._reads, self._open, key)
            self._files.keep(key, file)
        return file

    async def _read_groups(self, file: OpenFile, groups: Sequence[RangeGroup]) -> list[bytes]:
        if sum(group.length for group in groups) <= READ_AT_ONCE and all(
            file.is_in_memory(group.offset, group.length) for group in groups
        ):
            return [self._read(file, group.offset, group.length) for group in groups]
        return await in_thread(self._reads, lambda: [self._read(file, one.offset, one.length) for one in groups])

    async def stat(self, key: str) -> BlobStat:
        return await in_thread(self._reads, self._stat, key)

    async def delete(self, key: str) -> None:
        await in_thread(self._writes, self.tree.remove, key)

    def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        return iterate(self._reads, self._walk(validate_prefix(prefix)))

    async def remove_stale_spool(self, older_than: timedelta) -> int:
        try:
            return await in_thread(self._writes, self.spool.remove_stale, older_than)
        except OSError as error:
            raise storage_error(error) from error

    def close_idle_files(self) -> None:
        """Files that were read last are kept open: close those that nobody is reading."""
        self._files.clear()

    async def close_unused_files(self) -> None:
        files = self._files.take_unused()
        if files:  # the last who has a removed file open waits until its room on the disk is free
            await in_thread(self._reads, files.clear)

    async def close(self) -> None:
        self.close_idle_files()
        for pool in (self._reads, self._writes):
            await asyncio.to_thread(pool.shutdown)
        self.tree.forget()

    # What follows runs in threads.

    def _open(self, key: str) -> OpenFile:
        try:
            descriptor = os.open(f"{self.root}/{validate_key(key)}", os.O_RDONLY | os.O_CLOEXEC)
            status = os.fstat(descriptor)
        except OSError as error:
            raise self.tree.read_error(error) from error
        if not file_type.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise BlobNotFound("a stored object is missing from the blob store")
        return OpenFile(descriptor, status.st_size)

    def _open_all(self, keys: Sequence[str]) -> "deque[FileSlice | Exception]":
        """Whole files, small ones brought into memory, or why each cannot be had."""
        found: deque[FileSlice | Exception] = deque()
        for key in keys:
            try:
                file = self._open(key)
                in_memory = _is_small_in_memory(file)
                if not in_memory and file.size <= READ_AT_ONCE:
                    self._read(file, 0, file.size)
            except (BlobNotFound, BlobStoreUnavailable, ValueError) as error:
                found.append(error)
            else:
                found.append(FileSlice(file, 0, file.size, in_memory=in_memory))
        return found

    def _read(self, file: OpenFile, offset: int, length: int) -> bytes:
        """Exactly `length` bytes."""
        parts = []
        while length:
            try:
                part = file.read(offset, length)
            except OSError as error:
                raise self.tree.read_error(error) from error
            if not part:
                raise BlobStoreUnavailable("a stored object is shorter than expected")
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)  # of a single part: that part itself, not a copy

    def _stat(self, key: str) -> BlobStat:
        try:
            status = Path(self.tree.path_of(key)).stat()
        except OSError as error:
            raise self.tree.read_error(error) from error
        if not file_type.S_ISREG(status.st_mode):
            raise BlobNotFound("a stored object is missing from the blob store")
        return _blob_stat(key, status)

    def _walk(self, prefix: str) -> Generator[BlobStat, None, None]:
        folder, _, _ = prefix.rpartition("/")
        if not self.spool.path.is_dir():
            raise BlobStoreUnavailable("the folder of the blob store is gone")
        yield from self._walk_folder(f"{folder}/" if folder else "", prefix)

    def _walk_folder(self, base: str, prefix: str) -> Generator[BlobStat, None, None]:
        """Blobs below the folder `base` ("" or ending in a slash). What is deleted meanwhile is left out."""
        try:
            with os.scandir(self.root / base) as entries:
                for entry in entries:
                    key = base + entry.name
                    if not is_key(key):
                        continue  # the spool, and what others keep here (lost+found, .snapshot)
                    if entry.is_dir(follow_symlinks=False):
                        if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                            yield from self._walk_folder(f"{key}/", prefix)
                    elif key.startswith(prefix) and entry.is_file():
                        try:
                            yield _blob_stat(key, entry.stat())
                        except FileNotFoundError:
                            continue
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise storage_error(error) from error


class _LocalWriter(SpoolWriter):
    def __init__(self, folder: SpoolFolder, pool: ThreadPoolExecutor, publishing: Publishing) -> None:
        super().__init__(folder, pool)
        self._publishing = publishing

    async def _publish(self, key: str | KeyOf) -> None:
        def complete() -> tuple[SpoolFile, str]:
            # The room that uploads leave is there for the marks of what is deleted: a few bytes, and the way to more room.
            is_mark = isinstance(key, str) and key.startswith(TOMBSTONES)
            return self._flush(into_reserve=is_mark), self._named(key)

        await self._publishing.publish(complete, self.size)
        self._file = None


def _next_to_open(waiting: deque[tuple[str, int]]) -> list[str]:
    """Keys of a few small blobs, or of one large one: what is opened is what will soon be sent."""
    key, total = waiting.popleft()
    group = [key]
    while waiting and len(group) < OPEN_AT_ONCE and total + waiting[0][1] <= OPEN_BYTES:
        key, size = waiting.popleft()
        group.append(key)
        total += size
    return group


def _is_small_in_memory(file: OpenFile, *, in_a_row: bool = False) -> bool:
    return 0 < file.size <= READ_AT_ONCE and are_ends_in_memory(file.descriptor, file.size, in_a_row=in_a_row)


async def _failing(error: Exception) -> AsyncGenerator[bytes, None]:
    raise error
    yield b""  # type: ignore[unreachable]  # what makes it a generator


def _within(file: OpenFile, offset: int, length: int | None) -> int:
    """How many bytes there are to read from `offset` on. A range beyond the end is BlobStoreUnavailable."""
    wanted = file.size - offset if length is None else length
    if wanted < 0 or offset + wanted > file.size:
        raise BlobStoreUnavailable("a stored object is shorter than expected")
    return wanted


def _blob_stat(key: str, status: os.stat_result) -> BlobStat:
    return BlobStat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
