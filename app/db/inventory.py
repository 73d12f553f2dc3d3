"""The archive as a whole: walking, counting, clearing. For verify, sweep, reindex and health."""

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import Connection, delete, exists, func, inspect, literal, or_, select, text

from app.db.any_of import any_of
from app.db.engine import Database, reading, transact
from app.db.locate import InstanceLocation, location_of, select_locations
from app.db.tables import attribute_values, instances, series, studies, study_modalities, tombstones


async def ping(db: Database) -> None:
    """Raises DatabaseUnavailable when the database does not answer or has no schema."""
    async with reading(db) as connection:
        await connection.execute(select(exists(select(studies.c.id))))


async def iterate_instances(db: Database, page: int = 1000) -> AsyncIterator[InstanceLocation]:
    """Every instance, by id. What is stored or deleted meanwhile may be in it or not; no connection is held between pages.

    Raises DatabaseUnavailable.
    """
    last = 0
    while True:
        statement = select_locations().where(instances.c.id > last).order_by(instances.c.id).limit(page)
        async with reading(db) as connection:
            rows = (await connection.execute(statement)).all()
        for row in rows:
            yield location_of(row)
        if len(rows) < page:
            return
        last = rows[-1].id


async def referenced_keys(db: Database, keys: Sequence[str]) -> set[str]:
    """Those blob keys that an instance or a tombstone names. Raises DatabaseUnavailable."""
    live = select(instances.c.blob_key).where(any_of(db.dialect, instances.c.blob_key, keys))
    dead = select(tombstones.c.blob_key).where(any_of(db.dialect, tombstones.c.blob_key, keys))
    # One statement sees one moment: a key that moves from a row to a tombstone meanwhile is never missed.
    async with reading(db) as connection:
        return set((await connection.execute(live.union_all(dead))).scalars())


async def tombstoned_keys(db: Database, page: int = 1000) -> AsyncIterator[tuple[str, str]]:
    """(blob key, reason) of every tombstone. Raises DatabaseUnavailable."""
    last = 0
    while True:
        statement = (
            select(tombstones.c.blob_key, tombstones.c.reason, tombstones.c.id)
            .where(tombstones.c.id > last)
            .order_by(tombstones.c.id)
            .limit(page)
        )
        async with reading(db) as connection:
            rows = (await connection.execute(statement)).all()
        for row in rows:
            yield row.blob_key, row.reason
        if len(rows) < page:
            return
        last = rows[-1].id


async def counts(db: Database) -> tuple[int, int, int]:
    """Numbers of studies, series and instances. Raises DatabaseUnavailable."""
    statement = select(
        select(func.count()).select_from(studies).scalar_subquery(),
        select(func.count()).select_from(series).scalar_subquery(),
        select(func.coalesce(func.sum(series.c.number_of_instances), literal(0))).scalar_subquery(),
    )
    async with reading(db) as connection:
        row = (await connection.execute(statement)).one()
    return int(row[0]), int(row[1]), int(row[2])


async def names_blobs(db: Database) -> bool:
    """Whether anything is stored, or deleted and kept; not so where there are no tables yet. Raises DatabaseUnavailable."""
    async with reading(db) as connection:
        if not await connection.run_sync(lambda connection: inspect(connection).has_table(tombstones.name)):
            return False
        anything = select(or_(exists(select(studies.c.id)), exists(select(tombstones.c.id))))
        return bool((await connection.execute(anything)).scalar_one())


async def clear(db: Database) -> None:
    """Empty every table, tombstones among them; the blobs are not touched. Raises DatabaseUnavailable."""

    tables = (attribute_values, study_modalities, instances, series, studies, tombstones)

    def work(connection: Connection) -> None:
        if db.dialect == "postgresql":  # at once, whatever their size
            connection.execute(text("TRUNCATE " + ", ".join(table.name for table in tables)))
            return
        for table in tables:
            connection.execute(delete(table))

    await transact(db, work)
