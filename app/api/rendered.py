"""WADO-RS Retrieve of rendered resources (PS3.18 10.4.1.1.3): frames, instances, series and studies as people see them."""

import hashlib
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.caching import unchanged, validators
from app.api.dependencies import accept_of, accept_parameter_of, door_of, instance_in, reference_in, service_url
from app.api.openapi import ACCEPT_PARAMETER, QUALITY, charset_parameter, describe, parameter
from app.api.rendered_bodies import (
    Parts,
    answer_animation,
    answer_image,
    answer_images,
    answer_stream,
    answer_text,
    image_parts,
    multipart_answer,
    stream_parts,
    text_parts,
    with_warnings,
)
from app.db.locate import InstanceLocation, locate_instances
from app.dicom.references import parse_frame_list
from app.dicom.rendering import IMAGE_MEDIA_TYPES, SUPPORTED_ANNOTATIONS, Category, IccProfileChoice
from app.dicomweb.conditional import weak_etag
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.dicomweb.rendering_parameters import RenderingQuery, parse_rendering_parameters
from app.errors import CodecError, DicomError, InvalidParameter, InvalidRequest, NotAcceptable, NotFound
from app.services.metadata import metadata_version
from app.services.renderables import FrameTarget, Renderable, all_frames, find_renderable, frames_of, presented_frames

router = APIRouter(tags=["WADO-RS"])

_STUDY = "/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
_FRAMES = f"{_INSTANCE}/frames/{{frames}}"
_INSTANCE_TYPES = (
    *IMAGE_MEDIA_TYPES, "video/mp4", "video/mpeg", "text/html", "text/plain", "text/xml", "application/pdf",
    'multipart/related; type="image/jpeg"',
)  # fmt: skip
_COLLECTION_TYPES = ('multipart/related; type="image/jpeg"', 'multipart/related; type="text/html"')
PARAMETERS = [
    ACCEPT_PARAMETER,
    parameter(
        "annotation",
        "What to burn in: `patient`, `technique` or both, separated by commas (8.3.5.1.1). Letters beyond ASCII are boxes, "
        "which a Warning header says.",
        {"type": "string", "examples": list(SUPPORTED_ANNOTATIONS)},
    ),
    parameter(
        "quality",
        f"From 1 to 100, the best (8.3.5.1.2): {QUALITY}.",
        {"type": "integer", "minimum": 1, "maximum": 100},
    ),
    parameter("viewport", "`vw,vh[,[sx],[sy],[sw],[sh]]`: size, source region, flips (8.3.5.1.3)."),
    parameter("window", "`center,width,function`; `linear`, `linear-exact` or `sigmoid` (8.3.5.1.4)."),
    parameter(
        "iccprofile",
        "`no`, `yes`, `srgb`, `adobergb` or `rommrgb` (8.3.5.1.5).",
        {"type": "string", "enum": [str(choice) for choice in IccProfileChoice]},
    ),
    charset_parameter("8.3.3.2"),
]

RESOURCE_OF = {
    Category.SINGLE_FRAME: Resource.RENDERED_SINGLE_FRAME,
    Category.MULTI_FRAME: Resource.RENDERED_MULTI_FRAME,
    Category.PRESENTATION_STATE: Resource.RENDERED_SINGLE_FRAME,
    Category.VIDEO: Resource.RENDERED_VIDEO,
    Category.TEXT: Resource.RENDERED_TEXT,
    Category.DOCUMENT: Resource.RENDERED_DOCUMENT,
}
# An instance among others that cannot be rendered, or not in what is accepted, is left out.
_LEFT_OUT = (NotAcceptable, CodecError, DicomError, InvalidRequest, NotFound)


def _describe(path: str, media_types: tuple[str, ...]) -> dict[str, object]:
    return describe(f"{path}/rendered", parameters=PARAMETERS, media_types=media_types)


@router.get(f"{_FRAMES}/rendered", name="retrieve_rendered_frames", openapi_extra=_describe(_FRAMES, IMAGE_MEDIA_TYPES))
async def rendered_frames(request: Request) -> Response:
    """Frames as images: one as it is, more as a multipart message."""
    door = door_of(request)
    numbers = parse_frame_list(request.path_params["frames"], limit=door.max_frames_per_request)
    query = parse_rendering_parameters(request.query_params.multi_items())
    ref = instance_in(request)
    representation = _negotiate(request, Resource.RENDERED_SINGLE_FRAME, item_count=len(numbers))[0]
    targets = frames_of(await find_renderable(door.archive, ref, numbers), numbers)
    if representation.multipart:
        return await answer_images(request, targets, representation.media_type, query)
    return await answer_image(request, targets[0], representation.media_type, query)


@router.get(
    f"{_INSTANCE}/rendered", name="retrieve_rendered_instance", openapi_extra=_describe(_INSTANCE, _INSTANCE_TYPES)
)
async def rendered_instance(request: Request) -> Response:
    """An image, every frame of a multi-frame image, a report, a document, a video, or what a presentation state shows."""
    query = parse_rendering_parameters(request.query_params.multi_items())
    renderable = await find_renderable(door_of(request).archive, instance_in(request))
    resource = _resource(renderable)
    if renderable.category in (Category.VIDEO, Category.DOCUMENT):
        return await answer_stream(request, renderable, _negotiate(request, resource, item_count=1), query)
    if renderable.category is Category.TEXT:
        return await answer_text(request, renderable, _negotiate(request, resource, item_count=1)[0], query)
    targets = await _targets(request, renderable, query)
    items = 1 if renderable.category is Category.MULTI_FRAME else len(targets)
    representation = _negotiate(request, resource, item_count=items)[0]
    if representation.multipart:
        return await answer_images(request, targets, representation.media_type, query)
    if renderable.category is Category.MULTI_FRAME:
        return await answer_animation(request, targets, representation.media_type, query)
    return await answer_image(request, targets[0], representation.media_type, query)


@router.get(f"{_SERIES}/rendered", name="retrieve_rendered_series", openapi_extra=_describe(_SERIES, _COLLECTION_TYPES))
@router.get(f"{_STUDY}/rendered", name="retrieve_rendered_study", openapi_extra=_describe(_STUDY, _COLLECTION_TYPES))
async def rendered_collection(request: Request) -> Response:
    """Every instance that can be rendered, one part for each image, report, document or video."""
    archive = door_of(request).archive
    ref = reference_in(request)
    query = parse_rendering_parameters(request.query_params.multi_items())
    _refuse_unusable(request)
    version = await metadata_version(archive, ref)
    charsets = ",".join(request.headers.getlist("accept-charset"))
    asked = "\n".join(
        (accept_of(request) or "", charsets, repr(request.query_params.multi_items()), service_url(request))
    )
    etag = weak_etag(version.tag, hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()[:16])
    headers = with_warnings(request, validators(etag, version.modified), query)
    headers["Vary"] = "Accept, Accept-Charset"
    if answer := unchanged(request, etag, None, headers):
        return answer
    locations = await locate_instances(archive.db, ref)
    return await multipart_answer(_collection(request, locations, query), headers)


async def _collection(request: Request, locations: Sequence[InstanceLocation], query: RenderingQuery) -> Parts:
    """One instance after the other: nothing is held but the part that is sent."""
    failure: Exception | None = None
    is_empty = True
    for location in locations:
        parts = _parts_of(request, location, query)
        try:
            first = await anext(parts)
        except _LEFT_OUT as error:
            # A parameter that fits no image is the client's mistake; otherwise the first reason is as good as any.
            if failure is None or (isinstance(error, InvalidRequest) and not isinstance(failure, InvalidRequest)):
                failure = error
            continue
        except StopAsyncIteration:
            continue
        is_empty = False
        yield first
        async for part in parts:
            yield part
    if is_empty:
        if isinstance(failure, InvalidRequest):
            raise failure
        raise NotAcceptable(f"nothing here can be rendered in what is accepted: {failure or 'there is nothing'}")


async def _parts_of(request: Request, location: InstanceLocation, query: RenderingQuery) -> Parts:
    renderable = await find_renderable(door_of(request).archive, location.ref)
    representations = _negotiate(request, _resource(renderable), item_count=None)
    if renderable.category in (Category.VIDEO, Category.DOCUMENT):
        parts = stream_parts(request, renderable, representations)
    elif renderable.category is Category.TEXT:
        parts = text_parts(request, renderable, representations[0])
    else:
        targets = await _targets(request, renderable, query)
        parts = image_parts(request, targets, representations[0].media_type, query)
    async for part in parts:
        yield part


async def _targets(request: Request, renderable: Renderable, query: RenderingQuery) -> list[FrameTarget]:
    """Every image of an instance. Raises NotAcceptable, InvalidParameter."""
    door = door_of(request)
    if renderable.category is Category.PRESENTATION_STATE:
        refuse_with_presentation_state(query)
        return await presented_frames(door.archive, renderable, most=door.max_frames_per_request)
    if renderable.frame_count > door.max_frames_per_request:
        raise NotAcceptable(f"more than {door.max_frames_per_request} frames: ask for them by number")
    return all_frames(renderable)


def refuse_with_presentation_state(query: RenderingQuery) -> None:
    """A presentation state has a window and a displayed area of its own (PS3.18 8.3.5.1.3, 8.3.5.1.4).

    Raises InvalidParameter.
    """
    if query.parameters.window is not None:
        raise InvalidParameter("a presentation state has its own window (PS3.18 8.3.5.1.4)")
    if query.has_source_region:
        raise InvalidParameter("of a presentation state only the size can be chosen (PS3.18 8.3.5.1.3)")


def _resource(renderable: Renderable) -> Resource:
    if renderable.category not in RESOURCE_OF:
        raise NotAcceptable("objects of this kind cannot be rendered: they are neither images nor text")
    return RESOURCE_OF[renderable.category]


def _negotiate(request: Request, resource: Resource, *, item_count: int | None) -> tuple[Representation, ...]:
    return negotiate(
        resource,
        accept_of(request),
        accept_parameter_of(request),
        strict=door_of(request).strict_accept,
        item_count=item_count,
    )


def _refuse_unusable(request: Request) -> None:
    """What is wrong with the Accept header of a whole series is so for each instance: 400 before anything is looked up."""
    try:
        _negotiate(request, Resource.RENDERED_SINGLE_FRAME, item_count=None)
    except NotAcceptable:
        return  # images are not accepted; reports may be
