"""uvicorn's HTTP protocol with large bodies in mind.

Uploads are handed on in the chunks that they arrived in: uvicorn itself copies each one three times. The parser sees the head of
such a request; of the body, whose length it has read there, it would only count the bytes.

Downloads know an ASGI extension of ours (app.blobs.files): parts of files go from the page cache to the socket. Copying half
a megabyte into this process and out again costs as much as all else that is done for a frame. A message has several, with what
goes in front of each, in the same segments: the instances of a series are small, and each message passes all layers.

What is not in memory yet is read by a thread first: the event loop never waits for a disk. Who has just seen that it is there
says so.

The head of an answer goes out with what follows it, in one system call: a client that is woken for the head alone finds nothing
to do yet.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import Mapping
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.blobs.files import SEND_FILES, FileSlice, is_in_memory
from app.cli.answer_head import head_of

_WINDOW = 1024 * 1024  # bytes that are known to be in memory, or are brought there, at a time
_MORE = getattr(socket, "MSG_MORE", 0)
_JOINED_BYTES = 64 * 1024  # copying so much takes less than another system call


class HttpProtocol(HttpToolsProtocol):
    """With the extension on connections without TLS."""

    socket: "_Socket | None" = None
    _left = 0  # bytes of a body that are still to come

    def data_received(self, data: bytes) -> None:
        if not self._left:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        if len(data) < self._left:
            self.on_body(data)
            return
        body, behind = data[: self._left], data[self._left :]
        self.on_body(body)
        self.parser = httptools.HttpRequestParser(self)  # the old one waits for the body
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.on_message_complete()
        if behind:
            super().data_received(behind)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.body = _Chunks()  # type: ignore[assignment]
        self._left = 0 if self.parser.should_upgrade() else _length_of_body(self.headers)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._left -= min(self._left, len(body))

    def on_message_complete(self) -> None:
        self._left = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.scheme == "http" and hasattr(os, "sendfile"):
            cycle.scope["extensions"] = {SEND_FILES: {}}
        super()._start_asgi_task(cycle, _Exchange(app, self, cycle))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.socket is not None:
            self.socket.close()

    async def send_files(self, cycle: RequestResponseCycle, message: Mapping[str, Any], held: bytes = b"") -> None:
        """Everything that was written before goes first, then what was `held` back, the head of the answer. Raises OSError,
        RuntimeError as uvicorn for a wrong length."""
        if not cycle.response_started or cycle.response_complete:
            raise RuntimeError("parts of files are sent between the start and the end of an answer")
        files, length = message["files"], message["count"]
        if not length:  # a chunk without bytes would be the last
            self.transport.write(held)
            return
        if cycle.chunked_encoding:
            self.transport.write(held + b"%x\r\n" % length)
            held = b""
        elif length > cycle.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        else:
            cycle.expected_content_length -= length
        if self.socket is None:
            self.socket = _Socket(self.transport)
        await self.socket.flush()
        for file in files:
            if cycle.disconnected:
                return
            if head := held + file.head:
                held = b""
                await self.socket.send(head)
            await self._send_file(cycle, self.socket, file)
        if cycle.chunked_encoding and not cycle.disconnected:
            self.transport.write(b"\r\n")

    async def _send_file(self, cycle: RequestResponseCycle, sender: "_Socket", file: FileSlice) -> None:
        descriptor, offset, end = file.file.descriptor, file.offset, file.offset + file.length
        while offset < end and not cycle.disconnected:
            window = min(_WINDOW, end - offset)
            if not (file.in_memory or is_in_memory(descriptor, offset, window)):
                await asyncio.to_thread(_bring_into_memory, descriptor, offset, window)
            offset = await sender.send_file(descriptor, offset, window)


def _length_of_body(headers: list[tuple[bytes, bytes]]) -> int:
    """0 where only the parser knows where the body ends (RFC 9112 6.3). It has refused what contradicts itself."""
    framing = [(name, value) for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    if len(framing) != 1 or framing[0][0] != b"content-length" or not framing[0][1].isdigit():
        return 0
    return int(framing[0][1])


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
    """The application with `receive` and `send` that know how bodies are kept, heads are held back and files are sent."""

    def __init__(self, app: Any, protocol: HttpProtocol, cycle: RequestResponseCycle) -> None:
        self._app, self._protocol, self._cycle = app, protocol, cycle
        self._held = _Held()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            self._let_go()  # nothing followed: the application has failed

    async def _receive(self) -> Any:
        message = await self._cycle.receive()
        self._cycle.body = _Chunks()  # type: ignore[assignment]
        return message

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if not self._begin(message):
                await self._hold(message)
        elif kind == SEND_FILES:
            held = self._held.take()
            if not self._cycle.disconnected:
                await self._protocol.send_files(self._cycle, message, held)
        elif self._held.written and len(message.get("body", b"")) <= _JOINED_BYTES:
            await self._hold(message)
            self._let_go()
        else:
            self._let_go()
            await self._cycle.send(message)

    def _begin(self, message: Any) -> bool:
        """Hold back the head of a plain answer; False for others."""
        cycle = self._cycle
        if cycle.response_started or not cycle.keep_alive or cycle.access_log or cycle.disconnected:
            return False
        found = head_of(message["status"], itertools.chain(cycle.default_headers, message.get("headers", ())))
        if found is None:
            return False
        head, cycle.expected_content_length = found
        cycle.response_started, cycle.chunked_encoding, cycle.waiting_for_100_continue = True, False, False
        self._held.write(head)
        return True

    async def _hold(self, message: Any) -> None:
        """What the message becomes is held back."""
        cycle, transport = self._cycle, self._cycle.transport
        cycle.transport = self._held  # type: ignore[assignment]
        try:
            await cycle.send(message)
        finally:
            cycle.transport = transport

    def _let_go(self) -> None:
        held = self._held.take()
        if held and not self._cycle.disconnected:
            self._cycle.transport.write(held)
        if self._held.is_closed:
            self._cycle.transport.close()


class _Held:
    """In the place of a transport: what is to be written, and whether the connection is to be closed behind it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def take(self) -> bytes:
        held = b"".join(self.written)
        self.written.clear()
        return held


class _Socket:
    """The socket below a transport, between two writes of the transport; for one sender at a time.

    A twin of it, since the event loop lets nobody but the transport wait for its own descriptor.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        original = transport.get_extra_info("socket")
        self._twin = socket.socket(original.family, original.type, original.proto, fileno=os.dup(original.fileno()))
        self._twin.setblocking(False)
        self._waiting: asyncio.Future[None] | None = None
        self._is_closed = False
        self._in_a_row = 0  # bytes sent without letting others have their turn

    async def flush(self) -> None:
        """Wait until the transport has written what it was given."""
        if self._transport.get_write_buffer_size():
            await asyncio.sleep(0)
        while self._transport.get_write_buffer_size() and not self._transport.is_closing():
            await self._writable()
            await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        """More follows at once: the system may wait for it before it sends a segment that is not full."""
        while data and not self._transport.is_closing():
            try:
                sent = self._twin.send(data, _MORE)
            except BlockingIOError:
                await self._writable()
            except (BrokenPipeError, ConnectionResetError):
                self._transport.abort()
            else:
                data = data[sent:]

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Where the bytes end that were sent. Raises OSError."""
        end = offset + count
        while offset < end and not self._transport.is_closing():
            try:
                sent = os.sendfile(self._twin.fileno(), descriptor, offset, end - offset)
            except BlockingIOError:
                await self._writable()
                continue
            except (BrokenPipeError, ConnectionResetError):  # as when writing: the transport finds out by itself
                self._transport.abort()
                break
            if not sent:
                raise OSError("a file that is being sent ends too early")
            offset += sent
            self._in_a_row += sent
        if self._in_a_row >= _WINDOW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        return end

    async def _writable(self) -> None:
        if self._is_closed:
            return
        self._in_a_row = 0
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        loop.add_writer(self._twin, _wake, waiting)
        try:
            await waiting
        finally:
            if not self._is_closed:
                loop.remove_writer(self._twin)
            self._waiting = None

    def close(self) -> None:
        """Nobody waits any more, and nothing is sent: the transport is closing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._waiting is not None:
            asyncio.get_running_loop().remove_writer(self._twin)
            _wake(self._waiting)
        self._twin.close()


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _bring_into_memory(descriptor: int, offset: int, count: int) -> None:
    os.pread(descriptor, count, offset)
