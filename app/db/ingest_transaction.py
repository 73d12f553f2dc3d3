"""One attempt to write a batch of records, from locking its studies to the results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete

from app.db import ingest_statements as statements
from app.db.any_of import any_of
from app.db.engine import Database
from app.db.ingest_rows import PreparedRecord, Values, encode_attributes, merge_attributes, values_at
from app.db.ingest_statements import SeriesRow, StudyRow
from app.db.ingest_verdicts import DuplicatePolicy, Outcome, StoredInstance, Verdicts, judge
from app.db.prepared_json import attributes_from_row
from app.db.tables import tombstones
from app.dicom.attributes import series_columns
from app.dicom.matching import Level
from app.dicom.references import InstanceRef, SeriesRef
from app.errors import Gone

# A restored blob must outlive the transaction that makes it live again: sweeps remove those whose time is over.
RESTORE_MARGIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """study_created, series_created: True for the first record of the batch in a study or series that it brought into being.

    surplus_blob_key    the record's own blob where it is not used: the caller deletes it
    replaced_blob_key   the blob that was live before; a tombstone keeps it for the retention time
    """

    ref: InstanceRef
    outcome: Outcome
    study_created: bool
    series_created: bool
    surplus_blob_key: str | None
    replaced_blob_key: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What `ingest` was asked to write. expires: of the tombstones of replaced blobs."""

    db: Database
    records: Sequence[PreparedRecord]
    duplicates: DuplicatePolicy
    now: datetime
    expires: datetime
    restoring: bool


class StudyChanges(Exception):
    """The batch changes what a study says of itself: its row must be locked against all other writers."""


@dataclass(frozen=True, slots=True)
class _Transaction:
    """The batch and the rows that it found or created."""

    connection: Connection
    batch: Batch
    exclusive: bool
    studies: Mapping[str, StudyRow]
    series: Mapping[SeriesRef, SeriesRow]
    stored: Mapping[InstanceRef, StoredInstance]
    verdicts: Verdicts


def write_batch(connection: Connection, batch: Batch, *, exclusive: bool) -> list[IngestResult]:
    """The work of one transaction. `exclusive`: study rows are locked for changing them; without it, a batch that would
    change one raises StudyChanges. Raises Gone when restoring from a tombstone that is no more."""
    by_study = _group(batch.records, lambda record: record.ref.study_instance_uid)
    studies = statements.lock_studies(
        connection,
        batch.db.dialect,
        {uid: merge_attributes({}, (record.study for record in records)) for uid, records in by_study.items()},
        batch.now,
        exclusive=exclusive,
    )
    if not exclusive:
        for uid, records in by_study.items():
            _refuse_change(studies[uid], records)
    series = _lock_series(connection, batch, studies)
    keys = {
        (series[record.ref.series].id, record.ref.sop_instance_uid): record.ref
        for record in batch.records
        if not series[record.ref.series].created
    }
    found = statements.stored_instances(connection, batch.db.dialect, keys)
    stored = {keys[key]: instance for key, instance in found.items() if key in keys}
    verdicts = judge(batch.records, stored, batch.duplicates, restoring=batch.restoring)
    if verdicts.written:
        _write(_Transaction(connection, batch, exclusive, studies, series, stored, verdicts))
    return _results(batch.records, verdicts, studies, series)


def _group(records: Iterable[PreparedRecord], key: Any) -> dict[Any, list[PreparedRecord]]:
    groups: dict[Any, list[PreparedRecord]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _refuse_change(row: StudyRow, records: Iterable[PreparedRecord]) -> None:
    if not row.created and encode_attributes(_merged_study(row, records)) != row.text:
        raise StudyChanges


def _merged_study(row: StudyRow, records: Iterable[PreparedRecord]) -> dict[str, Any]:
    return merge_attributes({} if row.created else attributes_from_row(row.text), (record.study for record in records))


def _lock_series(connection: Connection, batch: Batch, studies: Mapping[str, StudyRow]) -> dict[SeriesRef, SeriesRow]:
    wanted = {
        (studies[ref.study_instance_uid].id, ref.series_instance_uid): merge_attributes(
            {}, (one.series for one in records)
        )
        for ref, records in _group(batch.records, lambda record: record.ref.series).items()
    }
    rows = statements.lock_series(connection, batch.db.dialect, wanted, batch.now)
    uids = {row.id: uid for uid, row in studies.items()}
    return {SeriesRef(uids[study_id], uid): row for (study_id, uid), row in rows.items()}


def _write(transaction: _Transaction) -> None:
    verdicts, batch = transaction.verdicts, transaction.batch
    accepted = verdicts.accepted(batch.records)
    if batch.restoring:
        _take_tombstones(transaction)
    statements.insert_tombstones(
        transaction.connection,
        [
            {
                "study_instance_uid": blob.ref.study_instance_uid,
                "series_instance_uid": blob.ref.series_instance_uid,
                "sop_instance_uid": blob.ref.sop_instance_uid,
                "reason": "replaced",
                "blob_key": blob.blob_key,
                "size": blob.size,
                "digest": blob.digest,
                "created_at": batch.now,
                "expires_at": batch.expires,
            }
            for blob in verdicts.replaced
        ],
    )
    ids = _write_instances(transaction)
    dates = _write_studies(transaction, accepted)
    _write_series(transaction, accepted, dates)
    owners: dict[int, tuple[Values, str]] = {}
    for ref, record in verdicts.written.items():
        if ref in ids:
            owners[ids[ref]] = (record.values, dates[ref.study_instance_uid])
    known = [row.id for ref, row in transaction.stored.items() if ref in verdicts.written]
    statements.replace_values(
        transaction.connection, batch.db.dialect, Level.INSTANCE, owners, owners.keys() - set(known)
    )


def _take_tombstones(transaction: _Transaction) -> None:
    batch, written = transaction.batch, transaction.verdicts.written
    keys = sorted(record.record.blob_key for record in written.values())
    result = transaction.connection.execute(
        delete(tombstones)
        .where(any_of(batch.db.dialect, tombstones.c.blob_key, keys))
        .where(tombstones.c.expires_at > batch.now + RESTORE_MARGIN)
        .returning(tombstones.c.id)
    )
    if len(result.all()) != len(keys):
        raise Gone("what was deleted is no longer kept")


def _write_instances(transaction: _Transaction) -> dict[InstanceRef, int]:
    """Ids of the written instances; of new ones only if one of them has search keys."""
    written, stored = transaction.verdicts.written, transaction.stored
    rows: dict[InstanceRef, dict[str, Any]] = {}
    for ref, record in written.items():
        series = transaction.series[ref.series]
        rows[ref] = {
            **record.columns,
            "series_id": series.id,
            "study_id": series.study_id,
            "created_at": transaction.batch.now,
        }
    replaced = sorted((stored[ref].id, ref) for ref in rows if ref in stored)
    new = sorted((rows[ref]["series_id"], ref.sop_instance_uid, ref) for ref in rows if ref not in stored)
    statements.update_instances(transaction.connection, [{"row_id": row_id, **rows[ref]} for row_id, ref in replaced])
    inserted = statements.insert_instances(
        transaction.connection,
        [rows[ref] for *_, ref in new],
        ids_wanted=any(written[ref].values for *_, ref in new),
    )
    ids = {ref: row_id for row_id, ref in replaced}
    ids |= {ref: inserted[series_id, uid] for series_id, uid, ref in new if (series_id, uid) in inserted}
    return ids


def _write_studies(transaction: _Transaction, accepted: Sequence[PreparedRecord]) -> dict[str, str]:
    """Merge what the accepted records say of their studies. Study dates by Study Instance UID."""
    dates: dict[str, str] = {}
    owners: dict[int, tuple[Values, str]] = {}
    fresh = set()
    for uid, records in sorted(_group(accepted, lambda record: record.ref.study_instance_uid).items()):
        row = transaction.studies[uid]
        merged = _merged_study(row, records)
        dates[uid] = row.study_date
        changed = encode_attributes(merged) != row.text
        if changed:
            if not (transaction.exclusive or row.created):
                raise StudyChanges
            dates[uid] = statements.update_study(transaction.connection, row, merged, transaction.batch.now)
        if changed or row.created:
            owners[row.id] = (values_at(Level.STUDY, merged, transaction.batch.db.searchable), dates[uid])
        if row.created:
            fresh.add(row.id)
    dialect = transaction.batch.db.dialect
    statements.replace_values(transaction.connection, dialect, Level.STUDY, owners, fresh)
    return dates


def _write_series(transaction: _Transaction, accepted: Sequence[PreparedRecord], dates: Mapping[str, str]) -> None:
    """Merge what the accepted records say of their series; count, bump versions, keep ModalitiesInStudy."""
    batch, connection = transaction.batch, transaction.connection
    counted: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    owners: dict[int, tuple[Values, str]] = {}
    modalities: dict[tuple[int, str], str] = {}
    stale_studies: set[int] = set()
    for ref, records in _group(accepted, lambda record: record.ref.series).items():
        row, date = transaction.series[ref], dates[ref.study_instance_uid]
        merged = merge_attributes({} if row.created else attributes_from_row(row.text), (one.series for one in records))
        added = len({one.ref for one in records} - transaction.stored.keys())
        change: dict[str, Any] = {"row_id": row.id, "added": added, "updated_at": batch.now}
        text = encode_attributes(merged)
        columns = series_columns(merged)
        if text == row.text:
            counted.append(change)
        else:
            changed.append({**change, "attributes": text, **columns})
        if row.created or text != row.text:
            owners[row.id] = (values_at(Level.SERIES, merged, batch.db.searchable), date)
        modality = str(columns["modality"])
        if modality and (row.created or modality != row.modality):
            modalities[row.study_id, modality] = date
        if not row.created and modality != row.modality:
            if not transaction.exclusive:
                raise StudyChanges
            stale_studies.add(row.study_id)
    statements.update_series(connection, sorted(counted, key=lambda change: int(change["row_id"])))
    statements.update_series(connection, sorted(changed, key=lambda change: int(change["row_id"])))
    statements.add_modalities(connection, batch.db.dialect, modalities)
    for study_id in sorted(stale_studies):
        statements.drop_unused_modalities(connection, study_id)
    fresh = {row.id for row in transaction.series.values() if row.created}
    statements.replace_values(connection, batch.db.dialect, Level.SERIES, owners, fresh)


def _results(
    records: Sequence[PreparedRecord],
    verdicts: Verdicts,
    studies: Mapping[str, StudyRow],
    series: Mapping[SeriesRef, SeriesRow],
) -> list[IngestResult]:
    results, seen = [], set()
    for record, verdict in zip(records, verdicts.each, strict=True):
        ref = record.ref
        study_created = studies[ref.study_instance_uid].created and ref.study not in seen
        series_created = series[ref.series].created and ref.series not in seen
        seen |= {ref.study, ref.series}
        results.append(
            IngestResult(
                ref,
                verdict.outcome,
                study_created,
                series_created,
                verdict.surplus_blob_key,
                verdict.replaced_blob_key,
            )
        )
    return results
