"""multipart/related answers: parts planned, their heads prepared, the exact length known wherever the parts' lengths are."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from app.api.responses import Body, PiecesBody, StreamingBody
from app.blobs.files import FileSlice
from app.dicomweb.multipart_writer import closing, message_length, multipart_content_type, new_boundary, part_head


@dataclass(frozen=True, slots=True)
class Part:
    """Headers of a part besides Content-Length, and its length in bytes (None: only known when it is opened)."""

    headers: Mapping[str, str]
    length: int | None = None


def multipart_of_streams(
    parts: AsyncIterator[tuple[Part, AsyncIterator[bytes] | Body | FileSlice]],
    media_type: str,
    headers: Mapping[str, str],
    *,
    heads_of: Sequence[Part] | None = None,
) -> StreamingBody:
    """Parts that stream, each opened when its turn comes. With `heads_of`, all parts with their lengths, the whole length is
    known before; otherwise the answer is chunked.
    """
    boundary = new_boundary()
    length = None
    heads: list[bytes] = []
    if heads_of is not None:
        heads = [_head(boundary, part, index) for index, part in enumerate(heads_of)]
        length = message_length(heads, [part.length or 0 for part in heads_of], boundary)

    async def body() -> Body:
        index = 0
        async for part, stream in parts:
            head = heads[index] if heads else _head(boundary, part, index)
            index += 1
            if isinstance(stream, FileSlice):
                stream.head = head
                yield stream
                continue
            yield head
            async for piece in stream:
                yield piece
        yield closing(boundary)

    return StreamingBody(body(), multipart_content_type(media_type, boundary), length=length, headers=headers)


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
    headers = dict(part.headers)
    if part.length is not None:
        headers["Content-Length"] = str(part.length)
    return part_head(boundary, headers, first=index == 0)
