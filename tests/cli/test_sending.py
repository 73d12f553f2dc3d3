"""Answers that the client does not take, or takes slowly: how long that is waited for."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.asgi_extensions import SEND_FILES
from app.blobs.files import FileSlice, OpenFile
from app.cli import receiving
from tests.cli.conftest import NewEventLoop
from tests.support.sockets import connected, read_answer, serving, until

MIB = 1024 * 1024
SIZE = 40 * MIB  # more than the system keeps of what is sent
TAKEN_SLOWLY = 8 * MIB  # the same
PATIENCE = 0.6


class Application:
    """Answers `size` bytes in the way that the path names, after `pause` seconds."""

    def __init__(self, file: OpenFile) -> None:
        self.size, self.pause = SIZE, 0.0
        self.running = self.ended = 0
        self._file = file

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        try:
            await receive()
            await asyncio.sleep(self.pause)
            head = [(b"content-length", b"%d" % self.size)]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for message in self._messages(scope["path"]):
                await send({**message, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.running -= 1
            self.ended += 1

    def _messages(self, path: str) -> list[dict[str, Any]]:
        if path == "/whole":
            return [{"type": "http.response.body", "body": bytes(self.size)}]
        if path == "/pieces":
            return [{"type": "http.response.body", "body": bytes(MIB)}] * (self.size // MIB)
        file = FileSlice(self._file, 0, MIB)
        return [{"type": SEND_FILES, "files": [file], "count": MIB}] * (self.size // MIB)


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    monkeypatch.setattr(receiving, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(receiving, "HEAD_SECONDS", PATIENCE / 4)  # so often is looked
    path = tmp_path / "data"
    path.write_bytes(bytes(MIB))
    return Application(OpenFile(os.open(path, os.O_RDONLY), MIB))


@pytest.fixture
async def port(new_event_loop: NewEventLoop, application: Application) -> AsyncIterator[int]:
    async with serving(application, new_event_loop, access_log=False, timeout_keep_alive=2) as number:
        yield number


PATHS = pytest.mark.parametrize("path", ["/whole", "/pieces", "/files"])


@PATHS
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_who_takes_nothing_is_left(application: Application, port: int, path: str, connection: str) -> None:
    async with connected(port, buffer=4096) as (reader, writer), asyncio.timeout(20):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode())
        await reader.readexactly(10_000)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: application.ended == 1)  # as soon as it is known, or when all of it is kept to be sent
        await asyncio.sleep(PATIENCE * 2.5)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        taken = 0
        try:
            while piece := await reader.read(MIB):
                taken += len(piece)
        except ConnectionError:
            pass
        assert taken < SIZE - 10_000


@PATHS
async def test_who_takes_a_little_now_and_then_gets_it_all(application: Application, port: int, path: str) -> None:
    """Slower than the server is patient in all."""
    application.size = TAKEN_SLOWLY
    async with connected(port, buffer=4096) as (reader, writer), asyncio.timeout(60):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            await reader.readexactly(TAKEN_SLOWLY // 20)
            await asyncio.sleep(PATIENCE / 5)
        await reader.readexactly(TAKEN_SLOWLY % 20)
        writer.write(b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(await read_answer(reader)) == TAKEN_SLOWLY
    assert application.ended == 2


async def test_who_waits_for_the_server_is_not_left(application: Application, port: int) -> None:
    application.size, application.pause = MIB, PATIENCE * 3
    async with connected(port) as (reader, writer), asyncio.timeout(20):
        writer.write(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(await read_answer(reader)) == MIB
