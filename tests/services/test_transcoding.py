"""Every stored syntax to every one that can be asked for: whole instances and frames, through database, blobs and cache."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import parse_basic_offsets, parse_fragments

from app.blobs.memory import MemoryBlobStore
from app.db.engine import close_database, open_database
from app.dicom.codecs.recompression import can_recompress
from app.dicom.lossy_compression import derived_uid
from app.dicom.references import InstanceRef
from app.dicom.transfer_syntaxes import (
    AS_STORED,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from app.errors import CodecError, NotAcceptable, Unavailable
from app.services import transcoding
from app.services.archive import Archive, Limits
from app.services.codec_threads import CodecThreads
from app.services.derived_cache import DerivedCache
from app.services.frames import read_frames, retrieve_frames
from app.services.retrieve import open_instance, retrieve_instances
from app.services.syntaxes import Alternative
from tests.dicom.native_images import KINDS, can_encode
from tests.services.stored_images import (
    ENCAPSULATED,
    NATIVE,
    SYNTAXES,
    TARGETS,
    Read,
    read_back,
    rgb,
    stored_file,
)
from tests.services.uploads import upload
from tests.support.dicom_bytes import make_instance

P = "1.2.840.10008.1.2."
BY_NAME = {kind.name: kind for kind in KINDS}
MATRIX = ("1 bit, 3 frames", "8", "8 signed", "12", "12 signed", "16 signed", "24 in 32 signed", "32", "palette 8")
MATRIX += ("palette 16", "RGB by plane", "RGB 16", "YBR_FULL", "YBR_FULL_422")


@pytest.fixture
async def archive(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Archive]:
    shutil.copyfile(sqlite_template, tmp_path / "gantry.sqlite")
    db = await open_database(f"sqlite:///{tmp_path / 'gantry.sqlite'}")
    with CodecThreads(2) as threads:
        yield Archive(db, MemoryBlobStore(), threads, cache=DerivedCache(tmp_path / "cache", 1 << 28))
    await close_database(db)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames go to the cache however fast they were converted."""
    monkeypatch.setattr(transcoding, "WORTH_KEEPING", 0.0)


async def store(archive: Archive, data: bytes) -> InstanceRef:
    (result,) = await upload(archive, [data])
    assert result.ref is not None, result
    return result.ref


def asked(*uids: str) -> list[Alternative]:
    return [Alternative((uid,), allows_loss=uid != AS_STORED) for uid in uids]


async def instance(archive: Archive, ref: InstanceRef, *alternatives: Alternative) -> bytes:
    _, (delivery,) = await retrieve_instances(archive, ref, alternatives)
    length, body = await open_instance(archive, delivery)
    data = b"".join([piece async for piece in body])
    assert len(data) == length
    return data


async def frames(archive: Archive, ref: InstanceRef, numbers: range, *alternatives: Alternative) -> list[bytes]:
    delivery = await retrieve_frames(archive, ref, numbers, alternatives)
    return [frame async for frame in read_frames(archive, delivery)]


# The matrix


def comparable(read: Read) -> list[np.ndarray]:
    return [samples.astype(np.int64) for samples in read.samples]


@pytest.mark.parametrize("name", MATRIX)
async def test_stored_in_anything_delivered_in_anything(archive: Archive, name: str) -> None:
    """Exact whenever nothing lossy was asked for: against the decoded samples of the stored file, by the reader's own rules."""
    kind = BY_NAME[name]
    done: dict[str, set[str]] = {}
    for stored_uid in SYNTAXES:
        data = stored_file(kind, stored_uid)
        if data is None:
            continue
        source = read_back(data)
        ref = await store(archive, data)
        done[stored_uid] = set()
        for target in TARGETS:
            try:
                result = await instance(archive, ref, *asked(target))
            except NotAcceptable:
                continue
            done[stored_uid].add(target)
            check(source, read_back(result), stored_uid, target)
            if target == stored_uid:
                assert result == data
    for stored_uid, targets in done.items():
        native = replace(kind.image)
        lossy_colour = stored_uid in (P + "4.50", P + "4.51", P + "4.111", P + "4.112")
        if lossy_colour and native.samples_per_pixel == 3:
            native = replace(native, photometric_interpretation="RGB")
        possible = {target for target in ENCAPSULATED if can_encode(native, target)}
        possible |= {target for target in ENCAPSULATED if can_recompress(stored_uid, target)}
        possible |= {EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, stored_uid} & set(TARGETS)
        assert targets == possible, stored_uid


def check(source: Read, result: Read, stored_uid: str, target: str) -> None:
    assert result.transfer_syntax_uid == target
    assert len(result.samples) == len(source.samples)
    same = stored_uid == target or can_recompress(stored_uid, target)
    lossless = same or TRANSFER_SYNTAXES[target].lossless
    if lossless:
        assert result.dataset.SOPInstanceUID == source.dataset.SOPInstanceUID
        assert "LossyImageCompression" not in result.dataset
    else:
        assert result.dataset.LossyImageCompression == "01"
        assert result.dataset.SOPInstanceUID != source.dataset.SOPInstanceUID
    changed = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration", "SOPInstanceUID", "ImageType"}
    for element in source.dataset:
        if element.keyword not in changed:
            assert result.dataset[element.tag] == element
    if target not in NATIVE and stored_uid != target:
        check_fragments(result)
    for before, after in zip(comparable(source), comparable(result), strict=True):
        if {stored_uid, target} & {P + "4.111"}:
            # Another library upsamples chroma; that its JPEG is the same, test_encoding.py shows.
            assert np.abs(before - after).mean() < 3
        elif lossless:
            assert np.array_equal(before, after)
        else:
            near(source, result, before, after)


def near(source: Read, result: Read, before: np.ndarray, after: np.ndarray) -> None:
    """Noise is not kept by lossy compression, and halved chroma less: what an image is, is."""
    if source.image.photometric_interpretation.startswith("YBR") and result.image.photometric_interpretation == "RGB":
        before = rgb(before)
    assert np.abs(before - after).mean() <= (1 << source.image.bits_stored) * 0.12


def check_fragments(result: Read) -> None:
    """PS3.5 A.4: an offset for each frame, even lengths, a delimiter."""
    value = result.dataset["PixelData"]
    assert value.VR == "OB"
    assert value.is_undefined_length
    offsets = parse_basic_offsets(value.value)
    count, starts = parse_fragments(value.value[8 + 4 * len(offsets) :])
    assert count == len(offsets) == len(result.samples)
    assert offsets == [start - starts[0] for start in starts]
    assert len(value.value) % 2 == 0


@pytest.mark.parametrize("name", ["1 bit, 3 frames", "8", "12 signed", "RGB by plane", "YBR_FULL_422"])
async def test_frames_are_those_of_the_instance(archive: Archive, kept: None, name: str) -> None:
    kind = BY_NAME[name]
    for stored_uid in (*NATIVE, P + "5", P + "8.1"):
        data = stored_file(kind, stored_uid)
        assert data is not None
        ref = await store(archive, data)
        for target in ENCAPSULATED:
            if target == stored_uid or not can_encode(kind.image, target):
                continue
            numbers = range(1, len(kind.frames) + 1)
            parts = await frames(archive, ref, numbers, *asked(target))
            value = read_back(await instance(archive, ref, *asked(target))).dataset["PixelData"].value
            position = 8 + 4 * len(parts)
            for part in parts:  # the codestreams, without item headers and padding (PS3.18 8.7.3.3.2)
                assert value[position + 8 : position + 8 + len(part)] == part
                position += 8 + len(part) + len(part) % 2
            assert await frames(archive, ref, numbers, *asked(target)) == parts


@pytest.mark.parametrize(
    "name", ["8", "12", "palette 8", "RGB", "1 in 8", "16 signed", "12 signed", "RGB 16", "32", "1 bit, 3 frames"]
)
async def test_pydicom_sees_the_same_pixels(archive: Archive, name: str) -> None:
    """An independent reader, with decoders of its own: for what it can decode without further packages."""
    kind = BY_NAME[name]
    data = stored_file(kind, EXPLICIT_VR_LITTLE_ENDIAN)
    assert data is not None
    ref = await store(archive, data)
    expected = read_back(data).dataset.pixel_array
    seen = 0
    for target in (DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, P + "1.98", P + "4.90", P + "5", P + "4.70"):
        if target == P + "1.98" and kind.image.bits_allocated == 1:
            continue  # pydicom joins frames that begin at bytes of their own
        try:
            dataset = read_back(await instance(archive, ref, *asked(target))).dataset
            pixels = dataset.pixel_array
        except (NotAcceptable, RuntimeError, NotImplementedError):
            continue  # this archive or pydicom cannot
        assert np.array_equal(pixels, expected)
        seen += 1
    assert seen >= 2


# What else the Standard asks of an instance that lost something


async def test_lossy_instance_is_a_derived_one(archive: Archive) -> None:
    kind = BY_NAME["8"]
    source = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "ReferencedSOPInstanceUID": "1.2",
    }
    data = stored_file(
        kind,
        EXPLICIT_VR_LITTLE_ENDIAN,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SourceImageSequence=[{"ReferencedSOPClassUID": source["SOPClassUID"], "ReferencedSOPInstanceUID": "1.2"}],
        LossyImageCompression="01",
        LossyImageCompressionRatio="10",
        LossyImageCompressionMethod="ISO_10918_1",
    )
    assert data is not None
    ref = await store(archive, data)
    first = read_back(await instance(archive, ref, *asked(P + "4.91"))).dataset
    assert list(first.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert first.LossyImageCompression == "01"
    assert list(first.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]
    earlier, ratio = first.LossyImageCompressionRatio
    assert earlier == 10
    assert 0.3 < float(ratio) < 20
    one, other = first.SourceImageSequence
    assert one.ReferencedSOPInstanceUID == "1.2"
    assert other.ReferencedSOPInstanceUID == ref.sop_instance_uid
    assert other.ReferencedSOPClassUID == first.SOPClassUID
    assert other.PurposeOfReferenceCodeSequence[0].CodeValue == "121320"
    assert first.DerivationCodeSequence[0].CodeValue == "113040"
    assert "JPEG 2000" in first.DerivationDescription
    # The same request gives the same instance, another syntax another one.
    again = read_back(await instance(archive, ref, *asked(P + "4.91"))).dataset
    assert again.SOPInstanceUID == first.SOPInstanceUID
    assert again == first
    second = read_back(await instance(archive, ref, *asked(P + "4.203"))).dataset
    assert second.SOPInstanceUID not in (first.SOPInstanceUID, ref.sop_instance_uid)
    assert list(second.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_15"]


async def test_what_was_lossy_and_is_only_decoded_stays_who_it_is(archive: Archive) -> None:
    data = stored_file(
        BY_NAME["RGB"], P + "4.50", LossyImageCompression="01", LossyImageCompressionMethod="ISO_10918_1"
    )
    assert data is not None
    ref = await store(archive, data)
    for target in (EXPLICIT_VR_LITTLE_ENDIAN, P + "4.90", P + "4.111", P + "4.51", P + "5"):
        dataset = read_back(await instance(archive, ref, *asked(target))).dataset
        assert dataset.SOPInstanceUID == ref.sop_instance_uid
        assert dataset.LossyImageCompression == "01"
        assert dataset.LossyImageCompressionMethod == "ISO_10918_1"
        assert "SourceImageSequence" not in dataset


def test_uids_of_derived_instances_are_uids() -> None:
    one, other = derived_uid("a" * 64, P + "4.50"), derived_uid("a" * 64, P + "4.91")
    assert one != other
    assert one == derived_uid("a" * 64, P + "4.50")
    for uid in (one, other):
        assert uid.startswith("2.25.")
        assert len(uid) <= 64
        assert not uid.removeprefix("2.25.").startswith("0")


# What is chosen


async def test_lossy_only_for_those_who_name_it(archive: Archive) -> None:
    """image/jpeg with any transfer syntax: 1-bit frames cannot be lossless JPEG, and nobody asked for a lossy one."""
    data = stored_file(BY_NAME["8"], P + "5")
    assert data is not None
    ref = await store(archive, data)
    jpeg = (P + "4.50", P + "4.51")
    with pytest.raises(NotAcceptable):
        await retrieve_frames(archive, ref, [1], [Alternative(jpeg)])
    delivery = await retrieve_frames(archive, ref, [1], [Alternative((*jpeg, P + "4.70"))])
    assert delivery.transfer_syntax_uid == P + "4.70"
    delivery = await retrieve_frames(archive, ref, [1], asked(P + "4.50"))
    assert delivery.transfer_syntax_uid == P + "4.50"


async def test_what_need_not_be_decoded_is_preferred(archive: Archive) -> None:
    data = stored_file(BY_NAME["8"], P + "4.50")
    assert data is not None
    ref = await store(archive, data)
    delivery = await retrieve_frames(archive, ref, [1], [Alternative((P + "4.110", P + "4.111", P + "4.112"))])
    assert delivery.transfer_syntax_uid == P + "4.111"
    assert delivery.conversion is not None
    assert delivery.conversion.recompresses


async def test_each_instance_of_a_series_is_chosen_on_its_own(archive: Archive) -> None:
    """PS3.18 8.7.8: an image compressed, a report in the same series as it is."""
    image = stored_file(BY_NAME["8"], EXPLICIT_VR_LITTLE_ENDIAN, study="1.2.3", series="1.2.4", InstanceNumber="1")
    report = make_instance(study="1.2.3", series="1.2.4", rows=0, InstanceNumber="2")
    assert image is not None
    ref = await store(archive, image)
    await store(archive, report)
    series = ref.series
    with pytest.raises(NotAcceptable, match="no frames"):
        await retrieve_instances(archive, series, asked(P + "4.90"))
    index, deliveries = await retrieve_instances(archive, series, asked(P + "4.90", EXPLICIT_VR_LITTLE_ENDIAN))
    assert index == 0
    assert [one.transfer_syntax_uid for one in deliveries] == [P + "4.90", EXPLICIT_VR_LITTLE_ENDIAN]


@pytest.mark.parametrize("target", ENCAPSULATED)
async def test_what_is_no_image_of_integers_is_not_compressed(archive: Archive, target: str) -> None:
    video = make_instance(transfer_syntax=P + "4.102", rows=4, columns=4)
    report = make_instance(rows=0)
    floats = make_instance(rows=0, FloatPixelData=[0.5] * 4, Rows=2, Columns=2, BitsAllocated=32, SamplesPerPixel=1)
    for data in (video, report, floats):
        ref = await store(archive, data)
        with pytest.raises(NotAcceptable):
            await instance(archive, ref, *asked(target))
    assert (await instance(archive, ref, *asked(EXPLICIT_VR_LITTLE_ENDIAN))) == floats


# Protection


async def test_broken_pixels_end_one_request(archive: Archive) -> None:
    data = make_instance(transfer_syntax=P + "4.70", rows=8, columns=8)
    ref = await store(archive, data)
    for target in (P + "4.90", EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN):
        with pytest.raises(CodecError):
            await instance(archive, ref, *asked(target))
    with pytest.raises(CodecError):
        await frames(archive, ref, range(1, 2), *asked(P + "4.90"))
    assert await instance(archive, ref, *asked(AS_STORED)) == data


async def test_frames_beyond_the_limit_are_refused(archive: Archive) -> None:
    small = replace(archive, limits=Limits(max_decoded_bytes=100))
    data = stored_file(BY_NAME["8"], P + "4.70")
    assert data is not None
    ref = await store(small, data)
    with pytest.raises(CodecError, match="larger than 100 bytes"):
        await frames(small, ref, range(1, 2), *asked(P + "4.90"))
    bomb = make_instance(
        transfer_syntax=P + "8.1", rows=65535, columns=65535, pixel_bytes=[b"\3\0"], BitsAllocated=8, BitsStored=8
    )
    ref = await store(archive, bomb)
    with pytest.raises(NotAcceptable, match="too large"):
        await frames(archive, ref, range(1, 2), *asked(P + "4.90"))


async def test_a_conversion_is_done_once_for_all_who_wait(
    archive: Archive, kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[int] = []
    real = transcoding.convert_frame

    def counting(conversion: object, frame: bytes) -> bytes:
        converted.append(len(frame))
        return real(conversion, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(transcoding, "convert_frame", counting)
    data = stored_file(BY_NAME["12"], EXPLICIT_VR_LITTLE_ENDIAN)
    assert data is not None
    ref = await store(archive, data)
    answers = await asyncio.gather(*(frames(archive, ref, range(1, 4), *asked(P + "4.90")) for _ in range(20)))
    assert len(converted) == 3
    assert all(answer == answers[0] for answer in answers)
    whole = await asyncio.gather(*(instance(archive, ref, *asked(P + "4.90")) for _ in range(10)))
    assert len(converted) == 3  # the frames were there
    assert len(set(whole)) == 1
    await instance(archive, ref, *asked(P + "4.80"))
    assert len(converted) == 6


async def test_a_reader_that_goes_away_harms_nobody(archive: Archive, kept: None) -> None:
    data = stored_file(BY_NAME["12"], EXPLICIT_VR_LITTLE_ENDIAN)
    assert data is not None
    ref = await store(archive, data)
    readers = [asyncio.create_task(frames(archive, ref, range(1, 4), *asked(P + "4.90"))) for _ in range(6)]
    await asyncio.sleep(0.002)
    for reader in readers[:5]:
        reader.cancel()
    expected = await frames(archive, ref, range(1, 4), *asked(P + "4.90"))
    assert await readers[5] == expected
    results = await asyncio.gather(*readers[:5], return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) or one == expected for one in results)


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    """Set at the end, so that stuck threads end."""
    event = threading.Event()
    yield event
    event.set()


async def test_work_that_does_not_end_fills_the_places_and_then_nobody_waits(
    archive: Archive, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stored_file(BY_NAME["8"], EXPLICIT_VR_LITTLE_ENDIAN)
    assert data is not None
    with CodecThreads(2, timeout=0.1) as threads:
        slow = replace(archive, codec_threads=threads)
        ref = await store(slow, data)
        real = transcoding.convert_frame

        def endless(conversion: object, frame: bytes) -> bytes:
            stuck.wait(20)
            return real(conversion, frame)  # type: ignore[arg-type]

        monkeypatch.setattr(transcoding, "convert_frame", endless)
        for target in (P + "4.90", P + "4.80"):
            with pytest.raises(CodecError, match="took longer"):
                await frames(slow, ref, range(1, 2), *asked(target))
        assert threads.overdue == 2
        with pytest.raises(Unavailable):
            await frames(slow, ref, range(1, 2), *asked(P + "4.201"))
        # What needs no codec is served as ever.
        assert len(await frames(slow, ref, range(1, 3), *asked(AS_STORED))) == 2
        stuck.set()
        for _ in range(100):
            if not threads.overdue:
                break
            await asyncio.sleep(0.02)
        monkeypatch.setattr(transcoding, "convert_frame", real)
        assert len(await frames(slow, ref, range(1, 2), *asked(P + "4.201"))) == 1
