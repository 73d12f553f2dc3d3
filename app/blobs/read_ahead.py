"""Windows of blobs, fetched several at once before their turn comes: where each request takes its time, they wait together.

What is fetched is bounded in number and in bytes, for one reader and for all readers of a store together.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from weakref import WeakSet

from app.blobs.threads import outcome


@dataclass(frozen=True, slots=True)
class Window:
    """What one request fetches. `blob_size`: of the whole blob where it is known; another one is an error then."""

    key: str
    offset: int
    length: int
    blob_size: int | None = None


def windows_of(key: str, offset: int, length: int, most: int, blob_size: int | None = None) -> Iterator[Window]:
    """`length` bytes from `offset` on, in windows of at most `most` bytes."""
    for start in range(offset, offset + length, most):
        yield Window(key, start, min(most, offset + length - start), blob_size)


class ReadAheadBudget:
    """`total` bytes for all readers of a store, `each` at most for one: the more read, the less each fetches ahead."""

    def __init__(self, each: int, total: int) -> None:
        self.each = each
        self.total = total
        self._readers: WeakSet[ReadAhead] = WeakSet()

    def share(self) -> int:
        return min(self.each, self.total // max(1, len(self._readers)))

    def enter(self, reader: "ReadAhead") -> None:
        self._readers.add(reader)

    def leave(self, reader: "ReadAhead") -> None:
        self._readers.discard(reader)


class ReadAhead:
    """Fetches `windows` in their order, up to `count` of them before they are taken.

    start   begins a request in a thread
    budget  how many bytes may be held, with those of the window that was taken last. One window is fetched in any case.
    Must be closed. What fails is told when its turn comes: everything in front of it is delivered.
    """

    def __init__(
        self,
        start: Callable[[Window], Future[bytes]],
        windows: Iterable[Window],
        *,
        count: int,
        budget: ReadAheadBudget,
    ) -> None:
        self._start = start
        self._windows = iter(windows)
        self._next = next(self._windows, None)
        self._count = count
        self._budget = budget
        self._begun: deque[tuple[Window, Future[bytes]]] = deque()
        self._held = self._taken = 0
        budget.enter(self)

    async def take(self, window: Window) -> bytes:
        """The bytes of `window`, which is the next; those of the one before are let go of. Raises what the request raises."""
        self._held -= self._taken
        self._taken = 0
        self.begin()
        if not self._begun or self._begun[0][0] != window:
            raise RuntimeError("windows are taken in the order in which they were announced")
        _, work = self._begun.popleft()
        self._taken = window.length
        self.begin()
        return await outcome(work)

    def begin(self) -> None:
        """Begin what may be begun, where the first window is not wanted yet. Taking one does so by itself."""
        while self._next is not None and self._may_begin(self._next.length):
            self._held += self._next.length
            self._begun.append((self._next, self._start(self._next)))
            self._next = next(self._windows, None)

    def _may_begin(self, length: int) -> bool:
        if not self._held:
            return True
        return len(self._begun) < self._count and self._held + length <= self._budget.share()

    def close(self) -> None:
        """Requests that wait for a thread are dropped; those that run come to their end by themselves, and are forgotten."""
        self._next = None
        for _, work in self._begun:
            work.cancel()
        self._begun.clear()
        self._budget.leave(self)
