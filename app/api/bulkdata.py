"""WADO-RS Retrieve of bulkdata: one value by its URI (PS3.18 10.4.1.1.5)."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.caching import shown_only, unchanged, validators
from app.api.dependencies import (
    accept_of,
    accept_parameter_of,
    alternatives_of,
    door_of,
    instance_in,
    service_url,
)
from app.api.frames import answer_frames
from app.api.multipart import Part, multipart_of_known
from app.api.openapi import ACCEPT_PARAMETER, OCTETS, describe
from app.api.ranges import ranged_response
from app.api.responses import primed
from app.dicom.layout import InstanceLayout
from app.dicom.references import resource_path
from app.dicom.transfer_syntaxes import AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from app.dicomweb.conditional import strong_etag
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.dicomweb.resources import DOCUMENT_TYPES
from app.errors import NotAcceptable
from app.services.archive import Archive
from app.services.bulkdata import (
    ENCAPSULATED_DOCUMENT,
    BulkdataDelivery,
    mime_type,
    open_bulkdata,
    read_bulkdata,
    retrieve_bulkdata,
)
from app.services.frames import retrieve_frames

router = APIRouter(tags=["WADO-RS"])

_ITEM = "/studies/{study}/series/{series}/instances/{instance}/bulkdata/{path}"
OCTET_STREAM = "application/octet-stream"


@router.get(
    _ITEM,
    name="retrieve_bulkdata",
    openapi_extra=describe(_ITEM, parameters=[ACCEPT_PARAMETER], media_types=(OCTET_STREAM, OCTETS)),
)
async def bulkdata(request: Request) -> Response:
    """The value that a BulkDataURI of the metadata names."""
    door = door_of(request)
    archive = door.archive
    delivery = await retrieve_bulkdata(archive, instance_in(request), request.path_params["path"])
    url = f"{service_url(request)}{path_of(delivery)}"
    representations = () if delivery.is_encapsulated else _negotiate(request, item_count=1)
    if delivery.is_encapsulated or wants_frames(delivery, representations):
        # Compressed pixel data as a whole is its frames, one part each; a video is one part (PS3.18 8.7.3.3.2).
        numbers = frame_numbers(delivery)
        representations = _negotiate(request, item_count=len(numbers))
        frames = await retrieve_frames(archive, delivery.location.ref, numbers, alternatives_of(representations))
        return await answer_frames(request, archive, frames, representations, location=url)
    representation, content_type = await _typed(archive, delivery, representations)
    value = await open_bulkdata(archive, delivery)
    modified = delivery.location.created_at
    if representation.multipart:
        body = await primed(read_bulkdata(archive, value))
        part = Part(content_type, url, value.size)
        return multipart_of_known([part], body, None, representation.media_type, validators(None, modified))
    kind = content_type if value.text is None else f"{content_type} UTF-8"
    etag = strong_etag(delivery.location.digest[:32], delivery.item.path, kind)
    headers = validators(etag, modified) | {"Content-Location": url, **shown_only(content_type)}
    if answer := unchanged(request, etag, modified, headers):
        return answer
    return await ranged_response(
        request,
        lambda offset, length: read_bulkdata(archive, value, offset, length),
        size=value.size,
        media_type=content_type,
        etag=etag,
        modified=modified,
        headers=headers,
    )


def _negotiate(request: Request, *, item_count: int) -> tuple[Representation, ...]:
    return negotiate(
        Resource.BULKDATA_ITEM,
        accept_of(request),
        accept_parameter_of(request),
        strict=door_of(request).strict_accept,
        item_count=item_count,
    )


def wants_frames(delivery: BulkdataDelivery, representations: Sequence[Representation]) -> bool:
    """Whether native pixel data is to be compressed: that is done frame by frame (PS3.18 8.7.3.3.2)."""
    best = representations[0]
    if delivery.item.path != "7FE00010" or best.media_type in DOCUMENT_TYPES:
        return False
    if InstanceLayout.from_json(delivery.location.layout).image is None:  # it has none
        return False
    return best.media_type != OCTET_STREAM or not {AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN} & {*best.transfer_syntaxes}


def frame_numbers(delivery: BulkdataDelivery) -> range:
    image = InstanceLayout.from_json(delivery.location.layout).image
    if image is None or transfer_syntax(delivery.location.transfer_syntax_uid).is_video:
        return range(1, 2)
    return range(1, image.number_of_frames + 1)


async def _typed(
    archive: Archive, delivery: BulkdataDelivery, representations: Sequence[Representation]
) -> tuple[Representation, str]:
    """The representation of a value and its Content-Type: the document's own type where it is asked for, else `as_it_lies`."""
    for representation in representations:
        is_document = representation.media_type in DOCUMENT_TYPES and delivery.item.path == ENCAPSULATED_DOCUMENT
        if is_document and representation.media_type == await mime_type(archive, delivery.location.ref):
            return representation, representation.media_type
        if takes(representation, delivery):
            break
    return as_it_lies(delivery, representations)


def as_it_lies(delivery: BulkdataDelivery, representations: Sequence[Representation]) -> tuple[Representation, str]:
    """The representation of a value that nothing is made of, and its Content-Type: octets, or the type of compressed ones.

    Raises NotAcceptable.
    """
    for representation in representations:
        if takes(representation, delivery):
            return representation, f"{representation.media_type}; transfer-syntax={delivery.transfer_syntax_uid}"
    media_type = transfer_syntax(delivery.transfer_syntax_uid).media_type
    types = ", ".join(filter(None, (media_type, OCTET_STREAM)))
    raise NotAcceptable(
        f"bulkdata {delivery.item.path} can be had as {types} in transfer syntax {delivery.transfer_syntax_uid}, "
        "an encapsulated document as the type that it is"
    )


def takes(representation: Representation, delivery: BulkdataDelivery) -> bool:
    """Whether a representation may be the bytes as they lie: native ones are little endian, icons stay compressed."""
    uid = delivery.transfer_syntax_uid
    if uid == EXPLICIT_VR_LITTLE_ENDIAN:
        return representation.media_type == OCTET_STREAM
    named = representation.media_type in (OCTET_STREAM, transfer_syntax(uid).media_type)
    return named and bool({AS_STORED, uid} & {*representation.transfer_syntaxes})


def path_of(delivery: BulkdataDelivery) -> str:
    return f"{resource_path(delivery.location.ref)}/bulkdata/{delivery.item.path}"
