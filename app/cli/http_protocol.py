"""uvicorn's HTTP protocol with large bodies in mind.

Uploads are handed on in the chunks that they arrived in: uvicorn itself copies each one twice.

Downloads know the ASGI extension `http.response.zerocopysend`: parts of files go from the page cache to the socket. Copying half
a megabyte into this process and out again costs as much as all else that is done for a frame. A message of this type takes
the place of a `http.response.body` that is not the last:

    {"type": "http.response.zerocopysend", "file": descriptor, "offset": …, "count": …, "more_body": True}

What is not in memory yet is read by a thread first: the event loop never waits for a disk.
"""

import asyncio
import os
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.blobs.files import is_in_memory

EXTENSION = "http.response.zerocopysend"
_WINDOW = 1024 * 1024  # bytes that are known to be in memory, or are brought there, at a time


class HttpProtocol(HttpToolsProtocol):
    """With the extension on connections without TLS."""

    blocked: "asyncio.Future[None] | None" = None

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.body = _Chunks()  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.scheme == "http" and hasattr(os, "sendfile"):
            cycle.scope["extensions"] = {EXTENSION: {}}
        super()._start_asgi_task(cycle, _Exchange(app, self, cycle))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.blocked is not None and not self.blocked.done():
            self.blocked.set_result(None)

    async def send_file(self, cycle: RequestResponseCycle, descriptor: int, offset: int, count: int) -> None:
        """Everything that was written before goes first. Raises OSError, RuntimeError as uvicorn for a wrong length."""
        if not cycle.response_started or cycle.response_complete:
            raise RuntimeError("a part of a file is sent between the start and the end of an answer")
        if cycle.chunked_encoding:
            self.transport.write(b"%x\r\n" % count)
        elif count > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        else:
            cycle.expected_content_length -= count
        socket = _Socket(self)
        try:
            await socket.flush()
            end = offset + count
            while offset < end and not cycle.disconnected:
                window = min(_WINDOW, end - offset)
                if not is_in_memory(descriptor, offset, window):
                    await asyncio.to_thread(_bring_into_memory, descriptor, offset, window)
                offset = await socket.send(descriptor, offset, window)
        finally:
            socket.close()
        if cycle.chunked_encoding and not cycle.disconnected:
            self.transport.write(b"\r\n")


class _Chunks:
    """In the place of the bytearray that uvicorn gathers a body in until it is asked for: nothing is copied for one chunk."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def __iadd__(self, chunk: bytes) -> "_Chunks":
        self._chunks.append(chunk)
        self._size += len(chunk)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._chunks)


class _Exchange:
    """The application with `receive` and `send` that know how bodies are kept and files are sent."""

    def __init__(self, app: Any, protocol: HttpProtocol, cycle: RequestResponseCycle) -> None:
        self._app, self._protocol, self._cycle = app, protocol, cycle

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        message = await self._cycle.receive()
        self._cycle.body = _Chunks()  # type: ignore[assignment]
        return message

    async def _send(self, message: Any) -> None:
        if message["type"] != EXTENSION:
            await self._cycle.send(message)
        elif not self._cycle.disconnected:
            await self._protocol.send_file(self._cycle, message["file"], message["offset"], message["count"])


class _Socket:
    """The socket below a transport, between two writes of the transport."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._number = self._transport.get_extra_info("socket").fileno()
        self._twin = -1  # the event loop lets nobody but the transport wait for its own descriptor

    async def flush(self) -> None:
        """Wait until the transport has written what it was given."""
        if self._transport.get_write_buffer_size():
            await asyncio.sleep(0)
        while self._transport.get_write_buffer_size() and not self._transport.is_closing():
            await self._writable()
            await asyncio.sleep(0)

    async def send(self, descriptor: int, offset: int, count: int) -> int:
        """Where the bytes end that were sent. Raises OSError."""
        end = offset + count
        while offset < end and not self._transport.is_closing():
            try:
                sent = os.sendfile(self._number, descriptor, offset, end - offset)
            except BlockingIOError:
                await self._writable()
                continue
            except (BrokenPipeError, ConnectionResetError):  # as when writing: the transport finds out by itself
                self._transport.abort()
                break
            if not sent:
                raise OSError("a file that is being sent ends too early")
            offset += sent
        return end

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        if self._twin < 0:
            self._twin = os.dup(self._number)
        waiting = loop.create_future()
        self._protocol.blocked = waiting
        loop.add_writer(self._twin, _wake, waiting)
        try:
            await waiting
        finally:
            loop.remove_writer(self._twin)
            self._protocol.blocked = None

    def close(self) -> None:
        if self._twin >= 0:
            os.close(self._twin)


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _bring_into_memory(descriptor: int, offset: int, count: int) -> None:
    os.pread(descriptor, count, offset)
