"""Connections to PostgreSQL: those whose statements are planned anew each time, and those of look-ups, which never are.

How often a filter matches decides how a search is best done, so its plan is made for its values: 6.8 ms instead of 278 on one of
them. A look-up by unique keys is done in one way whatever the keys. Planning it took 0.55 of its 0.85 ms, and borrowing a
connection from SQLAlchemy as long again: look-ups have a few connections of their own, with plans that are kept.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db.group_queue import GroupQueue

if TYPE_CHECKING:
    import asyncpg

# Names of connections, by which others on a server know what uses a database (app.db.sole_use).
USER = "gantry"
SOLE_USER = "gantry alone"
LOOK_UP_CONNECTIONS = 4
_TOGETHER = 64  # look-ups by one statement
# Seconds: a statement that takes longer waits for a disk or a lock, and the others need not wait with it.
_PATIENCE = 0.005
# Two snapshots are the same only if no transaction that writes has begun or ended in between.
STATE = "SELECT pg_current_snapshot()::text"
_RECYCLED = 1800.0  # seconds
_CLOSING = 5.0  # seconds
_KEPT_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    # A plan that is kept must not be one that was right while the tables were small.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# Arguments of SQLAlchemy's own, which asyncpg does not know.
_OF_SQLALCHEMY = ("async_fallback", "async_creator_fn", "prepared_statement_cache_size", "prepared_statement_name_func")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """In seconds: to connect, to get a connection of the pool, of one statement, of waiting for a lock."""

    connect: float
    pool: float
    statement: float
    lock: float


def postgresql_engine(url: URL, pool_size: int, limits: ConnectionLimits, name: str = USER) -> AsyncEngine:
    """For all but look-ups."""
    engine = create_async_engine(
        url,
        hide_parameters=True,  # see app.db.engine
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=limits.pool,
        pool_recycle=int(_RECYCLED),
        connect_args=_arguments(limits, name, {"plan_cache_mode": "force_custom_plan"}),
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
        # The transport knows when the server went away: no round trip, and a restart costs no failed request.
        if dbapi_connection.driver_connection.is_closed():
            raise exc.DisconnectionError

    return engine


@dataclass(frozen=True, slots=True)
class LookUps:
    """Connections that are opened when they are first needed. Used on one event loop."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    wait: float  # seconds for a turn
    together: GroupQueue  # of look-ups that go together
    # The pool gives a connection to whoever comes first when one is given back: others could wait for ever.
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOK_UP_CONNECTIONS))

    @classmethod
    async def open(cls, url: URL, limits: ConnectionLimits, name: str = USER) -> "LookUps":
        """Nothing is sent to the server yet. Raises ValueError for options of the URL that are not known."""
        import asyncpg  # not imported where the database is SQLite

        _, arguments = url.get_dialect()().create_connect_args(url)
        for argument in _OF_SQLALCHEMY:
            arguments.pop(argument, None)
        if unknown := sorted(arguments.keys() - signature(asyncpg.connect).parameters.keys()):
            raise ValueError(f"the database URL has options that asyncpg does not know: {', '.join(unknown)}")
        pool = await asyncpg.create_pool(
            # Ours win, as for the other connections.
            **{**arguments, **_arguments(limits, name, _KEPT_PLANS)},
            min_size=0,
            max_size=LOOK_UP_CONNECTIONS,
            max_inactive_connection_lifetime=_RECYCLED,
            reset=_leave,
        )
        together = GroupQueue(_TOGETHER, LOOK_UP_CONNECTIONS, patience=_PATIENCE, longest_wait=limits.pool)
        return cls(pool, limits.pool, together)

    async def fetch(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows of a statement that finds them by unique keys. Raises errors of asyncpg, OSError, TimeoutError."""
        async with asyncio.timeout(self.wait):
            await self.turns.acquire()
        try:
            async with self.pool.acquire() as connection:
                return [tuple(row) for row in await connection.fetch(text, *values)]
        finally:
            self.turns.release()

    async def state(self) -> str:
        """What a statement sees of the database: another text after any change. Who asks at the same time asks together."""
        (state,) = await self.together.put(_states, self, [None])
        return state

    async def close(self) -> None:
        """Look-ups that are under way are waited for, but not for long: the server may have gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self.pool.close()  # when it is broken off it ends the connections itself


async def _states(look_ups: LookUps, asked: Sequence[None]) -> list[str]:
    ((state,),) = await look_ups.fetch(STATE, ())
    return [state] * len(asked)


async def _leave(_connection: Any) -> None:
    """Nothing that a look-up does has to be undone, so nothing is said to the server."""


def _arguments(limits: ConnectionLimits, name: str, settings: dict[str, str]) -> dict[str, Any]:
    def milliseconds(seconds: float) -> str:
        return str(int(seconds * 1000))

    return {
        "timeout": limits.connect,
        # Beyond the server's own limit: notices a server that does not answer at all.
        "command_timeout": limits.statement + 10,
        "server_settings": {
            "application_name": name,
            "statement_timeout": milliseconds(limits.statement),
            "lock_timeout": milliseconds(limits.lock),
            "idle_in_transaction_session_timeout": milliseconds(limits.statement * 2),
            "jit": "off",
            "timezone": "UTC",
            **settings,
        },
    }
