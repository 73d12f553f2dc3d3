"""Migrations build what tables.py says, on both databases, whoever starts first."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from app.db.engine import Database, close_database, open_database, reading, transact
from app.db.inventory import names_blobs, ping
from app.db.migrate import downgrade, migrate, newest_revision, pending_revisions
from app.db.tables import metadata
from app.errors import DatabaseUnavailable

ROOT = Path(__file__).parents[2]


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def executing(statement: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(text(statement))


async def test_migrations_build_the_tables_as_declared(db: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async with reading(db) as connection:
        assert await connection.run_sync(differences) == []
    await transact(db, executing("DROP INDEX ix_studies_patient_id"))
    async with reading(db) as connection:
        assert len(await connection.run_sync(differences)) == 1  # the comparison does see indexes


async def test_indexes_are_the_declared_ones_to_the_letter(db: Database, database_url: str, tmp_path: Path) -> None:
    """The comparison above does not look at directions, conditions and collations; the database's own text has them all."""

    async def definitions(database: Database) -> set[str]:
        if database.dialect == "sqlite":
            query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        else:
            query = (
                "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL SELECT "
                "table_name || '.' || column_name || coalesce(collation_name, '') || is_nullable || data_type "
                "FROM information_schema.columns WHERE table_schema = 'public'"
            )
        async with reading(database) as connection:
            found = (await connection.execute(text(query))).scalars()
            return {
                line.replace('"', "").replace("ON public.", "ON ") for line in found if "alembic_version" not in line
            }

    migrated = await definitions(db)
    await downgrade(db, "base")
    await transact(db, metadata.create_all)
    assert await definitions(db) == migrated
    assert len(migrated) > 15


async def test_large_values_are_read_by_slices(db: Database) -> None:
    if db.dialect == "postgresql":
        query = "SELECT attname FROM pg_attribute WHERE attrelid = 'instances'::regclass AND attstorage = 'e'"
    else:
        query = "SELECT name FROM pragma_table_info('instances') WHERE type = 'BLOB' AND \"notnull\""
    async with reading(db) as connection:
        found = set((await connection.execute(text(query))).scalars())
    assert found == {"layout", "frame_index", "bulkdata", "metadata"}


def test_the_newest_script_is_the_head() -> None:
    """A start compares the database with its name, and asks Alembic only when they differ."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [newest_revision()]
    for revision in script.walk_revisions():
        assert Path(revision.path).name.partition("_")[0] == revision.revision


async def test_a_database_that_is_up_to_date_is_not_locked(db: Database) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(text("UPDATE series SET version = version"))
        await asyncio.wait_for(migrate(db), 5)


async def test_up_down_and_up_again(db: Database) -> None:
    assert await pending_revisions(db) == ()
    await migrate(db)
    await downgrade(db, "base")
    async with reading(db) as connection:
        assert await connection.run_sync(tables) <= {"alembic_version"}
    assert (await pending_revisions(db))[0] == "0001"
    with pytest.raises(DatabaseUnavailable):
        await ping(db)
    assert not await names_blobs(db)
    await migrate(db)
    await ping(db)
    assert await pending_revisions(db) == ()


async def test_a_schema_from_the_future(db: Database) -> None:
    await transact(db, executing("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnavailable, match="newer"):
        await pending_revisions(db)
    with pytest.raises(DatabaseUnavailable, match="newer"):
        await migrate(db)


async def test_tables_of_others_are_left_alone(db: Database) -> None:
    await transact(db, executing("CREATE TABLE of_others (x INTEGER)"))
    await downgrade(db, "base")
    await migrate(db)
    async with reading(db) as connection:
        assert "of_others" in await connection.run_sync(tables)


MIGRATE = """
import asyncio, sys
from app.db.engine import close_database, open_database
from app.db.migrate import migrate

async def main():
    db = await open_database(sys.argv[1])
    await migrate(db)
    await close_database(db)

asyncio.run(main())
"""


async def test_several_processes_start_at_once(db: Database, database_url: str) -> None:
    await downgrade(db, "base")
    await transact(db, executing("DROP TABLE IF EXISTS alembic_version"))
    await close_database(db)
    command = [sys.executable, "-c", MIGRATE, database_url]
    processes = [await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    database = await open_database(database_url)
    assert await pending_revisions(database) == ()
    await close_database(database)


async def test_a_new_sqlite_file_by_several_processes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/gantry.sqlite"
    command = [sys.executable, "-c", MIGRATE, url]
    processes = [await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()


async def test_an_installed_package_carries_its_migrations(tmp_path: Path) -> None:
    """Built and unpacked elsewhere: the wheel must not need the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    builder = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await builder.communicate()
    assert builder.returncode == 0, output.decode()
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    shutil.unpack_archive(wheel, installed, "zip")
    script = MIGRATE + "import app; assert app.__file__.startswith(sys.argv[2]), app.__file__\n"
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", script, f"sqlite:///{tmp_path}/x.sqlite", str(installed)],
        cwd=installed,
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    db = await open_database(f"sqlite:///{tmp_path}/x.sqlite")
    await ping(db)
    await close_database(db)
