"""UIDs and frame lists (PS3.5 9.1, PS3.18 10.1.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.references import (
    InstanceRef,
    SeriesRef,
    StudyRef,
    is_uid,
    parse_frame_list,
    reference_of,
    resource_path,
    validate_uid,
)
from app.errors import InvalidFrameList, InvalidUid


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.2", "2.25." + "9" * 59, "1.02.3", "0.0"])
def test_uids(uid: str) -> None:
    assert is_uid(uid)
    assert validate_uid(uid) == uid


@pytest.mark.parametrize("uid", ["", ".", "1.", ".1", "1..2", "1.a", "1.2\n", " 1.2", "1.2/..", "9" * 65, "١.٢", "1.²"])
def test_not_uids(uid: str) -> None:
    assert not is_uid(uid)
    with pytest.raises(InvalidUid):
        validate_uid(uid)


def test_references() -> None:
    study, series, instance = reference_of("1.2"), reference_of("1.2", "1.3"), reference_of("1.2", "1.3", "1.4")
    assert (study, series, instance) == (StudyRef("1.2"), SeriesRef("1.2", "1.3"), InstanceRef("1.2", "1.3", "1.4"))
    assert isinstance(instance, InstanceRef)
    assert (instance.series, instance.study) == (series, study)
    assert [resource_path(one) for one in (study, series, instance)] == [
        "/studies/1.2",
        "/studies/1.2/series/1.3",
        "/studies/1.2/series/1.3/instances/1.4",
    ]


@pytest.mark.parametrize("segments", [("x",), ("1.2", "x"), ("1.2", "1.3", "x"), ("1.2", "1.3", "")])
def test_every_segment_is_checked(segments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidUid):
        reference_of(*segments)


@given(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=20))
def test_frame_lists(numbers: list[int]) -> None:
    assert parse_frame_list(",".join(map(str, numbers))) == tuple(numbers)
    assert parse_frame_list(" , ".join(map(str, numbers))) == tuple(numbers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "1,",
        ",1",
        "-1",
        "1-3",
        "a",
        "1.0",
        "+1",
        "²",
        "2147483648",
        "9" * 30,
        "1;2",
        f"{1:012}000",
        f"{1:012}{0:05000}",
    ],
)
def test_broken_frame_lists(text: str) -> None:
    with pytest.raises(InvalidFrameList):
        parse_frame_list(text)


def test_frame_lists_are_bounded() -> None:
    with pytest.raises(InvalidFrameList, match="more than 3"):
        parse_frame_list("1,2,3,4", limit=3)
