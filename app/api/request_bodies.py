"""Request bodies as they arrive: content codings undone, their size bounded, a vanished client told from a finished one."""

import zlib
from collections.abc import AsyncIterator

from fastapi import Request

from app.errors import MalformedMessage, TooLarge, UnsupportedMediaType

STEP = 256 * 1024  # most that one compressed chunk may grow to at a time
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(request: Request, *, limit: int) -> AsyncIterator[bytes]:
    """Chunks of the body after Content-Encoding. `limit` in bytes, 0 for none.

    Raises UnsupportedMediaType, TooLarge, MalformedMessage, starlette.requests.ClientDisconnect.
    """
    declared = request.headers.get("content-length", "")
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if limit and coding == "identity" and declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"the request has {declared} bytes, this server takes {limit}")
    received = 0
    async for chunk in request.stream() if coding == "identity" else _inflated(request.stream(), coding):
        received += len(chunk)
        if limit and received > limit:
            raise TooLarge(f"the request has more than the {limit} bytes that this server takes")
        yield chunk


def check_content_encoding(request: Request) -> None:
    """Raises UnsupportedMediaType before anything of the body is read (RFC 9110 15.5.16)."""
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding != "identity" and coding not in _WINDOW:
        raise UnsupportedMediaType(f"Content-Encoding {coding[:40]} is not read here; gzip and deflate are")


async def _inflated(stream: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(_WINDOW[coding])
    async for chunk in stream:
        try:
            while chunk:
                if inflater.eof:  # gzip members may follow one another (RFC 1952 2.2)
                    inflater = zlib.decompressobj(_WINDOW[coding])
                yield inflater.decompress(chunk, STEP)
                chunk = inflater.unconsumed_tail or inflater.unused_data
        except zlib.error as error:
            raise MalformedMessage(f"the body is not {coding}: {error}") from error
    rest = inflater.flush()
    if rest:
        yield rest
    if not inflater.eof:
        raise MalformedMessage(f"the {coding} body ends too early")
