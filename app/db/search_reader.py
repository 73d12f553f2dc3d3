"""How searches read: whole results at once, of statements that may take long.

On SQLite a statement that finds little takes less time than reaching a thread, so each begins where it is asked for. One that
has gone a certain way without coming to its end is broken off and begun again in a thread, on a connection of its own; its like
go there at once for a while, and are broken off for good when their time is over. On PostgreSQL the driver is handed the text
itself, as in app.db.point_query.

A thread goes as far as the first row: what is sorted or counted has then been found. The rows are fetched by the event loop: in
a thread the interpreter's lock is given up for each of them, and while the loop is busy it comes back after 5 ms.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event

from app.db.engine import Database, database_errors, reading
from app.db.postgresql import STATE
from app.db.sql_text import Sql, numbered

Row = tuple[Any, ...]

# What a statement may take on the event loop, in seconds of processor time (about what results of a turn of rows take there), and
# of waiting for the disk; looked at every so many instructions of SQLite's machine.
_BRIEF, _BRIEF_WAIT, _STRIDE = 0.005, 0.02, 1000
_LONG_STRIDE = 100_000
_CACHE, _CACHE_OF_THREAD = 16_000, 8_000  # KiB of pages; there may be half a dozen threads
# For how long, in seconds, and of how many statements it is remembered that they took longer, unless so many in a row do not.
_REMEMBERED, _MAX_LONG, _IN_A_ROW = 60.0, 1024, 3
_WITH_STATE = f"SELECT ({STATE}) AS state, found.* FROM ({{}}) found"  # noqa: S608 - both texts are ours
_ELSEWHERE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT}


async def rows_of(db: Database, statement: Sql, *, in_one_way: bool = False) -> Sequence[Row]:
    """Every row of the statement, not to be changed. Values come as the driver gives them. Raises DatabaseUnavailable.

    in_one_way  whether there is one way to find them, whatever the values, as by unique keys: then PostgreSQL keeps the plan, as
                it does where there are no values
    """
    is_asked_again = db.kept_rows.is_asked_again(statement)
    if db.dialect == "sqlite":
        with database_errors():
            return await _of_sqlite(db, statement, is_asked_again=is_asked_again)
    return await _of_postgresql(db, statement, in_one_way=in_one_way, is_asked_again=is_asked_again)


async def _of_sqlite(db: Database, statement: Sql, *, is_asked_again: bool) -> Sequence[Row]:
    reader = _reader(db)
    state = reader.state() if is_asked_again else None
    if state is None:
        return await reader.rows(statement)
    found = db.kept_rows.rows(statement, state)
    if found is None:
        found = await reader.rows(statement)
        db.kept_rows.keep(statement, state, found)
    return found


async def _of_postgresql(db: Database, statement: Sql, *, in_one_way: bool, is_asked_again: bool) -> Sequence[Row]:
    if is_asked_again and db.look_ups is not None and db.kept_rows.holds(statement):
        with database_errors():
            state = await db.look_ups.state()
        if (kept := db.kept_rows.rows(statement, state)) is not None:
            return kept
    text = numbered(statement.text)
    if not is_asked_again:
        return await _fetched(db, text, statement.values, in_one_way=in_one_way)
    rows = await _fetched(db, _WITH_STATE.format(text), statement.values, in_one_way=in_one_way)
    found = [row[1:] for row in rows]
    if rows:  # none says nothing of the state
        db.kept_rows.keep(statement, rows[0][0], found)
    return found


async def _fetched(db: Database, text: str, values: tuple[Any, ...], *, in_one_way: bool) -> list[Row]:
    if (in_one_way or not values) and db.look_ups is not None:
        with database_errors():
            return await db.look_ups.fetch(text, values)
    async with reading(db) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        return [tuple(row) for row in await driver.fetch(text, *values)]


@dataclass(slots=True)
class _Long:
    """A statement that took long: until when that is remembered, and how often in a row it has been brief since."""

    until: float
    brief: int = 0


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
        self._long: dict[str, _Long] = {}
        self._brief = self._connect(0, _CACHE)
        self._brief.set_progress_handler(self._has_gone_far, _STRIDE)

    async def rows(self, statement: Sql) -> list[Row]:
        long = self._long.get(statement.text)
        if long is None or long.until <= perf_counter():
            self._be_brief()
            try:
                return execute(self._brief, statement.text, statement.values).fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _ELSEWHERE:
                    raise
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    long = self._remember(statement.text)
        return await self.rows_in_thread(statement, long)

    def state(self) -> int | None:
        """Another number after any change, by whatever process; None while that cannot be told."""
        try:
            ((number,),) = self._brief.execute("PRAGMA data_version").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _ELSEWHERE:
                raise
            return None
        return int(number)

    async def rows_in_thread(self, statement: Sql, long: _Long | None = None) -> list[Row]:
        """By way of a thread. What it took is noted in `long`."""
        beginning = asyncio.get_running_loop().run_in_executor(None, self._begin, statement)
        try:
            connection, cursor, took = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._drop)
            raise
        if long is not None:
            self._note(statement.text, long, took)
        try:
            self._be_brief()
            connection.set_progress_handler(self._has_gone_far, _STRIDE)
            return cursor.fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        finally:
            cursor.close()
            self._give_back(connection)
        return await asyncio.to_thread(self._read, statement)  # rows without end, or each found by itself

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            connections, self._idle = [self._brief, *self._idle], []
        for connection in connections:
            connection.close()

    def _be_brief(self) -> None:
        self._processor_end, self._end = thread_time() + _BRIEF, perf_counter() + _BRIEF_WAIT

    def _has_gone_far(self) -> bool:
        return thread_time() > self._processor_end or perf_counter() > self._end

    def _remember(self, text: str) -> _Long:
        if len(self._long) >= _MAX_LONG:
            self._long.clear()
        long = self._long[text] = _Long(perf_counter() + _REMEMBERED)
        return long

    def _note(self, text: str, long: _Long, took: float) -> None:
        """Other values, or a disk that has woken up, may make a statement brief."""
        long.brief = long.brief + 1 if took < _BRIEF / 2 else 0
        if long.brief >= _IN_A_ROW:
            self._long.pop(text, None)

    # What follows runs in threads, but for _give_back and _drop.

    def _begin(self, statement: Sql) -> tuple[sqlite3.Connection, sqlite3.Cursor, float]:
        """As far as the first row; processor time in seconds."""
        connection = self._take()
        began = thread_time()
        try:
            return connection, execute(connection, statement.text, statement.values), thread_time() - began
        except BaseException:
            self._give_back(connection)
            raise

    def _read(self, statement: Sql) -> list[Row]:
        connection = self._take()
        try:
            return execute(connection, statement.text, statement.values).fetchall()
        finally:
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        """A connection on which a statement may go on until its time is over."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect(self._busy_timeout, _CACHE_OF_THREAD)
        end = perf_counter() + self._statement_timeout
        connection.set_progress_handler(lambda: perf_counter() > end, _LONG_STRIDE)
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            is_kept = not self._is_closed
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()

    def _drop(self, begun: "asyncio.Future[tuple[sqlite3.Connection, sqlite3.Cursor, float]]") -> None:
        """Whoever waited for it has gone."""
        if not begun.cancelled() and begun.exception() is None:
            connection, cursor, _ = begun.result()
            cursor.close()
            self._give_back(connection)

    def _connect(self, timeout: float, cache: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        # As app.db.engine, for LIKE means the same on every connection.
        for pragma in ("query_only=ON", "case_sensitive_like=ON", f"cache_size=-{cache}", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        return connection


def execute(connection: sqlite3.Connection, text: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
    """As far as the first row. Raises sqlite3.Error."""
    return connection.execute(text, values)


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
