"""Connections, transactions and errors: the border that every statement crosses.

`reading` gives a connection on which each statement stands alone (no BEGIN, no COMMIT round trips); `transact` runs a plain
function in one short write transaction, again when the database asks for it. Nothing of SQLAlchemy or of a driver is raised
from here, but for faults of ours; these name no values of their statement, for they are logged, and values are patients' data.

SQLite allows one writer at a time: writers of one process take turns at a lock here, those of several processes queue at
BEGIN IMMEDIATE; both together for up to the busy timeout. A transaction that begins by reading and then writes would fail at
once instead. The whole transaction runs in one thread: through the asynchronous driver each statement would change threads
five times.
"""

import asyncio
import random
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, exc, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.db.kept_rows import KeptRows
from app.db.known_many import KnownMany
from app.db.postgresql import SOLE_USER, USER, ConnectionLimits, LookUps, postgresql_engine
from app.dicom.matching import AttributePath
from app.errors import DatabaseUnavailable, GantryError, OutOfSpace

Dialect = Literal["sqlite", "postgresql"]
T = TypeVar("T")

ATTEMPTS = 8
_FIRST_PAUSE = 0.02  # seconds; doubled at each further attempt, with jitter
_RETRIABLE = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "23503",  # foreign_key_violation: the study was deleted between our look and our insert
}
_OUT_OF_SPACE = {"53100"}
# Classes 08 connection, 53 resources, 57 operator intervention (statement timeout, shutdown), 58 system error.
_UNAVAILABLE_CLASSES = {"08", "53", "57", "58"}
_UNAVAILABLE_STATES = {
    "25006",
    "25P03",
    "28000",
    "28P01",
    "3D000",
    "40001",
    "40P01",
    "42501",
    "42P01",
    "55P03",
    "55006",
}
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_UNAVAILABLE = _SQLITE_BUSY | {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


class TryAgain(Exception):
    """Raised by the work of `transact` to be run again: what it had looked up has changed underneath."""


@dataclass(frozen=True, slots=True)
class Database:
    """engine begins write transactions; reader shares its connections and begins none. searchable: the attributes
    that the operator made searchable besides the default ones (GANTRY_SEARCHABLE_ATTRIBUTES); incomplete: those that
    instances of before have no values of (app.db.indexed_paths). writer and write_thread are
    SQLite's: the one connection that writes, and where. look_ups: PostgreSQL's. known_many, kept_rows: of searches."""

    engine: AsyncEngine
    reader: AsyncEngine
    dialect: Dialect
    searchable: tuple[AttributePath, ...] = ()
    busy_timeout: float = 30.0
    statement_timeout: float = 60.0
    write_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    writer: Engine | None = None
    write_thread: ThreadPoolExecutor | None = None
    look_ups: LookUps | None = None
    known_many: KnownMany = field(default_factory=KnownMany)
    kept_rows: KeptRows = field(default_factory=KeptRows)
    incomplete: set[AttributePath] = field(default_factory=set)

    @property
    def indexed(self) -> tuple[AttributePath, ...]:
        """Of `searchable`, what a search may look up."""
        return (
            tuple(path for path in self.searchable if path not in self.incomplete)
            if self.incomplete
            else self.searchable
        )


async def open_database(
    url: str,
    *,
    pool_size: int = 10,
    searchable: Sequence[AttributePath] = (),
    alone: bool = False,
    statement_timeout: float = 60.0,
    lock_timeout: float = 30.0,
    connect_timeout: float = 10.0,
    pool_timeout: float = 30.0,
) -> Database:
    """Open a database and try it once. The schema is not looked at: see app.db.migrate.

    url is `sqlite:///path` or `postgresql://user:password@host/name`, drivers may be named; times are in seconds. alone: for who is
    to have the database to itself (app.db.sole_use).
    Raises ValueError for any other URL and for options that are not known, DatabaseUnavailable.
    """
    parsed = normalised_url(url)
    if parsed.get_backend_name() == "sqlite":
        with database_errors():
            await asyncio.to_thread(_prepare_sqlite_file, str(parsed.database), lock_timeout)
        engine = _sqlite_engine(parsed, pool_size, pool_timeout, lock_timeout)
        return Database(
            engine,
            engine.execution_options(gantry_begin=False),
            "sqlite",
            tuple(searchable),
            lock_timeout,
            statement_timeout,
            writer=_sqlite_writer(parsed, lock_timeout),
            write_thread=ThreadPoolExecutor(1, thread_name_prefix="sqlite-write"),
        )
    name = SOLE_USER if alone else USER
    limits = ConnectionLimits(connect_timeout, pool_timeout, statement_timeout, lock_timeout)
    engine = postgresql_engine(parsed, pool_size, limits, name)
    reader = engine.execution_options(isolation_level="AUTOCOMMIT")
    look_ups = await LookUps.open(parsed, limits, name)
    db = Database(engine, reader, "postgresql", tuple(searchable), lock_timeout, statement_timeout, look_ups=look_ups)
    try:
        async with reading(db) as connection:
            await connection.execute(text("SELECT 1"))
    except BaseException:
        await close_database(db)
        raise
    return db


async def close_database(db: Database) -> None:
    """Close every connection."""
    if db.look_ups is not None:
        await db.look_ups.close()
    if db.write_thread is not None and db.writer is not None:
        await asyncio.to_thread(db.write_thread.shutdown)
        db.writer.dispose()
    await db.engine.dispose()


@asynccontextmanager
async def reading(db: Database) -> AsyncIterator[AsyncConnection]:
    """A connection for single statements that only read. Raises DatabaseUnavailable."""
    with database_errors():
        async with db.reader.connect() as connection:
            yield connection


async def transact(db: Database, work: Callable[[Connection], T]) -> T:
    """Run `work` in a transaction; again, a bounded number of times, after a deadlock, a serialization failure, a
    parent deleted meanwhile or a busy database. Committed on return. Raises DatabaseUnavailable, OutOfSpace.

    A SQLite database that others keep locked is waited for until its busy timeout is over, however often that is tried.
    """
    pause = _FIRST_PAUSE
    deadline = time.monotonic() + db.busy_timeout
    for attempt in range(ATTEMPTS):
        try:
            with database_errors():
                return await _transaction(db, work, deadline)
        except TryAgain:
            pass
        except (exc.DBAPIError, DatabaseUnavailable) as error:
            is_over = db.writer is not None and time.monotonic() > deadline
            if is_over or attempt + 1 == ATTEMPTS or not _is_retriable(error):
                raise
        await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
        pause *= 2
    raise DatabaseUnavailable("the database is too busy")


async def _transaction(db: Database, work: Callable[[Connection], T], deadline: float) -> T:
    if db.writer is None or db.write_thread is None:
        async with db.engine.begin() as connection:
            return await connection.run_sync(work)
    async with asyncio.timeout(deadline - time.monotonic()):  # wait_for of Python 3.11 may lose a cancellation
        await db.write_turn.acquire()
    try:
        return await _to_its_end(db.write_thread.submit(_write, db.writer, work))
    finally:
        db.write_turn.release()


def _write(writer: Engine, work: Callable[[Connection], T]) -> T:
    with writer.begin() as connection:
        return work(connection)


async def _to_its_end(running: Future[T]) -> T:
    """The result. Whoever is cancelled meanwhile waits for the end all the same: the turn is given up only then."""
    waiting = asyncio.wrap_future(running)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        while not waiting.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.exception()  # seen: the event loop need not report it
        raise


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns what says "not now" into DatabaseUnavailable or OutOfSpace; leaves what is a fault of ours as it is."""
    try:
        yield
    except GantryError:
        raise
    except _errors_of_databases() as error:
        named = _named(error)
        if named is None:
            raise
        raise named from error


def normalised_url(url: str) -> URL:
    """With the asynchronous driver named. Raises ValueError."""
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise ValueError("the database URL cannot be read: sqlite:///path or postgresql://user@host/name") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:") or str(parsed.database).startswith("file:"):
            raise ValueError("a SQLite database must be a file: sqlite:///path")
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+asyncpg")
        if "sslmode" in parsed.query:  # libpq's word for it; asyncpg takes the same values under another name
            ssl = parsed.query["sslmode"]
            parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": ssl})
        return parsed
    raise ValueError(f"{backend} is not supported: use sqlite:///path or postgresql://user@host/name")


def migration_engine(db: Database) -> AsyncEngine:
    """One connection without the time limits of requests, for statements that may take as long as they need."""
    url = db.engine.url
    if db.dialect == "sqlite":
        return _sqlite_engine(url, 1, 30.0, db.busy_timeout)
    settings = {"application_name": "gantry migrate", "timezone": "UTC"}
    connect_args = {"server_settings": settings}
    return create_async_engine(url, hide_parameters=True, poolclass=NullPool, connect_args=connect_args)


def _prepare_sqlite_file(path: str, timeout: float) -> None:
    """Create the file if need be and put it into WAL mode, which it keeps: one connection does it for all."""
    Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    while True:
        connection = sqlite3.connect(path, timeout=timeout)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait its busy timeout here: several processes at a new file would fail at once.
            if _sqlite_code(error) not in _SQLITE_BUSY or time.monotonic() > deadline:
                raise
        finally:
            connection.close()
        time.sleep(_FIRST_PAUSE)


def _sqlite_engine(url: URL, pool_size: int, pool_timeout: float, busy_timeout: float) -> AsyncEngine:
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        connect_args={"timeout": busy_timeout, "isolation_level": None, "cached_statements": 256},
    )
    _configure_sqlite(engine.sync_engine, busy_timeout)
    return engine


def _sqlite_writer(url: URL, busy_timeout: float) -> Engine:
    busy_timeout /= ATTEMPTS  # SQLite looks more and more rarely: where others write all the time, a new try is luckier
    engine = create_engine(
        url.set(drivername="sqlite"),
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        connect_args={"timeout": busy_timeout, "isolation_level": None, "check_same_thread": False},
    )
    _configure_sqlite(engine, busy_timeout)
    return engine


def _configure_sqlite(engine: Engine, busy_timeout: float) -> None:
    pragmas = (
        f"PRAGMA busy_timeout={int(busy_timeout * 1000)}",
        "PRAGMA synchronous=FULL",  # in WAL mode anything less may lose the last commits with the power
        "PRAGMA foreign_keys=ON",
        "PRAGMA case_sensitive_like=ON",
        "PRAGMA cache_size=-16000",
        "PRAGMA journal_size_limit=67108864",
        "PRAGMA temp_store=MEMORY",
    )

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: Any) -> None:
        cursor = dbapi_connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("gantry_begin", True):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _named(error: BaseException) -> GantryError | None:
    if isinstance(error, exc.TimeoutError | TimeoutError):
        return DatabaseUnavailable("the database did not answer in time")
    if isinstance(error, OSError):
        return DatabaseUnavailable("the database cannot be reached")
    state = _sqlstate(error)
    if state is not None:
        if state in _OUT_OF_SPACE:
            return OutOfSpace("the database has no room left")
        if state == "42P01":
            return DatabaseUnavailable("the database has not been migrated yet")
        if state in _UNAVAILABLE_STATES or state[:2] in _UNAVAILABLE_CLASSES:
            return DatabaseUnavailable("the database cannot be used at the moment")
        return None
    code = _sqlite_code(error)
    if code == sqlite3.SQLITE_FULL:
        return OutOfSpace("the database has no room left")
    if code == sqlite3.SQLITE_INTERRUPT:
        return DatabaseUnavailable("the database did not answer in time")
    if code in _SQLITE_UNAVAILABLE:
        return DatabaseUnavailable("the database cannot be used at the moment")
    if code == sqlite3.SQLITE_ERROR and "no such table" in str(error):
        return DatabaseUnavailable("the database has not been migrated yet")
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailable("the connection to the database was lost")
    if isinstance(error, (exc.InterfaceError, exc.DisconnectionError, *_asyncpg_errors("InterfaceError"))):
        return DatabaseUnavailable("the connection to the database was lost")
    return None


def _errors_of_databases() -> tuple[type[Exception], ...]:
    drivers = _asyncpg_errors("PostgresError", "InterfaceError")
    return (exc.SQLAlchemyError, sqlite3.Error, OSError, TimeoutError, *drivers)


def _asyncpg_errors(*names: str) -> tuple[type[Exception], ...]:
    """Asked for when something was raised: nothing of asyncpg before it was imported, and SQLite does without."""
    asyncpg = sys.modules.get("asyncpg")
    return () if asyncpg is None else tuple(getattr(asyncpg, name) for name in names)


def _is_retriable(error: BaseException | None) -> bool:
    while isinstance(error, GantryError):
        error = error.__cause__
    return error is not None and (_sqlstate(error) in _RETRIABLE or _sqlite_code(error) in _SQLITE_BUSY)


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None


def _sqlite_code(error: BaseException | None) -> int | None:
    """The primary result code: extended ones carry theirs in the higher bytes."""
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None
