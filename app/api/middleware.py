"""Pure ASGI layers around every request (BaseHTTPMiddleware would cost a quarter of a millisecond and a task each).

RequestContext   request id, timing, access log, metrics, last line of defence against an error that nobody foresaw
HeadAsGet        HEAD runs as GET and sends no body (RFC 9110 9.3.2; PS3.18 8.1.1)
"""

import itertools
import os
import time

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.status_reports import status_report
from app.blobs.files import SEND_FILES
from app.observability import REQUEST_SECONDS, RESPONSE_BYTES, log, log_request

MAX_REQUEST_ID = 128


class RequestContext:
    """vary_by_origin  answers to requests without an Origin may not be given to those with one: said in Vary"""

    def __init__(self, app: ASGIApp, *, vary_by_origin: bool = False) -> None:
        self.app = app
        self._vary_by_origin = vary_by_origin
        # Unique among the processes that share a log; 64 random bits of each, then a number.
        self._process = os.urandom(8).hex()
        self._numbers = itertools.count(1)
        self._metrics: dict[tuple[str, int], tuple[Histogram, Counter]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id, has_origin = self._read_headers(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, sent = 0, 0

        async def observe(message: Message) -> None:
            nonlocal status, sent
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
                # Of the work before the answer begins; how long sending takes is the client's affair too.
                took = f"app;dur={(time.perf_counter() - started) * 1000:.2f}"
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode("latin-1")),
                    (b"server-timing", took.encode()),
                ]
                if self._vary_by_origin and not has_origin:
                    headers.append((b"vary", b"Origin"))
                message["headers"] = headers
            elif kind == "http.response.body":
                sent += len(message.get("body", b""))
            elif kind == SEND_FILES:
                sent += message["count"]
            await send(message)

        try:
            await self.app(scope, receive, observe)
        except Exception:
            log.exception("request.failed", method=scope["method"], path=scope["path"], status=status)
            if status:
                raise  # the answer has begun: the server closes the connection, nothing is faked
            await status_report(scope, 500, "internal error; the server's log has more", transient=True)(
                scope, receive, observe
            )
        finally:
            seconds = time.perf_counter() - started
            self._count(getattr(scope.get("route"), "name", "") or "unmatched", status, seconds, sent)
            log_request(scope["method"], scope["path"], status, sent, seconds * 1000, request_id)

    def _read_headers(self, scope: Scope) -> tuple[str, bool]:
        """The request's id, the caller's X-Request-ID when that is harmless; and whether it has an Origin."""
        request_id, has_origin = "", False
        for name, value in scope["headers"]:
            if name == b"origin":
                has_origin = True
            elif name == b"x-request-id" and 0 < len(value) <= MAX_REQUEST_ID and value.isascii():
                text = value.decode()
                request_id = text if text.isprintable() else ""
        return request_id or f"{self._process}{next(self._numbers):016x}", has_origin

    def _count(self, transaction: str, status: int, seconds: float, sent: int) -> None:
        metrics = self._metrics.get((transaction, status))
        if metrics is None:
            metrics = REQUEST_SECONDS.labels(transaction, str(status)), RESPONSE_BYTES.labels(transaction)
            self._metrics[transaction, status] = metrics
        metrics[0].observe(seconds)
        metrics[1].inc(sent)


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
            await send(message)

        await self.app(scope, receive, headers_only)
