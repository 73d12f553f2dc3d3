"""The border to the database: URLs, settings, transactions, and what errors are called."""

import asyncio
import sqlite3
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, exc, insert, literal, select, text
from sqlalchemy.util import await_only

from app.db.any_of import any_of, any_of_parameter, listed
from app.db.engine import (
    ATTEMPTS,
    Database,
    TryAgain,
    close_database,
    database_errors,
    normalised_url,
    open_database,
    reading,
    transact,
)
from app.db.inventory import ping
from app.db.point_query import few_rows
from app.db.tables import instances, studies, tombstones
from app.errors import DatabaseUnavailable, NotFound, OutOfSpace


def executing(*statements: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    return work


only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sqlite:///data/x.sqlite", "sqlite+aiosqlite:///data/x.sqlite"),
        ("sqlite+aiosqlite:////x.sqlite", "sqlite+aiosqlite:////x.sqlite"),
        ("postgresql://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgres://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql+psycopg://h/d", "postgresql+asyncpg://h/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql:///d?host=/run/postgresql", "postgresql+asyncpg:///d?host=/run/postgresql"),
    ],
)
def test_urls_name_the_driver(given: str, meant: str) -> None:
    assert normalised_url(given).render_as_string(hide_password=False).replace("%2F", "/") == meant


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        normalised_url(url)


async def test_a_sqlite_file_is_made_in_a_new_folder_and_set_up(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/a/b/c.sqlite")
    async with reading(db) as connection:
        settings = {
            name: await connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}
        assert await connection.scalar(text("SELECT 'a' LIKE 'A'")) == 0
    await close_database(db)


@only_postgresql
async def test_postgresql_is_set_up(db: Database) -> None:
    async with reading(db) as connection:
        for name, value in {
            "plan_cache_mode": "force_custom_plan",
            "application_name": "gantry",
            "statement_timeout": "1min",
            "lock_timeout": "30s",
            "TimeZone": "UTC",
            "jit": "off",
        }.items():
            assert await connection.scalar(text(f"SHOW {name}")) == value


async def test_errors_name_no_values_of_the_statement(db: Database) -> None:
    """They are logged, and values are names of patients."""
    now = datetime.now(UTC)
    row = {"study_instance_uid": "1.2", "patient_name_alphabetic": "doe^jane", "attributes": b"{}"}

    def work(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(insert(studies), [row | {"created_at": now, "updated_at": now}])

    with pytest.raises(exc.IntegrityError) as caught:
        await transact(db, work)
    assert "jane" not in "".join(traceback.format_exception(caught.value))


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await open_database(f"postgresql://u@/d?host={tmp_path}")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(DatabaseUnavailable):
        await open_database("postgresql://u@127.0.0.1:1/d", connect_timeout=2)


async def test_options_of_a_url_that_are_not_known_are_named_without_their_values() -> None:
    with pytest.raises(ValueError, match=r"does not know: connect_timeout, password_file$"):
        await open_database("postgresql://u@127.0.0.1:1/d?password_file=secret&connect_timeout=3")


@only_postgresql
async def test_time_limits_in_a_url_give_way_to_ours(database_url: str) -> None:
    url = normalised_url(database_url).update_query_dict({"timeout": "1", "command_timeout": "1"})
    db = await open_database(url.render_as_string(hide_password=False))
    try:
        assert await few_rows(db, select(literal(1)), {}) == [(1,)]
    finally:
        await close_database(db)


async def test_a_database_that_is_not_there(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        folder = Path(database_url.removeprefix("sqlite:///")).parent
        with pytest.raises(DatabaseUnavailable):
            await open_database(f"sqlite:///{folder}")
    else:
        url = normalised_url(database_url)
        for wrong in (url.set(database="nowhere"), url.set(username="nobody_here")):
            with pytest.raises(DatabaseUnavailable) as caught:
                await open_database(wrong.render_as_string(hide_password=False))
            assert caught.value.__cause__ is not None


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseUnavailable):
        await open_database(f"sqlite:///{path}")


async def test_a_database_that_only_reads(db: Database) -> None:
    statement = "PRAGMA query_only=ON" if db.dialect == "sqlite" else "SET TRANSACTION READ ONLY"
    with pytest.raises(DatabaseUnavailable):
        await transact(db, executing(statement, "DELETE FROM studies"))


async def test_a_database_without_a_schema(db: Database) -> None:
    tables = ("instances", "series", "study_modalities", "studies")
    await transact(db, executing(*(f"DROP TABLE {table}" for table in tables)))
    with pytest.raises(DatabaseUnavailable, match="not been migrated"):
        await ping(db)


async def test_faults_of_ours_keep_their_name(db: Database) -> None:
    with pytest.raises(exc.DBAPIError):
        async with reading(db) as connection:
            await connection.execute(text("SELECT nonsense FROM"))
    with pytest.raises(NotFound), database_errors():
        raise NotFound("x")
    with pytest.raises(KeyError), database_errors():
        raise KeyError("x")


async def test_no_free_connection_in_time(database_url: str) -> None:
    db = await open_database(database_url, pool_size=1, pool_timeout=0.1)
    async with reading(db):
        with pytest.raises(DatabaseUnavailable, match="in time"):
            await ping(db)
    await ping(db)
    await close_database(db)


async def test_writers_wait_for_each_other_and_not_forever(database_url: str) -> None:
    first = await open_database(database_url)
    second = await open_database(database_url, lock_timeout=0.2)
    lock = executing("DELETE FROM studies" if first.dialect == "sqlite" else "LOCK TABLE studies")
    async with first.engine.begin() as connection:
        await connection.run_sync(lock)
        with pytest.raises(DatabaseUnavailable) as caught:
            await transact(second, lock)
        assert caught.value.__cause__ is not None
    await transact(second, lock)
    await close_database(first)
    await close_database(second)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_writers_give_up_together_when_the_busy_timeout_is_over(database_url: str) -> None:
    """Not after that time for each of their tries, one behind the other."""
    first = await open_database(database_url)
    second = await open_database(database_url, lock_timeout=1.0)
    work = executing("DELETE FROM studies")
    async with first.engine.begin() as connection, asyncio.timeout(6):
        await connection.run_sync(work)
        found = await asyncio.gather(*(transact(second, work) for _ in range(4)), return_exceptions=True)
        assert [type(error) for error in found] == [DatabaseUnavailable] * 4
    await asyncio.gather(*(transact(second, work) for _ in range(4)))
    await close_database(first)
    await close_database(second)


@only_postgresql
async def test_statements_end_in_time(database_url: str) -> None:
    db = await open_database(database_url, statement_timeout=0.2)
    with pytest.raises(DatabaseUnavailable):
        async with reading(db) as connection:
            await connection.execute(text("SELECT pg_sleep(5)"))
    await ping(db)
    await close_database(db)


@only_postgresql
async def test_a_restart_of_the_server_costs_no_request(db: Database) -> None:
    async with reading(db) as connection, reading(db) as second:
        ends = [await one.scalar(text("SELECT pg_backend_pid()")) for one in (connection, second)]
    url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    administrator = await asyncpg.connect(url)
    for pid in ends:
        await administrator.fetch("SELECT pg_terminate_backend($1)", pid)
    await administrator.close()
    await asyncio.sleep(0.2)
    await ping(db)


@only_postgresql
async def test_a_connection_lost_underneath(db: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with reading(db) as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await ping(db)


async def test_work_is_tried_again_and_rolled_back_each_time(db: Database) -> None:
    attempts = 0

    def work(connection: Connection) -> str:
        nonlocal attempts
        attempts += 1
        connection.execute(insert(tombstones), [_tombstone(f"key {attempts}")])
        if attempts < 3:
            raise TryAgain
        return "done"

    assert await transact(db, work) == "done"
    async with reading(db) as connection:
        assert list((await connection.execute(select(tombstones.c.blob_key))).scalars()) == ["key 3"]


async def test_whoever_is_cancelled_leaves_a_whole_transaction(db: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        connection.execute(insert(tombstones), [_tombstone("a")])
        begun.set()
        if db.dialect == "sqlite":
            go_on.wait(10)
        else:
            await_only(asyncio.sleep(0.2))
        connection.execute(insert(tombstones), [_tombstone("b")])

    running = asyncio.create_task(transact(db, work))
    await asyncio.to_thread(begun.wait, 10)
    running.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    await transact(db, executing("DELETE FROM studies"))  # the turn was given back
    async with reading(db) as connection:
        found = set((await connection.execute(select(tombstones.c.blob_key))).scalars())
    assert found in (set(), {"a", "b"})


@only_sqlite
async def test_whoever_is_cancelled_when_the_turn_comes_is_cancelled(db: Database) -> None:
    await db.write_turn.acquire()
    waiting = asyncio.create_task(transact(db, executing("DELETE FROM studies")))
    await asyncio.sleep(0.05)
    db.write_turn.release()
    await asyncio.sleep(0)  # the turn is given to it, and it does not know yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await transact(db, executing("DELETE FROM studies"))  # the turn was given back


async def test_work_is_not_tried_forever(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.db.engine._FIRST_PAUSE", 0.0001)
    attempts = 0

    def work(_connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        raise TryAgain

    with pytest.raises(DatabaseUnavailable, match="busy"):
        await transact(db, work)
    assert attempts == ATTEMPTS


@only_postgresql
async def test_a_deadlock_is_tried_again(db: Database) -> None:
    await transact(db, lambda one: one.execute(insert(tombstones), [_tombstone("a"), _tombstone("b")]))
    met = asyncio.Barrier(2)
    attempts = 0

    async def both(first: str, second: str) -> None:
        def work(connection: Connection) -> None:
            nonlocal attempts
            attempts += 1
            update = text("UPDATE tombstones SET size = size + 1 WHERE blob_key = :key")
            connection.execute(update, {"key": first})
            if attempts <= 2:
                await_only(met.wait())
            connection.execute(update, {"key": second})

        await transact(db, work)

    await asyncio.gather(both("a", "b"), both("b", "a"))
    assert attempts == 3
    async with reading(db) as connection:
        assert list((await connection.execute(select(tombstones.c.size))).scalars()) == [3, 3]


def test_a_full_disk_has_its_own_name() -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    with pytest.raises(OutOfSpace), database_errors():
        raise exc.OperationalError("INSERT", {}, full)
    with pytest.raises(OutOfSpace), database_errors():
        raise asyncpg.exceptions.DiskFullError("no space left on device")


@pytest.mark.parametrize("values", [["a", "b"], ["'", '"', "\\", "ä"], [], [f"k{number}" for number in range(3000)]])
async def test_any_of(db: Database, values: list[str]) -> None:
    keys = [*values[:10], "other"]
    await transact(db, lambda one: one.execute(insert(tombstones), [_tombstone(key) for key in keys]))
    async with reading(db) as connection:
        found = select(tombstones.c.blob_key).where(any_of(db.dialect, tombstones.c.blob_key, values))
        assert set((await connection.execute(found)).scalars()) == set(values[:10])
        sizes = select(tombstones.c.id).where(any_of(db.dialect, tombstones.c.size, [1, 2**40]))
        assert len((await connection.execute(sizes)).all()) == len(keys)
        named = any_of_parameter(db.dialect, tombstones.c.blob_key, "keys")
        again = await connection.execute(
            select(tombstones.c.blob_key).where(named), {"keys": listed(db.dialect, values)}
        )
        assert set(again.scalars()) == set(values[:10])
        nothing = select(instances.c.id).where(any_of(db.dialect, instances.c.id, []))
        assert (await connection.execute(nothing)).all() == []


def _tombstone(key: str) -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "study_instance_uid": "1",
        "series_instance_uid": "1",
        "sop_instance_uid": "1",
        "reason": "deleted",
        "blob_key": key,
        "size": 1,
        "digest": "",
        "created_at": now,
        "expires_at": now,
    }
