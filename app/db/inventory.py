"""The archive as a whole: walking, counting, building anew. For verify, sweep, reindex and health."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, exists, func, insert, inspect, literal, or_, select, text

from app.db.any_of import any_of
from app.db.engine import Database, reading, transact
from app.db.indexed_paths import note_all_indexed
from app.db.ingest_statements import insert_new
from app.db.locate import InstanceLocation, location_of, select_locations
from app.db.tables import (
    attribute_values,
    instances,
    reindexing,
    series,
    studies,
    study_modalities,
    tombstones,
    unreadable_blobs,
)
from app.errors import ArchiveIncomplete

_REINDEXING = ""  # no key of a blob is empty


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
    """Those blob keys that an instance or a tombstone names, or that could not be read when the database was built anew.

    Raises ArchiveIncomplete while a reindex has not ended: then nobody knows; DatabaseUnavailable.
    """
    named = [
        select(table.c.blob_key).where(any_of(db.dialect, table.c.blob_key, keys))
        for table in (instances, tombstones, unreadable_blobs)
    ]
    # One statement sees one moment: a key that moves from a row to a tombstone meanwhile is never missed, nor is a reindex.
    statement = named[0].union_all(*named[1:], select(literal(_REINDEXING)).select_from(reindexing))
    async with reading(db) as connection:
        found = set((await connection.execute(statement)).scalars())
    if _REINDEXING in found:
        raise ArchiveIncomplete("a `gantry reindex` is under way or was broken off; run `gantry reindex` again")
    return found


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


async def is_reindexing(db: Database) -> bool:
    """A reindex is under way, or was broken off. Raises DatabaseUnavailable."""
    async with reading(db) as connection:
        return bool((await connection.execute(select(exists(select(reindexing.c.id))))).scalar_one())


async def begin_reindexing(db: Database) -> None:
    """Empty every table, tombstones among them, and remember that they are to be filled again: both or neither.

    The blobs are not touched. Raises DatabaseUnavailable.
    """
    tables = (attribute_values, study_modalities, instances, series, studies, tombstones, unreadable_blobs)

    def work(connection: Connection) -> None:
        connection.execute(insert_new(db.dialect, reindexing), [{"id": 1, "since": datetime.now(UTC)}])
        if db.dialect == "postgresql":  # at once, whatever their size
            connection.execute(text("TRUNCATE " + ", ".join(table.name for table in tables)))
            return
        for table in tables:
            connection.execute(delete(table))

    await transact(db, work)


async def end_reindexing(db: Database, unreadable: Mapping[str, str]) -> None:
    """The tables are full again, but for those blobs (key: what is wrong with it). Raises DatabaseUnavailable."""
    rows = [{"blob_key": key, "problem": problem} for key, problem in sorted(unreadable.items())]

    def work(connection: Connection) -> None:
        if rows:
            connection.execute(insert(unreadable_blobs), rows)
        note_all_indexed(connection, db)
        connection.execute(delete(reindexing))

    await transact(db, work)
