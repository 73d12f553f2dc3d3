"""WADO-RS Retrieve of all bulkdata of a study, a series or an instance, or of its pixel data (PS3.18 10.4.1.1.5, 10.4.1.1.6)."""

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.bulkdata import as_it_lies, frame_numbers, path_of, wants_frames
from app.api.caching import NO_GUESSING
from app.api.dependencies import accept_of, accept_parameter_of, alternatives_of, door_of, reference_in, service_url
from app.api.multipart import Part, multipart_of_streams
from app.api.openapi import ACCEPT_PARAMETER, OCTETS, describe
from app.api.responses import once, primed
from app.db.locate import locate_instances
from app.dicom.references import Reference
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.errors import NotAcceptable, NotFound
from app.services.archive import Archive
from app.services.bulkdata import BulkdataDelivery, list_bulkdata, open_bulkdata, read_bulkdata
from app.services.frames import choose_syntax, first_read, retrieve_frames

router = APIRouter(tags=["WADO-RS"])

_LEVELS = (
    "/studies/{study}",
    "/studies/{study}/series/{series}",
    "/studies/{study}/series/{series}/instances/{instance}",
)
Parts = AsyncIterator[tuple[Part, AsyncIterator[bytes]]]


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
    """All values of a resource. Compressed pixel data is decoded, or passed through where its media type is accepted.

    All are planned before the first byte: a value that cannot be had as anything acceptable is said with a status, not left out.
    """
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
    for delivery in deliveries:
        _plan(delivery, chosen)
    parts = _parts(request, archive, deliveries, chosen)
    first_part, first_body = await anext(parts)
    first = first_part, await primed(first_body)  # what cannot be produced at all is said with a status

    async def all_parts() -> Parts:
        yield first
        async for one in parts:
            yield one

    # RFC 2387 3.1: the type of the message is that of its root, the first part.
    media_type = first_part.content_type.partition(";")[0]
    return multipart_of_streams(all_parts(), media_type, {"Vary": "Accept", **NO_GUESSING})


def _plan(delivery: BulkdataDelivery, representations: Sequence[Representation]) -> str | None:
    """The Content-Type of a value that goes out as it lies; None for pixel data, whose frames do. Raises NotAcceptable."""
    if not (delivery.is_encapsulated or wants_frames(delivery, representations)):
        return as_it_lies(delivery, representations)[1]
    choose_syntax(delivery.location, alternatives_of(representations))
    return None


async def _parts(
    request: Request,
    archive: Archive,
    deliveries: Sequence[BulkdataDelivery],
    representations: Sequence[Representation],
) -> Parts:
    url = service_url(request)
    for delivery in deliveries:
        location = f"{url}{path_of(delivery)}"
        if (content_type := _plan(delivery, representations)) is not None:
            value = await open_bulkdata(archive, delivery)
            yield Part(content_type, location, value.size), read_bulkdata(archive, value)
            continue
        alternatives = alternatives_of(representations)
        planned = await retrieve_frames(archive, delivery.location.ref, frame_numbers(delivery), alternatives)
        frames, bodies = await first_read(archive, planned, alternatives)
        content_type = f"{representations[frames.index].media_type}; transfer-syntax={frames.transfer_syntax_uid}"
        async for frame in bodies:
            yield Part(content_type, location, len(frame)), once(frame)
