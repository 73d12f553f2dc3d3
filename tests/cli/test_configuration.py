"""What the commands make of settings: names that none has, URLs of the server, and folders of any name."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.db.engine import normalised_url
from app.settings import Settings
from tests.cli.test_serve import serve
from tests.support.server import Server


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('databse_url = "postgresql://db/x"', "'databse_url' (is it database_url?)"),
        ("GANTRY_PORT = 80", "'GANTRY_PORT' (is it port?)"),
        ("[gantry]\nport = 80", "'gantry'"),
    ],
)
def test_a_settings_file_with_a_name_that_no_setting_has(tmp_path: Path, text: str, said: str) -> None:
    """Rather than a server that stores in a folder of the laptop what was meant for the database of the hospital."""
    (tmp_path / "gantry.toml").write_text(text)
    result = serve(tmp_path)
    assert result.returncode == 2
    assert result.stderr == f"gantry: gantry.toml: there is no setting {said}\n"
    assert not (tmp_path / "data").exists()


def test_a_variable_that_no_setting_has_is_told(tmp_path: Path) -> None:
    """Not refused: the environment may have been made by others."""
    server = Server(tmp_path / "data", {"GANTRY_DATABSE_URL": "postgresql://db/x", "GANTRY_SERVICE_HOST": "10.0.0.1"})
    server.data_dir.mkdir()
    result = server.gantry("migrate")
    assert result.returncode == 0
    told = "not used, for want of such settings: GANTRY_DATABSE_URL (is it GANTRY_DATABASE_URL?), GANTRY_SERVICE_HOST"
    assert result.stderr == f"gantry: {told}\n"
    result = server.gantry("doctor")
    assert result.returncode == 1
    assert re.search(r"^FAIL +Settings +not used, for want of such settings", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "url", ["https://", "https://:80", "https://host/x?y=1", "https://host/#x", "https://[host", "https://a b"]
)
def test_a_public_url_that_no_client_could_follow(url: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        Settings(public_url=url)


@pytest.mark.parametrize("url", ["", "http://host", "https://host:8443/pacs", "https://[::1]:8080"])
def test_a_public_url(url: str) -> None:
    assert Settings(public_url=url and f"{url}/").public_url == url


@pytest.mark.parametrize("origins", ["ohif.example", "https://a.example/", "https://A.example", "*, https://b/viewer"])
def test_origins_that_no_browser_sends(origins: str) -> None:
    """Rather than a viewer that is refused without a word."""
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=origins)


@pytest.mark.parametrize("origins", ["", "*", "null", "https://a.example, http://[::1]:3000,", "file://,app://-"])
def test_origins(origins: str) -> None:
    assert Settings(cors_origins=origins).cors_origins == origins


@pytest.mark.parametrize("name", ["plain", "two words", "Ärzte", "100%25 safe", "what?=1&x", "a#b+c;d"])
def test_the_database_lies_in_the_data_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / name)
    assert normalised_url(settings.effective_database_url).database == str(tmp_path / name / "gantry.sqlite")


@pytest.mark.parametrize("blob_url", ["", "{}/blobs", "file://{}/far/blobs"])
def test_doctor_leaves_nothing_behind_where_nothing_was(tmp_path: Path, blob_url: str) -> None:
    """What root had made the server's own user could not write to."""
    server = Server(tmp_path / "far" / "data")
    settings = {"GANTRY_DATA_DIR": str(server.data_dir), "GANTRY_BLOB_URL": blob_url.format(tmp_path)}
    result = Server(tmp_path, {**settings, "COLUMNS": "300"}).gantry("doctor")
    assert result.returncode == 1
    assert re.search(r"^FAIL +Database .*there is none yet\. `gantry serve` makes one", result.stdout, re.MULTILINE)
    assert result.stdout.count("FAIL") == 1
    assert list(tmp_path.iterdir()) == []


def test_doctor_sees_attributes_that_cannot_be_searched(tmp_path: Path) -> None:
    result = Server(tmp_path, {"GANTRY_SEARCHABLE_ATTRIBUTES": "Nonsense", "COLUMNS": "300"}).gantry("doctor")
    assert result.returncode == 1
    assert re.search(r"^FAIL +Settings +'Nonsense' names no attribute", result.stdout, re.MULTILINE)
