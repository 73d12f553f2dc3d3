"""Byte ranges of a blob: which reads get them all. Pure planning; the stores execute it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Range = tuple[int, int]  # offset, length


@dataclass(frozen=True, slots=True)
class RangeGroup:
    """One read of `length` bytes at `offset` that serves the ranges with the indices `members`."""

    offset: int
    length: int
    members: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.offset + self.length


def validate_range(offset: int, length: int) -> None:
    """Raises ValueError unless offset >= 0 and length > 0."""
    if offset < 0 or length <= 0:
        raise ValueError(f"a range needs an offset from 0 and a length from 1, not {offset} and {length}")


def coalesce(ranges: Sequence[Range], *, max_gap: int, max_bytes: int) -> list[RangeGroup]:
    """Reads that cover `ranges`, ascending by offset and by end.

    Ranges join one read while no more than `max_gap` unwanted bytes lie between them and the read stays within
    `max_bytes`; a single range may be larger than that. Order, overlaps and repetitions are free.
    Raises ValueError for a negative offset or a length below 1.
    """
    for offset, length in ranges:
        validate_range(offset, length)
    groups: list[RangeGroup] = []
    start = end = 0
    members: list[int] = []
    for index in sorted(range(len(ranges)), key=lambda index: ranges[index]):
        offset, length = ranges[index]
        joined_end = max(end, offset + length)
        fits = joined_end == end or (offset - end <= max_gap and joined_end - start <= max_bytes)
        if members and fits:
            end = joined_end
            members.append(index)
            continue
        if members:
            groups.append(RangeGroup(start, end - start, tuple(members)))
        start, end, members = offset, offset + length, [index]
    if members:
        groups.append(RangeGroup(start, end - start, tuple(members)))
    return groups


def distribute(ranges: Sequence[Range], reads: Iterable[tuple[RangeGroup, bytes]]) -> list[bytes]:
    """The bytes of each of `ranges`, in their order, cut from what the groups of `coalesce` read."""
    parts = [b""] * len(ranges)
    for group, data in reads:
        cut(ranges, group, data, parts)
    return parts


def cut(ranges: Sequence[Range], group: RangeGroup, data: bytes, parts: list[bytes]) -> None:
    """Put what one group read where it belongs in `parts`, which has a place for each of `ranges`."""
    if len(group.members) == 1:  # nothing to cut: the read is the range
        parts[group.members[0]] = data
        return
    for index in group.members:
        offset, length = ranges[index]
        parts[index] = data[offset - group.offset : offset - group.offset + length]
