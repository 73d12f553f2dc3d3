"""Ingest: rows for records, one transaction per batch."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
import zstandard
from pydicom.data import get_testdata_file
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.db.engine import Database, close_database, open_database, reading
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, find_blobs, ingest
from app.db.ingest_verdicts import Blob
from app.db.inventory import counts
from app.db.locate import locate_instance, locate_instances
from app.db.tables import attribute_values, instances, series, studies, study_modalities
from app.dicom.attributes import standard_path
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef, SeriesRef, StudyRef
from tests.support.consistency import assert_consistent, list_tombstones
from tests.support.databases import StatementCounter
from tests.support.records import make_record, record_of

MONTH = timedelta(days=30)
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


async def store(
    db: Database,
    *records: InstanceRecord,
    duplicates: DuplicatePolicy = DuplicatePolicy.REPLACE,
    now: datetime | None = None,
) -> list[IngestResult]:
    results = await ingest(db, records, duplicates=duplicates, retention=MONTH, now=now)
    await assert_consistent(db)
    return results


def outcomes(results: list[IngestResult]) -> list[Outcome]:
    return [result.outcome for result in results]


async def row_of(db: Database, statement: object) -> object:
    async with reading(db) as connection:
        return (await connection.execute(statement)).one()


async def test_nothing_is_stored_of_nothing(db: Database) -> None:
    assert await ingest(db, [], duplicates=DuplicatePolicy.REPLACE, retention=MONTH) == []


async def test_a_new_instance_brings_its_study_and_series(db: Database) -> None:
    record = make_record("1.2", "1.2.3", "1.2.3.4", Modality="CT", SeriesNumber="7", InstanceNumber="12")
    (result,) = await store(db, record, now=NOON)
    assert result == IngestResult(record.ref, Outcome.CREATED, True, True, None, None)
    study = await row_of(db, select(studies))
    assert (study.study_instance_uid, study.study_date, study.patient_id) == ("1.2", "20240229", "P1")
    assert study.created_at == study.updated_at == NOON
    assert orjson.loads(study.attributes)["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    one = await row_of(db, select(series))
    assert (one.modality, one.series_number, one.version, one.number_of_instances) == ("CT", 7, 1, 1)
    assert orjson.loads(one.attributes)["00200011"]["Value"] == [7]
    instance = await row_of(db, select(instances))
    assert instance.instance_number == 12
    assert zstandard.ZstdDecompressor().decompress(instance.metadata) == record.parsed.json
    assert instance.frame_index == record.parsed.frame_index
    location = await locate_instance(db, record.ref)
    assert (location.blob_key, location.digest, location.size) == (record.blob_key, record.digest, record.size)
    assert location.created_at == NOON


async def test_only_one_record_of_a_batch_creates_the_study(db: Database) -> None:
    results = await store(db, *(make_record("1.2", f"1.2.{number % 2}") for number in range(4)))
    assert [result.study_created for result in results] == [True, False, False, False]
    assert [result.series_created for result in results] == [True, True, False, False]
    (late,) = await store(db, make_record("1.2", "1.2.0"))
    assert not late.study_created
    assert not late.series_created
    assert await counts(db) == (1, 2, 5)


async def test_results_come_in_the_order_of_the_records(db: Database) -> None:
    records = [make_record(f"1.{9 - number}", f"1.{9 - number}.1") for number in range(5)]
    assert [result.ref for result in await store(db, *records)] == [record.ref for record in records]


async def test_the_same_bytes_again_change_nothing(db: Database) -> None:
    first = make_record("1.2", "1.2.3", "1.2.3.4")
    again = InstanceRecord(first.ref, first.sop_class_uid, first.parsed, "instances/other", first.size, first.digest)
    await store(db, first, now=NOON)
    (result,) = await store(db, again, now=NOON + timedelta(days=1))
    assert (result.outcome, result.surplus_blob_key) == (Outcome.UNCHANGED, "instances/other")
    one = await row_of(db, select(series))
    assert (one.version, one.updated_at) == (1, NOON)
    assert await list_tombstones(db) == []
    (same_key,) = await store(db, first)
    assert (same_key.outcome, same_key.surplus_blob_key) == (Outcome.UNCHANGED, None)  # the blob is in use


async def test_other_bytes_replace_and_the_old_blob_is_remembered(db: Database) -> None:
    first = make_record("1.2", "1.2.3", "1.2.3.4", InstanceNumber="1")
    other = make_record("1.2", "1.2.3", "1.2.3.4", InstanceNumber="2")
    await store(db, first, now=NOON)
    later = NOON + timedelta(hours=1)
    (result,) = await store(db, other, now=later)
    assert (result.outcome, result.replaced_blob_key, result.surplus_blob_key) == (
        Outcome.REPLACED,
        first.blob_key,
        None,
    )
    location = await locate_instance(db, first.ref)
    assert (location.digest, location.blob_key, location.created_at) == (other.digest, other.blob_key, later)
    (tombstone,) = await list_tombstones(db)
    assert (tombstone.ref, tombstone.reason) == (first.ref, "replaced")
    assert (tombstone.blob_key, tombstone.digest, tombstone.size) == (first.blob_key, first.digest, first.size)
    assert (tombstone.created_at, tombstone.expires_at) == (later, later + MONTH)
    one = await row_of(db, select(series))
    assert (one.version, one.number_of_instances) == (2, 1)


async def test_other_bytes_are_refused_where_the_first_are_kept(db: Database) -> None:
    first = make_record("1.2", "1.2.3", "1.2.3.4", PatientName="First")
    other = make_record("1.2", "1.2.3", "1.2.3.4", PatientName="Second")
    await store(db, first)
    (result,) = await store(db, other, duplicates=DuplicatePolicy.KEEP)
    assert (result.outcome, result.surplus_blob_key) == (Outcome.REFUSED, other.blob_key)
    assert (await locate_instance(db, first.ref)).digest == first.digest
    study = await row_of(db, select(studies))
    assert study.patient_name_alphabetic == "first"  # what is refused says nothing about the study


@pytest.mark.parametrize("duplicates", DuplicatePolicy)
async def test_the_same_instance_twice_in_one_batch(db: Database, duplicates: DuplicatePolicy) -> None:
    first = make_record("1.2", "1.2.3", "1.2.3.4", InstanceNumber="1", Modality="CT")
    second = make_record("1.2", "1.2.3", "1.2.3.4", InstanceNumber="2", Modality="MR")
    third = make_record("1.2", "1.2.3", "1.2.3.4", InstanceNumber="2", Modality="MR")
    assert third.digest == second.digest
    results = await store(db, first, second, third, duplicates=duplicates)
    location = await locate_instance(db, first.ref)
    one = await row_of(db, select(series))
    if duplicates is DuplicatePolicy.KEEP:
        assert outcomes(results) == [Outcome.CREATED, Outcome.REFUSED, Outcome.REFUSED]
        assert [result.surplus_blob_key for result in results] == [None, second.blob_key, third.blob_key]
        assert (location.blob_key, one.modality) == (first.blob_key, "CT")
    else:
        assert outcomes(results) == [Outcome.CREATED, Outcome.REPLACED, Outcome.UNCHANGED]
        assert results[1].replaced_blob_key == first.blob_key
        assert results[2].surplus_blob_key == third.blob_key
        assert (location.blob_key, one.modality) == (second.blob_key, "MR")
        assert [one.blob_key for one in await list_tombstones(db)] == [first.blob_key]
    assert await counts(db) == (1, 1, 1)


async def test_the_same_uids_in_two_studies_are_two_instances(db: Database) -> None:
    await store(db, make_record("1.2", "1.5", "1.6"), make_record("1.3", "1.5", "1.6"))
    assert await counts(db) == (2, 2, 2)
    assert len(await locate_instances(db, StudyRef("1.2"))) == 1
    assert len(await locate_instances(db, SeriesRef("1.3", "1.5"))) == 1


async def test_study_attributes_the_latest_wins_but_nothing_is_erased(db: Database) -> None:
    await store(db, make_record("1.2", "1.2.3", PatientName="Old^Name", PatientSex="F", StudyDescription="Knee"))
    await store(db, make_record("1.2", "1.2.3", PatientName="New^Name", PatientSex="", AccessionNumber="A2"))
    study = await row_of(db, select(studies))
    attributes = orjson.loads(study.attributes)
    assert attributes["00100010"]["Value"] == [{"Alphabetic": "New^Name"}]
    assert attributes["00100040"]["Value"] == ["F"]
    assert attributes["00081030"]["Value"] == ["Knee"]
    assert (study.patient_name_alphabetic, study.accession_number) == ("new^name", "A2")
    assert list(attributes) == sorted(attributes)


async def test_a_changed_study_date_reaches_every_search_key(db: Database) -> None:
    first = make_record("1.2", "1.2.3", StudyDate="20240101", Modality="CT", BodyPartExamined="HEAD")
    await store(db, first)
    await store(db, make_record("1.2", "1.2.4", StudyDate="20240202", Modality="MR"))
    async with reading(db) as connection:
        dates = set((await connection.execute(select(study_modalities.c.study_date))).scalars())
        dates |= set((await connection.execute(select(attribute_values.c.study_date))).scalars())
    assert dates == {"20240202"}


async def test_a_changed_modality_leaves_no_trace(db: Database) -> None:
    await store(db, make_record("1.2", "1.2.3", "1.2.3.4", Modality="CT"))
    await store(db, make_record("1.2", "1.2.3", "1.2.3.4", Modality="MR"))
    async with reading(db) as connection:
        found = (await connection.execute(select(study_modalities.c.modality))).scalars().all()
    assert found == ["MR"]


async def test_replacing_replaces_the_search_keys(database_url: str) -> None:
    paths = (standard_path("ContentDate"), standard_path("ReferencedSeriesSequence.SeriesInstanceUID"))
    db = await open_database(database_url, searchable=paths)

    async def values() -> set[tuple[int, str]]:
        async with reading(db) as connection:
            rows = await connection.execute(select(attribute_values.c.level, attribute_values.c.value))
            return {(level, value) for level, value in rows}

    await store(db, make_record("1.2", "1.2.3", "1.2.3.4", StudyDescription="KNEE", ContentDate="20200101"))
    before = await values()
    assert {(0, "KNEE"), (2, "20200101")} <= before
    await store(db, make_record("1.2", "1.2.3", "1.2.3.4", StudyDescription="HIP", ContentDate="20210101"))
    after = await values()
    assert {(0, "HIP"), (2, "20210101")} <= after
    assert not {(0, "KNEE"), (2, "20200101")} & after
    await close_database(db)


async def test_blobs_are_found_of_what_is_stored(db: Database) -> None:
    records = [make_record("1.2", "1.2.3"), make_record("1.2", "1.2.4"), make_record("1.3", "1.3.1")]
    await store(db, *records)
    crossed = InstanceRef("1.2", "1.2.4", records[0].ref.sop_instance_uid)
    found = await find_blobs(db, [record.ref for record in records] + [crossed])
    assert found == {one.ref: Blob(one.ref, one.blob_key, one.size, one.digest) for one in records}
    assert await find_blobs(db, []) == {}


async def test_hostile_values_are_stored(db: Database) -> None:
    long = "A" * 5000
    record = make_record(
        "1.2",
        "1.2.3",
        PatientID=long,
        PatientName="Ä" * 3000 + "^\0" + "B" * 3000,
        AccessionNumber="x\0y",
        SeriesNumber="99999999999999999999999999",
        InstanceNumber="not a number",
        StudyDate="yesterday" * 100,
        Modality=long,
        StudyDescription=long,
    )
    (result,) = await store(db, record)
    assert result.outcome is Outcome.CREATED
    assert (await row_of(db, select(series))).series_number is None


async def test_a_whole_batch_is_rolled_back_together(db: Database) -> None:
    taken = make_record("1.2", "1.2.3")
    await store(db, taken)
    clash = make_record("1.9", "1.9.1")
    clash = InstanceRecord(clash.ref, clash.sop_class_uid, clash.parsed, taken.blob_key, clash.size, clash.digest)
    with pytest.raises(IntegrityError):
        await store(db, make_record("1.8", "1.8.1"), clash)
    assert await counts(db) == (1, 1, 1)


async def test_few_statements_for_a_batch(db: Database, statement_counter: StatementCounter) -> None:
    records = [make_record("1.2", "1.2.3", InstanceNumber=str(number)) for number in range(60)]
    await store(db, *records[:10])
    with statement_counter.counting(5):  # studies, series, instances, insert, update of the series
        await ingest(db, records[10:], duplicates=DuplicatePolicy.REPLACE, retention=MONTH)


async def test_many_records_in_one_batch(db: Database) -> None:
    records = [make_record("1.2", f"1.2.{number % 7}", rows=0) for number in range(1200)]
    results = await store(db, *records)
    assert {result.outcome for result in results} == {Outcome.CREATED}
    assert await counts(db) == (1, 7, 1200)


async def test_real_files_are_stored(db: Database) -> None:
    names = ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "waveform_ecg.dcm", "JPEG2000.dcm"]
    records = [record_of(Path(str(get_testdata_file(name))).read_bytes()) for name in names]
    results = await store(db, *records)
    assert {result.outcome for result in results} == {Outcome.CREATED}
    for record in records:
        assert (await locate_instance(db, record.ref)).digest == record.digest
