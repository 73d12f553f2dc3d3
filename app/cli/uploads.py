"""Large bodies of requests, received by threads.

Copying half a megabyte out of the kernel takes the event loop as long as all else that it does for an instance, and needs no lock
of the interpreter. What the loop gets are few large pieces: it is woken when there is enough for one (SO_RCVLOWAT), of a slow
client too, and a thread reads it. To wake it costs more than to read a little.
"""

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.cli.sockets import twin_of

WORTH_IT = 1024 * 1024  # bytes of a body that are still to come
PIECE = 1024 * 1024  # bytes that a thread reads at once
ENOUGH = 256 * 1024  # bytes that the loop is woken for, or the rest of the body
_FEW = 64 * 1024  # bytes that are taken here: a thread costs more
_THREADS = 2  # they never wait for a client


class Chunks:
    """In the place of the bytearray that uvicorn gathers a body in until it is asked for: nothing is copied for one chunk."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0

    def __iadd__(self, chunk: bytes) -> "Chunks":
        self._chunks.append(chunk)
        self._size += len(chunk)
        return self

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._chunks)


class Upload:
    """The rest of a body whose length is known, on a connection that nobody else reads meanwhile. For the event loop.

    take  gets what has arrived, in order
    end   is called once: with True behind the last byte, with False where the client has gone before

    Raises OSError where there is no descriptor left.
    """

    def __init__(
        self,
        transport: Any,
        length: int,
        take: Callable[[bytes], None],
        end: Callable[[bool], None],
    ) -> None:
        self._left, self._take, self._end = length, take, end
        self._loop = asyncio.get_running_loop()
        self._twin = twin_of(transport)
        self._is_paused = self._is_waiting = self._is_reading = self._is_over = False
        self._wait()

    def pause_reading(self) -> None:
        """What a thread is reading still comes."""
        self._is_paused = True
        self._stop_waiting()

    def resume_reading(self) -> None:
        self._is_paused = False
        self._wait()

    def take_little(self) -> None:
        """What has arrived and is not enough to wake for: a client that is that slow does send."""
        if self._is_waiting:
            self._read_here(min(self._left, _FEW))

    def close(self) -> None:
        """Nothing is taken any more."""
        if self._is_over:
            return
        self._is_over = True
        self._stop_waiting()
        if not self._is_reading:
            self._twin.close()

    def _wait(self) -> None:
        if not (self._is_paused or self._is_waiting or self._is_reading or self._is_over):
            self._is_waiting = True
            self._wake_at(min(self._left, ENOUGH))
            self._loop.add_reader(self._twin, self._look)

    def _stop_waiting(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._loop.remove_reader(self._twin)

    def _wake_at(self, count: int) -> None:
        """The socket is the transport's too: behind the body it is to be woken for a single byte again."""
        with contextlib.suppress(OSError):  # where that cannot be said pieces are smaller, that is all
            self._twin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def _look(self) -> None:
        """Enough has arrived, or the client has gone; or the system is short of memory, and what has arrived is less."""
        if self._left <= _FEW:
            self._read_here(self._left)
        else:
            self._stop_waiting()
            self._read_in_thread()

    def _read_here(self, most: int) -> None:
        self._stop_waiting()  # whoever waits again waits for no more than is left then
        self._go_on(most, *_read(self._twin.fileno(), most))

    def _read_in_thread(self) -> None:
        self._is_reading = True
        most = min(self._left, PIECE)
        reading = self._loop.run_in_executor(_threads(), _read, self._twin.fileno(), most)
        reading.add_done_callback(lambda done: self._come(most, done))

    def _come(self, most: int, reading: "asyncio.Future[tuple[list[bytes], bool]]") -> None:
        """A thread has read."""
        self._is_reading = False
        if self._is_over:
            self._twin.close()
        else:
            self._go_on(most, *reading.result())

    def _go_on(self, most: int, pieces: list[bytes], has_gone: bool) -> None:
        count = sum(map(len, pieces))
        self._left -= count
        for piece in pieces:
            self._take(piece)
        if has_gone or not self._left:
            self._wake_at(1)
            self.close()
            self._end(not self._left)
        elif count < most:
            self._wait()
        elif not (self._is_paused or self._is_over):  # there is more
            self._stop_waiting()
            self._read_in_thread()


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Of the process."""
    return ThreadPoolExecutor(_THREADS, "upload")


def _read(descriptor: int, most: int) -> tuple[list[bytes], bool]:
    """What is there, without waiting; and whether the client has gone."""
    pieces: list[bytes] = []
    while most:
        try:
            piece = os.read(descriptor, most)
        except BlockingIOError:
            return pieces, False
        except OSError:
            return pieces, True
        if not piece:
            return pieces, True
        pieces.append(piece)
        most -= len(piece)
    return pieces, False
