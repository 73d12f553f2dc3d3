"""Bytes of native pixel data: byte order, bits, planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.native_pixels import (
    BitConcatenator,
    extract_bits,
    interleave_planes,
    pack_bits,
    swap_bytes,
    swap_width,
    unpack_bits,
)
from tests.dicom.native_images import concatenate_bits


def bits_of(data: bytes) -> list[int]:
    return [byte >> position & 1 for byte in data for position in range(8)]


@pytest.mark.parametrize(
    ("vr", "bits_allocated", "width"),
    [
        ("OB", 8, 1),
        ("OB", 16, 1),
        ("OW", 1, 2),
        ("OW", 8, 2),
        ("OW", 16, 2),
        ("OW", 32, 4),
        ("OW", 64, 8),
        ("OW", 0, 2),
        ("OF", 32, 4),
        ("OD", 64, 8),
        ("OL", 0, 4),
        ("OV", 0, 8),
        ("AT", 0, 2),
        ("US", 0, 2),
        ("FD", 0, 8),
        ("SV", 0, 8),
        ("UN", 16, 1),
        ("LO", 0, 1),
        ("SQ", 0, 1),
    ],
)
def test_swap_width(vr: str, bits_allocated: int, width: int) -> None:
    assert swap_width(vr, bits_allocated) == width


def test_swap_bytes_reverses_whole_words_only() -> None:
    assert swap_bytes(b"\x01\x02\x03\x04", 1) == b"\x01\x02\x03\x04"
    assert swap_bytes(b"\x01\x02\x03\x04\x05", 2) == b"\x02\x01\x04\x03\x05"
    assert swap_bytes(b"\x01\x02\x03\x04\x05\x06", 4) == b"\x04\x03\x02\x01\x05\x06"
    assert swap_bytes(bytes(range(8)), 8) == bytes(range(7, -1, -1))
    assert swap_bytes(b"", 4) == b""


@given(st.binary(max_size=70), st.sampled_from([1, 2, 4, 8]))
def test_swapping_twice_gives_the_data_back(data: bytes, width: int) -> None:
    assert swap_bytes(swap_bytes(data, width), width) == data


def test_extract_bits_begins_with_the_least_significant_bit() -> None:
    # Two frames of 3 x 3 pixels in three bytes: bits 0-8 and 9-17 (PS3.5 8.1.1).
    data = bytes([0b1000_0001, 0b0000_0011, 0b0000_0010])
    assert extract_bits(data, 0, 9) == bytes([0b1000_0001, 0b1])
    assert extract_bits(data, 9, 9) == bytes([0b0000_0001, 0b1])


@given(st.binary(max_size=40), st.data())
def test_extract_bits_is_a_slice_of_bits(data: bytes, draw: st.DataObject) -> None:
    first = draw.draw(st.integers(0, 8 * len(data)))
    length = draw.draw(st.integers(0, 8 * len(data) - first))
    result = extract_bits(data, first, length)
    assert len(result) == (length + 7) // 8
    assert bits_of(result)[:length] == bits_of(data)[first : first + length]
    assert not any(bits_of(result)[length:])


@pytest.mark.parametrize(("first", "length"), [(0, 17), (16, 1), (-1, 2), (3, -1)])
def test_extract_bits_refuses_what_is_not_there(first: int, length: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        extract_bits(b"\x00\x00", first, length)


@given(st.integers(1, 50), st.lists(st.binary(min_size=7, max_size=7), max_size=9))
def test_concatenated_frames_can_be_extracted_again(bit_length: int, frames: list[bytes]) -> None:
    joined = concatenate_bits(frames, bit_length)
    assert len(joined) == (bit_length * len(frames) + 7) // 8
    for number, frame in enumerate(frames):
        assert extract_bits(joined, number * bit_length, bit_length) == extract_bits(frame, 0, bit_length)


def test_the_concatenator_gives_bytes_as_soon_as_they_are_complete() -> None:
    joined = BitConcatenator()
    assert joined.add(b"\x07", 3) == b""
    assert joined.add(b"\xf0", 5) == bytes([0b1000_0111])
    assert joined.end() == b""
    assert joined.add(b"\x01", 1) == b""
    assert joined.end() == b"\x01"
    with pytest.raises(ValueError, match="9 bits"):
        joined.add(b"\x00", 9)


@given(st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 20))
def test_planes_are_interleaved(samples: int, sample_bytes: int, pixels: int) -> None:
    planes = np.arange(samples * pixels, dtype=f"<u{sample_bytes}").reshape(samples, pixels)
    by_pixel = np.frombuffer(interleave_planes(planes.tobytes(), samples, sample_bytes), f"<u{sample_bytes}")
    assert by_pixel.reshape(pixels, samples).T.tolist() == planes.tolist()


@given(st.lists(st.integers(0, 1), min_size=1, max_size=30))
def test_bits_survive_packing(bits: list[int]) -> None:
    packed = pack_bits(np.array(bits))
    assert bits_of(packed)[: len(bits)] == bits
    assert list(unpack_bits(packed, len(bits))) == bits
