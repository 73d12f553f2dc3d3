"""A TCP proxy that does on purpose what networks do by accident."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import urlsplit

Match = Callable[[bytes], bool]


def every_request(head: bytes) -> bool:
    return True


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests whose head (request line and header fields) `matches`.

    answer          this HTTP answer instead of the server's
    cut_request     the connection is reset once so many bytes of the request have gone to the server
    cut_answer      the connection is reset once so many bytes of the answer have gone to the client
    replace         the answer's bytes are changed on their way
    replace_request  the same of the request's body
    delay           seconds before the request goes on
    until           the request goes on when this is set
    """

    times: int = 1
    matches: Match = every_request
    answer: bytes | None = None
    cut_request: int | None = None
    cut_answer: int | None = None
    replace: tuple[bytes, bytes] | None = None
    replace_request: tuple[bytes, bytes] | None = None
    delay: float = 0.0
    until: asyncio.Event | None = None


def http_answer(status: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


class Reset(Exception):
    """Drop both sides with a TCP reset."""


@dataclass(slots=True)
class FaultProxy:
    """Relays `upstream` on a port of its own; one request per connection, so that each can meet its own fault.

    under_way  requests that have come and whose answers have not gone out whole
    """

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    port: int = 0
    under_way: int = 0
    _connections: "set[asyncio.Task[None]]" = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def endpoint(self) -> str:
        parts = urlsplit(self.upstream)
        return parts._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    async def __aenter__(self) -> "FaultProxy":
        await self.accept()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.refuse()

    async def accept(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Connections are refused until `accept`."""
        if self._server is not None:
            self._server.close()
            for connection in self._connections:  # clients keep connections that they never use
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    def _fault_for(self, head: bytes) -> Fault:
        for fault in self.faults:
            if fault.times and fault.matches(head):
                fault.times -= 1
                return fault
        return Fault()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closing(writer):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.requests.append(head.partition(b" HTTP/")[0].decode())
            fault = self._fault_for(head)
            self.under_way += 1
            try:
                await asyncio.sleep(fault.delay)
                if fault.until is not None:
                    await fault.until.wait()
                if fault.answer is not None:
                    await self._answer(reader, writer, head, fault.answer)
                else:
                    await self._relay(reader, writer, head, fault)
            except Reset:
                _reset(writer)
            except ConnectionError:
                return
            finally:
                self.under_way -= 1

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, answer: bytes
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(_content_length(head))
        writer.write(answer)
        await writer.drain()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, fault: Fault
    ) -> None:
        parts = urlsplit(self.upstream)
        up_reader, up_writer = await asyncio.open_connection(parts.hostname, parts.port)
        async with _closing(up_writer):
            single = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            sending = asyncio.ensure_future(self._send(reader, up_writer, single, _content_length(head), fault))
            try:
                await self._give_back(up_reader, writer, fault, sending)
            finally:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError, Reset, ConnectionError):
                    await sending

    @staticmethod
    async def _send(
        reader: asyncio.StreamReader, up: asyncio.StreamWriter, head: bytes, length: int, fault: Fault
    ) -> None:
        up.write(head)
        sent = 0
        while sent < length:
            data = await reader.read(min(65_536, length - sent))
            if not data:
                return
            sent += len(data)
            if fault.cut_request is not None and sent >= fault.cut_request:
                up.write(data[: len(data) - (sent - fault.cut_request)])
                await up.drain()
                _reset(up)
                raise Reset
            up.write(data.replace(*fault.replace_request) if fault.replace_request is not None else data)
            await up.drain()

    @staticmethod
    async def _give_back(
        up: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, sending: "asyncio.Future[None]"
    ) -> None:
        given = 0
        while True:
            data = await up.read(65_536)
            if not data or (sending.done() and sending.exception()):
                if sending.done() and sending.exception():
                    raise Reset
                return
            if fault.replace is not None:
                data = data.replace(*fault.replace)
            if fault.cut_answer is not None and given + len(data) >= fault.cut_answer:
                writer.write(data[: fault.cut_answer - given])
                await writer.drain()
                raise Reset
            writer.write(data)
            await writer.drain()
            given += len(data)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset rather than an orderly end."""
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
