"""Answers to Store transactions, and the files behind their items."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.store_answer import StoreAnswer, Verdict, attribute, describe_status, parse_store_answer
from tests.cli.store_peer import item, response_module


def answer(
    *, stored: list[Any] | None = None, failed: list[Any] | None = None, other: list[int] | None = None
) -> StoreAnswer:
    others = [{"00081197": {"vr": "US", "Value": [code]}} for code in other or []]
    parsed = parse_store_answer(response_module(stored or [], failed or [], others))
    assert parsed is not None
    return parsed


def test_every_sequence_is_read() -> None:
    parsed = answer(
        stored=[item("1.1"), item("1.2", 0xB000, "00081196")], failed=[item("1.3", 0xA900), item("1.4")], other=[0xC000]
    )
    assert parsed == StoreAnswer((("1.1", None), ("1.2", 0xB000)), (("1.3", 0xA900), ("1.4", None)), (0xC000,))
    assert parsed.count == 5


def test_a_list_of_one_data_set_is_read_as_well() -> None:
    parsed = parse_store_answer(b"[" + response_module([item("1.1")], []) + b"]")
    assert parsed == StoreAnswer((("1.1", None),), (), ())


def test_a_failure_without_uid_is_an_other_failure() -> None:
    assert answer(failed=[item("", 0xC000), item("1.2", 0x0110)]) == StoreAnswer((), (("1.2", 0x0110),), (0xC000,))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b"17",
        b'"text"',
        b"[[]]",
        b'{"00081199": null}',
        b'{"00081199": {"vr": "SQ"}}',
        b'{"00081199": {"vr": "SQ", "Value": []}}',
        b'{"00081199": {"vr": "SQ", "Value": [1, null, "x"]}}',
        b'{"message": "no"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_anything_else_is_no_answer(content: bytes) -> None:
    assert parse_store_answer(content) is None


@pytest.mark.parametrize("code", [43264, "43264", 43264.0])
def test_codes_come_as_numbers_or_text(code: object) -> None:
    content = json.dumps({"00081198": {"Value": [{"00081155": {"Value": ["1.1"]}, "00081197": {"Value": [code]}}]}})
    parsed = parse_store_answer(content.encode())
    assert parsed is not None
    assert parsed.failed == (("1.1", 43264),)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_odd_values_are_borne(value: object) -> None:
    element = {"vr": "SQ", "Value": [{"00081155": {"Value": value}, "00081197": {"Value": value}}]}
    parsed = parse_store_answer(json.dumps({"00081198": element, "0008119A": element}).encode())
    assert parsed is not None
    assert parsed.count == 2


def uid_of(file: str) -> str:
    """Files of these tests are named after their UID; a capital letter has none."""
    return "" if file.isupper() else file.partition(" ")[0]


def unasked(_: str) -> str:
    raise AssertionError("the file must not be read")


def test_when_everything_is_stored_no_file_is_read() -> None:
    verdicts, doubt = attribute(["a", "b"], answer(stored=[item("1.1"), item("1.2")]), unasked)
    assert verdicts == [Verdict("a", stored=True), Verdict("b", stored=True)]
    assert doubt == []


def test_refusals_go_to_their_files() -> None:
    files = ["1.1", "1.2", "1.3", "1.4"]
    parsed = answer(
        stored=[item("1.4"), item("1.1", 0xB007, "00081196")], failed=[item("1.3", 0xA700), item("1.2", 0x0122)]
    )
    verdicts, doubt = attribute(files, parsed, uid_of)
    assert {verdict.file: (verdict.stored, verdict.code) for verdict in verdicts} == {
        "1.1": (True, 0xB007),
        "1.2": (False, 0x0122),
        "1.3": (False, 0xA700),
        "1.4": (True, None),
    }
    assert doubt == []


def test_other_failures_go_to_the_files_that_nothing_names_in_their_order() -> None:
    verdicts, doubt = attribute(["X", "1.1", "Y"], answer(stored=[item("1.1")], other=[0xC000, 0xC122]), uid_of)
    assert {verdict.file: verdict.code for verdict in verdicts} == {"X": 0xC000, "1.1": None, "Y": 0xC122}
    assert doubt == []


def test_files_stay_in_doubt_when_the_numbers_do_not_match() -> None:
    verdicts, doubt = attribute(["X", "1.1", "Y"], answer(stored=[item("1.1")], other=[0xC000]), uid_of)
    assert [verdict.file for verdict in verdicts] == ["1.1"]
    assert doubt == ["X", "Y"]


def test_the_same_instance_twice_takes_two_items() -> None:
    parsed = answer(stored=[item("1.1")], failed=[item("1.1", 0x0111)])
    verdicts, doubt = attribute(["1.1 first", "1.1 second"], parsed, uid_of)
    assert sorted(verdict.stored for verdict in verdicts) == [False, True]
    assert doubt == []


def test_a_single_file_needs_no_uid() -> None:
    verdicts, doubt = attribute(["X"], answer(failed=[item("9.9", 0xA900)]), unasked)
    assert verdicts == [Verdict("X", stored=False, code=0xA900, text=describe_status(0xA900))]
    assert doubt == []


def test_a_failure_without_reason_says_so() -> None:
    verdicts, _ = attribute(["X"], answer(failed=[item("9.9")]), unasked)
    assert verdicts == [Verdict("X", stored=False, code=None, text="no reason given")]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x0110, "Processing failure: "),
        (0x0122, "SOP Class not supported: "),
        (0xA700, "Out of Resources: "),
        (0xA7FF, "Out of Resources"),
        (0xA9FE, "Data Set does not match SOP Class"),
        (0xC000, "Cannot understand: "),
        (0xCFFF, "Cannot understand"),
        (0xC122, "Referenced Transfer Syntax not supported: "),
        (0xB000, "Coercion of Data Elements: "),
        (0x1234, "a reason unknown to the Standard"),
    ],
)
def test_codes_in_words(code: int, text: str) -> None:
    described = describe_status(code)
    assert described.startswith(text)
    assert text.endswith(": ") or described == text
