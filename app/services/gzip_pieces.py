"""gzip of a text whose parts were compressed at other times: one member, though its parts are never compressed again.

Many clients read the first member of a gzip file and drop the others (RFC 1952 2.2 allows several), so parts may not simply be
put one behind the other. Instead each is kept as deflate blocks that end at a byte (RFC 1951 3.2), of which any number may
follow each other in one stream; what goes between them is written as blocks that are not compressed. Only the checksum of
the whole has to be worked out from those of the parts.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

# Repetitive text, as the metadata of a series is, shrinks to a quarter of what level 1 makes of it, in less time.
LEVEL = 3
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x03\x00"
_PACKED = struct.Struct("<IQ")
_POLYNOMIAL = 0xEDB88320


@dataclass(frozen=True, slots=True)
class GzipPiece:
    """blocks as above; crc and length in bytes of what they hold."""

    blocks: bytes
    crc: int
    length: int

    def pack(self) -> bytes:
        return _PACKED.pack(self.crc, self.length) + self.blocks

    @classmethod
    def unpack(cls, packed: bytes) -> "GzipPiece":
        crc, length = _PACKED.unpack_from(packed)
        return cls(packed[_PACKED.size :], crc, length)


class PieceCompressor:
    """Makes one piece of texts that come one after another. Blocking, though the compressing lets other threads run."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._blocks: list[bytes] = []
        self._crc = self._length = 0

    def add(self, text: bytes) -> None:
        self._blocks.append(self._compressor.compress(text))
        self._crc = zlib.crc32(text, self._crc)
        self._length += len(text)

    def finish(self) -> GzipPiece:
        self._blocks.append(self._compressor.flush(zlib.Z_SYNC_FLUSH))
        return GzipPiece(b"".join(self._blocks), self._crc, self._length)


def gzip_of(parts: Iterable[GzipPiece | bytes]) -> bytes:
    """The gzip member of the parts; texts among them, of at most 65535 bytes, are not compressed."""
    written = [_HEAD]
    crc = length = 0
    for part in parts:
        if isinstance(part, bytes):
            written.append(struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF) + part)
            crc = zlib.crc32(part, crc)
            length += len(part)
        else:
            written.append(part.blocks)
            crc = joined_crc(crc, part.crc, part.length)
            length += part.length
    written.append(_LAST_BLOCK + struct.pack("<II", crc, length & 0xFFFFFFFF))
    return b"".join(written)


def joined_crc(first: int, second: int, length: int) -> int:
    """CRC-32 of two texts, one behind the other, from theirs and the length of the second (as crc32_combine of zlib)."""
    return _product(_power(length), first) ^ second


def _product(one: int, other: int) -> int:
    """Of polynomials over GF(2) modulo that of CRC-32, whose lowest power is the highest bit."""
    result, bit = 0, 1 << 31
    while bit:
        if one & bit:
            result ^= other
        other = (other >> 1) ^ _POLYNOMIAL if other & 1 else other >> 1
        bit >>= 1
    return result


def _squares() -> tuple[int, ...]:
    """x to the powers 8, 16, 32, ..: one for each bit of a length in bytes."""
    squares = [1 << 30]
    for _ in range(66):
        squares.append(_product(squares[-1], squares[-1]))
    return tuple(squares[3:])


_SQUARES = _squares()


def _power(length: int) -> int:
    """x to the power of so many bytes."""
    result, place = 1 << 31, 0
    while length:
        if length & 1:
            result = _product(_SQUARES[place], result)
        length >>= 1
        place += 1
    return result
