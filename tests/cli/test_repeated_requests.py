"""Answers that a server gives again by itself, on bare connections: to whom, when, and when not."""

import asyncio
import itertools
import os
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from app.asgi_extensions import AGAIN, Pieces
from app.blobs.files import FileSlice, OpenFile
from app.cli import repeated_requests
from tests.cli.conftest import NewEventLoop
from tests.support.sockets import connected, read_answer, serving, until

MIB = 1024 * 1024
REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Says how often it was asked; what it offers for the next time says `again` and how often it was said.

    stale  it wants to be asked
    file   what is given again, after some bytes, in their place
    slow   seconds until it answers
    filling  bytes behind what it says
    """

    def __init__(self) -> None:
        self.asked = self.given = self.ended = 0
        self.stale = False
        self.file: FileSlice | None = None
        self.slow = 0.0
        self.filling = 0
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.lines = b"x-number: 1\r\n"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        while (await receive())["more_body"]:
            pass
        await asyncio.sleep(self.slow)
        body = b"asked %05d" % self.asked
        length = len(body) + (self.file.length if self.file else self.filling)
        self.headers = [(b"x-path", scope["path"].encode()), (b"content-length", b"%d" % length)]
        headers = [*self.headers, (b"x-number", b"0")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers, AGAIN: Offer(self)})
        body += b"-" * (length - len(body))
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Offer:
    def __init__(self, of: Application) -> None:
        self._of = of
        self.headers = of.headers
        self.lines = of.lines
        self.pieces: Pieces = []

    def begin(self) -> "Offer | None":
        of = self._of
        if of.stale:
            return None
        of.given += 1
        text = b"again %05d" % of.given
        self.pieces = [text[:3], of.file, text[3:]] if of.file else [text, b"-" * of.filling]
        return self

    def end(self) -> None:
        self._of.ended += 1


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def port(new_event_loop: NewEventLoop, application: Application) -> AsyncIterator[int]:
    async with serving(application, new_event_loop, access_log=False) as number:
        yield number


@pytest.fixture
def large_file(tmp_path: Path) -> OpenFile:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3 * MIB))
    return OpenFile(os.open(path, os.O_RDONLY), 3 * MIB)


async def ask(port: int, *requests: bytes) -> list[bytes]:
    """One by one on one connection."""
    answers = []
    async with connected(port) as (reader, writer):
        for request in requests:
            writer.write(request)
            answers.append(await read_answer(reader))
    return answers


async def test_the_same_bytes_on_any_connection(application: Application, port: int) -> None:
    assert await ask(port, REQUEST, REQUEST, REQUEST) == [b"asked 00001", b"again 00001", b"again 00002"]
    assert await ask(port, REQUEST) == [b"again 00003"]
    await until(lambda: application.ended == 3)
    assert (application.asked, application.given) == (1, 3)


async def test_what_the_head_says(application: Application, port: int) -> None:
    await ask(port, REQUEST)
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        assert first == b"HTTP/1.1 200 OK"
        names = [line.split(b": ")[0] for line in lines if line]
        assert names == [b"x-path", b"content-length", b"date", b"x-number"]
        assert b"x-number: 1" in lines


async def test_other_bytes_are_another_request(application: Application, port: int) -> None:
    others = [
        b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
        b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    await ask(port, REQUEST)
    assert await ask(port, *others[:3]) == [b"asked 00002", b"asked 00003", b"asked 00004"]


async def test_an_answer_that_is_not_right_any_more(application: Application, port: int) -> None:
    await ask(port, REQUEST)
    application.stale = True
    assert await ask(port, REQUEST, REQUEST) == [b"asked 00002", b"asked 00003"]
    application.stale = False
    assert await ask(port, REQUEST) == [b"again 00001"]


@pytest.mark.parametrize(
    "request_", [b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET /a HTTP/1.0\r\n\r\n"]
)
async def test_a_connection_that_ends_with_its_answer(application: Application, port: int, request_: bytes) -> None:
    for number in range(1, 4):
        async with connected(port) as (reader, writer):
            writer.write(request_)
            assert (await reader.read()).endswith(b"asked %05d" % number)
    assert application.given == 0


@pytest.mark.parametrize("step", [1, 5, len(REQUEST) - 1])
async def test_requests_in_pieces(application: Application, port: int, step: int) -> None:
    await ask(port, REQUEST)
    async with connected(port) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(REQUEST), step):
            writer.write(REQUEST[start : start + step])
            await writer.drain()
            await asyncio.sleep(0.002)
        assert await read_answer(reader) == b"asked 00002"
        writer.write(REQUEST)
        assert await read_answer(reader) == b"again 00001"


async def test_the_bytes_of_a_request_within_another_are_none(application: Application, port: int) -> None:
    await ask(port, REQUEST)
    body = REQUEST * 2
    async with connected(port) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for head in (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body),
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body),
        ):
            asked = application.asked
            writer.write(head)
            await until(lambda asked=asked: application.asked > asked)  # type: ignore[misc]
            for _ in range(2):
                writer.write(REQUEST)
                await asyncio.sleep(0.01)
            if b"chunked" in head:
                writer.write(b"\r\n0\r\n\r\n")
            assert (await read_answer(reader)).startswith(b"asked")
    assert application.given == 0


async def test_the_bytes_of_a_request_within_the_head_of_another_are_none(application: Application, port: int) -> None:
    await ask(port, REQUEST)
    async with connected(port) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(b"GET /other HTTP/1.1\r\nX: ")
        await asyncio.sleep(0.05)
        writer.write(REQUEST)  # the value of X, and the rest of the head
        assert await _paths(reader, 1) == [b"/other"]
    assert application.given == 0


async def test_requests_behind_each_other(application: Application, port: int) -> None:
    await ask(port, REQUEST)
    async with connected(port) as (reader, writer):
        writer.write(REQUEST * 3)
        assert [await read_answer(reader) for _ in range(3)] == [b"asked 00002", b"asked 00003", b"asked 00004"]


async def test_a_request_behind_one_that_is_being_answered(application: Application, port: int) -> None:
    await ask(port, REQUEST)
    application.slow = 0.1
    async with connected(port) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: application.asked == 2)
        writer.write(REQUEST)
        assert [await read_answer(reader) for _ in range(2)] == [b"asked 00002", b"asked 00003"]


KINDS = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 56\r\n\r\n" + REQUEST * 2,
    b"POST /d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n" + REQUEST + b"\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("seed", range(12))
async def test_any_requests_in_any_pieces(application: Application, port: int, seed: int) -> None:
    """Each is answered, in their order, whatever of it arrives at once."""
    chance = random.Random(seed)
    for _ in range(6):
        sent = chance.choices(KINDS, k=30)
        async with connected(port) as (reader, writer):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = b"".join(sent)
            ends = [len(b"".join(sent[:number])) for number in range(1, 31)]
            cuts = sorted({*chance.sample(ends, 20), *chance.sample(range(len(stream)), 6), len(stream)})
            answers = asyncio.create_task(_paths(reader, len(sent)))
            for start, end in itertools.pairwise([0, *cuts]):
                writer.write(stream[start:end])
                await asyncio.sleep(chance.choice([0, 0.001]))
            assert await answers == [request.split(b" ")[1] for request in sent]
    await until(lambda: application.given == application.ended)
    assert application.given > 0


async def _paths(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(11)
        found.append(head.split(b"x-path: ")[1].split(b"\r\n")[0])
    return found


async def test_a_client_that_does_not_read(application: Application, port: int) -> None:
    """What it is sent waits in bounded memory: then the application is asked, which waits until the client reads."""
    application.filling = 60_000
    await ask(port, REQUEST)
    async with connected(port, buffer=4096) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = 0
        while application.asked == 1:
            given = application.given
            writer.write(REQUEST)
            sent += 1
            await until(lambda given=given: application.given > given or application.asked > 1)  # type: ignore[misc]
        assert application.given == sent - 1 > 1
        answers = [await read_answer(reader) for _ in range(sent)]
    numbers = [answer.rstrip(b"-") for answer in answers]
    assert numbers == [*(b"again %05d" % number for number in range(1, sent)), b"asked 00002"]
    await until(lambda: application.given == application.ended)


@pytest.mark.parametrize("buffer", [0, 4096])
async def test_parts_of_files(application: Application, port: int, large_file: OpenFile, buffer: int) -> None:
    application.file = FileSlice(large_file, 7, 2 * MIB)
    expected = os.pread(large_file.descriptor, 2 * MIB, 7)
    async with connected(port, buffer=buffer) as (reader, writer):
        writer.write(REQUEST)
        await read_answer(reader)
        for number in range(1, 4):
            text = b"again %05d" % number
            writer.write(REQUEST)
            assert await read_answer(reader) == text[:3] + expected + text[3:]
        writer.write(REQUEST)
        await until(lambda: application.given == 4)
        writer.write(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await read_answer(reader) == b"aga" + expected + b"in 00004"
        assert (await read_answer(reader)).startswith(b"asked 00002")
    await until(lambda: application.ended == application.given == 4)


async def test_a_file_that_is_too_short(application: Application, port: int, large_file: OpenFile) -> None:
    application.file = FileSlice(large_file, 3 * MIB - 10, 100)
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        await read_answer(reader)
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 111" in head
        assert await reader.read() == b"aga" + os.pread(large_file.descriptor, 10, 3 * MIB - 10)
    await until(lambda: application.ended == 1)


async def test_a_client_that_leaves(application: Application, port: int, large_file: OpenFile) -> None:
    application.file = FileSlice(large_file, 0, 3 * MIB)
    await ask(port, REQUEST)
    async with connected(port, buffer=4096) as (reader, writer):
        writer.write(REQUEST)
        await reader.readexactly(1000)
    await until(lambda: application.ended == 1)
    assert len((await ask(port, REQUEST))[0]) == 3 * MIB + 11


async def test_so_many_are_kept_and_no_more(
    application: Application, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_requests, "MOST", 2)
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)]
    await ask(port, requests[0], requests[1], requests[0], requests[2])
    assert application.given == 1
    assert await ask(port, requests[0], requests[2]) == [b"again 00002", b"again 00003"]
    assert (await ask(port, requests[1]))[0].startswith(b"asked")
    long = b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2000 + b"\r\n\r\n"
    assert all(answer.startswith(b"asked") for answer in await ask(port, long, long, long))


@pytest.mark.parametrize(
    ("name", "value"), [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"x", b"a\r\nb")]
)
async def test_heads_that_uvicorn_has_to_write(
    application: Application, port: int, monkeypatch: pytest.MonkeyPatch, name: bytes, value: bytes
) -> None:
    """They are not kept."""
    monkeypatch.setattr(
        Offer, "headers", property(lambda _: [(b"content-length", b"11"), (name, value)]), raising=False
    )
    monkeypatch.setattr(Offer, "__init__", _without_headers)
    assert await ask(port, REQUEST, REQUEST) == [b"asked 00001", b"asked 00002"]


def _without_headers(self: Offer, of: Application) -> None:
    self._of, self.lines, self.pieces = of, of.lines, []


async def test_connections_stay_as_long_as_they_are_used(application: Application) -> None:
    """For longer than the two seconds after which one that nobody uses is closed."""
    async with (
        serving(application, uvloop.new_event_loop, timeout_keep_alive=2) as port,
        connected(port) as (reader, writer),
    ):
        for path in ("a", "a", "a", "slow", "a", "a", "a", "a"):
            application.slow = 2.5 if path == "slow" else 0.0
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await read_answer(reader)
            await asyncio.sleep(0.4)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
