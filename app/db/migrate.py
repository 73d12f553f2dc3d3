"""Bring the schema up to date. Several processes may start at once: one migrates, the others wait and find nothing to do."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from app.db.engine import Database, database_errors, migration_engine, reading
from app.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

# An installed wheel carries the scripts inside the package, a checkout has them at its top.
_INSTALLED = Path(__file__).parent / "_migrations"
_CHECKOUT = Path(__file__).parents[2] / "migrations"
_ADVISORY_LOCK = 0x47414E545259  # any constant number that is ours: "GANTRY"
LOCK_WAIT = 60  # seconds


async def migrate(db: Database, revision: str = "head") -> None:
    """Upgrade to `revision`, in one transaction. Raises DatabaseUnavailable, also for a schema newer than this program."""
    # Every start asks, and nearly always there is nothing to do: Alembic is then 0.2 s and 10 MB for nothing.
    if revision == "head" and await _is_current(db):
        return
    await _run(db, lambda connection: _upgrade(connection, revision))


async def downgrade(db: Database, revision: str) -> None:
    """Go back to `revision`; "base" removes everything. Raises DatabaseUnavailable."""
    await _run(db, lambda connection: _downgrade(connection, revision))


async def pending_revisions(db: Database) -> tuple[str, ...]:
    """Revisions that the database lacks, oldest first; () when it is up to date. Raises DatabaseUnavailable."""
    async with reading(db) as connection:
        return await connection.run_sync(_pending)


def newest_revision() -> str:
    """The head, by the names of the scripts: they begin with their revision, a number that grows."""
    return max(script.name.partition("_")[0] for script in (_scripts() / "versions").glob("*.py"))


async def _is_current(db: Database) -> bool:
    try:
        async with reading(db) as connection:
            found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all()
    except DatabaseUnavailable:
        return False  # no table yet; if it is anything else, the way through Alembic says what
    return list(found) == [newest_revision()]


async def _run(db: Database, work: Callable[[Connection], None]) -> None:
    engine = migration_engine(db)
    try:
        with database_errors():
            # SQLite: the transaction begins with BEGIN IMMEDIATE, which is the lock.
            async with engine.begin() as connection:
                if db.dialect == "postgresql":
                    await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}s'"))
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
                await connection.run_sync(work)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command

    if _pending(connection):
        command.upgrade(_config(connection), revision)


def _downgrade(connection: Connection, revision: str) -> None:
    from alembic import command

    command.downgrade(_config(connection), revision)


def _scripts() -> Path:
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _pending(connection: Connection) -> tuple[str, ...]:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    script = ScriptDirectory.from_config(_config(connection))
    current = MigrationContext.configure(connection).get_current_heads()
    try:
        missing = [item.revision for item in script.iterate_revisions("heads", current or "base")]
    except RevisionError as error:
        raise DatabaseUnavailable("the schema of the database is newer than this program") from error
    return tuple(reversed(missing))
