"""What an instance is to a renderer: its category, its frames, its attributes; and which images a presentation state shows.

Known before any pixel is read, so that what cannot be rendered is said with a status, and that what has not changed since
costs look-ups only.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from app.db.locate import InstanceLocation
from app.db.locate_frames import locate_frames
from app.db.metadata import instance_metadata
from app.dicom import rendering
from app.dicom.frame_index import frame_count
from app.dicom.instance import INSTANCE_URL_MARK, DicomJson
from app.dicom.references import InstanceRef, is_uid
from app.dicom.rendering import Category, category_of, needed_bulkdata
from app.errors import CodecError, NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.bulkdata import list_bulkdata, open_bulkdata, read_bulkdata

if TYPE_CHECKING:
    from app.dicom.rendering import PresentationState

MAX_REFERENCED_IMAGES = 2_000  # that one presentation state may lead to
MAX_VALUE_BYTES = 64 * 1024 * 1024  # of palettes, overlays, profiles and texts that one rendering reads
_LOCATED = 8  # frames that are looked up together with the instance
_PARSED_ELSEWHERE = 128 * 1024  # bytes of metadata that are too many to parse between two other requests


@dataclass(frozen=True, slots=True)
class Renderable:
    """attributes   None until somebody needs them, see `with_attributes`
    frame_count  frames that are stored; 0 where there are no pixels
    index        of the frames, packed; known to hold those of `located`
    """

    location: InstanceLocation
    category: Category
    frame_count: int
    attributes: DicomJson | None = None
    index: bytes = b""
    located: tuple[int, ...] = ()

    @property
    def ref(self) -> InstanceRef:
        return self.location.ref


@dataclass(frozen=True, slots=True)
class FrameTarget:
    """One image to render: a frame, perhaps as a presentation state shows it.

    region  left, top, right and bottom edge of what is to be seen, as fractions of the rendered image, applied behind the
            presentation state (PS3.18 9.5.2.4); None = all of it
    """

    image: Renderable
    frame_number: int = 1
    presentation: Renderable | None = None
    region: tuple[float, float, float, float] | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """What the pixels depend on."""
        first = self.image.location.digest
        return (first,) if self.presentation is None else (first, self.presentation.location.digest)


async def find_renderable(archive: Archive, ref: InstanceRef, numbers: Sequence[int] = (1,)) -> Renderable:
    """numbers  of the frames that will be rendered, if that is known. Raises NotFound, Gone, Unavailable."""
    located = tuple(numbers[:_LOCATED])
    location, packed = await locate_frames(archive.db, ref, located)
    frames = frame_count(packed)
    # Pixels, and the SOP Class of presentation states, settle it without the metadata.
    sop_class: DicomJson = {"00080016": {"vr": "UI", "Value": [location.sop_class_uid]}}
    category = category_of(sop_class, location.transfer_syntax_uid, frames)
    if category is not Category.NONE:
        return Renderable(location, category, frames, index=packed, located=located)
    attributes = await read_attributes(archive, ref)
    return Renderable(location, category_of(attributes, location.transfer_syntax_uid, frames), frames, attributes)


async def read_attributes(archive: Archive, ref: InstanceRef) -> DicomJson:
    """The metadata of one instance, parsed. Raises NotFound, Gone, Unavailable."""
    text = (await instance_metadata(archive.db, ref)).replace(INSTANCE_URL_MARK, b"")
    loaded: DicomJson = (
        orjson.loads(text) if len(text) < _PARSED_ELSEWHERE else await asyncio.to_thread(orjson.loads, text)
    )
    return loaded


async def with_attributes(archive: Archive, renderable: Renderable) -> Renderable:
    """The same with its attributes. Raises NotFound, Gone, Unavailable."""
    if renderable.attributes is not None:
        return renderable
    return replace(renderable, attributes=await read_attributes(archive, renderable.ref))


async def read_values(archive: Archive, ref: InstanceRef, paths: Sequence[str]) -> dict[str, bytes]:
    """Values that the metadata names by URI. Raises CodecError when they are too large, NotFound, Unavailable."""
    if not paths:
        return {}
    wanted, left, values = set(paths), MAX_VALUE_BYTES, {}
    for delivery in await list_bulkdata(archive, ref, pixel_data_only=False):
        if delivery.item.path not in wanted or delivery.is_encapsulated:
            continue
        left -= delivery.item.length
        if left < 0:
            raise CodecError(f"palettes, overlays or texts of more than {MAX_VALUE_BYTES} bytes are not rendered")
        value = await open_bulkdata(archive, delivery)
        values[delivery.item.path] = b"".join([chunk async for chunk in read_bulkdata(archive, value)])
    return values


async def open_presentation_state(archive: Archive, renderable: Renderable) -> "PresentationState":
    """Raises NotAcceptable for kinds that cannot be rendered, CodecError, Unavailable."""
    attributes = (await with_attributes(archive, renderable)).attributes or {}
    values = await read_values(archive, renderable.ref, needed_bulkdata(attributes))
    # In a thread: the first one brings the libraries that draw.
    return await asyncio.to_thread(lambda: rendering.read_presentation_state(attributes, values))


async def presented_frames(archive: Archive, renderable: Renderable, *, most: int) -> list[FrameTarget]:
    """Every frame that a presentation state refers to, in the order of PS3.18 8.3.5.1.6, `most` of them.

    Raises NotAcceptable when there are more, when one is not in the archive, or for kinds that cannot be rendered.
    """
    renderable = await with_attributes(archive, renderable)
    state = await open_presentation_state(archive, renderable)
    if len(state.references) > MAX_REFERENCED_IMAGES:
        raise NotAcceptable(f"the presentation state refers to more than {MAX_REFERENCED_IMAGES} images")
    study = renderable.ref.study_instance_uid
    found: list[tuple[tuple[tuple[float, ...], ...], FrameTarget]] = []
    for reference in state.references:
        image = await _referenced_image(archive, study, reference.series_instance_uid, reference.sop_instance_uid)
        numbers = reference.frame_numbers or tuple(range(1, image.frame_count + 1))
        if len(found) + len(numbers) > most:
            raise NotAcceptable(f"the presentation state refers to more than {most} frames")
        attributes = await read_attributes(archive, image.ref)
        for number in numbers:
            if number > image.frame_count:
                raise NotAcceptable(f"the presentation state refers to frame {number} of {image.frame_count}")
            found.append((rendering.display_order(attributes, number), FrameTarget(image, number, renderable)))
    return [target for _, target in sorted(found, key=lambda one: one[0])]


async def _referenced_image(archive: Archive, study: str, series: str, instance: str) -> Renderable:
    missing = "an image that the presentation state refers to is not in the archive"
    if not (is_uid(series) and is_uid(instance)):
        raise NotAcceptable(missing)
    try:
        image = await find_renderable(archive, InstanceRef(study, series, instance))
    except NotFound as error:
        raise NotAcceptable(missing) from error
    if image.category not in (Category.SINGLE_FRAME, Category.MULTI_FRAME):
        raise NotAcceptable("the presentation state refers to what is not an image")
    return image


def all_frames(image: Renderable) -> list[FrameTarget]:
    return [FrameTarget(image, number) for number in range(1, image.frame_count + 1)]


def frames_of(image: Renderable, numbers: Sequence[int]) -> list[FrameTarget]:
    """Frames by number. Raises NotFound for what is not there, NotAcceptable for frames of videos."""
    if not image.frame_count:
        raise NotFound("the instance has no frames")
    for number in numbers:
        if number > image.frame_count:
            raise NotFound(f"there is no frame {number}: the instance has {image.frame_count}")
    if image.category is Category.VIDEO:
        raise NotAcceptable("a video is rendered as a whole: its frames cannot be had one by one")
    return [FrameTarget(image, number) for number in numbers]
