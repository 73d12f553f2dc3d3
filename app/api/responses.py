"""Answers as ASGI messages: prepared bytes, and bodies that stream.

Everything that can fail cheaply fails before the first byte. What fails later raises through the server, which closes the
connection without a final chunk or short of Content-Length: a client can always tell.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.connected import disconnected
from app.asgi_extensions import AGAIN, SEND_FILES, Again
from app.blobs.files import FileSlice

Body = AsyncIterator[bytes | FileSlice | list[FileSlice]]
P = TypeVar("P")
_JOINED_BYTES = 64 * 1024  # copying so much takes less than sending it apart


def bytes_response(
    body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A whole body at once, its Content-Type sent exactly as given."""
    response = Response(body, status_code=status, headers=headers)
    response.headers["content-type"] = media_type
    return response


async def primed(body: AsyncIterator[P]) -> AsyncIterator[P]:
    """The same body with its first piece already fetched: what goes wrong up to there still gets a status."""
    first: list[P] = []
    with contextlib.suppress(StopAsyncIteration):
        first.append(await anext(body))

    async def rest() -> AsyncIterator[P]:
        try:
            for piece in first:
                yield piece
            async for piece in body:
                yield piece
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    return rest()


async def once(data: bytes) -> AsyncIterator[bytes]:
    """A body that is there, for those who take streams."""
    yield data


class _Closes(Protocol):
    async def aclose(self) -> None: ...


class StreamingBody(Response):
    """A body in pieces, which ends when the client has gone. `length` in bytes when it is known: then Content-Length is sent,
    else the answer is chunked.

    The iterator is closed in every case, so that files and connections that it holds are given back at once; and so is `source`
    that feeds it: a generator that was never begun cannot do that for what it would have read.
    """

    source: _Closes | None = None

    def __init__(
        self,
        body: AsyncIterator[bytes] | Body,
        media_type: str,
        *,
        length: int | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.body_iterator = body
        self.raw_headers = _raw_headers(media_type, length, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope.get("gantry.head") or await self._send_pieces(
                receive, send, SEND_FILES in scope.get("extensions", ())
            ):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._close()

    async def _send_pieces(self, receive: Receive, send: Send, takes_files: bool) -> bool:
        """False where the client has gone before the end."""
        gone: asyncio.Task[None] | None = None
        is_first = True
        try:
            async for piece in self.body_iterator:
                if is_first:  # many bodies are one piece, and need not be watched
                    is_first = False
                elif gone is None:
                    gone = asyncio.create_task(disconnected(receive))
                    await asyncio.sleep(0)  # what comes from memory gives nobody else a turn
                if gone is not None and gone.done():
                    return False
                if isinstance(piece, FileSlice):
                    await _send_slices([piece], send, takes_files=takes_files)
                elif isinstance(piece, list):
                    await _send_slices(piece, send, takes_files=takes_files)
                elif piece:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            if gone is not None:
                gone.cancel()
        return True

    async def _close(self) -> None:
        try:
            close = getattr(self.body_iterator, "aclose", None)
            if close is not None:
                await close()
        finally:
            if self.source is not None:
                await self.source.aclose()


async def _send_slices(slices: Sequence[FileSlice], send: Send, *, takes_files: bool) -> None:
    if takes_files:
        count = sum([len(one.head) + one.length for one in slices])
        await send({"type": SEND_FILES, "files": slices, "count": count, "more_body": True})
        return
    for one in slices:
        async for chunk in one.read():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


class PiecesBody(Response):
    """A body that is all there, in pieces and parts of files: large ones are sent as they are, small ones together.

    again  what the server needs to give the same answer once more, where that may be
    """

    again: Again | None = None

    def __init__(
        self,
        pieces: Sequence[bytes | FileSlice],
        media_type: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = status
        self.background = None
        self.pieces = pieces
        length = sum(piece.length if isinstance(piece, FileSlice) else len(piece) for piece in pieces)
        self.raw_headers = _raw_headers(media_type, length, headers)

    def with_pieces(self, pieces: Sequence[bytes | FileSlice], again: Again | None = None) -> "PiecesBody":
        """The same head with other pieces, which together are as long as it says."""
        other = PiecesBody.__new__(PiecesBody)
        other.status_code = self.status_code
        other.background = None
        other.pieces = pieces
        other.raw_headers = self.raw_headers
        other.again = again
        return other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if self.again is not None:
            start[AGAIN] = self.again
        await send(start)
        waiting: list[bytes] = []
        if not scope.get("gantry.head"):
            takes_files = SEND_FILES in scope.get("extensions", ())
            for piece in self.pieces:
                if isinstance(piece, FileSlice):
                    piece.head = b"".join(waiting)
                    await _send_slices([piece], send, takes_files=takes_files)
                    waiting = []
                    continue
                if len(piece) < _JOINED_BYTES:
                    waiting.append(piece)
                    continue
                if waiting:
                    await send({"type": "http.response.body", "body": b"".join(waiting), "more_body": True})
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                waiting = []
        await send({"type": "http.response.body", "body": b"".join(waiting), "more_body": False})


def _raw_headers(media_type: str, length: int | None, headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
    raw = [(b"content-type", media_type.encode("latin-1"))]
    if length is not None:
        raw.append((b"content-length", str(length).encode()))
    if headers:
        raw += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return raw
