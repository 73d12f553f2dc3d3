"""Metadata documents: made on the first read, kept under their version, never of another version than they say."""

import gzip
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from app.db.deletion import delete
from app.db.metadata import metadata_pages
from app.dicom.references import InstanceRef, Reference, SeriesRef, StudyRef
from app.services import metadata as module
from app.services.archive import Archive
from app.services.derived_cache import DerivedCache
from app.services.metadata import MetadataDocument, metadata_document, metadata_version, retrieve_metadata
from tests.services.uploads import upload
from tests.support.databases import StatementCounter
from tests.support.dicom_bytes import make_instance

URL = "https://pacs.example/dicomweb"
STUDY = StudyRef("1.2")


def instance(series: int, number: int, **attributes: Any) -> bytes:
    attributes.setdefault("EncapsulatedDocument", bytes(4000))  # long enough to be named by a URI
    return make_instance(
        "1.2",
        f"1.2.{series}",
        f"1.2.{series}.{number}",
        SeriesNumber=str(10 - series),
        InstanceNumber=str(number),
        **attributes,
    )


@pytest.fixture
async def filled(archive: Archive) -> Archive:
    """A study of three series, whose numbers run against their UIDs."""
    await upload(archive, [instance(series, number) for series in (1, 2, 3) for number in range(1, 5)])
    return archive


async def document_of(archive: Archive, ref: Reference, url: str = URL) -> MetadataDocument | None:
    return await metadata_document(archive, ref, await metadata_version(archive, ref), url)


async def text_of(archive: Archive, ref: Reference, url: str = URL) -> bytes:
    document = await document_of(archive, ref, url)
    assert document is not None
    text = gzip.decompress(document.gzip)
    assert b"".join(document.chunks()) == text
    assert len(text) == document.length
    return text


async def streamed(archive: Archive, ref: Reference, url: str = URL) -> bytes:
    return b"[" + b",".join([text async for _, text in retrieve_metadata(archive, ref, url)]) + b"]"


@pytest.mark.parametrize("ref", [STUDY, SeriesRef("1.2", "1.2.2")])
async def test_the_same_as_streamed(filled: Archive, ref: Reference) -> None:
    text = await text_of(filled, ref)
    assert text == await streamed(filled, ref)
    assert text == await text_of(filled, ref)
    found = orjson.loads(text)
    assert len(found) == (12 if ref == STUDY else 4)
    for one in found:
        study, series, sop = (one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        path = f"{URL}/studies/{study}/series/{series}/instances/{sop}/"
        assert one["00420011"]["BulkDataURI"].startswith(path)


async def test_read_again_costs_one_look_up(filled: Archive, statement_counter: StatementCounter) -> None:
    await document_of(filled, STUDY)
    with statement_counter.counting(1):
        await document_of(filled, STUDY)
    with statement_counter.counting(1):
        await document_of(filled, SeriesRef("1.2", "1.2.3"))  # was made for the study


async def test_only_the_changed_series_is_made_again(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Reference] = []

    def noting(db: Any, ref: Reference) -> AsyncIterator[list[tuple[InstanceRef, bytes]]]:
        made.append(ref)
        return metadata_pages(db, ref)

    monkeypatch.setattr(module, "metadata_pages", noting)
    before = await text_of(filled, STUDY)
    assert len(made) == 3
    await upload(filled, [instance(2, 9)])
    after = await text_of(filled, STUDY)
    assert made[3:] == [SeriesRef("1.2", "1.2.2")]
    assert len(orjson.loads(after)) == len(orjson.loads(before)) + 1
    await delete(filled.db, InstanceRef("1.2", "1.2.2", "1.2.2.9"), retention=timedelta(days=1))
    assert await text_of(filled, STUDY) == before


async def test_a_series_deleted_and_stored_anew_is_another(filled: Archive) -> None:
    ref = SeriesRef("1.2", "1.2.1")
    await text_of(filled, ref)
    await delete(filled.db, ref, retention=timedelta(days=1))
    await upload(filled, [instance(1, number, PatientComments="anew") for number in range(1, 5)])
    assert all(one["00104000"]["Value"] == ["anew"] for one in orjson.loads(await text_of(filled, ref)))


async def test_each_name_of_the_server_has_its_own(filled: Archive) -> None:
    first = await text_of(filled, STUDY)
    second = await text_of(filled, STUDY, "http://other/dicomweb")
    assert second == first.replace(URL.encode(), b"http://other/dicomweb")
    assert await text_of(filled, STUDY) == first


async def test_without_a_cache(filled: Archive) -> None:
    bare = replace(filled, cache=DerivedCache())
    assert await text_of(bare, STUDY) == await streamed(filled, STUDY)


async def test_what_has_changed_meanwhile_is_not_made(filled: Archive) -> None:
    old = await metadata_version(filled, STUDY)
    await upload(filled, [instance(3, 9)])
    assert await metadata_document(filled, STUDY, old, URL) is None
    assert len(orjson.loads(await text_of(filled, STUDY))) == 13


async def test_a_series_deleted_meanwhile(filled: Archive) -> None:
    old = await metadata_version(filled, STUDY)
    await delete(filled.db, SeriesRef("1.2", "1.2.3"), retention=timedelta(days=1))
    assert await metadata_document(filled, STUDY, old, URL) is None


async def test_a_change_while_it_is_made_is_noticed(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pages(db: Any, ref: Reference) -> AsyncIterator[Sequence[tuple[InstanceRef, bytes]]]:
        async for page in metadata_pages(db, ref):
            await upload(filled, [instance(1, 7)])
            yield page

    monkeypatch.setattr(module, "metadata_pages", pages)
    ref = SeriesRef("1.2", "1.2.1")
    assert await document_of(filled, ref) is None
    monkeypatch.undo()
    assert len(orjson.loads(await text_of(filled, ref))) == 5


async def test_single_instances_and_very_many_are_not_kept(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await document_of(filled, InstanceRef("1.2", "1.2.1", "1.2.1.1")) is None
    monkeypatch.setattr(module, "MAX_INSTANCES", 11)
    assert await document_of(filled, STUDY) is None
    assert await document_of(filled, SeriesRef("1.2", "1.2.1")) is not None
