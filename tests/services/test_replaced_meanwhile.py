"""An instance that is replaced between being found and being converted: never the frames of one version by the index of another."""

import asyncio

import numpy as np
import pytest
from imagecodecs import jpegls_encode

from app.db import locate_frames
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from app.errors import Unavailable
from app.services.archive import Archive
from app.services.retrieve import open_instance, retrieve_instances
from app.services.syntaxes import Alternative
from tests.services.stored_images import read_back
from tests.services.uploads import upload
from tests.support.dicom_bytes import make_instance, new_uid

JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
SIDE = 16


def version(uids: list[str], shade: int, comment: str, frames: int = 3) -> bytes:
    pixels = [np.full((SIDE, SIDE), shade + number, np.uint8) for number in range(frames)]
    return make_instance(
        *uids,
        rows=SIDE,
        columns=SIDE,
        frames=frames,
        transfer_syntax=JPEG_LS,
        pixel_bytes=[jpegls_encode(frame) for frame in pixels],
        sop_class="1.2.840.10008.5.1.4.1.1.7.2",
        ImageComments=comment,
    )


@pytest.mark.parametrize("target", [EXPLICIT_VR_LITTLE_ENDIAN, JPEG_2000])
@pytest.mark.parametrize("lengths", [(0, 300), (300, 0), (7, 7)])
async def test_another_version_in_between(archive: Archive, target: str, lengths: tuple[int, int]) -> None:
    uids = [new_uid(), new_uid(), new_uid()]
    first, second = (version(uids, shade, "c" * length) for shade, length in zip((10, 100), lengths, strict=True))

    async def read() -> set[int]:
        _, (delivery,) = await retrieve_instances(archive, ref, [Alternative((target,))])
        _, body = await open_instance(archive, delivery)
        found = read_back(b"".join([piece async for piece in body]))
        assert found.transfer_syntax_uid == target
        return {int(value) for frame in found.samples for value in np.unique(frame)}

    (stored,) = await upload(archive, [first])
    ref = stored.ref
    assert ref is not None
    _, (delivery,) = await retrieve_instances(archive, ref, [Alternative((target,))])
    await upload(archive, [second])
    with pytest.raises(Unavailable, match="replaced"):
        _, body = await open_instance(archive, delivery)
        async for _ in body:
            pass
    assert await read() == {100, 101, 102}
    await upload(archive, [first])
    assert await read() == {10, 11, 12}, "nothing of the other is kept under its digest"


async def test_very_many_frames_do_not_hold_the_event_loop(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to find them, nor to plan for them."""
    monkeypatch.setattr("app.services.frames._PLANNED_AT_ONCE", 2)
    called = []
    to_thread = asyncio.to_thread

    async def counted(function: object, *arguments: object) -> object:
        called.append(getattr(function, "__qualname__", ""))
        return await to_thread(function, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", counted)
    (stored,) = await upload(archive, [version([new_uid(), new_uid(), new_uid()], 10, "")])
    assert stored.ref is not None
    _, (delivery,) = await retrieve_instances(archive, stored.ref, [Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))])
    _, body = await open_instance(archive, delivery)
    assert len(read_back(b"".join([piece async for piece in body])).samples) == 3
    assert any("retrieve_all_frames" in name for name in called)
    assert locate_frames._entry_runs(range(1, 10**6)) == [(0, 10**6 - 1)]
