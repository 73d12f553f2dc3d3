from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.date_times import (
    date_and_time,
    date_time_interval,
    is_valid,
    microseconds,
    moment,
    normalise_date,
    normalise_time,
    offset_minutes,
    time_interval,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240229", "20240229"),
        (" 20240131\0", "20240131"),
        ("2024.01.31", "20240131"),
        ("", ""),
        ("  ", ""),
        ("20230229", "!20230229"),
        ("2024.0131", "!2024.0131"),
        ("202401", "!202401"),
        ("00000101", "!00000101"),
        ("20240101-20240102", "!20240101-20240102"),
        ("x" * 500, "!" + "x" * 64),
    ],
)
def test_normalise_date(text: str, expected: str) -> None:
    assert normalise_date(text) == expected
    assert is_valid(expected) == expected[:1].isdigit()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("10", "100000.000000", "105959.999999"),
        ("1030", "103000.000000", "103059.999999"),
        ("103015", "103015.000000", "103015.999999"),
        ("103015.2", "103015.200000", "103015.299999"),
        ("103015.123456", "103015.123456", "103015.123456"),
        ("10:30", "103000.000000", "103059.999999"),
        ("10:30:15.5", "103015.500000", "103015.599999"),
        ("235960", "235960.000000", "235960.999999"),
        (" 1030 ", "103000.000000", "103059.999999"),
    ],
)
def test_a_time_names_an_interval(text: str, first: str, last: str) -> None:
    assert time_interval(text) == (first, last)
    assert normalise_time(text) == first


@pytest.mark.parametrize(
    "text", ["24", "1060", "103061", "1", "103", "10.5", "1030.5", "103015.1234567", "noon", "10:3015"]
)
def test_what_is_no_time(text: str) -> None:
    assert time_interval(text) is None
    assert normalise_time(text) == "!" + text
    assert not is_valid(normalise_time(text))


def test_no_time_is_no_value() -> None:
    assert normalise_time(" ") == ""
    assert not is_valid("")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("+0100", 60), ("-0530", -330), ("+1400", 840), ("+0000", 0), (" +0100 ", 60)]
    + [(wrong, None) for wrong in ("", None, "0100", "+1500", "+0160", "+01:00", "Z")],
)
def test_offset_minutes(text: str | None, minutes: int | None) -> None:
    assert offset_minutes(text) == minutes


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)), st.integers(-1560, 1560))
def test_moving_by_an_offset_is_what_datetime_says(when: datetime, minutes: int) -> None:
    day, time = f"{when.year:04}" + when.strftime("%m%d"), when.strftime("%H%M%S.%f")
    moved = when + timedelta(minutes=minutes)
    expected = (f"{moved.year:04}" + moved.strftime("%m%d"), moved.strftime("%H%M%S.%f"))
    assert date_and_time(moment(day, time) + minutes * 60_000_000) == expected


def test_the_ends_of_the_calendar() -> None:
    assert date_and_time(moment("00010101") - 1)[0] == "00010101"
    assert date_and_time(moment("99991231", "235959.999999") + 1)[0] == "99991231"
    assert microseconds("000001.000001") == 1_000_001


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", "20240101 000000.000000", "20241231 235959.999999"),
        ("9999", "99990101 000000.000000", "99991231 235959.999999"),
        ("202402", "20240201 000000.000000", "20240229 235959.999999"),
        ("202312", "20231201 000000.000000", "20231231 235959.999999"),
        ("20240131", "20240131 000000.000000", "20240131 235959.999999"),
        ("2024013110", "20240131 100000.000000", "20240131 105959.999999"),
        ("202401311030", "20240131 103000.000000", "20240131 103059.999999"),
        ("20240131103015.5", "20240131 103015.500000", "20240131 103015.599999"),
    ],
)
def test_a_date_time_names_an_interval(text: str, first: str, last: str) -> None:
    found = date_time_interval(text)
    assert found is not None
    assert [" ".join(date_and_time(end)) for end in found[:2]] == [first, last]
    assert found[2] is None
    with_offset = date_time_interval(text + "-0330")
    assert with_offset == (found[0], found[1], -210)


@pytest.mark.parametrize(
    "text", ["", "24", "20241301", "20240230", "2024010124", "20240101+", "2024-01-01", "20240101Z"]
)
def test_what_is_no_date_time(text: str) -> None:
    assert date_time_interval(text) is None


@given(st.text(max_size=30))
def test_nothing_breaks(text: str) -> None:
    for normalised in (normalise_date(text), normalise_time(text)):
        if is_valid(normalised):
            assert "0" <= normalised < ":"
        else:
            assert normalised == "" or normalised < "0"
    date_time_interval(text)
    offset_minutes(text)
