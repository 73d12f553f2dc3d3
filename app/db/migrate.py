"""Bring the schema up to date. Several processes may start at once: one migrates, the others wait and find nothing to do."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import Connection, text

from app.db.engine import Database, database_errors, migration_engine, reading
from app.errors import DatabaseUnavailable

# An installed wheel carries the scripts inside the package, a checkout has them at its top.
_INSTALLED = Path(__file__).parent / "_migrations"
_CHECKOUT = Path(__file__).parents[2] / "migrations"
_ADVISORY_LOCK = 0x47414E545259  # any constant number that is ours: "GANTRY"
LOCK_WAIT = 60  # seconds


async def migrate(db: Database, revision: str = "head") -> None:
    """Upgrade to `revision`, in one transaction. Raises DatabaseUnavailable, also for a schema newer than this program."""
    await _run(db, lambda connection: _upgrade(connection, revision))


async def downgrade(db: Database, revision: str) -> None:
    """Go back to `revision`; "base" removes everything. Raises DatabaseUnavailable."""
    await _run(db, lambda connection: command.downgrade(_config(connection), revision))


async def pending_revisions(db: Database) -> tuple[str, ...]:
    """Revisions that the database lacks, oldest first; () when it is up to date. Raises DatabaseUnavailable."""
    async with reading(db) as connection:
        return await connection.run_sync(_pending)


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
    if _pending(connection):
        command.upgrade(_config(connection), revision)


def _config(connection: Connection) -> Config:
    config = Config()
    folder = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _pending(connection: Connection) -> tuple[str, ...]:
    script = ScriptDirectory.from_config(_config(connection))
    current = MigrationContext.configure(connection).get_current_heads()
    try:
        missing = [item.revision for item in script.iterate_revisions("heads", current or "base")]
    except RevisionError as error:
        raise DatabaseUnavailable("the schema of the database is newer than this program") from error
    return tuple(reversed(missing))
