"""Pure ASGI layers around every request (BaseHTTPMiddleware would cost a quarter of a millisecond and a task each).

RequestContext   request id, access log, metrics, last line of defence against an error that nobody foresaw
HeadAsGet        HEAD runs as GET and sends no body (RFC 9110 9.3.2; PS3.18 8.1.1)
"""

import time
import uuid

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.status_reports import status_report
from app.observability import REQUEST_SECONDS, RESPONSE_BYTES, log

MAX_REQUEST_ID = 128


class RequestContext:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, sent = 0, 0

        async def observe(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode("latin-1"))]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
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
            route = scope.get("route")
            transaction = getattr(route, "name", "") or "unmatched"
            REQUEST_SECONDS.labels(transaction, str(status)).observe(seconds)
            RESPONSE_BYTES.labels(transaction).inc(sent)
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                bytes=sent,
                milliseconds=round(seconds * 1000, 2),
            )


def _request_id(scope: Scope) -> str:
    """The caller's X-Request-ID when it is harmless, else a new one."""
    for name, value in scope["headers"]:
        if (
            name == b"x-request-id"
            and 0 < len(value) <= MAX_REQUEST_ID
            and value.isascii()
            and value.decode().isprintable()
        ):
            return str(value.decode())
    return uuid.uuid4().hex


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
            if message["type"] == "http.response.body":
                if message.get("more_body"):
                    return
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self.app(scope, receive, headers_only)
