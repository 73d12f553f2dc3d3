from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.blobs.ranges import RangeGroup, coalesce, distribute

range_lists = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), max_size=40)
BLOB = bytes(number % 251 for number in range(2300))


def read(groups: list[RangeGroup]) -> list[tuple[RangeGroup, bytes]]:
    return [(group, BLOB[group.offset : group.end]) for group in groups]


@settings(deadline=None)
@given(range_lists, st.integers(0, 200), st.integers(1, 2000))
def test_everybody_gets_exactly_what_was_asked(ranges: list[tuple[int, int]], max_gap: int, max_bytes: int) -> None:
    groups = coalesce(ranges, max_gap=max_gap, max_bytes=max_bytes)
    assert distribute(ranges, read(groups)) == [BLOB[offset : offset + length] for offset, length in ranges]


@settings(deadline=None)
@given(range_lists, st.integers(0, 200), st.integers(1, 2000))
def test_every_range_is_in_one_read_within_the_bounds(
    ranges: list[tuple[int, int]], max_gap: int, max_bytes: int
) -> None:
    groups = coalesce(ranges, max_gap=max_gap, max_bytes=max_bytes)
    assert sorted(index for group in groups for index in group.members) == list(range(len(ranges)))
    for group in groups:
        members = sorted(ranges[index] for index in group.members)
        assert all(group.offset <= offset and offset + length <= group.end for offset, length in members)
        assert group.length <= max(max_bytes, *(length for _, length in members))
        reached = group.offset
        for offset, length in members:
            assert offset - reached <= max_gap
            reached = max(reached, offset + length)
        assert (group.offset, group.end) == (members[0][0], reached), "no byte more than needed at either end"


@settings(deadline=None)
@given(range_lists, st.integers(0, 200), st.integers(1, 2000))
def test_reads_ascend_and_none_lies_within_another(ranges: list[tuple[int, int]], max_gap: int, max_bytes: int) -> None:
    groups = coalesce(ranges, max_gap=max_gap, max_bytes=max_bytes)
    for before, after in pairwise(groups):
        assert before.offset <= after.offset
        assert before.end < after.end


@settings(deadline=None)
@given(range_lists, st.integers(0, 200))
def test_neighbours_join_unless_the_read_would_be_too_large(ranges: list[tuple[int, int]], max_gap: int) -> None:
    groups = coalesce(ranges, max_gap=max_gap, max_bytes=10_000)
    for before, after in pairwise(groups):
        assert after.offset - before.end > max_gap


def test_frames_in_a_row_are_one_read() -> None:
    frames = [(1000 + number * 508 + 8, 500) for number in range(10)]  # item tags and lengths lie between
    assert coalesce(frames, max_gap=16, max_bytes=10_000) == [RangeGroup(1008, 5072, tuple(range(10)))]
    assert len(coalesce(frames, max_gap=7, max_bytes=10_000)) == 10
    assert [group.members for group in coalesce(frames, max_gap=16, max_bytes=2600)] == [
        (0, 1, 2, 3, 4),
        (5, 6, 7, 8, 9),
    ]


def test_a_single_range_may_be_larger_than_the_bound() -> None:
    assert coalesce([(0, 5000), (10, 20)], max_gap=0, max_bytes=100) == [RangeGroup(0, 5000, (0, 1))]


def test_no_ranges_need_no_reads() -> None:
    assert coalesce([], max_gap=1, max_bytes=1) == []
    assert distribute([], []) == []


@pytest.mark.parametrize("bad", [(-1, 5), (0, 0), (3, -1)])
def test_ranges_that_are_none_are_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError):
        coalesce([(0, 1), bad], max_gap=0, max_bytes=100)
