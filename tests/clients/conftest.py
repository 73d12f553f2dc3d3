"""A Gantry for the clients, with a few instances of the conformance corpus to send."""

import os
from collections.abc import Iterator

import pytest

from tests.conformance.corpus import Corpus
from tests.support.javascript import javascript_left_out
from tests.support.server import Server, running_server

NODE_MODULE = "test_javascript.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there is no Node.js the JavaScript client is left out, and the summary says so; GANTRY_WITHOUT_NODE=1 forces it."""
    if javascript_left_out() is None:
        return
    dropped = [item for item in items if item.path.name == NODE_MODULE]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("clients") / "data") as server:
        yield server


@pytest.fixture
def corpus() -> Corpus:
    """New UIDs for every test."""
    return Corpus(int.from_bytes(os.urandom(4)))
