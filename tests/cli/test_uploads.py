"""Large bodies through a real server: of clients that are fast, slow, impatient, or gone; and applications that take their time."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli import uploads
from tests.cli.conftest import NewEventLoop
from tests.support.sockets import connected, read_answer, serving, until

MIB = 1024 * 1024
DATA = os.urandom(9 * MIB + 11)
GET = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
# Of bodies just too short for it, just long enough, and of many pieces.
SIZES = pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 70_000, 9 * MIB + 11])


class Application:
    """Takes the body, a step at a time where it is told to, and answers `ok`."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.received = 0
        self.largest = 0
        self.is_early = False  # answers before it has taken anything
        self.is_gone = False  # the client was, before all had come
        self.may_take = asyncio.Event()
        self.may_take.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pieces = []
        more = not (self.is_early and scope["method"] == "POST")
        while more:
            while not self.may_take.is_set():  # noqa: ASYNC110 - it is set on another event loop
                await asyncio.sleep(0.001)
            message = await receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                return
            pieces.append(message["body"])
            self.received += len(message["body"])
            self.largest = max(self.largest, len(message["body"]))
            more = message["more_body"]
        self.bodies.append((scope["path"], b"".join(pieces)))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def port(new_event_loop: NewEventLoop, application: Application) -> AsyncIterator[int]:
    async with serving(application, new_event_loop) as number:
        yield number


@pytest.fixture(autouse=True)
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each call was to read."""
    found, read = [], uploads._read

    def counted(descriptor: int, most: int) -> tuple[list[bytes], bool]:
        found.append(most)
        return read(descriptor, most)

    monkeypatch.setattr(uploads, "_read", counted)
    return found


def post(body: bytes, length: int | None = None, more: str = "") -> bytes:
    return f"POST /up HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length or len(body)}\r\n\r\n".encode() + body


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@SIZES
async def test_what_was_sent_and_what_follows(application: Application, port: int, size: int) -> None:
    before = descriptors()
    async with connected(port) as (reader, writer):
        for number in range(3):
            body = DATA[number : size - number]
            writer.write(post(body) + GET + post(b"small") + GET)
            for _ in range(4):
                assert await read_answer(reader) == b"ok"
            assert application.bodies == [("/up", body), ("/next", b""), ("/up", b"small"), ("/next", b"")]
            application.bodies.clear()
    await until(lambda: descriptors() == before)


async def test_threads_read_what_has_gathered(application: Application, port: int, reads: list[int]) -> None:
    application.may_take.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
        sending = asyncio.create_task(asyncio.to_thread(client.sendall, post(DATA)))
        await asyncio.sleep(0.2)
        application.may_take.set()
        await sending
        assert (await asyncio.to_thread(client.recv, 1000)).endswith(b"ok")
    assert application.bodies == [("/up", DATA)]
    assert max(reads) == uploads.PIECE


async def test_a_slow_client_wakes_the_server_for_what_is_worth_it(
    application: Application, port: int, reads: list[int]
) -> None:
    body = DATA[: MIB + 200_000]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(post(body[:10_000], len(body)))
        for start in range(10_000, len(body), 30_000):
            client.sendall(body[start : start + 30_000])
            least = max(0, min(start + 30_000, len(body)) - uploads.ENOUGH)
            await until(lambda least=least: application.received >= least)  # type: ignore[misc]
        assert (await asyncio.to_thread(client.recv, 1000)).endswith(b"ok")
        client.sendall(GET)  # for few bytes too, behind the body
        assert (await asyncio.to_thread(client.recv, 1000)).endswith(b"ok")
    assert application.bodies == [("/up", body), ("/next", b"")]
    assert len(reads) <= len(body) / uploads.ENOUGH + 1


async def test_whoever_is_woken_too_soon_waits_for_no_more_than_is_left() -> None:
    """As the system does when it is short of memory."""
    taken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            transport = SimpleNamespace(get_extra_info=lambda _: accepted)
            whole = asyncio.get_running_loop().create_future()
            upload = uploads.Upload(transport, 60_000, taken.append, whole.set_result)
            client.sendall(DATA[:20_000])
            await until(lambda: len(accepted.recv(20_000, socket.MSG_PEEK)) == 20_000)
            upload._look()
            assert b"".join(taken) == DATA[:20_000]
            client.sendall(DATA[20_000:60_000])
            assert await asyncio.wait_for(whole, 10)
    assert b"".join(taken) == DATA[:60_000]


async def test_an_application_that_takes_its_time(application: Application, port: int) -> None:
    """What nobody takes stays with the client."""
    application.may_take.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        message = post(DATA * 20)
        sending = asyncio.create_task(loop.sock_sendall(client, message))
        await asyncio.sleep(0.3)
        assert not sending.done()
        assert application.received == 0
        application.may_take.set()
        await sending
        assert (await loop.sock_recv(client, 1000)).endswith(b"ok")
    assert application.bodies[0][1] == DATA * 20
    assert application.largest <= 4 * MIB


@SIZES
async def test_a_client_that_waits_to_be_told(application: Application, port: int, size: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(post(b"", size, "Expect: 100-continue\r\n"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(DATA[:size])
        assert await read_answer(reader) == b"ok"
    assert application.bodies == [("/up", DATA[:size])]


@pytest.mark.parametrize("abruptly", [True, False])
@pytest.mark.parametrize("is_taken", [True, False])
async def test_a_client_that_leaves(application: Application, port: int, abruptly: bool, is_taken: bool) -> None:
    before = descriptors()
    if not is_taken:
        application.may_take.clear()
    async with connected(port) as (_, writer):
        writer.write(post(DATA[: 2 * MIB], 100 * MIB))
        if is_taken:
            await until(lambda: application.received == 2 * MIB)
        else:
            await asyncio.sleep(0.1)
        if abruptly:
            writer.transport.abort()
        else:
            writer.close()
        application.may_take.set()
        await until(lambda: application.is_gone and descriptors() == before)
    assert not application.bodies


async def test_who_is_answered_early_may_go_on(application: Application, port: int) -> None:
    application.is_early = True
    async with connected(port) as (reader, writer):
        writer.write(post(DATA[:100], len(DATA)))
        assert await read_answer(reader) == b"ok"
        writer.write(DATA[100:] + GET)
        assert await read_answer(reader) == b"ok"
    assert application.bodies == [("/up", b""), ("/next", b"")]


async def test_rubbish_behind_it_is_refused(application: Application, port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(post(DATA) + b"rubbish\r\n\r\n")
        assert b"HTTP/1.1 400 " in await reader.read()
    assert application.bodies in ([], [("/up", DATA)])


async def test_many_at_once(application: Application, port: int) -> None:
    async def upload(size: int) -> None:
        async with connected(port) as (reader, writer):
            writer.write(post(DATA[:size]))
            assert await read_answer(reader) == b"ok"

    sizes = [MIB + number * 300_001 for number in range(20)]
    await asyncio.gather(*map(upload, sizes))
    assert sorted(application.bodies) == sorted(("/up", DATA[:size]) for size in sizes)


async def test_when_no_descriptor_is_left(application: Application, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "dup", fails)
    async with connected(port) as (reader, writer):
        writer.write(post(DATA) + GET)
        assert await read_answer(reader) == b"ok"
        assert await read_answer(reader) == b"ok"
    assert application.bodies == [("/up", DATA), ("/next", b"")]
