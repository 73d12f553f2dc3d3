"""What every server process begins with. Importing this does it: several processes are forked from one that did (see workers)."""

import ctypes
import gc
import os
import sys

# Of mallopt (glibc's malloc.h), and the variables by which an operator would set them.
_ARENA_MAX, _ARENAS = -8, 2
_TRIM_THRESHOLD, _KEPT = -1, 64 * 1024 * 1024
_MMAP_THRESHOLD, _APART = -3, 4 * 1024 * 1024


def _settle_malloc() -> None:
    """By default glibc gives nearly every thread a heap of its own, and each keeps the largest frames that its thread had.

    And it gives back to the system what the pieces of an upload took as soon as they are stored, to have it cleared and mapped
    anew, page by page, for the next ones. A bounded amount is kept instead; what is larger than any piece goes back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None  # musl has none
    if mallopt is None:
        return
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_ARENA_MAX, _ARENAS)
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt(_TRIM_THRESHOLD, _KEPT)
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt(_MMAP_THRESHOLD, _APART)


_settle_malloc()
# A fifth of the time that importing takes: nothing of what it makes is garbage.
gc.disable()
import app.main  # noqa: E402, F401

# Never looked at again by the collector: it writes to what it looks at, and forked processes would share no page of it.
gc.freeze()
gc.enable()
