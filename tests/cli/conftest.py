"""A real Gantry with data of its own, for the commands that speak to one or work on its archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Server, running_server


@pytest.fixture
def gantry(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "gantry" / "data") as server:
        yield server
