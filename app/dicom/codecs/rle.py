"""RLE Lossless (PS3.5 8.2.2 and Annex G), any number of bits."""

import struct

import imagecodecs
import numpy as np

from app.dicom.layout import ImagePixel
from app.dicom.native_pixels import interleave_planes, pack_bits
from app.errors import CodecError

_HEADER = struct.Struct("<16I")
_MAX_SEGMENTS = 15


def decode(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """One frame. Raises CodecError, or RuntimeError or ValueError of the library."""
    pixels = image.rows * image.columns
    sample_bytes = max(1, image.bits_allocated // 8)
    _check_header(codestream, image.samples_per_pixel * sample_bytes)
    size = pixels * sample_bytes * image.samples_per_pixel
    frame = bytes(imagecodecs.dicomrle_decode(codestream, f"<u{sample_bytes}", out=bytearray(size)))
    if image.bits_allocated == 1:
        # Bits are compressed as they are packed in native frames, eight pixels a byte; some writers spread them first.
        return frame if len(frame) != pixels else pack_bits(np.frombuffer(frame, np.uint8))
    if len(frame) != size:
        raise CodecError("the RLE segments are too short")
    if image.samples_per_pixel == 1:
        return frame
    return interleave_planes(frame, image.samples_per_pixel, sample_bytes)


def _check_header(codestream: bytes, segments: int) -> None:
    """Raises CodecError unless there is one segment for each byte of a pixel, each within the frame (PS3.5 G.2, G.5)."""
    if segments > _MAX_SEGMENTS or len(codestream) < _HEADER.size:
        raise CodecError("the frame has no RLE header")
    count, *offsets = _HEADER.unpack_from(codestream)
    if count != segments:
        raise CodecError(f"the frame has {count} RLE segments, its description asks for {segments}")
    used = offsets[:count]
    if used[0] < _HEADER.size or used != sorted(set(used)) or used[-1] >= len(codestream):
        raise CodecError("the RLE segments lie outside of the frame")
