"""Digests: what the bytes of a blob are known by, in rows, keys and entity tags.

A digest is 64 lower-case hexadecimal digits and, behind them, what made them: `{digits}-blake3`. Digits alone are those of
SHA-256, which earlier versions made: bytes are compared with such a digest in its own kind, and new blobs get none.
"""

from hashlib import sha256
from typing import IO, TypeAlias

from blake3 import blake3

_BLAKE3 = "-blake3"
_STREAM_CHUNK = 1024 * 1024

_Bytes: TypeAlias = bytes | bytearray | memoryview


class BlobHash:
    """Takes the bytes of a blob, piece after piece, outside the interpreter's lock.

    like  a digest of the kind to make; "" for the kind that new blobs get
    """

    __slots__ = ("_hash", "_kind")

    def __init__(self, like: str = "") -> None:
        self._kind = _BLAKE3 if is_new_kind(like) else ""
        self._hash = blake3() if self._kind else sha256()

    def update(self, data: _Bytes) -> None:
        self._hash.update(data)

    @property
    def digest(self) -> str:
        """Of all bytes so far."""
        return self._hash.hexdigest() + self._kind


def is_new_kind(like: str) -> bool:
    """Whether a digest of the kind of `like` is one that new blobs get."""
    return not like or like.endswith(_BLAKE3)


def digest_of(data: _Bytes, like: str = "") -> str:
    """The digest of a whole blob, of the kind of `like`."""
    whole = BlobHash(like)
    whole.update(data)
    return whole.digest


def digests_of(stream: IO[bytes]) -> tuple[str, str]:
    """The digests of both kinds, the new one first, of what is left of a stream."""
    new, old = blake3(), sha256()
    while chunk := stream.read(_STREAM_CHUNK):
        new.update(chunk)
        old.update(chunk)
    return new.hexdigest() + _BLAKE3, old.hexdigest()
