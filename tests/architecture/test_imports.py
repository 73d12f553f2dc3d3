"""Who may import whom: the contracts of pyproject.toml by import-linter, and the rules about libraries by a table."""

import subprocess
import sys

import pytest

from tests.architecture.source import imports_of, modules, name_of

WEB = ("fastapi", "starlette")
SQL = ("sqlalchemy", "alembic", "aiosqlite", "asyncpg", "sqlite3")
STORES = ("obstore",)
CLIENT = ("typer", "rich", "uvicorn", "httpx")
SETTINGS = ("pydantic", "pydantic_settings", "app.settings")

# package -> what nothing in it may import. A module's own package is never listed.
FORBIDDEN = {
    "errors.py": (*WEB, *SQL, *STORES, *CLIENT, *SETTINGS, "asyncio", "pydicom", "numpy", "app"),
    "dicom": (*WEB, *SQL, *STORES, *CLIENT, *SETTINGS, "asyncio", "os", "app.observability"),
    "dicomweb": (*WEB, *SQL, *STORES, *CLIENT, *SETTINGS, "asyncio", "os", "app.observability"),
    "blobs": (*WEB, *SQL, *CLIENT, *SETTINGS, "pydicom", "app.db", "app.dicom", "app.dicomweb", "app.services"),
    "db": (*WEB, *STORES, *CLIENT, *SETTINGS, "pydicom", "app.blobs", "app.dicomweb", "app.services"),
    "services": (*WEB, *SQL, *STORES, *CLIENT, *SETTINGS, "app.dicomweb", "app.api"),
    "api": (*SQL, *STORES, *CLIENT, "app.settings", "app.main", "app.cli"),
    "cli": (*WEB, *SQL, *STORES, "app.api"),
}


def offences(package: str) -> list[str]:
    names = FORBIDDEN[package]
    return [
        f"{name_of(path)} imports {imported}"
        for path in modules(package.removesuffix(".py"))
        for imported in imports_of(path)
        if any(imported == name or imported.startswith(f"{name}.") for name in names)
    ]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_keeps_away_from_what_is_not_its_business(package: str) -> None:
    assert modules(package.removesuffix(".py")), f"app/{package} is gone: is this table still right?"
    assert offences(package) == []


def test_routers_do_not_import_each_other() -> None:
    # `from app.api.x import router` is the mark of a router that is mounted elsewhere than in app.main.
    taken = [(name_of(path), imported) for path in modules("api") for imported in imports_of(path)]
    assert [pair for pair in taken if pair[1].startswith("app.api.") and pair[1].endswith(".router")] == []


def test_settings_are_read_by_main_and_cli_only() -> None:
    readers = {
        name_of(path).split(".")[1] for path in modules() if any(i.startswith("app.settings") for i in imports_of(path))
    }
    assert readers <= {"main", "cli"}


def test_import_contracts_of_pyproject_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    result = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=modules()[0].parents[1],
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "kept" in result.stdout.lower()
