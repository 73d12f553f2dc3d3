"""The archive as a whole."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.db.deletion import delete
from app.db.engine import Database, close_database, open_database, transact
from app.db.ingest import DuplicatePolicy, ingest
from app.db.inventory import (
    begin_reindexing,
    counts,
    end_reindexing,
    is_reindexing,
    iterate_instances,
    names_blobs,
    ping,
    referenced_keys,
    tombstoned_keys,
)
from app.db.locate import locate_instance
from app.dicom.instance import InstanceRecord
from app.errors import ArchiveIncomplete, DatabaseUnavailable
from tests.support.consistency import assert_consistent
from tests.support.records import make_record

MONTH = timedelta(days=30)


async def filled(db: Database, number: int = 7) -> list[InstanceRecord]:
    records = [make_record(f"1.{one % 2}", f"1.{one % 2}.{one % 3}", rows=0) for one in range(number)]
    await ingest(db, records, duplicates=DuplicatePolicy.REPLACE, retention=MONTH)
    return records


async def test_an_empty_archive(db: Database) -> None:
    await ping(db)
    assert not await names_blobs(db)
    assert await counts(db) == (0, 0, 0)
    assert [one async for one in iterate_instances(db)] == []
    assert [one async for one in tombstoned_keys(db)] == []
    assert await referenced_keys(db, ["a"]) == set()
    assert await referenced_keys(db, []) == set()


@pytest.mark.parametrize("page", [1, 3, 7, 1000])
async def test_every_instance_is_walked_once(db: Database, page: int) -> None:
    records = await filled(db)
    found = [location async for location in iterate_instances(db, page)]
    assert sorted(location.ref for location in found) == sorted(record.ref for record in records)
    assert found[0] == await locate_instance(db, found[0].ref)
    assert await counts(db) == (2, 6, 7)
    assert await names_blobs(db)


async def test_no_connection_is_held_between_pages(database_url: str) -> None:
    db = await open_database(database_url, pool_size=1, pool_timeout=1)
    await filled(db)
    async for _ in iterate_instances(db, 2):
        await ping(db)
    await close_database(db)


@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_live_and_dead_blobs_are_referenced(db: Database, page: int) -> None:
    records = await filled(db)
    dead = await delete(db, records[0].ref.study, retention=MONTH)
    keys = [record.blob_key for record in records]
    assert await referenced_keys(db, [*keys, "stray"]) == set(keys)
    assert sorted([pair async for pair in tombstoned_keys(db, page)]) == sorted((key, "deleted") for key in dead)


async def test_a_reindex_begins_with_empty_tables_and_leaves_a_mark(db: Database) -> None:
    records = await filled(db)
    await delete(db, records[0].ref, retention=MONTH)
    assert not await is_reindexing(db)
    for _ in range(2):  # begun anew after one that was broken off
        await begin_reindexing(db)
        assert await is_reindexing(db)
        assert not await names_blobs(db)
        assert await counts(db) == (0, 0, 0)
        await assert_consistent(db)
        with pytest.raises(ArchiveIncomplete):
            await referenced_keys(db, [])
        await filled(db)
    await end_reindexing(db, {"damaged": "what is wrong with it"})
    assert not await is_reindexing(db)
    await assert_consistent(db)
    assert await referenced_keys(db, ["damaged", "stray"]) == {"damaged"}
    await begin_reindexing(db)
    await end_reindexing(db, {})
    assert await referenced_keys(db, ["damaged", "stray"]) == set()


async def test_the_mark_and_the_clearing_are_one_transaction(db: Database) -> None:
    """A process that is killed between them leaves both or neither."""
    await filled(db)
    drop = "DROP TABLE unreadable_blobs"  # the last that is emptied
    await transact(db, lambda connection: connection.execute(text(drop)))
    with pytest.raises(DatabaseUnavailable):
        await begin_reindexing(db)
    assert not await is_reindexing(db)
    assert await counts(db) == (2, 6, 7)


async def test_what_was_deleted_is_not_nothing(db: Database) -> None:
    records = await filled(db, 1)
    await delete(db, records[0].ref, retention=MONTH)
    assert await names_blobs(db)
