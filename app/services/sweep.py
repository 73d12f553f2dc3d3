"""Sweep: remove what nothing refers to. The only place where a blob that once was stored is ever deleted.

A blob goes when no row and no tombstone names it and it is older than the grace time (an upload that is under way has its blob
before its row), or when its tombstone has expired. Keys are never used twice (app.blobs.keys), so a key that was unreferenced
and old once cannot come to be referenced between the look and the deletion.

All this trusts the database. One that knows less than was stored (a reindex that was broken off, a new database beside an old
blob store, a back-up of last week) would have acknowledged instances taken for strays: nothing is deleted when it looks like that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.blobs.base import BlobStat
from app.blobs.keys import INSTANCES, TOMBSTONES, blob_key_of_tombstone
from app.db.inventory import names_blobs, referenced_keys, tombstoned_keys
from app.db.tombstones import expired_tombstones, remove_tombstones
from app.errors import ArchiveIncomplete
from app.services.archive import Archive
from app.services.tombstones import erase_tombstones, record_tombstones

PAGE = 500
# Longer than blobs that have just been made durable wait for their rows: until a batch of small instances before theirs is
# stored, and for the time-outs of the database.
DEFAULT_GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Counts and bytes; `deleted` is False for a dry run, which only says what would go.

    refusal  why nothing would be deleted; "" if it would
    """

    deleted: bool
    blobs: int
    strays: int
    stray_bytes: int
    expired: int
    expired_bytes: int
    tombstones_repaired: int
    keys: tuple[str, ...]
    refusal: str = ""


@dataclass(slots=True)
class _Survey:
    """How many blobs there are, and those that nothing refers to."""

    blobs: int = 0
    size: int = 0
    strays: list[str] = field(default_factory=list)


async def sweep(
    archive: Archive,
    *,
    delete: bool = False,
    grace: timedelta = DEFAULT_GRACE,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> SweepReport:
    """Find, and with `delete` remove, stray blobs and expired tombstones.

    force  however many the strays are

    Raises Unavailable; ArchiveIncomplete, with nothing deleted, while a reindex has not ended, and with `delete` when there are
    blobs and no rows at all, or more strays than interrupted uploads leave (`usual_strays`).
    """
    now = datetime.now(UTC)
    survey = await _survey(archive, now - grace, on_progress)
    refusal = await _refusal(archive, survey, force)
    if delete and refusal:
        raise ArchiveIncomplete(refusal)
    keys: list[str] = []
    expired, expired_bytes = await _sweep_expired(archive, now, delete, keys)
    if delete:
        await _remove(archive, survey.strays)
        # Before anything is written: what lies in the spool may be all the room that is missing.
        await archive.blobs.remove_stale_spool(grace)
    repaired = await _repair_sidecars(archive, delete)
    strays = len(survey.strays)
    keys += survey.strays
    return SweepReport(
        delete, survey.blobs, strays, survey.size, expired, expired_bytes, repaired, tuple(keys), refusal
    )


def usual_strays(blobs: int) -> int:
    """How many of so many blobs may be strays without anybody asking why.

    A process that is killed leaves at most the 128 blobs that its uploads have between blob and row at a time
    (app.services.archive.ARRIVALS), mostly a handful. So 1 in 100; in archives of less than 10,000 up to 100, but no more than
    1 in 10; and 10 in the smallest, where that much is soon looked at.
    """
    return max(blobs // 100, min(blobs // 10, 100), 10)


async def _survey(archive: Archive, before: datetime, on_progress: Callable[[int], None]) -> _Survey:
    """Strays are older than `before`."""
    survey = _Survey()
    page: list[BlobStat] = []

    async def judge() -> None:
        named = await referenced_keys(archive.db, [stat.key for stat in page])
        for stat in page:
            if stat.key not in named and stat.modified <= before:
                survey.size += stat.size
                survey.strays.append(stat.key)
        page.clear()
        on_progress(survey.blobs)

    async for stat in archive.blobs.list(INSTANCES):
        survey.blobs += 1
        page.append(stat)
        if len(page) >= PAGE:
            await judge()
    await judge()
    return survey


async def _refusal(archive: Archive, survey: _Survey, force: bool) -> str:
    """Why the database does not look like that of these blobs; "" if it does."""
    strays = len(survey.strays)
    if strays and not await names_blobs(archive.db):
        return (
            f"the database has no rows at all, and the blob store holds {survey.blobs:,} blobs of instances; "
            "name the right database, or run `gantry reindex`"
        )
    if strays > usual_strays(survey.blobs) and not force:
        return (
            f"the database does not know {strays:,} of {survey.blobs:,} blobs, more than interrupted uploads leave; run "
            "`gantry reindex`, above all if the database comes from a back-up, or sweep with --force if they may go"
        )
    return ""


async def _remove(archive: Archive, strays: Sequence[str]) -> None:
    for start in range(0, len(strays), PAGE):
        page = strays[start : start + PAGE]
        # Asked again: a reindex that has begun meanwhile ends it here, before anything is taken that it has not got to yet.
        named = await referenced_keys(archive.db, page)
        for key in page:
            if key not in named:
                await archive.blobs.delete(key)


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
    stale = sorted(present - wanted)
    if delete and stale:
        await referenced_keys(archive.db, [])  # while a reindex fills the tables, they do not tell what is live
        await erase_tombstones(archive.blobs, stale)
    return repaired + len(stale)
