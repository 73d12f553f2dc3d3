"""A join whose left side is read first.

SQLite keeps no statistics here, and prefers to read a whole table of series to walking the newest studies; of CROSS JOIN it
takes the order as written (sqlite.org/optoverview.html, section 9). PostgreSQL knows better and is left to it.
"""

from typing import Any

from sqlalchemy import Join, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class InOrder(Join):
    """An inner join; on SQLite the left side is the outer loop."""

    inherit_cache = True


@compiles(InOrder, "sqlite")
def _cross_join(element: InOrder, compiler: SQLCompiler, **options: Any) -> str:
    options["asfrom"] = True
    left, right = (compiler.process(side, **options) for side in (element.left, element.right))
    condition = true() if element.onclause is None else element.onclause
    return f"{left} CROSS JOIN {right} ON {compiler.process(condition, **{**options, 'asfrom': False})}"
