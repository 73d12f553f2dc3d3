"""How searches read: whole results at once, of statements that may take long.

On SQLite a statement that finds little takes less time than reaching a thread, so each begins where it is asked for. One that
has gone a certain way without coming to its end is broken off and begun again in a thread, on a connection of its own; its like
go there at once for a while, and are broken off for good when their time is over. On PostgreSQL the driver is handed the text
itself, as in app.db.point_query.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event

from app.db.engine import Database, database_errors, reading
from app.db.sql_text import Sql, numbered

Row = tuple[Any, ...]

# What a statement may take on the event loop, in seconds of processor time, and of waiting for the disk; looked at every so
# many instructions of SQLite's machine.
_BRIEF, _BRIEF_WAIT, _STRIDE = 0.002, 0.02, 1000
_LONG_STRIDE = 100_000
# For how long, in seconds, and of how many statements it is remembered that they took longer.
_REMEMBERED, _MAX_LONG = 60.0, 1024
_ELSEWHERE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT}


async def rows_of(db: Database, statement: Sql) -> list[Row]:
    """Every row of the statement. Values come as the driver gives them. Raises DatabaseUnavailable."""
    if db.dialect == "sqlite":
        with database_errors():
            return await _reader(db).rows(statement)
    async with reading(db) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        rows: list[Row] = await driver.fetch(numbered(statement.text), *statement.values)
        return rows


class SqliteReader:
    """Connections to one file: one of the event loop, those of threads as many as are in use at the same time."""

    def __init__(self, path: str, busy_timeout: float, statement_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._statement_timeout = statement_timeout
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False
        self._processor_end = self._end = 0.0
        self._long: dict[str, float] = {}
        self._brief = self._connect(0)
        self._brief.set_progress_handler(self._has_gone_far, _STRIDE)

    async def rows(self, statement: Sql) -> list[Row]:
        now = perf_counter()
        if self._long.get(statement.text, 0.0) <= now:
            self._processor_end, self._end = thread_time() + _BRIEF, now + _BRIEF_WAIT
            try:
                return look_up(self._brief, statement.text, statement.values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _ELSEWHERE:
                    raise
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    self._remember(statement.text)
        return await self.rows_in_thread(statement)

    async def rows_in_thread(self, statement: Sql) -> list[Row]:
        return await asyncio.to_thread(self._read, statement)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            connections, self._idle = [self._brief, *self._idle], []
        for connection in connections:
            connection.close()

    def _has_gone_far(self) -> bool:
        return thread_time() > self._processor_end or perf_counter() > self._end

    def _remember(self, text: str) -> None:
        if len(self._long) >= _MAX_LONG:
            self._long.clear()
        self._long[text] = perf_counter() + _REMEMBERED

    def _read(self, statement: Sql) -> list[Row]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect(self._busy_timeout)
        end = perf_counter() + self._statement_timeout
        connection.set_progress_handler(lambda: perf_counter() > end, _LONG_STRIDE)
        try:
            return look_up(connection, statement.text, statement.values)
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()

    def _connect(self, timeout: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        # As app.db.engine, for LIKE means the same on every connection.
        for pragma in ("query_only=ON", "case_sensitive_like=ON", "cache_size=-16000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        return connection


def look_up(connection: sqlite3.Connection, text: str, values: tuple[Any, ...]) -> list[Row]:
    """Raises sqlite3.Error."""
    return connection.execute(text, values).fetchall()


# Of each SQLite engine, until it is disposed of.
_readers: WeakKeyDictionary[Engine, SqliteReader] = WeakKeyDictionary()


def _reader(db: Database) -> SqliteReader:
    engine = db.engine.sync_engine
    reader = _readers.get(engine)
    if reader is None:
        reader = _readers[engine] = SqliteReader(str(engine.url.database), db.busy_timeout, db.statement_timeout)
        event.listen(engine, "engine_disposed", _closing(reader), once=True)
    return reader


def _closing(reader: SqliteReader) -> Callable[[Engine], None]:
    def close(engine: Engine) -> None:
        reader.close()
        if _readers.get(engine) is reader:
            del _readers[engine]

    return close
