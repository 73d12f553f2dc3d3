"""Uploads as the HTTP door makes them, part by part."""

from collections.abc import Iterable
from pathlib import Path

from app.dicom.references import StudyRef
from app.services.archive import Archive
from app.services.store import Intake
from app.services.store_results import StoreResult


async def upload(
    archive: Archive, files: Iterable[bytes], *, study: str | None = None, chunk: int = 65536
) -> list[StoreResult]:
    intake = Intake(archive, StudyRef(study) if study else None)
    for data in files:
        await intake.begin()
        for start in range(0, len(data), chunk):
            await intake.write(data[start : start + chunk])
        await intake.end()
    return await intake.finish()


def files_of(archive: Archive) -> list[Path]:
    """Every file below the blob folder, spool files and sidecars among them."""
    root: Path = archive.blobs.root  # type: ignore[attr-defined]
    return sorted(path for path in root.rglob("*") if path.is_file())


async def content(archive: Archive, key: str) -> bytes:
    return b"".join([chunk async for chunk in archive.blobs.open(key)])
