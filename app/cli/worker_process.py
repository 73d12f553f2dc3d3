"""One of several server processes, which ends when the one that looks after it does.

Killed outright, that one cannot end its workers: they would keep the port and go on storing beside the server that follows.
"""

import asyncio
import multiprocessing
import os
import signal

from app.main import create_server_app
from app.observability import log


def create_worker_app() -> object:
    """The application of a worker. Called by uvicorn in the event loop that will serve it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A pipe whose other end nobody but the parent holds: it can be read as soon as the parent is no more.
        asyncio.get_running_loop().add_reader(parent.sentinel, _end, parent.sentinel)
    return create_server_app()


def _end(sentinel: int) -> None:
    """As if the parent had said so: requests that are under way may end."""
    asyncio.get_running_loop().remove_reader(sentinel)
    log.warning("parent_ended")
    os.kill(os.getpid(), signal.SIGTERM)
