"""Deleting, remembering, restoring."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import select

from app.db.deletion import delete
from app.db.engine import Database, reading
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, ingest
from app.db.inventory import counts
from app.db.locate import locate_instance, locate_instances
from app.db.tables import attribute_values, series, studies, study_modalities
from app.db.tombstones import (
    OFFER_MARGIN,
    Tombstone,
    add_tombstones,
    expired_tombstones,
    remove_tombstones,
    restorable,
)
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef, Reference, SeriesRef, StudyRef
from app.errors import Gone, NotFound
from tests.support.consistency import assert_consistent, list_tombstones
from tests.support.records import make_record

MONTH = timedelta(days=30)
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def store(
    db: Database, *records: InstanceRecord, now: datetime = NOON, restoring: bool = False
) -> list[IngestResult]:
    return await ingest(db, records, duplicates=DuplicatePolicy.REPLACE, retention=MONTH, now=now, restoring=restoring)


async def remove(db: Database, ref: Reference, now: datetime = NOON) -> list[str]:
    keys = await delete(db, ref, retention=MONTH, now=now)
    await assert_consistent(db)
    return keys


def archive() -> list[InstanceRecord]:
    """Two studies; the first has a series of two and one of one."""
    return [
        make_record("1.2", "1.2.1", "1.2.1.1", Modality="CT", InstanceNumber="1"),
        make_record("1.2", "1.2.1", "1.2.1.2", Modality="CT", InstanceNumber="2"),
        make_record("1.2", "1.2.2", "1.2.2.1", Modality="MR"),
        make_record("1.3", "1.3.1", "1.3.1.1", Modality="US"),
    ]


async def test_deleting_an_instance(db: Database) -> None:
    records = archive()
    await store(db, *records)
    assert await remove(db, records[0].ref, NOON + HOUR) == [records[0].blob_key]
    assert await counts(db) == (2, 3, 3)
    with pytest.raises(Gone):
        await locate_instance(db, records[0].ref)
    async with reading(db) as connection:
        query = select(series).where(series.c.series_instance_uid == "1.2.1")
        row = (await connection.execute(query)).one()
    assert (row.version, row.number_of_instances, row.updated_at) == (2, 1, NOON + HOUR)
    (tombstone,) = await list_tombstones(db)
    assert tombstone == Tombstone(
        records[0].ref,
        "deleted",
        records[0].blob_key,
        records[0].size,
        records[0].digest,
        NOON + HOUR,
        NOON + HOUR + MONTH,
    )


async def test_the_last_instance_takes_its_series_and_study_along(db: Database) -> None:
    records = archive()
    await store(db, *records)
    await remove(db, records[2].ref)
    assert await counts(db) == (2, 2, 3)
    await remove(db, records[3].ref)
    assert await counts(db) == (1, 1, 2)
    for ref in (records[2].ref.series, records[3].ref.study):
        with pytest.raises(Gone):
            await locate_instances(db, ref)


@pytest.mark.parametrize(
    ("ref", "left"),
    [(SeriesRef("1.2", "1.2.1"), (2, 2, 2)), (StudyRef("1.2"), (1, 1, 1)), (StudyRef("1.3"), (1, 2, 3))],
)
async def test_deleting_a_series_or_a_study(db: Database, ref: Reference, left: tuple[int, int, int]) -> None:
    records = archive()
    await store(db, *records)
    below = {location.blob_key for location in await locate_instances(db, ref)}
    assert set(await remove(db, ref)) == below
    assert await counts(db) == left
    with pytest.raises(Gone):
        await remove(db, ref)
    assert {one.blob_key for one in await list_tombstones(db)} == below


async def test_deleting_what_is_not_there(db: Database) -> None:
    await store(db, *archive())
    for ref in (StudyRef("1.9"), SeriesRef("1.2", "1.9"), InstanceRef("1.2", "1.2.1", "1.9")):
        with pytest.raises(NotFound) as caught:
            await remove(db, ref)
        assert not isinstance(caught.value, Gone)
    assert await counts(db) == (2, 3, 4)


async def test_what_remains_speaks_for_the_study(db: Database) -> None:
    await store(db, make_record("1.2", "1.2.1", PatientID="FIRST", StudyDate="20240101", Modality="CT"))
    wrong = make_record(
        "1.2", "1.2.2", PatientID="WRONG", StudyDate="20240202", Modality="MR", StudyDescription="WRONG"
    )
    await store(db, wrong, now=NOON + HOUR)
    await remove(db, wrong.ref)
    async with reading(db) as connection:
        study = (await connection.execute(select(studies))).one()
        modalities = (await connection.execute(select(study_modalities.c.modality))).scalars().all()
        values = set((await connection.execute(select(attribute_values.c.value))).scalars())
    assert (study.patient_id, study.study_date) == ("FIRST", "20240101")
    assert "00081030" not in orjson.loads(study.attributes)
    assert modalities == ["CT"]
    assert "WRONG" not in values


async def test_what_remains_speaks_for_the_series(db: Database) -> None:
    await store(db, make_record("1.2", "1.2.1", Modality="CT", SeriesNumber="1", SeriesDescription="RIGHT"))
    wrong = make_record("1.2", "1.2.1", Modality="MR", SeriesNumber="2", SeriesDescription="WRONG")
    await store(db, wrong, now=NOON + HOUR)
    await remove(db, wrong.ref)
    async with reading(db) as connection:
        row = (await connection.execute(select(series))).one()
    assert (row.modality, row.series_number, row.number_of_instances) == ("CT", 1, 1)
    assert orjson.loads(row.attributes)["0008103E"]["Value"] == ["RIGHT"]


async def test_each_remaining_series_has_its_say(db: Database) -> None:
    await store(db, make_record("1.2", "1.2.1", PatientComments="only here"))
    await store(db, make_record("1.2", "1.2.2", PatientName="Newest"), now=NOON + HOUR)
    third = make_record("1.2", "1.2.3")
    await store(db, third, now=NOON + 2 * HOUR)
    await remove(db, third.ref.series)
    async with reading(db) as connection:
        attributes = orjson.loads((await connection.execute(select(studies.c.attributes))).scalar_one())
    assert attributes["00104000"]["Value"] == ["only here"]
    assert attributes["00100010"]["Value"] == [{"Alphabetic": "Newest"}]


async def test_storing_again_after_deleting(db: Database) -> None:
    records = archive()
    await store(db, *records)
    await remove(db, StudyRef("1.2"))
    again = replace(records[0], blob_key="instances/again")
    (result,) = await store(db, again, now=NOON + HOUR)
    assert (result.outcome, result.study_created) == (Outcome.CREATED, True)
    assert (await locate_instance(db, again.ref)).blob_key == "instances/again"
    assert [one.ref for one in await list_tombstones(db)].count(again.ref) == 1
    await assert_consistent(db)


async def test_restoring_brings_back_the_newest_deleted_content(db: Database) -> None:
    records = archive()
    await store(db, *records)
    await remove(db, StudyRef("1.2"))
    newer = make_record("1.2", "1.2.1", "1.2.1.1", Modality="CT", InstanceNumber="9")
    await store(db, newer, now=NOON + HOUR)
    await remove(db, newer.ref, NOON + 2 * HOUR)
    offered = await restorable(db, StudyRef("1.2"), now=NOON + 3 * HOUR)
    assert [one.blob_key for one in offered] == [newer.blob_key, records[1].blob_key, records[2].blob_key]
    results = await store(db, newer, records[1], records[2], now=NOON + 3 * HOUR, restoring=True)
    assert {result.outcome for result in results} == {Outcome.CREATED}
    await assert_consistent(db)
    assert [one.blob_key for one in await list_tombstones(db)] == [records[0].blob_key]
    assert await restorable(db, StudyRef("1.2"), now=NOON + 3 * HOUR) == []
    assert await counts(db) == (2, 3, 4)


async def test_what_is_stored_is_restored_only_when_named(db: Database) -> None:
    first = make_record("1.2", "1.2.1", "1.2.1.1", InstanceNumber="1")
    second = make_record("1.2", "1.2.1", "1.2.1.1", InstanceNumber="2")
    await store(db, first)
    await store(db, second, now=NOON + HOUR)
    assert await restorable(db, StudyRef("1.2"), now=NOON + HOUR) == []
    (offered,) = await restorable(db, first.ref, now=NOON + HOUR)
    assert offered.blob_key == first.blob_key
    (result,) = await store(db, first, now=NOON + 2 * HOUR, restoring=True)
    assert (result.outcome, result.replaced_blob_key) == (Outcome.REPLACED, second.blob_key)
    assert [one.blob_key for one in await list_tombstones(db)] == [second.blob_key]
    await assert_consistent(db)


async def test_restoring_what_was_stored_again_meanwhile(db: Database) -> None:
    record = make_record("1.2", "1.2.1", "1.2.1.1")
    await store(db, record)
    await remove(db, record.ref)
    await store(db, replace(record, blob_key="instances/again"), now=NOON + HOUR)
    (result,) = await store(db, record, now=NOON + HOUR, restoring=True)
    assert (result.outcome, result.surplus_blob_key) == (Outcome.UNCHANGED, None)
    assert [one.blob_key for one in await list_tombstones(db)] == [record.blob_key]


async def test_nothing_is_restored_from_a_tombstone_that_a_sweep_may_take(db: Database) -> None:
    record = make_record("1.2", "1.2.1", "1.2.1.1")
    await store(db, record)
    await remove(db, record.ref)
    end = NOON + MONTH
    assert len(await restorable(db, record.ref, now=end - OFFER_MARGIN - HOUR)) == 1
    assert await restorable(db, record.ref, now=end - OFFER_MARGIN) == []
    with pytest.raises(Gone):
        await store(db, record, now=end - timedelta(seconds=1), restoring=True)
    assert await counts(db) == (0, 0, 0)
    assert len(await list_tombstones(db)) == 1


async def test_expired_tombstones_are_listed_and_removed(db: Database) -> None:
    records = archive()
    await store(db, *records)
    for number, record in enumerate(records):
        await remove(db, record.ref, NOON + number * HOUR)
    expired = await expired_tombstones(db, NOON + MONTH + 2 * HOUR, limit=10)
    assert [one.blob_key for one in expired] == [record.blob_key for record in records[:3]]
    assert await expired_tombstones(db, NOON + MONTH + 2 * HOUR, limit=1, offset=1) == expired[1:2]
    keys = [one.blob_key for one in expired]
    assert await remove_tombstones(db, [*keys, "unknown"]) == sorted(keys)
    assert await remove_tombstones(db, keys) == []
    with pytest.raises(NotFound) as caught:
        await locate_instance(db, records[0].ref)
    assert not isinstance(caught.value, Gone)  # forgotten
    with pytest.raises(Gone):
        await locate_instance(db, records[3].ref)


async def test_tombstones_are_added_once(db: Database) -> None:
    one = Tombstone(InstanceRef("1", "2", "3"), "deleted", "key", 5, "00", NOON, NOON + MONTH)
    await add_tombstones(db, [one, replace(one, blob_key="other")])
    await add_tombstones(db, [replace(one, reason="replaced")])
    await add_tombstones(db, [])
    assert [(found.blob_key, found.reason) for found in await list_tombstones(db)] == [
        ("key", "deleted"),
        ("other", "deleted"),
    ]
