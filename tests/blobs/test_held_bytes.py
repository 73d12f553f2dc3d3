"""Bytes on their way in: the pieces that came are the bytes that are kept, and nothing is copied without need."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.blobs.held_bytes import WORTH_A_REFERENCE, HeldBytes
from app.blobs.spool import SpoolFolder

KIB = 1024
sizes = st.lists(st.sampled_from([0, 1, 7, KIB, WORTH_A_REFERENCE - 1, WORTH_A_REFERENCE, 100 * KIB]), max_size=8)


@given(sizes, st.integers(0, 300 * KIB), st.sets(st.integers(0, 8)))
def test_whatever_comes(lengths: list[int], place: int, made_whole: set[int]) -> None:
    held, expected = HeldBytes(), b""
    for number, length in enumerate(lengths):
        piece = os.urandom(length)
        held.add(memoryview(piece if number % 2 else bytearray(piece)))
        expected += piece
        if number in made_whole:
            assert held.whole() == expected
        assert held.size == len(expected)
        assert held.head(place) == expected[:place]
        assert b"".join(held.behind(place)) == expected[place:]
    assert held.whole() == expected
    held.clear()
    assert (held.size, held.whole(), held.head(5)) == (0, b"", b"")


def test_large_pieces_are_not_copied() -> None:
    held, piece = HeldBytes(), os.urandom(100 * KIB)
    held.add(memoryview(piece))
    (kept,) = held.pieces
    assert isinstance(kept, memoryview)
    assert kept.obj is piece


def test_what_may_change_is_copied() -> None:
    held, piece = HeldBytes(), bytearray(b"x" * 100 * KIB)
    held.add(memoryview(piece))
    piece[0] = 0
    assert held.whole() == b"x" * 100 * KIB


def test_many_small_pieces_become_few() -> None:
    held = HeldBytes()
    for _ in range(10_000):
        held.add(memoryview(b"."))
    assert len(held.pieces) == 1


@pytest.mark.parametrize("most", [1, 3, 10, 1_000_000])
def test_a_system_may_write_less_than_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = os.writev

    def some(descriptor: int, pieces: Sequence[bytes]) -> int:
        return whole(descriptor, [b"".join(pieces)[:most]])

    monkeypatch.setattr(os, "writev", some)
    file = SpoolFolder(tmp_path).new_file()
    file.append([b"abc", bytearray(b"de"), memoryview(b"fghij")])
    assert (file.size, file.read_range(0, 100)) == (10, b"abcdefghij")
    file.drop()


def test_more_pieces_than_one_call_takes(tmp_path: Path) -> None:
    file = SpoolFolder(tmp_path).new_file()
    file.append([bytes([number % 256]) for number in range(5_000)])
    assert file.read_range(0, 5_000) == bytes(number % 256 for number in range(5_000))
    file.drop()
