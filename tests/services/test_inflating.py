"""What is stored deflated is inflated once, piece by piece; nothing large is held while its receiver takes its time."""

import random
from collections.abc import Iterator

import pytest

from app.dicom.transfer_syntaxes import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from app.services import inflating, retrieve
from app.services.archive import Archive
from app.services.bulkdata import list_bulkdata, open_bulkdata, read_bulkdata
from app.services.frames import read_frames, retrieve_frames
from app.services.retrieve import open_instance, retrieve_instances
from app.services.store_results import StoredInstance
from app.services.syntaxes import Alternative
from tests.services.uploads import upload
from tests.support.dicom_bytes import IMPLICIT, make_instance

SIZE = 1500
PIECE = 1 << 20


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of each piece that was inflated."""
    sizes = []

    class Counting(inflating.DataSetInflater):
        def feed(self, deflated: bytes | memoryview) -> Iterator[bytes]:
            for piece in super().feed(deflated):
                sizes.append(len(piece))
                yield piece

    monkeypatch.setattr(inflating, "DataSetInflater", Counting)
    return sizes


async def test_bulkdata_frames_and_instances(archive: Archive, inflated: list[int]) -> None:
    pixels = random.Random(1).randbytes(SIZE * SIZE * 2)
    file = make_instance(
        transfer_syntax=DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, rows=SIZE, columns=SIZE, frames=2, pixel_bytes=pixels
    )
    (stored,) = await upload(archive, [file])
    assert isinstance(stored, StoredInstance)

    (delivery,) = await list_bulkdata(archive, stored.ref, pixel_data_only=True)
    value = await open_bulkdata(archive, delivery)
    pieces = [piece async for piece in read_bulkdata(archive, value)]
    assert b"".join(pieces) == pixels
    assert max(map(len, pieces)) <= PIECE, "a slow client is not waited for with all of it in memory"
    middle = [piece async for piece in read_bulkdata(archive, value, 1_000_001, 2_000_003)]
    assert b"".join(middle) == pixels[1_000_001:3_000_004]

    alternatives = [Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))]
    frames = await retrieve_frames(archive, stored.ref, [2, 1], alternatives)
    assert [frame async for frame in read_frames(archive, frames)] == [pixels[SIZE * SIZE :], pixels[: SIZE * SIZE]]

    _, (instance,) = await retrieve_instances(archive, stored.ref, alternatives)
    length, stream = await open_instance(archive, instance)
    whole = [bytes(piece) async for piece in stream]  # type: ignore[arg-type]
    assert sum(map(len, whole)) == length
    assert b"".join(whole).endswith(pixels)
    assert max(map(len, whole)) <= PIECE

    assert sum(inflated) > len(pixels)
    assert sum(inflated) < len(pixels) + 10_000, "inflated once for all of them"
    assert max(inflated) <= PIECE


async def test_a_large_header_is_rewritten_into_a_file(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve, "HELD_BYTES", 3 * PIECE)
    value = random.Random(2).randbytes(4 * PIECE)
    file = make_instance(
        transfer_syntax=IMPLICIT, rows=0, EncapsulatedDocument=value, MIMETypeOfEncapsulatedDocument="a/b"
    )
    (stored,) = await upload(archive, [file])
    assert isinstance(stored, StoredInstance)
    _, (instance,) = await retrieve_instances(archive, stored.ref, [Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))])
    for _ in range(2):
        length, stream = await open_instance(archive, instance)
        pieces = [bytes(piece) async for piece in stream]  # type: ignore[arg-type]
        assert sum(map(len, pieces)) == length
        assert value in b"".join(pieces)
        assert max(map(len, pieces)) <= PIECE
