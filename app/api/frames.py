"""WADO-RS Retrieve of frames (PS3.18 10.4.1.1.6)."""

from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.caching import unchanged, validators
from app.api.dependencies import accept_of, accept_parameter_of, alternatives_of, door_of, instance_in, service_url
from app.api.frame_answers import words_of
from app.api.multipart import Part, multipart_of_known, multipart_of_parts, multipart_of_streams
from app.api.openapi import ACCEPT_PARAMETER, OCTETS, describe
from app.api.ranges import OpenRange, ranged_response
from app.api.responses import Body, once, primed
from app.dicom.references import parse_frame_list, resource_path
from app.dicomweb.conditional import strong_etag
from app.dicomweb.negotiation import Representation, Resource, negotiate
from app.errors import CodecError
from app.services.archive import Archive
from app.services.frames import (
    FrameDelivery,
    can_stream,
    frame_slices,
    read_few_frames,
    read_frames,
    retrieve_frames,
    stream_frame,
    without_codec,
)

router = APIRouter(tags=["WADO-RS"])

_FRAMES = "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}"


@router.get(
    _FRAMES,
    name="retrieve_instance_frames",
    openapi_extra=describe(_FRAMES, parameters=[ACCEPT_PARAMETER], media_types=(OCTETS, "application/octet-stream")),
)
async def frames(request: Request) -> Response:
    """Frames as stored, decoded to little-endian samples, or in another compressed syntax."""
    door = door_of(request)
    words = words_of(request.scope)
    if (again := await door.frame_answers.again(words, door.archive)) is not None:
        return again
    ref = instance_in(request)
    numbers = parse_frame_list(request.path_params["frames"], limit=door.max_frames_per_request)
    representations = negotiate(
        Resource.FRAMES,
        accept_of(request),
        accept_parameter_of(request),
        strict=door.strict_accept,
        item_count=len(numbers),
    )
    delivery = await retrieve_frames(door.archive, ref, numbers, alternatives_of(representations))
    answer = await answer_frames(request, door.archive, delivery, representations)
    door.frame_answers.keep(words, delivery, answer)
    return answer


async def answer_frames(
    request: Request,
    archive: Archive,
    delivery: FrameDelivery,
    representations: Sequence[Representation],
    *,
    location: str = "",
) -> Response:
    """The planned frames in the representation that was chosen for them. What cannot be decoded comes as stored, if that is
    acceptable too: 406 is for what has no acceptable form (PS3.18 8.7.8.1).

    location  Content-Location of every part, where it is not the frame (10.4.3.3.5)
    """
    if delivery.conversion is None:
        return await _answer(request, archive, delivery, representations[delivery.index], location)
    try:
        return await _answer(request, archive, delivery, representations[delivery.index], location)
    except CodecError:
        untouched = without_codec(delivery, alternatives_of(representations))
        if untouched is None:
            raise
        return await _answer(request, archive, untouched, representations[untouched.index], location)


async def _answer(
    request: Request, archive: Archive, delivery: FrameDelivery, representation: Representation, location: str
) -> Response:
    content_type = f"{representation.media_type}; transfer-syntax={delivery.transfer_syntax_uid}"
    base = f"{service_url(request)}{resource_path(delivery.location.ref)}/frames/"
    names = ",".join(map(str, delivery.numbers))
    modified = delivery.location.created_at
    if not representation.multipart:
        # With the type: as octets and as the image that they are, the same bytes are two representations (RFC 9110 8.8.3).
        digest, media_type = delivery.location.digest[:32], representation.media_type
        etag = strong_etag(digest, names, delivery.transfer_syntax_uid, media_type)
        headers = validators(etag, modified) | {"Content-Location": location or f"{base}{names}"}
        if answer := unchanged(request, etag, modified, headers):
            return answer
        size, open_range = await _single(archive, delivery)
        return await ranged_response(
            request, open_range, size=size, media_type=content_type, etag=etag, modified=modified, headers=headers
        )

    def part_of(number: int, size: int | None) -> Part:
        return Part(content_type, location or f"{base}{number}", size)

    # Boundaries differ from answer to answer: a multipart message has no strong tag.
    headers = validators(None, modified)
    if can_stream(archive, delivery):
        if (slices := await frame_slices(archive, delivery)) is not None:
            files = [
                (part_of(number, file.length), file) for number, file in zip(delivery.numbers, slices, strict=True)
            ]
            return multipart_of_parts(files, representation.media_type, headers)
        parts = list(map(part_of, delivery.numbers, delivery.sizes))
        first = await primed(stream_frame(archive, delivery, 0))
        others = _streamed(archive, delivery, len(parts))
        return multipart_of_known(parts, first, others, representation.media_type, headers)
    frames = await read_few_frames(archive, delivery)
    if frames is None and len(delivery.numbers) == 1:
        frames = [frame async for frame in _checked(archive, delivery)]
    if frames is not None:
        few = [(part_of(*pair), frame) for *pair, frame in zip(delivery.numbers, map(len, frames), frames, strict=True)]
        return multipart_of_parts(few, representation.media_type, headers)
    parts = list(map(part_of, delivery.numbers, delivery.sizes))
    bodies = _checked(archive, delivery)
    if None in delivery.sizes:
        return multipart_of_streams(_each(parts, await primed(bodies)), representation.media_type, headers)
    first = once(await anext(bodies))
    return multipart_of_known(parts, first, (once(frame) async for frame in bodies), representation.media_type, headers)


async def _single(archive: Archive, delivery: FrameDelivery) -> tuple[int, OpenRange]:
    """Size of the frames together, and how to get at a range of them: a large frame is never held whole."""
    if len(delivery.runs) == 1 and can_stream(archive, delivery):
        return delivery.runs[0].length, lambda offset, length: stream_frame(archive, delivery, 0, offset, length)
    frame = b"".join([piece async for piece in _checked(archive, delivery)])
    return len(frame), lambda offset, length: _slice(frame, offset, length)


async def _streamed(archive: Archive, delivery: FrameDelivery, count: int) -> AsyncIterator[Body]:
    """The frames behind the first in pieces, each opened when its turn comes."""
    for index in range(1, count):
        yield stream_frame(archive, delivery, index)


async def _each(
    parts: Sequence[Part], bodies: AsyncIterator[bytes]
) -> AsyncIterator[tuple[Part, AsyncIterator[bytes]]]:
    """Frames whose sizes are known only when they are encoded, each announced when it is."""
    index = 0
    async for frame in bodies:
        yield parts[index]._replace(length=len(frame)), once(frame)
        index += 1


async def _slice(frame: bytes, offset: int, length: int) -> AsyncIterator[bytes]:
    yield frame[offset : offset + length]


async def _checked(archive: Archive, delivery: FrameDelivery) -> AsyncIterator[bytes]:
    """A frame of another size than was announced would corrupt the message: the connection is closed instead."""
    index = 0
    async for frame in read_frames(archive, delivery):
        if delivery.sizes[index] not in (None, len(frame)):
            raise RuntimeError(f"frame {delivery.numbers[index]} has {len(frame)} bytes, not {delivery.sizes[index]}")
        index += 1
        yield frame
