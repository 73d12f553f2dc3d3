"""Single flight and codec threads: cancellation, time, places."""

import asyncio
import threading
import time

import pytest

from app.errors import CodecError, Unavailable
from app.services.codec_threads import CodecThreads
from app.services.single_flight import SingleFlight

# Single flight


async def test_one_flight_for_one_key() -> None:
    flights, runs = SingleFlight(), []

    async def work(value: int) -> int:
        runs.append(value)
        await asyncio.sleep(0.01)
        return value

    results = await asyncio.gather(
        *(flights.run(f"{number % 3}", lambda n=number % 3: work(n)) for number in range(12))
    )
    assert results == [number % 3 for number in range(12)]
    assert sorted(runs) == [0, 1, 2]
    assert await flights.run("0", lambda: work(7)) == 7  # what has landed is not remembered


async def test_an_error_reaches_all_and_is_not_remembered() -> None:
    flights = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0.01)
        raise CodecError("broken")

    async def succeed() -> int:
        return 1

    results = await asyncio.gather(*(flights.run("a", fail) for _ in range(4)), return_exceptions=True)
    assert [str(one) for one in results] == ["broken"] * 4
    assert await flights.run("a", succeed) == 1


async def test_whoever_leaves_leaves_the_others_undisturbed() -> None:
    flights, ended = SingleFlight(), asyncio.Event()

    async def work() -> str:
        await ended.wait()
        return "done"

    tasks = [asyncio.create_task(flights.run("a", work)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()  # the one who began it
    await asyncio.sleep(0)
    ended.set()
    assert await tasks[1] == await tasks[2] == "done"
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_work_that_nobody_waits_for_is_cancelled_and_can_begin_anew() -> None:
    flights, cancelled = SingleFlight(), []

    async def work() -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        return "never"

    async def quick() -> str:
        return "quick"

    tasks = [asyncio.create_task(flights.run("a", work)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await flights.run("a", quick) == "quick"
    await asyncio.sleep(0)
    assert cancelled == [1]


# Codec threads


async def test_results_and_errors_come_back() -> None:
    with CodecThreads(2) as threads:
        assert await asyncio.gather(*(threads.run(lambda n=n: n * n) for n in range(9))) == [n * n for n in range(9)]
        assert threads.submit(pow, 2, 5).result() == 32

        def fail() -> int:
            raise CodecError("broken")

        def exhausted() -> int:
            raise MemoryError

        with pytest.raises(CodecError, match="broken"):
            await threads.run(fail)
        with pytest.raises(CodecError, match="memory"):
            await threads.run(exhausted)
        assert threads.overdue == 0


async def test_overdue_work_keeps_its_place_until_it_ends() -> None:
    stuck = threading.Event()
    with CodecThreads(2, timeout=0.1) as threads:
        try:
            began = time.monotonic()
            with pytest.raises(CodecError, match=r"longer than 0\.1 s"):
                await threads.run(lambda: stuck.wait(20))
            assert 0.09 <= time.monotonic() - began < 2
            assert threads.overdue == 1
            assert await threads.run(lambda: 1) == 1  # one place is left
            with pytest.raises(CodecError):
                await threads.run(lambda: stuck.wait(20))
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await threads.run(lambda: 1)
            with pytest.raises(Unavailable):
                threads.submit(int)
            assert time.monotonic() - began < 0.09  # at once
        finally:
            stuck.set()
        for _ in range(500):
            if threads.overdue:
                await asyncio.sleep(0.01)
        assert await threads.run(lambda: 1) == 1


async def test_time_counts_from_the_start_of_work_and_waiting_is_bounded_too() -> None:
    stuck = threading.Event()
    with CodecThreads(1, timeout=0.6) as threads:
        try:
            first = asyncio.create_task(threads.run(lambda: time.sleep(0.4)))
            await asyncio.sleep(0.05)
            # Waits 0.35 s for its place, works 0.4 s: within its time.
            assert await threads.run(lambda: time.sleep(0.4)) is None
            await first
            blocking = asyncio.create_task(threads.run(lambda: stuck.wait(20)))
            await asyncio.sleep(0.01)
            with pytest.raises(Unavailable, match="busy"):
                await threads.run(lambda: 1)
            with pytest.raises(CodecError):
                await blocking
        finally:
            stuck.set()


async def test_cancelled_work_that_has_not_begun_never_begins() -> None:
    release, ran = threading.Event(), []
    with CodecThreads(1) as threads:
        first = asyncio.create_task(threads.run(lambda: release.wait(20)))
        second = asyncio.create_task(threads.run(lambda: ran.append(1)))
        await asyncio.sleep(0.02)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        assert await first is True
        assert await threads.run(lambda: 5) == 5
    assert ran == []
