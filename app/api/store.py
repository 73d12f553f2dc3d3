"""STOW-RS: Store Instances (PS3.18 10.5)."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.api.dependencies import Door, accept_of, accept_parameter_of, door_of, service_url
from app.api.metadata_parts import MetadataMessage
from app.api.multipart import Part, multipart_of_parts
from app.api.openapi import DICOM, DICOM_JSON, describe
from app.api.request_bodies import check_content_encoding, read_body
from app.api.responses import bytes_response
from app.dicom import store_status
from app.dicom.references import StudyRef, validate_uid
from app.dicom.xml_model import to_native_xml
from app.dicomweb.media_types import MediaType, parse_media_type
from app.dicomweb.metadata_store import METADATA_TYPES, is_metadata
from app.dicomweb.multipart_reader import Event, MultipartReader, PartBegin, PartData
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.dicomweb.resources import DICOM_XML
from app.dicomweb.store_response import StoreResponse
from app.dicomweb.urls import DICOMWEB_PREFIX
from app.errors import InvalidMediaType, MalformedMessage, UnsupportedMediaType
from app.observability import INSTANCES_STORED, log
from app.services.store import Intake
from app.services.store_results import RefusedInstance, StoreResult

router = APIRouter(tags=["STOW-RS"])

# A part that is not typed, or typed as octets, is taken for what it then turns out to be.
_INSTANCE_TYPES = ("application/dicom", "application/octet-stream")
_SINGLE_TYPES = ("application/dicom", *METADATA_TYPES)
_METADATA_PARTS = tuple(f'multipart/related; type="{kind}"' for kind in METADATA_TYPES)
_MULTIPART_TYPES = (*_INSTANCE_TYPES, *METADATA_TYPES)
# What is done at once, before others have their turn: some milliseconds.
_EVENTS_PER_TURN, _RESULTS_PER_TURN = 256, 256


def _describe(path: str) -> dict[str, object]:
    return describe(
        path,
        media_types=(DICOM_JSON, DICOM_XML),
        request_types=(DICOM, *_METADATA_PARTS, *_SINGLE_TYPES),
        failures=(202, 400, 406, 409, 413, 415, 503),
    )


@router.post("/studies", name="store_instances", openapi_extra=_describe("/studies"))
@router.post("/studies/{study}", name="store_study_instances", openapi_extra=_describe("/studies/{study}"))
async def store(request: Request) -> Response:
    """Store instances. Once answered, they are on disk and in the database."""
    door = door_of(request)
    study = request.path_params.get("study")
    confined = StudyRef(validate_uid(study)) if study is not None else None
    representation = negotiate(
        Resource.STORE_RESPONSE, accept_of(request), accept_parameter_of(request), strict=door.strict_accept
    )[0]
    content_type = _content_type(request)
    check_content_encoding(request)
    intake = Intake(door.archive, confined)
    try:
        if content_type.type == "multipart":
            await _receive_multipart(request, door, intake, content_type)
        elif is_metadata(content_type):
            await _receive_metadata(request, door, intake, content_type)
        else:
            await _receive_single(request, door, intake)
        results = await intake.finish()
    except ClientDisconnect:
        await intake.abort()
        log.info("store.client_disconnected")
        return Response(status_code=400)  # nobody reads it
    except BaseException:
        await intake.abort()
        raise
    if len(results) <= _RESULTS_PER_TURN:
        return _answer(request, results, confined, representation)
    return await asyncio.to_thread(_answer, request, results, confined, representation)


def _content_type(request: Request) -> MediaType:
    """Raises UnsupportedMediaType, MalformedMessage (a multipart type without a boundary is said by the reader)."""
    text = request.headers.get("content-type")
    if not text:
        raise UnsupportedMediaType("the request has no Content-Type")
    try:
        media_type = parse_media_type(text)
    except InvalidMediaType as error:
        raise UnsupportedMediaType(f"the Content-Type cannot be read: {error}") from error
    if media_type.essence in _SINGLE_TYPES:
        return media_type
    if media_type.essence == "multipart/related":
        kind = media_type.get("type")
        if kind is None or kind.lower() in _MULTIPART_TYPES:
            return media_type
        raise UnsupportedMediaType(f"multipart/related of type {kind[:80]} is not read here")
    raise UnsupportedMediaType(
        f"{media_type.essence} is not read here; {', '.join(_SINGLE_TYPES)} and multipart/related of them are"
    )


async def _receive_single(request: Request, door: Door, intake: Intake) -> None:
    """One PS3.10 file as the whole body (PS3.18 Annex B.21)."""
    await intake.begin()
    async for chunk in read_body(request, limit=door.max_request_bytes):
        await intake.write(chunk)
    await intake.end()


async def _receive_metadata(request: Request, door: Door, intake: Intake, content_type: MediaType) -> None:
    """Metadata as the whole body, every value in it. PS3.18 10.5.4 does not list it; curl and scripts send it."""
    message = MetadataMessage(intake, _base_url(request))
    try:
        await message.whole(content_type, read_body(request, limit=door.max_request_bytes))
        await message.store()
    finally:
        await message.close()


async def _receive_multipart(request: Request, door: Door, intake: Intake, content_type: MediaType) -> None:
    """Instances, or metadata with bulkdata: the type parameter says which, and where it does not the first part."""
    reader = MultipartReader(content_type, max_parts=door.max_parts)
    kind = content_type.get("type")
    receiving: _Parts | MetadataMessage | None = None
    if kind in METADATA_TYPES:
        receiving = MetadataMessage(intake, _base_url(request))
    try:
        async for event in _events(reader, read_body(request, limit=door.max_request_bytes)):
            if receiving is None:
                of_metadata = isinstance(event, PartBegin) and is_metadata(event.media_type)
                receiving = MetadataMessage(intake, _base_url(request)) if of_metadata else _Parts(intake)
            await receiving.take(event)
        if isinstance(receiving, MetadataMessage):
            await receiving.store()
    except MalformedMessage:
        if not isinstance(receiving, _Parts) or not receiving.complete:
            raise
        # Whole instances came before the fault: they are kept, and the rest is reported.
        await intake.refuse(store_status.CANNOT_UNDERSTAND, "the message is malformed from here on")
    finally:
        if isinstance(receiving, MetadataMessage):
            await receiving.close()


async def _events(reader: MultipartReader, body: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    async for chunk in body:
        for number, event in enumerate(reader.feed(chunk), 1):
            yield event
            if number % _EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)  # parts without content wait for nothing
    for event in reader.finish():
        yield event


def _base_url(request: Request) -> str:
    """The request's own URL as the client knows it: what relative Content-Locations are relative to (RFC 2557 5)."""
    return service_url(request) + request.url.path.removeprefix(DICOMWEB_PREFIX)


class _Parts:
    """Turns the events of one message into instances."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.complete = 0
        self._skipping = False

    async def take(self, event: object) -> None:
        if isinstance(event, PartData):
            if not self._skipping:
                await self.intake.write(event.data)
        elif isinstance(event, PartBegin):
            essence = event.media_type.essence if event.media_type else "application/dicom"
            self._skipping = essence not in _INSTANCE_TYPES
            if self._skipping:
                await self.intake.refuse(store_status.CANNOT_UNDERSTAND, f"a part of type {essence} is not an instance")
            else:
                await self.intake.begin()
        else:
            await self._end(getattr(event, "problem", ""))

    async def _end(self, problem: str) -> None:
        if not self._skipping:
            if problem:
                await self.intake.refuse(store_status.CANNOT_UNDERSTAND, problem)
            else:
                await self.intake.end()
        self.complete += 1
        self._skipping = False


def _tell(refused: RefusedInstance) -> None:
    uid, reason = refused.sop_instance_uid, refused.message
    # Those two are the archive's fault, not the sender's.
    if refused.status in (store_status.OUT_OF_RESOURCES, store_status.PROCESSING_FAILURE):
        log.error("store.refused", sop_instance_uid=uid, reason=reason, cause=repr(refused.cause))
    else:
        log.info("store.refused", sop_instance_uid=uid, reason=reason)


def _answer(
    request: Request, results: list[StoreResult], confined: StudyRef | None, representation: Representation
) -> Response:
    response = StoreResponse(service_url(request), confined.study_instance_uid if confined else None)
    for result in results:
        if isinstance(result, RefusedInstance):
            INSTANCES_STORED.labels("refused").inc()
            _tell(result)
            response.failed(result.sop_class_uid, result.sop_instance_uid, result.status)
        else:
            INSTANCES_STORED.labels("stored" if result.changed else "unchanged").inc()
            remarks = result.remarks
            response.stored(
                result.ref,
                result.sop_class_uid,
                warning=remarks.warning,
                original_attributes=remarks.original_attributes,
                is_new=result.changed,
            )
    is_xml = representation.media_type == DICOM_XML
    body = to_native_xml(response.dataset()) if is_xml else response.to_json()
    headers = {"Vary": "Accept"}
    if location := response.location:
        headers |= {"Location": location, "Content-Location": location}
    if representation.multipart:
        part = Part(DICOM_XML, length=len(body))
        return multipart_of_parts([(part, body)], DICOM_XML, headers, status=response.status)
    return bytes_response(body, representation.media_type, status=response.status, headers=headers)
