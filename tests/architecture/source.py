"""What the architecture tests read: the project's files as they are, without importing them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
APP = PROJECT / "app"


def modules(package: str = "") -> list[Path]:
    """Every Python file below app/, or below one of its packages; a module's own file counts as its package."""
    found = sorted(APP.rglob("*.py"))
    if not package:
        return found
    return [path for path in found if path.relative_to(APP).parts[0] in (package, f"{package}.py")]


def name_of(path: Path) -> str:
    """`app.dicom.header` for its file."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(path: Path) -> Iterator[str]:
    """Full names of what a module imports, also inside functions; `from a import b` gives `a.b`."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project_files() -> list[Path]:
    """Every file that is or would be committed."""
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    if answer.returncode == 0:
        names = answer.stdout.decode().split("\0")
        return [path for name in names if name and (path := PROJECT / name).is_file()]
    # An unpacked archive has no git: nothing but the project is in it.
    hidden = (".venv", ".git", "node_modules", "__pycache__", "gantry-data")
    return [
        path
        for path in PROJECT.rglob("*")
        if path.is_file() and not any(part.startswith(hidden) for part in path.parts)
    ]
