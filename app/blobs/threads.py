"""Blocking calls in threads that the caller's cancellation cannot leave running behind its back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BATCH = 1000


async def in_thread(pool: ThreadPoolExecutor, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """`function(*args)` in a thread of the pool.

    When the caller is cancelled, a call that has not begun is dropped; one that has begun is waited for before
    CancelledError goes on. So the descriptors and buffers that the call uses can be released safely afterwards.
    """
    return await outcome(pool.submit(function, *args))


async def outcome(work: Future[T], abandon: Callable[[], None] | None = None) -> T:
    """The result of work given to a pool, with the promise of `in_thread`. `abandon` is called to make it end early."""
    waiting = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not work.cancel():
            if abandon is not None:
                abandon()
            await ended(waiting)
        raise


async def settled(work: Future[T]) -> bool:
    """Wait until the work has ended, however it ended. True when the caller was cancelled meanwhile and has to say so."""
    return await ended(asyncio.wrap_future(work))


async def ended(waiting: asyncio.Future[T]) -> bool:
    """The same of a future of this event loop."""
    cancelled = False
    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            cancelled = True
    if not waiting.cancelled():
        waiting.exception()  # seen: the event loop need not report it
    return cancelled


async def iterate(pool: ThreadPoolExecutor, items: Generator[T, None, None]) -> AsyncIterator[T]:
    """The items of a blocking generator, BATCH of them for each change to a thread. Closes it at the end."""

    def batch() -> list[T]:
        return list(islice(items, BATCH))

    try:
        while taken := await in_thread(pool, batch):
            for item in taken:
                yield item
    finally:
        items.close()
