"""A Gantry for the clients, with a few instances of the conformance corpus to send."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.conformance.corpus import Corpus
from tests.support.server import Server, running_server

NODE_MODULE = "test_javascript.py"


def node_is_missing() -> bool:
    return not (shutil.which("node") and shutil.which("npm"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where there is no Node.js the JavaScript client is left out, and the summary says so; GANTRY_WITHOUT_NODE=1 forces it."""
    if not (node_is_missing() or os.environ.get("GANTRY_WITHOUT_NODE") == "1"):
        return
    dropped = [item for item in items if item.path.name == NODE_MODULE]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]
        config.stash[LEFT_OUT] = len(dropped)


LEFT_OUT = pytest.StashKey[int]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"NOT RUN: {config.stash[LEFT_OUT]} tests of the JavaScript dicomweb-client"
            " (no node and npm, or GANTRY_WITHOUT_NODE=1)",
            yellow=True,
        )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("clients") / "data") as server:
        yield server


@pytest.fixture
def corpus() -> Corpus:
    """New UIDs for every test."""
    return Corpus(int.from_bytes(os.urandom(4)))
