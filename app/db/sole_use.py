"""Who uses a database at present: servers and commands side by side, or one command alone.

`gantry reindex` empties the tables: what a server stores meanwhile would be gone from them. With SQLite every user holds a
lock (flock) on a file beside the database, a shared one or the only one. It ends with the process, however that ends. On
PostgreSQL, whose users may be on many machines, nobody is kept away.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from app.db.engine import Database
from app.errors import DatabaseUnavailable

SUFFIX = ".lock"


@contextmanager
def in_use(db: Database, *, alone: bool) -> Iterator[None]:
    """Hold the database meanwhile; `alone`: nobody else may. Raises DatabaseUnavailable at once where somebody else is in the way.

    Where files cannot be locked (some network file systems) nobody is kept away.
    """
    if db.dialect != "sqlite":
        yield
        return
    descriptor = _open(f"{db.engine.url.database}{SUFFIX}")
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
    except BlockingIOError as error:
        if alone:
            raise DatabaseUnavailable("a server or another command is using the archive: stop it first") from error
        raise DatabaseUnavailable("the archive is being reindexed: wait until that has ended") from error
    except OSError:
        return
