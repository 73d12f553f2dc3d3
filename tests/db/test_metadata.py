"""Prepared metadata and its versions."""

from datetime import UTC, datetime, timedelta

import pytest

from app.db import metadata as module
from app.db.deletion import delete
from app.db.engine import Database, close_database, open_database
from app.db.ingest import DuplicatePolicy, ingest
from app.db.locate import locate_instances
from app.db.metadata import SeriesVersion, series_versions, stream_metadata
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef, SeriesRef, StudyRef
from app.errors import Gone, NotFound
from tests.support.databases import StatementCounter
from tests.support.records import make_record

MONTH = timedelta(days=30)
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


async def store(db: Database, *records: InstanceRecord, now: datetime | None = None) -> None:
    await ingest(db, records, duplicates=DuplicatePolicy.REPLACE, retention=MONTH, now=now)


async def test_versions_follow_every_change(db: Database, statement_counter: StatementCounter) -> None:
    first, second = make_record("1.2", "1.2.1", "1.3"), make_record("1.2", "1.2.2", "1.4")
    await store(db, first, second, now=NOON)
    with statement_counter.counting(1):
        versions = await series_versions(db, StudyRef("1.2"))
    assert versions == (SeriesVersion("1.2.1", 1, NOON, 1), SeriesVersion("1.2.2", 1, NOON, 1))
    later = NOON + timedelta(hours=1)
    await store(db, make_record("1.2", "1.2.2"), make_record("1.2", "1.2.2"), now=later)
    assert await series_versions(db, StudyRef("1.2")) == (versions[0], SeriesVersion("1.2.2", 2, later, 3))
    await store(db, make_record("1.2", "1.2.1", "1.3", InstanceNumber="5"), now=later)
    assert await series_versions(db, first.ref) == (SeriesVersion("1.2.1", 2, later, 1),)
    await delete(db, second.ref, retention=MONTH, now=later + timedelta(hours=1))
    assert await series_versions(db, second.ref.series) == (SeriesVersion("1.2.2", 3, later + timedelta(hours=1), 2),)


async def test_versions_of_what_is_not_there(db: Database) -> None:
    record = make_record("1.2", "1.2.1", "1.3")
    await store(db, record, make_record("1.2", "1.2.1", "1.4"))
    for ref in (StudyRef("1.9"), SeriesRef("1.2", "1.9"), InstanceRef("1.2", "1.2.1", "1.9")):
        with pytest.raises(NotFound):
            await series_versions(db, ref)
    await delete(db, record.ref, retention=MONTH)
    with pytest.raises(Gone):
        await series_versions(db, record.ref)


@pytest.mark.parametrize("page", [1, 7, 256])
async def test_metadata_is_streamed_in_reading_order(db: Database, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(module, "PAGE_INSTANCES", page)
    records = [
        make_record("1.2", f"1.2.{number % 3}", InstanceNumber=str(number * 7 % 20), SeriesNumber=str(number % 3))
        for number in range(20)
    ]
    await store(db, *records)
    texts = {record.ref: record.parsed.json for record in records}
    for ref in (StudyRef("1.2"), SeriesRef("1.2", "1.2.1"), records[4].ref):
        streamed = [item async for item in stream_metadata(db, ref)]
        assert [one for one, _ in streamed] == [location.ref for location in await locate_instances(db, ref)]
        assert all(text == texts[one] for one, text in streamed)


async def test_ids_that_others_have_been_given_meanwhile(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may take minutes to read: what is deleted by then is left out, and nothing else comes in its place."""
    monkeypatch.setattr(module, "PAGE_INSTANCES", 2)
    await store(db, *(make_record("1.2", "1.2.1") for _ in range(6)))
    streaming = stream_metadata(db, StudyRef("1.2"))
    refs = [(await anext(streaming))[0]]
    await delete(db, StudyRef("1.2"), retention=MONTH)
    await store(db, *(make_record("1.9", "1.9.1") for _ in range(6)))
    refs += [ref async for ref, _ in streaming]
    assert {ref.study_instance_uid for ref in refs} == {"1.2"}


def test_pages_are_bounded_and_never_empty() -> None:
    big = module.PAGE_BYTES + 1
    rows = [(1, 10), (2, big), (3, big), (4, 10), (5, 10)] + [(number, 1) for number in range(6, 600)]
    pages = module._pages(rows)
    assert [row_id for page in pages for row_id in page] == [row_id for row_id, _ in rows]
    assert all(0 < len(page) <= module.PAGE_INSTANCES for page in pages)
    assert [2] in pages
    assert [3] in pages


async def test_no_connection_is_held_between_items(database_url: str) -> None:
    db = await open_database(database_url, pool_size=1, pool_timeout=1)
    records = [make_record("1.2", "1.2.1", InstanceNumber=str(number)) for number in range(5)]
    await store(db, *records)
    seen = []
    async for ref, _ in stream_metadata(db, StudyRef("1.2")):
        seen.append(ref)
        assert await series_versions(db, ref)  # would wait for the only connection
    assert len(seen) == 5
    await close_database(db)


async def test_what_is_deleted_meanwhile_is_left_out(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_INSTANCES", 1)
    records = [make_record("1.2", "1.2.1", f"1.2.1.{number}", InstanceNumber=str(number)) for number in range(3)]
    await store(db, *records)
    seen = []
    async for ref, _ in stream_metadata(db, StudyRef("1.2")):
        if not seen:
            await delete(db, records[1].ref, retention=MONTH)
        seen.append(ref)
    assert seen == [records[0].ref, records[2].ref]


async def test_nothing_to_stream(db: Database) -> None:
    with pytest.raises(NotFound):
        async for _ in stream_metadata(db, StudyRef("1.2")):
            pass
