"""What must hold of the tables after any sequence of ingests and deletions."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from app.db.engine import Database, reading
from app.db.tables import attribute_values, instances, series, studies, study_modalities, tombstones
from app.db.tombstones import Tombstone, expired_tombstones


async def assert_consistent(db: Database) -> None:
    """Counts, ModalitiesInStudy, search keys and blob keys agree with the rows."""
    async with reading(db) as connection:
        study_rows = {row.id: row for row in await connection.execute(select(studies))}
        series_rows = {row.id: row for row in await connection.execute(select(series))}
        counting = select(instances.c.series_id, func.count()).group_by(instances.c.series_id)
        counted = dict(list(await connection.execute(counting)))
        places = (await connection.execute(select(instances.c.id, instances.c.series_id, instances.c.study_id))).all()
        modalities = (await connection.execute(select(study_modalities))).all()
        keys = (await connection.execute(select(attribute_values))).all()
        live = set((await connection.execute(select(instances.c.blob_key))).scalars())
        dead = set((await connection.execute(select(tombstones.c.blob_key))).scalars())
    assert {row_id: row.number_of_instances for row_id, row in series_rows.items()} == counted
    assert {row.study_id for row in series_rows.values()} == study_rows.keys()
    assert all(row.version >= 1 for row in series_rows.values())
    assert all(series_rows[place.series_id].study_id == place.study_id for place in places)
    wanted = {(row.study_id, row.modality) for row in series_rows.values() if row.modality}
    assert {(row.study_id, row.modality) for row in modalities} == wanted
    assert all(row.study_date == study_rows[row.study_id].study_date for row in modalities)
    study_of = {
        0: {row_id: row_id for row_id in study_rows},
        1: {row_id: row.study_id for row_id, row in series_rows.items()},
        2: {place.id: place.study_id for place in places},
    }
    for row in keys:
        assert row.owner_id in study_of[row.level], f"search key of a row that is gone: {row}"
        assert row.study_date == study_rows[study_of[row.level][row.owner_id]].study_date
    assert len({(row.level, row.owner_id, row.path, row.value) for row in keys}) == len(keys)
    assert not live & dead, "a blob is live and dead"


async def list_tombstones(db: Database) -> list[Tombstone]:
    """All of them."""
    return await expired_tombstones(db, datetime(9999, 1, 1, tzinfo=UTC), limit=10_000)
