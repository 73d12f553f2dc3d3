"""One small image for an instance, a series or a study (PS3.18 8.3.5.2): of its middle frame, of its middle image.

What has no pixels, or none that can be shown, is drawn as a sheet with the kind of object on it; never with what is known of
the patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from app.db.locate import InstanceLocation, locate_instances
from app.dicom import rendering
from app.dicom.layout import InstanceLayout
from app.dicom.references import InstanceRef, Reference
from app.dicom.rendering import (
    Category,
    RenderingParameters,
    Viewport,
    is_presentation_state,
    representative_frame,
    stock_label,
    thumbnail_viewport,
)
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.errors import CodecError, NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.renderables import (
    FrameTarget,
    Renderable,
    find_renderable,
    frames_of,
    presented_frames,
    with_attributes,
)
from app.services.rendering import render_image

_IMAGES = (Category.SINGLE_FRAME, Category.MULTI_FRAME)
_VIDEO_LABEL = "VIDEO"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """target  the frame that is shown small; None = a sheet with a word for `subject`"""

    subject: Renderable
    target: FrameTarget | None


@dataclass(frozen=True, slots=True)
class DrawnThumbnail:
    """is_substitute  the pixels could not be shown this time: what was drawn in their place should not be kept"""

    data: bytes
    is_substitute: bool = False


async def find_thumbnail(archive: Archive, ref: Reference, numbers: Sequence[int] = ()) -> Thumbnail:
    """What represents a resource; of an instance, one of the frames `numbers`. Raises NotFound, Gone, Unavailable."""
    if not isinstance(ref, InstanceRef):
        ref = _representative(await locate_instances(archive.db, ref)).ref
    subject = await find_renderable(archive, ref)
    if numbers:
        if subject.category is Category.VIDEO:
            return Thumbnail(subject, None)
        targets = frames_of(subject, numbers)
        return Thumbnail(subject, targets[len(targets) // 2])
    if subject.category in _IMAGES:
        return Thumbnail(subject, FrameTarget(subject, representative_frame(subject.frame_count)))
    if subject.category is Category.PRESENTATION_STATE:
        return Thumbnail(subject, await _presented(archive, subject))
    return Thumbnail(subject, None)


def thumbnail_parameters(viewport: Viewport | None) -> RenderingParameters:
    """Raises InvalidParameter when the viewport is more than a size."""
    return RenderingParameters(viewport=thumbnail_viewport(viewport))


async def draw_thumbnail(
    archive: Archive, thumbnail: Thumbnail, parameters: RenderingParameters, media_type: str
) -> DrawnThumbnail:
    """Raises NotFound when the instance is gone meanwhile, Unavailable."""
    if thumbnail.target is not None:
        try:
            return DrawnThumbnail(await render_image(archive, thumbnail.target, parameters, media_type))
        except (CodecError, NotAcceptable):
            sheet = await _sheet(archive, thumbnail.subject, parameters, media_type)
            return DrawnThumbnail(sheet, is_substitute=True)
    return DrawnThumbnail(await _sheet(archive, thumbnail.subject, parameters, media_type))


async def _sheet(archive: Archive, subject: Renderable, parameters: RenderingParameters, media_type: str) -> bytes:
    attributes = (await with_attributes(archive, subject)).attributes or {}
    label = _VIDEO_LABEL if subject.category is Category.VIDEO else stock_label(attributes)
    return await archive.codec_threads.run(
        lambda: rendering.encode_image(rendering.stock_thumbnail(label, parameters.viewport), media_type)
    )


async def _presented(archive: Archive, subject: Renderable) -> FrameTarget | None:
    """The middle image that a presentation state refers to, without it: its graphics may name the patient."""
    try:
        targets = await presented_frames(archive, subject, most=10_000)
    except (NotAcceptable, CodecError, NotFound):
        return None
    middle = targets[len(targets) // 2]
    return FrameTarget(middle.image, middle.frame_number)


def _representative(locations: Sequence[InstanceLocation]) -> InstanceLocation:
    """The middle image of the first series that has images, else the middle instance of the first series."""
    series = [list(group) for _, group in groupby(locations, key=lambda one: one.ref.series_instance_uid)]
    for group in series:
        images = [one for one in group if _has_image(one)]
        if images:
            return images[len(images) // 2]
    return series[0][len(series[0]) // 2]


def _has_image(location: InstanceLocation) -> bool:
    syntax = TRANSFER_SYNTAXES.get(location.transfer_syntax_uid)
    if (syntax is not None and syntax.is_video) or is_presentation_state(location.sop_class_uid):
        return False
    layout = InstanceLayout.from_json(location.layout)
    return layout.pixel_data is not None and layout.image is not None
