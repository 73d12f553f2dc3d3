"""The socket below a transport of the event loop: for parts of files that go to it from the page cache, and for large uploads."""

import asyncio
import os
import socket
from typing import Any

WINDOW = 1024 * 1024  # bytes that are sent without letting others have their turn
_MORE = getattr(socket, "MSG_MORE", 0)


def twin_of(transport: Any) -> socket.socket:
    """The socket below a transport once more: the event loop lets nobody but the transport wait for its own descriptor.

    Raises OSError where there is no descriptor left.
    """
    original = transport.get_extra_info("socket")
    twin = socket.socket(original.family, original.type, original.proto, fileno=os.dup(original.fileno()))
    twin.setblocking(False)
    return twin


class Socket:
    """The socket below a transport, between two writes of the transport; for one sender at a time.

    sent  bytes so far
    """

    def __init__(self, transport: Any) -> None:
        self.sent = 0
        self._transport = transport
        self._twin = twin_of(transport)
        self._waiting: asyncio.Future[None] | None = None
        self._is_closed = False
        self._in_a_row = 0  # bytes sent without letting others have their turn

    @property
    def is_waiting(self) -> bool:
        """For the client, who is to take more."""
        return self._waiting is not None

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
                self.sent += sent

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
            self.sent += sent
            self._in_a_row += sent
        if self._in_a_row >= WINDOW:
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
