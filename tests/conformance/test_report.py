"""The plugin that says what was proven: run in a session of its own, with and without xdist."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.report import FEATURES, requirements
from tests.support.server import PROJECT

CONFTEST = """
from tests.conformance.report import Coverage, add_options


def pytest_addoption(parser):
    add_options(parser)


def pytest_configure(config):
    config.pluginmanager.register(Coverage(config), "dicomweb-conformance")
"""
TESTS = """
import pytest

pytestmark = pytest.mark.proves("COM-007")


@pytest.mark.proves("NEG-001", "NEG-002")
def test_good():
    pass


@pytest.mark.proves("NEG-002", "NEG-003")
def test_bad():
    assert False


@pytest.fixture
def broken():
    yield
    raise RuntimeError("in teardown")


@pytest.mark.proves("NEG-004")
def test_broken_teardown(broken):
    pass


@pytest.mark.proves("RET-043")
@pytest.mark.needs("conditional")
def test_feature():
    pass
"""


def run(folder: Path, tests: str, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(tests)
    file = folder / "report.json"
    options = [f"--rootdir={folder}", f"--conformance-report={file}", *arguments]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", *options, str(folder)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return finished.returncode, finished.stdout + finished.stderr, json.loads(file.read_text()) if file.exists() else {}


def states(report: dict[str, Any]) -> dict[str, str]:
    return {id_: row["state"] for id_, row in report["requirements"].items() if row["state"] != "not covered"}


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_states(tmp_path: Path, workers: list[str]) -> None:
    status, output, report = run(tmp_path, TESTS, *workers)
    assert status == 1, output
    assert states(report) == {
        "COM-007": "failed",
        "NEG-001": "proven",
        "NEG-002": "failed",
        "NEG-003": "failed",
        "NEG-004": "failed",
        "RET-043": "proven",
    }
    assert report["counts"] == {"proven": 2, "failed": 4, "not covered": len(requirements()) - 6}
    assert set(report["features"]) == set(FEATURES)
    assert report["requirements"]["NEG-002"]["tests"] == {
        f"test_some.py::{name}": state for name, state in (("test_bad", "failed"), ("test_good", "proven"))
    }
    assert "failed: COM-007 NEG-002 NEG-003 NEG-004" in output
    assert "negotiation" in output


def test_features_switch_tests_off(tmp_path: Path) -> None:
    _, output, report = run(tmp_path, TESTS, "--features=delete,xml", "-k", "not test_bad and not teardown")
    assert states(report)["RET-043"] == "switched off"
    assert report["features"] == ["delete", "xml"]
    assert "1 passed, 3 deselected" in output


def test_base_url_switches_settings_off(tmp_path: Path) -> None:
    tests = TESTS.replace('"conditional"', '"settings"')
    _, _, report = run(tmp_path, tests, "--base-url=http://127.0.0.1:9/dicomweb", "-k", "not test_bad and not teardown")
    assert states(report)["RET-043"] == "switched off"
    assert report["base_url"] == "http://127.0.0.1:9/dicomweb"


@pytest.mark.parametrize(
    ("tests", "arguments", "message"),
    [
        (TESTS.replace("NEG-003", "NEG-999"), [], "NEG-999"),
        (TESTS.replace('"conditional"', '"conditionals"'), [], "conditionals"),
        (TESTS, ["--features=xml,nonsense"], "nonsense"),
    ],
)
def test_names_must_exist(tmp_path: Path, tests: str, arguments: list[str], message: str) -> None:
    status, output, _ = run(tmp_path, tests, *arguments)
    assert status not in (0, 1)
    assert message in output


def test_list_of_requirements() -> None:
    rows = requirements()
    assert len(rows) == 412
    assert all(row.area == id_[:3] for id_, row in rows.items())
    assert rows["NEG-016"].level == "shall"
    assert rows["NEG-016"].section == "8.7.3.4"
