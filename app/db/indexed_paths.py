"""Which of the attributes that an operator made searchable have their values of every instance.

What is stored gets values of the attributes that are searchable then. One that is added later lacks those of instances stored
before, until a reindex; looked up, they would be missing without a word. One that is taken away lacks those stored since.
"""

from sqlalchemy import Connection, delete, exists, select

from app.db.any_of import any_of
from app.db.engine import Database, reading, transact
from app.db.ingest_statements import insert_new
from app.db.tables import indexed_paths, studies
from app.dicom.attributes import is_indexable, stored_path
from app.dicom.matching import AttributePath


async def settle_indexed_paths(db: Database) -> tuple[AttributePath, ...]:
    """Learn which of `db.searchable` are incomplete, and return them. Raises DatabaseUnavailable.

    In an archive without studies all are complete from now on.
    """
    wanted = {stored_path(path): path for path in db.searchable if is_indexable(path)}
    async with reading(db) as connection:
        known = set((await connection.execute(select(indexed_paths.c.path))).scalars())
    if known != wanted.keys():
        known = await transact(
            db, lambda connection: _settle(connection, db, wanted.keys() - known, known - wanted.keys())
        )
    db.incomplete.clear()
    db.incomplete.update(path for stored, path in wanted.items() if stored not in known)
    return tuple(path for path in db.searchable if path in db.incomplete)


def note_all_indexed(connection: Connection, db: Database) -> None:
    """All instances have been stored anew: part of the transaction that ends it."""
    connection.execute(delete(indexed_paths))
    _add(connection, db, {stored_path(path) for path in db.searchable if is_indexable(path)})


def _settle(connection: Connection, db: Database, added: set[str], removed: set[str]) -> set[str]:
    if removed:
        connection.execute(delete(indexed_paths).where(any_of(db.dialect, indexed_paths.c.path, sorted(removed))))
    if added and not connection.execute(select(exists(select(studies.c.id)))).scalar_one():
        _add(connection, db, added)
    return set(connection.execute(select(indexed_paths.c.path)).scalars())


def _add(connection: Connection, db: Database, paths: set[str]) -> None:
    if paths:
        connection.execute(insert_new(db.dialect, indexed_paths), [{"path": path} for path in sorted(paths)])
