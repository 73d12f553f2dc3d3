"""WADO-RS Retrieve of bulkdata: one value by its URI, or all of a resource (PS3.18 10.4.1.1.5 and 10.4.1.1.6)."""

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.caching import unchanged, validators
from app.api.dependencies import (
    accept_of,
    accept_parameter_of,
    alternatives_of,
    door_of,
    instance_in,
    reference_in,
    service_url,
)
from app.api.frames import answer_frames
from app.api.multipart import Part, multipart_of_known, multipart_of_streams
from app.api.openapi import ACCEPT_PARAMETER, OCTETS, describe
from app.api.ranges import ranged_response
from app.api.responses import once, primed
from app.db.locate import locate_instances
from app.dicom.layout import InstanceLayout
from app.dicom.references import Reference, resource_path
from app.dicom.transfer_syntaxes import AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from app.dicomweb.conditional import strong_etag
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.dicomweb.resources import DOCUMENT_TYPES
from app.errors import NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.bulkdata import (
    ENCAPSULATED_DOCUMENT,
    BulkdataDelivery,
    list_bulkdata,
    mime_type,
    read_bulkdata,
    retrieve_bulkdata,
)
from app.services.frames import read_frames, retrieve_frames

router = APIRouter(tags=["WADO-RS"])

_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"
_LEVELS = ("/studies/{study}", "/studies/{study}/series/{series}", _INSTANCE)
_ITEM = f"{_INSTANCE}/bulkdata/{{path}}"
OCTET_STREAM = "application/octet-stream"


@router.get(
    _ITEM,
    name="retrieve_bulkdata",
    openapi_extra=describe(_ITEM, parameters=[ACCEPT_PARAMETER], media_types=(OCTET_STREAM, OCTETS)),
)
async def bulkdata(request: Request) -> Response:
    """The value that a BulkDataURI of the metadata names."""
    door = door_of(request)
    delivery = await retrieve_bulkdata(door.archive, instance_in(request), request.path_params["path"])
    if delivery.is_encapsulated:
        return await _encapsulated(request, door.archive, delivery)
    representations = negotiate(
        Resource.BULKDATA_ITEM,
        accept_of(request),
        accept_parameter_of(request),
        strict=door.strict_accept,
        item_count=1,
    )
    if _wants_frames(delivery, representations):
        return await _encapsulated(request, door.archive, delivery)
    representation, content_type = await _typed(door.archive, delivery, representations)
    url = f"{service_url(request)}{_path(delivery)}"
    modified = delivery.location.created_at
    if representation.multipart:
        body = await primed(read_bulkdata(door.archive, delivery))
        part = Part(content_type, url, delivery.item.length)
        return multipart_of_known([part], body, None, OCTET_STREAM, validators(None, modified))
    etag = strong_etag(delivery.location.digest[:32], delivery.item.path, content_type)
    headers = validators(etag, modified) | {"Content-Location": url}
    if answer := unchanged(request, etag, modified, headers):
        return answer
    return await ranged_response(
        request,
        lambda offset, length: read_bulkdata(door.archive, delivery, offset, length),
        size=delivery.item.length,
        media_type=content_type,
        etag=etag,
        modified=modified,
        headers=headers,
    )


async def _encapsulated(request: Request, archive: Archive, delivery: BulkdataDelivery) -> Response:
    """Compressed pixel data as a whole is its frames, one part each; a video is one part (PS3.18 8.7.3.3.2)."""
    numbers = _frame_numbers(delivery)
    representations = negotiate(
        Resource.FRAMES,
        accept_of(request),
        accept_parameter_of(request),
        strict=door_of(request).strict_accept,
        item_count=len(numbers),
    )
    alternatives = alternatives_of(representations)
    frames = await retrieve_frames(archive, delivery.location.ref, numbers, alternatives)
    return await answer_frames(request, archive, frames, representations)


def _wants_frames(delivery: BulkdataDelivery, representations: Sequence[Representation]) -> bool:
    """Whether native pixel data is to be compressed: that is done frame by frame (PS3.18 8.7.3.3.2)."""
    best = representations[0]
    if delivery.item.path != "7FE00010" or best.media_type in DOCUMENT_TYPES:
        return False
    return best.media_type != OCTET_STREAM or not {AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN} & {*best.transfer_syntaxes}


def _frame_numbers(delivery: BulkdataDelivery) -> range:
    image = InstanceLayout.from_json(delivery.location.layout).image
    if image is None or transfer_syntax(delivery.location.transfer_syntax_uid).is_video:
        return range(1, 2)
    return range(1, image.number_of_frames + 1)


async def _typed(
    archive: Archive, delivery: BulkdataDelivery, representations: Sequence[Representation]
) -> tuple[Representation, str]:
    """The representation of a native value and its Content-Type: octets, or the document's own type where it is asked for."""
    for representation in representations:
        if representation.media_type == OCTET_STREAM:
            return representation, f"{OCTET_STREAM}; transfer-syntax={EXPLICIT_VR_LITTLE_ENDIAN}"
        is_document = representation.media_type in DOCUMENT_TYPES and delivery.item.path == ENCAPSULATED_DOCUMENT
        if is_document and representation.media_type == await mime_type(archive, delivery.location.ref):
            return representation, representation.media_type
    raise NotAcceptable("this value can be had as application/octet-stream, or as the type of document that it is")


def _octets(representations: Sequence[Representation]) -> Representation:
    """Native values are little-endian bytes and nothing else."""
    for representation in representations:
        if representation.media_type == OCTET_STREAM:
            return representation
    raise NotAcceptable("this value is uncompressed: only application/octet-stream can be had")


def _path(delivery: BulkdataDelivery) -> str:
    return f"{resource_path(delivery.location.ref)}/bulkdata/{delivery.item.path}"


async def bulkdata_collection(request: Request) -> Response:
    """Every bulkdata value of the resource, one part each; `/pixeldata` only its pixel data."""
    representations = negotiate(
        Resource.BULKDATA_COLLECTION,
        accept_of(request),
        accept_parameter_of(request),
        strict=door_of(request).strict_accept,
    )
    pixels = request.url.path.rstrip("/").endswith("/pixeldata")
    return await answer_bulkdata(request, reference_in(request), representations, pixel_data_only=pixels)


for _level in _LEVELS:
    for _name in ("bulkdata", "pixeldata"):
        router.add_api_route(
            f"{_level}/{_name}",
            bulkdata_collection,
            methods=["GET"],
            name=f"retrieve_{_level.split('{')[-1][:-1]}_{_name}",
            openapi_extra=describe(f"{_level}/{_name}", parameters=[ACCEPT_PARAMETER], media_types=(OCTETS,)),
        )


async def answer_bulkdata(
    request: Request, ref: Reference, representations: Sequence[Representation], *, pixel_data_only: bool = False
) -> Response:
    """All values of a resource. Compressed pixel data is decoded, or passed through where its media type is accepted."""
    archive = door_of(request).archive
    locations = await locate_instances(archive.db, ref)
    deliveries: list[BulkdataDelivery] = []
    for location in locations:
        deliveries += await list_bulkdata(archive, location.ref, pixel_data_only=pixel_data_only)
    if not deliveries:
        raise NotFound("there is no bulkdata in this resource")
    chosen = [one for one in representations if one.multipart]
    if not chosen:
        raise NotAcceptable("bulkdata of a whole resource is a multipart message")
    parts = _collection(request, archive, deliveries, chosen)
    first = await anext(parts)  # what cannot be produced at all is said with a status

    async def rest() -> AsyncIterator[tuple[Part, AsyncIterator[bytes]]]:
        yield first
        async for one in parts:
            yield one

    return multipart_of_streams(rest(), chosen[0].media_type, {"Vary": "Accept"})


async def _collection(
    request: Request,
    archive: Archive,
    deliveries: Sequence[BulkdataDelivery],
    representations: Sequence[Representation],
) -> AsyncIterator[tuple[Part, AsyncIterator[bytes]]]:
    url = service_url(request)
    for delivery in deliveries:
        location = f"{url}{_path(delivery)}"
        if delivery.is_encapsulated or _wants_frames(delivery, representations):
            numbers = _frame_numbers(delivery)
            alternatives = alternatives_of(representations)
            frames = await retrieve_frames(archive, delivery.location.ref, numbers, alternatives)
            media_type = representations[frames.index].media_type
            kind = f"{media_type}; transfer-syntax={frames.transfer_syntax_uid}"
            async for frame in read_frames(archive, frames):
                yield Part(kind, location, len(frame)), once(frame)
        else:
            _octets(representations)
            kind = f"{OCTET_STREAM}; transfer-syntax={EXPLICIT_VR_LITTLE_ENDIAN}"
            yield Part(kind, location, delivery.item.length), read_bulkdata(archive, delivery)
