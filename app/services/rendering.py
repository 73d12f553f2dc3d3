"""Rendered images: stored frames in, bytes of an image media type out (PS3.18 8.3.5, 8.7.4).

Frames are found and read as everywhere else, then decoded, displayed and encoded in threads, bounded in time and size. What
an image depends on is known before (`rendering_key`): an unchanged one costs no pixels.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app import __version__
from app.dicom import rendering
from app.dicom.frame_index import locate_frames
from app.dicom.rendering import (
    ICC_MEDIA_TYPES,
    IccProfileChoice,
    RenderingParameters,
    RenderingSource,
    Viewport,
    needed_bulkdata,
)
from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from app.errors import CodecError
from app.services.archive import Archive
from app.services.frames import plan_frames, read_frames, retrieve_frames
from app.services.renderables import (
    FrameTarget,
    Renderable,
    open_presentation_state,
    read_values,
    with_attributes,
)
from app.services.syntaxes import Alternative

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.dicom.rendering import PresentationState

MAX_SOURCE_PIXELS = 1 << 27  # of one frame: rendering holds several copies of it
_AHEAD = 3  # images that are rendered while one is sent
_NATIVE = [Alternative((EXPLICIT_VR_LITTLE_ENDIAN,))]


@dataclass(frozen=True, slots=True)
class _Displayed:
    """icc  profile of the pixels, to be embedded; None = none"""

    pixels: "NDArray[np.uint8]"
    icc: bytes | None


def rendering_key(targets: Sequence[FrameTarget], parameters: RenderingParameters, media_type: str) -> str:
    """32 hexadecimal digits that change whenever the rendered bytes may: with data, parameters, type, or our own version."""
    text = [__version__, media_type, repr(parameters)]
    text += [f"{' '.join(target.digests)} {target.frame_number} {target.region}" for target in targets]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:32]


async def is_illegible(archive: Archive, target: FrameTarget, parameters: RenderingParameters) -> bool:
    """Whether the font lacks characters of what is to be burned in. Raises NotFound, Unavailable."""
    if not parameters.annotation:
        return False
    attributes = (await with_attributes(archive, target.image)).attributes or {}
    # In a thread: the first one brings the libraries that draw.
    return await asyncio.to_thread(
        lambda: rendering.is_illegible(AttributeReader(attributes), target.frame_number, parameters.annotation)
    )


async def render_image(
    archive: Archive, target: FrameTarget, parameters: RenderingParameters, media_type: str
) -> bytes:
    """One image, encoded; made once for all who ask for it, and kept.

    Raises CodecError, NotAcceptable, InvalidParameter, NotFound, Unavailable.
    """

    async def make() -> bytes:
        async with archive.codec_threads.turns:
            display = await _prepare(archive, target, parameters, can_hold_profile=media_type in ICC_MEDIA_TYPES)

            def draw() -> bytes:
                shown = display()
                return rendering.encode_image(shown.pixels, media_type, quality=parameters.quality, icc=shown.icc)

            return await archive.codec_threads.run(draw)

    key = rendering_key([target], parameters, media_type)
    return await archive.cache.get_or_make(f"rendered {key}", make)


async def render_images(
    archive: Archive, targets: Sequence[FrameTarget], parameters: RenderingParameters, media_type: str
) -> AsyncIterator[tuple[FrameTarget, bytes]]:
    """Images in their order; the next ones are made while one is sent.

    One whose pixels cannot be decoded is left out, as long as there are others. Raises as `render_image`.
    """
    ahead: deque[tuple[FrameTarget, asyncio.Task[bytes]]] = deque()
    image: Renderable | None = None
    failures: list[CodecError] = []

    async def first() -> tuple[FrameTarget, bytes] | None:
        target, task = ahead.popleft()
        try:
            return target, await task
        except CodecError as error:
            failures.append(error)
            return None
        finally:
            task.cancel()

    try:
        for target in targets:
            if image is None or image.location is not target.image.location:
                image = await with_attributes(archive, target.image)
            work = render_image(archive, replace(target, image=image), parameters, media_type)
            ahead.append((target, asyncio.create_task(work)))
            if len(ahead) > _AHEAD and (made := await first()):
                yield made
        while ahead:
            if made := await first():
                yield made
        if failures and len(failures) == len(targets):
            raise failures[0]
    finally:
        for _, task in ahead:
            task.cancel()
        await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)


async def render_animation(
    archive: Archive, targets: Sequence[FrameTarget], parameters: RenderingParameters, media_type: str
) -> AsyncIterator[bytes]:
    """The frames of one image as a file that plays, piece by piece; no more than one frame is held at a time.

    One that cannot be decoded is left out, as long as there are others. Raises as `render_image`.
    """
    loop = asyncio.get_running_loop()
    image = await with_attributes(archive, targets[0].image)

    async def display(target: FrameTarget) -> "NDArray[np.uint8]":
        async with archive.codec_threads.turns:
            prepared = await _prepare(archive, replace(target, image=image), parameters, can_hold_profile=False)
            return (await archive.codec_threads.run(prepared)).pixels

    def frames() -> "Iterator[NDArray[np.uint8]]":
        failures: list[CodecError] = []
        for target in targets:
            try:
                pixels = asyncio.run_coroutine_threadsafe(display(target), loop).result()
            except CodecError as error:
                failures.append(error)
                continue
            yield pixels
        if failures and len(failures) == len(targets):
            raise failures[0]

    def encoded() -> Iterator[bytes]:
        yield from rendering.encode_animation(frames(), media_type, rendering.frame_time(image.attributes or {}))

    pieces = encoded()
    # A thread of its own: it waits for frames, which codec threads decode.
    thread = ThreadPoolExecutor(1, thread_name_prefix="animation")
    try:
        while (piece := await loop.run_in_executor(thread, next, pieces, None)) is not None:
            yield piece
    except (RuntimeError, ValueError) as error:
        raise CodecError(f"the images cannot be encoded as {media_type}") from error
    finally:
        thread.shutdown(wait=False)  # a reader that goes away does not wait for a frame that nobody wants


async def _prepare(
    archive: Archive, target: FrameTarget, parameters: RenderingParameters, *, can_hold_profile: bool
) -> Callable[[], _Displayed]:
    """Reads all that the image is made of; what is returned makes it, in a codec thread."""
    image = await with_attributes(archive, target.image)
    attributes = image.attributes or {}
    number = target.frame_number
    if number in image.located:
        delivery = plan_frames(image.location, locate_frames(image.index, [number]), [number], _NATIVE)
    else:
        delivery = await retrieve_frames(archive, image.ref, [number], _NATIVE)
    if delivery.image is None:
        raise CodecError("the size of the image is not known")
    if delivery.image.rows * delivery.image.columns > MAX_SOURCE_PIXELS:
        raise CodecError(f"images of more than {MAX_SOURCE_PIXELS} pixels are not rendered")
    values = await read_values(archive, image.ref, needed_bulkdata(attributes, number))
    source = RenderingSource(delivery.image, attributes, values)
    state = None if target.presentation is None else await open_presentation_state(archive, target.presentation)
    # What is kept is the rendered image, not what it is made of.
    (frame,) = [frame async for frame in read_frames(archive, delivery, keep=False)]
    profile = parameters.iccprofile if can_hold_profile else IccProfileChoice.NO

    def display() -> _Displayed:
        pixels = _rendered(frame, source, target, parameters, state)
        return _Displayed(*rendering.apply_icc_profile(pixels, source, profile, state))

    return display


def _rendered(
    frame: bytes,
    source: RenderingSource,
    target: FrameTarget,
    parameters: RenderingParameters,
    state: "PresentationState | None",
) -> "NDArray[np.uint8]":
    number = target.frame_number
    if target.region is None:
        return rendering.render_frame(frame, source, number, parameters, state)
    if state is None:
        viewport = _viewport_of(target.region, source.image.columns, source.image.rows, parameters.viewport)
        return rendering.render_frame(frame, source, number, replace(parameters, viewport=viewport))
    # The region is one of what the presentation state shows (PS3.18 9.5.2.4); annotations go on the result.
    whole = rendering.render_frame(frame, source, number, replace(parameters, viewport=None, annotation=()), state)
    rows, columns = whole.shape[:2]
    region = rendering.plan_region(columns, rows, _viewport_of(target.region, columns, rows, parameters.viewport))
    shown = rendering.resample(whole, region)
    return rendering.annotate(shown, source.reader, number, parameters.annotation)


def _viewport_of(
    region: tuple[float, float, float, float], columns: int, rows: int, viewport: Viewport | None
) -> Viewport:
    """Edges as fractions of an image as a viewport with a source region; at least a pixel, in its own size if none is given."""
    width, height = max(1.0, (region[2] - region[0]) * columns), max(1.0, (region[3] - region[1]) * rows)
    left, top = min(region[0] * columns, columns - width), min(region[1] * rows, rows - height)
    size = (round(width), round(height)) if viewport is None else (viewport.width, viewport.height)
    return Viewport(*size, left, top, width, height)
