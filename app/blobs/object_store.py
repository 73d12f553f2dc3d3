"""Blobs in S3, Google Cloud Storage or Azure Blob Storage, through obstore.

obstore's blocking functions run in threads of our own. Its coroutines call into Python from foreign threads: a process
that ends soon after one of them may be aborted by the interpreter (11 of 30 runs), and they copy on the event loop.

Whatever is read is measured: a range that crosses the end of an object comes back short without an error.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain

import obstore
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, S3Store

from app.blobs.base import BlobStat, BlobStore, BlobWriter, KeyOf
from app.blobs.keys import is_key, validate_key, validate_prefix
from app.blobs.ranges import coalesce, cut, validate_range
from app.blobs.read_ahead import ReadAhead, ReadAheadBudget, Window, windows_of
from app.blobs.spool import SpoolFile, SpoolFolder, SpoolWriter, storage_error
from app.blobs.threads import BATCH, in_thread, iterate, outcome, settled
from app.errors import BlobNotFound, BlobStoreUnavailable, GantryError, OutOfSpace

MIB = 1024 * 1024
CHUNK = MIB
# Streams are read in requests of this size: each ends soon, is repeated by itself when it fails, and holds no connection
# while a slow client takes its time.
WINDOW = 4 * MIB
MERGE_GAP = MIB // 2  # about what is transferred in the time of one more request
MERGE_BYTES = WINDOW
# How many requests of one reader are under way before their bytes are wanted: at 30 ms each, 16 are 500 small objects a second.
BLOBS_AHEAD, WINDOWS_AHEAD, RANGES_AHEAD = 16, 3, 8
AHEAD_BYTES, AHEAD_BYTES_OF_ALL = 24 * MIB, 256 * MIB  # held by one reader, and by all of them
SINGLE_PUT_BYTES = 16 * MIB
PART_BYTES = 8 * MIB
PARTS_AT_ONCE = 3
MAX_PARTS = 10_000  # of S3, the lowest of the three
# At most 4 large uploads at once hold 4 x (3 + 1) x 8 MiB; small ones go past them.
READ_THREADS, WRITE_THREADS, LARGE_WRITE_THREADS = 32, 16, 4
STREAM_THREADS = 32  # for what streams fetch ahead: a frame that somebody waits for does not queue behind it

_REFUSED = re.compile(r"\b(?:401 Unauthorized|403 Forbidden)\b")
_FULL = re.compile(r"\b(?:507 Insufficient Storage|InsufficientStorage|XMinioStorageFull|\w*QuotaExceeded)\b")

CloudStore = S3Store | GCSStore | AzureStore


class ObjectBlobStore(BlobStore):
    """A bucket, or what lies below a prefix of it. Blobs above 1 MiB wait in the local `spool` until they are committed.

    The constructor makes the spool folder if need be; raises BlobStoreUnavailable.
    """

    keeps_checksums = True

    def __init__(self, store: CloudStore, spool: SpoolFolder) -> None:
        self.store = store
        self.spool = spool
        try:
            spool.path.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error) from error
        self._reads = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="blob-read")
        self._streams = ThreadPoolExecutor(STREAM_THREADS, thread_name_prefix="blob-stream")
        self._tags_are_md5 = True  # until an answer shows otherwise
        self._budget = ReadAheadBudget(AHEAD_BYTES, AHEAD_BYTES_OF_ALL)
        self.writes = ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="blob-write")
        self.large_writes = ThreadPoolExecutor(LARGE_WRITE_THREADS, thread_name_prefix="blob-write-large")

    async def open_writer(self) -> BlobWriter:
        return _ObjectWriter(self)

    async def open(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        validate_range(offset, 1 if length is None else length)
        remaining, first = await in_thread(self._reads, self._first_window, validate_key(key), offset, length)
        rest = offset + len(first), remaining - len(first)
        ahead = self._ahead_of(windows_of(key, *rest, WINDOW), WINDOWS_AHEAD, self._streams)
        try:
            ahead.begin()
            for chunk in _chunks(first):
                yield chunk
            del first
            async for chunk in _stream(ahead, windows_of(key, *rest, WINDOW)):
                yield chunk
        finally:
            ahead.close()

    async def open_each(self, blobs: Sequence[tuple[str, int]]) -> AsyncGenerator[AsyncIterator[bytes], None]:
        windows = (windows_of(validate_key(key), 0, size, WINDOW, size) for key, size in blobs)
        ahead = self._ahead_of(chain.from_iterable(windows), BLOBS_AHEAD, self._streams)
        try:
            for key, size in blobs:
                yield _stream(ahead, windows_of(key, 0, size, WINDOW, size))
        finally:
            ahead.close()

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        validate_range(offset, length)
        return await in_thread(self._reads, self._get, validate_key(key), offset, length)

    async def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        validate_key(key)
        groups = coalesce(ranges, max_gap=MERGE_GAP, max_bytes=MERGE_BYTES)
        windows = [Window(key, group.offset, group.length) for group in groups]
        parts = [b""] * len(ranges)
        ahead = self._ahead_of(windows, RANGES_AHEAD, self._reads)
        try:
            for group, window in zip(groups, windows, strict=True):
                cut(ranges, group, await ahead.take(window), parts)
        finally:
            ahead.close()
        return parts

    async def stat(self, key: str) -> BlobStat:
        return await in_thread(self._reads, self.head, validate_key(key))

    async def delete(self, key: str) -> None:
        await in_thread(self.writes, self.remove, validate_key(key))

    def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        return iterate(self._reads, self._walk(validate_prefix(prefix)))

    async def remove_stale_spool(self, older_than: timedelta) -> int:
        try:
            return await in_thread(self.writes, self.spool.remove_stale, older_than)
        except OSError as error:
            raise storage_error(error) from error

    async def close(self) -> None:
        for pool in (self._reads, self._streams, self.writes, self.large_writes):
            await asyncio.to_thread(pool.shutdown)

    def _ahead_of(self, windows: Iterable[Window], count: int, pool: ThreadPoolExecutor) -> ReadAhead:
        return ReadAhead(lambda window: pool.submit(self._fetch, window), windows, count=count, budget=self._budget)

    # What follows runs in threads.

    def head(self, key: str) -> BlobStat:
        with self._translated(key):
            meta = obstore.head(self.store, key)
        return BlobStat(key, meta["size"], meta["last_modified"])

    def remove(self, key: str) -> None:
        try:
            with self._translated(key):
                obstore.delete(self.store, key)
        except BlobNotFound:  # Azure and Google say so, S3 does not
            return

    def put(self, key: str, data: bytes | memoryview) -> bool:
        """Upload at once. Whether it is proven that every byte arrived: the entity tag of S3 is the MD5 of what was received,
        unless the bucket is encrypted with keys of its own. One that is not is doubted before the server is: what is there is read.
        Other bytes are taken away, and BlobStoreUnavailable is raised; if they are the same, tags of this server are no MD5, and
        no further one is looked at.
        """
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest() if self._tags_are_md5 else None
        with self._translated(key):
            tag = obstore.put(self.store, key, data, use_multipart=False)["e_tag"] or ""
        if digest is None or tag.strip('"').lower() == digest:
            return digest is not None
        if not self._holds(key, data):
            self.remove(key)
            raise BlobStoreUnavailable("an upload did not arrive whole in the object store")
        self._tags_are_md5 = False
        return True

    def _holds(self, key: str, data: bytes | memoryview) -> bool:
        """Whether the object is these bytes."""
        try:
            with self._translated(key):
                return memoryview(obstore.get(self.store, key).bytes()) == memoryview(data)
        except BlobNotFound:
            return False

    def put_parts(self, key: str, size: int, data: Iterator[bytes]) -> None:
        """Upload in parts. An exception of `data` aborts the upload: nothing becomes visible."""
        part = max(PART_BYTES, -(-size // MAX_PARTS))
        with self._translated(key):
            obstore.put(self.store, key, data, use_multipart=True, chunk_size=part, max_concurrency=PARTS_AT_ONCE)

    def _get(self, key: str, offset: int, length: int) -> bytes:
        with self._translated(key):
            data = bytes(obstore.get_range(self.store, key, start=offset, length=length))
        if len(data) != length:
            raise BlobStoreUnavailable("a stored object is shorter than expected")
        return data

    def _fetch(self, window: Window) -> bytes:
        key, offset, length = window.key, window.offset, window.length
        if window.blob_size is None:
            return self._get(key, offset, length)
        with self._translated(key):
            result = obstore.get(self.store, key, options={"range": (offset, offset + length)})
            size, data = result.meta["size"], bytes(result.bytes())
        if size != window.blob_size or len(data) != length:
            raise BlobStoreUnavailable("a stored object has another size than when it was stored")
        return data

    def _first_window(self, key: str, offset: int, length: int | None) -> tuple[int, bytes]:
        """How many bytes there are to read from `offset` on, and the first of them."""
        end = offset + (WINDOW if length is None else min(WINDOW, length))
        try:
            with self._translated(key):
                result = obstore.get(self.store, key, options={"range": (offset, end)})
                size, data = result.meta["size"], bytes(result.bytes())
        except BlobStoreUnavailable as error:
            # An empty range cannot be asked for (416), so the end of an object looks like a failure at first.
            if not isinstance(error.__cause__, GenericError) or self.head(key).size != offset or length is not None:
                raise
            return 0, b""
        wanted = size - offset if length is None else length
        if offset + wanted > size or len(data) != min(WINDOW, wanted):
            raise BlobStoreUnavailable("a stored object is shorter than expected")
        return wanted, data

    def _walk(self, prefix: str) -> Generator[BlobStat, None, None]:
        # obstore's prefixes are whole segments, ours are beginnings of keys.
        folder, _, _ = prefix.rpartition("/")
        with self._translated(None):
            for batch in obstore.list(self.store, prefix=folder or None, chunk_size=BATCH):
                for meta in batch:
                    if meta["path"].startswith(prefix) and is_key(meta["path"]):
                        yield BlobStat(meta["path"], meta["size"], meta["last_modified"])

    @contextmanager
    def _translated(self, key: str | None) -> Generator[None, None, None]:
        """Errors of obstore as our own. Without a key nothing can be "not found" but the bucket."""
        try:
            yield
        except FileNotFoundError as error:
            if key is None or not self._bucket_answers():
                raise BlobStoreUnavailable("the bucket of the archive cannot be found") from error
            raise BlobNotFound("a stored object is missing from the blob store") from error
        except BaseError as error:
            raise _store_error(error) from error

    def _bucket_answers(self) -> bool:
        """Tells a missing object from a missing bucket: both are answered 404, and to HEAD without a word more."""
        try:
            next(iter(obstore.list(self.store, prefix="bucket-probe", chunk_size=1)), None)
        except (BaseError, OSError):
            return False
        return True


async def _stream(ahead: ReadAhead, windows: Iterable[Window]) -> AsyncIterator[bytes]:
    for window in windows:
        for chunk in _chunks(await ahead.take(window)):
            yield chunk


def _chunks(window: bytes) -> Iterator[bytes]:
    for start in range(0, len(window), CHUNK):
        yield window[start : start + CHUNK]


def _store_error(error: BaseError) -> GantryError:
    text = str(error)
    if _FULL.search(text):  # before the other: Ceph answers 403 to an upload beyond the quota
        return OutOfSpace("there is no room left in the object store")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or _REFUSED.search(text):
        return BlobStoreUnavailable("the object store refuses the credentials of the archive")
    return BlobStoreUnavailable("the object store does not answer as it should")


class _ObjectWriter(SpoolWriter):
    def __init__(self, store: ObjectBlobStore) -> None:
        super().__init__(store.spool, store.writes)
        self._store = store
        self._abandoned = False

    async def _publish(self, key: str | KeyOf) -> None:
        large = self.size > SINGLE_PUT_BYTES
        upload = (self._store.large_writes if large else self._store.writes).submit(self._upload, key)
        try:
            await outcome(upload, self._abandon)
            await self._end()
        except asyncio.CancelledError:
            # Parts are aborted. A single put runs to its end, so that no late one makes visible what was given up.
            if upload.done() and not upload.cancelled() and upload.exception() is None:
                await settled(self._store.writes.submit(self._store.remove, upload.result()))
            raise

    def _abandon(self) -> None:
        self._abandoned = True

    def _upload(self, wanted: str | KeyOf) -> str:
        """The key of what is there now."""
        arrived = False
        if self._file is None:
            key = self._named(wanted)
            arrived = self._store.put(key, self._held.whole())
        else:
            file = self._flush()
            key = self._named(wanted)
            if self.size <= SINGLE_PUT_BYTES:
                arrived = self._store.put(key, file.map())
            else:
                self._store.put_parts(key, self.size, self._pieces(file))
        if not arrived and self._store.head(key).size != self.size:
            self._store.remove(key)
            raise BlobStoreUnavailable("an upload did not arrive whole in the object store")
        return key

    def _pieces(self, file: SpoolFile) -> Iterator[bytes]:
        for piece in file.read(MIB):
            if self._abandoned:
                raise BlobStoreUnavailable("the upload was interrupted")
            yield piece
