"""The folder in which the processes of one `gantry serve` add up their metrics, and of no other: what an earlier run had counted is
not of this one.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_PREFIX = "run-"
_LOCK = "lock"  # held as long as the run: the system lets go of it however that ends


@contextlib.contextmanager
def metrics_folder(parent: str) -> Iterator[str]:
    """A new one below `parent`, removed at the end; "": among the system's temporary files. What is left there of runs that were
    killed is removed before. Raises OSError.
    """
    if not parent:
        with tempfile.TemporaryDirectory(prefix="gantry-metrics-") as folder:
            yield folder
        return
    with contextlib.ExitStack() as until_the_end:
        with _alone_in(Path(parent)):
            _remove_left(Path(parent))
            folder = until_the_end.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent))
            lock = until_the_end.enter_context((Path(folder) / _LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder


@contextlib.contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """No other run makes its folder meanwhile: until it has its lock it would be taken for one that is left."""
    parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            with (folder / _LOCK).open("r") as lock:
                if not _is_free(lock):
                    continue
        except FileNotFoundError:
            pass  # it was killed before, or while it was removed
        shutil.rmtree(folder, ignore_errors=True)


def _is_free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
