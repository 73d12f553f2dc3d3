"""uvicorn's HTTP protocol with large bodies in mind. How requests arrive is told in app.cli.receiving.

Downloads know an ASGI extension of ours (app.asgi_extensions): parts of files go from the page cache to the socket. Copying half
a megabyte into this process and out again costs as much as all else that is done for a frame. A message has several, with what
goes in front of each, in the same segments: the instances of a series are small, and each message passes all layers.

What is not in memory yet is read by a thread first: the event loop never waits for a disk. Who has just seen that it is there
says so.

The head of an answer goes out with what follows it, in one system call: a client that is woken for the head alone finds nothing
to do yet.

Requests whose answer may be given again are answered before they are parsed (app.cli.repeated_requests), where they come whole
and alone and nothing is under way on their connection.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.asgi_extensions import AGAIN, SEND_FILES, Repeat
from app.blobs.files import FileSlice, is_in_memory
from app.cli.answer_head import head_of
from app.cli.receiving import ReceivingProtocol
from app.cli.repeated_requests import LONGEST, RepeatedRequests
from app.cli.sockets import WINDOW, Socket
from app.cli.uploads import Chunks

_JOINED_BYTES = 64 * 1024  # copying so much takes less than another system call


class HttpProtocol(ReceivingProtocol):
    """With the extensions on connections without TLS."""

    socket: Socket | None = None
    _asked: tuple[RequestResponseCycle, bytes] | None = None  # the last request that came whole and alone

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.access_log = self.access_log and self.config.access_log  # what nobody wants need not be made
        self._repeated: RepeatedRequests = self.app_state.setdefault("gantry.repeated", RepeatedRequests())

    def data_received(self, data: bytes) -> None:
        if self._left or len(data) > LONGEST:
            super().data_received(data)
        elif not (self._is_idle() and self._answers_again(data)):
            is_first = self._part is None
            super().data_received(data)
            if is_first and self._begun == 1 and self._part is None:
                self._asked = self.cycle, data

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.scheme == "http" and hasattr(os, "sendfile"):
            cycle.scope["extensions"] = {SEND_FILES: {}}
        super()._start_asgi_task(cycle, _Exchange(app, self, cycle))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.socket is not None:
            self.socket.close()

    def sent_so_far(self) -> object:
        if self.socket is not None and self.socket.is_waiting:
            return self.socket.sent, super().sent_so_far()
        return super().sent_so_far()

    def _is_idle(self) -> bool:
        """Nothing is under way on this connection, in neither direction."""
        return (
            self._part is None
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def keep(self, cycle: RequestResponseCycle, message: Mapping[str, Any]) -> None:
        """An answer has begun that may be given again."""
        if self.scheme == "http" and self._asked is not None and self._asked[0] is cycle:
            self._repeated.keep((self.server, self._asked[1]), message["status"], message[AGAIN])

    def _answers_again(self, data: bytes) -> bool:
        """Whether this is a request whose answer can be given again; then it is."""
        begun = self._repeated.begin((self.server, data), self.server_state.default_headers)
        if begun is None:
            return False
        head, repeat = begun
        pieces = [piece for piece in repeat.pieces if isinstance(piece, bytes)]
        if len(pieces) < len(repeat.pieces):
            self._start_again(head, repeat)
            return True
        self.transport.write(b"".join((head, *pieces)))
        self.on_response_complete()
        repeat.end()
        return True

    def _start_again(self, head: bytes, repeat: Repeat) -> None:
        """The same with parts of files, which may have to wait for the client."""
        self.cycle = cycle = RequestResponseCycle(
            scope={"method": "GET"},  # type: ignore[typeddict-item]  # all that sending needs of it
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=self.on_response_complete,
        )
        cycle.response_started, cycle.chunked_encoding = True, False
        super()._start_asgi_task(cycle, _Again(self, cycle, head, repeat))

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
            self.socket = Socket(self.transport)
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

    async def _send_file(self, cycle: RequestResponseCycle, sender: Socket, file: FileSlice) -> None:
        descriptor, offset, end = file.file.descriptor, file.offset, file.offset + file.length
        while offset < end and not cycle.disconnected:
            window = min(WINDOW, end - offset)
            if not (file.in_memory or is_in_memory(descriptor, offset, window)):
                await asyncio.to_thread(_bring_into_memory, descriptor, offset, window)
            offset = await sender.send_file(descriptor, offset, window)


class _Exchange:
    """The application with `receive` and `send` that know how bodies are kept, heads are held back and files are sent."""

    def __init__(self, app: Any, protocol: HttpProtocol, cycle: RequestResponseCycle) -> None:
        self._app, self._protocol, self._cycle = app, protocol, cycle
        self._held = _Held()
        self._is_until_close = False  # the end of the connection is that of the body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            self._let_go()  # nothing followed: the application has failed

    async def _receive(self) -> Any:
        message = await self._cycle.receive()
        self._cycle.body = Chunks()  # type: ignore[assignment]
        return message

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if not self._begin(message):
                self._is_until_close = self._has_no_end(message)
                if self._is_until_close:
                    self._cycle.chunked_encoding, self._cycle.expected_content_length = False, sys.maxsize
                await self._hold(message)
            return
        if self._is_until_close and kind != SEND_FILES and not message.get("more_body", False):
            self._cycle.expected_content_length = len(message.get("body", b""))
        if kind == SEND_FILES:
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
        if AGAIN in message:
            self._protocol.keep(cycle, message)
        return True

    def _has_no_end(self, message: Any) -> bool:
        """Whether the answer is for a client of HTTP/1.0, which knows no chunks (RFC 9112 6.1), and its length is not known."""
        cycle = self._cycle
        return (
            cycle.scope.get("http_version") == "1.0"
            and not cycle.response_started
            and cycle.scope["method"] != "HEAD"
            and message["status"] not in (204, 304)
            and all(name != b"content-length" for name, _ in message.get("headers", ()))
        )

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


class _Again:
    """In the place of the application, for an answer that is given again."""

    def __init__(self, protocol: HttpProtocol, cycle: RequestResponseCycle, head: bytes, repeat: Repeat) -> None:
        self._protocol, self._cycle = protocol, cycle
        self._head, self._repeat = head, repeat

    async def __call__(self, *_: Any) -> None:
        cycle, waiting = self._cycle, [self._head]
        try:
            for piece in self._repeat.pieces:
                if isinstance(piece, bytes):
                    waiting.append(piece)
                    continue
                cycle.expected_content_length = piece.length
                message = {"files": [piece], "count": piece.length}
                await self._protocol.send_files(cycle, message, b"".join(waiting))
                waiting = []
            body = b"".join(waiting)
            cycle.expected_content_length = len(body)
            await cycle.send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            self._repeat.end()


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


def _bring_into_memory(descriptor: int, offset: int, count: int) -> None:
    os.pread(descriptor, count, offset)
