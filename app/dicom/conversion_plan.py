"""A converted file as a list of segments: what is known already, and what is to be taken from the stored file."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """These bytes."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Copy:
    """A range of the stored file, unaltered."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Swap:
    """A range of the stored file, the bytes of each word of `width` reversed; an incomplete last word stays as it is."""

    offset: int
    length: int
    width: int


@dataclass(frozen=True, slots=True)
class DecodedFrames:
    """The stored frames 1 to `count`, decoded, without padding between them.

    frame_bits  of one decoded frame. Where it is not a multiple of 8, frames are joined bit by bit
                (app.dicom.native_pixels.BitConcatenator), and only the last byte of all is padded.
    """

    count: int
    frame_bits: int

    @property
    def length(self) -> int:
        return (self.count * self.frame_bits + 7) // 8

    @property
    def is_bit_packed(self) -> bool:
        return self.frame_bits % 8 != 0


@dataclass(frozen=True, slots=True)
class EncodedFrames:
    """The frames as fragments, with their item headers and padding, as they were prepared before the plan was made."""

    length: int


Segment = Literal | Copy | Swap | DecodedFrames | EncodedFrames


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """segments  in the order of the result; length  of the whole result in bytes, exact."""

    segments: tuple[Segment, ...]
    length: int
    transfer_syntax_uid: str


def conversion_plan(pieces: Iterable[bytes | Segment], transfer_syntax_uid: str) -> ConversionPlan:
    """The plan of `pieces`, bytes that follow each other joined to one Literal."""
    segments: list[Segment] = []
    waiting: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            if piece:
                waiting.append(piece)
            continue
        if waiting:
            segments.append(Literal(b"".join(waiting)))
            waiting = []
        if piece.length:
            segments.append(piece)
    if waiting:
        segments.append(Literal(b"".join(waiting)))
    return ConversionPlan(tuple(segments), sum(segment.length for segment in segments), transfer_syntax_uid)
