"""The statements of ingest, in the order in which they take locks.

Studies, then series, then instances, then search keys; within each, sorted. Transactions that lock in one order cannot
deadlock (the rare exception, a series or study created between two looks, is retried by app.db.engine.transact).

    study row     FOR KEY SHARE by everyone who adds to it: writers of one study do not wait for each other here, but a
                  deletion does, and they for it. FOR UPDATE by whoever changes the study itself.
    series row    FOR NO KEY UPDATE: its count and version change with each batch, so batches of one series take turns.

SQLite has none of these locks; its one write transaction at a time is all of them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.any_of import any_of
from app.db.engine import Dialect, TryAgain
from app.db.ingest_rows import Values, encode_attributes
from app.db.ingest_verdicts import StoredInstance
from app.db.tables import attribute_values, instances, series, studies, study_modalities, tombstones
from app.dicom.attributes import LEVEL_NUMBER, series_columns, study_columns
from app.dicom.matching import Level

Key = tuple[int, str]  # (id of the parent row, UID)


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


def insert_new(dialect: Dialect, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that leaves out rows whose unique key is taken, waiting for whoever is just inserting the same one."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


async def lock_studies(
    connection: AsyncConnection,
    dialect: Dialect,
    wanted: Mapping[str, Mapping[str, Any]],
    now: datetime,
    *,
    exclusive: bool,
) -> dict[str, StudyRow]:
    """Rows by Study Instance UID, created from the attributes in `wanted` where they did not exist."""
    rows = await _select_studies(connection, dialect, sorted(wanted), exclusive=exclusive)
    missing = sorted(wanted.keys() - rows.keys())
    if not missing:
        return rows
    statement = insert_new(dialect, studies).returning(
        studies.c.id, studies.c.study_instance_uid, studies.c.study_date, studies.c.attributes
    )
    result = await connection.execute(
        statement,
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
        rows |= await _select_studies(connection, dialect, taken, exclusive=exclusive)
    if len(rows) != len(wanted):
        raise TryAgain
    return rows


async def lock_known_study(connection: AsyncConnection, dialect: Dialect, uid: str) -> StudyRow | None:
    """Lock a study against all other writers; None where there is none."""
    return (await _select_studies(connection, dialect, [uid], exclusive=True)).get(uid)


async def _select_studies(
    connection: AsyncConnection, dialect: Dialect, uids: Sequence[str], *, exclusive: bool
) -> dict[str, StudyRow]:
    result = await connection.execute(
        select(studies.c.id, studies.c.study_instance_uid, studies.c.study_date, studies.c.attributes)
        .where(any_of(dialect, studies.c.study_instance_uid, uids))
        .order_by(studies.c.study_instance_uid)
        .with_for_update(read=not exclusive, key_share=not exclusive)
    )
    return {row.study_instance_uid: StudyRow(row.id, row.study_date, row.attributes, False) for row in result}


async def lock_series(
    connection: AsyncConnection, dialect: Dialect, wanted: Mapping[Key, Mapping[str, Any]], now: datetime
) -> dict[Key, SeriesRow]:
    """Rows by (study id, Series Instance UID), created from the attributes in `wanted` where they did not exist."""
    rows = await _select_series(connection, dialect, wanted.keys())
    missing = sorted(wanted.keys() - rows.keys())
    if not missing:
        return rows
    statement = insert_new(dialect, series).returning(
        series.c.id, series.c.study_id, series.c.series_instance_uid, series.c.modality, series.c.attributes
    )
    result = await connection.execute(
        statement,
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
        rows |= await _select_series(connection, dialect, taken)
    if len(rows) != len(wanted):
        raise TryAgain
    return rows


async def _select_series(connection: AsyncConnection, dialect: Dialect, keys: Collection[Key]) -> dict[Key, SeriesRow]:
    # Both halves apart: a batch that mixes studies may lock a series it does not need, in the same order as all others.
    result = await connection.execute(
        select(series.c.id, series.c.study_id, series.c.series_instance_uid, series.c.modality, series.c.attributes)
        .where(any_of(dialect, series.c.study_id, sorted({study_id for study_id, _ in keys})))
        .where(any_of(dialect, series.c.series_instance_uid, sorted({uid for _, uid in keys})))
        .order_by(series.c.id)
        .with_for_update(key_share=True)
    )
    return {
        (row.study_id, row.series_instance_uid): SeriesRow(row.id, row.study_id, row.modality, row.attributes, False)
        for row in result
        if (row.study_id, row.series_instance_uid) in keys
    }


async def stored_instances(
    connection: AsyncConnection, dialect: Dialect, keys: Collection[Key]
) -> dict[Key, StoredInstance]:
    """By (series id, SOP Instance UID). The rows' series are locked already: nobody else changes them."""
    if not keys:
        return {}
    table = instances.c
    result = await connection.execute(
        select(table.id, table.series_id, table.sop_instance_uid, table.blob_key, table.size, table.digest)
        .where(any_of(dialect, table.series_id, sorted({series_id for series_id, _ in keys})))
        .where(any_of(dialect, table.sop_instance_uid, sorted({uid for _, uid in keys})))
    )
    return {
        (row.series_id, row.sop_instance_uid): StoredInstance(row.id, row.blob_key, row.size, row.digest)
        for row in result
    }


async def insert_instances(
    connection: AsyncConnection, rows: Sequence[Mapping[str, Any]], *, ids_wanted: bool
) -> dict[Key, int]:
    """Insert rows sorted by their key; their ids by (series id, SOP Instance UID) if wanted."""
    if not rows:
        return {}
    if not ids_wanted:
        await connection.execute(insert(instances), rows)
        return {}
    table = instances.c
    result = await connection.execute(
        insert(instances).returning(table.id, table.series_id, table.sop_instance_uid), rows
    )
    return {(row.series_id, row.sop_instance_uid): row.id for row in result}


async def update_instances(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row has its id as `row_id`, and every other column under its name."""
    if rows:
        await connection.execute(update(instances).where(instances.c.id == bindparam("row_id")), rows)


async def update_series(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row has its id as `row_id`, the number of instances `added`, and changed columns under their names; all the same
    ones. Bumps the versions."""
    if rows:
        added = bindparam("added", type_=series.c.number_of_instances.type)
        changes = {"version": series.c.version + 1, "number_of_instances": series.c.number_of_instances + added}
        await connection.execute(update(series).where(series.c.id == bindparam("row_id")).values(changes), rows)


async def update_study(connection: AsyncConnection, row: StudyRow, attributes: Mapping[str, Any], now: datetime) -> str:
    """Write the study's attributes and columns, and its date to the search keys below it. Returns the date."""
    columns = study_columns(attributes)
    await connection.execute(
        update(studies)
        .where(studies.c.id == row.id)
        .values(attributes=encode_attributes(attributes), updated_at=now, **columns)
    )
    study_date = str(columns["study_date"])
    if study_date != row.study_date:
        await connection.execute(
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
            await connection.execute(
                update(attribute_values)
                .where(attribute_values.c.level == LEVEL_NUMBER[level], condition)
                .values(study_date=study_date)
            )
    return study_date


async def replace_values(
    connection: AsyncConnection,
    dialect: Dialect,
    level: Level,
    owners: Mapping[int, tuple[Values, str]],
    fresh: Collection[int],
) -> None:
    """Write the search keys of rows: {row id: (values, study date)}. Those of `fresh` rows cannot exist yet."""
    number = LEVEL_NUMBER[level]
    known = sorted(owners.keys() - set(fresh))
    if known:
        await connection.execute(
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
        await connection.execute(insert(attribute_values), rows)


async def add_modalities(connection: AsyncConnection, dialect: Dialect, rows: Mapping[tuple[int, str], str]) -> None:
    """{(study id, modality): study date}; modalities that the study has already stay as they are."""
    values = [
        {"study_id": study_id, "modality": modality, "study_date": rows[study_id, modality]}
        for study_id, modality in sorted(rows)
    ]
    if values:
        await connection.execute(insert_new(dialect, study_modalities), values)


async def drop_unused_modalities(connection: AsyncConnection, study_id: int) -> None:
    """Modalities that no series of the study has any more. The study must be locked FOR UPDATE."""
    await connection.execute(
        delete(study_modalities).where(
            study_modalities.c.study_id == study_id,
            study_modalities.c.modality.not_in(select(series.c.modality).where(series.c.study_id == study_id)),
        )
    )


async def add_missing_modalities(connection: AsyncConnection, dialect: Dialect, study_id: int) -> None:
    """Modalities of the study's series as they are now. The study must be locked FOR UPDATE."""
    result = await connection.execute(
        select(series.c.modality, studies.c.study_date)
        .join(studies, studies.c.id == series.c.study_id)
        .where(series.c.study_id == study_id, series.c.modality != "")
        .distinct()
    )
    await add_modalities(connection, dialect, {(study_id, row.modality): row.study_date for row in result})


async def insert_tombstones(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remember blobs that are not live any more."""
    if rows:
        await connection.execute(insert(tombstones), rows)
