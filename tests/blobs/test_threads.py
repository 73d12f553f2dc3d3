import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.blobs.threads import in_thread, outcome, settled
from tests.blobs.backend import until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_the_result_comes_back(pool: ThreadPoolExecutor) -> None:
    assert await in_thread(pool, divmod, 17, 5) == (3, 2)


async def test_the_error_comes_back(pool: ThreadPoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(pool, divmod, 17, 0)


async def test_a_cancelled_caller_waits_for_a_call_that_has_begun(pool: ThreadPoolExecutor) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(10)
        ended.set()

    task = asyncio.ensure_future(in_thread(pool, work))
    await until(begun.is_set)
    for _ in range(3):  # insisting does not help
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_a_call_that_has_not_begun_is_dropped(pool: ThreadPoolExecutor) -> None:
    go_on = threading.Event()
    blocker = pool.submit(go_on.wait, 10)
    calls: list[int] = []
    task = asyncio.ensure_future(in_thread(pool, calls.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await settled(blocker) is False
    assert await in_thread(pool, calls.copy) == []


async def test_a_call_can_be_told_that_it_is_not_wanted_any_more(pool: ThreadPoolExecutor) -> None:
    abandoned = threading.Event()
    task = asyncio.ensure_future(outcome(work := pool.submit(abandoned.wait, 10), abandoned.set))
    await asyncio.sleep(0)  # the task begins
    await until(work.running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.result() is True


async def test_an_error_after_the_cancellation_is_not_reported_again(pool: ThreadPoolExecutor) -> None:
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    go_on = threading.Event()

    def fail() -> None:
        go_on.wait(10)
        raise OSError("too late")

    task = asyncio.ensure_future(outcome(work := pool.submit(fail)))
    await asyncio.sleep(0)  # the task begins
    await until(work.running)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task, work
    await asyncio.sleep(0.01)
    assert reports == []


async def test_settled_tells_a_cancellation(pool: ThreadPoolExecutor) -> None:
    go_on = threading.Event()
    task = asyncio.ensure_future(settled(pool.submit(go_on.wait, 10)))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    assert await task is True
