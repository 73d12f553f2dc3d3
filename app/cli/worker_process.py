"""One of several server processes, which ends when the one that looks after it does.

Killed outright, that one cannot end its workers: they would keep the port and go on storing beside the server that follows.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from app.errors import Unavailable
from app.main import create_server_app
from app.observability import log

NOT_YET = 75  # EX_TEMPFAIL: any status but the one by which uvicorn tells that no worker can ever start
PAUSE = 1.0  # seconds


def create_worker_app() -> object:
    """The application of a worker. Called by uvicorn in the event loop that will serve it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A pipe whose other end nobody but the parent holds: it can be read as soon as the parent is no more.
        asyncio.get_running_loop().add_reader(parent.sentinel, _end, parent.sentinel)
    app = create_server_app()
    app.router.lifespan_context = _started_anew_until_available(app.router.lifespan_context)
    return app


def _started_anew_until_available(
    lifespan: Callable[[Any], AbstractAsyncContextManager[Any]],
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """A worker that takes the place of another while the database is away ends, and the next one tries again.

    uvicorn ends all of them, those that could go on among them, when one fails to start.
    """

    @asynccontextmanager
    async def started(app: Any) -> AsyncIterator[Any]:
        is_started = False
        try:
            async with lifespan(app) as state:
                is_started = True
                yield state
        except Unavailable as error:
            if is_started:
                raise
            log.warning("worker.not_started", error=str(error))
            await asyncio.sleep(PAUSE)
            os._exit(NOT_YET)

    return started


def _end(sentinel: int) -> None:
    """As if the parent had said so: requests that are under way may end."""
    asyncio.get_running_loop().remove_reader(sentinel)
    log.warning("parent_ended")
    os.kill(os.getpid(), signal.SIGTERM)
