"""multipart/related answers: parts planned, their heads prepared, the exact length known wherever the parts' lengths are."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from starlette.responses import Response

from app.api.responses import Body, PiecesBody, StreamingBody
from app.blobs.files import FileSlice
from app.dicomweb.multipart_writer import closing, message_length, multipart_content_type, new_boundary, part_head

Stream = AsyncIterator[bytes] | Body | FileSlice
# What follows in an answer: one stream, or the files of several parts.
Streams = Stream | list[FileSlice]


class Part(NamedTuple):
    """Headers of a part, "" in place of a Content-Location that it lacks; its length in bytes, None where only opening it tells."""

    content_type: str
    content_location: str = ""
    length: int | None = None


def multipart_of_known(
    parts: Sequence[Part],
    first: Streams,
    others: AsyncIterator[Streams] | None,
    media_type: str,
    headers: Mapping[str, str],
) -> StreamingBody:
    """Parts whose lengths are known: so is that of the answer. The first is there; the others are opened when their turn comes."""
    boundary = new_boundary()
    heads = [_head(boundary, part, index) for index, part in enumerate(parts)]
    length = message_length(heads, [part.length or 0 for part in parts], boundary)

    body = _known_body(boundary, heads, first, others)
    return StreamingBody(body, multipart_content_type(media_type, boundary), length=length, headers=headers)


async def _known_body(
    boundary: str, heads: Sequence[bytes], first: Streams, others: AsyncIterator[Streams] | None
) -> Body:
    waiting = deque(heads)
    while waiting:
        streams = first if len(waiting) == len(heads) or others is None else await anext(others)
        if isinstance(streams, list):
            for file in streams:
                file.head = waiting.popleft()
            yield streams
        else:
            async for piece in _with_head(waiting.popleft(), streams):
                yield piece
    yield closing(boundary)


async def _with_head(head: bytes, stream: Stream) -> Body:
    if isinstance(stream, FileSlice):
        stream.head = head
        yield stream
        return
    yield head
    async for piece in stream:
        yield piece


def multipart_of_streams(
    parts: AsyncIterator[tuple[Part, Stream]], media_type: str, headers: Mapping[str, str]
) -> StreamingBody:
    """Parts of which nothing is known before their turn comes: the answer is chunked."""
    boundary = new_boundary()

    async def headed() -> AsyncIterator[tuple[bytes, Stream]]:
        index = 0
        async for part, stream in parts:
            yield _head(boundary, part, index), stream
            index += 1

    return StreamingBody(_body(boundary, headed()), multipart_content_type(media_type, boundary), headers=headers)


async def _body(boundary: str, parts: AsyncIterator[tuple[bytes, Stream]]) -> Body:
    async for head, stream in parts:
        async for piece in _with_head(head, stream):
            yield piece
    yield closing(boundary)


def multipart_of_parts(
    parts: Sequence[tuple[Part, bytes | FileSlice]], media_type: str, headers: Mapping[str, str], *, status: int = 200
) -> Response:
    """Parts that are all there."""
    boundary = new_boundary()
    pieces: list[bytes | FileSlice] = [
        piece for index, (part, body) in enumerate(parts) for piece in (_head(boundary, part, index), body)
    ]
    pieces.append(closing(boundary))
    return PiecesBody(pieces, multipart_content_type(media_type, boundary), status=status, headers=headers)


def _head(boundary: str, part: Part, index: int) -> bytes:
    headers = {"Content-Type": part.content_type}
    if part.content_location:
        headers["Content-Location"] = part.content_location
    if part.length is not None:
        headers["Content-Length"] = str(part.length)
    return part_head(boundary, headers, first=index == 0)
