"""What a compressed stream says about itself: the Image Pixel Description of PS3.18 Table 10.5.2-1, and where it may be stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import DicomError


class UnusableStream(DicomError):
    """The bytes are not a stream that DICOM can hold, or not one whose header can be read."""


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """media_type           that names such streams
    transfer_syntaxes     that can hold the stream as it is, the most fitting one first; never empty
    bits                  of a sample, 1 to 38
    is_signed             what the stream says; None where its format knows no signs
    photometric           as PS3.5 8.2 asks for this stream
    photometrics          which a sender may have said instead and be believed; `photometric` is one of them
    number_of_frames      in this stream; None where it does not say
    method                Lossy Image Compression Method (0028,2114), "" for a lossless stream
    start, length         of the stream within its payload: what is stored
    """

    media_type: str
    transfer_syntaxes: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    bits: int
    is_signed: bool | None
    photometric: str
    photometrics: frozenset[str]
    number_of_frames: int | None
    method: str
    start: int
    length: int


GRAYSCALE = frozenset(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"))


def colours(samples: int, photometric: str, believed: Sequence[str] = ()) -> tuple[str, frozenset[str]]:
    """`photometric` and `photometrics` of a stream of 1 or 3 samples. Raises UnusableStream for any other number."""
    if samples == 1:
        return "MONOCHROME2", GRAYSCALE
    if samples != 3:
        raise UnusableStream(f"an image of {samples} samples per pixel has no Photometric Interpretation")
    return photometric, frozenset((photometric, *believed))


def check_size(rows: int, columns: int) -> None:
    """Raises UnusableStream for sizes that Rows and Columns (US) cannot say."""
    if not (0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF):
        raise UnusableStream(f"an image of {columns} x {rows} pixels cannot be described")
