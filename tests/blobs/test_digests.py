"""Digests: of both kinds what their authors publish, compared in kind, and however the bytes come."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.blobs.digests import BlobHash, digest_of, digests_of, is_new_kind

# Published by those who made them: of nothing, and of "abc".
BLAKE3 = {
    b"": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262-blake3",
    b"abc": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85-blake3",
}
SHA256 = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
}


@pytest.mark.parametrize("data", [b"", b"abc"])
def test_digests_are_those_that_the_algorithms_define(data: bytes) -> None:
    assert digest_of(data) == BLAKE3[data]
    assert digest_of(data, like=SHA256[b""]) == SHA256[data]
    assert digest_of(data, like=BLAKE3[b""]) == BLAKE3[data]
    assert digests_of(io.BytesIO(data)) == (BLAKE3[data], SHA256[data])


def test_kinds_are_told_apart() -> None:
    assert is_new_kind("")
    assert is_new_kind(BLAKE3[b""])
    assert not is_new_kind(SHA256[b""])


@given(st.lists(st.binary(max_size=5000)), st.sampled_from(["", SHA256[b""]]))
def test_pieces_count_as_the_whole(pieces: list[bytes], like: str) -> None:
    piecewise = BlobHash(like)
    for piece in pieces:
        piecewise.update(memoryview(piece))
        piecewise.digest  # noqa: B018 - asking between pieces changes nothing
    assert piecewise.digest == digest_of(b"".join(pieces), like)
