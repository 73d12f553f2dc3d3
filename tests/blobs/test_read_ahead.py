"""Reading ahead without a store: requests that the test ends by hand, so that what is under way can be counted."""

import asyncio
from concurrent.futures import Future
from contextlib import aclosing

import pytest

from app.blobs.memory import MemoryBlobStore
from app.blobs.read_ahead import ReadAhead, ReadAheadBudget, Window, windows_of
from tests.blobs.backend import write_blob
from tests.support.counting_blobs import CountingBlobs

AMPLE = 10**9


class Requests:
    """Begins requests and leaves them open."""

    def __init__(self) -> None:
        self.begun: list[tuple[Window, Future[bytes]]] = []

    def start(self, window: Window) -> Future[bytes]:
        work: Future[bytes] = Future()
        self.begun.append((window, work))
        return work

    def answer(self, index: int) -> None:
        window, work = self.begun[index]
        work.set_result(bytes([window.offset % 251]) * window.length)

    def keys(self) -> list[str]:
        return [window.key for window, _ in self.begun]


@pytest.fixture
def requests() -> Requests:
    return Requests()


def blobs(*sizes: int) -> list[Window]:
    return [Window(f"k{number}", number, size, size) for number, size in enumerate(sizes)]


def reader(
    requests: Requests, windows: list[Window], count: int = 4, budget: ReadAheadBudget | None = None
) -> ReadAhead:
    return ReadAhead(requests.start, windows, count=count, budget=budget or ReadAheadBudget(AMPLE, AMPLE))


async def taking(ahead: ReadAhead, window: Window) -> "asyncio.Task[bytes]":
    """Asked for, and waiting."""
    task = asyncio.create_task(ahead.take(window))
    await asyncio.sleep(0)
    return task


def test_windows_cover_the_range() -> None:
    assert list(windows_of("k", 5, 0, 4)) == []
    assert list(windows_of("k", 5, 4, 4, 99)) == [Window("k", 5, 4, 99)]
    assert list(windows_of("k", 5, 9, 4)) == [Window("k", 5, 4), Window("k", 9, 4), Window("k", 13, 1)]


async def test_nothing_is_fetched_before_something_is_asked_for(requests: Requests) -> None:
    ahead = reader(requests, blobs(1, 1, 1))
    assert requests.begun == []
    ahead.close()


async def test_so_many_are_under_way_and_they_come_in_their_order(requests: Requests) -> None:
    windows = blobs(*range(1, 21))
    ahead = reader(requests, windows, count=4)
    for turn, window in enumerate(windows):
        task = await taking(ahead, window)
        assert len(requests.begun) == min(turn + 5, 20)
        if turn + 2 < len(windows) and not requests.begun[turn + 2][1].done():
            requests.answer(turn + 2)  # later ones may be faster
        assert not task.done() or requests.begun[turn][1].done()
        if not requests.begun[turn][1].done():
            requests.answer(turn)
        assert await task == bytes([turn]) * (turn + 1)
    assert requests.keys() == [window.key for window in windows]
    ahead.close()


async def test_bytes_are_bounded_with_those_that_were_taken_last(requests: Requests) -> None:
    windows = blobs(*[10] * 9)
    ahead = reader(requests, windows, count=100, budget=ReadAheadBudget(45, AMPLE))
    for turn, window in enumerate(windows):
        task = await taking(ahead, window)
        assert len(requests.begun) == min(turn + 4, 9), "three ahead, and the one that is wanted"
        requests.answer(turn)
        await task
    ahead.close()


async def test_what_is_larger_than_the_bound_is_fetched_alone(requests: Requests) -> None:
    windows = blobs(10, 100, 100, 10)
    ahead = reader(requests, windows, budget=ReadAheadBudget(45, AMPLE))
    under_way = []
    for turn, window in enumerate(windows):
        task = await taking(ahead, window)
        under_way.append(len(requests.begun))
        requests.answer(turn)
        await task
    assert under_way == [1, 2, 3, 4]
    ahead.close()


async def test_many_readers_share_what_all_may_hold(requests: Requests) -> None:
    budget = ReadAheadBudget(40, 120)
    readers = [reader(requests, blobs(*[10] * 9), count=100, budget=budget) for _ in range(6)]
    assert budget.share() == 20
    task = await taking(readers[0], blobs(10)[0])
    assert len(requests.begun) == 2
    for other in readers[1:]:
        other.close()
    assert budget.share() == 40
    requests.answer(0)
    await task
    await taking(readers[0], Window("k1", 1, 10, 10))
    assert len(requests.begun) == 5
    readers[0].close()


async def test_a_reader_that_was_forgotten_takes_no_share(requests: Requests) -> None:
    budget = ReadAheadBudget(40, 40)
    forgotten = reader(requests, blobs(1), budget=budget)
    reader(requests, blobs(1), budget=budget).close()
    del forgotten
    assert budget.share() == 40


async def test_a_failure_waits_for_its_turn(requests: Requests) -> None:
    windows = blobs(1, 1, 1)
    ahead = reader(requests, windows)
    task = await taking(ahead, windows[0])
    requests.begun[1][1].set_exception(OSError("gone"))
    requests.answer(0)
    assert await task == b"\0"
    with pytest.raises(OSError, match="gone"):
        await ahead.take(windows[1])
    ahead.close()


async def test_closing_drops_what_has_not_begun_and_begins_nothing_more(requests: Requests) -> None:
    windows = blobs(*[1] * 20)
    ahead = reader(requests, windows, count=4)
    task = await taking(ahead, windows[0])
    requests.answer(0)
    await task
    assert requests.begun[1][1].set_running_or_notify_cancel()  # a thread has taken it
    ahead.close()
    assert [work.cancelled() for _, work in requests.begun] == [False, False, True, True, True]
    with pytest.raises(RuntimeError):
        await ahead.take(windows[1])
    assert len(requests.begun) == 5
    requests.answer(1)  # comes to its end, and nobody minds


async def test_windows_out_of_turn_are_refused(requests: Requests) -> None:
    """A stream that was left in the middle must not give its bytes to the next."""
    windows = blobs(1, 1, 1)
    ahead = reader(requests, windows)
    with pytest.raises(RuntimeError, match="order"):
        await ahead.take(windows[1])
    ahead.close()


async def test_where_reading_costs_no_time_each_blob_is_opened_when_its_turn_comes() -> None:
    store = CountingBlobs(MemoryBlobStore())
    keys = [await write_blob(store, bytes([number])) for number in range(20)]
    async with aclosing(store.open_each([(key, 1) for key in keys])) as streams:
        for turn in range(len(keys)):
            assert [chunk async for chunk in await anext(streams)] == [bytes([turn])]
            assert len(store.traffic.reads) == turn + 1
