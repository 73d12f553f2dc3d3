"""Blobs made durable together: what waits to be published gathers while others are, and goes in one piece of work.

A commit of the file system takes the same time for one file as for many, and a thread that is reached once for sixteen files
costs less than sixteen that are reached once each. The disk is told of all files before it is waited for: they are written side
by side.
"""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from app.blobs.folder_tree import FolderTree
from app.blobs.spool import SpoolFile
from app.blobs.threads import ended, in_thread, settled
from app.errors import BlobStoreUnavailable

AT_ONCE = 8  # groups under way: while some wait for the disk others are written
GROUP_FILES = 16
# A larger file is a group of its own, besides the others: nobody shall wait until it is on the disk.
LARGE_BYTES = 4 * 1024 * 1024
_WORTH_A_THREAD = 4  # files
_SYNC_FILE_RANGE_WRITE = 2

Complete = Callable[[], tuple[SpoolFile, str]]


@dataclass(slots=True, eq=False)
class _Publication:
    """complete  gives the file with all its bytes, and the key, in a thread
    done      when it is over, with or without an error
    """

    complete: Complete
    done: asyncio.Future[None]
    key: str = ""
    error: Exception | None = None

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What is raised within is the error of this one; nothing is raised."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.error = self.error or error


class Publishing:
    """Of one store, on one event loop."""

    def __init__(self, tree: FolderTree, pool: ThreadPoolExecutor) -> None:
        self._tree = tree
        self._pool = pool
        self._waiting: deque[_Publication] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._is_gathering = False

    async def publish(self, complete: Complete, size: int) -> None:
        """Durable on return, and the file closed. Raises what `complete` raises, and OSError.

        When the caller is cancelled nothing stays published: what has become visible meanwhile is removed.
        """
        loop = asyncio.get_running_loop()
        one = _Publication(complete, loop.create_future())
        if size > LARGE_BYTES:
            self._spawn(self._run([one]))
        else:
            self._waiting.append(one)
            if not self._is_gathering:
                self._is_gathering = True
                loop.call_soon(self._begin)  # those of one batch are all told of in one turn of the loop
        try:
            await asyncio.shield(one.done)
        except asyncio.CancelledError:
            if one in self._waiting:
                self._waiting.remove(one)
                raise
            await ended(one.done)
            if one.error is None:  # nobody will ever name it
                await settled(self._pool.submit(self._tree.remove, one.key))
            raise

    def _begin(self) -> None:
        self._is_gathering = False
        while self._waiting and (not self._under_way or self._is_worth_another()):
            self._under_way += 1
            group = [self._waiting.popleft() for _ in range(min(GROUP_FILES, len(self._waiting)))]
            self._spawn(self._run_in_turn(group))

    def _is_worth_another(self) -> bool:
        """A group beside one that is under way costs both of them time: only a full one makes up for it."""
        return self._under_way < AT_ONCE and len(self._waiting) >= GROUP_FILES

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_in_turn(self, group: list[_Publication]) -> None:
        try:
            await self._run(group)
        finally:
            self._under_way -= 1
            self._begin()

    async def _run(self, group: list[_Publication]) -> None:
        try:
            await in_thread(self._pool, self._publish, group)
        except BaseException as error:
            for one in group:
                one.error = one.error or BlobStoreUnavailable("the blob store is being closed")
            if not isinstance(error, RuntimeError):  # of a pool that has been shut down
                raise
        finally:
            for one in group:
                if one.error is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(one.error)
                    one.done.exception()  # whoever waited may have left

    def _publish(self, group: list[_Publication]) -> None:
        """In a thread. Never raises: each has its error."""
        files = self._write_side_by_side(group)
        if self._tree.sync:
            for one, file in reversed(files):  # when the last is there the others mostly are too
                with one.told():
                    file.sync()
        placed: dict[str, _Publication] = {}
        for one, file in files:
            if one.error is None:
                with one.told():
                    file.close()
                    placed[self._tree.place(file.path, one.key)] = one
        for target, error in self._tree.settle(placed).items():
            placed[target].error = error

    def _write_side_by_side(self, group: Sequence[_Publication]) -> list[tuple[_Publication, SpoolFile]]:
        """Hashing and writing need no lock of the interpreter: two threads are as fast again."""
        half = len(group) // 2 if len(group) >= _WORTH_A_THREAD else 0
        try:
            other = self._pool.submit(self._write, group[:half], begin=True) if half else None
        except RuntimeError:  # the store is being closed: what was begun is ended here
            other, half = None, 0
        files = self._write(group[half:], begin=len(group) > 1)
        return other.result() + files if other is not None else files

    def _write(self, group: Sequence[_Publication], *, begin: bool) -> list[tuple[_Publication, SpoolFile]]:
        """All bytes are handed to the system; it is told to `begin` to bring them to the disk."""
        files = []
        for one in group:
            with one.told():
                file, one.key = one.complete()
                files.append((one, file))
                if self._tree.sync and begin:
                    _start_writing(file)
        return files


def _start_writing(file: SpoolFile) -> None:
    """Tell the disk of what was written, and do not wait for it. Where that is not known, `sync` does both."""
    start = _sync_file_range()
    if start is not None:
        start(file.fileno(), 0, 0, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes  # not needed before the first upload

    function = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function
