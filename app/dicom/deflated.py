"""Data sets of Deflated Explicit VR Little Endian (PS3.5 A.5): one stream of RFC 1951 behind the file meta information."""

import zlib
from collections.abc import Iterator

from app.dicom.parse_limits import ParseLimits
from app.errors import MalformedDicom, TruncatedDicom

_DEFAULT_LIMITS = ParseLimits()
_PIECE = 1024 * 1024
_WINDOW = 64 * 1024  # of deflated bytes: what zlib has not taken yet is copied for each piece


class DataSetInflater:
    """Takes a deflated data set in pieces, and gives it inflated in pieces of at most a mebibyte."""

    def __init__(self, limits: ParseLimits = _DEFAULT_LIMITS) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._most = limits.max_inflated_bytes
        self._size = 0

    def feed(self, deflated: bytes | memoryview) -> Iterator[bytes]:
        """Raises MalformedDicom beyond `limits.max_inflated_bytes` or for bytes that are not deflated."""
        waiting: bytes | memoryview = deflated
        while waiting and not self._stream.eof:
            try:
                piece = self._stream.decompress(waiting, _PIECE)
            except zlib.error:
                raise MalformedDicom("the deflated data set cannot be inflated") from None
            self._count(piece)
            yield piece
            waiting = self._stream.unconsumed_tail

    def end(self) -> bytes:
        """What is left when all has been fed. Raises MalformedDicom, TruncatedDicom."""
        rest = self._stream.flush()
        if not self._stream.eof:
            raise TruncatedDicom("the deflated data set has no end")
        self._count(rest)
        return rest

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise MalformedDicom(f"the data set inflates to more than {self._most} bytes")


def inflate_data_set(deflated: bytes | memoryview, limits: ParseLimits = _DEFAULT_LIMITS) -> bytearray:
    """The data set of a deflated transfer syntax from the bytes behind the file meta information (PS3.5 A.5).

    Raises MalformedDicom beyond `limits.max_inflated_bytes` or for bytes that are not deflated, TruncatedDicom.
    """
    # Grown piece by piece: zlib's own way to one result has it in memory twice.
    inflater, inflated, view = DataSetInflater(limits), bytearray(), memoryview(deflated)
    for start in range(0, len(view), _WINDOW):
        for piece in inflater.feed(view[start : start + _WINDOW]):
            inflated += piece
    inflated += inflater.end()
    return inflated
