"""Who uses a database at present: servers and commands side by side, or one command alone.

`gantry reindex` empties the tables: what a server stores meanwhile would be gone from them. With SQLite every user holds a
lock (flock) on a file beside the database, a shared one or the only one. It ends with the process, however that ends. PostgreSQL,
whose users may be on many machines, is asked for their connections: each user has one at least from its beginning to its end, and
its name tells whether it is to be alone. Who comes has connected before it asks: of two that come at once one sees the other.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import text

from app.db.engine import Database, reading
from app.db.postgresql import SOLE_USER, USER
from app.errors import DatabaseUnavailable

SUFFIX = ".lock"
# Seconds before PostgreSQL is asked again: a connection is there for a moment after its process has ended.
PAUSES = (0.1, 0.4, 1.0)
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name IN (:user, :sole_user)"
)


@asynccontextmanager
async def in_use(db: Database, *, alone: bool) -> AsyncIterator[None]:
    """Hold the database meanwhile; `alone`, as it was opened: nobody else may. Raises DatabaseUnavailable where somebody else is
    in the way.

    Where files cannot be locked (some network file systems) nobody is kept away.
    """
    if db.dialect == "sqlite":
        with _locked(f"{db.engine.url.database}{SUFFIX}", alone=alone):
            yield
    else:
        await _look_for_others(db, alone=alone)
        yield


async def _look_for_others(db: Database, *, alone: bool) -> None:
    """Of this process there is one connection so far, the one that asks."""
    names = {"user": USER if alone else SOLE_USER, "sole_user": SOLE_USER}
    for pause in (*PAUSES, None):
        async with reading(db) as connection:
            if not await connection.scalar(_OTHERS, names):
                return
        if pause is not None:
            await asyncio.sleep(pause)
    raise _in_the_way(alone=alone)


@contextmanager
def _locked(path: str, *, alone: bool) -> Iterator[None]:
    descriptor = _open(path)
    try:
        if descriptor is not None:
            _lock(descriptor, alone=alone)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(path: str) -> int | None:
    """For reading, which a lock needs no more than: another user may have made the file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def _lock(descriptor: int, *, alone: bool) -> None:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_the_way(alone=alone) from None  # that says it all
    except OSError:
        return


def _in_the_way(*, alone: bool) -> DatabaseUnavailable:
    if alone:
        return DatabaseUnavailable("a server or another command is using the archive: stop it first")
    return DatabaseUnavailable("the archive is being reindexed: wait until that has ended")
