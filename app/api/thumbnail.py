"""WADO-RS Retrieve of thumbnails (PS3.18 10.4.1.1.4): one small image for a study, a series, an instance or frames."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.caching import unchanged, validators
from app.api.dependencies import accept_of, accept_parameter_of, door_of, reference_in, service_url
from app.api.openapi import ACCEPT_PARAMETER, describe, parameter
from app.api.responses import bytes_response
from app.dicom.references import InstanceRef, parse_frame_list, resource_path
from app.dicomweb.conditional import strong_etag
from app.dicomweb.negotiation import Resource, negotiate
from app.dicomweb.rendering_parameters import parse_thumbnail_viewport
from app.services.renderables import FrameTarget
from app.services.rendering import rendering_key
from app.services.thumbnails import draw_thumbnail, find_thumbnail, thumbnail_parameters

router = APIRouter(tags=["WADO-RS"])

_STUDY = "/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
_FRAMES = f"{_INSTANCE}/frames/{{frames}}"
_PARAMETERS = [ACCEPT_PARAMETER, parameter("viewport", "`vw,vh`: the size to fit in (8.3.5.2).")]
_TYPES = ("image/jpeg", "image/png", "image/gif", "image/jp2", "image/jph", "image/jxl")


def _describe(path: str) -> dict[str, object]:
    return describe(f"{path}/thumbnail", parameters=_PARAMETERS, media_types=_TYPES)


@router.get(f"{_STUDY}/thumbnail", name="retrieve_study_thumbnail", openapi_extra=_describe(_STUDY))
@router.get(f"{_SERIES}/thumbnail", name="retrieve_series_thumbnail", openapi_extra=_describe(_SERIES))
@router.get(f"{_INSTANCE}/thumbnail", name="retrieve_instance_thumbnail", openapi_extra=_describe(_INSTANCE))
@router.get(f"{_FRAMES}/thumbnail", name="retrieve_frames_thumbnail", openapi_extra=_describe(_FRAMES))
async def thumbnail(request: Request) -> Response:
    """The middle frame of the middle image, without a word about the patient; a drawn sheet for what has no pixels."""
    door = door_of(request)
    ref = reference_in(request)
    frames = request.path_params.get("frames")
    numbers = parse_frame_list(frames, limit=door.max_frames_per_request) if frames is not None else ()
    parameters = thumbnail_parameters(parse_thumbnail_viewport(request.query_params.multi_items()))
    media_type = negotiate(
        Resource.THUMBNAIL, accept_of(request), accept_parameter_of(request), strict=door.strict_accept
    )[0].media_type
    found = await find_thumbnail(door.archive, ref, numbers)
    shown = found.target or FrameTarget(found.subject, 0)
    etag = strong_etag("thumbnail", rendering_key([shown], parameters, media_type))
    modified = shown.image.location.created_at
    headers = validators(etag, modified)
    headers["Content-Location"] = f"{service_url(request)}{resource_path(found.subject.ref)}"
    if answer := unchanged(request, etag, modified if isinstance(ref, InstanceRef) else None, headers):
        return answer
    drawn = await draw_thumbnail(door.archive, found, parameters, media_type)
    if drawn.is_substitute:
        headers = {"Cache-Control": "no-store", "Vary": "Accept", "Content-Location": headers["Content-Location"]}
    return bytes_response(drawn.data, media_type, headers=headers)
