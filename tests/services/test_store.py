"""Store: what is answered is kept, what is refused leaves nothing behind."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from app.blobs.digests import digest_of
from app.db.engine import Database
from app.db.ingest import DuplicatePolicy
from app.db.inventory import counts
from app.db.locate import locate_instance, locate_instances
from app.dicom import store_status
from app.dicom.references import InstanceRef, StudyRef
from app.errors import BlobStoreUnavailable, DatabaseUnavailable, NotFound, OutOfSpace, Unavailable
from app.services import store, store_group
from app.services.archive import Archive
from app.services.store import Intake
from app.services.store_results import RefusedInstance, StoredInstance
from app.services.sweep import sweep
from app.services.verify import verify
from tests.services.uploads import content, files_of, upload
from tests.support.dicom_bytes import make_instance, new_uid


async def test_stored_bytes_come_back_bit_for_bit(archive: Archive) -> None:
    data = make_instance(rows=8, columns=8, PatientName="Doe^Jane")
    (result,) = await upload(archive, [data], chunk=7)
    assert isinstance(result, StoredInstance)
    assert result.changed
    location = await locate_instance(archive.db, result.ref)
    assert await content(archive, location.blob_key) == data
    assert location.digest == digest_of(data)
    assert location.size == len(data)


async def test_same_bytes_again_change_nothing(archive: Archive) -> None:
    data = make_instance()
    (first,) = await upload(archive, [data])
    before = files_of(archive)
    (again,) = await upload(archive, [data])
    assert isinstance(again, StoredInstance)
    assert not again.changed
    assert files_of(archive) == before
    assert isinstance(first, StoredInstance)
    assert again.ref == first.ref


async def test_other_bytes_replace_and_leave_a_tombstone(archive: Archive) -> None:
    study, series, sop = new_uid(), new_uid(), new_uid()
    old = make_instance(study, series, sop, PatientID="old")
    new = make_instance(study, series, sop, PatientID="new")
    await upload(archive, [old])
    (result,) = await upload(archive, [new])
    assert isinstance(result, StoredInstance)
    location = await locate_instance(archive.db, result.ref)
    assert await content(archive, location.blob_key) == new
    names = [path.relative_to(archive.blobs.root).parts[0] for path in files_of(archive)]  # type: ignore[attr-defined]
    assert sorted(names) == ["instances", "instances", "tombstones"]
    assert await counts(archive.db) == (1, 1, 1)


async def test_other_bytes_are_refused_where_duplicates_are_kept(keeping: Archive) -> None:
    study, series, sop = new_uid(), new_uid(), new_uid()
    old = make_instance(study, series, sop, PatientID="old")
    new = make_instance(study, series, sop, PatientID="new")
    first, second = await upload(keeping, [old, new])
    assert isinstance(first, StoredInstance)
    assert isinstance(second, RefusedInstance)
    assert second.status is store_status.DUPLICATE_SOP_INSTANCE
    (third,) = await upload(keeping, [new])
    assert isinstance(third, RefusedInstance)
    location = await locate_instance(keeping.db, first.ref)
    assert await content(keeping, location.blob_key) == old
    assert len(files_of(keeping)) == 1


async def test_one_bad_part_never_harms_the_others(archive: Archive) -> None:
    good = [make_instance() for _ in range(3)]
    truncated = make_instance(rows=64, columns=64)[:-100]
    results = await upload(archive, [good[0], b"not DICOM at all" * 100, good[1], truncated, b"", good[2]])
    kinds = [type(result) for result in results]
    assert kinds == [StoredInstance, RefusedInstance, StoredInstance, RefusedInstance, RefusedInstance, StoredInstance]
    cut = results[3]
    assert isinstance(cut, RefusedInstance)
    assert cut.status is store_status.TRUNCATED
    assert cut.sop_instance_uid, "the file meta information says which instance it would have been"
    assert len(files_of(archive)) == 3
    assert (await counts(archive.db))[2] == 3


@pytest.mark.parametrize("written", ["1.2.03", "1.2.3 ", "1.2.3\0", " 1.2.3", "1.2.3\\"])
async def test_uids_as_clients_write_them(archive: Archive, written: str) -> None:
    """Not as PS3.5 9.1 and 6.2 would have them, but there is no doubt which is meant."""
    data = make_instance(written, written, written)
    (result,) = await upload(archive, [data])
    assert isinstance(result, StoredInstance)
    uid = written.strip(" \0\\")
    assert result.ref == InstanceRef(uid, uid, uid)
    assert await content(archive, (await locate_instance(archive.db, result.ref)).blob_key) == data


async def test_many_instances_pass_through_several_batches(archive: Archive) -> None:
    study = new_uid()
    files = [make_instance(study, InstanceNumber=str(number)) for number in range(store.BATCH_INSTANCES * 2 + 5)]
    results = await upload(archive, files)
    assert all(isinstance(result, StoredInstance) for result in results)
    located = await locate_instances(archive.db, StudyRef(study))
    digests = {digest_of(data) for data in files}
    assert {location.digest for location in located} == digests


async def test_study_of_the_request_confines_it(archive: Archive) -> None:
    study = new_uid()
    inside, outside = await upload(archive, [make_instance(study), make_instance()], study=study)
    assert isinstance(inside, StoredInstance)
    assert isinstance(outside, RefusedInstance)
    assert outside.status is store_status.STUDY_MISMATCH


async def test_large_instance_goes_through_the_spool(archive: Archive) -> None:
    data = make_instance(rows=1500, columns=1500)
    assert len(data) > store.WRITER_MEMORY
    (result,) = await upload(archive, [data], chunk=300_000)
    assert isinstance(result, StoredInstance)
    location = await locate_instance(archive.db, result.ref)
    assert await content(archive, location.blob_key) == data


async def test_sender_that_vanishes_leaves_nothing(archive: Archive) -> None:
    intake = Intake(archive)
    data = make_instance(rows=1500, columns=1500)
    await intake.begin()
    await intake.write(data)
    await intake.end()
    await intake.begin()
    await intake.write(data[: len(data) // 2])
    await intake.abort()
    assert files_of(archive) == []
    assert await counts(archive.db) == (0, 0, 0)


async def test_cancelled_request_finishes_what_is_being_written(archive: Archive) -> None:
    data = [make_instance() for _ in range(5)]
    intake = Intake(archive)
    for one in data:
        await intake.begin()
        await intake.write(one)
        await intake.end()
    task = asyncio.create_task(intake.finish())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await intake.abort()
    stored = (await counts(archive.db))[2]
    assert stored == len(files_of(archive)), "every blob has its row, every row its blob"


async def test_no_room_is_a_reason_not_an_outage(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full() -> None:
        raise OutOfSpace("the disk is full")

    monkeypatch.setattr(type(archive.blobs), "open_writer", lambda _: full())
    (result,) = await upload(archive, [make_instance()])
    assert isinstance(result, RefusedInstance)
    assert result.status is store_status.OUT_OF_RESOURCES


async def test_database_away_is_said_as_a_whole_and_keeps_no_half(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(db: Database, *_: object, **__: object) -> None:
        raise DatabaseUnavailable("the database does not answer") from ConnectionRefusedError("port 5432")

    monkeypatch.setattr(store_group, "ingest", away)
    data = make_instance()
    with pytest.raises(Unavailable) as raised:
        await upload(archive, [data])
    assert isinstance(raised.value.__cause__, ConnectionRefusedError), "the log needs to know why"
    monkeypatch.undo()
    assert await counts(archive.db) == (0, 0, 0)
    assert len(files_of(archive)) == 1, "whether the rows were committed is not known: only a sweep may judge the blob"
    (result,) = await upload(archive, [data])
    assert isinstance(result, StoredInstance)


async def test_blob_store_that_fails_for_one_refuses_one(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = make_instance()
    digest = digest_of(bad)[:16]
    (writer,) = [await archive.blobs.open_writer()]
    commit = type(writer).commit
    await writer.cancel()

    async def failing(self: object, key_of: Callable[[str], str]) -> None:
        def refuse(found: str) -> str:
            if found.startswith(digest):
                raise BlobStoreUnavailable("the disk says no")
            return key_of(found)

        await commit(self, refuse)  # type: ignore[arg-type]

    monkeypatch.setattr(type(writer), "commit", failing)
    good = make_instance()
    first, second = await upload(archive, [bad, good])
    assert isinstance(first, RefusedInstance)
    assert first.status is store_status.PROCESSING_FAILURE
    assert isinstance(second, StoredInstance)
    assert len(files_of(archive)) == 1


async def test_sixteen_writers_of_one_study_lose_nothing(archive: Archive) -> None:
    study, series = new_uid(), [new_uid() for _ in range(3)]
    files = [make_instance(study, series[number % 3], InstanceNumber=str(number)) for number in range(48)]
    shares = [files[start : start + 24] for start in range(0, 32, 2)]  # overlapping
    answers = await asyncio.gather(*(upload(archive, share) for share in shares))
    assert all(isinstance(result, StoredInstance) for answer in answers for result in answer)
    expected = {digest_of(data) for share in shares for data in share}
    located = await locate_instances(archive.db, StudyRef(study))
    assert {location.digest for location in located} == expected
    assert len(located) == len(expected)
    assert len(files_of(archive)) == len(expected), "blobs that lost a race were removed"


async def test_unknown_instance_is_not_found(archive: Archive) -> None:
    with pytest.raises(NotFound):
        await locate_instance(archive.db, InstanceRef("1.2", "1.3", "1.4"))


@pytest.mark.parametrize("policy", DuplicatePolicy)
@pytest.mark.parametrize("damage", ["missing", "cut off", "altered"])
async def test_what_was_lost_is_stored_when_it_is_sent_again(
    archive: Archive, policy: DuplicatePolicy, damage: str
) -> None:
    archive = replace(archive, duplicates=policy, retention=timedelta(0))
    data = make_instance()
    (first,) = await upload(archive, [data])
    assert isinstance(first, StoredInstance)
    (path,) = files_of(archive)
    path.unlink()
    if damage == "cut off":
        path.write_bytes(data[:-1])
    elif damage == "altered":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    first_again, second_again = await upload(archive, [data, data])
    assert isinstance(first_again, StoredInstance)
    assert isinstance(second_again, StoredInstance)
    location = await locate_instance(archive.db, first.ref)
    assert await content(archive, location.blob_key) == data
    assert len(await locate_instances(archive.db, StudyRef(first.ref.study_instance_uid))) == 1
    await sweep(archive, delete=True, grace=timedelta(0))
    assert (await verify(archive)).damaged == ()
    assert len(files_of(archive)) == 1
