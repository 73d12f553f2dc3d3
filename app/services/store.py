"""Store: bytes come in part by part, and are kept for good before anyone is told so.

One `Intake` serves one request. Its parts are read one after another; whole instances gather in a small batch, which is stored
together with those of other requests (`app.services.store_group`). While two batches are being stored the next one is being
received; memory is bounded by the three.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field, replace

from app.blobs.base import BlobWriter
from app.blobs.publishing import LARGE_BYTES
from app.dicom import store_status
from app.dicom.references import StudyRef
from app.dicom.store_status import StoreStatus
from app.errors import OutOfSpace, Unavailable
from app.services.acceptance import Refusal
from app.services.archive import Archive
from app.services.store_group import Received, store_group
from app.services.store_results import NO_REMARKS, RefusedInstance, Remarks, StoreResult

BATCH_INSTANCES = 64
BATCH_BYTES = 8 * 1024 * 1024  # counted as at most WRITER_MEMORY each: larger instances lie in spool files
BATCHES_AT_ONCE = 2  # of one request: a single one would leave the disk idle while the next is on its way
BATCH_SECONDS = 30.0  # a slow sender's first instances are stored while the rest is on its way
WRITER_MEMORY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Flush:
    """A batch that is being stored.

    positions  where its parts stood in the request
    done       set when they have their results
    large      whether storing it may take long
    """

    results: "asyncio.Future[list[StoreResult]]"
    positions: list[int]
    done: asyncio.Event
    large: bool


@dataclass(slots=True)
class Intake:
    """The instances of one request. `begin`, `write`.., `end` for each part; then `finish`, or `abort` at any time."""

    archive: Archive
    study: StudyRef | None = None
    _results: list[StoreResult | None] = field(default_factory=list)
    _batch: list[tuple[int, Received]] = field(default_factory=list)
    _batch_bytes: int = 0
    _batch_started: float = 0.0
    _writer: BlobWriter | None = None
    _failed: Refusal | None = None
    _flushes: deque[_Flush] = field(default_factory=deque)

    async def begin(self) -> None:
        """A new part begins."""
        self._failed = None
        self._results.append(None)
        try:
            self._writer = await self.archive.blobs.open_writer()
        except OutOfSpace as error:
            self._failed = Refusal(store_status.OUT_OF_RESOURCES, str(error))

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """More bytes of the part. When there is no room the rest of the part is read and dropped: the others may still fit."""
        if self._writer is None or self._failed:
            return
        try:
            await self._writer.write(data)
        except OutOfSpace as error:
            await self._writer.cancel()
            self._writer = None
            self._failed = Refusal(store_status.OUT_OF_RESOURCES, str(error))

    async def end(self, remarks: Remarks = NO_REMARKS) -> None:
        """The part is complete, and goes into the batch."""
        position = len(self._results) - 1
        writer, self._writer = self._writer, None
        if writer is None:
            refusal = self._failed or Refusal(store_status.PROCESSING_FAILURE, "the part was not received")
            self._results[position] = RefusedInstance("", "", refusal.status, str(refusal))
            return
        if not self._batch:
            self._batch_started = time.monotonic()
        self._batch.append((position, Received(writer, remarks, self.study)))
        self._batch_bytes += min(writer.size, WRITER_MEMORY)
        full = len(self._batch) >= BATCH_INSTANCES or self._batch_bytes >= BATCH_BYTES
        if full or time.monotonic() - self._batch_started > BATCH_SECONDS:
            await self._start_flush()

    async def refuse(
        self, status: StoreStatus, message: str, sop_class_uid: str = "", sop_instance_uid: str = ""
    ) -> None:
        """The part that is under way, or one that never began, is not an instance (wrong type, cut off)."""
        if self._writer is not None:
            await self._writer.cancel()
            self._writer = None
            self._results.pop()
        self._results.append(RefusedInstance(sop_class_uid, sop_instance_uid, status, message))

    async def finish(self) -> list[StoreResult]:
        """Wait until everything accepted is durable. One result per part, in their order. Raises Unavailable."""
        if self._batch:
            await self._start_flush()
        while self._flushes:
            await self._end_flush()
        results = [result for result in self._results if result is not None]
        down = [one for one in results if isinstance(one, RefusedInstance) and one.transient]
        if down and len(down) == len(results):
            raise Unavailable(down[0].message) from down[0].cause
        return results

    async def abort(self) -> None:
        """The sender is gone: drop what is not yet being written. What a running batch stores stays stored."""
        batch, self._batch = self._batch, []
        writers = [received.writer for _, received in batch]
        if self._writer is not None:
            writers.append(self._writer)
            self._writer = None
        for writer in writers:
            await asyncio.shield(writer.cancel())
        stored = asyncio.gather(*(flush.results for flush in self._flushes), return_exceptions=True)
        await asyncio.shield(stored)

    async def _start_flush(self) -> None:
        """Give the batch away, as soon as there are not too many before it."""
        if len(self._flushes) == BATCHES_AT_ONCE:
            await self._end_flush()
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        done, before = asyncio.Event(), self._flushes[-1] if self._flushes else None
        received = [replace(one, done=done, after=before.done if before else None) for _, one in batch]
        large = any(one.writer.size > LARGE_BYTES for one in received)
        results: asyncio.Future[list[StoreResult]]
        if before is not None and before.large:
            results = asyncio.ensure_future(self._store_behind(before, received))
        elif large:  # nobody else shall wait until it is on the disk
            results = asyncio.ensure_future(store_group(self.archive, received))
        else:
            results = self.archive.arrivals.put(store_group, self.archive, received)
        self._flushes.append(_Flush(results, [position for position, _ in batch], done, large))

    async def _store_behind(self, large: _Flush, received: list[Received]) -> list[StoreResult]:
        """Beside the groups, for its rows come behind those of a large batch, which may take hours to reach an object store.

        And nothing of it lies in the blob store that long without rows (`store_group`).
        """
        await large.done.wait()
        return await store_group(self.archive, received)

    async def _end_flush(self) -> None:
        """The oldest."""
        flush = self._flushes[0]
        results = await asyncio.shield(flush.results)
        self._flushes.popleft()
        for position, result in zip(flush.positions, results, strict=True):
            self._results[position] = result
