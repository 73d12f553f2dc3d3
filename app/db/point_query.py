"""Statements of the hot paths: compiled once, sent by the driver itself.

SQLAlchemy's execution costs 0.7 ms of processor time per statement on SQLite (five trips to the connection's thread) and 0.5 on
PostgreSQL. Here it is 0.03 on SQLite: a look-up by unique keys takes less time than reaching a thread, so it is made on a
connection of its own where it is asked for; only when that database is locked does it take the way through the pool. On
PostgreSQL it is 0.15, on the connections of app.db.postgresql.
"""

import functools
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, Column, Engine, Select, bindparam, column, event, func, make_url, select, true
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from app.db.engine import Database, Dialect, database_errors, reading
from app.db.postgresql import LookUps
from app.db.sql_text import Sql

Row = tuple[Any, ...]
T = TypeVar("T")

# Of each SQLite engine, until it is disposed of.
_connections: WeakKeyDictionary[Engine, sqlite3.Connection] = WeakKeyDictionary()
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


async def first_row(db: Database, statement: Select[Any], values: Mapping[str, Any]) -> Row | None:
    """The first row of `few_rows`. On PostgreSQL, what is looked up while others do the same goes together: under load that takes
    a third of the time.
    """
    if db.look_ups is not None:
        with database_errors():  # that nobody had a turn for it is one
            (row,) = await db.look_ups.together.put(_first_rows, (db.look_ups, statement), [values])
        return row
    rows = await few_rows(db, statement, values)
    return rows[0] if rows else None


async def _first_rows(manner: tuple[LookUps, Select[Any]], asked: Sequence[Mapping[str, Any]]) -> list[Row | None]:
    """For each of `asked`, by one statement."""
    look_ups, statement = manner
    found: list[Row | None] = [None] * len(asked)
    if len(asked) == 1:
        numbered = [(1, *row) for row in await _fetch(look_ups, statement, asked[0])]
    else:
        values = {name: [one[name] for one in asked] for name in asked[0]}
        numbered = await _fetch(look_ups, _of_many(statement), values)
    for number, *row in numbered:
        found[number - 1] = found[number - 1] or tuple(row)
    return found


async def _fetch(look_ups: LookUps, statement: Select[Any], values: Mapping[str, Any]) -> list[Row]:
    sql, parameters = as_text(statement, values, "postgresql")
    with database_errors():
        return await look_ups.fetch(sql, parameters)


async def few_rows(db: Database, statement: Select[Any], values: Mapping[str, Any]) -> list[Row]:
    """Rows found by unique keys.

    `statement` is one of few that live as long as the program; `values` by the names of its parameters.
    Values come as the driver gives them: on SQLite times are naive texts. Raises DatabaseUnavailable.
    """
    if db.look_ups is not None:  # PostgreSQL
        return await _fetch(db.look_ups, statement, values)
    sql, parameters = as_text(statement, values, db.dialect)
    with suppress(Locked):
        return at_once(db, lambda connection: look_up(connection, sql, parameters))
    async with reading(db) as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        return [tuple(row) for row in await driver.execute_fetchall(sql, parameters)]


class Locked(Exception):
    """The SQLite database cannot be read without waiting."""


def at_once(db: Database, look: Callable[[sqlite3.Connection], T]) -> T:
    """With the connection of SQLite for look-ups where they are asked for. Raises Locked, DatabaseUnavailable."""
    engine = db.engine.sync_engine
    try:
        connection = _connections.get(engine)
        if connection is None:
            connection = _connections[engine] = _open(engine)
        return look(connection)
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in _BUSY:
            raise Locked from error
        failure = error
    with database_errors():
        raise failure
    raise failure  # only where that is a fault of ours


def row_at_once(db: Database, statement: Select[Any], values: Mapping[str, Any]) -> Row | None:
    """As `first_row`, of SQLite only. Raises Locked, DatabaseUnavailable."""
    sql, parameters = as_text(statement, values, "sqlite")
    rows = at_once(db, lambda connection: look_up(connection, sql, parameters))
    return rows[0] if rows else None


def at_one_moment(db: Database, look: Callable[["Moment"], T]) -> T:
    """Several look-ups in one state of a SQLite database. Raises Locked, DatabaseUnavailable."""

    def look_within(connection: sqlite3.Connection) -> T:
        connection.execute("BEGIN")
        try:
            return look(Moment(connection))
        finally:
            connection.execute("ROLLBACK")

    return at_once(db, look_within)


@dataclass(frozen=True, slots=True)
class Moment:
    """What `at_one_moment` gives."""

    connection: sqlite3.Connection

    def first_row(self, statement: Select[Any], values: Mapping[str, Any]) -> Row | None:
        """As `first_row` above."""
        rows = look_up(self.connection, *as_text(statement, values, "sqlite"))
        return rows[0] if rows else None

    def open_value(self, column: Column[Any], row_id: int) -> sqlite3.Blob:
        """A value that is there, to be read by slices: what lies before them is passed over, not loaded."""
        return self.connection.blobopen(column.table.name, column.name, row_id, readonly=True)


def change_number(db: Database) -> int | None:
    """A number that is another one after the database was changed, by whatever process, in the time in which a quarter of a look-up
    is made. None where there is none: on PostgreSQL, while SQLite's database is locked. Raises DatabaseUnavailable.
    """
    if db.dialect != "sqlite":
        return None
    with suppress(Locked):
        return at_once(db, _data_version)
    return None


def _data_version(connection: sqlite3.Connection) -> int:
    # Means something only on one and the same connection, as long as that changes nothing itself.
    ((number,),) = look_up(connection, "PRAGMA data_version", ())
    return int(number)


def look_up(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
    """At once and without waiting for a lock. Raises sqlite3.Error."""
    return connection.execute(sql, parameters).fetchall()


def _open(engine: Engine) -> sqlite3.Connection:
    """A connection that only reads. It is used by whoever holds the event loop, one statement at a time."""
    connection = sqlite3.connect(
        str(engine.url.database), timeout=0, isolation_level=None, check_same_thread=False, cached_statements=32
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA cache_size=-8000")

    @event.listens_for(engine, "engine_disposed", once=True)
    def close(_engine: Engine) -> None:
        connection.close()
        if _connections.get(engine) is connection:
            del _connections[engine]

    return connection


def as_text(statement: Select[Any], values: Mapping[str, Any], dialect: Dialect) -> Sql:
    """What the driver takes: the text, and the values of its parameters in their order."""
    sql, names, fixed = _compiled(statement, dialect)
    return Sql(sql, tuple(values[name] if name in values else fixed[name] for name in names))


@functools.cache
def _of_many(statement: Select[Any]) -> Select[Any]:
    """The same of PostgreSQL for a list of values for each parameter; in front of a row stands which of them found it, from 1."""
    # Half a dialect of 5 MB, which an archive on SQLite does without.
    from sqlalchemy.dialects.postgresql import ARRAY

    named: dict[str, BindParameter[Any]] = {
        one.key: one for one in iterate(statement) if isinstance(one, BindParameter) and not one.unique
    }
    lists = [bindparam(name, type_=ARRAY(one.type)) for name, one in named.items()]
    columns = [column(name, one.type) for name, one in named.items()]
    asked = func.unnest(*lists).table_valued(*columns, with_ordinality="number", name="asked").render_derived()

    def value_of(element: Any, **_: Any) -> Any:
        return asked.c[element.key] if isinstance(element, BindParameter) and not element.unique else None

    of_each: Any = replacement_traverse(statement, {}, value_of)
    found = of_each.lateral("found")
    return select(asked.c.number, *found.c).select_from(asked.join(found, true()))


@functools.cache
def _compiled(statement: Select[Any], dialect: Dialect) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    """The text, the names of its positional parameters, and the values of those that never change."""
    driver = make_url("sqlite+aiosqlite://" if dialect == "sqlite" else "postgresql+asyncpg://").get_dialect()
    compiled = statement.compile(dialect=driver())
    return str(compiled), tuple(compiled.positiontup or ()), dict(compiled.params)
