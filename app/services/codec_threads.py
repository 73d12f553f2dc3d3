"""The threads that decode, encode and render: bounded in number, each piece of work bounded in time.

A thread cannot be stopped. Work that exceeds its time is given up by whoever waits for it, but keeps its place until it ends;
when such work holds every place, more is refused at once instead of waiting for a place that may never come.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from app.errors import CodecError, Unavailable

_T = TypeVar("_T")
_P = ParamSpec("_P")


class CodecThreads(ThreadPoolExecutor):
    """places   how many threads
    timeout  seconds that one piece of work may take, and that it may wait for a place
    turns    for work whose input should wait in the store, not in memory, until there is a thread for it soon
    """

    def __init__(self, places: int, *, timeout: float = 60.0) -> None:
        super().__init__(places, thread_name_prefix="codec")
        self.places = places
        self.timeout = timeout
        self.turns = asyncio.Semaphore(2 * places)
        self._started: dict[object, float] = {}
        self._lock = Lock()

    @property
    def overdue(self) -> int:
        """How many places are held by work that nobody waits for any more."""
        limit = time.monotonic() - self.timeout
        with self._lock:
            return sum(started <= limit for started in self._started.values())

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """As every executor does. Raises Unavailable when every place is held by overdue work."""
        return self._submit(object(), fn, *args, **kwargs)

    async def run(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, run in one of the threads.

        Raises CodecError when it takes too long or when memory ends, Unavailable when it does not get a place in time; and
        what `work` raises.
        """
        mark = object()
        future = self._submit(mark, work)
        waiting = asyncio.wrap_future(future)
        # Nobody may be there any more to see how it ended.
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        deadline = time.monotonic() + self.timeout
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=max(0.01, deadline - time.monotonic()))
                if waiting.done() or time.monotonic() < deadline:
                    continue
                started = self._started.get(mark)
                if started is None:
                    if future.cancel():
                        raise Unavailable("all threads that decode and encode are busy")
                elif time.monotonic() - started >= self.timeout:
                    raise CodecError(f"decoding or encoding took longer than {self.timeout:g} s")
                else:
                    deadline = started + self.timeout
            return waiting.result()
        except MemoryError as error:
            raise CodecError("there is not enough memory for this image") from error
        finally:
            future.cancel()

    def _submit(self, mark: object, work: Callable[..., _T], *args: Any, **kwargs: Any) -> Future[_T]:
        if self.overdue >= self.places:
            raise Unavailable("all threads that decode and encode are held by work that does not end")

        def timed() -> _T:
            with self._lock:
                self._started[mark] = time.monotonic()
            try:
                return work(*args, **kwargs)
            finally:
                with self._lock:
                    del self._started[mark]

        return super().submit(timed)
