"""What every server process begins with. Importing this does it: several processes are forked from one that did (see workers)."""

import ctypes
import gc
import os
import sys

_M_ARENA_MAX = -8  # of mallopt (glibc's malloc.h)


def _few_arenas() -> None:
    """By default glibc gives nearly every thread a heap of its own, and each keeps the largest frames that its thread had."""
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 2)


_few_arenas()
# A fifth of the time that importing takes: nothing of what it makes is garbage.
gc.disable()
import app.main  # noqa: E402, F401

# Never looked at again by the collector: it writes to what it looks at, and forked processes would share no page of it.
gc.freeze()
gc.enable()
