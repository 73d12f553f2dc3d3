"""Displayable images as bytes of the rendered media types (PS3.18 Table 8.7.4-1)."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.codecs.encoders import JPEG_2000_SMALL
from app.dicom.rendering.boxes import wrapped_codestream
from app.dicom.rendering.gif import encode_gif
from app.dicom.rendering.media_types import ICC_MEDIA_TYPES
from app.errors import CodecError, InvalidParameter, NotAcceptable

DEFAULT_QUALITY = 90
_APP2_BYTES = 65519  # of a profile, in one marker segment (ICC.1 B.4)
_PNG_HEADER = 8 + 25  # signature and IHDR
_PNG_LEVEL = 3

Pixels = NDArray[np.uint8]


def encode_image(pixels: Pixels, media_type: str, *, quality: int | None = None, icc: bytes | None = None) -> bytes:
    """One image.

    pixels   rows x columns of grey, or rows x columns x 3 of RGB
    quality  1 to 100, for image/jpeg, image/jp2, image/jph and image/jxl; 100 is without loss, except for image/jpeg.
             None = 90 for image/jpeg, without loss for the others
    icc      profile of RGB to embed; not for image/gif and image/jxl (ICC_MEDIA_TYPES)

    Blocking and thread safe. Raises NotAcceptable, InvalidParameter, CodecError.
    """
    encode = _ENCODERS.get(media_type)
    if encode is None:
        raise NotAcceptable(f"images cannot be rendered as {media_type[:80]}")
    if icc is not None and media_type not in ICC_MEDIA_TYPES:
        raise InvalidParameter(f"{media_type} cannot hold an ICC profile")
    if icc is not None and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    try:
        return encode(np.ascontiguousarray(pixels), quality, icc)
    except (RuntimeError, ValueError, OverflowError) as error:
        raise CodecError(f"the image cannot be encoded as {media_type}") from error


def _jpeg(pixels: Pixels, quality: int | None, icc: bytes | None) -> bytes:
    """Baseline, 8 bits, Huffman coding (8.7.4)."""
    level = quality or DEFAULT_QUALITY
    options: dict[str, Any] = {}
    if pixels.ndim == 3:
        # Chroma at half the resolution is visible around text and edges.
        options["subsampling"] = "444" if level >= DEFAULT_QUALITY else "420"
    stream = bytes(imagecodecs.jpeg8_encode(pixels, level=level, **options))
    return stream if icc is None else _with_app2(stream, icc)


def _with_app2(stream: bytes, icc: bytes) -> bytes:
    """The profile in as many marker segments as it takes, behind the one of JFIF."""
    chunks = [icc[start : start + _APP2_BYTES] for start in range(0, len(icc), _APP2_BYTES)]
    if len(chunks) > 255:
        raise CodecError("the ICC profile is too large for JPEG")
    segments = b"".join(
        b"\xff\xe2" + struct.pack(">H", 16 + len(chunk)) + b"ICC_PROFILE\0" + bytes((number, len(chunks))) + chunk
        for number, chunk in enumerate(chunks, start=1)
    )
    at = 2
    if stream[2:4] == b"\xff\xe0":
        at = 4 + int.from_bytes(stream[4:6], "big")
    return stream[:at] + segments + stream[at:]


def _png(pixels: Pixels, _quality: int | None, icc: bytes | None) -> bytes:
    stream = bytes(imagecodecs.png_encode(pixels, level=_PNG_LEVEL))
    if icc is None:
        return stream
    content = b"iCCP" + b"ICC profile\0\0" + zlib.compress(icc)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return stream[:_PNG_HEADER] + chunk + stream[_PNG_HEADER:]


def _gif(pixels: Pixels, _quality: int | None, _icc: bytes | None) -> bytes:
    return b"".join(encode_gif([pixels]))


def _jp2(pixels: Pixels, quality: int | None, icc: bytes | None) -> bytes:
    # Peak signal to noise ratio in decibels; 0 = nothing is left out.
    is_lossless = quality in (None, 100)
    is_small = min(pixels.shape[:2]) < JPEG_2000_SMALL
    level = 0 if is_lossless or is_small else 20 + 2 * (quality or 0) // 5
    stream = imagecodecs.jpeg2k_encode(pixels, level=level, reversible=is_lossless, codecformat="j2k", numthreads=1)
    return wrapped_codestream(bytes(stream), b"jp2 ", pixels, icc)


def _jph(pixels: Pixels, quality: int | None, icc: bytes | None) -> bytes:
    if quality in (None, 100):
        stream = imagecodecs.htj2k_encode(pixels, reversible=True)
    else:
        # Step size of the quantizer.
        stream = imagecodecs.htj2k_encode(pixels, level=2.0 ** (-9 + (100 - (quality or 0)) / 16), reversible=False)
    return wrapped_codestream(bytes(stream), b"jph ", pixels, icc)


def _jxl(pixels: Pixels, quality: int | None, _icc: bytes | None) -> bytes:
    if quality in (None, 100):
        return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=1, numthreads=1))
    q = quality or 0
    # The scale of cjxl: 90 is a distance of 1.
    distance = 0.1 + (100 - q) * 0.09 if q >= 30 else 53 / 3000 * q * q - 23 / 20 * q + 25
    return bytes(imagecodecs.jpegxl_encode(pixels, distance=min(distance, 24.9), effort=3, numthreads=1))


_ENCODERS: dict[str, Callable[[Pixels, int | None, bytes | None], bytes]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/jp2": _jp2,
    "image/jph": _jph,
    "image/jxl": _jxl,
}
