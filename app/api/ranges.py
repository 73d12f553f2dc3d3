"""Single-part answers of which a client may ask for ranges (RFC 9110 14; PS3.18 8.6.1.1)."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from app.api.responses import Body, StreamingBody, bytes_response, primed
from app.dicomweb.byte_ranges import (
    ByteRange,
    byteranges_content_type,
    byteranges_heads,
    byteranges_length,
    if_range_holds,
    parse_range,
    unsatisfied_content_range,
)
from app.dicomweb.conditional import ETag
from app.dicomweb.multipart_writer import closing, new_boundary

# (offset, length) -> those bytes of the representation
OpenRange = Callable[[int, int], AsyncIterator[bytes] | Body]


async def ranged_response(
    request: Request,
    open_range: OpenRange,
    *,
    size: int,
    media_type: str,
    etag: ETag,
    modified: datetime,
    headers: Mapping[str, str],
) -> Response:
    """The whole representation, or the ranges asked for: 200, 206 or 416. Raises what opening raises, before any byte."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    ranges = None
    # RFC 9110 14.2: ranges are defined for GET alone; HEAD tells of the whole.
    if not request.scope.get("gantry.head") and if_range_holds(
        request.headers.get("if-range"), etag, modified.timestamp()
    ):
        ranges = parse_range(request.headers.get("range"), size)
    if ranges is None:
        body = await primed(open_range(0, size)) if size else open_range(0, 0)
        return StreamingBody(body, media_type, length=size, headers=headers)
    if not ranges:
        headers["Content-Range"] = unsatisfied_content_range(size)
        return bytes_response(b"", media_type, status=416, headers=headers)
    if len(ranges) == 1:
        headers["Content-Range"] = ranges[0].content_range(size)
        body = await primed(open_range(ranges[0].start, ranges[0].length))
        return StreamingBody(body, media_type, length=ranges[0].length, status=206, headers=headers)
    boundary = new_boundary()
    return StreamingBody(
        await primed(_byteranges(open_range, boundary, media_type, ranges, size)),
        byteranges_content_type(boundary),
        length=byteranges_length(boundary, media_type, ranges, size),
        status=206,
        headers=headers,
    )


async def _byteranges(
    open_range: OpenRange, boundary: str, media_type: str, ranges: Sequence[ByteRange], size: int
) -> Body:
    for head, part in zip(byteranges_heads(boundary, media_type, ranges, size), ranges, strict=True):
        yield head
        async for piece in open_range(part.start, part.length):
            yield piece
    yield closing(boundary)
