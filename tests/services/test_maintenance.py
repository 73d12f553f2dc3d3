"""Delete, restore, sweep, verify and reindex: each leaves an archive of which every row has its blob."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.blobs import LocalBlobStore
from app.blobs.base import BlobStore, BlobWriter
from app.blobs.keys import instance_key
from app.db.engine import Database
from app.db.inventory import counts
from app.db.locate import locate_instance, locate_instances
from app.dicom import store_status
from app.dicom.references import InstanceRef, SeriesRef, StudyRef
from app.errors import BlobStoreUnavailable, Gone, NotFound, OutOfSpace
from app.services.archive import Archive
from app.services.deletion import delete, restore
from app.services.reindex import reindex
from app.services.store_results import RefusedInstance, StoredInstance
from app.services.sweep import sweep
from app.services.tombstones import erase_tombstones, record_tombstones
from app.services.verify import verify
from tests.services.uploads import content, files_of, upload
from tests.support.counting_blobs import CountingBlobs
from tests.support.dicom_bytes import make_instance, new_uid

AT_ONCE = timedelta(0)


async def stored_study(archive: Archive, count: int = 3) -> tuple[StudyRef, dict[InstanceRef, bytes]]:
    study, series = new_uid(), [new_uid(), new_uid()]
    files = [make_instance(study, series[number % 2], InstanceNumber=str(number)) for number in range(count)]
    results = await upload(archive, files)
    refs = [result.ref for result in results if isinstance(result, StoredInstance)]
    return StudyRef(study), dict(zip(refs, files, strict=True))


async def test_deleted_is_gone_and_restore_brings_it_back(archive: Archive) -> None:
    study, files = await stored_study(archive)
    assert await delete(archive, study) == 3
    with pytest.raises(Gone):
        await locate_instances(archive.db, study)
    assert await counts(archive.db) == (0, 0, 0)
    assert sorted(await restore(archive, study)) == sorted(files)
    for ref, data in files.items():
        location = await locate_instance(archive.db, ref)
        assert await content(archive, location.blob_key) == data
    assert not [path for path in files_of(archive) if path.suffix == ".json"], "no sidecar says that they are deleted"


async def test_one_series_can_be_deleted_and_restored(archive: Archive) -> None:
    study, files = await stored_study(archive, 4)
    series = next(iter(files)).series
    inside = [ref for ref in files if ref.series == series]
    assert await delete(archive, series) == len(inside)
    assert len(await locate_instances(archive.db, study)) == 4 - len(inside)
    with pytest.raises(Gone):
        await locate_instances(archive.db, series)
    await restore(archive, SeriesRef(series.study_instance_uid, series.series_instance_uid))
    assert len(await locate_instances(archive.db, study)) == 4


async def test_replaced_content_can_be_restored(archive: Archive) -> None:
    study, series, sop = new_uid(), new_uid(), new_uid()
    old, new = (make_instance(study, series, sop, PatientID=name) for name in ("old", "new"))
    await upload(archive, [old])
    await upload(archive, [new])
    ref = InstanceRef(study, series, sop)
    assert await restore(archive, ref) == [ref]
    location = await locate_instance(archive.db, ref)
    assert await content(archive, location.blob_key) == old


@pytest.mark.parametrize("length", [None, 0, 100, 300])
async def test_a_blob_that_is_damaged_or_missing_keeps_no_other_from_being_restored(
    archive: Archive, length: int | None
) -> None:
    study, files = await stored_study(archive)
    damaged = min(files)
    blob = next(path for path in files_of(archive) if path.name.startswith(f"{damaged.sop_instance_uid}-"))
    await delete(archive, study)
    if length is None:
        blob.unlink()
    else:
        blob.write_bytes(files[damaged][:length])
    assert await restore(archive, study) == sorted(set(files) - {damaged})


async def test_nothing_to_restore_is_said(archive: Archive) -> None:
    with pytest.raises(NotFound):
        await restore(archive, StudyRef("1.2.3"))


async def test_deleting_twice_is_gone_and_unknown_is_not_found(archive: Archive) -> None:
    study, _ = await stored_study(archive)
    await delete(archive, study)
    with pytest.raises(Gone):
        await delete(archive, study)
    with pytest.raises(NotFound) as failure:
        await delete(archive, StudyRef("1.2.3"))
    assert not isinstance(failure.value, Gone)


async def test_sweep_is_a_dry_run_by_default(archive: Archive) -> None:
    stray = await make_stray(archive)
    report = await sweep(archive, grace=AT_ONCE)
    assert not report.deleted
    assert report.keys == (stray,)
    assert len(files_of(archive)) == 1


async def test_sweep_removes_strays_and_nothing_else(archive: Archive) -> None:
    _, files = await stored_study(archive)
    deleted_study, _ = await stored_study(archive)
    await delete(archive, deleted_study)
    await make_stray(archive)
    report = await sweep(archive, delete=True, grace=AT_ONCE)
    assert (report.strays, report.expired) == (1, 0)
    assert (await verify(archive)).damaged == ()
    assert await restore(archive, deleted_study)
    for ref, data in files.items():
        assert await content(archive, (await locate_instance(archive.db, ref)).blob_key) == data


async def test_sweep_spares_what_may_still_be_under_way(archive: Archive) -> None:
    await make_stray(archive)
    report = await sweep(archive, delete=True)
    assert report.strays == 0
    assert len(files_of(archive)) == 1


async def test_sweep_removes_deleted_blobs_after_their_retention(archive: Archive, db: Database) -> None:
    study, _ = await stored_study(archive)
    await delete(Archive(db, archive.blobs, archive.codec_threads, retention=timedelta(0)), study)
    report = await sweep(archive, delete=True, grace=AT_ONCE)
    assert report.expired == 3
    assert files_of(archive) == []
    with pytest.raises(NotFound):
        await restore(archive, study)


async def test_sweep_writes_sidecars_that_a_crash_left_out(archive: Archive) -> None:
    study, _ = await stored_study(archive)
    await delete(archive, study)
    for path in files_of(archive):
        if path.suffix == ".json":
            path.unlink()
    report = await sweep(archive, delete=True, grace=AT_ONCE)
    assert report.tombstones_repaired == 3
    assert len([path for path in files_of(archive) if path.suffix == ".json"]) == 3


async def test_marks_take_of_the_room_that_uploads_leave(archive: Archive) -> None:
    """Who deletes because the disk is nearly full gets what a reindex needs to know of it, and a sweep that ends well."""
    study, _ = await stored_study(archive)
    assert isinstance(archive.blobs, LocalBlobStore)
    archive.blobs.spool.min_free_bytes = 2**60
    (refused,) = await upload(archive, [make_instance()])
    assert isinstance(refused, RefusedInstance)
    assert refused.status is store_status.OUT_OF_RESOURCES
    await delete(archive, study)
    sidecars = [path for path in files_of(archive) if path.suffix == ".json"]
    assert len(sidecars) == 3
    sidecars[0].unlink()
    assert (await sweep(archive, delete=True, grace=AT_ONCE)).tombstones_repaired == 1


async def test_sweep_makes_room_before_it_writes(archive: Archive, tmp_path: Path) -> None:
    """On a full disk, what a killed upload left in the spool goes, although sidecars cannot be written."""

    class Full(CountingBlobs):
        async def open_writer(self) -> BlobWriter:
            raise OutOfSpace("full")

        async def remove_stale_spool(self, older_than: timedelta) -> int:
            return await self.store.remove_stale_spool(older_than)

    study, _ = await stored_study(archive)
    await delete(archive, study)
    for path in files_of(archive):
        if path.suffix == ".json":
            path.unlink()
    (left_over,) = [folder / ("0" * 32 + ".part") for folder in tmp_path.rglob(".spool")]
    left_over.write_bytes(b"an upload that died")
    with pytest.raises(OutOfSpace):
        await sweep(replace(archive, blobs=Full(archive.blobs)), delete=True, grace=AT_ONCE)
    assert not left_over.exists()


async def test_stored_again_after_deletion_survives_the_end_of_retention(archive: Archive, db: Database) -> None:
    study, files = await stored_study(archive)
    await delete(Archive(db, archive.blobs, archive.codec_threads, retention=timedelta(0)), study)
    await upload(archive, files.values())
    await sweep(archive, delete=True, grace=AT_ONCE)
    assert (await verify(archive)).damaged == ()
    assert len(await locate_instances(archive.db, study)) == 3


async def test_verify_names_every_damage(archive: Archive) -> None:
    _, files = await stored_study(archive, 4)
    paths = [Path(archive.blobs.root) / (await locate_instance(archive.db, ref)).blob_key for ref in files]  # type: ignore[attr-defined]
    assert (await verify(archive)).damaged == ()
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    paths[2].write_bytes(paths[2].read_bytes()[::-1])
    report = await verify(archive)
    assert report.instances == 4
    problems = " / ".join(sorted(damage.problem for damage in report.damaged))
    assert "missing" in problems
    assert "bytes, stored were" in problems
    assert "digest" in problems
    assert len(report.damaged) == 3


async def test_verify_that_is_broken_off_leaves_nothing_running(archive: Archive) -> None:
    await stored_study(archive, 8)
    before = asyncio.all_tasks()

    def broken_off(_done: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await verify(archive, broken_off)
    assert asyncio.all_tasks() == before


async def test_reindex_rebuilds_what_was_live_and_what_was_deleted(archive: Archive) -> None:
    study, files = await stored_study(archive)
    deleted_study, _ = await stored_study(archive)
    await delete(archive, deleted_study)
    replaced = next(iter(files))
    newer = make_instance(
        replaced.study_instance_uid, replaced.series_instance_uid, replaced.sop_instance_uid, PatientID="newer"
    )
    await upload(archive, [newer])
    before = {location.ref: location.digest for location in await locate_instances(archive.db, study)}
    report = await reindex(archive)
    assert report.problems == ()
    assert (report.instances, report.tombstones) == (3, 4)
    assert {location.ref: location.digest for location in await locate_instances(archive.db, study)} == before
    with pytest.raises(Gone):
        await locate_instances(archive.db, deleted_study)
    assert await restore(archive, deleted_study)
    assert (await verify(archive)).damaged == ()


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"reason": "x", "at": 5}', b'{"reason": "x", "at": "0001-01-01T00:00:00+10:00"}']
)
async def test_reindex_does_not_end_at_a_damaged_sidecar(archive: Archive, content: bytes) -> None:
    study, files = await stored_study(archive, 1)
    await delete(archive, study)
    (sidecar,) = (path for path in files_of(archive) if path.suffix == ".json")
    sidecar.write_bytes(content)
    report = await reindex(archive)
    assert (report.instances, report.tombstones) == (0, 1)
    assert await restore(archive, study) == [*files]


async def test_reindex_names_blobs_that_it_cannot_read(archive: Archive) -> None:
    await stored_study(archive)
    writer = await archive.blobs.open_writer()
    await writer.write(b"not DICOM")
    await writer.commit(instance_key("1.2", "1.3", "1.4", "0" * 64))
    report = await reindex(archive)
    assert report.instances == 3
    assert len(report.problems) == 1


async def test_reindex_does_not_make_damage_official(archive: Archive) -> None:
    _, files = await stored_study(archive)
    ref = next(iter(files))
    path = Path(archive.blobs.root) / (await locate_instance(archive.db, ref)).blob_key  # type: ignore[attr-defined]
    damaged = files[ref][:-1] + bytes([files[ref][-1] ^ 1])
    path.write_bytes(damaged)
    ((key, problem),) = (await reindex(archive)).problems
    assert "not those that were stored" in problem
    location = await locate_instance(archive.db, ref)
    assert await content(archive, location.blob_key) == damaged, "given out as before"
    assert [one.blob_key for one in (await verify(archive)).damaged] == [key], "and known to be damaged as before"
    await upload(archive, [files[ref]])
    assert (await verify(archive)).damaged == (), "sent again it is whole"


@pytest.mark.parametrize("work", ["record", "erase"])
async def test_sidecars_are_written_and_erased_sixteen_at_once(archive: Archive, work: str) -> None:
    class Gathering(CountingBlobs):
        """Those of a round go on when sixteen are there: one after the other, none would ever."""

        def __init__(self, store: BlobStore) -> None:
            super().__init__(store)
            self.rounds = asyncio.Barrier(16)

        async def open_writer(self) -> BlobWriter:
            await self.rounds.wait()
            return await super().open_writer()

        async def delete(self, key: str) -> None:
            await self.rounds.wait()
            await super().delete(key)

    keys = [instance_key("1.2", "1.3", f"1.4.{number}", "0" * 16) for number in range(48)]
    blobs = Gathering(archive.blobs)
    if work == "erase":
        await record_tombstones(archive.blobs, keys, "deleted")
        await asyncio.wait_for(erase_tombstones(blobs, keys), 60)
        assert files_of(archive) == []
    else:
        await asyncio.wait_for(record_tombstones(blobs, iter(keys), "deleted"), 60)
        assert len(files_of(archive)) == 48


async def test_a_sidecar_that_cannot_be_written_is_said(archive: Archive) -> None:
    class Failing(CountingBlobs):
        count = 0

        async def open_writer(self) -> BlobWriter:
            self.count += 1
            if self.count > 20:
                raise BlobStoreUnavailable("away")
            return await super().open_writer()

    keys = [instance_key("1.2", "1.3", f"1.4.{number}", "0" * 16) for number in range(200)]
    blobs = Failing(archive.blobs)
    with pytest.raises(BlobStoreUnavailable, match="away"):
        await record_tombstones(blobs, keys, "deleted")
    assert blobs.count <= 40, "and the others are not tried"
    assert not [path for path in files_of(archive) if path.suffix == ".part"]


async def make_stray(archive: Archive) -> str:
    """A blob whose upload died before its row."""
    writer = await archive.blobs.open_writer()
    await writer.write(make_instance("1.2", "1.3", "1.4"))
    key = instance_key("1.2", "1.3", "1.4", await writer.digest())
    await writer.commit(key)
    return key
