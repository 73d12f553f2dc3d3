import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.comparable_text import MAX_COMPARABLE, bounded, comparable, number_text, whole_number
from app.dicom.plain_text import clean_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "1"),
        ("01", "1"),
        ("+1", "1"),
        ("1.0", "1"),
        ("1e2", "100"),
        ("-0.50", "-0.5"),
        (" 7 ", "7"),
        ("0x1", "0x1"),
        *((text, text) for text in ("1_0", "nan", "inf", "", "٣", "1e400", "abc")),
    ],
)
def test_number_text(text: str, expected: str) -> None:
    assert number_text(text) == expected


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_itself_however_often_it_is_normalised(number: float) -> None:
    once = number_text(str(number))
    assert number_text(once) == once


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("-5", -5), ("3.0", 3), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("", None), ("3.5", None)],
)
def test_whole_number(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@given(st.text(max_size=2 * MAX_COMPARABLE))
def test_bounded_text_fits_every_database(text: str) -> None:
    short = bounded(text)
    assert len(short) <= MAX_COMPARABLE
    assert "\0" not in short
    short.encode("utf-8")
    assert bounded(short) == short


def test_clean_text() -> None:
    assert clean_text(" a b \0") == "a b"
    assert clean_text("a\ud800é") == "a?é"


@pytest.mark.parametrize(
    ("vr", "text", "expected"),
    [
        ("PN", "DOE^^", "doe"),
        ("DA", "2024.01.02", "20240102"),
        ("TM", "10", "100000.000000"),
        ("IS", "007", "7"),
        ("DS", "1.50", "1.5"),
        ("LO", " Head ", "Head"),
        ("UI", "1.2\0", "1.2"),
    ],
)
def test_comparable(vr: str, text: str, expected: str) -> None:
    assert comparable(vr, text) == expected
