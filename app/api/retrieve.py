"""WADO-RS Retrieve of whole studies, series and instances (PS3.18 10.4.1.1.1)."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.bulkdata_collections import answer_bulkdata
from app.api.caching import NO_GUESSING, unchanged, validators
from app.api.dependencies import accept_of, accept_parameter_of, alternatives_of, door_of, reference_in, service_url
from app.api.multipart import Part, Stream, multipart_of_known, multipart_of_streams
from app.api.openapi import ACCEPT_PARAMETER, DICOM, OCTETS, describe
from app.api.ranges import ranged_response
from app.api.responses import StreamingBody, primed
from app.blobs.files import FileSlice
from app.db.locate import locate_instances
from app.dicom.references import InstanceRef, Reference, resource_path
from app.dicomweb.conditional import strong_etag
from app.dicomweb.negotiation import Resource, negotiate
from app.dicomweb.resources import ZIP
from app.errors import CodecError, DicomError
from app.services.archive import Archive
from app.services.prepared_instances import prepare_instance
from app.services.retrieve import (
    InstanceDelivery,
    open_instance,
    open_instances,
    open_stored,
    retrieve_instances,
    without_codec,
)
from app.services.syntaxes import Alternative
from app.services.zip_stream import zip_stream

router = APIRouter(tags=["WADO-RS"])

_STUDY = "/studies/{study}"
_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"


def _describe(path: str, *more: str) -> dict[str, object]:
    return describe(path, parameters=[ACCEPT_PARAMETER], media_types=(DICOM, OCTETS, ZIP, *more))


@router.get(_STUDY, name="retrieve_study", openapi_extra=_describe(_STUDY))
@router.get(_SERIES, name="retrieve_series", openapi_extra=_describe(_SERIES))
@router.get(_INSTANCE, name="retrieve_instance", openapi_extra=_describe(_INSTANCE, "application/dicom"))
async def retrieve(request: Request) -> Response:
    """Instances as PS3.10 files, as stored or in another transfer syntax."""
    door = door_of(request)
    ref = reference_in(request)
    resource = Resource.INSTANCE if isinstance(ref, InstanceRef) else Resource.INSTANCES
    representations = negotiate(resource, accept_of(request), accept_parameter_of(request), strict=door.strict_accept)
    if representations[0].media_type == ZIP:
        return await _zip(request, door.archive, ref)
    if representations[0].media_type != "application/dicom":
        # 10.4.4: octet-stream and image types on these resources mean their bulkdata.
        return await answer_bulkdata(request, ref, representations)
    files = [one for one in representations if one.media_type == "application/dicom"]
    alternatives = alternatives_of(files)
    index, deliveries = await retrieve_instances(door.archive, ref, alternatives)
    if len(deliveries) > 1:
        return await _multipart(request, door.archive, deliveries, alternatives)

    async def answer(index: int, delivery: InstanceDelivery) -> Response:
        if files[index].multipart:
            return await _multipart(request, door.archive, [delivery], [])
        return await answer_instance(request, door.archive, delivery)

    return await or_as_stored(answer, index, deliveries[0], alternatives)


async def or_as_stored(
    answer: Callable[[int, InstanceDelivery], Awaitable[Response]],
    index: int,
    delivery: InstanceDelivery,
    alternatives: Sequence[Alternative],
) -> Response:
    """The answer with an instance by the alternative that was chosen for it or, where its pixels cannot be decoded or its header
    cannot be written anew, by one that takes it as it is stored: 406 is for what has no acceptable form (PS3.18 8.7.3.4, 8.7.8.1).
    """
    try:
        return await answer(index, delivery)
    except (CodecError, DicomError):
        untouched = without_codec(delivery, alternatives)
        if untouched is None:
            raise
        return await answer(*untouched)


async def _zip(request: Request, archive: Archive, ref: Reference) -> Response:
    """Our extension: everything as stored, in one file to keep."""
    locations = await locate_instances(archive.db, ref)
    # The digests of all files, in order, and the times that stand beside them name the bytes of the archive.
    contents = "".join(f"{location.digest} {location.created_at.timestamp()}\n" for location in locations)
    etag = strong_etag("zip", sha256(contents.encode()).hexdigest()[:32])
    modified = max(location.created_at for location in locations)
    name = resource_path(ref).rpartition("/")[2]
    headers = validators(etag, modified) | {
        "Content-Location": f"{service_url(request)}{resource_path(ref)}",
        "Content-Disposition": f'attachment; filename="{name}.zip"',
    }
    if same := unchanged(request, etag, None, headers):
        return same
    file = zip_stream(archive, locations)
    answer = StreamingBody(await primed(file), ZIP, headers=headers)
    answer.source = file
    return answer


def _content_type(delivery: InstanceDelivery) -> str:
    return f"application/dicom; transfer-syntax={delivery.transfer_syntax_uid}"


async def answer_instance(request: Request, archive: Archive, delivery: InstanceDelivery) -> Response:
    """One instance as a single part, here and in the URI service."""
    location = delivery.location
    # The digest names the stored bytes; with the syntax it names every representation made of them.
    etag = strong_etag(location.digest[:32], delivery.transfer_syntax_uid)
    headers = validators(etag, location.created_at)
    headers["Content-Location"] = f"{service_url(request)}{resource_path(location.ref)}"
    if answer := unchanged(request, etag, location.created_at, headers):
        return answer
    if delivery.as_stored:
        return await ranged_response(
            request,
            lambda offset, length: archive.blobs.pieces(location.blob_key, offset, length),
            size=location.size,
            media_type=_content_type(delivery),
            etag=etag,
            modified=location.created_at,
            headers=headers,
        )
    if delivery.is_prepared:
        file = await prepare_instance(archive, location, delivery.transfer_syntax_uid)
        return await ranged_response(
            request,
            file.pieces,
            size=file.size,
            media_type=_content_type(delivery),
            etag=etag,
            modified=location.created_at,
            headers=headers,
        )
    length, body = await open_instance(archive, delivery)
    return StreamingBody(await primed(body), _content_type(delivery), length=length, headers=headers)


async def _multipart(
    request: Request, archive: Archive, deliveries: Sequence[InstanceDelivery], alternatives: Sequence[Alternative]
) -> StreamingBody:
    """Each instance as a part. What is wrong with the first is said with a status."""
    url = service_url(request)

    def part_of(delivery: InstanceDelivery, length: int) -> Part:
        return Part(_content_type(delivery), f"{url}{resource_path(delivery.location.ref)}", length)

    if all(delivery.as_stored for delivery in deliveries):
        files = open_stored(archive, deliveries)
        async with _closed_on_failure(files):
            first = await anext(files)
            if not isinstance(first, list):
                first = await primed(first)
        parts = [part_of(delivery, delivery.location.size) for delivery in deliveries]
        answer = multipart_of_known(parts, first, files, "application/dicom", {"Vary": "Accept", **NO_GUESSING})
        answer.source = files
        return answer
    opened = open_instances(archive, deliveries, alternatives)
    async with _closed_on_failure(opened):
        delivery, length, stream = await anext(opened)
        first_part = part_of(delivery, length), stream if isinstance(stream, FileSlice) else await primed(stream)

    async def all_parts() -> AsyncIterator[tuple[Part, Stream]]:
        yield first_part
        async for delivery, length, stream in opened:
            yield part_of(delivery, length), stream

    answer = multipart_of_streams(all_parts(), "application/dicom", {"Vary": "Accept", **NO_GUESSING})
    answer.source = opened
    return answer


@asynccontextmanager
async def _closed_on_failure(source: AsyncGenerator[Any, None]) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await source.aclose()
        raise
