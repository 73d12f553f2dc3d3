"""Work of several requests done together: while one group is under way, what comes gathers for the next.

A commit costs about the same for one instance as for many: the statements, the round trips, forcing it to disk. Requests that
arrive one by one wait for nobody; requests that arrive together share. Each is answered only when its own part is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.errors import Unavailable
from app.observability import log

Manner = TypeVar("Manner")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Waiting:
    work: Callable[[Any, list[Any]], Awaitable[list[Any]]]
    manner: Any
    items: Sequence[Any]
    results: "asyncio.Future[list[Any]]"
    since: float

    def goes_with(self, other: "_Waiting") -> bool:
        return self.work == other.work and (self.manner is other.manner or self.manner == other.manner)


class GroupQueue:
    """For one archive and process.

    group_items   of one group, unless one request alone has more
    at_once       groups under way
    patience      seconds that somebody has to wait before another group begins beside those under way; 0: nobody waits for that
    longest_wait  seconds after which who is still waiting gets TimeoutError, looked at every `patience` seconds
    """

    def __init__(
        self, group_items: int, at_once: int = 1, *, patience: float = 0.0, longest_wait: float = float("inf")
    ) -> None:
        self._group_items = group_items
        self._at_once = at_once
        self._patience = patience
        self._longest_wait = longest_wait
        self._next_look: asyncio.TimerHandle | None = None
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def put(
        self, work: Callable[[Manner, list[Item]], Awaitable[list[Result]]], manner: Manner, items: Sequence[Item]
    ) -> "asyncio.Future[list[Result]]":
        """A result for each item, in their order, or what `work` raises. Only what is done in the same manner shares a group, and
        a group that fails, but for Unavailable, is tried again request by request. What is under way goes on when the future is
        cancelled.
        """
        loop = asyncio.get_running_loop()
        results: asyncio.Future[list[Result]] = loop.create_future()
        self._waiting.append(_Waiting(work, manner, items, results, loop.time()))
        if not self._under_way or (not self._patience and self._under_way < self._at_once):
            self._begin()
        elif self._patience and self._next_look is None:
            self._next_look = loop.call_later(self._patience, self._look_after_waiting, loop)
        return results

    def _begin(self) -> None:
        self._under_way += 1
        # It begins in the next turn of the loop: who comes in this one is there.
        task = asyncio.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look_after_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_look = None
        now = loop.time()
        while self._waiting and now - self._waiting[0].since > self._longest_wait:
            results = self._waiting.pop(0).results
            if not results.done():
                results.set_exception(TimeoutError())
        if self._waiting:
            if now - self._waiting[0].since >= self._patience and self._under_way < self._at_once:
                self._begin()
            self._next_look = loop.call_later(self._patience, self._look_after_waiting, loop)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._do(self._next_group())
        finally:
            self._under_way -= 1

    def _next_group(self) -> list[_Waiting]:
        count = size = 0
        for waiting in self._waiting:
            size += len(waiting.items)
            if count and (size > self._group_items or not waiting.goes_with(self._waiting[0])):
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _do(self, group: Sequence[_Waiting]) -> None:
        """Never raises: every one of the group gets its results or the error."""
        try:
            found = await group[0].work(group[0].manner, [item for waiting in group for item in waiting.items])
        except BaseException as error:
            if len(group) > 1 and isinstance(error, Exception) and not isinstance(error, Unavailable):
                # What one request brought cannot be done: the others are not to suffer for it.
                log.warning("group.split", requests=len(group), error=str(error))
                for waiting in group:
                    await self._do([waiting])
                return
            for waiting in group:
                if not waiting.results.done():
                    waiting.results.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        at = 0
        for waiting in group:
            if not waiting.results.done():
                waiting.results.set_result(found[at : at + len(waiting.items)])
            at += len(waiting.items)
