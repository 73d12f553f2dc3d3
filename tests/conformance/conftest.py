"""Fixtures of the conformance suite: the server under test, the corpus stored in it, and Gantries with settings of their own."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.instances import Maker
from tests.conformance.report import Coverage, add_options
from tests.support.databases import postgres_template
from tests.support.http import Peer
from tests.support.object_servers import S3Server, s3_server
from tests.support.postgres import Template, run_in_thread
from tests.support.server import running_server

__all__ = ["postgres_template", "s3_server"]

COVERAGE = pytest.StashKey[Coverage]()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    coverage = Coverage(config)
    config.stash[COVERAGE] = coverage
    config.pluginmanager.register(coverage, "dicomweb-conformance")


@pytest.fixture(scope="session")
def features(pytestconfig: pytest.Config) -> set[str]:
    return pytestconfig.stash[COVERAGE].features


@pytest.fixture(scope="session")
def peer(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    """The server under test."""
    with ExitStack() as stack:
        base_url = pytestconfig.getoption("base_url", default=None)
        if not base_url:
            server = running_server(
                tmp_path_factory.mktemp("gantry") / "data",
                database_url=_database(request, stack),
                blob_url=_blobs(request),
            )
            base_url = stack.enter_context(server).base_url
        peer = Peer(base_url)
        stack.callback(peer.close)
        yield peer


def _database(request: pytest.FixtureRequest, stack: ExitStack) -> str:
    """A URL as it is; `postgresql`: a new database of the tests' own server."""
    named = request.config.getoption("gantry_database", default=None) or ""
    if named != "postgresql":
        return "" if named == "sqlite" else named
    template: Template = request.getfixturevalue("postgres_template")
    url: str = run_in_thread(template.create())
    stack.callback(lambda: run_in_thread(template.drop(url)))
    return url


def _blobs(request: pytest.FixtureRequest) -> str:
    """A URL as it is; `s3`: a prefix of its own in the tests' own object store."""
    named = request.config.getoption("gantry_blobs", default=None) or ""
    if named != "s3":
        return "" if named == "local" else named
    store: S3Server = request.getfixturevalue("s3_server")
    return store.url(f"conformance-{secrets.token_hex(6)}", allow_http="true")


@pytest.fixture(scope="session")
def corpus(pytestconfig: pytest.Config, peer: Peer, features: set[str]) -> Iterator[Corpus]:
    """The corpus, stored. An item that the server refuses fails the tests that use it, not the others."""
    corpus = Corpus(pytestconfig.stash[COVERAGE].seed)
    for item in corpus.items.values():
        answer = peer.store([item.data])
        # An empty Failed SOP Sequence is a fault of its own (STO-014); here it only matters whether anything failed.
        if answer.status_code not in (200, 202) or answer.json().get("00081198", {}).get("Value"):
            corpus.refused[item.name] = f"{answer.status_code} {answer.text[:500]}"
    yield corpus
    if "delete" in features:
        remaining = {study["0020000D"]["Value"][0] for study in peer.search("/studies", corpus.mine)}
        for study in remaining | set(corpus.studies()):
            peer.delete(f"/studies/{study}")


@pytest.fixture
def maker(corpus: Corpus) -> Maker:
    """For instances that a test stores itself; removed with the corpus."""
    return corpus.maker


@pytest.fixture(scope="session")
def gantry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Peer]]:
    """Starts a Gantry with the settings given (`GANTRY_` left out, lower case); one per set of settings."""
    peers: dict[tuple[tuple[str, str], ...], Peer] = {}
    with ExitStack() as stack:

        def start(**settings: str | int) -> Peer:
            chosen = tuple(sorted((f"GANTRY_{name.upper()}", str(value)) for name, value in settings.items()))
            if chosen not in peers:
                folder = tmp_path_factory.mktemp("settings") / "data"
                server = stack.enter_context(running_server(folder, settings=dict(chosen)))
                peers[chosen] = Peer(server.base_url)
                stack.callback(peers[chosen].close)
            return peers[chosen]

        yield start
