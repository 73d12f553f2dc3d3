"""Delete studies, series and instances. Their blobs are remembered by tombstones (app.db.tombstones) for a retention time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Subquery, exists, func, insert, literal, select, update
from sqlalchemy import delete as delete_from

from app.db import ingest_statements as statements
from app.db.engine import Database, transact
from app.db.ingest_rows import encode_attributes, merge_attributes, values_at
from app.db.ingest_statements import StudyRow
from app.db.locate import below, raise_missing
from app.db.prepared_json import metadata_from_row
from app.db.tables import attribute_values, instances, series, studies, tombstones
from app.dicom.attributes import LEVEL_NUMBER, series_attributes, series_columns, study_attributes
from app.dicom.matching import Level
from app.dicom.references import InstanceRef, Reference, SeriesRef

# What a study says of itself is then merged from the newest instance of each of its series, up to so many.
_MAX_WITNESSES = 100


@dataclass(frozen=True, slots=True)
class _Removal:
    """One deletion under way; the study's row is locked against everyone else."""

    connection: Connection
    db: Database
    ref: Reference
    study: StudyRow
    now: datetime
    expires: datetime


async def delete(db: Database, ref: Reference, *, retention: timedelta, now: datetime | None = None) -> list[str]:
    """Delete a study, a series or an instance, and a series or study that is left empty.

    Keys of the blobs that were live, now held by tombstones until `retention` is over. Versions, counts,
    ModalitiesInStudy and the attributes of what remains follow. Raises NotFound, Gone, DatabaseUnavailable.
    """
    deleted_at = now or datetime.now(UTC)

    def work(connection: Connection) -> list[str]:
        study = statements.lock_known_study(connection, db.dialect, ref.study_instance_uid)
        if study is None:
            return []
        return _remove(_Removal(connection, db, ref, study, deleted_at, deleted_at + retention))

    keys = await transact(db, work)
    if not keys:
        await raise_missing(db, ref)
    db.known_many.forget()
    return keys


def _remove(removal: _Removal) -> list[str]:
    connection, ref, study_id = removal.connection, removal.ref, removal.study.id
    keys = _bury(removal)
    if not keys:
        return []
    removed = instances.c.study_id == study_id
    series_id = None
    if isinstance(ref, SeriesRef | InstanceRef):
        series_id = connection.scalar(
            select(series.c.id).where(
                series.c.study_id == study_id, series.c.series_instance_uid == ref.series_instance_uid
            )
        )
        removed &= instances.c.series_id == series_id
    if isinstance(ref, InstanceRef):
        removed &= instances.c.sop_instance_uid == ref.sop_instance_uid
    _forget(connection, Level.INSTANCE, attribute_values.c.owner_id.in_(select(instances.c.id).where(removed)))
    connection.execute(delete_from(instances).where(removed))
    empty = select(series.c.id).where(
        series.c.study_id == study_id, ~exists().where(instances.c.series_id == series.c.id)
    )
    _forget(connection, Level.SERIES, attribute_values.c.owner_id.in_(empty))
    connection.execute(delete_from(series).where(series.c.id.in_(empty)))
    if connection.scalar(select(exists().where(series.c.study_id == study_id))):
        if series_id is not None and isinstance(ref, InstanceRef):
            _refresh_series(removal, series_id)
        _refresh_study(removal)
    else:
        _forget(connection, Level.STUDY, attribute_values.c.owner_id == study_id)
        connection.execute(delete_from(studies).where(studies.c.id == study_id))
    return keys


def _bury(removal: _Removal) -> list[str]:
    """Tombstones for every instance below the reference; their blob keys."""
    buried = below(
        select(
            studies.c.study_instance_uid,
            series.c.series_instance_uid,
            instances.c.sop_instance_uid,
            literal("deleted").label("reason"),
            instances.c.blob_key,
            instances.c.size,
            instances.c.digest,
            literal(removal.now, tombstones.c.created_at.type).label("created_at"),
            literal(removal.expires, tombstones.c.expires_at.type).label("expires_at"),
        )
        .select_from(studies)
        .join(series, series.c.study_id == studies.c.id)
        .join(instances, instances.c.series_id == series.c.id),
        removal.ref,
    )
    statement = insert(tombstones).from_select([str(column.key) for column in buried.selected_columns], buried)
    return list((removal.connection.execute(statement.returning(tombstones.c.blob_key))).scalars())


def _forget(connection: Connection, level: Level, owners: ColumnElement[bool]) -> None:
    connection.execute(delete_from(attribute_values).where(attribute_values.c.level == LEVEL_NUMBER[level], owners))


def _refresh_series(removal: _Removal, series_id: int) -> None:
    """Count anew and bump the version; attributes are those of the newest instance that remains."""
    witnesses = _witnesses(removal.connection, instances.c.series_id == series_id)
    if not witnesses:  # the series itself is gone
        return
    attributes = merge_attributes({}, (series_attributes(dataset) for dataset in witnesses))
    removal.connection.execute(
        update(series)
        .where(series.c.id == series_id)
        .values(
            version=series.c.version + 1,
            number_of_instances=select(func.count())
            .select_from(instances)
            .where(instances.c.series_id == series_id)
            .scalar_subquery(),
            updated_at=removal.now,
            attributes=encode_attributes(attributes),
            **series_columns(attributes),
        )
    )
    values = values_at(Level.SERIES, attributes, removal.db.searchable)
    statements.replace_values(
        removal.connection, removal.db.dialect, Level.SERIES, {series_id: (values, removal.study.study_date)}, ()
    )


def _refresh_study(removal: _Removal) -> None:
    connection, study = removal.connection, removal.study
    witnesses = _witnesses(connection, instances.c.study_id == study.id)
    attributes = merge_attributes({}, (study_attributes(dataset) for dataset in witnesses))
    if encode_attributes(attributes) != study.text:
        date = statements.update_study(connection, study, attributes, removal.now)
        values = values_at(Level.STUDY, attributes, removal.db.searchable)
        statements.replace_values(connection, removal.db.dialect, Level.STUDY, {study.id: (values, date)}, ())
    statements.drop_unused_modalities(connection, study.id)
    statements.add_missing_modalities(connection, removal.db.dialect, study.id)


def _witnesses(connection: Connection, condition: ColumnElement[bool]) -> list[dict[str, Any]]:
    """Data sets of the newest instance of each series, oldest first."""
    statement = (
        select(instances.c.metadata)
        .where(instances.c.id.in_(select(_newest(condition).c.id)))
        .order_by(instances.c.created_at, instances.c.id)
    )
    packed = connection.execute(statement).scalars()
    return [metadata_from_row(one) for one in packed]


def _newest(condition: ColumnElement[bool]) -> Subquery:
    order = func.row_number().over(
        partition_by=instances.c.series_id, order_by=(instances.c.created_at.desc(), instances.c.id.desc())
    )
    ranked = select(instances.c.id, instances.c.created_at, order.label("place")).where(condition).subquery()
    return (
        select(ranked.c.id)
        .where(ranked.c.place == 1)
        .order_by(ranked.c.created_at.desc(), ranked.c.id.desc())
        .limit(_MAX_WITNESSES)
        .subquery()
    )
