"""JPEG 2000 codestreams in their file formats: JP2 (ITU-T T.800 Annex I) and JPH (T.814 Annex D)."""

import struct

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SRGB, _GREYSCALE = 16, 17


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def wrapped_codestream(codestream: bytes, brand: bytes, pixels: NDArray[np.uint8], icc: bytes | None = None) -> bytes:
    """A file of 8-bit samples.

    brand   b"jp2 " or b"jph "
    pixels  what was encoded: rows x columns, or rows x columns x 3
    icc     a restricted profile; None = sRGB or grey by number
    """
    rows, columns = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else 3
    header = struct.pack(">IIHBBBB", rows, columns, samples, 7, 7, 0, 0)
    colour = struct.pack(">BBBI", 1, 0, 0, _SRGB if samples == 3 else _GREYSCALE)
    if icc is not None:
        colour = struct.pack(">BBB", 2, 0, 0) + icc
    return b"".join(
        (
            _SIGNATURE,
            box(b"ftyp", brand + struct.pack(">I", 0) + brand),
            box(b"jp2h", box(b"ihdr", header) + box(b"colr", colour)),
            box(b"jp2c", codestream),
        )
    )
