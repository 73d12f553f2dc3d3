"""Answers as ASGI messages: prepared bytes, and bodies that stream.

Everything that can fail cheaply fails before the first byte. What fails later raises through the server, which closes the
connection without a final chunk or short of Content-Length: a client can always tell (design section 4, path 5).
"""

from collections.abc import AsyncIterator, Iterable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Headers = Iterable[tuple[str, str]]


def bytes_response(
    body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A whole body at once, its Content-Type sent exactly as given."""
    response = Response(body, status_code=status, headers=headers)
    response.headers["content-type"] = media_type
    return response


async def primed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same body with its first piece already fetched: what goes wrong up to there still gets a status."""
    try:
        first = await anext(body)
    except StopAsyncIteration:
        first = b""

    async def rest() -> AsyncIterator[bytes]:
        try:
            yield first
            async for piece in body:
                yield piece
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    return rest()


class StreamingBody(Response):
    """A body in pieces. `length` in bytes when it is known: then Content-Length is sent, else the answer is chunked.

    The iterator is closed in every case, so that files and connections that it holds are given back at once.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes],
        media_type: str,
        *,
        length: int | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.body_iterator = body
        self.raw_headers = [(b"content-type", media_type.encode("latin-1"))]
        if length is not None:
            self.raw_headers.append((b"content-length", str(length).encode()))
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self.body_iterator
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if not scope.get("gantry.head"):
                async for piece in body:
                    if piece:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
