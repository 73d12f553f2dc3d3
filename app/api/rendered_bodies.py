"""Bodies of rendered answers: images, their sequences, reports, documents and videos (PS3.18 8.7.4)."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from app.api.caching import shown_only, unchanged, validators
from app.api.dependencies import door_of, service_url
from app.api.multipart import Part, multipart_of_streams
from app.api.ranges import ranged_response
from app.api.responses import StreamingBody, bytes_response, once, primed
from app.dicom.references import resource_path
from app.dicom.rendering import LOSSY_MEDIA_TYPES, RenderingParameters
from app.dicomweb.charsets import CharacterSet, negotiate_charset
from app.dicomweb.conditional import ETag, strong_etag, weak_etag
from app.dicomweb.negotiation import Representation
from app.dicomweb.rendering_parameters import RenderingQuery, check_icc_profile, without_unused
from app.dicomweb.warning_headers import ILLEGIBLE_ANNOTATION, unsupported_annotations, warning_headers
from app.errors import NotAcceptable
from app.services.renderables import FrameTarget, Renderable
from app.services.rendered_documents import StoredStream, find_stream, read_stream, render_text
from app.services.rendering import is_illegible, render_animation, render_image, render_images, rendering_key

Parts = AsyncIterator[tuple[Part, AsyncIterator[bytes]]]


async def answer_image(request: Request, target: FrameTarget, media_type: str, query: RenderingQuery) -> Response:
    """One image as a single part."""
    parameters = without_unused(query.parameters, lossy=media_type in LOSSY_MEDIA_TYPES)
    check_icc_profile(parameters, media_type)
    etag = strong_etag(rendering_key([target], parameters, media_type))
    headers = await _image_headers(request, etag, [target], query) | {"Content-Location": location_of(request, target)}
    if answer := unchanged(request, etag, _date_of([target]), headers):
        return answer
    body = await render_image(door_of(request).archive, target, parameters, media_type)
    return bytes_response(body, media_type, headers=headers)


async def answer_images(
    request: Request, targets: Sequence[FrameTarget], media_type: str, query: RenderingQuery
) -> Response:
    """One part for each image, rendered when its turn comes."""
    parameters = without_unused(query.parameters, lossy=media_type in LOSSY_MEDIA_TYPES)
    check_icc_profile(parameters, media_type)
    # Boundaries differ from answer to answer: the tag is of what is in the parts.
    etag = weak_etag(rendering_key(targets, parameters, media_type))
    headers = await _image_headers(request, etag, targets, query)
    if answer := unchanged(request, etag, _date_of(targets), headers):
        return answer
    return await multipart_answer(image_parts(request, targets, media_type, query), headers)


async def answer_animation(
    request: Request, targets: Sequence[FrameTarget], media_type: str, query: RenderingQuery
) -> Response:
    """All frames of an image in one file that plays."""
    parameters = without_unused(query.parameters, lossy=media_type in LOSSY_MEDIA_TYPES)
    check_icc_profile(parameters, media_type)
    etag = strong_etag(rendering_key(targets, parameters, media_type))
    headers = await _image_headers(request, etag, targets, query)
    headers["Content-Location"] = f"{service_url(request)}{resource_path(targets[0].image.ref)}"
    if answer := unchanged(request, etag, _date_of(targets), headers):
        return answer
    body = render_animation(door_of(request).archive, targets, parameters, media_type)
    return StreamingBody(await primed(body), media_type, headers=headers)


async def answer_text(
    request: Request, renderable: Renderable, representation: Representation, query: RenderingQuery
) -> Response:
    """A report as text."""
    check_icc_profile(query.parameters, representation.media_type)
    charset = _charset(request, representation)
    # The character set and, in XML, the URLs inside are of this request.
    kind = f"{representation.media_type} {charset.name} {service_url(request)}"
    key = rendering_key([FrameTarget(renderable)], RenderingParameters(), kind)
    etag = weak_etag(key) if representation.multipart else strong_etag(key)
    modified = renderable.location.created_at
    headers = _headers(request, etag, modified, query) | {"Vary": "Accept, Accept-Charset"}
    if not representation.multipart:
        headers |= {"Content-Location": _source(request, renderable), **shown_only(representation.media_type)}
    if answer := unchanged(request, etag, modified, headers, representation.media_type):
        return answer
    if representation.multipart:
        return await multipart_answer(text_parts(request, renderable, representation), headers)
    body = await _text(request, renderable, representation, charset)
    return bytes_response(body, f"{representation.media_type}; {charset.parameter}", headers=headers)


async def answer_stream(
    request: Request, renderable: Renderable, representations: Sequence[Representation], query: RenderingQuery
) -> Response:
    """An encapsulated document or a video, as it is stored: no other type can be made of it."""
    archive = door_of(request).archive
    stream = await find_stream(archive, renderable)
    representation = representation_of(stream, representations)
    check_icc_profile(query.parameters, stream.media_type)
    etag = strong_etag(renderable.location.digest[:32], stream.media_type)
    modified = renderable.location.created_at
    if representation.multipart:
        headers = _headers(request, weak_etag(etag.opaque), modified, query)
        return await multipart_answer(stream_parts(request, renderable, representations), headers)
    headers = _headers(request, etag, modified, query) | {"Content-Location": _source(request, renderable)}
    headers |= shown_only(stream.media_type)
    if answer := unchanged(request, etag, modified, headers, stream.media_type):
        return answer
    return await ranged_response(
        request,
        lambda offset, length: read_stream(archive, stream, offset, length),
        size=stream.size,
        media_type=stream.media_type,
        etag=etag,
        modified=modified,
        headers=headers,
    )


async def image_parts(
    request: Request, targets: Sequence[FrameTarget], media_type: str, query: RenderingQuery
) -> Parts:
    """Raises what rendering raises, when the turn of a part comes."""
    archive = door_of(request).archive
    parameters = without_unused(query.parameters, lossy=media_type in LOSSY_MEDIA_TYPES)
    check_icc_profile(parameters, media_type)
    async for target, body in render_images(archive, targets, parameters, media_type):
        yield Part(media_type, location_of(request, target), len(body)), once(body)


async def text_parts(request: Request, renderable: Renderable, representation: Representation) -> Parts:
    charset = _charset(request, representation)
    body = await _text(request, renderable, representation, charset)
    kind = f"{representation.media_type}; {charset.parameter}"
    yield Part(kind, _source(request, renderable), len(body)), once(body)


async def stream_parts(request: Request, renderable: Renderable, representations: Sequence[Representation]) -> Parts:
    archive = door_of(request).archive
    stream = await find_stream(archive, renderable)
    media_type = representation_of(stream, representations).media_type
    part = Part(media_type, _source(request, renderable), stream.size)
    yield part, read_stream(archive, stream, 0, stream.size)


async def multipart_answer(parts: Parts, headers: dict[str, str]) -> Response:
    """The first part is made before there is a status: what cannot be rendered is said with one."""
    first = await anext(parts, None)
    if first is None:
        raise NotAcceptable("there is nothing to render")

    async def all_parts() -> Parts:
        try:
            yield first
            async for part in parts:
                yield part
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    media_type = first[0].content_type.partition(";")[0]
    return multipart_of_streams(all_parts(), media_type, headers)


def representation_of(stream: StoredStream, representations: Sequence[Representation]) -> Representation:
    """The first that is of the stream's own type. Raises NotAcceptable."""
    for representation in representations:
        if representation.media_type == stream.media_type:
            return representation
    raise NotAcceptable(f"this instance is rendered as {stream.media_type} and as nothing else")


def location_of(request: Request, target: FrameTarget) -> str:
    """The source resource of a rendered image (PS3.18 8.6.1.2): the frame, or the instance that is but one image."""
    frame = f"/frames/{target.frame_number}" if target.image.frame_count > 1 else ""
    return f"{_source(request, target.image)}{frame}"


def modified_of(targets: Sequence[FrameTarget]) -> datetime:
    """When the last of what they are made of was stored."""
    return max(
        one.location.created_at for target in targets for one in (target.image, target.presentation) if one is not None
    )


def _date_of(targets: Sequence[FrameTarget]) -> datetime | None:
    """The same for a condition: of one instance. Which images a presentation state shows changes when one of them is deleted."""
    return None if any(target.presentation for target in targets) else modified_of(targets)


def with_warnings(
    request: Request, headers: dict[str, str], query: RenderingQuery, more: Sequence[str] = ()
) -> dict[str, str]:
    """Words of the annotation parameter that are ignored are named (PS3.18 8.3.5.1.1), and `more` that is to be said."""
    texts = list(more)
    if query.unsupported_annotations:
        texts.append(unsupported_annotations(query.unsupported_annotations))
    if texts:
        headers["Warning"] = ", ".join(warning_headers(service_url(request), texts))
    return headers


async def _image_headers(
    request: Request, etag: ETag, targets: Sequence[FrameTarget], query: RenderingQuery
) -> dict[str, str]:
    """Of one or more images of one patient."""
    headers = validators(etag, modified_of(targets))
    illegible = await is_illegible(door_of(request).archive, targets[0], query.parameters)
    return with_warnings(request, headers, query, [ILLEGIBLE_ANNOTATION] if illegible else [])


def _headers(request: Request, etag: ETag, modified: datetime, query: RenderingQuery) -> dict[str, str]:
    return with_warnings(request, validators(etag, modified), query)


def _source(request: Request, renderable: Renderable) -> str:
    return f"{service_url(request)}{resource_path(renderable.ref)}"


def _charset(request: Request, representation: Representation) -> CharacterSet:
    accepted = ",".join(request.headers.getlist("accept-charset"))
    return negotiate_charset(representation.charset, request.query_params.get("charset"), accepted)


async def _text(
    request: Request, renderable: Renderable, representation: Representation, charset: CharacterSet
) -> bytes:
    return await render_text(
        door_of(request).archive,
        renderable,
        representation.media_type,
        charset.codec,
        charset.name,
        service_url(request),
    )
