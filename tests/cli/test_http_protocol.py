"""Parts of files through a real server and real sockets, to clients that are slow, that leave, that ask for more at once."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.asgi_extensions import SEND_FILES
from app.blobs.files import FileSlice, OpenFile
from app.cli import http_protocol
from tests.cli.conftest import NewEventLoop
from tests.support.sockets import connected, read_answer, serving, until

MIB = 1024 * 1024
Send = Callable[[Any], Any]
DATA = os.urandom(5 * MIB + 17)


Part = tuple[int, int] | tuple[int, int, bytes]
Piece = bytes | Part | list[Part]


class _KeptOpen(OpenFile):
    """Closed by whoever opened it, and no sooner or later: descriptors are counted here."""

    def __del__(self) -> None:
        return


class Application:
    """Answers with what `pieces` says: bytes, (offset, count) of the file, (offset, count, bytes in front), or several of these."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.pieces: list[Piece] = []
        self.length: int | None = 0
        self.errors: list[BaseException] = []
        self.received: list[bytes] = []
        self.bodies: list[bytes] = []
        self.running = 0

    def answer(self, *pieces: Piece, chunked: bool = False) -> bytes:
        """What the client is to receive."""
        self.pieces = list(pieces)
        body = b""
        for piece in pieces:
            if isinstance(piece, bytes):
                body += piece
            else:
                body += b"".join(one.head + DATA[one.offset : one.offset + one.length] for one in self.slices(piece))
        self.length = None if chunked else len(body)
        return body

    def slices(self, piece: Part | list[Part]) -> list[FileSlice]:
        parts = piece if isinstance(piece, list) else [piece]
        return [FileSlice(self.file, *one[:2], in_memory=len(one) > 2, head=b"".join(one[2:])) for one in parts]

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        assert scope["extensions"] == {SEND_FILES: {}}
        self.running += 1
        try:
            self.received = []
            while (message := await receive())["more_body"]:
                self.received.append(message["body"])
            self.received.append(message["body"])
            self.bodies.append(b"".join(self.received))
            pieces, length = self.pieces, self.length
            headers = [] if length is None else [(b"content-length", str(length).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for piece in pieces:
                if isinstance(piece, bytes):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                else:
                    files = self.slices(piece)
                    count = sum(len(file.head) + file.length for file in files)
                    await send({"type": SEND_FILES, "files": files, "count": count, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.running -= 1


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    descriptor = os.open(path, os.O_RDONLY)
    yield Application(_KeptOpen(descriptor, len(DATA)))
    os.close(descriptor)


@pytest.fixture
async def port(new_event_loop: NewEventLoop, application: Application) -> AsyncIterator[int]:
    async with serving(application, new_event_loop) as number:
        yield number


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("buffer", [0, 4096])
async def test_what_arrives(
    application: Application, port: int, monkeypatch: pytest.MonkeyPatch, chunked: bool, in_memory: bool, buffer: int
) -> None:
    monkeypatch.setattr(http_protocol, "is_in_memory", lambda *_: in_memory)
    before = descriptors()
    async with connected(port, buffer=buffer) as (reader, writer):
        writer.write(REQUEST)
        assert await read_answer(reader) == b""
        for pieces in (
            [(0, 1)],
            [(0, len(DATA))],
            [b"head", (100, 70_000), b"middle" * 30_000, (3 * MIB, MIB), (5 * MIB, 17), b"tail"],
            [(0, 2 * MIB)] * 3,
            [(7, 3 * MIB, b"one"), b"-", (9, 20_000, b"two" * 30_000), (11, 0, b"nothing"), *[(0, 9, b"more")] * 1000],
            [[(0, MIB, b"first"), (MIB, MIB), (3, 0, b"empty")], b"-", [(2 * MIB, 3 * MIB + 17, b"last")] * 2, []],
            [[(number * 1000, 100_000, b"%d" % number) for number in range(100)]],
        ):
            expected = application.answer(*pieces, chunked=chunked)
            writer.write(REQUEST)
            assert await read_answer(reader) == expected
            assert len(descriptors() - before) <= 3  # two ends of the connection, and the twin of one
    await until(lambda: descriptors() == before)


@pytest.mark.parametrize("sizes", [[1], [100_000], [3 * MIB], [10, 2 * MIB, 10]])
async def test_uploads_arrive_as_they_were_sent(application: Application, port: int, sizes: list[int]) -> None:
    application.answer(b"ok")
    async with connected(port) as (reader, writer):
        for size in sizes:
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + DATA[:size])
            assert await read_answer(reader) == b"ok"
            assert b"".join(application.received) == DATA[:size]
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, MIB, 70_001):
            part = DATA[start : min(start + 70_001, MIB)]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        writer.write(b"0\r\n\r\n")
        assert await read_answer(reader) == b"ok"
        assert b"".join(application.received) == DATA[:MIB]


def post(body: bytes, length: str | None = None) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("step", [1, 2, 63, 64, 65, 1000, 100_000])
async def test_uploads_in_segments_of_any_size(application: Application, port: int, step: int) -> None:
    """Requests one behind the other, with and without bodies; what looks like a request within a body is none."""
    application.answer(b"ok")
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    sent = [post(b"x" * 70), post(REQUEST * 2), REQUEST, chunked, post(b""), post(b"1"), post(b"y", "1"), REQUEST]
    expected = [b"x" * 70, REQUEST * 2, b"", b"abc", b"", b"1", b"y", b""]
    async with connected(port) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = b"".join(sent)
        for start in range(0, len(stream), step):
            writer.write(stream[start : start + step])
            await writer.drain()
        for _ in sent:
            assert await read_answer(reader) == b"ok"
    assert application.bodies == expected


@pytest.mark.parametrize(
    "framing",
    ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: +5"],
)
async def test_a_body_of_doubtful_length_is_refused(application: Application, port: int, framing: str) -> None:
    async with connected(port) as (reader, writer):
        writer.write(f"POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + b"0\r\n\r\nGET")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")
        await reader.read()
    assert application.bodies == []


async def test_rubbish_behind_a_body_is_refused(application: Application, port: int) -> None:
    application.answer(b"ok")
    async with connected(port) as (reader, writer):
        writer.write(post(DATA[:MIB]) + b"rubbish\r\n\r\n")
        assert b"HTTP/1.1 400 " in await reader.read()
    assert application.bodies in ([], [DATA[:MIB]])


async def test_an_upload_that_ends_early_is_not_taken_for_whole(application: Application, port: int) -> None:
    async with connected(port) as (_, writer):
        writer.write(post(DATA[: 2 * MIB], str(2 * MIB + 1)))
        await until(lambda: bool(application.received))
    await until(lambda: bool(application.errors))
    assert application.bodies == []


async def test_several_requests_at_once_on_one_connection(application: Application, port: int) -> None:
    expected = application.answer(b"-", (7, 3 * MIB), b"-")
    async with connected(port) as (reader, writer):
        writer.write(REQUEST * 3)
        for _ in range(3):
            assert await read_answer(reader) == expected


@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_client_that_leaves(application: Application, port: int, abruptly: bool) -> None:
    application.answer(*([(0, 5 * MIB)] * 40))
    before = descriptors()
    async with connected(port, buffer=4096) as (reader, writer):
        writer.write(REQUEST)
        await reader.readexactly(10_000)
        await asyncio.sleep(0.05)  # the socket is full, the server waits
        assert application.running == 1
        if abruptly:
            writer.transport.abort()
        else:
            writer.close()
        await until(lambda: not application.running and descriptors() == before)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_small_answer_arrives_in_one_piece(application: Application, port: int, chunked: bool) -> None:
    """A client that is woken for the head alone finds nothing to do."""
    body = application.answer(b"x" * 5000, chunked=chunked)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(5):
            connection.sendall(REQUEST)
            first = await asyncio.to_thread(connection.recv, 65536)
            assert first.startswith(b"HTTP/1.1 200 OK")
            assert body in first
            while chunked and not first.endswith(b"0\r\n\r\n"):
                first += await asyncio.to_thread(connection.recv, 65536)


@pytest.mark.parametrize("piece", [b"body", b"b" * 200_000, (5, 300_000)], ids=["small", "large", "file"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_connection_that_ends_with_its_answer(
    application: Application, port: int, piece: Piece, chunked: bool
) -> None:
    expected = application.answer(piece, chunked=chunked)
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert await read_answer(reader) == expected
        assert await reader.read() == b""
    assert not application.errors


@pytest.mark.parametrize(
    "pieces", [[], [b"body"], [b"b" * 200_000, b"e"], [(5, 300_000), b"end"], [b"start", (5, 300_000)]]
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_of_http_1_0_gets_no_chunks(
    application: Application, port: int, pieces: list[Piece], chunked: bool
) -> None:
    """RFC 9112 6.1: it would not understand them. The end of the connection is that of the body."""
    expected = application.answer(*pieces, chunked=chunked)
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"transfer-encoding" not in head
        assert (b"content-length" in head) is not chunked
        assert b"connection: close" in head
        assert await reader.read() == expected
    assert not application.errors


async def test_the_head_of_an_answer_that_fails_is_told(application: Application, port: int) -> None:
    application.answer()
    application.pieces = [None]  # type: ignore[list-item]
    application.length = 10
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.read() == b""
    assert application.errors


async def test_a_length_that_is_not_kept(application: Application, port: int) -> None:
    application.answer((0, 1000))
    application.length = 999
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        assert await reader.read() == b"", "the head waits for what follows it"
        assert isinstance(application.errors[0], RuntimeError)


async def test_a_file_that_is_too_short(application: Application, port: int) -> None:
    application.answer((0, 1))
    application.pieces, application.length = [(len(DATA) - 5, 10)], 10
    async with connected(port) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == DATA[-5:]
        assert isinstance(application.errors[0], OSError)
