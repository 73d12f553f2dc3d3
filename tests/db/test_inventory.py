"""The archive as a whole."""

from datetime import timedelta

import pytest

from app.db.deletion import delete
from app.db.engine import Database, close_database, open_database
from app.db.ingest import DuplicatePolicy, ingest
from app.db.inventory import (
    clear,
    counts,
    iterate_instances,
    names_blobs,
    ping,
    referenced_keys,
    tombstoned_keys,
)
from app.db.locate import locate_instance
from app.db.tombstones import list_tombstones
from app.dicom.instance import InstanceRecord
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


async def test_clearing(db: Database) -> None:
    records = await filled(db)
    await delete(db, records[0].ref, retention=MONTH)
    await clear(db)
    assert not await names_blobs(db)
    assert await counts(db) == (0, 0, 0)
    assert await list_tombstones(db) == []
    await assert_consistent(db)
    await filled(db)
    await assert_consistent(db)
