"""A server that has just started holds what it needs to answer: no codecs, no second database, nothing of other commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# Each costs from 30 to 300 ms of every start, and up to 12 MB of every process.
HEAVY = {
    "PIL",
    "alembic",
    "asyncpg",
    "httpx",
    "imagecodecs",
    "mako",
    "numpy",
    "obstore",
    "pydicom",
    "pygments",
    "requests",
    "rich",
    "rle",
    "typer",
    "urllib3",
}

_CREATE = """
import asyncio, json, sys
from app.main import create_app
app = create_app()
"""

_ANSWER = """
async def get(path):
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": path, "root_path": "",
             "raw_path": path.encode(), "query_string": b"", "headers": [(b"host", b"x")], "server": ("x", 80),
             "client": ("127.0.0.1", 1), "asgi": {"version": "3.0"}}
    statuses = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        statuses.append(message.get("status"))
    await app(scope, receive, send)
    return statuses[0]

async def answer():
    async with app.router.lifespan_context(app):
        return [await get(path) for path in ("/healthz", "/readyz", "/dicomweb/studies", "/dicomweb/studies/1.2/metadata")]

statuses = asyncio.run(answer())
assert statuses == [200, 200, 200, 404], statuses
"""

_TELL = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(script: str, folder: Path) -> set[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANTRY_")}
    result = subprocess.run(
        [sys.executable, "-c", script + _TELL],
        env={**inherited, "PYTHONPATH": str(PROJECT), "GANTRY_DATA_DIR": str(folder / "data")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stdout))


def test_an_application_that_was_made_has_imported_nothing_heavy(tmp_path: Path) -> None:
    assert loaded_by(_CREATE, tmp_path) & HEAVY == set()


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """The first start of an archive makes its tables, with Alembic."""
    assert "alembic" in loaded_by(_CREATE + _ANSWER, tmp_path)
    return tmp_path


def test_a_server_that_answered_searches_has_imported_nothing_heavy(migrated: Path) -> None:
    assert loaded_by(_CREATE + _ANSWER, migrated) & HEAVY == set()


def test_what_forks_the_workers_has_imported_what_they_need_and_nothing_heavy(tmp_path: Path) -> None:
    loaded = loaded_by("import json, sys\nimport app.cli.preloaded\n", tmp_path)
    assert {"app", "fastapi", "sqlalchemy"} <= loaded
    assert loaded & HEAVY == set()


def test_what_looks_after_the_workers_has_no_application(tmp_path: Path) -> None:
    program = "import json, sys\nfrom app.cli.program import program\nprogram(['serve'])\nimport app.cli.workers\n"
    loaded = loaded_by(program, tmp_path)
    assert "typer" in loaded
    assert loaded & (HEAVY - {"typer"} | {"fastapi", "sqlalchemy", "aiosqlite", "zstandard"}) == set()
