"""Applications behind our HTTP protocol in a thread, and bare connections to them."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn

from app.cli.http_protocol import HttpProtocol


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def serving(
    application: Any, loop_factory: Callable[[], asyncio.AbstractEventLoop], **config: Any
) -> AsyncIterator[int]:
    """The port of a server on an event loop like those of production: its transports have other manners than those of asyncio."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = {"lifespan": "off", "log_config": None, "server_header": False, **config}
    server = uvicorn.Server(uvicorn.Config(application, http=HttpProtocol, **settings))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run)
    thread.start()
    await until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit, server.force_exit = True, settings["lifespan"] == "off"
        await asyncio.to_thread(thread.join)
        listener.close()


@contextlib.asynccontextmanager
async def connected(port: int, *, buffer: int = 0) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    one = socket.socket()
    if buffer:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=one, limit=2**16)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" not in head:
        return await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readline() == b"\r\n"
    return body
