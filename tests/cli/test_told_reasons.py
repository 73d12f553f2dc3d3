"""What an operator is told of a database, a folder or a store that cannot be used: what that said itself, and no secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.configuration import with_reason
from app.cli.doctor import examine
from app.cli.program import program
from app.errors import BlobStoreUnavailable, DatabaseUnavailable
from app.settings import Settings
from tests.support.databases import postgres_template
from tests.support.dicom_bytes import make_instance
from tests.support.http import Peer
from tests.support.postgres import Template
from tests.support.server import Server, running_server

__all__ = ["postgres_template"]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Server]:
    """A server that has no room left, and logs no more than warnings."""
    with running_server(tmp_path / "full" / "data", settings={"GANTRY_MIN_FREE_BYTES": str(10**18)}) as server:
        yield server


@pytest.mark.parametrize("command", ["serve", "migrate", "doctor"])
def test_postgresql_that_refuses(command: str, tmp_path: Path, postgres_template: Template) -> None:
    """ "Cannot be used" alone leaves open whether the name, the role or a permission is wrong."""
    url = postgres_template.url_of("no_such_database")
    server = Server(tmp_path / "data", {"GANTRY_DATABASE_URL": url, "COLUMNS": "500"})
    server.data_dir.mkdir()
    result = server.gantry(command)
    assert result.returncode == 1
    assert 'database "no_such_database" does not exist' in result.stdout + result.stderr


def test_a_database_file_that_cannot_be_opened(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", {"GANTRY_DATABASE_URL": f"sqlite:///{tmp_path}/data/file/gantry.sqlite"})
    server.data_dir.mkdir()
    (server.data_dir / "file").touch()
    result = server.gantry("migrate")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "File exists" in result.stderr


def test_the_first_line_without_what_may_be_a_key() -> None:
    error = BlobStoreUnavailable("the object store does not answer as it should")
    assert with_reason(error) == str(error)
    error.__cause__ = OSError("HEAD https://a.example/b?sig=SECRET in 3 ms: not reachable\n\nDebug source: SECRET")
    assert with_reason(error) == f"{error}: HEAD https://a.example/b?... in 3 ms: not reachable"
    silent = DatabaseUnavailable("the database did not answer in time")
    silent.__cause__ = TimeoutError()
    assert with_reason(silent) == str(silent)


def test_doctor_tries_the_other_folders_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(
        data_dir=tmp_path / "data",
        cache_dir=str(tmp_path / "file" / "cache"),
        metrics_dir=str(tmp_path / "file" / "metrics"),
        workers=2,
    )
    findings = {finding.subject: finding for finding in examine(settings)}
    assert not findings["Cache"].well
    assert "GANTRY_CACHE_DIR" in findings["Cache"].remedy
    assert not findings["Metrics"].well
    assert "GANTRY_METRICS_DIR" in findings["Metrics"].remedy


def test_doctor_leaves_none_of_them_behind(tmp_path: Path) -> None:
    folders = {
        "GANTRY_DATA_DIR": str(tmp_path / "data"),
        "GANTRY_CACHE_DIR": str(tmp_path / "cache" / "deep"),
        "GANTRY_METRICS_DIR": str(tmp_path / "metrics"),
        "GANTRY_WORKERS": "2",
    }
    shown = CliRunner().invoke(program(), ["doctor"], env=folders).output
    assert "Cache" in shown
    assert "Metrics" in shown
    assert list(tmp_path.iterdir()) == []


def test_openapi_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(program(), ["openapi", "--output", str(tmp_path / "missing" / "file.json")])
    assert result.exit_code == 1
    assert "No such file or directory" in result.output


def test_the_log_of_a_full_archive_says_so_at_every_level(full: Server) -> None:
    peer = Peer(full.base_url)
    assert peer.store([make_instance()]).status_code == 409
    peer.close()
    (line,) = [line for line in full.log.read_text().splitlines() if "store.refused" in line]
    assert "error" in line
    assert "there is no room left" in line
