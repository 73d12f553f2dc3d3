"""Store: bytes come in part by part, and are kept for good before anyone is told so (design: blob first, row last).

One `Intake` serves one request. Its parts are read one after another; whole instances gather in a small batch, whose blobs are
then made durable side by side and whose rows follow in one short transaction. While a batch is being written the next one is
being received; memory is bounded by the two.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

from app.blobs.base import BlobWriter
from app.blobs.keys import instance_key
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, find_digests
from app.dicom import store_status
from app.dicom.header import NotQuick, parse_head, parse_instance, read_file_meta
from app.dicom.instance import DicomJson, InstanceRecord, ParsedInstance
from app.dicom.references import InstanceRef, StudyRef
from app.dicom.store_status import StoreStatus
from app.errors import DicomError, OutOfSpace, Unavailable
from app.observability import log
from app.services.acceptance import Refusal, accept, refusal_of, warning_of
from app.services.archive import Archive
from app.services.tombstones import record_tombstones

BATCH_INSTANCES = 64
BATCH_BYTES = 8 * 1024 * 1024  # counted as at most WRITER_MEMORY each: larger instances lie in spool files
BATCH_SECONDS = 30.0  # a slow sender's first instances become rows long before a sweep could take them for stray blobs
WRITER_MEMORY = 1024 * 1024
HEAD_BYTES = 64 * 1024  # of a file that is in memory in pieces: the headers of most images are shorter
EXAMINED_AT_ONCE = 16  # some milliseconds
INLINE_PARSE_BYTES = 1024 * 1024  # larger files may have headers that take long to read: away from the event loop


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the sender is told of an instance that is stored: a Warning Reason, and what was changed (items of (0400,0561))."""

    warning: StoreStatus | None = None
    original_attributes: tuple[DicomJson, ...] = ()


NO_REMARKS = Remarks()


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """`changed` is False when the very same bytes were there before."""

    ref: InstanceRef
    sop_class_uid: str
    study_created: bool
    changed: bool
    remarks: Remarks = NO_REMARKS


@dataclass(frozen=True, slots=True)
class RefusedInstance:
    """UIDs are "" where they could not be read. `transient`: the same request may succeed later."""

    sop_class_uid: str
    sop_instance_uid: str
    status: StoreStatus
    message: str
    transient: bool = False


StoreResult = StoredInstance | RefusedInstance


@dataclass(frozen=True, slots=True)
class _Received:
    """A whole part that nobody has looked at yet."""

    position: int
    writer: BlobWriter
    remarks: Remarks


@dataclass(slots=True)
class _Candidate:
    """An accepted instance whose bytes are still in its writer.

    digest    "" until it is known: of a new instance, when its bytes are written
    blob_key  "" until it is durable
    """

    position: int
    ref: InstanceRef
    sop_class_uid: str
    parsed: ParsedInstance
    writer: BlobWriter
    remarks: Remarks
    digest: str = ""
    blob_key: str = ""


@dataclass(slots=True)
class Intake:
    """The instances of one request. `begin`, `write`.., `end` for each part; then `finish`, or `abort` at any time."""

    archive: Archive
    study: StudyRef | None = None
    _results: list[StoreResult | None] = field(default_factory=list)
    _batch: list[_Received] = field(default_factory=list)
    _batch_bytes: int = 0
    _batch_started: float = 0.0
    _writer: BlobWriter | None = None
    _failed: Refusal | None = None
    _flush: asyncio.Task[None] | None = None

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
        self._batch.append(_Received(position, writer, remarks))
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
        if self._flush is not None:
            await asyncio.shield(self._flush)
        results = [result for result in self._results if result is not None]
        down = [one for one in results if isinstance(one, RefusedInstance) and one.transient]
        if down and len(down) == len(results):
            raise Unavailable(down[0].message)
        return results

    async def abort(self) -> None:
        """The sender is gone: drop what is not yet being written. What a running batch stores stays stored."""
        batch, self._batch = self._batch, []
        writers = [received.writer for received in batch]
        if self._writer is not None:
            writers.append(self._writer)
            self._writer = None
        for writer in writers:
            await asyncio.shield(writer.cancel())
        if self._flush is not None:
            await asyncio.shield(self._flush)

    async def _start_flush(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        try:
            candidates = await self._examine_all(batch)
            if self._flush is not None:
                await asyncio.shield(self._flush)
        except BaseException:
            self._batch = batch + self._batch  # abort() drops them
            raise
        if candidates:
            self._flush = asyncio.create_task(self._store_batch(candidates))

    async def _examine_all(self, batch: list[_Received]) -> list[_Candidate]:
        """Read the headers and judge them, one right behind the other: half a megabyte of pixels between two of them would drive
        out of the processor's caches what both have in common, which doubles the time."""
        candidates = []
        for number, received in enumerate(batch, 1):
            candidate = await self._examine(received)
            if candidate is None:
                await received.writer.cancel()
            else:
                candidates.append(candidate)
            if number % EXAMINED_AT_ONCE == 0:
                await asyncio.sleep(0)  # others have their turn
        return candidates

    async def _examine(self, received: _Received) -> _Candidate | None:
        writer, remarks = received.writer, received.remarks
        try:
            parsed = await _parse(writer, self.archive)
        except DicomError as error:
            refusal = refusal_of(error)
            meta = read_file_meta(await writer.contents())
            sop_class_uid, sop_instance_uid = meta.media_storage_sop_class_uid, meta.media_storage_sop_instance_uid
        else:
            sop_class_uid, sop_instance_uid = parsed.text("00080016"), parsed.text("00080018")
            try:
                ref = accept(parsed, self.study)
            except DicomError as error:
                refusal = refusal_of(error)
            else:
                if remarks.warning is None:
                    remarks = Remarks(warning_of(parsed))
                return _Candidate(received.position, ref, sop_class_uid, parsed, writer, remarks)
        finally:
            writer.forget_contents()
        self._results[received.position] = RefusedInstance(
            sop_class_uid, sop_instance_uid, refusal.status, str(refusal)
        )
        return None

    async def _store_batch(self, batch: list[_Candidate]) -> None:
        """Never raises: every candidate ends with a result. Runs to its end also when the request is cancelled."""
        try:
            fresh = await self._settle_known(batch)
            durable = await self._commit_blobs(fresh)
            if durable:
                await self._insert_rows(durable)
        except Unavailable as error:
            self._fail([c for c in batch if self._results[c.position] is None], error)
        except Exception as error:  # noqa: BLE001 - reported per instance, and logged whole
            log.exception("store.batch_failed", instances=len(batch))
            self._fail([c for c in batch if self._results[c.position] is None], error)
        finally:
            for candidate in batch:
                if not candidate.blob_key:
                    await candidate.writer.cancel()

    async def _settle_known(self, batch: list[_Candidate]) -> list[_Candidate]:
        """Candidates whose bytes are not in the archive; the others get their result without touching the blob store."""
        digests = await find_digests(self.archive.db, [candidate.ref for candidate in batch])
        fresh = []
        for candidate in batch:
            known = digests.get(candidate.ref)
            if known is not None:
                candidate.digest = await candidate.writer.digest()
            if known == candidate.digest:
                self._results[candidate.position] = StoredInstance(
                    candidate.ref,
                    candidate.sop_class_uid,
                    study_created=False,
                    changed=False,
                    remarks=candidate.remarks,
                )
            elif known is not None and self.archive.duplicates is DuplicatePolicy.KEEP:
                self._results[candidate.position] = _duplicate(candidate.ref, candidate.sop_class_uid)
            else:
                fresh.append(candidate)
        return fresh

    async def _commit_blobs(self, candidates: list[_Candidate]) -> list[_Candidate]:
        async def commit(candidate: _Candidate) -> _Candidate | None:
            ref, keys = candidate.ref, []

            def key_of(digest: str) -> str:
                candidate.digest = digest
                keys.append(instance_key(ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid, digest))
                return keys[0]

            try:
                await candidate.writer.commit(key_of)
            except Unavailable as error:
                self._fail([candidate], error)
                return None
            candidate.blob_key = keys[0]
            return candidate

        committed = await asyncio.gather(*(commit(candidate) for candidate in candidates))
        return [candidate for candidate in committed if candidate is not None]

    async def _insert_rows(self, candidates: list[_Candidate]) -> None:
        """A failure here leaves the blobs: whether the rows were committed is not known, so only a sweep may judge."""
        archive = self.archive
        records = [
            InstanceRecord(c.ref, c.sop_class_uid, c.parsed, c.blob_key, c.writer.size, c.digest) for c in candidates
        ]
        results = await archive.rows.ingest(
            archive.db, records, duplicates=archive.duplicates, retention=archive.retention
        )
        for candidate, result in zip(candidates, results, strict=True):
            if result.outcome is Outcome.REFUSED:
                self._results[candidate.position] = _duplicate(candidate.ref, candidate.sop_class_uid)
            else:
                self._results[candidate.position] = StoredInstance(
                    candidate.ref,
                    candidate.sop_class_uid,
                    study_created=result.study_created,
                    changed=result.outcome is not Outcome.UNCHANGED,
                    remarks=candidate.remarks,
                )
        await self._tidy(results)

    async def _tidy(self, results: list[IngestResult]) -> None:
        """What is stored is stored: trouble here is logged, and a sweep does it later."""
        try:
            for result in results:
                if result.surplus_blob_key:
                    await self.archive.blobs.delete(result.surplus_blob_key)
            replaced = [result.replaced_blob_key for result in results if result.replaced_blob_key]
            if replaced:
                await record_tombstones(self.archive.blobs, replaced, "replaced")
        except Unavailable as error:
            log.warning("store.tidy_failed", error=str(error))

    def _fail(self, candidates: list[_Candidate], error: BaseException) -> None:
        full = isinstance(error, OutOfSpace)
        for candidate in candidates:
            self._results[candidate.position] = RefusedInstance(
                candidate.sop_class_uid,
                candidate.ref.sop_instance_uid,
                store_status.OUT_OF_RESOURCES if full else store_status.PROCESSING_FAILURE,
                str(error) if isinstance(error, Unavailable) else "internal error",
                transient=isinstance(error, Unavailable) and not full,
            )


async def _parse(writer: BlobWriter, archive: Archive) -> ParsedInstance:
    """On the event loop where that takes well under a millisecond, as for nearly all files; else in a thread."""
    limits = archive.limits.parse
    head = writer.head(HEAD_BYTES)
    if head is not None:
        with suppress(NotQuick):
            return parse_head(head, writer.size, limits, archive.known_headers)
    contents = await writer.contents()
    if len(contents) <= INLINE_PARSE_BYTES:
        with suppress(NotQuick):
            return parse_instance(contents, limits, quick=True, known_headers=archive.known_headers)
    return await asyncio.to_thread(parse_instance, contents, limits)


def _duplicate(ref: InstanceRef, sop_class_uid: str) -> RefusedInstance:
    return RefusedInstance(
        sop_class_uid,
        ref.sop_instance_uid,
        store_status.DUPLICATE_SOP_INSTANCE,
        "an instance of this SOP Instance UID with other content is stored, and duplicates are not replaced",
    )
