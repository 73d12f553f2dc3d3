"""WADO-RS Retrieve of metadata (PS3.18 10.4.1.1.2), as DICOM JSON and as Native DICOM Model XML."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.caching import unchanged, validators
from app.api.compression import takes_gzip
from app.api.dependencies import accept_of, accept_parameter_of, door_of, reference_in, service_url
from app.api.multipart import Part, multipart_of_streams
from app.api.openapi import ACCEPT_PARAMETER, DICOM_JSON, DICOM_XML, describe, parameter
from app.api.responses import StreamingBody, bytes_response, once, primed
from app.db.locate import locate_instances
from app.dicom.references import InstanceRef, Reference, resource_path
from app.dicom.xml_model import to_native_xml
from app.dicomweb.conditional import strong_etag
from app.dicomweb.metadata_projection import Projection, parse_projection
from app.dicomweb.negotiation import Resource, negotiate
from app.services.archive import Archive
from app.services.metadata import MetadataDocument, metadata_document, metadata_version, retrieve_metadata

router = APIRouter(tags=["WADO-RS"])

_TOGETHER = 64 * 1024  # bytes of JSON that become XML at once: about ten instances, or one that is larger
_CHUNK = 256 * 1024  # bytes of JSON that are sent, or cut, at once

_STUDY = "/studies/{study}/metadata"
_SERIES = "/studies/{study}/series/{series}/metadata"
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}/metadata"


_INCLUDEFIELD = parameter(
    "includefield",
    "Only these attributes of each instance, and its UIDs. Not in PS3.18; without it, or with `all`, every attribute.",
)


def _describe(path: str) -> dict[str, object]:
    return describe(path, parameters=[_INCLUDEFIELD, ACCEPT_PARAMETER], media_types=(DICOM_JSON, DICOM_XML))


@router.get(_STUDY, name="retrieve_study_metadata", openapi_extra=_describe(_STUDY))
@router.get(_SERIES, name="retrieve_series_metadata", openapi_extra=_describe(_SERIES))
@router.get(_INSTANCE, name="retrieve_instance_metadata", openapi_extra=_describe(_INSTANCE))
async def metadata(request: Request) -> Response:
    """Every attribute of every instance; large values by BulkDataURI."""
    door = door_of(request)
    ref = reference_in(request)
    representation = negotiate(
        Resource.METADATA, accept_of(request), accept_parameter_of(request), strict=door.strict_accept
    )[0]
    projection = parse_projection(request.query_params.getlist("includefield"))
    url = service_url(request)
    version = await metadata_version(door.archive, ref)
    if not representation.multipart:
        # The URLs inside depend on the name that the server was called by.
        varied = f"{url} {representation.media_type} {projection.name if projection else ''}"
        etag = strong_etag(version.tag, f"{zlib.crc32(varied.encode()):08x}")
        headers = validators(etag, version.modified) | {"Content-Location": f"{url}{resource_path(ref)}/metadata"}
        modified = version.modified if isinstance(ref, InstanceRef) else None
        if answer := unchanged(request, etag, modified, headers, representation.media_type):
            return answer
        document = None if projection else await metadata_document(door.archive, ref, version, url)
        if document is not None:
            return _kept(request, document, representation.media_type, headers)
        body = await primed(_json_array(door.archive, ref, url, projection))
        return StreamingBody(body, representation.media_type, headers=headers)
    parts = await primed(_xml_parts(door.archive, ref, url, projection))
    return multipart_of_streams(parts, "application/dicom+xml", validators(None, version.modified))


def _kept(request: Request, document: MetadataDocument, media_type: str, headers: dict[str, str]) -> Response:
    """As it is kept, for nearly all clients; unpacked for one that does not take gzip."""
    if takes_gzip(request.headers.get("accept-encoding", "")):
        # The coded bytes are others than those that the strong tag names (RFC 9110 8.8.3.3).
        headers |= {"Content-Encoding": "gzip", "ETag": f"W/{headers['ETag']}"}
        return bytes_response(document.gzip, media_type, headers=headers)
    return StreamingBody(_each(document.chunks()), media_type, length=document.length, headers=headers)


async def _each(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Unpacked in threads: a chunk takes a millisecond."""
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


async def _json_array(
    archive: Archive, ref: Reference, url: str, projection: Projection | None
) -> AsyncIterator[bytes]:
    """In chunks: the texts are sent as they were prepared, or cut in threads."""
    separator = b"["
    syntaxes = await _syntaxes(archive, ref, projection)
    async for few in _few(retrieve_metadata(archive, ref, url), _CHUNK):
        texts = [text for _, text in few]
        if projection:
            texts = await asyncio.to_thread(_projected, few, projection, syntaxes)
        yield separator + b",".join(texts)
        separator = b","
    yield b"]" if separator == b"," else b"[]"


async def _xml_parts(
    archive: Archive, ref: Reference, url: str, projection: Projection | None
) -> AsyncIterator[tuple[Part, AsyncIterator[bytes]]]:
    """Made in threads, a few at a time: one takes most of a millisecond, and to wake a thread costs as much as a small one."""
    syntaxes = await _syntaxes(archive, ref, projection)

    def documents(few: Sequence[tuple[InstanceRef, bytes]]) -> list[bytes]:
        texts = _projected(few, projection, syntaxes) if projection else [text for _, text in few]
        return [to_native_xml(orjson.loads(text)) for text in texts]

    async for texts in _few(retrieve_metadata(archive, ref, url), _TOGETHER):
        made = await asyncio.to_thread(documents, texts)
        for (instance, _), document in zip(texts, made, strict=True):
            location = f"{url}{resource_path(instance)}/metadata"
            yield Part("application/dicom+xml", location, len(document)), once(document)


def _projected(
    few: Sequence[tuple[InstanceRef, bytes]], projection: Projection, syntaxes: Mapping[InstanceRef, str]
) -> list[bytes]:
    """Takes most of a tenth of a millisecond an instance: for threads."""
    return [projection.apply(text, syntaxes.get(one, "")) for one, text in few]


async def _few(
    texts: AsyncIterator[tuple[InstanceRef, bytes]], most: int
) -> AsyncIterator[list[tuple[InstanceRef, bytes]]]:
    """As many as have just more than `most` bytes."""
    few: list[tuple[InstanceRef, bytes]] = []
    size = 0
    async for one in texts:
        few.append(one)
        size += len(one[1])
        if size > most:
            yield few
            few, size = [], 0
    if few:
        yield few


async def _syntaxes(archive: Archive, ref: Reference, projection: Projection | None) -> dict[InstanceRef, str]:
    """Available Transfer Syntax UID (0008,3002) of each instance, where it is asked for: it saves clients probing."""
    if projection is None or not projection.wants_syntaxes:
        return {}
    locations = await locate_instances(archive.db, ref)
    return {location.ref: location.transfer_syntax_uid for location in locations}
