"""Instances of several requests are stored together, and share nothing but the work."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.blobs import local
from app.blobs.digests import digest_of
from app.blobs.keys import INSTANCES
from app.db.engine import Database
from app.db.group_queue import GroupQueue
from app.db.ingest import IngestResult, find_blobs, ingest
from app.db.ingest_verdicts import Blob
from app.db.inventory import counts
from app.db.locate import locate_instance
from app.dicom import store_status
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef
from app.errors import BlobStoreUnavailable
from app.services import store, store_group
from app.services.archive import ARRIVALS, Archive
from app.services.store import Intake
from app.services.store_results import RefusedInstance, StoredInstance, StoreResult
from tests.services.uploads import content, files_of, upload
from tests.support.dicom_bytes import make_instance, new_uid


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many instances each group had."""
    sizes: list[int] = []
    original = store_group.store_group

    async def counted(archive: Archive, group: Sequence[Any]) -> list[Any]:
        sizes.append(len(group))
        return await original(archive, group)

    monkeypatch.setattr(store, "store_group", counted)
    return sizes


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Instances over 10,000 bytes are large, and none of them is stored until it is set."""
    opened, commit = asyncio.Event(), local._LocalWriter.commit

    async def slow(self: Any, key: Any) -> None:
        if self.size > 10_000:
            await opened.wait()
        await commit(self, key)

    monkeypatch.setattr(store, "LARGE_BYTES", 10_000)
    monkeypatch.setattr(store_group, "LARGE_BYTES", 10_000)
    monkeypatch.setattr(local._LocalWriter, "commit", slow)
    return opened


async def test_requests_that_come_together_are_stored_together(archive: Archive, groups: list[int]) -> None:
    study = new_uid()
    files = [make_instance(study, InstanceNumber=str(number)) for number in range(10)]
    answers = await asyncio.gather(*(upload(archive, [data]) for data in files))
    assert all(isinstance(result, StoredInstance) for answer in answers for result in answer)
    assert groups == [10]
    assert await counts(archive.db) == (1, 10, 10)


async def test_each_request_gets_its_own_results(archive: Archive, groups: list[int]) -> None:
    first, second = make_instance(), make_instance()
    study = new_uid()
    answers = await asyncio.gather(
        upload(archive, [first, b"not DICOM"]), upload(archive, [second], study=study), upload(archive, [second])
    )
    kinds = [[type(result) for result in answer] for answer in answers]
    assert kinds == [[StoredInstance, RefusedInstance], [RefusedInstance], [StoredInstance]]
    (outside,) = answers[1]
    assert isinstance(outside, RefusedInstance)
    assert outside.status is store_status.STUDY_MISMATCH, "the study of one request confines no other"
    assert groups == [4]


async def test_the_same_instance_twice_in_a_group_is_one(archive: Archive, groups: list[int]) -> None:
    data = make_instance()
    answers = await asyncio.gather(*(upload(archive, [data]) for _ in range(4)))
    results = [result for answer in answers for result in answer]
    assert all(isinstance(result, StoredInstance) for result in results)
    assert sum(result.changed for result in results if isinstance(result, StoredInstance)) == 1
    assert (groups, len(files_of(archive)), (await counts(archive.db))[2]) == ([4], 1, 1)


async def test_rows_that_cannot_be_written_harm_no_other(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = make_instance(), [make_instance() for _ in range(3)]
    digest = digest_of(bad)

    async def picky(db: Database, records: Sequence[InstanceRecord], **manner: Any) -> list[IngestResult]:
        if any(record.digest == digest for record in records):
            raise IntegrityError("INSERT", {}, ValueError("no"))
        return await ingest(db, records, **manner)

    monkeypatch.setattr(store_group, "ingest", picky)
    (refused,), *stored = await asyncio.gather(*(upload(archive, [data]) for data in (bad, *good)))
    assert isinstance(refused, RefusedInstance)
    assert (refused.status, refused.transient) == (store_status.PROCESSING_FAILURE, False)
    assert all(isinstance(result, StoredInstance) for answer in stored for result in answer)
    assert (await counts(archive.db))[2] == 3


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), BlobStoreUnavailable("away")])
async def test_one_that_cannot_be_examined_harms_no_other(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bad, good = make_instance(), make_instance()
    accept = store_group.accept

    def failing(parsed: Any, study: Any) -> Any:
        if parsed.text("00080018").encode() in bad:
            raise error
        return accept(parsed, study)

    monkeypatch.setattr(store_group, "accept", failing)
    refused, stored = await upload(archive, [bad, good])
    assert isinstance(refused, RefusedInstance)
    assert refused.status is store_status.PROCESSING_FAILURE
    assert refused.sop_instance_uid
    assert refused.transient == isinstance(error, BlobStoreUnavailable)
    assert isinstance(stored, StoredInstance)
    assert len(files_of(archive)) == 1


async def test_a_blob_that_cannot_be_made_harms_no_other(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = make_instance(), [make_instance() for _ in range(3)]
    instance_key = store_group.instance_key

    def failing(study: str, series: str, instance: str, digest: str) -> str:
        if instance.encode() in bad:
            raise ValueError("a fault of ours")
        return instance_key(study, series, instance, digest)

    monkeypatch.setattr(store_group, "instance_key", failing)
    (refused,), *stored = await asyncio.gather(*(upload(archive, [data]) for data in (bad, *good)))
    assert isinstance(refused, RefusedInstance)
    assert (refused.status, refused.transient) == (store_status.PROCESSING_FAILURE, False)
    assert all(isinstance(result, StoredInstance) for answer in stored for result in answer)
    assert (await counts(archive.db))[2] == len(files_of(archive)) == 3


async def test_batches_of_a_request_are_stored_side_by_side_and_in_their_order(
    archive: Archive, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two parts with one SOP Instance UID the later one stays, even where its bytes are durable first."""
    monkeypatch.setattr(store, "BATCH_INSTANCES", 1)
    uids = {"study": new_uid(), "series": new_uid(), "sop": new_uid()}
    first, second = (make_instance(**uids, pixel_bytes=bytes([grey]) * 16) for grey in range(2))
    is_durable, commit, order = asyncio.Event(), local._LocalWriter.commit, []

    async def in_another_order(self: Any, key: Any) -> None:
        place = [first, second].index(bytes(await self.contents()))
        if place == 0:
            await asyncio.wait_for(is_durable.wait(), 10)
        await commit(self, key)
        order.append(place)
        if place == 1:
            is_durable.set()

    monkeypatch.setattr(local._LocalWriter, "commit", in_another_order)
    intake = Intake(archive)
    for data in (first, second):
        await intake.begin()
        await intake.write(data)
        await intake.end()
        await asyncio.sleep(0.01)
    results = await intake.finish()
    assert groups == [1, 1]
    assert order == [1, 0]
    assert all(isinstance(result, StoredInstance) and result.changed for result in results)
    location = await locate_instance(archive.db, InstanceRef(*uids.values()))
    assert location.digest == digest_of(second)


@pytest.mark.parametrize("batch", [64, 1])  # instances: all of the request together, and each for itself
async def test_what_is_stored_already_stays_when_it_is_the_last_of_a_request(
    archive: Archive, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BATCH_INSTANCES", batch)
    uids = {"study": new_uid(), "series": new_uid(), "sop": new_uid()}
    stored, other = (make_instance(**uids, pixel_bytes=bytes([grey]) * 16) for grey in range(2))
    await upload(archive, [stored])
    looked_up, count, commit = asyncio.Event(), 0, local._LocalWriter.commit

    async def counting(db: Database, refs: Sequence[InstanceRef]) -> dict[InstanceRef, Blob]:
        nonlocal count
        found = await find_blobs(db, refs)
        count += len(refs)
        if count >= 2:
            looked_up.set()
        return found

    async def late(self: Any, key: Any) -> None:
        await asyncio.wait_for(looked_up.wait(), 10)  # until the last has been looked up, nothing is replaced
        await commit(self, key)

    monkeypatch.setattr(store_group, "find_blobs", counting)
    monkeypatch.setattr(local._LocalWriter, "commit", late)
    intake = Intake(archive)
    for data in (other, stored):
        await intake.begin()
        await intake.write(data)
        await intake.end()
        await asyncio.sleep(0.01)
    results = await intake.finish()
    assert all(isinstance(result, StoredInstance) and result.changed for result in results)
    location = await locate_instance(archive.db, InstanceRef(*uids.values()))
    assert await content(archive, location.blob_key) == stored


async def test_no_batch_waits_for_ever(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one request in one group, in several, and large ones beside them."""
    monkeypatch.setattr(store, "BATCH_INSTANCES", 1)
    monkeypatch.setattr(store, "LARGE_BYTES", 10_000)

    async def request(number: int) -> list[StoreResult]:
        intake = Intake(archive)
        for part in range(6):
            await intake.begin()
            await intake.write(make_instance(rows=128 if part == number % 7 else 4, columns=128))
            await intake.end()
            if (part + number) % 3 == 0:
                await asyncio.sleep(0.001)
        return await intake.finish()

    answers = await asyncio.wait_for(asyncio.gather(*map(request, range(14))), 60)
    assert all(isinstance(result, StoredInstance) for answer in answers for result in answer)
    assert (await counts(archive.db))[2] == 14 * 6


async def test_a_large_instance_keeps_nobody_waiting(archive: Archive, gate: asyncio.Event) -> None:
    large = [
        asyncio.create_task(upload(archive, [make_instance(rows=128, columns=128)])) for _ in range(ARRIVALS[1] + 1)
    ]
    await asyncio.sleep(0.05)
    (small,) = await asyncio.wait_for(upload(archive, [make_instance()]), 10)
    assert isinstance(small, StoredInstance)
    assert not any(task.done() for task in large)
    gate.set()
    answers = await asyncio.gather(*large)
    assert all(isinstance(result, StoredInstance) for answer in answers for result in answer)


async def test_who_follows_a_large_instance_in_its_request_keeps_nobody_waiting(
    archive: Archive, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has it blobs without rows, which a sweep would take away, for as long as the large one is on its way."""
    monkeypatch.setattr(store, "BATCH_INSTANCES", 1)
    study = new_uid()
    follower = make_instance(study)
    mixed = asyncio.create_task(
        upload(archive, [make_instance(study, rows=128, columns=128), follower, make_instance()])
    )
    await asyncio.sleep(0.05)
    (small,) = await asyncio.wait_for(upload(archive, [make_instance()]), 10)
    assert isinstance(small, StoredInstance)
    assert len([stat async for stat in archive.blobs.list(INSTANCES)]) == 1
    assert not mixed.done()
    gate.set()
    assert all(isinstance(result, StoredInstance) for result in await mixed)
    assert await counts(archive.db) == (3, 4, 4)


async def test_who_is_in_the_batch_of_a_large_instance_has_its_rows_before_it(
    archive: Archive, gate: asyncio.Event
) -> None:
    uids = {"study": new_uid(), "series": new_uid(), "sop": new_uid()}
    versions = [make_instance(**uids, rows=rows, columns=128) for rows in (128, 4, 130, 5)]
    batch = asyncio.create_task(upload(archive, [make_instance(), *versions, make_instance()]))
    (later,) = await asyncio.wait_for(upload(archive, [make_instance()]), 10)
    assert isinstance(later, StoredInstance)
    for _ in range(1000):
        if await counts(archive.db) == (3, 3, 3):
            break
        await asyncio.sleep(0.01)
    assert await counts(archive.db) == (3, 3, 3)
    assert not batch.done()
    gate.set()
    assert all(isinstance(result, StoredInstance) and result.changed for result in await batch)
    assert await counts(archive.db) == (4, 4, 4)
    location = await locate_instance(archive.db, InstanceRef(*uids.values()))
    assert await content(archive, location.blob_key) == versions[-1]


def test_archives_have_queues_of_their_own(archive: Archive) -> None:
    assert isinstance(archive.arrivals, GroupQueue)
    assert archive.arrivals is not archive.rows


async def test_what_takes_long_for_one_instance_is_done_in_threads(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of half a megabyte may be one sequence of thousands of items: nobody else would be answered meanwhile."""
    code = {"CodeValue": "1", "CodingSchemeDesignator": "99", "CodeMeaning": "x"}
    called: list[str] = []
    to_thread = asyncio.to_thread

    async def counted(function: Any, *arguments: Any) -> Any:
        called.append(function.__name__)
        return await to_thread(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    (small,) = await upload(archive, [make_instance(ProcedureCodeSequence=[code] * 20)])
    assert isinstance(small, StoredInstance)
    assert not called
    (large,) = await upload(archive, [make_instance(ProcedureCodeSequence=[code] * 5000)])
    assert isinstance(large, StoredInstance)
    assert called == ["parse_instance", "prepare"]
