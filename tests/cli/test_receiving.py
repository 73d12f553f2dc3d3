"""Requests that never end, or never come, on bare connections: how much is read of them, and for how long."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.cli import receiving
from app.cli.receiving import LARGEST_HEAD
from tests.cli.conftest import NewEventLoop
from tests.support.sockets import connected, read_answer, serving, until

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Application:
    """Takes the body and answers `ok`.

    may_take, may_answer, may_end  it waits for these
    """

    def __init__(self) -> None:
        self.received = 0
        self.answered = 0
        self.asked = 0
        self.left = 0  # clients, before all of their body had come
        self.may_take = True
        self.may_answer = True
        self.may_end = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        more = True
        while more:
            while not self.may_take:  # noqa: ASYNC110 - it is set on another event loop
                await asyncio.sleep(0.001)
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left += 1
                return
            self.received += len(message["body"])
            more = message["more_body"]
        while not self.may_answer:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        self.answered += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        while not self.may_end:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        await send({"type": "http.response.body", "body": b"k"})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def port(new_event_loop: NewEventLoop, application: Application) -> AsyncIterator[int]:
    async with serving(application, new_event_loop, access_log=False, timeout_keep_alive=1) as number:
        yield number


@pytest.fixture
def short_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(receiving, "BODY_SECONDS", 1.0)


def get(size: int) -> bytes:
    """A request whose head has so many bytes."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\nCookie: "
    return head + b"c" * (size - len(head) - 4) + b"\r\n\r\n"


async def sent_until_closed(writer: asyncio.StreamWriter, data: bytes, step: int, most: int) -> int:
    """How many bytes were taken of a client that does not stop."""
    sent = 0
    try:
        while sent < most:
            writer.write(data[:step])
            await writer.drain()
            sent += step
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    return sent


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """All until the connection ends, however that happens."""
    found = b""
    try:
        while piece := await reader.read(65536):
            found += piece
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize("step", [700, 5000, 100_000])
async def test_a_head_has_a_largest_size(application: Application, port: int, step: int) -> None:
    for size in (1000, 3000, LARGEST_HEAD):
        async with connected(port) as (reader, writer):
            request = get(size)
            for start in range(0, size, step):
                writer.write(request[start : start + step])
                await writer.drain()
            assert await read_answer(reader) == b"ok"
    async with connected(port) as (reader, writer):
        request = get(LARGEST_HEAD + 1)
        for start in range(0, len(request), step):
            writer.write(request[start : start + step])
            await asyncio.sleep(0)
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 431 ")
    assert application.asked == 3


@pytest.mark.parametrize("step", [700, 100_000])
@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: ", id="value"),
        pytest.param(b"GET /", id="URL"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="name"),
        pytest.param(b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nCookie: ", id="behind empty lines"),
    ],
)
async def test_a_head_that_never_ends(application: Application, port: int, begin: bytes, step: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(begin)
        assert await sent_until_closed(writer, b"a" * step, step, 64 * MIB) < 64 * MIB
        await rest_of(reader)
    async with connected(port) as (reader, writer):
        writer.write(begin + b"a" * (LARGEST_HEAD + 1))
        answer = await rest_of(reader)
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 ")), "names have a largest size for the parser too"
        assert b"\r\nconnection: close\r\n" in answer
    assert application.asked == 0


async def test_a_head_that_never_ends_behind_other_requests(application: Application, port: int) -> None:
    endless = b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 200
    async with connected(port) as (reader, writer):
        writer.write(GET * 3 + endless)
        for _ in range(3):
            assert await read_answer(reader) == b"ok"
        writer.write(b"a" * (LARGEST_HEAD + 1))
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 431 ")
    application.may_answer = False
    async with connected(port) as (reader, writer):
        writer.write(GET + endless)
        await until(lambda: application.asked == 4)
        writer.write(b"a" * (LARGEST_HEAD + 1))
        assert await rest_of(reader) == b"", "it would be taken for a part of the answer that is under way"
    application.may_answer = True


@pytest.mark.parametrize("begin", [b"3\r\nabc\r\n0\r\nTrailer: ", b"3\r\nabc\r\n0\r\n", b"3;extension="])
async def test_what_is_around_chunks_has_a_largest_size(application: Application, port: int, begin: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(CHUNKED + begin)
        line = b"Trailer: a\r\n" * 100 if begin.endswith(b"\n") else b"a" * 1200
        assert await sent_until_closed(writer, line, 1200, 64 * MIB) < 64 * MIB
        await rest_of(reader)
    await until(lambda: application.left == 1)


async def test_what_is_around_chunks_is_not_added_up(application: Application, port: int) -> None:
    """Only what nothing came of."""
    async with connected(port) as (reader, writer):
        writer.write(CHUNKED + (b"3;extension=" + b"a" * 1000 + b"\r\nabc\r\n") * 300)
        await writer.drain()
        writer.write(b"0\r\nTrailer: " + b"a" * 60_000 + b"\r\n\r\n")
        assert await read_answer(reader) == b"ok"
    assert application.received == 900


async def test_not_any_number_of_requests_waits(application: Application, port: int) -> None:
    application.may_answer = False
    async with connected(port) as (reader, writer):
        writer.write(GET * 100)
        await until(lambda: application.asked == 1)
        application.may_answer = True
        for _ in range(100):
            assert await read_answer(reader) == b"ok"
    application.may_answer = False
    async with connected(port) as (reader, writer):
        writer.write(GET * (receiving.MOST_BEHIND + 2))
        assert (await rest_of(reader)).startswith(b"HTTP/1.1 400 ")
    application.may_answer = True
    await until(lambda: application.asked == application.answered == 101)


@pytest.mark.parametrize(
    "hosts", [b"", b"Host: x\r\nHost: x\r\n", b"Host: x\r\nhost: y\r\n"], ids=["none", "twice", "two"]
)
async def test_a_request_of_http_1_1_names_one_host(application: Application, port: int, hosts: bytes) -> None:
    async with connected(port) as (reader, writer):
        writer.write(GET + b"GET / HTTP/1.1\r\nAccept: */*\r\n" + hosts + b"\r\n" + GET)
        answers = await rest_of(reader)
    assert b"ok" not in answers.partition(b"\r\n\r\nok")[2]
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n" + GET)
        answers = await rest_of(reader)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.endswith(b" one Host header (RFC 9112 section 3.2).")
    assert application.asked <= 1  # the one in front, of the other connection


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(
            (host, 200)
            for host in ("", "x", "x:", "a_b.example:80", "[::1]:8080", "[fe80::1%25eth0]", "a%20b", "127.0.0.1")
        ),
        *(
            (host, 400)
            for host in (
                "a b",
                "a/b",
                "a?b",
                "a#b",
                "me@a",
                "a:b",
                "a:1:2",
                "[::1",
                "::1",
                "a, b",
                '"a"',
                "\xff",
                "a\\b",
            )
        ),
    ],
)
async def test_a_host_is_a_name_or_an_address(application: Application, port: int, host: str, status: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\nHost: " + host.encode("latin-1") + b"\r\n\r\n")
        assert (await rest_of(reader)).startswith(f"HTTP/1.1 {status} ".encode())
    assert application.asked == (status == 200)


async def test_a_client_of_http_1_0_need_not_name_a_host(application: Application, port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await rest_of(reader)).endswith(b"\r\n\r\nok")


async def test_rubbish_does_not_get_into_an_answer(application: Application, port: int) -> None:
    application.may_end = False
    async with connected(port) as (reader, writer):
        writer.write(GET)
        assert await reader.readexactly(12) == b"HTTP/1.1 200"
        writer.write(b"rubbish\r\n\r\n")
        assert b" 400 " not in await rest_of(reader)
    application.may_end = True
    await until(lambda: application.answered == 1)


async def test_empty_lines_between_requests_are_not_counted(application: Application, port: int) -> None:
    async with connected(port) as (reader, writer):
        for _ in range(40):
            writer.write(GET)
            assert await read_answer(reader) == b"ok"
            writer.write(b"\r\n" * 1000)
            await asyncio.sleep(0.001)
    assert application.asked == 40


@pytest.mark.usefixtures("short_of_patience")
async def test_a_client_that_says_nothing(application: Application, port: int) -> None:
    async with connected(port) as (reader, _), asyncio.timeout(20):
        assert await rest_of(reader) == b""
    assert application.asked == 0


@pytest.mark.usefixtures("short_of_patience")
async def test_empty_lines_are_as_good_as_nothing(application: Application, port: int) -> None:
    async with connected(port) as (_, writer), asyncio.timeout(20):
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
    assert application.asked == 0


@pytest.mark.usefixtures("short_of_patience")
@pytest.mark.parametrize("before", [b"", GET, GET + GET])
async def test_half_a_head(application: Application, port: int, before: bytes) -> None:
    """It does not help to send a little of it now and then."""
    async with connected(port) as (reader, writer), asyncio.timeout(20):
        writer.write(before + GET[:20])
        for _ in range(before.count(GET)):
            assert await read_answer(reader) == b"ok"
        answer = asyncio.create_task(rest_of(reader))
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
        assert (await answer).startswith(b"HTTP/1.1 408 ")
        assert b"\r\nconnection: close\r\n" in await answer
    assert application.asked == before.count(GET)


@pytest.mark.usefixtures("short_of_patience")
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", id="nothing"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", id="little"),
        pytest.param(CHUNKED + b"10\r\nabc", id="chunk"),
        pytest.param(CHUNKED + b"3\r\nabc\r\n0\r\nTrailer: ", id="trailer"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nabc", id="large"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"a" * MIB, id="much"),
    ],
)
async def test_half_a_body(application: Application, port: int, request_: bytes) -> None:
    async with connected(port) as (reader, writer), asyncio.timeout(20):
        writer.write(request_)
        assert await rest_of(reader) == b""
        await until(lambda: application.left == 1)
    assert application.answered == 0


@pytest.mark.usefixtures("short_of_patience")
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [2000, MIB + 300_000])
async def test_a_slow_body_comes_to_its_end(application: Application, port: int, size: int, chunked: bool) -> None:
    """Slower than the server is patient in all, and than what a thread is woken for."""
    data = os.urandom(size)
    parts = [data[:-60], *(data[place : place + 1 or None] for place in range(-60, 0))]
    async with connected(port) as (reader, writer), asyncio.timeout(60):
        head = CHUNKED if chunked else b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        writer.write(head)
        for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await asyncio.sleep(0.05)
        if chunked:
            writer.write(b"0\r\n\r\n")
        assert await read_answer(reader) == b"ok"
    assert application.received == size


@pytest.mark.usefixtures("short_of_patience")
@pytest.mark.parametrize("size", [500_000, 3 * MIB])
async def test_who_waits_for_the_server_is_waited_for(application: Application, port: int, size: int) -> None:
    application.may_take = application.may_answer = False
    async with connected(port) as (reader, writer), asyncio.timeout(60):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size + GET[:20])
        await asyncio.sleep(2.5)
        application.may_take = True
        await until(lambda: application.received == size)
        await asyncio.sleep(1.5)
        application.may_answer = True
        assert await read_answer(reader) == b"ok"
        writer.write(GET[20:])
        assert await read_answer(reader) == b"ok"


@pytest.mark.usefixtures("short_of_patience")
async def test_who_waits_for_100_continue_is_waited_for(application: Application, port: int) -> None:
    application.may_take = False
    async with connected(port) as (reader, writer), asyncio.timeout(60):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        await asyncio.sleep(2.5)
        application.may_take = True
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"abc")
        assert await read_answer(reader) == b"ok"
