"""A wire with a round-trip time: whatever is sent either way arrives half of it later, in order, at full speed.

    python -m benchmarks.delay_proxy PORT UPSTREAM_PORT MILLISECONDS

So each request on a connection waits a round trip for its answer, as with a store in the next building.
"""

import asyncio
import sys
from collections import deque
from typing import Any

import uvloop


class Wire(asyncio.Protocol):
    """One end of a connection; what it receives goes out at the other end `delay` seconds later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: Wire | None = None
        self.transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[bytes] = deque()  # b"" is the end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._send_later(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._send_later(b"")

    def _send_later(self, data: bytes) -> None:
        self._under_way.append(data)
        self._loop.call_later(self.delay, self._arrive)

    def _arrive(self) -> None:
        data = self._under_way.popleft()
        if self.other is None or self.other.transport is None:
            self._under_way.appendleft(data)  # the other side is not connected yet
            self._loop.call_later(0.001, self._arrive)
        elif data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Entrance(Wire):
    """The client's end: connects to the server behind."""

    def __init__(self, delay: float, upstream: int) -> None:
        super().__init__(delay)
        self.upstream = upstream
        self.connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            _, end = await self._loop.create_connection(lambda: Wire(self.delay), "127.0.0.1", self.upstream)
        except OSError:
            self.transport.close()
            return
        end.other, self.other = self, end


async def main(port: int, upstream: int, milliseconds: float) -> None:
    delay = milliseconds / 2000
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Entrance(delay, upstream), "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
