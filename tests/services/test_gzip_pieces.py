"""One gzip member of parts that were compressed apart."""

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.gzip_pieces import GzipPiece, PieceCompressor, gzip_of, joined_crc

TEXTS = st.lists(st.binary(max_size=2000), max_size=6)


def piece_of(*texts: bytes) -> GzipPiece:
    compressor = PieceCompressor()
    for text in texts:
        compressor.add(text)
    return compressor.finish()


def first_member(data: bytes) -> bytes:
    """What a client makes of it that reads one member and stops."""
    inflater = zlib.decompressobj(wbits=31)
    text = inflater.decompress(data)
    assert inflater.eof
    assert inflater.unused_data == b""
    return text


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_checksum_of_two_texts(first: bytes, second: bytes) -> None:
    assert joined_crc(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@pytest.mark.parametrize("length", [0, 1, 255, 256, 65537, 3_000_001])
def test_checksum_of_long_texts(length: int) -> None:
    first, second = b"begin" * 100, random.Random(length).randbytes(length)
    assert joined_crc(zlib.crc32(first), zlib.crc32(second), length) == zlib.crc32(second, zlib.crc32(first))


@given(TEXTS, st.lists(st.booleans(), min_size=6, max_size=6))
def test_parts_make_one_member(texts: list[bytes], compressed: list[bool]) -> None:
    parts = [piece_of(text) if coded else text for text, coded in zip(texts, compressed, strict=False)]
    made = gzip_of(parts)
    assert first_member(made) == b"".join(texts)
    assert gzip.decompress(made) == b"".join(texts)


@given(TEXTS)
def test_a_piece_of_several_texts(texts: list[bytes]) -> None:
    piece = piece_of(*texts)
    whole = b"".join(texts)
    assert (piece.length, piece.crc) == (len(whole), zlib.crc32(whole))
    assert first_member(gzip_of([b"[", piece, b",", piece, b"]"])) == b"[" + whole + b"," + whole + b"]"


def test_pieces_are_kept_as_bytes() -> None:
    piece = piece_of(b"some text " * 1000)
    assert GzipPiece.unpack(piece.pack()) == piece
    assert len(piece.pack()) < 1000


def test_a_long_piece_used_again_and_again() -> None:
    text = random.Random(1).randbytes(200_000) + bytes(100_000)
    piece = piece_of(text[:150_000], text[150_000:])
    made = gzip_of([piece] * 20)
    assert first_member(made) == text * 20


def test_of_nothing() -> None:
    assert first_member(gzip_of([])) == b""
