"""Content codings for text: DICOM JSON, XML and error reports. Pixel data is never compressed here (PS3.18 8.4.1)."""

import zlib
from collections.abc import Iterable
from functools import lru_cache

import zstandard
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi_extensions import AGAIN

MINIMUM_BYTES = 512
GZIP_LEVEL = 1  # DICOM JSON shrinks to a tenth already; higher levels cost many times the processor for a few per cent
ZSTD_LEVEL = 3
_TEXT = (
    b"application/dicom+json",
    b"application/json",
    b"application/problem+json",
    b"text/",
    b"application/vnd.sun.wadl+xml",
    b'multipart/related; type="application/dicom+xml"',
)
_REMEMBERED_LENGTH = 200  # of an Accept-Encoding


class CompressText:
    """Pure ASGI; streamed bodies are compressed piece by piece."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        coding = _coding_for(_header(scope["headers"], b"accept-encoding"))
        await self.app(scope, receive, _Sender(send, coding, bool(scope.get("gantry.head"))).send)


class _Sender:
    """Holds the head of the answer back until its first body message tells how long it is."""

    def __init__(self, send: Send, coding: str, is_head: bool) -> None:
        self._send = send
        self._coding = coding
        self._is_head = is_head
        self._start: Message | None = None
        self._stream: zlib._Compress | zstandard.ZstdCompressionObj | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_text(message):
            headers = MutableHeaders(raw=message["headers"])
            headers.add_vary_header("Accept-Encoding")
            if self._coding and message["status"] not in (204, 206, 304) and "content-encoding" not in headers:
                message.pop(AGAIN, None)  # its body is not this one
                self._start = message
                return
        if message["type"] != "http.response.body" or (self._start is None and self._stream is None):
            await self._send(message)
            return
        await self._body(message)

    async def _body(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            headers = MutableHeaders(raw=start["headers"])
            streamed = "content-length" not in headers  # to HEAD such a body is not sent, whatever its size
            if not more and len(body) < MINIMUM_BYTES and not (self._is_head and streamed):
                await self._send(start)
                await self._send(message)
                return
            headers["content-encoding"] = self._coding
            del headers["content-length"]
            etag = headers.get("etag")
            if etag and not etag.startswith("W/"):
                # The coded bytes are others than those that the strong tag names (RFC 9110 8.8.3.3).
                headers["etag"] = f"W/{etag}"
            self._stream = _compressor(self._coding)
            if not more and not (self._is_head and streamed):
                body = self._stream.compress(body) + self._stream.flush()
                headers["content-length"] = str(len(body))
                await self._send(start)
                await self._send({"type": "http.response.body", "body": body})
                return
            await self._send(start)
        if self._stream is not None:
            body = self._stream.compress(body) + (b"" if more else self._stream.flush())
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _compressor(coding: str) -> "zlib._Compress | zstandard.ZstdCompressionObj":
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)


def is_text(media_type: str) -> bool:
    """Whether answers of this type are compressed for clients that take it."""
    return media_type.encode("latin-1").startswith(_TEXT)


def _is_text(start: Message) -> bool:
    return _header(start["headers"], b"content-type").startswith(_TEXT)


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """The first of that name, which is in lower case as ASGI has it; b"" where there is none."""
    for name, value in headers:
        if name == wanted:
            return value
    return b""


def takes_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip by name."""
    return _weights(accept_encoding).get("gzip", 0.0) > 0


def _coding_for(accept_encoding: bytes) -> str:
    known = _known_coding if len(accept_encoding) <= _REMEMBERED_LENGTH else _coding
    return known(accept_encoding.decode("latin-1"))


def _coding(accept_encoding: str) -> str:
    """The best coding that the client takes by name (RFC 9110 12.5.3); "" for none."""
    weights = _weights(accept_encoding)
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 else ""


_known_coding = lru_cache(maxsize=64)(_coding)


def _weights(accept_encoding: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        try:
            weights[name.strip()] = float(parameter.partition("=")[2]) if parameter.strip() else 1.0
        except ValueError:
            continue
    return weights
