"""What a study or series says of itself is chosen once, and only for the very same elements."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.dicom import attributes
from app.dicom.attributes import level_tags, series_attributes, study_attributes
from app.dicom.known_levels import KnownLevel
from app.dicom.matching import Level

LEVELS = {Level.STUDY: study_attributes, Level.SERIES: series_attributes}


def header(number: int = 1) -> dict[str, Any]:
    return {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "0020000D": {"vr": "UI", "Value": [f"1.2.{number}"]},
        "0020000E": {"vr": "UI", "Value": [f"1.2.{number}.1"]},
        "00200013": {"vr": "IS", "Value": [number]},
    }


@pytest.mark.parametrize("level", LEVELS)
def test_the_same_elements_give_the_same_choice(level: Level) -> None:
    known, first = KnownLevel(level), header()
    chosen = known.attributes(first)
    assert chosen == LEVELS[level](first)
    assert known.attributes({**first, "00200013": {"vr": "IS", "Value": [2]}}) is chosen


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "change",
    [
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}},
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Roe^Jane"}]}, "00080060": {"vr": "CS", "Value": ["MR"]}},
        {"00100040": {"vr": "CS", "Value": ["F"]}, "00080070": {"vr": "LO", "Value": ["ACME"]}},
    ],
    ids=["equal", "another", "one more"],
)
def test_other_elements_are_chosen_anew(level: Level, change: dict[str, Any]) -> None:
    known, first = KnownLevel(level), header()
    known.attributes(first)
    later = {**first, **change}
    assert known.attributes(later) == LEVELS[level](later)
    assert known.attributes(first) == LEVELS[level](first)


def test_numbers_that_are_equal_are_told_apart() -> None:
    """1 and 1.0 are equal, but not the same JSON."""
    known, first = KnownLevel(Level.STUDY), {**header(), "00101030": {"vr": "DS", "Value": [80]}}
    known.attributes(first)
    later = {**first, "00101030": {"vr": "DS", "Value": [80.0]}}
    assert repr(known.attributes(later)["00101030"]["Value"]) == "[80.0]"


def test_without_a_uid_nothing_is_remembered() -> None:
    known = KnownLevel(Level.STUDY)
    unnamed = {tag: element for tag, element in header().items() if tag != "0020000D"}
    assert known.attributes(unnamed) == study_attributes(unnamed)
    assert not known._known


def test_only_the_last_are_remembered() -> None:
    known = KnownLevel(Level.SERIES, most=2)
    headers = [header(number) for number in range(3)]
    chosen = [known.attributes(one) for one in headers]
    assert known.attributes(headers[2]) is chosen[2]
    assert known.attributes(headers[0]) is not chosen[0]
    assert known.attributes(headers[0]) == chosen[0]


def test_several_threads() -> None:
    known = KnownLevel(Level.STUDY, most=4)
    headers = [header(number % 7) for number in range(700)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(known.attributes, headers)) == [study_attributes(one) for one in headers]
    assert len(known._known) <= 4


def test_many_tags_are_not_remembered() -> None:
    many = {f"{0x00110000 + number:08X}": {"vr": "UN"} for number in range(2000)} | header()
    before = attributes._level_tags.cache_info().currsize
    assert level_tags(many, Level.STUDY) == ("00100010", "0020000D")
    assert attributes._level_tags.cache_info().currsize == before
