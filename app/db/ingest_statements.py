"""The statements of ingest, in the order in which they take locks.

Studies, then series, then instances, then search keys; within each, sorted. Transactions that lock in one order cannot
deadlock (the rare exception, a series or study created between two looks, is retried by app.db.engine.transact).

    study row     FOR KEY SHARE by everyone who adds to it: writers of one study do not wait for each other here, but a
                  deletion does, and they for it. FOR UPDATE by whoever changes the study itself.
    series row    FOR NO KEY UPDATE: its count and version change with each batch, so batches of one series take turns.

SQLite has none of these locks; its one write transaction at a time is all of them.

Statements are built once for each database: building one takes longer than SQLite takes to execute it.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, Table, Update, bindparam, delete, insert, select, update

from app.db.any_of import any_of, any_of_parameter, listed
from app.db.engine import Dialect, TryAgain
from app.db.ingest_rows import Values, encode_attributes
from app.db.ingest_verdicts import StoredInstance
from app.db.tables import attribute_values, instances, series, studies, study_modalities, tombstones
from app.dicom.attributes import LEVEL_NUMBER, series_columns, study_columns
from app.dicom.matching import Level

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

Key = tuple[int, str]  # (id of the parent row, UID)
ReturningInsert = Any  # SQLAlchemy has a type for each number of columns


@dataclass(frozen=True, slots=True)
class StudyRow:
    """text: attributes as stored. created: by this transaction."""

    id: int
    study_date: str
    text: bytes
    created: bool


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """text: attributes as stored. created: by this transaction."""

    id: int
    study_id: int
    modality: str
    text: bytes
    created: bool


@functools.cache
def insert_new(dialect: Dialect, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """An insert that leaves out rows whose unique key is taken, waiting for whoever is just inserting the same one."""
    # Only the dialect that is in use: the other is 5 MB for nothing.
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table).on_conflict_do_nothing()


def lock_studies(
    connection: Connection,
    dialect: Dialect,
    wanted: Mapping[str, Mapping[str, Any]],
    now: datetime,
    *,
    exclusive: bool,
) -> dict[str, StudyRow]:
    """Rows by Study Instance UID, created from the attributes in `wanted` where they did not exist."""
    rows = _select_studies(connection, dialect, sorted(wanted), exclusive=exclusive)
    missing = sorted(wanted.keys() - rows.keys())
    if not missing:
        return rows
    result = connection.execute(
        _insert_studies(dialect),
        [
            {
                "study_instance_uid": uid,
                "attributes": encode_attributes(wanted[uid]),
                "created_at": now,
                "updated_at": now,
                **study_columns(wanted[uid]),
            }
            for uid in missing
        ],
    )
    rows |= {row.study_instance_uid: StudyRow(row.id, row.study_date, row.attributes, True) for row in result}
    taken = sorted(wanted.keys() - rows.keys())
    if taken:
        rows |= _select_studies(connection, dialect, taken, exclusive=exclusive)
    if len(rows) != len(wanted):
        raise TryAgain
    return rows


def lock_known_study(connection: Connection, dialect: Dialect, uid: str) -> StudyRow | None:
    """Lock a study against all other writers; None where there is none."""
    return _select_studies(connection, dialect, [uid], exclusive=True).get(uid)


def _select_studies(
    connection: Connection, dialect: Dialect, uids: Sequence[str], *, exclusive: bool
) -> dict[str, StudyRow]:
    result = connection.execute(_studies_of(dialect, exclusive), {"uids": listed(dialect, uids)})
    return {row.study_instance_uid: StudyRow(row.id, row.study_date, row.attributes, False) for row in result}


@functools.cache
def _studies_of(dialect: Dialect, exclusive: bool) -> Select[tuple[int, str, str, bytes]]:
    return (
        select(studies.c.id, studies.c.study_instance_uid, studies.c.study_date, studies.c.attributes)
        .where(any_of_parameter(dialect, studies.c.study_instance_uid, "uids"))
        .order_by(studies.c.study_instance_uid)
        .with_for_update(read=not exclusive, key_share=not exclusive)
    )


@functools.cache
def _insert_studies(dialect: Dialect) -> ReturningInsert:
    return insert_new(dialect, studies).returning(
        studies.c.id, studies.c.study_instance_uid, studies.c.study_date, studies.c.attributes
    )


def lock_series(
    connection: Connection, dialect: Dialect, wanted: Mapping[Key, Mapping[str, Any]], now: datetime
) -> dict[Key, SeriesRow]:
    """Rows by (study id, Series Instance UID), created from the attributes in `wanted` where they did not exist."""
    rows = _select_series(connection, dialect, wanted.keys())
    missing = sorted(wanted.keys() - rows.keys())
    if not missing:
        return rows
    result = connection.execute(
        _insert_series(dialect),
        [
            {
                "study_id": study_id,
                "series_instance_uid": uid,
                "version": 0,  # the change that follows makes it 1
                "number_of_instances": 0,
                "attributes": encode_attributes(wanted[study_id, uid]),
                "created_at": now,
                "updated_at": now,
                **series_columns(wanted[study_id, uid]),
            }
            for study_id, uid in missing
        ],
    )
    rows |= {
        (row.study_id, row.series_instance_uid): SeriesRow(row.id, row.study_id, row.modality, row.attributes, True)
        for row in result
    }
    taken = wanted.keys() - rows.keys()
    if taken:
        rows |= _select_series(connection, dialect, taken)
    if len(rows) != len(wanted):
        raise TryAgain
    return rows


def _select_series(connection: Connection, dialect: Dialect, keys: Collection[Key]) -> dict[Key, SeriesRow]:
    result = connection.execute(_series_of(dialect), _halves(dialect, keys))
    return {
        (row.study_id, row.series_instance_uid): SeriesRow(row.id, row.study_id, row.modality, row.attributes, False)
        for row in result
        if (row.study_id, row.series_instance_uid) in keys
    }


def _halves(dialect: Dialect, keys: Collection[Key]) -> dict[str, Any]:
    """Keys as the parameters `ids` and `uids`."""
    return {
        "ids": listed(dialect, sorted({parent for parent, _ in keys})),
        "uids": listed(dialect, sorted({uid for _, uid in keys})),
    }


@functools.cache
def _series_of(dialect: Dialect) -> Select[tuple[int, int, str, str, bytes]]:
    # Both halves apart: a batch that mixes studies may lock a series it does not need, in the same order as all others.
    return (
        select(series.c.id, series.c.study_id, series.c.series_instance_uid, series.c.modality, series.c.attributes)
        .where(any_of_parameter(dialect, series.c.study_id, "ids"))
        .where(any_of_parameter(dialect, series.c.series_instance_uid, "uids"))
        .order_by(series.c.id)
        .with_for_update(key_share=True)
    )


@functools.cache
def _insert_series(dialect: Dialect) -> ReturningInsert:
    return insert_new(dialect, series).returning(
        series.c.id, series.c.study_id, series.c.series_instance_uid, series.c.modality, series.c.attributes
    )


def stored_instances(connection: Connection, dialect: Dialect, keys: Collection[Key]) -> dict[Key, StoredInstance]:
    """By (series id, SOP Instance UID). The rows' series are locked already: nobody else changes them."""
    if not keys:
        return {}
    result = connection.execute(_instances_of(dialect), _halves(dialect, keys))
    return {
        (row.series_id, row.sop_instance_uid): StoredInstance(row.id, row.blob_key, row.size, row.digest)
        for row in result
    }


@functools.cache
def _instances_of(dialect: Dialect) -> Select[tuple[int, int, str, str, int, str]]:
    table = instances.c
    return (
        select(table.id, table.series_id, table.sop_instance_uid, table.blob_key, table.size, table.digest)
        .where(any_of_parameter(dialect, table.series_id, "ids"))
        .where(any_of_parameter(dialect, table.sop_instance_uid, "uids"))
    )


_INSERT_INSTANCES = insert(instances)
_INSERT_INSTANCES_FOR_IDS = insert(instances).returning(
    instances.c.id, instances.c.series_id, instances.c.sop_instance_uid
)
_UPDATE_INSTANCES = update(instances).where(instances.c.id == bindparam("row_id"))
_INSERT_VALUES = insert(attribute_values)


def insert_instances(connection: Connection, rows: Sequence[Mapping[str, Any]], *, ids_wanted: bool) -> dict[Key, int]:
    """Insert rows sorted by their key; their ids by (series id, SOP Instance UID) if wanted."""
    if not rows:
        return {}
    if not ids_wanted:
        connection.execute(_INSERT_INSTANCES, rows)
        return {}
    result = connection.execute(_INSERT_INSTANCES_FOR_IDS, rows)
    return {(row.series_id, row.sop_instance_uid): row.id for row in result}


def update_instances(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row has its id as `row_id`, and every other column under its name."""
    if rows:
        connection.execute(_UPDATE_INSTANCES, rows)


def update_series(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row has its id as `row_id`, the number of instances `added`, and changed columns under their names; all the same
    ones. Bumps the versions."""
    if rows:
        connection.execute(_UPDATE_SERIES, rows)


def _update_series() -> Update:
    added = bindparam("added", type_=series.c.number_of_instances.type)
    changes = {"version": series.c.version + 1, "number_of_instances": series.c.number_of_instances + added}
    return update(series).where(series.c.id == bindparam("row_id")).values(changes)


_UPDATE_SERIES = _update_series()


def update_study(connection: Connection, row: StudyRow, attributes: Mapping[str, Any], now: datetime) -> str:
    """Write the study's attributes and columns, and its date to the search keys below it. Returns the date."""
    columns = study_columns(attributes)
    connection.execute(
        update(studies)
        .where(studies.c.id == row.id)
        .values(attributes=encode_attributes(attributes), updated_at=now, **columns)
    )
    study_date = str(columns["study_date"])
    if study_date != row.study_date:
        connection.execute(
            update(study_modalities).where(study_modalities.c.study_id == row.id).values(study_date=study_date)
        )
        owners = {
            Level.STUDY: attribute_values.c.owner_id == row.id,
            Level.SERIES: attribute_values.c.owner_id.in_(select(series.c.id).where(series.c.study_id == row.id)),
            Level.INSTANCE: attribute_values.c.owner_id.in_(
                select(instances.c.id).where(instances.c.study_id == row.id)
            ),
        }
        for level, condition in owners.items():
            connection.execute(
                update(attribute_values)
                .where(attribute_values.c.level == LEVEL_NUMBER[level], condition)
                .values(study_date=study_date)
            )
    return study_date


def replace_values(
    connection: Connection,
    dialect: Dialect,
    level: Level,
    owners: Mapping[int, tuple[Values, str]],
    fresh: Collection[int],
) -> None:
    """Write the search keys of rows: {row id: (values, study date)}. Those of `fresh` rows cannot exist yet."""
    number = LEVEL_NUMBER[level]
    known = sorted(owners.keys() - set(fresh))
    if known:
        connection.execute(
            delete(attribute_values).where(
                attribute_values.c.level == number, any_of(dialect, attribute_values.c.owner_id, known)
            )
        )
    rows = [
        {"level": number, "owner_id": owner, "path": path, "value": value, "study_date": study_date}
        for owner, (values, study_date) in owners.items()
        for path, value in values
    ]
    if rows:
        connection.execute(_INSERT_VALUES, rows)


def add_modalities(connection: Connection, dialect: Dialect, rows: Mapping[tuple[int, str], str]) -> None:
    """{(study id, modality): study date}; modalities that the study has already stay as they are."""
    values = [
        {"study_id": study_id, "modality": modality, "study_date": rows[study_id, modality]}
        for study_id, modality in sorted(rows)
    ]
    if values:
        connection.execute(insert_new(dialect, study_modalities), values)


def drop_unused_modalities(connection: Connection, study_id: int) -> None:
    """Modalities that no series of the study has any more. The study must be locked FOR UPDATE."""
    connection.execute(
        delete(study_modalities).where(
            study_modalities.c.study_id == study_id,
            study_modalities.c.modality.not_in(select(series.c.modality).where(series.c.study_id == study_id)),
        )
    )


def add_missing_modalities(connection: Connection, dialect: Dialect, study_id: int) -> None:
    """Modalities of the study's series as they are now. The study must be locked FOR UPDATE."""
    result = connection.execute(
        select(series.c.modality, studies.c.study_date)
        .join(studies, studies.c.id == series.c.study_id)
        .where(series.c.study_id == study_id, series.c.modality != "")
        .distinct()
    )
    add_modalities(connection, dialect, {(study_id, row.modality): row.study_date for row in result})


def insert_tombstones(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remember blobs that are not live any more."""
    if rows:
        connection.execute(insert(tombstones), rows)
