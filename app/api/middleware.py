"""Pure ASGI layers around every request (BaseHTTPMiddleware would cost a quarter of a millisecond and a task each).

RequestContext   request id, timing, access log, metrics, last line of defence against an error that nobody foresaw
HeadAsGet        HEAD runs as GET and sends no body (RFC 9110 9.3.2; PS3.18 8.1.1)
"""

import itertools
import os
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.status_reports import status_report
from app.asgi_extensions import AGAIN, SEND_FILES, Again, Pieces, RawHeaders, Repeat
from app.observability import REQUESTS, log_failure, log_request

MAX_REQUEST_ID = 128


class RequestContext:
    """vary_by_origin  answers to requests without an Origin may not be given to those with one: said in Vary"""

    def __init__(self, app: ASGIApp, *, vary_by_origin: bool = False) -> None:
        self.app = app
        self._vary_by_origin = vary_by_origin
        # Unique among the processes that share a log; 64 random bits of each, then a number.
        self._process = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        given_id, has_origin = _read_headers(scope)
        request_id = given_id or self.new_id()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, received, sent = 0, 0, 0

        async def listen() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def observe(message: Message) -> None:
            nonlocal status, sent
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                if self._vary_by_origin and not has_origin:
                    headers.append((b"vary", b"Origin"))
                if AGAIN in message:
                    message[AGAIN] = _Repeatable(self, headers, message[AGAIN], _words(scope), status, given_id)
                took = _milliseconds_since(started)
                message["headers"] = [
                    *headers,
                    (b"x-request-id", request_id.encode()),
                    (b"server-timing", took.encode()),
                ]
            elif kind == "http.response.body":
                sent += len(message.get("body", b""))
            elif kind == SEND_FILES:
                sent += message["count"]
            await send(message)

        try:
            await self.app(scope, listen, observe)
        except Exception as error:
            log_failure(error, "request.failed", method=scope["method"], path=scope["path"], status=status)
            if status:
                raise  # the answer has begun: the server closes the connection, nothing is faked
            await status_report(scope, 500, "internal error; the server's log has more", transient=True)(
                scope, receive, observe
            )
        finally:
            seconds = time.perf_counter() - started
            _tell(_words(scope), status, seconds, received, sent, request_id)

    def new_id(self) -> str:
        return f"{self._process}{next(self._numbers):016x}"


_Words = tuple[str, str, str]


def _tell(words: _Words, status: int, seconds: float, received: int, sent: int, request_id: str) -> None:
    """In the metrics and in the log. `received` and `sent`: bytes of the bodies."""
    transaction, method, path = words
    REQUESTS.count(transaction, status, seconds=seconds, received=received, sent=sent)
    log_request(method, path, status, sent, seconds * 1000, request_id)


def _words(scope: Scope) -> _Words:
    """What a request is called: its transaction, method and path."""
    return getattr(scope.get("route"), "name", "") or "unmatched", scope["method"], scope["path"]


def _read_headers(scope: Scope) -> tuple[str, bool]:
    """The caller's X-Request-ID when it is harmless, else ""; and whether the request has an Origin."""
    request_id, has_origin = "", False
    for name, value in scope["headers"]:
        if name == b"origin":
            has_origin = True
        elif name == b"x-request-id" and 0 < len(value) <= MAX_REQUEST_ID and value.isascii():
            text = value.decode()
            request_id = text if text.isprintable() else ""
    return request_id, has_origin


def _milliseconds_since(started: float) -> str:
    """Of the work before the answer begins; how long sending takes is the client's affair too."""
    return f"app;dur={(time.perf_counter() - started) * 1000:.2f}"


class _Repeatable:
    """The same answer to requests that never get here (app.asgi_extensions)."""

    def __init__(
        self, context: RequestContext, headers: RawHeaders, again: Again, words: _Words, status: int, given_id: str
    ) -> None:
        self.context, self.headers, self.again = context, headers, again
        self.words, self.status, self.given_id = words, status, given_id

    def begin(self) -> Repeat | None:
        started = time.perf_counter()
        try:
            pieces = self.again()
        except Exception:  # noqa: BLE001 - it is told when the request takes its usual way
            return None
        return None if pieces is None else _Repeat(self, started, pieces)


class _Repeat:
    __slots__ = ("_of", "_request_id", "_started", "lines", "pieces")

    def __init__(self, of: _Repeatable, started: float, pieces: Pieces) -> None:
        self._of, self._started, self.pieces = of, started, pieces
        self._request_id = of.given_id or of.context.new_id()
        took = _milliseconds_since(started)
        self.lines = f"x-request-id: {self._request_id}\r\nserver-timing: {took}\r\n".encode()

    def end(self) -> None:
        of, sent = self._of, 0
        for piece in self.pieces:
            sent += len(piece) if isinstance(piece, bytes) else piece.length
        _tell(of.words, of.status, time.perf_counter() - self._started, 0, sent, self._request_id)


class HeadAsGet:
    """Marks the scope, so that streaming answers can stop after their headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "method": "GET", "gantry.head": True}

        async def headers_only(message: Message) -> None:
            if message["type"] == SEND_FILES:
                return
            if message["type"] == "http.response.body":
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": b""}
            message.pop(AGAIN, None)  # it would give the body too
            await send(message)

        await self.app(scope, receive, headers_only)
