"""Metadata and bulkdata become instances like all others: spooled, put together, durable, or refused without a trace."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import imagecodecs
import numpy as np
import orjson
import pytest

from app.blobs.digests import digest_of
from app.db.inventory import counts
from app.db.locate import locate_instance
from app.dicom import store_status
from app.dicom.header import parse_instance
from app.dicom.metadata_elements import Payload
from app.dicom.references import StudyRef
from app.dicom.xml_model import to_native_xml
from app.errors import BlobStoreUnavailable, MalformedMessage, OutOfSpace, TooLarge
from app.services import store_metadata as service
from app.services.archive import Archive, Limits
from app.services.codec_threads import CodecThreads
from app.services.store import Intake
from app.services.store_metadata import MetadataDocument, Spool, store_metadata
from app.services.store_results import RefusedInstance, StoredInstance, StoreResult
from tests.services.uploads import content, files_of
from tests.support.dicom_bytes import new_uid

OCTETS = "application/octet-stream"
PIXELS = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3).astype(np.uint8)
JPEG = bytes(imagecodecs.jpeg8_encode(PIXELS, level=90))


def metadata(study: str | None = None, **attributes: Any) -> dict[str, Any]:
    """Secondary capture, names as `_tag`; `_7FE00010="uri"` refers to bulkdata."""
    dataset: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
        "00080018": {"vr": "UI", "Value": [new_uid()]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jäne"}]},
        "0020000D": {"vr": "UI", "Value": [study or new_uid()]},
        "0020000E": {"vr": "UI", "Value": [new_uid()]},
    }
    for tag, value in attributes.items():
        element = value if isinstance(value, dict) else {"vr": "OB", "BulkDataURI": value}
        dataset[tag.lstrip("_")] = element
    return dataset


def described(rows: int, columns: int) -> dict[str, Any]:
    numbers = {"00280002": 1, "00280010": rows, "00280011": columns, "00280100": 8, "00280101": 8, "00280102": 7}
    elements: dict[str, Any] = {f"_{tag}": {"vr": "US", "Value": [number]} for tag, number in numbers.items()}
    return {
        **elements,
        "_00280103": {"vr": "US", "Value": [0]},
        "_00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
        "_7FE00010": "pixels",
    }


@dataclass(slots=True)
class Message:
    """A store as the door receives it: documents and parts, in their order."""

    archive: Archive
    study: str | None = None
    documents: list[MetadataDocument] = field(default_factory=list)
    parts: dict[str, list[Payload]] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    understood: bool = False

    def _add(self, data: bytes) -> int:
        self.pieces.append(data)
        self.size += len(data)
        return self.size - len(data)

    def document(self, *datasets: Any, text: bytes | None = None, problem: str = "") -> None:
        data = orjson.dumps(datasets) if text is None else text
        self.documents.append(MetadataDocument(False, self._add(data), len(data), problem))

    def xml(self, dataset: Any = None, text: bytes | None = None) -> None:
        data = to_native_xml(dataset) if text is None else text
        self.documents.append(MetadataDocument(True, self._add(data), len(data)))

    def part(self, uri: str, data: bytes, media_type: str = OCTETS, problem: str = "") -> None:
        payload = Payload(media_type, "", self._add(data), len(data), problem)
        self.parts.setdefault(uri, []).append(payload)

    async def store(self, chunk: int = 100_000) -> list[StoreResult]:
        """As app.api.metadata_parts does it."""
        intake, spool = Intake(self.archive, StudyRef(self.study) if self.study else None), Spool(self.archive)
        try:
            for piece in self.pieces:
                for start in range(0, len(piece), chunk):
                    await spool.write(piece[start : start + chunk])
            self.understood = await store_metadata(intake, spool, self.documents, lambda uri: self.parts.get(uri, ()))
            return await intake.finish()
        except BaseException:
            await intake.abort()
            raise
        finally:
            await spool.close()


async def file_of(archive: Archive, result: StoreResult) -> bytes:
    assert isinstance(result, StoredInstance), result
    location = await locate_instance(archive.db, result.ref)
    data = await content(archive, location.blob_key)
    assert digest_of(data) == location.digest
    return data


async def test_instances_of_a_json_array(archive: Archive) -> None:
    message = Message(archive)
    study = new_uid()
    pictures = [bytes(imagecodecs.jpeg8_encode(np.roll(PIXELS, n, 0), level=90)) for n in range(3)]
    message.document(*(metadata(study, _7FE00010=f"bulk/{number}") for number in range(3)))
    for number, picture in enumerate(pictures):
        message.part(f"bulk/{number}", picture, "image/jpeg")
    results = await message.store(chunk=17)
    assert message.understood
    assert [result.remarks.warning for result in results if isinstance(result, StoredInstance)] == [None] * 3
    for picture, result in zip(pictures, results, strict=True):
        data = await file_of(archive, result)
        assert picture in data
        assert parse_instance(data).text("00280010") == "20"
    assert await counts(archive.db) == (1, 3, 3)
    assert len(files_of(archive)) == 3


async def test_xml_and_json_make_the_same_bytes(archive: Archive) -> None:
    dataset = metadata(_7FE00010="p", _00281050={"vr": "DS", "Value": [1.5, None]})
    as_json, as_xml = Message(archive), Message(archive)
    as_json.document(dataset)
    as_xml.xml(dataset)
    for message in (as_json, as_xml):
        message.part("p", JPEG, "image/jpeg")
    (one,), (two,) = await as_json.store(), await as_xml.store()
    assert isinstance(one, StoredInstance)
    assert isinstance(two, StoredInstance)
    assert (one.changed, two.changed) == (True, False)
    assert len(files_of(archive)) == 1


async def test_bulkdata_may_come_first(archive: Archive) -> None:
    message = Message(archive)
    message.part("p", JPEG, "image/jpeg")
    message.document(metadata(_7FE00010="p"))
    (result,) = await message.store()
    assert JPEG in await file_of(archive, result)


async def test_large_bulkdata_goes_through_the_spool(archive: Archive) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, 2000 * 3000, dtype=np.uint8).tobytes()
    message = Message(archive)
    message.document(metadata(**described(2000, 3000)))
    message.part("pixels", pixels)
    (result,) = await message.store(chunk=1_000_000)
    assert (await file_of(archive, result)).endswith(pixels)
    assert len(files_of(archive)) == 1


async def test_one_bad_instance_never_harms_the_others(archive: Archive) -> None:
    message = Message(archive)
    contradiction = {"vr": "US", "Value": [21]}
    message.document(
        metadata(_7FE00010="p1"),
        metadata(_7FE00010="missing"),
        metadata(_7FE00010="cut"),
        metadata(_00100020={"vr": "LO", "Value": [5]}),
        metadata(_7FE00010="p1", _00280010=contradiction),
        metadata(_7FE00010="garbage"),
        {"00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]}},
        metadata(_00080016={"vr": "UI", "Value": ["1.2.840.10008.1.3.10"]}),
        metadata(_7FE00010="p1"),
    )
    message.part("p1", JPEG, "image/jpeg")
    message.part("cut", JPEG[:50], "image/jpeg", "the message ends within this part")
    message.part("garbage", b"no image", "image/jpeg")
    results = await message.store()
    assert [getattr(result, "status", None) for result in results] == [
        None,
        store_status.PROCESSING_FAILURE,
        store_status.TRUNCATED,
        store_status.CANNOT_UNDERSTAND,
        store_status.DATA_SET_MISMATCH,
        store_status.CANNOT_UNDERSTAND,
        store_status.DATA_SET_MISMATCH,
        store_status.SOP_CLASS_NOT_SUPPORTED,
        None,
    ]
    refused = [result for result in results if isinstance(result, RefusedInstance)]
    assert all(result.sop_class_uid for result in refused)
    assert all(result.sop_instance_uid for result in refused if result.status is not store_status.DATA_SET_MISMATCH)
    assert "00100020" in refused[2].message
    assert not message.understood
    assert (await counts(archive.db))[2] == len(files_of(archive)) == 2


async def test_a_broken_xml_part_is_one_instance(archive: Archive) -> None:
    message = Message(archive)
    message.xml(metadata(_7FE00010="p"))
    message.xml(text=b"<NativeDicomModel>")
    message.xml(metadata(_7FE00010="p"))
    message.part("p", JPEG, "image/jpeg")
    first, broken, last = await message.store()
    assert isinstance(first, StoredInstance)
    assert isinstance(last, StoredInstance)
    assert isinstance(broken, RefusedInstance)
    assert broken.status is store_status.CANNOT_UNDERSTAND


@pytest.mark.parametrize("is_xml", [True, False])
async def test_a_broken_part_is_told_wherever_it_stands(archive: Archive, is_xml: bool) -> None:
    message = Message(archive)
    add = message.xml if is_xml else message.document
    add(text=b"<")
    add(metadata(_7FE00010="p"))
    message.part("p", JPEG, "image/jpeg")
    broken, stored = await message.store()
    assert isinstance(broken, RefusedInstance)
    assert isinstance(stored, StoredInstance)


async def test_an_array_that_breaks_off_keeps_what_came_before(archive: Archive) -> None:
    message = Message(archive)
    message.document(text=orjson.dumps([metadata(_7FE00010="p")])[:-1] + b", oops]")
    message.part("p", JPEG, "image/jpeg")
    first, broken = await message.store()
    assert isinstance(first, StoredInstance)
    assert isinstance(broken, RefusedInstance)
    assert "not JSON" in broken.message


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b"5", b"\xff\xfe", b"[1]", b"{", b"[" * 100_000])
@pytest.mark.parametrize("is_xml", [True, False])
async def test_nothing_but_broken_metadata_is_a_broken_message(archive: Archive, text: bytes, is_xml: bool) -> None:
    message = Message(archive)
    for _ in range(2):
        (message.xml if is_xml else message.document)(text=text)
    message.part("p", JPEG, "image/jpeg")
    with pytest.raises(MalformedMessage):
        await message.store()
    assert files_of(archive) == []


async def test_no_metadata_at_all(archive: Archive) -> None:
    message = Message(archive)
    message.part("p", JPEG, "image/jpeg")
    with pytest.raises(MalformedMessage, match="no instance"):
        await message.store()
    message.document(metadata(_7FE00010="p"), problem="the message ends within this part")
    with pytest.raises(MalformedMessage, match="ends within"):
        await message.store()
    assert files_of(archive) == []


async def test_metadata_is_bounded(archive: Archive) -> None:
    small = replace(archive, limits=replace(Limits(), max_metadata_bytes=2000))
    message = Message(small)
    message.document(metadata(_7FE00010="p"))
    message.document(metadata(_00104000={"vr": "LT", "Value": ["x" * 2000]}))
    message.part("p", JPEG, "image/jpeg")
    with pytest.raises(TooLarge, match="up to 2000"):
        await message.store()
    assert files_of(archive) == []


async def test_bulkdata_asked_for_over_and_over_is_refused(archive: Archive) -> None:
    """A kilobyte of metadata must not become a terabyte of file."""
    message = Message(archive)
    items = [{"00420011": {"vr": "OB", "BulkDataURI": "big"}}] * 100
    message.document(
        metadata(_00420011="big"), metadata(_00081140={"vr": "SQ", "Value": items}), metadata(_00420011="big")
    )
    message.part("big", bytes(1_000_000))
    one, many, another = await message.store()
    assert isinstance(one, StoredInstance)
    assert isinstance(another, StoredInstance)
    assert isinstance(many, RefusedInstance)
    assert many.status is store_status.CANNOT_UNDERSTAND
    assert f"{service.MAX_GROWTH} times" in many.message


async def test_corrections_and_what_was_left_out_are_told_and_kept(archive: Archive) -> None:
    message = Message(archive)
    message.document(
        metadata(_7FE00010="p", _00280004={"vr": "CS", "Value": ["RGB"]}, _00020010={"vr": "UI", "Value": ["1.2"]}),
        metadata(_7FE00010="p", _00020010={"vr": "UI", "Value": ["1.2"]}),
        metadata(_7FE00010="p"),
    )
    message.part("p", JPEG, "image/jpeg")
    corrected, discarded, plain = await message.store()
    assert isinstance(corrected, StoredInstance)
    assert isinstance(discarded, StoredInstance)
    assert isinstance(plain, StoredInstance)
    assert corrected.remarks.warning is store_status.COERCION_OF_DATA_ELEMENTS
    (original,) = corrected.remarks.original_attributes
    assert original["04000550"]["Value"] == [{"00280004": {"vr": "CS", "Value": ["RGB"]}}]
    assert discarded.remarks.warning is store_status.ELEMENTS_DISCARDED
    assert plain.remarks.warning is None
    parsed = parse_instance(await file_of(archive, corrected))
    assert parsed.text("00280004") == "YBR_FULL_422"
    (kept,) = parsed.dataset["04000561"]["Value"]
    assert kept["04000550"]["Value"][0]["00280004"]["Value"] == ["RGB"]


async def test_pixels_without_their_description_are_stored_with_a_warning(archive: Archive) -> None:
    incomplete = described(4, 5)
    del incomplete["_00280102"]
    message = Message(archive)
    message.document(metadata(**incomplete), metadata(**described(4, 5)))
    message.part("pixels", bytes(20))
    lacking, complete = await message.store()
    assert isinstance(lacking, StoredInstance)
    assert isinstance(complete, StoredInstance)
    assert lacking.remarks.warning is store_status.STORED_DESPITE_MISMATCH
    assert complete.remarks.warning is None


async def test_study_of_the_request_confines_it(archive: Archive) -> None:
    study = new_uid()
    message = Message(archive, study)
    message.document(metadata(study, _7FE00010="p"), metadata(_7FE00010="p"))
    message.part("p", JPEG, "image/jpeg")
    inside, outside = await message.store()
    assert isinstance(inside, StoredInstance)
    assert isinstance(outside, RefusedInstance)
    assert outside.status is store_status.STUDY_MISMATCH
    assert len(files_of(archive)) == 1


async def test_no_room_for_the_message(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_: object, __: object) -> None:
        raise OutOfSpace("the disk is full")

    writer = await archive.blobs.open_writer()
    await writer.cancel()
    monkeypatch.setattr(type(writer), "write", full)
    message = Message(archive)
    message.document(metadata(_7FE00010="p"))
    message.part("p", JPEG, "image/jpeg")
    (result,) = await message.store()
    assert isinstance(result, RefusedInstance)
    assert result.status is store_status.OUT_OF_RESOURCES
    assert not message.understood
    assert files_of(archive) == []


async def test_no_room_for_one_instance(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bulkdata fitted, the file of the first instance does not: the second one may."""
    opened = 0
    open_writer = type(archive.blobs).open_writer

    async def sometimes_full(self: Any) -> Any:
        nonlocal opened
        opened += 1
        if opened == 2:
            raise OutOfSpace("the disk is full")
        return await open_writer(self)

    monkeypatch.setattr(type(archive.blobs), "open_writer", sometimes_full)
    message = Message(archive)
    message.document(metadata(_7FE00010="p"), metadata(_7FE00010="p"))
    message.part("p", JPEG, "image/jpeg")
    first, second = await message.store()
    assert isinstance(first, RefusedInstance)
    assert first.status is store_status.OUT_OF_RESOURCES
    assert isinstance(second, StoredInstance)


async def test_blob_store_away(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: object) -> None:
        raise BlobStoreUnavailable("the blob store does not answer")

    monkeypatch.setattr(type(archive.blobs), "open_writer", away)
    message = Message(archive)
    message.document(metadata(_7FE00010="p"))
    with pytest.raises(BlobStoreUnavailable):
        await message.store()


async def test_threads_that_are_busy_refuse_the_instance(archive: Archive) -> None:
    with CodecThreads(1, timeout=0.05) as threads:
        threads.submit(time.sleep, 0.5)
        message = Message(replace(archive, codec_threads=threads))
        message.document(metadata(_7FE00010="p"))
        message.part("p", JPEG, "image/jpeg")
        (result,) = await message.store()
    assert isinstance(result, RefusedInstance)
    assert result.status is store_status.PROCESSING_FAILURE
    assert "threads" in result.message
    assert files_of(archive) == []


async def test_cancelled_in_the_middle_leaves_no_spool_file(archive: Archive) -> None:
    message = Message(archive)
    message.document(*(metadata(_7FE00010="p") for _ in range(300)))
    message.part("p", JPEG * 1000, "image/jpeg")
    task = asyncio.create_task(message.store())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert (await counts(archive.db))[2] == len(files_of(archive)), "every blob has its row, and nothing is spooled"


async def test_many_instances_pass_through_several_batches(archive: Archive) -> None:
    study = new_uid()
    message = Message(archive)
    message.document(*(metadata(study, _7FE00010=f"p{number}") for number in range(150)))
    for number in range(150):
        message.part(f"p{number}", JPEG, "image/jpeg")
    results = await message.store()
    assert all(isinstance(result, StoredInstance) for result in results)
    assert (await counts(archive.db))[2] == len(files_of(archive)) == 150
