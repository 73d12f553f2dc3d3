import re
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.wildcards import (
    ANY,
    is_literal,
    literal_prefix,
    matches_pattern,
    prepare,
    prepare_name,
    to_glob,
    to_like,
)

_TEXT = st.text(alphabet="ab%_[]^!\\*?é\n", max_size=8)
_PATTERN = st.text(alphabet="ab*?%_[]^!\\é\n", max_size=8)


def _plainly(pattern: str, text: str) -> bool:
    """The rule itself, as a regular expression."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(_PATTERN, _TEXT)
def test_matches_pattern(pattern: str, text: str) -> None:
    assert matches_pattern(prepare(pattern), text) == _plainly(pattern, text)


@given(_PATTERN, _TEXT)
def test_glob_of_sqlite_says_the_same(pattern: str, text: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        (found,) = connection.execute("SELECT ? GLOB ?", (text, to_glob(prepare(pattern)))).fetchone()
    connection.close()
    assert bool(found) == _plainly(pattern, text)


@given(_PATTERN, _TEXT)
def test_like_says_the_same(pattern: str, text: str) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA case_sensitive_like=ON")
        (found,) = connection.execute("SELECT ? LIKE ? ESCAPE '!'", (text, to_like(prepare(pattern)))).fetchone()
    connection.close()
    assert bool(found) == _plainly(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "prefix", "literal"),
    [("abc", "abc", True), ("ab*c", "ab", False), ("a?b*", "a", False), ("*", "", False), ("a%_", "a%_", True)],
)
def test_literal_prefix(pattern: str, prefix: str, literal: bool) -> None:
    assert literal_prefix(prepare(pattern)) == prefix
    assert is_literal(prepare(pattern)) is literal


def test_a_full_width_asterisk_is_no_wildcard() -> None:
    (prepared,) = prepare_name("Doe＊")
    assert is_literal(prepared)
    assert not matches_pattern(prepared, "doe^john")
    assert matches_pattern(prepared, "doe*")


def test_what_stands_for_a_wildcard_cannot_be_sent() -> None:
    assert is_literal(prepare(f"a{ANY}"))
    assert not matches_pattern(prepare(f"a{ANY}"), "ab")


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("Doe^*", "doe^john", True),
        ("Doe^*", "doe", True),
        ("Doe^*^*", "doe", True),
        ("Doe^*^*", "doe^john", True),
        ("Doe^J*", "doe", False),
        ("Doe*", "doe^john", True),
        ("Doe^^*", "doe", True),
        ("*^John", "doe^john", True),
        ("D?e", "doe", True),
        ("D?e", "doe^john", False),
        ("van *", "van dyke", True),
        ("van *", "vandyke", False),
        ("  MÜLLER^*", "muller^jorg", True),
        ("*山*", "山田", True),
    ],
)
def test_patterns_of_names(pattern: str, name: str, found: bool) -> None:
    assert any(matches_pattern(prepared, name) for prepared in prepare_name(pattern)) is found


def test_no_pattern_takes_long() -> None:
    started = time.perf_counter()
    for pattern in ("*a" * 500 + "*b", "*?" * 500 + "b", "?" * 1000 + "*b", "a*" * 511):
        matches_pattern(prepare(pattern), "a" * 10_000)
        prepare_name(pattern)
    assert time.perf_counter() - started < 2


def test_patterns_are_bounded() -> None:
    assert len(prepare("a" * 10_000)) == 1024
    assert prepare("a***b") == prepare("a*b")
