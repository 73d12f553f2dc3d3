"""What a search may cost, in instructions of SQLite's machine: no clock has a part in it."""

import sqlite3
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from app.db.engine import Database, transact
from app.db.matching_sql import matching_of
from app.db.search_statements import wide_count
from app.db.sql_text import Sql
from app.db.tables import studies
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, SearchQuery
from tests.support.matching_cases import like

_MANY = 2000
_PER_STUDY = 8  # one comparison, one number, one step and what counting takes


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("keyword", "pattern"), [("PatientName", "meyer*"), ("PatientID", "P*")])
async def test_beginnings_are_counted_along_their_index(db: Database, keyword: str, pattern: str) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "study_instance_uid": f"1.{number}",
            "patient_id": f"P{number}",
            "patient_name_alphabetic": f"meyer^{number}",
            "attributes": b"{}",
            "created_at": now,
            "updated_at": now,
        }
        for number in range(_MANY)
    ]
    await transact(db, lambda connection: connection.execute(insert(studies), rows))
    query = SearchQuery(Level.STUDY, matches=(AttributeMatch(standard_path(keyword), like(pattern)),))
    wide = matching_of(query, db.dialect, db.indexed).wide
    assert wide is not None
    found, few = (_cost(db, wide_count(wide, (), most)) for most in (2 * _MANY, 1000))
    assert found[0] == (None, _MANY)
    assert few[0] == (None, 1000)
    assert found[1] < _PER_STUDY * _MANY + 500
    assert few[1] < _PER_STUDY * 1000 + 500


def _cost(db: Database, statement: Sql) -> tuple[tuple[object, ...], int]:
    """The only row, and how many instructions it took to find it."""
    count = 0

    def one_more() -> None:
        nonlocal count
        count += 1

    connection = sqlite3.connect(str(db.engine.url.database))
    try:
        connection.set_progress_handler(one_more, 1)
        (row,) = connection.execute(statement.text, statement.values).fetchall()
    finally:
        connection.close()
    return row, count
