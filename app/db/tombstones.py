"""What was deleted or replaced, and the blobs that are kept of it for a while.

Restoring: `restorable` names the blobs, the service reads them again, and `app.db.ingest.ingest(restoring=True)` makes them
live and removes their tombstones in one transaction. A sweep only takes what has expired; what is about to is not offered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, exists, select

from app.db.any_of import any_of
from app.db.engine import Database, reading, transact
from app.db.ingest_statements import insert_new
from app.db.tables import instances, series, studies, tombstones
from app.dicom.references import InstanceRef, Reference, SeriesRef

# Reading a blob back takes a while: one that expires sooner is left to the sweep.
OFFER_MARGIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One blob that is not live any more. reason: "deleted" or "replaced"; size in bytes; times in UTC."""

    ref: InstanceRef
    reason: str
    blob_key: str
    size: int
    digest: str
    created_at: datetime
    expires_at: datetime


_TOMBSTONE = (
    tombstones.c.study_instance_uid,
    tombstones.c.series_instance_uid,
    tombstones.c.sop_instance_uid,
    tombstones.c.reason,
    tombstones.c.blob_key,
    tombstones.c.size,
    tombstones.c.digest,
    tombstones.c.created_at,
    tombstones.c.expires_at,
)


def tombstones_below(statement: Select[Any], ref: Reference) -> Select[Any]:
    """Only those of what is or was below `ref`."""
    statement = statement.where(tombstones.c.study_instance_uid == ref.study_instance_uid)
    if isinstance(ref, SeriesRef | InstanceRef):
        statement = statement.where(tombstones.c.series_instance_uid == ref.series_instance_uid)
    if isinstance(ref, InstanceRef):
        statement = statement.where(tombstones.c.sop_instance_uid == ref.sop_instance_uid)
    return statement


async def restorable(db: Database, ref: Reference, *, now: datetime | None = None) -> list[Tombstone]:
    """What restoring `ref` brings back: of every instance below it that is not stored now, the newest deleted content.

    Of an instance that is stored, named by itself, the newest replaced content. Sorted by reference; empty when there is
    nothing. Raises DatabaseUnavailable.
    """
    live = (
        exists()
        .where(
            and_(
                studies.c.study_instance_uid == tombstones.c.study_instance_uid,
                series.c.study_id == studies.c.id,
                series.c.series_instance_uid == tombstones.c.series_instance_uid,
                instances.c.series_id == series.c.id,
                instances.c.sop_instance_uid == tombstones.c.sop_instance_uid,
            )
        )
        .label("live")
    )
    statement = (
        tombstones_below(select(*_TOMBSTONE, live), ref)
        .where(tombstones.c.expires_at > (now or datetime.now(UTC)) + OFFER_MARGIN)
        .order_by(tombstones.c.created_at, tombstones.c.id)
    )
    async with reading(db) as connection:
        rows = (await connection.execute(statement)).all()
    newest: dict[InstanceRef, Tombstone] = {}
    for row in rows:
        tombstone = _tombstone(row)
        wanted = "replaced" if row.live else "deleted"
        if tombstone.reason == wanted and (not row.live or isinstance(ref, InstanceRef)):
            newest[tombstone.ref] = tombstone
    return [newest[one] for one in sorted(newest)]


async def expired_tombstones(db: Database, now: datetime, limit: int, offset: int = 0) -> list[Tombstone]:
    """Those whose retention time is over, longest ago first. Raises DatabaseUnavailable."""
    statement = (
        select(*_TOMBSTONE)
        .where(tombstones.c.expires_at <= now)
        .order_by(tombstones.c.expires_at, tombstones.c.id)
        .limit(limit)
        .offset(offset)
    )
    async with reading(db) as connection:
        return [_tombstone(row) for row in (await connection.execute(statement)).all()]


async def add_tombstones(db: Database, added: Sequence[Tombstone]) -> None:
    """Remember blobs; those remembered already stay as they are. Raises DatabaseUnavailable."""
    rows = [
        {
            "study_instance_uid": one.ref.study_instance_uid,
            "series_instance_uid": one.ref.series_instance_uid,
            "sop_instance_uid": one.ref.sop_instance_uid,
            "reason": one.reason,
            "blob_key": one.blob_key,
            "size": one.size,
            "digest": one.digest,
            "created_at": one.created_at,
            "expires_at": one.expires_at,
        }
        for one in sorted(added, key=lambda one: one.blob_key)
    ]

    def work(connection: Connection) -> None:
        connection.execute(insert_new(db.dialect, tombstones), rows)

    if rows:
        await transact(db, work)


async def remove_tombstones(db: Database, blob_keys: Sequence[str]) -> list[str]:
    """Forget blobs; the keys that were remembered. Raises DatabaseUnavailable."""

    def work(connection: Connection) -> list[str]:
        condition = any_of(db.dialect, tombstones.c.blob_key, blob_keys)
        result = connection.execute(delete(tombstones).where(condition).returning(tombstones.c.blob_key))
        return sorted(result.scalars())

    return await transact(db, work)


def _tombstone(row: Any) -> Tombstone:
    study, one, instance, *rest = row[: len(_TOMBSTONE)]
    return Tombstone(InstanceRef(study, one, instance), *rest)
