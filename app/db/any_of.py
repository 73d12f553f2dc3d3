"""`column = any of these values` as one bound parameter, so that the text of a statement does not depend on their number."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.engine import Dialect


def any_of(
    dialect: Dialect, column: ColumnElement[Any], values: Collection[str] | Collection[int]
) -> ColumnElement[bool]:
    """True where `column` (text or integer) is one of `values`; false everywhere when there are none."""
    listed = list(values)
    if dialect == "sqlite":
        array = bindparam(None, json.dumps(listed), type_=Text(), unique=True)
        return column.in_(select(func.json_each(array).table_valued("value").c.value))
    kind = BigInteger() if listed and isinstance(listed[0], int) else Text()
    if isinstance(column.type, BigInteger):
        kind = BigInteger()
    return column == any_(bindparam(None, listed, type_=ARRAY(kind), unique=True))
