"""A real server on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.databases import postgres_template
from tests.support.postgres import Template, run_in_thread
from tests.support.server import Server

__all__ = ["postgres_template"]


@pytest.fixture
def server_settings() -> dict[str, str]:
    return {}


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path, server_settings: dict[str, str]) -> Iterator[Server]:
    template: Template | None = None
    settings = dict(server_settings)
    if request.param == "postgresql":
        template = request.getfixturevalue("postgres_template")
        settings["GANTRY_DATABASE_URL"] = run_in_thread(template.create())
    server = Server(tmp_path / "data", settings)
    server.start()
    yield server
    if server.alive():
        server.kill()
    if template is not None:
        run_in_thread(template.drop(settings["GANTRY_DATABASE_URL"]))
