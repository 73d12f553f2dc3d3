"""Fixtures: every test that takes `db` runs on SQLite and on PostgreSQL, each on a database of its own, built by the migrations.

from tests.support.databases import *  # in a conftest.py
"""

import functools
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import asyncpg
import pytest
from sqlalchemy import Engine, event

from app.db import point_query, search_reader
from app.db.engine import Database, close_database, open_database
from app.db.migrate import migrate
from tests.support.postgres import PostgresMissing, Template, run_in_thread

__all__ = ["database_url", "db", "postgres_template", "sqlite_template", "statement_counter"]


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[Template]:
    try:
        template = Template()
    except PostgresMissing as error:
        pytest.fail(str(error), pytrace=False)
    template.make()
    yield template
    template.remove()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"

    async def make() -> None:
        db = await open_database(f"sqlite:///{path}")
        await migrate(db)
        await close_database(db)

    run_in_thread(make())
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A new database, migrated."""
    if request.param == "sqlite":
        path = tmp_path / "gantry.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    template: Template = request.getfixturevalue("postgres_template")
    url = await template.create()
    yield url
    await template.drop(url)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = await open_database(database_url)
    yield database
    await close_database(database)


class StatementCounter:
    """Notes every statement of all databases of this process, whether SQLAlchemy sends it or the driver itself;
    BEGIN IMMEDIATE of SQLite is not one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        event.listen(Engine, "before_cursor_execute", self._note)
        for driver, name in ((asyncpg.Connection, "fetch"), (aiosqlite.Connection, "execute_fetchall")):
            monkeypatch.setattr(driver, name, self._noting(getattr(driver, name)))
        # On a busy machine a statement might be begun twice.
        monkeypatch.setattr(search_reader, "_BRIEF", 3600.0)
        monkeypatch.setattr(search_reader, "_BRIEF_WAIT", 3600.0)
        monkeypatch.setattr(point_query, "look_up", self._noting(point_query.look_up))
        monkeypatch.setattr(search_reader, "execute", self._noting(search_reader.execute))

    def close(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            self.statements.append(statement)

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def noted(connection: Any, statement: str, *rest: Any, **options: Any) -> Any:
            self.statements.append(statement)
            return method(connection, statement, *rest, **options)

        return noted

    @contextmanager
    def counting(self, expected: int) -> Iterator[None]:
        """Fails unless exactly `expected` statements are sent within."""
        before = len(self.statements)
        yield
        sent = self.statements[before:]
        assert len(sent) == expected, "\n\n".join(sent)


@pytest.fixture
def statement_counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatementCounter]:
    counter = StatementCounter(monkeypatch)
    yield counter
    counter.close()
