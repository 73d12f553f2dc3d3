"""The URI service (PS3.18 chapter 9), known as WADO-URI: one instance by query parameters, as it is or rendered."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.dependencies import accept_of, alternatives_of, door_of
from app.api.openapi import charset_parameter, describe, parameter
from app.api.rendered_bodies import answer_animation, answer_image, answer_stream, answer_text
from app.api.retrieve import answer_instance, or_as_stored
from app.dicom.rendering import ANIMATION_MEDIA_TYPES, Category, encapsulated_document
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.dicomweb.resources import DICOM, RENDERED_TYPES
from app.dicomweb.wado_uri import UriQuery, parse_uri_query
from app.errors import InvalidParameter, NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.renderables import (
    FrameTarget,
    Renderable,
    all_frames,
    find_renderable,
    open_presentation_state,
)
from app.services.retrieve import InstanceDelivery, retrieve_instances
from app.services.syntaxes import Alternative

router = APIRouter(tags=["WADO-URI"])

_INTEGER = {"type": "integer", "minimum": 1}
_DESCRIPTION = describe(
    "/wado",
    parameters=[
        parameter("requestType", "`WADO` (9.1.2.1.1).") | {"required": True},
        parameter("studyUID", "Study Instance UID.") | {"required": True},
        parameter("seriesUID", "Series Instance UID.") | {"required": True},
        parameter("objectUID", "SOP Instance UID.") | {"required": True},
        parameter("contentType", "`application/dicom`, or rendered media types, separated by commas (9.1.2.2.1)."),
        charset_parameter("9.1.2.2.2"),
        parameter("anonymize", "Refused: this server does not alter what is stored (9.4.2.3)."),
        parameter("transferSyntax", "For application/dicom; Explicit VR Little Endian where absent (9.4.2.4)."),
        parameter("frameNumber", "Of a multi-frame image, from 1 (9.5.2.1).", _INTEGER),
        parameter("imageAnnotation", "What to burn in: `patient`, `technique` (9.5.2.2)."),
        parameter("imageQuality", "From 1 to 100, the best (9.5.2.3), as `quality` is.", {**_INTEGER, "maximum": 100}),
        parameter("rows", "Most rows of the rendered image (9.5.2.5).", _INTEGER),
        parameter("columns", "Most columns of the rendered image (9.5.2.5).", _INTEGER),
        parameter("region", "`xmin,ymin,xmax,ymax` from 0 to 1 (9.5.2.4)."),
        parameter("windowCenter", "With windowWidth (9.5.1.2.6).", {"type": "number"}),
        parameter("windowWidth", "With windowCenter (9.5.1.2.6).", {"type": "number"}),
        parameter("presentationSeriesUID", "With presentationUID: series of the presentation state."),
        parameter("presentationUID", "With presentationSeriesUID: the presentation state to render through."),
    ],
    media_types=("image/jpeg", "image/png", "image/gif", "text/html", "application/pdf", "video/mp4", DICOM),
)

_RESOURCE_OF = {
    Category.SINGLE_FRAME: Resource.URI_IMAGE,
    Category.MULTI_FRAME: Resource.URI_IMAGE,
    Category.VIDEO: Resource.URI_VIDEO,
    Category.TEXT: Resource.URI_TEXT,
    Category.DOCUMENT: Resource.URI_DOCUMENT,
}


@router.get("/wado", name="wado_uri", openapi_extra=_DESCRIPTION)
async def wado_uri(request: Request) -> Response:
    """One instance: rendered as an image or as text, or as a PS3.10 file."""
    archive = door_of(request).archive
    query = parse_uri_query(request.query_params.multi_items())
    if query.anonymizes:
        # Silence would hand out the patient's name to somebody who asked not to get it.
        raise NotAcceptable("anonymize=yes is not supported: nothing is given out in place of it (PS3.18 9.4.2.3)")
    renderable = await find_renderable(archive, query.ref)
    representations = negotiate(
        Resource.URI_OTHER if query.names_dicom else _resource(renderable),
        accept_of(request),
        query.content_type,
        strict=door_of(request).strict_accept and query.content_type is None,
    )
    if representations[0].media_type == DICOM:
        return await _dicom(request, archive, query, representations)
    if query.frame_number is not None and renderable.category is not Category.MULTI_FRAME:
        raise InvalidParameter("frameNumber is for multi-frame images (PS3.18 9.5.2.1)")
    if renderable.category in (Category.VIDEO, Category.DOCUMENT):
        return await answer_stream(request, renderable, representations, query.rendering)
    if renderable.category is Category.TEXT:
        return await answer_text(request, renderable, representations[0], query.rendering)
    return await _image(request, archive, query, renderable, representations[0].media_type)


def _resource(renderable: Renderable) -> Resource:
    """Models for printing are documents, but not of a kind that is rendered: they come as they are (Table 9.3-1)."""
    if renderable.category is Category.DOCUMENT:
        document = encapsulated_document(renderable.attributes or {})
        if document is None or document.media_type not in RENDERED_TYPES:
            return Resource.URI_OTHER
    return _RESOURCE_OF.get(renderable.category, Resource.URI_OTHER)


async def _dicom(
    request: Request, archive: Archive, query: UriQuery, representations: tuple[Representation, ...]
) -> Response:
    if query.rendering.parameters.window is not None:
        raise InvalidParameter("windowCenter and windowWidth are for rendered images (PS3.18 9.5.1.2.6)")
    if query.transfer_syntax is None:
        alternatives = alternatives_of([one for one in representations if one.media_type == DICOM])
    else:
        alternatives = [Alternative((query.transfer_syntax,), allows_loss=True)]
    index, (delivery,) = await retrieve_instances(archive, query.ref, alternatives)

    async def answer(_index: int, delivery: InstanceDelivery) -> Response:
        return await answer_instance(request, archive, delivery)

    return await or_as_stored(answer, index, delivery, alternatives)


async def _image(request: Request, archive: Archive, query: UriQuery, image: Renderable, media_type: str) -> Response:
    """One frame; all of them where the media type plays and none is named."""
    if query.frame_number is not None and query.frame_number > image.frame_count:
        raise InvalidParameter(f"there is no frame {query.frame_number}: the image has {image.frame_count}")
    if query.presentation is not None:
        presentation, number = await _presentation(archive, query, image)
        target = FrameTarget(image, number, presentation, query.region)
        return await answer_image(request, target, media_type, query.rendering)
    plays = image.category is Category.MULTI_FRAME and media_type in ANIMATION_MEDIA_TYPES
    if plays and query.frame_number is None:
        if image.frame_count > door_of(request).max_frames_per_request:
            raise NotAcceptable("there are too many frames for one file: ask for them by frameNumber")
        targets = [FrameTarget(image, one.frame_number, region=query.region) for one in all_frames(image)]
        return await answer_animation(request, targets, media_type, query.rendering)
    target = FrameTarget(image, query.frame_number or 1, region=query.region)
    return await answer_image(request, target, media_type, query.rendering)


async def _presentation(archive: Archive, query: UriQuery, image: Renderable) -> tuple[Renderable, int]:
    """The presentation state, and the first frame of the image that it refers to. Raises InvalidParameter."""
    unknown = InvalidParameter("presentationUID names no presentation state of this study that refers to the image")
    if query.presentation is None:
        raise unknown
    try:
        found = await find_renderable(archive, query.presentation)
    except NotFound as error:
        raise unknown from error
    if found.category is not Category.PRESENTATION_STATE:
        raise unknown
    for reference in (await open_presentation_state(archive, found)).references:
        if reference.sop_instance_uid == image.ref.sop_instance_uid:
            number = reference.frame_numbers[0] if reference.frame_numbers else 1
            if number > image.frame_count:
                raise unknown
            return found, number
    raise unknown
