"""Sweep: remove what nothing refers to. The only place where a blob that once was stored is ever deleted.

A blob goes when no row and no tombstone names it and it is older than the grace time (an upload that is under way has its blob
before its row), or when its tombstone has expired. Keys are never used twice (app.blobs.keys), so a key that was unreferenced
and old once cannot come to be referenced between the look and the deletion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.blobs.base import BlobStat
from app.blobs.keys import INSTANCES, TOMBSTONES, blob_key_of_tombstone
from app.db.inventory import referenced_keys, tombstoned_keys
from app.db.tombstones import expired_tombstones, remove_tombstones
from app.services.archive import Archive
from app.services.tombstones import erase_tombstones, record_tombstones

PAGE = 500
# Longer than any batch of an upload waits for its rows (app.services.store.BATCH_SECONDS) plus any database time-out.
DEFAULT_GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Counts and bytes; `deleted` is False for a dry run, which only says what would go."""

    deleted: bool
    blobs: int
    strays: int
    stray_bytes: int
    expired: int
    expired_bytes: int
    tombstones_repaired: int
    keys: tuple[str, ...]


async def sweep(
    archive: Archive,
    *,
    delete: bool = False,
    grace: timedelta = DEFAULT_GRACE,
    on_progress: Callable[[int], None] = lambda _: None,
) -> SweepReport:
    """Find, and with `delete` remove, stray blobs and expired tombstones. Raises Unavailable."""
    now = datetime.now(UTC)
    keys: list[str] = []
    expired, expired_bytes = await _sweep_expired(archive, now, delete, keys)
    blobs = strays = stray_bytes = 0
    page: list[BlobStat] = []

    async def judge() -> None:
        nonlocal strays, stray_bytes
        named = await referenced_keys(archive.db, [stat.key for stat in page])
        for stat in page:
            if stat.key in named or now - stat.modified < grace:
                continue
            strays += 1
            stray_bytes += stat.size
            keys.append(stat.key)
            if delete:
                await archive.blobs.delete(stat.key)
        page.clear()
        on_progress(blobs)

    async for stat in archive.blobs.list(INSTANCES):
        blobs += 1
        page.append(stat)
        if len(page) >= PAGE:
            await judge()
    await judge()
    repaired = await _repair_sidecars(archive, delete)
    if delete:
        await archive.blobs.remove_stale_spool(grace)
    return SweepReport(delete, blobs, strays, stray_bytes, expired, expired_bytes, repaired, tuple(keys))


async def _sweep_expired(archive: Archive, now: datetime, delete: bool, keys: list[str]) -> tuple[int, int]:
    """The blob first, then its sidecar and row: an interruption leaves a tombstone that the next sweep takes up again."""
    count = size = 0
    while True:
        page = await expired_tombstones(archive.db, now, limit=PAGE, offset=0 if delete else count)
        if not page:
            return count, size
        for tombstone in page:
            count += 1
            size += tombstone.size
            keys.append(tombstone.blob_key)
            if delete:
                await archive.blobs.delete(tombstone.blob_key)
        if delete:
            gone = [tombstone.blob_key for tombstone in page]
            await erase_tombstones(archive.blobs, gone)
            await remove_tombstones(archive.db, gone)


async def _repair_sidecars(archive: Archive, delete: bool) -> int:
    """Write the sidecars that a crash left out, and remove those of blobs that are live or gone."""
    present = set()
    async for stat in archive.blobs.list(TOMBSTONES):
        present.add(blob_key_of_tombstone(stat.key))
    repaired = 0
    wanted: set[str] = set()
    async for key, reason in tombstoned_keys(archive.db):
        wanted.add(key)
        if key not in present:
            repaired += 1
            if delete:
                await record_tombstones(archive.blobs, [key], reason)
    for key in present - wanted:
        repaired += 1
        if delete:
            await erase_tombstones(archive.blobs, [key])
    return repaired
