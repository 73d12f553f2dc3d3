"""Finding instances, frames and bulkdata: one statement each."""

import asyncio
import itertools
import struct
from dataclasses import astuple
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.deletion import delete
from app.db.engine import Database
from app.db.ingest import DuplicatePolicy, ingest
from app.db.locate import InstanceLocation, locate_bulkdata, locate_instance, locate_instances
from app.db.locate_frames import (
    _MAX_SLICES,
    _ONE_RUN_PER_FRAME,
    INDEX_ONCE,
    WHOLE_INDEX,
    _entry_runs,
    _partial_index,
    locate_frames,
)
from app.dicom import frame_index
from app.dicom.bulkdata import find_bulkdata
from app.dicom.frame_index import HEAD_SIZE, frame_count
from app.dicom.instance import InstanceRecord
from app.dicom.layout import InstanceLayout
from app.dicom.references import InstanceRef, Reference, SeriesRef, StudyRef
from app.errors import Gone, NotFound
from tests.support.databases import StatementCounter
from tests.support.records import make_record, multi_frame

MONTH = timedelta(days=30)
LARGE = 5000  # frames whose index is larger than what is fetched whole


async def store(db: Database, *records: InstanceRecord) -> None:
    await ingest(db, records, duplicates=DuplicatePolicy.REPLACE, retention=MONTH)


async def test_an_instance_is_located_by_one_statement(db: Database, statement_counter: StatementCounter) -> None:
    record = make_record()
    await store(db, record, make_record(record.ref.study_instance_uid, record.ref.series_instance_uid))
    with statement_counter.counting(1):
        location = await locate_instance(db, record.ref)
    assert location.ref == record.ref
    assert (location.digest, location.size, location.blob_key) == (record.digest, record.size, record.blob_key)
    assert location.sop_class_uid == record.sop_class_uid
    assert location.transfer_syntax_uid == record.parsed.transfer_syntax_uid
    image = InstanceLayout.from_json(location.layout).image
    assert image is not None
    assert (image.rows, image.columns) == (4, 4)
    assert location.created_at.utcoffset() == timedelta(0)


async def test_instances_come_in_reading_order(db: Database) -> None:
    records = [
        make_record("1.2", "1.2.2", "1.2.2.9", SeriesNumber="2", InstanceNumber="1"),
        make_record("1.2", "1.2.9", "1.2.9.1", SeriesNumber="1", InstanceNumber="10"),
        make_record("1.2", "1.2.9", "1.2.9.3", SeriesNumber="1", InstanceNumber="9"),
        make_record("1.2", "1.2.9", "1.2.9.2", SeriesNumber="1", InstanceNumber="9"),
        make_record("1.2", "1.2.9", "1.2.9.0", SeriesNumber="1", InstanceNumber=""),
        make_record("1.2", "1.2.1", "1.2.1.1", SeriesNumber="", InstanceNumber="1"),
    ]
    await store(db, *records)
    found = [location.ref.sop_instance_uid for location in await locate_instances(db, StudyRef("1.2"))]
    assert found == ["1.2.9.2", "1.2.9.3", "1.2.9.1", "1.2.9.0", "1.2.2.9", "1.2.1.1"]
    found = [location.ref.sop_instance_uid for location in await locate_instances(db, SeriesRef("1.2", "1.2.9"))]
    assert found == ["1.2.9.2", "1.2.9.3", "1.2.9.1", "1.2.9.0"]
    (one,) = await locate_instances(db, records[0].ref)
    assert one == await locate_instance(db, records[0].ref)


@pytest.mark.parametrize(
    "ref",
    [StudyRef("1.9"), SeriesRef("1.2", "1.9"), InstanceRef("1.2", "1.2.1", "1.9"), InstanceRef("1.9", "1", "1.3")],
)
async def test_what_is_not_there_is_not_found(db: Database, ref: Reference) -> None:
    await store(db, make_record("1.2", "1.2.1", "1.3"))
    with pytest.raises(NotFound) as caught:
        await locate_instances(db, ref)
    assert not isinstance(caught.value, Gone)
    if isinstance(ref, InstanceRef):
        for locate in (locate_instance, locate_bulkdata):
            with pytest.raises(NotFound):
                await locate(db, ref)
        with pytest.raises(NotFound):
            await locate_frames(db, ref, [1])


async def test_what_was_deleted_is_gone(db: Database) -> None:
    record, neighbour = make_record("1.2", "1.2.1", "1.3"), make_record("1.2", "1.2.2", "1.4")
    await store(db, record, neighbour)
    await delete(db, record.ref, retention=MONTH)
    for ref in (record.ref, record.ref.series):
        with pytest.raises(Gone):
            await locate_instances(db, ref)
    with pytest.raises(Gone):
        await locate_frames(db, record.ref, [1])
    assert len(await locate_instances(db, record.ref.study)) == 1
    await delete(db, neighbour.ref.study, retention=MONTH)
    with pytest.raises(Gone):
        await locate_instances(db, record.ref.study)


async def test_what_was_replaced_is_not_gone_but_there(db: Database) -> None:
    await store(db, make_record("1.2", "1.2.1", "1.3", InstanceNumber="1"))
    other = make_record("1.2", "1.2.1", "1.3", InstanceNumber="2")
    await store(db, other)
    assert (await locate_instance(db, other.ref)).digest == other.digest


def with_index(record: InstanceRecord, index: bytes) -> InstanceRecord:
    parsed = type(record.parsed)(
        **{name: getattr(record.parsed, name) for name in record.parsed.__slots__} | {"frame_index": index}
    )
    return InstanceRecord(record.ref, record.sop_class_uid, parsed, record.blob_key, 1, record.digest)


@pytest.mark.parametrize("numbers", [[1], [LARGE], [3, 1, 2], [7, 7], [1, 9, 17, 4000, LARGE], list(range(100, 200))])
async def test_frames_of_a_large_index_by_one_statement(
    db: Database, statement_counter: StatementCounter, numbers: list[int]
) -> None:
    record = multi_frame(LARGE)
    assert len(record.parsed.frame_index) > WHOLE_INDEX
    await store(db, record)
    expected = frame_index.locate_frames(record.parsed.frame_index, numbers)
    for turn in range(3):
        with statement_counter.counting(1):
            location, packed = await locate_frames(db, record.ref, numbers)
        assert location.digest == record.digest
        assert frame_count(packed) == LARGE
        assert frame_index.locate_frames(packed, numbers) == expected
        if turn or db.dialect == "postgresql":
            assert len(packed) == HEAD_SIZE, "the rest was not fetched"
        with pytest.raises(NotFound):
            frame_index.locate_frames(packed, [LARGE + 1])


async def test_each_of_many_at_once_has_its_own_answer(db: Database, statement_counter: StatementCounter) -> None:
    """PostgreSQL is asked for all that is looked up in the same way by one statement."""
    small = [make_record("1.2", f"1.2.{number % 3}", f"1.2.9.{number}", frames=2) for number in range(20)]
    large = [multi_frame(LARGE), multi_frame(LARGE)]
    missing, gone = InstanceRef("1.2", "1.2.1", "1.2.8"), make_record()
    await store(db, *small, *large, gone)
    await delete(db, gone.ref, retention=MONTH)
    frames = [(one, number) for one in large for number in (1, LARGE, 77)] + [(one, 1) for one in small[:5]]
    before = len(statement_counter.statements)
    instances, located, bulkdata = await asyncio.gather(
        asyncio.gather(*(locate_instance(db, one.ref) for one in small)),
        asyncio.gather(*(locate_frames(db, one.ref, [number]) for one, number in frames)),
        asyncio.gather(*(locate_bulkdata(db, one.ref) for one in small[:5])),
    )
    if db.dialect == "postgresql":
        assert len(statement_counter.statements) - before == 3
    assert [one.digest for one in instances] == [one.digest for one in small]
    assert [location.digest for location, _ in bulkdata] == [one.digest for one in small[:5]]
    for (record, number), (location, packed) in zip(frames, located, strict=True):
        assert location.digest == record.digest
        wanted = frame_index.locate_frames(record.parsed.frame_index, [number])
        assert frame_index.locate_frames(packed, [number]) == wanted
    refs = (small[0].ref, missing, gone.ref, small[1].ref)
    answers = await asyncio.gather(*(locate_instance(db, ref) for ref in refs), return_exceptions=True)
    assert [type(answer) for answer in answers] == [InstanceLocation, NotFound, Gone, InstanceLocation]


async def test_an_index_of_many_megabytes_is_never_loaded(db: Database, statement_counter: StatementCounter) -> None:
    count = INDEX_ONCE // 16
    head = struct.pack("<BBHIQQQQ", 2, 1, 0, 1, count, 0, 0, HEAD_SIZE + count * 16)
    record = with_index(make_record(), head + struct.pack("<QQ", 1000, 8) * count)
    await store(db, record)
    for statements in (2 if db.dialect == "sqlite" else 1, 1):
        with statement_counter.counting(statements):
            _, packed = await locate_frames(db, record.ref, [1, count])
        assert len(packed) == HEAD_SIZE
        assert [one.runs for one in frame_index.locate_frames(packed, [1, count])] == [((1000, 8),)] * 2


async def test_an_instance_that_is_no_longer_large(db: Database) -> None:
    record = multi_frame(LARGE)
    await store(db, record)
    for _ in range(2):
        await locate_frames(db, record.ref, [1])
    small = make_record(*astuple(record.ref), frames=2)
    await store(db, small)
    for _ in range(2):
        assert (await locate_frames(db, record.ref, [1]))[1] == small.parsed.frame_index


async def test_too_many_parts_fetch_the_whole_index(db: Database, statement_counter: StatementCounter) -> None:
    record = multi_frame(LARGE)
    await store(db, record)
    with statement_counter.counting(1):
        _, packed = await locate_frames(db, record.ref, range(1, LARGE, 2))
    assert packed == record.parsed.frame_index


@pytest.mark.parametrize("frames", [1, 5, 300])
async def test_a_small_index_is_fetched_whole(db: Database, statement_counter: StatementCounter, frames: int) -> None:
    for record in (multi_frame(frames), make_record(frames=frames)):
        await store(db, record)
        with statement_counter.counting(1):
            _, packed = await locate_frames(db, record.ref, [1])
        assert packed == record.parsed.frame_index


async def test_a_large_index_of_another_form_is_fetched_whole(
    db: Database, statement_counter: StatementCounter
) -> None:
    record = make_record()
    head = struct.pack("<BBHIQQQQ", 2, 1, 0, 3, 3000, 0, 0, HEAD_SIZE + 3000 * 48)
    index = head + bytes(range(256)) * (3000 * 48 // 256 + 1)
    index = index[: HEAD_SIZE + 3000 * 48]
    await store(db, with_index(record, index))
    with statement_counter.counting(1):
        _, packed = await locate_frames(db, record.ref, [2])
    assert packed == index


async def test_frames_that_do_not_exist(db: Database) -> None:
    large, none = multi_frame(LARGE), make_record(rows=0)
    await store(db, large, none)
    for numbers in ([LARGE + 1], [2**31 - 1], [1, 10**15]):
        _, packed = await locate_frames(db, large.ref, numbers)
        with pytest.raises(NotFound, match="there is no frame"):
            frame_index.locate_frames(packed, numbers)
    _, packed = await locate_frames(db, none.ref, [1])
    assert packed == b""


def test_the_form_that_is_sliced_is_what_the_index_says_it_is() -> None:
    index = multi_frame(LARGE).parsed.frame_index
    assert index.startswith(_ONE_RUN_PER_FRAME)
    assert frame_index.slice_of(index, 7) == (HEAD_SIZE + 6 * 16, 16)


@given(st.lists(st.integers(1, 40), max_size=20))
def test_entry_runs_cover_the_numbers_exactly(numbers: list[int]) -> None:
    runs = _entry_runs(numbers)
    assert sorted(set(numbers)) == [first + 1 + step for first, count in runs for step in range(count)]
    assert all(sum(before) < after[0] for before, after in itertools.pairwise(runs))
    index = _ONE_RUN_PER_FRAME + struct.pack("<QQQQ", 40, 0, 0, HEAD_SIZE + 640) + bytes(range(1, 161)) * 4
    parts = [index[HEAD_SIZE + first * 16 :][: count * 16] for first, count in runs]
    partial = _partial_index(index[:HEAD_SIZE], runs, parts)
    assert len(partial) == HEAD_SIZE, "what costs a frame does not grow with the number of its companions"
    assert frame_index.locate_frames(partial, numbers) == frame_index.locate_frames(index, numbers)
    assert _MAX_SLICES >= 1


async def test_bulkdata_is_located_by_one_statement(db: Database, statement_counter: StatementCounter) -> None:
    record = make_record()
    await store(db, record)
    with statement_counter.counting(1):
        location, packed = await locate_bulkdata(db, record.ref)
    assert location.digest == record.digest
    assert find_bulkdata(packed, "7FE00010").length == 16
