"""Make stored instances known: rows for a batch of records whose blobs are durable already, in one short transaction."""

import asyncio
import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, select

from app.db.any_of import any_of_parameter, listed
from app.db.engine import Database, Dialect, transact
from app.db.ingest_rows import prepare
from app.db.ingest_transaction import Batch, IngestResult, StudyChanges, write_batch
from app.db.ingest_verdicts import Blob, DuplicatePolicy, Outcome
from app.db.point_query import few_rows
from app.db.tables import instances, series, studies
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef

# Records, and bytes of DICOM JSON of one: preparing so few takes no longer than changing to a thread and back.
_INLINE, _INLINE_BYTES = 2, 64 * 1024

__all__ = ["DuplicatePolicy", "IngestResult", "Outcome", "find_blobs", "ingest"]


async def ingest(
    db: Database,
    records: Sequence[InstanceRecord],
    *,
    duplicates: DuplicatePolicy,
    retention: timedelta,
    now: datetime | None = None,
    restoring: bool = False,
) -> list[IngestResult]:
    """Insert or replace rows; committed on return, all or nothing. One result per record, in their order.

    The same instance twice in a batch: the first counts as stored, the second is judged against it. `restoring`: the
    blobs are those of tombstones, which go in the same transaction; no surplus is reported then.
    Raises DatabaseUnavailable, OutOfSpace; when restoring also Gone, if a tombstone has expired.
    """
    if not records:
        return []
    if len(records) > _INLINE or any(len(record.parsed.json) > _INLINE_BYTES for record in records):
        prepared = await asyncio.to_thread(prepare, records, db.searchable)
    else:
        prepared = prepare(records, db.searchable)
    stored_at = now or datetime.now(UTC)
    batch = Batch(db, prepared, duplicates, stored_at, stored_at + retention, restoring)
    if db.dialect == "postgresql":
        try:
            return await transact(db, lambda connection: write_batch(connection, batch, exclusive=False))
        except StudyChanges:
            pass  # rare: instances of one study mostly agree about it
    return await transact(db, lambda connection: write_batch(connection, batch, exclusive=True))


async def find_blobs(db: Database, refs: Sequence[InstanceRef]) -> dict[InstanceRef, Blob]:
    """The live blobs of those instances that are stored. Raises DatabaseUnavailable."""
    wanted = set(refs)
    if not wanted:
        return {}
    rows = await few_rows(
        db,
        _blobs(db.dialect),
        {
            "studies": listed(db.dialect, sorted({ref.study_instance_uid for ref in wanted})),
            "series": listed(db.dialect, sorted({ref.series_instance_uid for ref in wanted})),
            "instances": listed(db.dialect, sorted({ref.sop_instance_uid for ref in wanted})),
        },
    )
    found = [Blob(InstanceRef(*row[:3]), *row[3:]) for row in rows]
    return {blob.ref: blob for blob in found if blob.ref in wanted}


@functools.cache
def _blobs(dialect: Dialect) -> Select[tuple[str, str, str, str, int, str]]:
    study, one, instance = studies.c.study_instance_uid, series.c.series_instance_uid, instances.c.sop_instance_uid
    return (
        select(study, one, instance, instances.c.blob_key, instances.c.size, instances.c.digest)
        .select_from(studies)
        .join(series, series.c.study_id == studies.c.id)
        .join(instances, instances.c.series_id == series.c.id)
        .where(any_of_parameter(dialect, study, "studies"))
        .where(any_of_parameter(dialect, one, "series"))
        .where(any_of_parameter(dialect, instance, "instances"))
    )
