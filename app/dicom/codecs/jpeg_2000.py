"""JPEG 2000 (ITU-T T.800; PS3.5 8.2.4) and High-Throughput JPEG 2000 (T.814; PS3.5 8.2.14), by OpenJPEG.

OpenJPH would decode HTJ2K twice as fast, but as imagecodecs binds it, samples of lossy frames wrap around at black and white
instead of being clipped, broken tiles give garbage without an error, and some broken frames never end.
"""

import struct
from dataclasses import dataclass

import imagecodecs

from app.dicom.codecs.samples import check_precision, check_size, native_frame
from app.dicom.layout import ImagePixel
from app.errors import CodecError

_START = b"\xff\x4f\xff\x51"  # SOC, SIZ
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
# Bits a sample. Above that OpenJPEG decodes JPEG 2000 without complaint to wrong values, HTJ2K not at all (2.5.4).
_MAX_PRECISION, _MAX_HTJ2K_PRECISION = 24, 16
# Tiles cost memory each, whatever their size: many tiny ones are an attack, not an image.
_MANY_TILES, _TINY_TILE = 64, 256


@dataclass(frozen=True, slots=True)
class _Size:
    """The SIZ marker segment (T.800 A.5.1), as far as it matters; all components are alike."""

    rows: int
    columns: int
    components: int
    precision: int
    is_signed: bool


def decode_jpeg_2000(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """One frame of JPEG 2000 Part 1, or of Part 2 where it is decodable component by component.

    Raises CodecError, or RuntimeError or ValueError of the library.
    """
    return _decode(codestream, image, _MAX_PRECISION)


def decode_htj2k(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """One frame of HTJ2K. Raises CodecError, or RuntimeError or ValueError of the library."""
    return _decode(codestream, image, _MAX_HTJ2K_PRECISION)


def _decode(data: bytes, image: ImagePixel, max_precision: int) -> bytes:
    codestream = _without_boxes(data)
    size = _checked_size(codestream, image)
    if size.precision > max_precision:
        raise CodecError(f"JPEG 2000 of {size.precision} bits a sample cannot be decoded reliably")
    return native_frame(imagecodecs.jpeg2k_decode(codestream, numthreads=1), image, size.precision)


def _without_boxes(data: bytes) -> bytes:
    """The codestream; some writers wrap it into a JP2 file, which PS3.5 8.2.4 forbids."""
    if data.startswith(_START):
        return data
    position = 0
    while data.startswith(_JP2_SIGNATURE) and position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        header = 8
        if length == 1 and position + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, position + 8)
            header = 16
        elif length == 0:
            length = len(data) - position
        if length < header:
            break
        if kind == b"jp2c":
            inner = data[position + header : position + length]
            if inner.startswith(_START):
                return inner
            break
        position += length
    raise CodecError("the frame does not begin like a JPEG 2000 codestream")


def _checked_size(codestream: bytes, image: ImagePixel) -> _Size:
    if len(codestream) < 42:
        raise CodecError("the JPEG 2000 codestream has no readable header")
    x1, y1, x0, y0, tile_width, tile_height, tile_x, tile_y, components = struct.unpack_from(">8IH", codestream, 8)
    kinds = codestream[42 : 42 + 3 * components]
    if x1 <= x0 or y1 <= y0 or len(kinds) != 3 * components or not tile_width or not tile_height:
        raise CodecError("the JPEG 2000 codestream has a broken header")
    check_size(image, y1 - y0, x1 - x0, components)
    if kinds != kinds[:3] * components or kinds[1:3] != b"\x01\x01":
        raise CodecError("the components of the JPEG 2000 codestream are not alike")
    size = _Size(y1 - y0, x1 - x0, components, (kinds[0] & 0x7F) + 1, bool(kinds[0] & 0x80))
    check_precision(image, size.precision)
    tiles = -(-(x1 - tile_x) // tile_width) * -(-(y1 - tile_y) // tile_height)
    if tiles > _MANY_TILES and tiles * _TINY_TILE > size.rows * size.columns:
        raise CodecError("the JPEG 2000 codestream has too many tiles for its size")
    return size
