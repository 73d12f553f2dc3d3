"""A database that knows less than was stored: no sweep believes it, and a reindex mends it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, delete

from app.blobs.base import BlobStore
from app.blobs.keys import instance_key
from app.db.engine import Database, transact
from app.db.inventory import begin_reindexing, counts, end_reindexing, is_reindexing
from app.db.locate import locate_instance, locate_instances
from app.db.tables import studies
from app.dicom.references import InstanceRef, StudyRef
from app.errors import ArchiveIncomplete, BlobStoreUnavailable
from app.services import deletion
from app.services import reindex as reindex_module
from app.services import sweep as sweep_module
from app.services.archive import Archive
from app.services.deletion import restore
from app.services.reindex import reindex
from app.services.sweep import sweep, usual_strays
from app.services.verify import verify
from tests.services.uploads import content, files_of, upload
from tests.support.counting_blobs import CountingBlobs
from tests.support.dicom_bytes import make_instance, new_uid

AT_ONCE = timedelta(0)


class FailingBlobs(CountingBlobs):
    """Answers so many reads, then fails so many times."""

    def __init__(self, store: BlobStore, answers: int, failures: int) -> None:
        super().__init__(store)
        self.answers, self.failures = answers, failures

    async def open(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.answers -= 1
        if self.answers < 0 and self.failures > 0:
            self.failures -= 1
            raise BlobStoreUnavailable("away")
        async for chunk in super().open(key, offset, length):
            yield chunk


async def stored_study(archive: Archive, count: int) -> StudyRef:
    study, series = new_uid(), new_uid()
    await upload(archive, [make_instance(study, series, InstanceNumber=str(number)) for number in range(count)])
    return StudyRef(study)


async def committed(archive: Archive, data: bytes, sop: str = "1.4") -> str:
    writer = await archive.blobs.open_writer()
    await writer.write(data)
    key = instance_key("1.2", "1.3", sop, await writer.digest())
    await writer.commit(key)
    return key


async def forget(db: Database, study: StudyRef) -> None:
    """The database as it was before the study came: that of a back-up."""

    def work(connection: Connection) -> None:
        connection.execute(delete(studies).where(studies.c.study_instance_uid == study.study_instance_uid))

    await transact(db, work)


async def test_after_a_reindex_that_was_broken_off_nothing_is_swept(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = await stored_study(archive, 6)
    before = {location.ref: location.blob_key for location in await locate_instances(archive.db, study)}
    files = files_of(archive)
    monkeypatch.setattr(reindex_module, "BATCH", 2)
    failing = FailingBlobs(archive.blobs, 3, 100)
    with pytest.raises(BlobStoreUnavailable):
        await reindex(replace(archive, blobs=failing), pauses=(0, 0))
    assert failing.failures == 97, "tried again after each pause, and no more"
    assert (await counts(archive.db))[2] == 2, "it had got so far"
    for force in (False, True):
        with pytest.raises(ArchiveIncomplete, match="run `gantry reindex` again"):
            await sweep(archive, delete=True, grace=AT_ONCE, force=force)
    with pytest.raises(ArchiveIncomplete):
        await sweep(archive, grace=AT_ONCE)
    assert files_of(archive) == files
    assert (await reindex(archive)).instances == 6
    assert {location.ref: location.blob_key for location in await locate_instances(archive.db, study)} == before
    assert (await sweep(archive, delete=True, grace=AT_ONCE)).strays == 0


async def test_a_reindex_waits_for_what_comes_back(archive: Archive) -> None:
    await stored_study(archive, 3)
    report = await reindex(replace(archive, blobs=FailingBlobs(archive.blobs, 1, 2)), pauses=(0, 0))
    assert (report.instances, report.problems) == (3, ())
    assert not await is_reindexing(archive.db)


async def test_a_reindex_that_begins_ends_a_sweep(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(CountingBlobs):
        async def delete(self, key: str) -> None:
            await self.store.delete(key)
            await begin_reindexing(archive.db)

    await stored_study(archive, 1)
    for sop in ("1.4", "1.5", "1.6"):
        await committed(archive, b"stray", sop)
    monkeypatch.setattr(sweep_module, "PAGE", 1)
    with pytest.raises(ArchiveIncomplete):
        await sweep(replace(archive, blobs=Interrupting(archive.blobs)), delete=True, grace=AT_ONCE)
    assert len(files_of(archive)) == 3, "one had gone by then"


async def test_beside_a_database_without_rows_nothing_is_swept(archive: Archive) -> None:
    await stored_study(archive, 3)
    files = files_of(archive)
    await begin_reindexing(archive.db)
    await end_reindexing(archive.db, {})
    assert "no rows at all" in (await sweep(archive, grace=AT_ONCE)).refusal
    for force in (False, True):
        with pytest.raises(ArchiveIncomplete, match="no rows at all"):
            await sweep(archive, delete=True, grace=AT_ONCE, force=force)
    assert files_of(archive) == files
    await reindex(archive)
    assert (await sweep(archive, delete=True, grace=AT_ONCE)).strays == 0
    assert (await verify(archive)).instances == 3


async def test_what_a_restored_backup_does_not_know_is_not_swept(archive: Archive) -> None:
    await stored_study(archive, 2)
    newer = await stored_study(archive, 12)
    await forget(archive.db, newer)
    files = files_of(archive)
    report = await sweep(archive, grace=AT_ONCE)
    assert (report.strays, report.blobs) == (12, 14)
    assert "12 of 14 blobs" in report.refusal
    with pytest.raises(ArchiveIncomplete, match="reindex"):
        await sweep(archive, delete=True, grace=AT_ONCE)
    assert files_of(archive) == files
    await reindex(archive)
    assert len(await locate_instances(archive.db, newer)) == 12
    await forget(archive.db, newer)
    assert (await sweep(archive, delete=True, grace=AT_ONCE, force=True)).strays == 12
    assert len(files_of(archive)) == 2


async def test_expired_tombstones_stay_where_the_strays_are_refused(archive: Archive) -> None:
    deleted, newer = await stored_study(archive, 1), await stored_study(archive, 12)
    await deletion.delete(replace(archive, retention=timedelta(0)), deleted)
    await forget(archive.db, newer)
    files = files_of(archive)
    with pytest.raises(ArchiveIncomplete):
        await sweep(archive, delete=True, grace=AT_ONCE)
    assert files_of(archive) == files


@pytest.mark.parametrize(
    ("blobs", "strays"),
    [(0, 10), (100, 10), (101, 10), (500, 50), (1_000, 100), (10_000, 100), (20_000, 200), (1_000_000, 10_000)],
)
def test_how_many_strays_are_usual(blobs: int, strays: int) -> None:
    assert usual_strays(blobs) == strays


async def test_what_a_reindex_cannot_read_is_never_swept(archive: Archive) -> None:
    await stored_study(archive, 1)
    damaged = await committed(archive, b"not DICOM")
    report = await reindex(archive)
    assert [key for key, _ in report.problems] == [damaged]
    assert (await sweep(archive, delete=True, grace=AT_ONCE, force=True)).strays == 0
    assert await content(archive, damaged) == b"not DICOM"


async def test_of_two_blobs_that_nothing_marks_the_older_can_be_restored(archive: Archive) -> None:
    """The newer may be that of an upload that was killed before its row: then the older is the acknowledged one."""
    ref = InstanceRef("1.2", "1.3", "1.4")
    old, new = (make_instance("1.2", "1.3", "1.4", PatientID=name) for name in ("old", "new"))
    await upload(archive, [old])
    await committed(archive, new)
    report = await reindex(archive)
    assert (report.instances, report.tombstones, report.problems) == (1, 1, ())
    await sweep(archive, delete=True, grace=AT_ONCE, force=True)
    assert await content(archive, (await locate_instance(archive.db, ref)).blob_key) == new
    assert await restore(archive, ref) == [ref]
    assert await content(archive, (await locate_instance(archive.db, ref)).blob_key) == old
    again = await reindex(archive)
    assert (again.instances, again.tombstones) == (1, 1)
