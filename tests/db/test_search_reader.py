"""Statements of searches: the brief ones where they are asked for, the others in threads."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from app.db import kept_rows, search_reader
from app.db.engine import Database, close_database, open_database, reading, transact
from app.db.search import search
from app.db.search_reader import rows_of
from app.db.sql_text import Sql, all_of, is_any, numbered, one_of, sql, with_numbers
from app.dicom.matching import Level, SearchQuery
from app.errors import DatabaseUnavailable
from tests.support.archive import dataset, instance, store
from tests.support.databases import StatementCounter

_COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT count(*) FROM n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_takes_long_goes_on_in_a_thread(
    db: Database, statement_counter: StatementCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_reader, "_BRIEF", 0.002)
    brief, long = sql(_COUNTING, 10), sql(_COUNTING + " ", 300_000)
    with statement_counter.counting(1):
        assert await rows_of(db, brief) == [(10,)]
    steps = 0

    async def others() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    with statement_counter.counting(2):  # broken off, and begun again
        assert await rows_of(db, long) == [(300_000,)]
    task.cancel()
    assert steps > 10
    with statement_counter.counting(1):
        assert await rows_of(db, long) == [(300_000,)]
    with statement_counter.counting(1):
        assert await rows_of(db, brief) == [(10,)]
    monkeypatch.setattr(search_reader, "_REMEMBERED", -1.0)
    for _ in range(2):
        with statement_counter.counting(2):  # forgotten, and tried again
            assert await rows_of(db, sql(_COUNTING + "  ", 300_000)) == [(300_000,)]


async def test_nothing_takes_for_ever(database_url: str) -> None:
    for_ever = sql(_COUNTING + " ", 2**31 - 1)
    db = await open_database(database_url, statement_timeout=0.3)
    try:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await rows_of(db, for_ever)
        assert await rows_of(db, sql("SELECT count(*) FROM studies")) == [(0,)]
        assert await rows_of(db, sql(_COUNTING, 10)) == [(10,)]
    finally:
        await close_database(db)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_long_ones_side_by_side(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_reader, "_BRIEF_WAIT", -1.0)
    monkeypatch.setattr(search_reader, "_MAX_LONG", 3)
    statements = [sql(_COUNTING + " " * number, 5_000 + number) for number in range(20)]
    found = await asyncio.gather(*(rows_of(db, statement) for statement in statements))
    assert found == [[(5_000 + number,)] for number in range(20)]


async def test_values_are_numbered_in_their_order(db: Database) -> None:
    number = "?::bigint" if db.dialect == "postgresql" else "?"
    statement = all_of([sql(f"{number} = 1", 1), one_of([sql(f"{number} = 3", 2), sql(f"{number} = 3", 3)])])
    assert await rows_of(db, sql(f"SELECT 1 WHERE {statement.text}", *statement.values))
    assert not await rows_of(db, sql(f"SELECT 1 WHERE {statement.text}", *reversed(statement.values)))
    assert numbered("a = ? AND b = ?") == "a = $1 AND b = $2"
    assert all_of([]) == Sql("TRUE")
    assert one_of([]) == Sql("FALSE")
    assert is_any(db.dialect, "a", []) == Sql("FALSE")
    assert is_any(db.dialect, "a", ["x"]) == sql("a = ?", "x")
    assert with_numbers(sql("a LIMIT ? OFFSET ?", 10, 2**40)) == Sql(f"a LIMIT 10 OFFSET {2**40}")
    with pytest.raises(ValueError, match="format code"):
        with_numbers(sql("a = ?", "1; DROP TABLE studies"))


async def test_instances_that_were_stored_before_their_attributes_were_prepared(db: Database) -> None:
    sequence = [dataset(Rows=1)]
    attributes: dict[str, Any] = {"Rows": 2, "Columns": 3, "NumberOfFrames": 4, "TimezoneOffsetFromUTC": "+0100"}
    await store(
        db,
        [
            instance("1", "1.1", "1.1.1", InstanceNumber=7, ReferencedImageSequence=sequence, **attributes),
            instance("1", "1.1", "1.1.2", NumberOfFrames="x" * 100_000, BitsAllocated=None),
        ],
    )
    query = SearchQuery(Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1")
    prepared = await search(db, query)
    async with reading(db) as connection:
        known = (await connection.execute(text("SELECT attributes FROM instances ORDER BY id"))).scalars().all()
    assert known[0] is not None
    assert known[1] is None  # too much of it
    await transact(db, lambda connection: connection.execute(text("UPDATE instances SET attributes = NULL")))
    assert await search(db, query) == prepared
    assert prepared.results[0].dataset["00280010"] == {"vr": "US", "Value": [2]}
    assert prepared.results[0].dataset["00280008"] == {"vr": "IS", "Value": [4]}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_rows_without_an_end_are_fetched_in_a_thread(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is soon there, the others take long."""
    monkeypatch.setattr(search_reader, "_BRIEF", 0.002)
    endless = sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n", 200_000
    )
    for _ in range(2):
        assert await rows_of(db, endless) == [(number,) for number in range(1, 200_001)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_was_long_once_need_not_be_long_again(
    db: Database, statement_counter: StatementCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_reader, "_BRIEF", 0.01)
    monkeypatch.setattr(kept_rows, "SECONDS", 0.0)
    statement = _COUNTING + "   "
    with statement_counter.counting(2):
        assert await rows_of(db, sql(statement, 1_000_000)) == [(1_000_000,)]
    reader = search_reader._reader(db)
    for left in (2, 1, 0):
        assert statement in reader._long, left
        assert await rows_of(db, sql(statement, 10)) == [(10,)]
    assert statement not in reader._long


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_whoever_leaves_leaves_the_connection(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_reader, "_BRIEF", 0.002)
    reader = search_reader._reader(db)
    asked = [asyncio.create_task(rows_of(db, sql(_COUNTING + "    ", 300_000 + n))) for n in range(3)]
    await asyncio.sleep(0.02)
    for task in asked:
        task.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*asked, return_exceptions=True))
    async with asyncio.timeout(10):
        while not reader._idle:  # noqa: ASYNC110 - what is waited for happens in threads
            await asyncio.sleep(0.01)
    assert await rows_of(db, sql(_COUNTING + "    ", 300_000)) == [(300_000,)]
