"""A group of received instances becomes part of the archive: headers read, blobs durable, and only then rows.

What several requests brought goes through together. One look-up finds those that are stored already, one piece of work makes the
blobs durable, one short transaction writes the rows; and the headers are read one right behind the other: half a megabyte of
pixels between two of them would drive out of the processor's caches what both have in common, which doubles the time.
"""

import asyncio
from collections.abc import Sequence, Set
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta

from app.blobs.base import BlobWriter
from app.blobs.keys import instance_key
from app.blobs.publishing import LARGE_BYTES
from app.db.engine import Database
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, find_blobs, ingest
from app.db.ingest_verdicts import Blob
from app.dicom import store_status
from app.dicom.header import NotQuick, parse_head, parse_instance, read_file_meta
from app.dicom.instance import InstanceRecord, ParsedInstance
from app.dicom.references import InstanceRef, StudyRef
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.errors import BlobNotFound, DicomError, OutOfSpace, Unavailable
from app.observability import log
from app.services.acceptance import accept, refusal_of, warning_of
from app.services.archive import Archive
from app.services.blob_damage import damage_of_blob
from app.services.store_results import RefusedInstance, Remarks, StoredInstance, StoreResult
from app.services.tombstones import record_tombstones

HEAD_BYTES = 64 * 1024  # of a file that is in memory in pieces: the headers of most images are shorter
EXAMINED_AT_ONCE = 16  # some milliseconds
INLINE_PARSE_BYTES = 1024 * 1024  # larger files may have headers that take long to read: away from the event loop


@dataclass(frozen=True, slots=True)
class Received:
    """A whole part that nobody has looked at yet.

    study  what its request is confined to, None for any
    done   set when it, and all of its batch, has its result
    after  that of the batch before it in its request: of two parts with one SOP Instance UID the later one is the later instance
    """

    writer: BlobWriter
    remarks: Remarks
    study: StudyRef | None = None
    done: asyncio.Event | None = None
    after: asyncio.Event | None = None


@dataclass(slots=True)
class _Candidate:
    """An accepted instance whose bytes are still in its writer.

    place     in the group
    digest     "" until it is known: of a new instance, when its bytes are written
    blob_key   "" until it is durable
    lost_blob  key of the blob that should hold its bytes, and does not
    """

    place: int
    ref: InstanceRef
    sop_class_uid: str
    parsed: ParsedInstance
    writer: BlobWriter
    remarks: Remarks
    digest: str = ""
    blob_key: str = ""
    lost_blob: str = ""


async def store_group(archive: Archive, group: Sequence[Received]) -> list[StoreResult]:
    """A result for each, in their order; every writer has ended on return. What is wrong with one is told of that one alone."""
    try:
        return await _StoreGroup(archive, group).store()
    finally:
        for received in group:
            if received.done is not None:
                received.done.set()


class _StoreGroup:
    def __init__(self, archive: Archive, group: Sequence[Received]) -> None:
        self._archive = archive
        self._group = group
        self._results: list[StoreResult | None] = [None] * len(group)

    async def store(self) -> list[StoreResult]:
        candidates = await self._examine_all()
        try:
            fresh = await self._settle_known(candidates)
            await self._keep_all(fresh)
        except Unavailable as error:
            self._fail([one for one in candidates if self._results[one.place] is None], error)
        except Exception as error:  # noqa: BLE001 - reported per instance, and logged whole
            log.exception("store.group_failed", instances=len(candidates))
            self._fail([one for one in candidates if self._results[one.place] is None], error)
        finally:
            for one in candidates:
                if not one.blob_key:
                    await one.writer.cancel()
        # None is left without one; were it otherwise, the results of others must not take its place.
        return [result or _failed("", "", RuntimeError("no result")) for result in self._results]

    async def _examine_all(self) -> list[_Candidate]:
        candidates = []
        for place, received in enumerate(self._group):
            candidate = await self._examine(place, received)
            if candidate is None:
                await received.writer.cancel()
            else:
                candidates.append(candidate)
            if (place + 1) % EXAMINED_AT_ONCE == 0:
                await asyncio.sleep(0)  # others have their turn
        return candidates

    async def _examine(self, place: int, received: Received) -> _Candidate | None:
        """None where it is refused, with its result."""
        writer, remarks = received.writer, received.remarks
        sop_class_uid = sop_instance_uid = ""
        try:
            try:
                parsed = await _parse(writer, self._archive)
            except DicomError:
                meta = read_file_meta(await writer.contents())
                sop_class_uid, sop_instance_uid = meta.media_storage_sop_class_uid, meta.media_storage_sop_instance_uid
                raise
            sop_class_uid, sop_instance_uid = parsed.text("00080016"), parsed.text("00080018")
            ref = accept(parsed, received.study)
            if remarks.warning is None:
                remarks = Remarks(warning_of(parsed))
        except DicomError as error:
            refusal = refusal_of(error)
            self._results[place] = RefusedInstance(sop_class_uid, sop_instance_uid, refusal.status, str(refusal))
            return None
        except Exception as error:  # noqa: BLE001 - of this one alone, and logged
            if not isinstance(error, Unavailable):
                log.exception("store.examine_failed", sop_instance_uid=sop_instance_uid)
            self._results[place] = _failed(sop_class_uid, sop_instance_uid, error)
            return None
        finally:
            writer.forget_contents()
        return _Candidate(place, ref, sop_class_uid, parsed, writer, remarks)

    async def _settle_known(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Those whose bytes are not in the archive; the others get their result without touching the blob store.

        What is stored may have been replaced by the time that an instance has its turn: by one of its group, or of a batch before.
        """
        refs = [one.ref for one in candidates]
        stored = await find_blobs(self._archive.db, refs)
        if stored and self._batches_before():
            await self._await_batches_before()
            stored = await find_blobs(self._archive.db, refs)
        repeated = set()
        for one in candidates:
            if known := stored.get(one.ref):
                one.digest = await one.writer.digest(like=known.digest)
                if one.digest == known.digest:
                    repeated.add(known)
        lost = await self._lost_blobs(repeated)
        fresh: list[_Candidate] = []
        replaced: set[InstanceRef] = set()
        for one in candidates:
            known = stored.get(one.ref)
            if known is None or one.ref in replaced or not self._is_settled(one, known, lost):
                fresh.append(one)
                replaced.add(one.ref)
        return fresh

    def _is_settled(self, one: _Candidate, known: Blob, lost: Set[str]) -> bool:
        """Whether it has its result, or is to be stored in place of what is known."""
        if one.digest != known.digest:
            if self._archive.duplicates is not DuplicatePolicy.KEEP:
                return False
            self._results[one.place] = _duplicate(one)
            return True
        if known.blob_key in lost:
            one.lost_blob = known.blob_key
            return False
        self._results[one.place] = StoredInstance(one.ref, one.sop_class_uid, changed=False, remarks=one.remarks)
        return True

    async def _lost_blobs(self, blobs: Set[Blob]) -> set[str]:
        """Keys of those that are not what is sent again now: whoever sends it may have no other copy soon."""
        ordered = list(blobs)
        problems = await asyncio.gather(*map(self._problem_of, ordered))
        lost = {blob.blob_key: problem for blob, problem in zip(ordered, problems, strict=True) if problem}
        for key, problem in lost.items():
            log.error("store.lost_blob_replaced", key=key, problem=problem)
        return set(lost)

    async def _problem_of(self, blob: Blob) -> str:
        """ "" where it is whole."""
        blobs = self._archive.blobs
        if not blobs.keeps_checksums:
            return await damage_of_blob(blobs, blob.blob_key, blob.size, blob.digest)
        with suppress(BlobNotFound):
            if (await blobs.stat(blob.blob_key)).size == blob.size:
                return ""
        return "the blob is missing, or has another size"

    async def _keep_all(self, candidates: list[_Candidate]) -> None:
        """A large one may take hours to reach an object store: what is durable before it has its rows before it, too. Blobs that
        stay without rows for long would be taken by a sweep for what nobody refers to.
        """
        large = dict.fromkeys(one.ref for one in candidates if one.writer.size > LARGE_BYTES)
        if not large:
            return await self._keep(candidates)
        ways = [self._keep([one for one in candidates if one.ref not in large])]
        ways += [self._keep_in_turn([one for one in candidates if one.ref == ref]) for ref in large]
        for outcome in await asyncio.gather(*ways, return_exceptions=True):
            if outcome is not None:
                raise outcome
        return None

    async def _keep_in_turn(self, versions: list[_Candidate]) -> None:
        """Of one instance: the last one is the newest."""
        for one in versions:
            await self._keep([one])

    async def _keep(self, candidates: list[_Candidate]) -> None:
        durable = await self._commit_blobs(candidates)
        if durable:
            await self._insert_rows(durable)

    async def _commit_blobs(self, candidates: list[_Candidate]) -> list[_Candidate]:
        async def commit(candidate: _Candidate) -> _Candidate | None:
            ref, keys = candidate.ref, []

            def key_of(digest: str) -> str:
                candidate.digest = digest
                keys.append(instance_key(ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid, digest))
                return keys[0]

            try:
                await candidate.writer.commit(key_of)
            except Exception as error:  # noqa: BLE001 - of this one alone, and logged
                self._fail_alone("store.commit_failed", candidate, error)
                return None
            candidate.blob_key = keys[0]
            return candidate

        committed = await asyncio.gather(*(commit(candidate) for candidate in candidates))
        return [candidate for candidate in committed if candidate is not None]

    async def _insert_rows(self, candidates: list[_Candidate]) -> None:
        """A failure here leaves the blobs: whether the rows were committed is not known, so only a sweep may judge."""
        archive = self._archive
        await self._await_batches_before()
        manner = _RowManner(archive.db, archive.duplicates, archive.retention)
        records = [
            InstanceRecord(c.ref, c.sop_class_uid, c.parsed, c.blob_key, c.writer.size, c.digest, c.lost_blob)
            for c in candidates
        ]
        # Each for itself: the queue puts them into one transaction, and tries them apart where that fails.
        waiting = [archive.rows.put(_write_rows, manner, [record]) for record in records]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        results = []
        for one, answer in zip(candidates, answers, strict=True):
            if isinstance(answer, BaseException):
                if not isinstance(answer, Exception):
                    raise answer
                self._fail_alone("store.insert_failed", one, answer)
                continue
            (result,) = answer
            results.append(result)
            if result.outcome is Outcome.REFUSED:
                self._results[one.place] = _duplicate(one)
            else:
                self._results[one.place] = StoredInstance(
                    one.ref,
                    one.sop_class_uid,
                    changed=result.outcome is not Outcome.UNCHANGED,
                    remarks=one.remarks,
                )
        await self._tidy(results)

    def _batches_before(self) -> list[asyncio.Event]:
        """Those of other groups without results so far; they began before this one and wait for none that began later."""
        own = {received.done for received in self._group}
        before = {received.after for received in self._group} - own
        return [batch for batch in before if batch is not None and not batch.is_set()]

    async def _await_batches_before(self) -> None:
        for batch in self._batches_before():
            await batch.wait()

    def _fail_alone(self, event: str, candidate: _Candidate, error: Exception) -> None:
        if not isinstance(error, Unavailable):
            log.error(event, sop_instance_uid=candidate.ref.sop_instance_uid, exc_info=error)
        self._fail([candidate], error)

    async def _tidy(self, results: Sequence[IngestResult]) -> None:
        """What is stored is stored: trouble here is logged, and a sweep does it later."""
        try:
            for result in results:
                if result.surplus_blob_key:
                    await self._archive.blobs.delete(result.surplus_blob_key)
            replaced = [result.replaced_blob_key for result in results if result.replaced_blob_key]
            if replaced:
                await record_tombstones(self._archive.blobs, replaced, "replaced")
        except Unavailable as error:
            log.warning("store.tidy_failed", error=str(error))

    def _fail(self, candidates: Sequence[_Candidate], error: Exception) -> None:
        for one in candidates:
            self._results[one.place] = _failed(one.sop_class_uid, one.ref.sop_instance_uid, error)


@dataclass(frozen=True, slots=True)
class _RowManner:
    """Only what is to be written in the same manner shares a transaction."""

    db: Database
    duplicates: DuplicatePolicy
    retention: timedelta


async def _write_rows(manner: _RowManner, records: Sequence[InstanceRecord]) -> list[IngestResult]:
    return await ingest(manner.db, records, duplicates=manner.duplicates, retention=manner.retention)


def _failed(sop_class_uid: str, sop_instance_uid: str, error: Exception) -> RefusedInstance:
    full = isinstance(error, OutOfSpace)
    return RefusedInstance(
        sop_class_uid,
        sop_instance_uid,
        store_status.OUT_OF_RESOURCES if full else store_status.PROCESSING_FAILURE,
        str(error) if isinstance(error, Unavailable) else "internal error",
        transient=isinstance(error, Unavailable) and not full,
        cause=error.__cause__,
    )


def _duplicate(candidate: _Candidate) -> RefusedInstance:
    return RefusedInstance(
        candidate.sop_class_uid,
        candidate.ref.sop_instance_uid,
        store_status.DUPLICATE_SOP_INSTANCE,
        "an instance of this SOP Instance UID with other content is stored, and duplicates are not replaced",
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
    syntax = TRANSFER_SYNTAXES.get(read_file_meta(contents).transfer_syntax_uid)
    # Half a megabyte may inflate to half a gigabyte: one at a time.
    async with archive.inflating if syntax is not None and syntax.deflated else nullcontext():
        return await asyncio.to_thread(parse_instance, contents, limits)
