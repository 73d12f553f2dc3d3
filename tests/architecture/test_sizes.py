"""Files and functions stay small enough to be read in one go, and modules are named after their subject."""

import ast

from tests.architecture.source import APP, modules, name_of, tree_of

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
# Names that say nothing of what is inside attract what belongs nowhere.
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager", "misc", "base_service", "lib"}


def test_files_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length >= MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{name_of(path)}.{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in modules()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length >= MAX_FUNCTION_LINES} == {}


def test_modules_are_named_after_their_subject() -> None:
    names = {part for path in APP.rglob("*") for part in (path.stem.strip("_"),)}
    assert names & FORBIDDEN_NAMES == set()


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path) for path in modules() if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))
    ]
    assert silent == []


def test_nothing_is_left_to_do() -> None:
    marks = ("raise NotImplementedError", "TODO", "FIXME")
    found = [
        f"{name_of(path)}:{number}: {text.strip()}"
        for path in modules()
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if any(mark in text for mark in marks)
    ]
    assert found == []
