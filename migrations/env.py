"""Runs migrations on the connection that app.db.migrate hands over.

Called by the alembic command itself, for writing a new revision, it opens the database that `-x url=...` names:

    alembic -x url=sqlite:////tmp/example.sqlite revision --autogenerate -m "what it does"
"""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection

from app.db.engine import close_database, open_database
from app.db.tables import metadata


def include_object(_item: Any, name: str | None, kind: str, reflected: bool, _compare_to: Any) -> bool:
    """Tables of others in the same database are not ours to drop."""
    return not (kind == "table" and reflected and name not in metadata.tables)


def run(connection: Connection) -> None:
    """On one connection, inside its transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        include_object=include_object,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on(url: str) -> None:
    db = await open_database(url)
    try:
        async with db.engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await close_database(db)


if context.is_offline_mode():
    raise SystemExit("migrations need a database: they are not written as SQL scripts")
handed_over: Connection | None = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    named = context.get_x_argument(as_dictionary=True).get("url")
    if named is None:
        raise SystemExit("name the database: alembic -x url=sqlite:///path ...")
    asyncio.run(run_on(named))
