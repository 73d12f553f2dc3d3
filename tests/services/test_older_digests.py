"""Rows of earlier versions have digests of SHA-256: what is stored under them is neither taken for new nor for damaged."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import text

from app.blobs.keys import instance_key
from app.db.engine import Database
from app.db.locate import locate_instance
from app.dicom.references import InstanceRef, StudyRef
from app.services.archive import Archive
from app.services.deletion import delete, restore
from app.services.reindex import reindex
from app.services.store_results import StoredInstance
from app.services.verify import verify
from tests.services.uploads import content, files_of, upload
from tests.support.dicom_bytes import make_instance, new_uid


async def stored_by_an_earlier_version(archive: Archive, db: Database, data: bytes) -> InstanceRef:
    (result,) = await upload(archive, [data])
    assert isinstance(result, StoredInstance)
    async with db.engine.begin() as connection:
        await connection.execute(
            text("UPDATE instances SET digest = :digest WHERE sop_instance_uid = :sop"),
            {"digest": hashlib.sha256(data).hexdigest(), "sop": result.ref.sop_instance_uid},
        )
    return result.ref


@pytest.mark.parametrize("size", [16, 800])  # in memory, and in a spool file
async def test_the_same_bytes_change_nothing_and_others_replace(archive: Archive, db: Database, size: int) -> None:
    study, series, sop = new_uid(), new_uid(), new_uid()
    old, new = (make_instance(study, series, sop, rows=size, columns=size, PatientID=name) for name in ("old", "new"))
    ref = await stored_by_an_earlier_version(archive, db, old)
    (again,) = await upload(archive, [old])
    assert isinstance(again, StoredInstance)
    assert not again.changed
    assert (await locate_instance(archive.db, ref)).digest == hashlib.sha256(old).hexdigest()
    assert len(files_of(archive)) == 1
    (other,) = await upload(archive, [new])
    assert isinstance(other, StoredInstance)
    assert other.changed
    location = await locate_instance(archive.db, ref)
    assert location.digest.endswith("-blake3")
    assert await content(archive, location.blob_key) == new


async def test_verify_knows_whole_from_damaged(archive: Archive, db: Database) -> None:
    data = make_instance()
    ref = await stored_by_an_earlier_version(archive, db, data)
    assert (await verify(archive)).damaged == ()
    path = Path(archive.blobs.root) / (await locate_instance(archive.db, ref)).blob_key  # type: ignore[attr-defined]
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (damage,) = (await verify(archive)).damaged
    assert "digest" in damage.problem


async def test_deleted_is_restored_as_it_was(archive: Archive, db: Database) -> None:
    data = make_instance()
    ref = await stored_by_an_earlier_version(archive, db, data)
    await delete(archive, StudyRef(ref.study_instance_uid))
    assert await restore(archive, ref) == [ref]
    location = await locate_instance(archive.db, ref)
    assert location.digest == hashlib.sha256(data).hexdigest()
    assert await content(archive, location.blob_key) == data


async def test_reindex_gives_rows_new_digests(archive: Archive, db: Database) -> None:
    data = make_instance()
    ref = await stored_by_an_earlier_version(archive, db, data)
    key = (await locate_instance(archive.db, ref)).blob_key
    older = instance_key(
        ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid, hashlib.sha256(data).hexdigest()
    )
    root = Path(archive.blobs.root)  # type: ignore[attr-defined]
    (root / key).rename(root / older)
    report = await reindex(archive)
    assert (report.instances, report.problems) == (1, ())
    assert (await locate_instance(archive.db, ref)).digest.endswith("-blake3")
    assert (await verify(archive)).damaged == ()
