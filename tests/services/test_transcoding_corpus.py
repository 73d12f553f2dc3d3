"""Real files to every syntax: what comes back is whole and shows the same, or it is refused with a reason; nothing else."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from app.blobs.memory import MemoryBlobStore
from app.db.engine import close_database, open_database
from app.dicom.codecs.recompression import can_recompress
from app.dicom.header import parse_instance
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from app.errors import GantryError
from app.services.archive import Archive
from app.services.codec_threads import CodecThreads
from app.services.derived_cache import DerivedCache
from app.services.retrieve import open_instance, retrieve_instances
from app.services.store_results import StoredInstance
from app.services.syntaxes import Alternative
from tests.dicom.conversion import packaged_files
from tests.services.stored_images import TARGETS, read_back
from tests.services.uploads import upload

EXTRA = os.environ.get("GANTRY_TEST_DATA", "")
LARGE = 2_000_000  # bytes, decoded: tried with one target in turn only


def files() -> list[Path]:
    found = packaged_files()
    if EXTRA:
        found += sorted(path for path in Path(EXTRA).rglob("*.dcm"))
    return found


@pytest.fixture
async def archive(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Archive]:
    shutil.copyfile(sqlite_template, tmp_path / "gantry.sqlite")
    db = await open_database(f"sqlite:///{tmp_path / 'gantry.sqlite'}")
    with CodecThreads(2) as threads:
        yield Archive(db, MemoryBlobStore(), threads, cache=DerivedCache(tmp_path / "cache", 1 << 28))
    await close_database(db)


async def delivered(archive: Archive, ref: InstanceRef, target: str) -> bytes | None:
    try:
        _, (one,) = await retrieve_instances(archive, ref, [Alternative((target,), allows_loss=True)])
        length, body = await open_instance(archive, one)
        data = b"".join([piece async for piece in body])
    except GantryError:
        return None
    assert len(data) == length
    return data


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, about what is odd in stored files
@pytest.mark.parametrize("group", range(8))
async def test_every_file_in_every_syntax(archive: Archive, group: int) -> None:
    converted = 0
    for number, path in enumerate(files()):
        if number % 8 != group:
            continue
        try:
            (result,) = await upload(archive, [path.read_bytes()])
        except GantryError:
            continue
        if not isinstance(result, StoredInstance):
            continue
        parsed = parse_instance(path.read_bytes())
        stored = parsed.transfer_syntax_uid
        native = await delivered(archive, result.ref, EXPLICIT_VR_LITTLE_ENDIAN)
        pixels = None
        if native is not None and parsed.pixel_data is not None:
            try:
                pixels = read_back(native).samples
            except (GantryError, AssertionError):
                pixels = None  # no image, or one without file meta information of its own
        large = pixels is not None and sum(one.nbytes for one in pixels) > LARGE
        for target in TARGETS[number % len(TARGETS) :][:1] if large and not EXTRA else TARGETS:
            data = await delivered(archive, result.ref, target)
            if data is None or pixels is None:
                continue
            read = read_back(data)
            assert read.transfer_syntax_uid == target, path
            exact = TRANSFER_SYNTAXES[target].lossless or (target != stored and can_recompress(stored, target))
            if exact and not {stored, target} & {"1.2.840.10008.1.2.4.111"}:
                assert all(np.array_equal(*pair) for pair in zip(pixels, read.samples, strict=True)), (path, target)
                assert read.dataset.SOPInstanceUID == result.ref.sop_instance_uid
            converted += 1
    assert converted > 50
