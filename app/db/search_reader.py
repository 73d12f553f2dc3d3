"""How searches read: whole results at once, of statements that may take long.

On SQLite SQLAlchemy's asynchronous connection goes five times to its thread and back for a statement: to make a cursor, to
execute, to fetch, to close, to roll back. Here a thread does all of it in one go, on connections of its own, which halves
the processor time of a search that finds little.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Select, create_engine, event

from app.db.engine import Database, database_errors, reading

_CONNECTIONS = 4
# Of each SQLite engine, until it is disposed of.
_readers: WeakKeyDictionary[Engine, Engine] = WeakKeyDictionary()


async def mappings_of(db: Database, statement: Select[Any]) -> Sequence[Any]:
    """Every row of the statement, its values by their names. Raises DatabaseUnavailable."""
    if db.dialect == "sqlite":
        with database_errors():
            return await asyncio.to_thread(_read, _reader(db), statement)
    async with reading(db) as connection:
        rows: Sequence[Any] = (await connection.execute(statement)).mappings().all()
        return rows


def _read(reader: Engine, statement: Select[Any]) -> Sequence[Any]:
    with reader.connect() as connection:
        return connection.execute(statement).mappings().all()


def _reader(db: Database) -> Engine:
    engine = db.engine.sync_engine
    reader = _readers.get(engine)
    if reader is None:
        reader = _readers[engine] = _open(engine, db.busy_timeout)
    return reader


def _open(engine: Engine, busy_timeout: float) -> Engine:
    reader = create_engine(
        engine.url.set(drivername="sqlite"),
        pool_size=_CONNECTIONS,
        max_overflow=_CONNECTIONS,
        pool_reset_on_return=None,  # no statement begins a transaction
        connect_args={"timeout": busy_timeout, "isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(reader, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # As app.db.engine, for LIKE means the same on every connection.
        for pragma in ("query_only=ON", "case_sensitive_like=ON", "cache_size=-16000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "engine_disposed", once=True)
    def close(_engine: Engine) -> None:
        reader.dispose()
        if _readers.get(engine) is reader:
            del _readers[engine]

    return reader
