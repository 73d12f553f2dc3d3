"""A real Gantry with data of its own, for the commands that speak to one or work on its archive."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tests.support.server import Server, running_server

NewEventLoop = Callable[[], asyncio.AbstractEventLoop]

# Whatever a shell without job control starts in the background ignores Ctrl-C, and so do the commands that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def gantry(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "gantry" / "data") as server:
        yield server


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def new_event_loop(request: pytest.FixtureRequest) -> NewEventLoop:
    """Of each kind that the server may run on."""
    factory: NewEventLoop = request.param
    return factory
