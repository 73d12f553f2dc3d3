"""Look-ups sent by the driver itself, and whole results read in threads."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from app.db import point_query, search_reader
from app.db.deletion import delete
from app.db.engine import Database, close_database, open_database
from app.db.locate import locate_instance
from app.db.locate_frames import locate_frames
from app.db.point_query import Moment, at_one_moment, few_rows, first_row
from app.db.search import search
from app.db.search_reader import rows_of
from app.db.sql_text import sql
from app.db.tables import instances, series, studies
from app.dicom import frame_index
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, SearchQuery, Wildcard
from app.errors import DatabaseUnavailable, NotFound
from tests.support.archive import instance, store
from tests.support.databases import StatementCounter
from tests.support.records import multi_frame

_SERIES = (
    select(series.c.series_instance_uid, series.c.number_of_instances)
    .join(studies, studies.c.id == series.c.study_id)
    .where(studies.c.study_instance_uid == bindparam("study"))
    .order_by(series.c.series_instance_uid)
)


@pytest.fixture
async def filled(db: Database) -> Database:
    await store(db, [instance("1.2", f"1.2.{number % 3}", f"1.2.3.{number}") for number in range(9)])
    return db


async def test_rows_and_first_row(filled: Database, statement_counter: StatementCounter) -> None:
    with statement_counter.counting(1):
        assert await few_rows(filled, _SERIES, {"study": "1.2"}) == [("1.2.0", 3), ("1.2.1", 3), ("1.2.2", 3)]
    assert await first_row(filled, _SERIES, {"study": "1.2"}) == ("1.2.0", 3)
    assert await few_rows(filled, _SERIES, {"study": "1.3"}) == []
    assert await first_row(filled, _SERIES, {"study": "1.3"}) is None


async def test_what_was_committed_is_seen_at_once(filled: Database) -> None:
    for number in range(3):
        one = instance("1.9", "1.9.1", "1.9.1.1", AccessionNumber=str(number))
        with pytest.raises(NotFound):
            await locate_instance(filled, one.ref)
        await store(filled, [one])
        assert (await locate_instance(filled, one.ref)).blob_key == one.blob_key
        await delete(filled, one.ref, retention=timedelta(days=1))


async def test_many_at_the_same_time(filled: Database) -> None:
    found = await asyncio.gather(*(first_row(filled, _SERIES, {"study": "1.2"}) for _ in range(100)))
    assert set(found) == {("1.2.0", 3)}
    pages = await asyncio.gather(*(search(filled, SearchQuery(Level.SERIES)) for _ in range(50)))
    assert all(len(page.results) == 3 for page in pages)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_locked_database_is_waited_for_elsewhere(filled: Database) -> None:
    large = multi_frame(5000)
    await store(filled, [large])
    await close_database(filled)  # who has it open already could go on reading
    blocker = sqlite3.connect(str(filled.engine.url.database), isolation_level=None)
    blocker.execute("PRAGMA locking_mode=EXCLUSIVE")
    blocker.execute("BEGIN EXCLUSIVE")
    blocker.execute("UPDATE series SET number_of_instances = number_of_instances")
    looking = asyncio.create_task(first_row(filled, _SERIES, {"study": "1.2"}))
    locating = asyncio.create_task(locate_frames(filled, large.ref, [4321]))
    await asyncio.sleep(0.2)
    assert not looking.done()  # and the event loop goes on
    assert not locating.done()
    blocker.execute("COMMIT")
    blocker.close()
    assert await looking == ("1.2.0", 3)
    _, packed = await locating
    assert frame_index.locate_frames(packed, [4321]) == frame_index.locate_frames(large.parsed.frame_index, [4321])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_value_belongs_to_the_row_that_was_read(filled: Database) -> None:
    statement = select(instances.c.id, instances.c.digest).order_by(instances.c.id)
    with closing(sqlite3.connect(str(filled.engine.url.database), isolation_level=None)) as other:

        def change(moment: Moment) -> int:
            row = moment.first_row(statement, {})
            assert row is not None
            with moment.open_value(instances.c.frame_index, row[0]) as value:
                before = value.read()
            other.execute("UPDATE instances SET frame_index = x'00', digest = 'other'")
            assert moment.first_row(statement, {}) == row
            with moment.open_value(instances.c.frame_index, row[0]) as value:
                assert value.read() == before != b"\0"
            return int(row[0])

        row_id = at_one_moment(filled, change)

        def see(moment: Moment) -> None:
            assert moment.first_row(statement, {}) == (row_id, "other")
            with moment.open_value(instances.c.frame_index, row_id) as value:
                assert value.read() == b"\0"

        at_one_moment(filled, see)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_connections_end_with_the_database(database_url: str) -> None:
    db = await open_database(database_url)
    await store(db, [instance("1.2", "1.2.1", "1.2.3")])
    engine = db.engine.sync_engine
    for _ in range(2):
        assert await first_row(db, _SERIES, {"study": "1.2"}) == ("1.2.1", 1)
        assert len(await rows_of(db, sql("SELECT id FROM series"))) == 1
        connection = point_query._connections[engine]
        await close_database(db)
        assert engine not in point_query._connections
        assert engine not in search_reader._readers
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_readers_cannot_write(filled: Database) -> None:
    await first_row(filled, _SERIES, {"study": "1.2"})
    await rows_of(filled, sql("SELECT id FROM series"))
    with pytest.raises((sqlite3.OperationalError, DatabaseUnavailable), match=r"readonly|used at the moment"):
        point_query.at_once(filled, lambda connection: point_query.look_up(connection, "DELETE FROM series", ()))
    reader = search_reader._readers[filled.engine.sync_engine]
    for read in (reader.rows, reader.rows_in_thread):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await read(sql("DELETE FROM series"))


async def test_a_database_without_tables_is_unavailable(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/empty.sqlite")
    with pytest.raises(DatabaseUnavailable):
        await first_row(db, _SERIES, {"study": "1.2"})
    with pytest.raises(DatabaseUnavailable):
        await search(db, SearchQuery(Level.STUDY))
    await close_database(db)


async def test_patterns_keep_their_case(db: Database) -> None:
    await store(db, [instance("1.2", "1.2.1", "1.2.3", AccessionNumber="abcX")])
    for pattern, found in (("*cX", 1), ("*cx", 0), ("AB*", 0), ("ab*", 1)):
        match = AttributeMatch(standard_path("AccessionNumber"), Wildcard(pattern))
        page = await search(db, SearchQuery(Level.STUDY, matches=(match,)))
        assert len(page.results) == found, pattern
