"""Requests that would have the protocol changed, or ask whether to go on: on bare connections."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cli.conftest import NewEventLoop
from tests.support.sockets import connected, read_answer, serving

UPGRADE = b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


class Application:
    """Tells what it was sent: `METHOD /path body`."""

    def __init__(self) -> None:
        self.asked = 0
        self.names: set[bytes] = set()  # of headers, of the last request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        self.names = {name for name, _ in scope["headers"]}
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        answer = f"{scope['method']} {scope['path']} ".encode() + body
        length = str(len(answer)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def port(new_event_loop: NewEventLoop, application: Application) -> AsyncIterator[int]:
    async with serving(application, new_event_loop, access_log=False) as number:
        yield number


@pytest.mark.parametrize("step", [1, 50, 100_000])
async def test_a_request_that_would_rather_be_of_http_2(application: Application, port: int, step: int) -> None:
    """Java's HttpClient and `curl --http2` ask so without TLS. It may be ignored (RFC 9110 7.8), their bodies may not."""
    large = b"l" * 3_000_000  # which threads receive
    requests = [
        (b"GET /get HTTP/1.1\r\n" + UPGRADE + b"\r\n", b"GET /get "),
        (b"POST /post HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 4\r\n\r\nbody", b"POST /post body"),
        (
            b"POST /chunked HTTP/1.1\r\n"
            + UPGRADE
            + b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            b"POST /chunked body",
        ),
        (b"POST /none HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 0\r\n\r\n", b"POST /none "),
        (b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /plain "),
    ]
    if step > 1000:
        requests[1:1] = [
            (
                b"PUT /large HTTP/1.1\r\n" + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(large) + large,
                b"PUT /large " + large,
            )
        ]
    async with connected(port) as (reader, writer):
        sent = b"".join(request for request, _ in requests)
        for start in range(0, len(sent), step):
            writer.write(sent[start : start + step])
            await asyncio.sleep(0)
        for _, answer in requests:
            assert await read_answer(reader) == answer
        writer.write(requests[1][0])
        assert await read_answer(reader) == requests[1][1]
        assert b"upgrade" not in application.names
        writer.write(b"CONNECT x:80 HTTP/1.1\r\n" + UPGRADE + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    assert application.asked == len(requests) + 1


async def test_many_that_would_rather_be_of_http_2(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write((b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n") * 100)
        for _ in range(100):
            assert await read_answer(reader) == b"GET / "


async def test_a_client_of_http_1_0_is_told_nothing_of_continuing(port: int) -> None:
    """It would take 100 for the answer (RFC 9110 10.1.1)."""
    async with connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nPOST / body")
