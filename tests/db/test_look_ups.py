"""Connections of PostgreSQL for look-ups by unique keys: plans that are kept, and what becomes of connections."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select, make_url, text

from app.db import ingest, kept_rows, locate, locate_frames, metadata, point_query, postgresql
from app.db.any_of import listed
from app.db.engine import Database, reading
from app.db.locate import keys_of, locate_instance
from app.db.point_query import as_text, first_row
from app.db.postgresql import LOOK_UP_CONNECTIONS, ConnectionLimits, LookUps
from app.db.search import search
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, ListOfUid, SearchQuery, SingleValue
from app.dicom.references import InstanceRef, SeriesRef, StudyRef
from app.errors import DatabaseUnavailable, NotFound
from tests.support.archive import instance, store
from tests.support.postgres import Template

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

_ONE = instance("1.2", "1.2.1", "1.2.3")
_LISTS = {
    name: listed("postgresql", values)
    for name, values in (("studies", ["1"]), ("series", ["1", "2"]), ("instances", ["1"]))
}
_LOOK_UPS: list[tuple[Select[Any], Mapping[str, Any]]] = [
    (locate._INSTANCE, keys_of(_ONE.ref)),
    (locate._INSTANCE_AND_BULKDATA, keys_of(_ONE.ref)),
    (locate_frames._INSTANCE_AND_INDEX, keys_of(_ONE.ref)),
    (locate_frames._cutting_statement(1), keys_of(_ONE.ref) | {"part_offset_0": 1, "part_length_0": 16}),
    (metadata._INSTANCE_METADATA, keys_of(_ONE.ref)),
    (metadata._VERSIONS[StudyRef], keys_of(StudyRef("1.2"))),
    (metadata._VERSIONS[SeriesRef], keys_of(SeriesRef("1.2", "1.2.1"))),
    (metadata._VERSIONS[InstanceRef], keys_of(_ONE.ref)),
    (ingest._blobs("postgresql"), _LISTS),
]


def _look_ups(db: Database) -> LookUps:
    assert db.look_ups is not None
    return db.look_ups


async def test_a_look_up_is_planned_once(db: Database) -> None:
    await store(db, [_ONE])
    for _ in range(20):
        await locate_instance(db, _ONE.ref)
    query, _ = as_text(locate._INSTANCE, keys_of(_ONE.ref), "postgresql")
    async with _look_ups(db).pool.acquire() as connection:
        counts = await connection.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", query
        )
    assert [tuple(row) for row in counts] == [(20, 0)]


async def test_a_first_page_is_planned_once(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "SECONDS", 0.0)  # it is looked up each time
    await store(db, [instance(f"{number}", f"{number}.1", f"{number}.1.1") for number in range(1, 4)])
    for _ in range(5):
        page = await search(db, SearchQuery(Level.STUDY, limit=2))
        assert (len(page.results), page.remaining, page.total_known) == (2, 1, 3)
    async with _look_ups(db).pool.acquire() as connection:
        counts = await connection.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'WITH found%'"
        )
    assert [tuple(row) for row in counts] == [(5, 0)]


@pytest.mark.parametrize(("statement", "values"), _LOOK_UPS)
async def test_a_plan_is_good_for_large_tables_too(
    db: Database, statement: Select[Any], values: Mapping[str, Any]
) -> None:
    """It may have been made while there was nothing in them."""
    query, parameters = as_text(statement, values, "postgresql")
    await _assert_walks_along_indexes(db, query, parameters)


@pytest.mark.parametrize(("statement", "values"), [pair for pair in _LOOK_UPS if "study" in pair[1]])
async def test_so_is_that_of_several_together(db: Database, statement: Select[Any], values: Mapping[str, Any]) -> None:
    lists = {name: [value] * 3 for name, value in values.items()}
    query, parameters = as_text(point_query._of_many(statement), lists, "postgresql")
    await _assert_walks_along_indexes(db, query, parameters)


async def _assert_walks_along_indexes(db: Database, query: str, values: Sequence[Any]) -> None:
    async with _look_ups(db).pool.acquire() as connection:
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}", *values))
    assert "Index Scan" in plan or "Index Only Scan" in plan
    assert not any(way in plan for way in ("Seq Scan", "Hash Join", "Merge Join")), plan


_STUDY_UID, _SERIES_UID = standard_path("StudyInstanceUID"), standard_path("SeriesInstanceUID")
_IN_ONE_WAY = [
    SearchQuery(Level.STUDY),
    SearchQuery(Level.STUDY, matches=(AttributeMatch(_STUDY_UID, SingleValue("1.2")),)),
    SearchQuery(Level.SERIES, study_instance_uid="1.2"),
    SearchQuery(Level.INSTANCE, study_instance_uid="1.2", limit=1, offset=0),
    SearchQuery(Level.INSTANCE, study_instance_uid="1.2", series_instance_uid="1.2.1"),
    SearchQuery(Level.INSTANCE, study_instance_uid="1.2", matches=(AttributeMatch(_SERIES_UID, SingleValue("1.2.1")),)),
]
_OF_MANY = [
    SearchQuery(Level.INSTANCE, limit=1),
    SearchQuery(Level.STUDY, matches=(AttributeMatch(standard_path("ModalitiesInStudy"), SingleValue("CT")),)),
    SearchQuery(Level.SERIES, matches=(AttributeMatch(_SERIES_UID, SingleValue("1.2.1")),)),
    SearchQuery(Level.STUDY, matches=(AttributeMatch(_STUDY_UID, ListOfUid(("1.2", "1.3"))),)),
    SearchQuery(
        Level.SERIES,
        study_instance_uid="1.2",
        matches=(AttributeMatch(standard_path("Modality"), SingleValue("CT")),),
    ),
]


async def test_searches_of_one_study_and_first_pages_are_look_ups(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are planned for their values."""
    sent: list[tuple[str, Sequence[Any]]] = []
    fetch = LookUps.fetch

    async def noting(self: LookUps, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        sent.append((text, values))
        return await fetch(self, text, values)

    monkeypatch.setattr(LookUps, "fetch", noting)
    for number in range(3):
        await store(db, [instance("1.2", "1.2.1", f"1.2.3.{number}", Modality="CT")])
    sent.clear()
    found = [len((await search(db, query)).results) for query in _IN_ONE_WAY]
    assert found == [1, 1, 1, 1, 3, 3]
    assert len(sent) == len(_IN_ONE_WAY)
    for query_text, values in sent:
        await _assert_walks_along_indexes(db, query_text, values)
    sent.clear()
    assert [len((await search(db, query)).results) for query in _OF_MANY] == [1, 1, 1, 1, 1]
    assert sent == []


async def test_connections_are_few(db: Database) -> None:
    await store(db, [_ONE])
    found = await asyncio.gather(*(locate_instance(db, _ONE.ref) for _ in range(100)))
    assert {one.blob_key for one in found} == {_ONE.blob_key}
    assert 1 <= _look_ups(db).pool.get_size() <= LOOK_UP_CONNECTIONS


async def test_a_connection_that_the_server_closed_is_replaced(db: Database) -> None:
    await store(db, [_ONE])
    await locate_instance(db, _ONE.ref)
    async with reading(db) as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await asyncio.sleep(0.2)
    assert (await locate_instance(db, _ONE.ref)).blob_key == _ONE.blob_key


async def test_look_ups_go_on_behind_cancelled_ones(db: Database) -> None:
    await store(db, [_ONE])
    async with db.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE"))
        waiting = [asyncio.create_task(locate_instance(db, _ONE.ref)) for _ in range(2 * LOOK_UP_CONNECTIONS)]
        await asyncio.sleep(0.3)
        assert not any(one.done() for one in waiting)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert all(one.cancelled() for one in waiting)
    assert (await locate_instance(db, _ONE.ref)).blob_key == _ONE.blob_key


async def test_nobody_waits_for_ever(db: Database) -> None:
    few = await LookUps.open(db.engine.url, ConnectionLimits(connect=5.0, pool=0.3, statement=60.0, lock=30.0))
    impatient = replace(db, look_ups=few)
    async with db.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE"))
        blocked = []
        for _ in range(LOOK_UP_CONNECTIONS):
            blocked.append(asyncio.create_task(locate_instance(impatient, _ONE.ref)))
            await asyncio.sleep(0.1)  # together they would go by one connection
        with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
            await locate_instance(impatient, _ONE.ref)
        for one in blocked:
            one.cancel()
        await asyncio.gather(*blocked, return_exceptions=True)
    await few.close()


async def test_closing_does_not_wait_for_a_look_up_that_hangs(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_CLOSING", 0.2)
    async with db.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE studies IN ACCESS EXCLUSIVE MODE"))
        waiting = asyncio.create_task(locate_instance(db, _ONE.ref))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(5):
            await _look_ups(db).close()
            with pytest.raises(DatabaseUnavailable):
                await waiting


async def test_a_database_that_is_gone(db: Database, database_url: str, postgres_template: Template) -> None:
    """Whoever notices first, on a connection that was open or while opening another: it is the database that is unavailable."""
    await search(db, SearchQuery(Level.STUDY))
    with pytest.raises(NotFound):
        await locate_instance(db, _ONE.ref)
    await postgres_template.drop(database_url)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            await search(db, SearchQuery(Level.STUDY))
        with pytest.raises(DatabaseUnavailable):
            await locate_instance(db, _ONE.ref)


async def test_a_server_that_is_away(db: Database) -> None:
    nobody = make_url("postgresql+asyncpg://gantry@127.0.0.1:1/gantry")
    away = await LookUps.open(nobody, ConnectionLimits(connect=1.0, pool=1.0, statement=1.0, lock=1.0))
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await first_row(replace(db, look_ups=away), locate._INSTANCE, keys_of(_ONE.ref))
    await away.close()


async def test_a_server_that_does_not_answer(db: Database) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has had enough
        writer.close()
        await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    silent = make_url(f"postgresql+asyncpg://gantry@127.0.0.1:{port}/gantry")
    slow = await LookUps.open(silent, ConnectionLimits(connect=0.3, pool=0.3, statement=1.0, lock=1.0))
    with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
        await first_row(replace(db, look_ups=slow), locate._INSTANCE, keys_of(_ONE.ref))
    await slow.close()
    await left.wait()
    server.close()
