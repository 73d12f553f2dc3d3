"""`column = any of these values` as one bound parameter, so that the text of a statement does not depend on their number.

any_of(dialect, column, values)            with the values in it
any_of_parameter(dialect, column, name)    for statements that are built once; `name` is given `listed(dialect, values)`
"""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Text, any_, bindparam, func, select
from sqlalchemy.types import TypeEngine

from app.db.engine import Dialect


def any_of(
    dialect: Dialect, column: ColumnElement[Any], values: Collection[str] | Collection[int]
) -> ColumnElement[bool]:
    """True where `column` (text or integer) is one of `values`; false everywhere when there are none."""
    if dialect == "sqlite":
        return _is_in(column, bindparam(None, json.dumps(list(values)), type_=Text(), unique=True))
    return column == any_(bindparam(None, list(values), type_=_array_of(column), unique=True))


def any_of_parameter(dialect: Dialect, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """True where `column` is one of the values that the parameter `name` is given at execution, as `listed` makes them."""
    if dialect == "sqlite":
        return _is_in(column, bindparam(name, type_=Text()))
    return column == any_(bindparam(name, type_=_array_of(column)))


def listed(dialect: Dialect, values: Collection[str] | Collection[int]) -> str | list[str] | list[int]:
    """What a parameter of `any_of_parameter` is given."""
    items: Any = list(values)
    return json.dumps(items) if dialect == "sqlite" else items


def _array_of(column: ColumnElement[Any]) -> TypeEngine[Any]:
    # Half a dialect of 5 MB, which an archive on SQLite does without.
    from sqlalchemy.dialects.postgresql import ARRAY

    return ARRAY(BigInteger() if isinstance(column.type, BigInteger) else Text())


def _is_in(column: ColumnElement[Any], array: BindParameter[str]) -> ColumnElement[bool]:
    return column.in_(select(func.json_each(array).table_valued("value").c.value))
