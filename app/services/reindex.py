"""Reindex: the database from nothing but the blob store.

Of several blobs of one instance the newest without a tombstone sidecar is live; those with one become tombstones again. A blob
whose upload was never acknowledged (a crash between blob and row) cannot be told from a stored one and is taken in: nothing
acknowledged is lost, something unacknowledged may be gained.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from app.blobs.base import BlobStat
from app.blobs.keys import INSTANCES, TOMBSTONES, blob_key_of_tombstone, parse_instance_key, tombstone_key
from app.db.ingest import DuplicatePolicy, ingest
from app.db.inventory import clear
from app.db.tombstones import Tombstone, add_tombstones
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef
from app.errors import BlobNotFound, DicomError
from app.services.archive import Archive
from app.services.deletion import read_record

BATCH = 100


@dataclass(frozen=True, slots=True)
class ReindexReport:
    instances: int
    tombstones: int
    problems: tuple[tuple[str, str], ...]  # (blob key, what is wrong with it)


async def reindex(archive: Archive, on_progress: Callable[[int], None] = lambda _: None) -> ReindexReport:
    """Clear the tables and fill them again. No other process may use the archive meanwhile. Raises Unavailable."""
    live, dead = await _survey(archive)
    await clear(archive.db)
    problems: list[tuple[str, str]] = []
    batch: list[InstanceRecord] = []
    done = 0

    async def flush() -> None:
        nonlocal done
        if batch:
            await ingest(archive.db, batch, duplicates=DuplicatePolicy.REPLACE, retention=archive.retention)
            done += len(batch)
            batch.clear()
            on_progress(done)

    for stat in live:
        try:
            batch.append(await read_record(archive.blobs, stat.key, archive.limits.parse))
        except (DicomError, BlobNotFound) as error:
            problems.append((stat.key, str(error)))
        if len(batch) >= BATCH:
            await flush()
    await flush()
    tombstones = [tombstone for stat in dead if (tombstone := await _tombstone(archive, stat, problems))]
    await add_tombstones(archive.db, tombstones)
    return ReindexReport(done, len(tombstones), tuple(problems))


async def _survey(archive: Archive) -> tuple[list[BlobStat], list[BlobStat]]:
    """Live blobs, oldest first, so that newer study and series attributes win as they did when stored; and dead ones."""
    marked = {blob_key_of_tombstone(stat.key) async for stat in archive.blobs.list(TOMBSTONES)}
    newest: dict[tuple[str, str, str], BlobStat] = {}
    dead: list[BlobStat] = []
    async for stat in archive.blobs.list(INSTANCES):
        parts = parse_instance_key(stat.key)
        if parts is None:
            continue
        if stat.key in marked:
            dead.append(stat)
            continue
        other = newest.get(parts)
        if other is None or (other.modified, other.key) < (stat.modified, stat.key):
            newest[parts] = stat
    return sorted(newest.values(), key=lambda stat: (stat.modified, stat.key)), dead


async def _tombstone(archive: Archive, stat: BlobStat, problems: list[tuple[str, str]]) -> Tombstone | None:
    try:
        record = await read_record(archive.blobs, stat.key, archive.limits.parse)
        sidecar = await _read_sidecar(archive, stat.key)
    except (DicomError, BlobNotFound) as error:
        problems.append((stat.key, str(error)))
        return None
    reason, at = sidecar
    return Tombstone(
        InstanceRef(*(parse_instance_key(stat.key) or ("", "", ""))),
        reason,
        stat.key,
        record.size,
        record.digest,
        at,
        at + archive.retention,
    )


async def _read_sidecar(archive: Archive, key: str) -> tuple[str, datetime]:
    chunks = [chunk async for chunk in archive.blobs.open(tombstone_key(key))]
    try:
        value = orjson.loads(b"".join(chunks))
        return str(value["reason"]), datetime.fromisoformat(value["at"]).astimezone(UTC)
    except (orjson.JSONDecodeError, KeyError, ValueError):
        return "deleted", datetime.now(UTC)
