"""Frames that are native ones in an envelope: encapsulated uncompressed (PS3.5 A.4.11) and deflated (PS3.5 A.4.13)."""

import zlib

from app.dicom.layout import ImagePixel
from app.errors import CodecError


def decode_uncompressed(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """The frame without the byte that may pad its fragment. Raises CodecError."""
    size = (image.frame_bits + 7) // 8
    if not size <= len(codestream) <= size + size % 2:
        raise CodecError(f"the frame has {len(codestream)} bytes, its description asks for {size}")
    return codestream[:size]


def decode_deflated(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """The inflated frame; nothing beyond the size that is described is inflated. Raises CodecError, zlib.error."""
    size = (image.frame_bits + 7) // 8
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    frame = inflater.decompress(codestream, size + 2)
    if not inflater.eof or not size <= len(frame) <= size + size % 2:
        raise CodecError("the deflated frame is not of the size that its description asks for")
    return frame[:size]


def encode_deflated(frame: bytes) -> bytes:
    """A native frame, deflated without a header (PS3.5 A.4.13, RFC 1951)."""
    compressor = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    return compressor.compress(frame) + compressor.flush()
