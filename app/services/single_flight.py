"""The same work is done once, however many ask for it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(slots=True)
class _Flight:
    task: "asyncio.Task[Any]"
    waiting: int = 0


class SingleFlight:
    """Of one event loop. Whoever is cancelled leaves the others undisturbed; work that nobody waits for is cancelled."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """The result of `work`, or of the same work that is under way already. Raises what it raises."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.ensure_future(_as_coroutine(work)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiting += 1
        try:
            result: _T = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Who asks from now on starts anew: this work will not be finished.
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()
        return result

    def _landed(self, key: str, task: "asyncio.Task[Any]") -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # seen, even if the last one who waited has gone


async def _as_coroutine(work: Callable[[], Awaitable[_T]]) -> _T:
    return await work()
