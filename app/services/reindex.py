"""Reindex: the database from nothing but the blob store.

Of several blobs of one instance the newest without a tombstone sidecar is live; the older ones, and those with a sidecar, become
tombstones. A blob whose upload was never acknowledged (a crash between blob and row) cannot be told from a stored one and is
taken in: nothing acknowledged is lost, something unacknowledged may be gained.

From the moment the tables are emptied until they are full again the database says so: no sweep takes for a stray what has no row
yet. Failures that pass are waited for; after one that does not, the mark stands, and another reindex begins anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import TypeVar

import orjson

from app.blobs.base import BlobStat, BlobStore
from app.blobs.digests import BlobHash
from app.blobs.keys import (
    INSTANCES,
    TOMBSTONES,
    blob_key_of_tombstone,
    digest_in_key,
    parse_instance_key,
    tombstone_key,
)
from app.db.ingest import DuplicatePolicy, ingest
from app.db.inventory import begin_reindexing, end_reindexing
from app.db.tombstones import Tombstone, add_tombstones
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef
from app.errors import BlobNotFound, DicomError, Unavailable
from app.observability import log
from app.services.archive import Archive
from app.services.deletion import read_record

BATCH = 100
# Seconds before what was not available is tried again: a restart of the database or of an object store passes unseen.
PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReindexReport:
    instances: int
    tombstones: int
    problems: tuple[tuple[str, str], ...]  # (blob key, what is wrong with it)


@dataclass(frozen=True, slots=True)
class _Survey:
    """live      oldest first, so that newer study and series attributes win as they did when stored
    replaced  what has no sidecar and is older than what is live, with the time at which a newer one came
    marked    what has a sidecar
    """

    live: list[BlobStat]
    replaced: list[tuple[BlobStat, datetime]]
    marked: list[BlobStat]


async def reindex(
    archive: Archive, on_progress: Callable[[int], None] = lambda _: None, *, pauses: Sequence[float] = PAUSES
) -> ReindexReport:
    """Clear the tables and fill them again. No other process may use the archive meanwhile.

    What is not available is tried again after each of `pauses` (seconds). Raises Unavailable; no sweep then deletes anything
    until this has been repeated.
    """
    survey = await _patiently(pauses, partial(_survey, archive))
    await _patiently(pauses, partial(begin_reindexing, archive.db))
    problems: list[tuple[str, str]] = []
    instances = await _fill(archive, survey.live, problems, on_progress, pauses)
    tombstones: list[Tombstone] = []
    for stat, at in survey.replaced:
        record = await _read(archive, stat, problems, pauses)
        if record is not None:
            tombstones.append(_tombstone(record, "replaced", at, datetime.now(UTC) + archive.retention))
    kept = dict(problems)  # what was deleted on purpose and cannot be read can never be restored: a sweep may take it
    for stat in survey.marked:
        record = await _read(archive, stat, problems, pauses)
        if record is not None:
            reason, at = await _patiently(pauses, partial(_read_sidecar, archive, stat.key))
            tombstones.append(_tombstone(record, reason, at, at + archive.retention))
    await _patiently(pauses, partial(add_tombstones, archive.db, tombstones))
    await _patiently(pauses, partial(end_reindexing, archive.db, kept))
    return ReindexReport(instances, len(tombstones), tuple(problems))


async def _patiently(pauses: Sequence[float], work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work`, which is begun again after each pause while something is not available. Raises what it raises."""
    for pause in pauses:
        try:
            return await work()
        except Unavailable as error:
            log.warning("reindex.waiting", error=str(error), seconds=pause)
            await asyncio.sleep(pause)
    return await work()


async def _survey(archive: Archive) -> _Survey:
    sidecars = {blob_key_of_tombstone(stat.key) async for stat in archive.blobs.list(TOMBSTONES)}
    unmarked: dict[tuple[str, str, str], list[BlobStat]] = {}
    marked: list[BlobStat] = []
    async for stat in archive.blobs.list(INSTANCES):
        parts = parse_instance_key(stat.key)
        if parts is None:
            continue
        if stat.key in sidecars:
            marked.append(stat)
        else:
            unmarked.setdefault(parts, []).append(stat)
    live: list[BlobStat] = []
    replaced: list[tuple[BlobStat, datetime]] = []
    for stats in unmarked.values():
        stats.sort(key=_age)
        live.append(stats[-1])
        replaced += [(old, new.modified) for old, new in pairwise(stats)]
    return _Survey(sorted(live, key=_age), replaced, marked)


def _age(stat: BlobStat) -> tuple[datetime, str]:
    return stat.modified, stat.key


async def _fill(
    archive: Archive,
    live: Sequence[BlobStat],
    problems: list[tuple[str, str]],
    on_progress: Callable[[int], None],
    pauses: Sequence[float],
) -> int:
    """Rows of all instances, in their order; how many."""
    done = 0
    for start in range(0, len(live), BATCH):
        found = [await _read(archive, stat, problems, pauses) for stat in live[start : start + BATCH]]
        records = [record for record in found if record is not None]
        rows = partial(ingest, archive.db, records, duplicates=DuplicatePolicy.REPLACE, retention=archive.retention)
        await _patiently(pauses, rows)  # begun again, it leaves rows that are there already as they are
        done += len(records)
        on_progress(done)
    return done


async def _read(
    archive: Archive, stat: BlobStat, problems: list[tuple[str, str]], pauses: Sequence[float]
) -> InstanceRecord | None:
    """None, and another problem, for what is no instance. What is damaged is a problem, too, and stays so for `verify`: as
    before, it is given out, and its digest is not that of its bytes.
    """
    try:
        record = await _patiently(pauses, partial(read_record, archive.blobs, stat.key, archive.limits.parse))
        if await _patiently(pauses, partial(_is_as_stored, archive.blobs, record)):
            return record
    except (DicomError, BlobNotFound) as error:
        problems.append((stat.key, str(error)))
        return None
    problems.append((stat.key, "its bytes are not those that were stored"))
    return replace(record, digest=digest_in_key(stat.key))


async def _is_as_stored(blobs: BlobStore, record: InstanceRecord) -> bool:
    """As far as the digits in its key tell."""
    digits = digest_in_key(record.blob_key)
    if record.digest.startswith(digits):
        return True
    older = BlobHash(like=digits)
    async for chunk in blobs.open(record.blob_key):
        older.update(chunk)
    return older.digest.startswith(digits)


def _tombstone(record: InstanceRecord, reason: str, at: datetime, until: datetime) -> Tombstone:
    ref = InstanceRef(*(parse_instance_key(record.blob_key) or ("", "", "")))
    return Tombstone(ref, reason, record.blob_key, record.size, record.digest, at, until)


async def _read_sidecar(archive: Archive, key: str) -> tuple[str, datetime]:
    """Why and when the instance at `key` was deleted; one that cannot be read counts as deleted now."""
    try:
        chunks = [chunk async for chunk in archive.blobs.open(tombstone_key(key))]
        value = orjson.loads(b"".join(chunks))
        return str(value["reason"]), datetime.fromisoformat(value["at"]).astimezone(UTC)
    except (BlobNotFound, KeyError, TypeError, ValueError, OverflowError):
        return "deleted", datetime.now(UTC)
