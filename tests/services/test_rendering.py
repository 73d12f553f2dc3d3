"""Rendering as a service: what depends on what, bounds, animations, and streams that are read in part."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.dicom.references import InstanceRef, SeriesRef, StudyRef
from app.dicom.rendering import Category, IccProfileChoice, RenderingParameters, Viewport, Window
from app.errors import BlobNotFound, CodecError, Gone, InvalidParameter, NotAcceptable, NotFound
from app.services import renderables, rendering
from app.services.archive import Archive
from app.services.codec_threads import CodecThreads
from app.services.deletion import delete
from app.services.derived_cache import DerivedCache
from app.services.renderables import FrameTarget, Renderable, all_frames, find_renderable, frames_of, read_values
from app.services.rendered_documents import find_stream, read_stream, render_text
from app.services.rendering import render_animation, render_image, render_images, rendering_key
from app.services.thumbnails import draw_thumbnail, find_thumbnail, thumbnail_parameters
from tests.services.uploads import upload
from tests.support.dicom_bytes import make_instance, new_uid

PLAIN = RenderingParameters()
MPEG4 = "1.2.840.10008.1.2.4.102"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
PR = "1.2.840.10008.5.1.4.1.1.11.1"


async def stored(archive: Archive, **keywords: Any) -> InstanceRef:
    ref = InstanceRef(keywords.pop("study", new_uid()), keywords.pop("series", new_uid()), new_uid())
    data = make_instance(ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid, **keywords)
    (result,) = await upload(archive, [data])
    assert result.ref == ref
    return ref


async def found(archive: Archive, **keywords: Any) -> Renderable:
    return await find_renderable(archive, await stored(archive, **keywords))


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)))


@pytest.mark.parametrize(
    ("keywords", "category", "frames"),
    [
        ({}, Category.SINGLE_FRAME, 1),
        ({"frames": 3}, Category.MULTI_FRAME, 3),
        ({"transfer_syntax": MPEG4, "frames": 25, "pixel_bytes": [b"movie"]}, Category.VIDEO, 1),
        ({"rows": 0, "sop_class": SR, "ValueType": "CONTAINER"}, Category.TEXT, 0),
        ({"rows": 0, "sop_class": PDF, "EncapsulatedDocument": b"%PDF"}, Category.DOCUMENT, 0),
        ({"rows": 0, "sop_class": PR}, Category.PRESENTATION_STATE, 0),
        ({"rows": 0}, Category.NONE, 0),
    ],
)
async def test_categories(archive: Archive, keywords: dict[str, Any], category: Category, frames: int) -> None:
    renderable = await found(archive, **keywords)
    assert (renderable.category, renderable.frame_count) == (category, frames)
    # Metadata is read only where it is needed to tell.
    assert (renderable.attributes is None) == (category in (*_PIXELS, Category.PRESENTATION_STATE))


_PIXELS = (Category.SINGLE_FRAME, Category.MULTI_FRAME, Category.VIDEO)


async def test_frames_that_are_not_there(archive: Archive) -> None:
    image = await found(archive, frames=3)
    assert [target.frame_number for target in frames_of(image, (3, 1))] == [3, 1]
    assert [target.frame_number for target in all_frames(image)] == [1, 2, 3]
    with pytest.raises(NotFound):
        frames_of(image, (1, 4))
    with pytest.raises(NotFound):
        frames_of(await found(archive, rows=0), (1,))
    with pytest.raises(NotAcceptable):
        frames_of(await found(archive, transfer_syntax=MPEG4, frames=2, pixel_bytes=[b"movie"]), (1,))


async def test_the_key_names_all_that_matters(archive: Archive) -> None:
    image, other = await found(archive, frames=2), await found(archive, frames=2)
    target = FrameTarget(image)
    variants = [
        ([target], PLAIN, "image/png"),
        ([target], PLAIN, "image/jpeg"),
        ([FrameTarget(other)], PLAIN, "image/png"),
        ([FrameTarget(image, 2)], PLAIN, "image/png"),
        ([target, FrameTarget(image, 2)], PLAIN, "image/png"),
        ([FrameTarget(image, presentation=other)], PLAIN, "image/png"),
        ([FrameTarget(image, region=(0, 0, 1, 0.5))], PLAIN, "image/png"),
        ([target], RenderingParameters(quality=5), "image/png"),
        ([target], RenderingParameters(window=Window(1, 2)), "image/png"),
        ([target], RenderingParameters(viewport=Viewport(1, 2)), "image/png"),
        ([target], RenderingParameters(annotation=("patient",)), "image/png"),
        ([target], RenderingParameters(iccprofile=IccProfileChoice.SRGB), "image/png"),
    ]
    keys = [rendering_key(*variant) for variant in variants]
    assert len(set(keys)) == len(variants)
    assert keys == [rendering_key(*variant) for variant in variants]


async def test_a_rendered_image_is_kept(archive: Archive, tmp_path: Path) -> None:
    keeping = replace(archive, cache=DerivedCache(tmp_path / "kept", 1 << 20))
    forgetting = replace(archive, cache=DerivedCache())
    image = await found(archive)
    first = await render_image(keeping, FrameTarget(image), PLAIN, "image/png")
    await archive.blobs.delete(image.location.blob_key)
    assert await render_image(keeping, FrameTarget(image), PLAIN, "image/png") == first
    with pytest.raises(BlobNotFound):
        await render_image(keeping, FrameTarget(image), PLAIN, "image/gif")
    with pytest.raises(BlobNotFound):
        await render_image(forgetting, FrameTarget(image), PLAIN, "image/png")


class CountingThreads(CodecThreads):
    pieces = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        self.pieces += 1
        return await super().run(work)


async def test_many_who_ask_for_one_image(archive: Archive) -> None:
    image = await found(archive, rows=300, columns=300)
    with CountingThreads(2) as threads:
        counted = replace(archive, codec_threads=threads)
        images = await asyncio.gather(
            *(render_image(counted, FrameTarget(image), PLAIN, "image/png") for _ in range(20))
        )
        assert len(set(images)) == 1
        assert threads.pieces == 1


class HeldThreads(CodecThreads):
    """The first piece of work is done, the others wait."""

    started = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        self.started += 1
        if self.started > 1:
            await asyncio.Event().wait()
        return await super().run(work)


async def test_images_in_their_order(archive: Archive) -> None:
    values = np.arange(9, dtype="u1")[:, None, None] * 25 + np.zeros((9, 40, 40), "u1")
    image = await found(archive, rows=40, columns=40, frames=9, pixel_bytes=values.tobytes())
    targets = frames_of(image, (9, 1, 5, 5, 2, 3))
    shown = [decoded(body)[0, 0] async for _, body in render_images(archive, targets, PLAIN, "image/png")]
    assert shown == [200, 0, 100, 100, 25, 50]
    tasks = asyncio.all_tasks()
    with HeldThreads(2) as threads:
        held = replace(archive, codec_threads=threads, cache=DerivedCache())
        left = render_images(held, all_frames(image), PLAIN, "image/gif")
        await anext(left)
        assert len(asyncio.all_tasks()) > len(tasks)  # the next ones are under way
        await left.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        assert asyncio.all_tasks() <= tasks


class CrowdedThreads(CodecThreads):
    inside = most = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            return await super().run(work)
        finally:
            self.inside -= 1


async def test_few_images_are_in_memory_at_once(archive: Archive) -> None:
    image = await found(archive, rows=200, columns=200, frames=40)
    with CrowdedThreads(2) as threads:
        crowded = replace(archive, codec_threads=threads, cache=DerivedCache())
        await asyncio.gather(*(render_image(crowded, target, PLAIN, "image/png") for target in all_frames(image)))
        assert 2 <= threads.most <= 4


async def test_bounds(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    image = await found(archive, rows=1500, columns=1500)
    with CodecThreads(1, timeout=1e-5) as threads:
        hasty = replace(archive, codec_threads=threads)
        with pytest.raises(CodecError, match="longer than"):
            await render_image(
                hasty, FrameTarget(image), RenderingParameters(viewport=Viewport(4000, 4000)), "image/png"
            )
    monkeypatch.setattr(rendering, "MAX_SOURCE_PIXELS", 1500 * 1500 - 1)
    with pytest.raises(CodecError, match="pixels"):
        await render_image(archive, FrameTarget(image), PLAIN, "image/png")


async def test_values_are_bounded(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    table = bytes(range(256)) * 8
    ref = await stored(archive, RedPaletteColorLookupTableData=table, GreenPaletteColorLookupTableData=table)
    paths = ("00281201", "00281202")
    assert await read_values(archive, ref, paths) == dict.fromkeys(paths, table)
    assert await read_values(archive, ref, ()) == {}
    monkeypatch.setattr(renderables, "MAX_VALUE_BYTES", 2 * len(table) - 1)
    with pytest.raises(CodecError):
        await read_values(archive, ref, paths)
    assert await read_values(archive, ref, paths[:1]) == {paths[0]: table}


async def test_deleted_meanwhile(archive: Archive) -> None:
    image = await found(archive)
    await delete(archive, image.ref)
    with pytest.raises(Gone):
        await render_image(archive, FrameTarget(image), PLAIN, "image/png")


async def test_an_animation_needs_one_codec_thread(archive: Archive) -> None:
    values = np.arange(5, dtype="u1")[:, None, None] * 50 + np.zeros((5, 30, 40), "u1")
    image = await found(archive, rows=30, columns=40, frames=5, pixel_bytes=values.tobytes())
    with CodecThreads(1) as threads:
        single = replace(archive, codec_threads=threads)
        body = b"".join([piece async for piece in render_animation(single, all_frames(image), PLAIN, "image/gif")])
        movies = await asyncio.gather(*(_movie(single, image) for _ in range(8)))
        assert set(movies) == {body}
    movie = Image.open(BytesIO(body))
    assert movie.n_frames == 5  # type: ignore[attr-defined]
    for number in range(5):
        movie.seek(number)
        assert np.unique(np.asarray(movie.convert("L"))).tolist() == [50 * number]


async def _movie(archive: Archive, image: Renderable) -> bytes:
    return b"".join([piece async for piece in render_animation(archive, all_frames(image), PLAIN, "image/gif")])


async def test_an_animation_that_nobody_watches(archive: Archive) -> None:
    image = await found(archive, frames=200)
    pieces = render_animation(archive, all_frames(image), PLAIN, "image/gif")
    assert (await anext(pieces)).startswith(b"GIF89a")
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    waiting = asyncio.create_task(_movie(archive, image))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not [thread for thread in threading.enumerate() if thread.name.startswith("animation")]:
            break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("animation")]


async def test_an_animation_of_what_cannot_be_decoded(archive: Archive) -> None:
    image = await found(archive, frames=2, transfer_syntax="1.2.840.10008.1.2.4.50")
    with pytest.raises((CodecError, NotAcceptable)):
        await _movie(archive, image)
    with pytest.raises(NotAcceptable):
        [piece async for piece in render_animation(archive, all_frames(image), PLAIN, "image/png")]


async def test_any_part_of_a_video(archive: Archive) -> None:
    fragments = [bytes([number]) * (2 * number + 2) for number in range(40)]
    stream = b"".join(fragments)
    video = await found(archive, transfer_syntax=MPEG4, frames=25, pixel_bytes=fragments)
    found_stream = await find_stream(archive, video)
    assert (found_stream.media_type, found_stream.size) == ("video/mp4", len(stream))
    for offset, length in ((0, len(stream)), (0, 1), (1, 2), (3, 500), (len(stream) - 1, 1), (700, 0), (600, 10_000)):
        read = b"".join([piece async for piece in read_stream(archive, found_stream, offset, length)])
        assert read == stream[offset : offset + length]


@pytest.mark.parametrize("document", [b"%PDF-short", b"%PDF" + bytes(range(256)) * 40 + b"x"])
async def test_a_document_in_or_outside_of_the_metadata(archive: Archive, document: bytes) -> None:
    keywords = {"EncapsulatedDocument": document, "EncapsulatedDocumentLength": len(document)}
    stream = await find_stream(archive, await found(archive, rows=0, sop_class=PDF, **keywords))
    assert (stream.media_type, stream.size) == ("application/pdf", len(document))
    for offset, length in ((0, len(document)), (3, 5), (len(document) - 1, 1)):
        read = b"".join([piece async for piece in read_stream(archive, stream, offset, length)])
        assert read == document[offset : offset + length]
    with pytest.raises(NotAcceptable):
        await find_stream(archive, await found(archive, rows=0))


async def test_a_document_that_lies_about_its_length(archive: Archive) -> None:
    keywords = {"EncapsulatedDocument": b"%PDF-x", "EncapsulatedDocumentLength": 4_000_000_000}
    assert (await find_stream(archive, await found(archive, rows=0, sop_class=PDF, **keywords))).size == 6


async def test_reports(archive: Archive) -> None:
    tree = [{"ValueType": "TEXT", "TextValue": text} for text in ("kurz: Öl", "größer " * 10_000)]
    report = await found(
        archive, rows=0, sop_class=SR, ValueType="CONTAINER", ContentSequence=tree, SpecificCharacterSet="ISO_IR 192"
    )
    for media_type in ("text/html", "text/plain", "text/xml"):
        text = await render_text(archive, report, media_type, "iso8859-1", "ISO-8859-1", "http://x")
        assert "kurz: Öl" in text.decode("iso8859-1")
        # A long text is one of the values that the Native DICOM Model names by URI.
        assert ("größer größer" in text.decode("iso8859-1")) == (media_type != "text/xml")
        assert ("ISO-8859-1" in text.decode("iso8859-1")) == (media_type != "text/plain")
        with pytest.raises(NotAcceptable):
            await render_text(archive, report, media_type, "ascii", "US-ASCII", "http://x")


async def test_a_thumbnail_of_the_series_that_has_images(archive: Archive) -> None:
    study, images = new_uid(), new_uid()
    report = await stored(archive, study=study, rows=0, sop_class=SR, SeriesNumber="1", Modality="SR")
    refs = [
        await stored(archive, study=study, series=images, SeriesNumber="2", InstanceNumber=str(number))
        for number in range(1, 6)
    ]
    for ref in (StudyRef(study), SeriesRef(study, images)):
        chosen = await find_thumbnail(archive, ref)
        assert chosen.subject.ref == refs[2]
        assert chosen.target == FrameTarget(chosen.subject, 1)
    drawn = await find_thumbnail(archive, report.series)
    assert (drawn.subject.ref, drawn.target) == (report, None)
    parameters = thumbnail_parameters(Viewport(30, 30))
    sheet = await draw_thumbnail(archive, drawn, parameters, "image/png")
    assert not sheet.is_substitute
    assert decoded(sheet.data).shape == (30, 22)
    with pytest.raises(InvalidParameter):
        thumbnail_parameters(Viewport(30, 30, 1, 1))


async def test_a_thumbnail_of_what_cannot_be_decoded(archive: Archive) -> None:
    ref = await stored(archive, transfer_syntax="1.2.840.10008.1.2.4.50", Modality="XA")
    drawn = await draw_thumbnail(archive, await find_thumbnail(archive, ref), thumbnail_parameters(None), "image/png")
    assert drawn.is_substitute
    assert np.ptp(decoded(drawn.data)) > 100
