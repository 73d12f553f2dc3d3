"""PNG and GIF as native frames, nothing lost but alpha (PS3.18 10.5.2: these two are transformed, not encapsulated).

Grey stays grey, palettes become RGB, animations become frames; 1, 2 and 4 bits are scaled to 8 by the PNG specification. Sizes are
read and judged before anything is decompressed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.stream_headers.description import UnusableStream, check_size

MAX_GIF_IMAGES = 10_000
_MAX_RESTORING_IMAGES = 256
_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # by PNG colour type, palettes with their transparency
_RESTORE = 3  # GIF disposal: what was there before the image
_BACKGROUND = 2
_LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class RasterImage:
    """data  native frames, little endian, colour by pixel; samples 1 (grey) or 3 (RGB); bits 8 or 16"""

    data: bytes
    rows: int
    columns: int
    samples: int
    bits: int
    frames: int


def decode_raster(data: memoryview, media_type: str, *, max_bytes: int, grey: bool = False) -> RasterImage:
    """media_type  image/png or image/gif, as the bytes say
    max_bytes   of the decoded image, alpha included
    grey        give an RGB image whose channels are alike as one sample per pixel

    Blocking. Raises UnusableStream.
    """
    is_png = media_type == "image/png"
    size = _png_size(data) if is_png else _gif_size(data)
    if max(size, len(data)) > max_bytes:
        raise UnusableStream(f"the image has {max(size, len(data))} bytes, this archive decodes up to {max_bytes}")
    try:
        pixels = imagecodecs.png_decode(bytes(data)) if is_png else _gif_frames(data)
    except _LIBRARY_ERRORS:
        raise UnusableStream(f"the {media_type} part cannot be decoded") from None
    return _raster(pixels if not is_png else pixels[np.newaxis], grey=grey)


def _raster(pixels: NDArray[Any], *, grey: bool) -> RasterImage:
    """pixels: frames x rows x columns [x channels]."""
    if pixels.ndim == 4 and pixels.shape[3] in (2, 4):
        pixels = pixels[..., :-1]  # alpha
    if pixels.ndim == 4 and pixels.shape[3] == 3 and grey and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnusableStream("the image has samples that are neither of 8 nor of 16 bits")
    frames, rows, columns = pixels.shape[:3]
    samples = pixels.shape[3] if pixels.ndim == 4 else 1
    check_size(rows, columns)
    bits = 8 * pixels.dtype.itemsize
    return RasterImage(pixels.astype(f"<u{bits // 8}", copy=False).tobytes(), rows, columns, samples, bits, frames)


def _png_size(data: memoryview) -> int:
    if len(data) < 33 or bytes(data[12:16]) != b"IHDR":
        raise UnusableStream("the PNG image has no header")
    columns, rows, depth, kind = struct.unpack_from(">IIBB", data, 16)
    check_size(rows, columns)
    if kind not in _CHANNELS:
        raise UnusableStream("the PNG image has an unknown colour type")
    return int(rows * columns * _CHANNELS[kind] * (2 if depth == 16 else 1))


@dataclass(frozen=True, slots=True)
class _GifImage:
    """One image descriptor with its graphic control and the colour table that counts for it."""

    left: int
    top: int
    width: int
    height: int
    disposal: int
    transparent: int  # palette index, -1 for none
    palette: int  # offset of its colour table
    colours: int


def _gif_size(data: memoryview) -> int:
    columns, rows = struct.unpack_from("<2H", data, 6) if len(data) >= 13 else (0, 0)
    check_size(rows, columns)
    count = sum(1 for _ in _gif_images(data))
    if not count:
        raise UnusableStream("the GIF file holds no image")
    return int(rows * columns * 4 * count)


def _gif_images(data: memoryview) -> Iterator[_GifImage]:
    """Each image of a GIF file (GIF89a sections 17 to 26). Raises UnusableStream."""
    size, count, disposal, transparent = len(data), 0, 0, -1
    everywhere = _colour_table(data[10])
    position = 13 + everywhere
    while position < size and data[position] != 0x3B:  # trailer
        kind = data[position]
        if kind == 0x21 and position + 3 <= size:
            if data[position + 1] == 0xF9 and position + 8 <= size:
                disposal = data[position + 3] >> 2 & 7
                transparent = data[position + 6] if data[position + 3] & 1 else -1
            position = _behind_blocks(data, position + 2)
        elif kind == 0x2C and position + 11 <= size:
            left, top, width, height = struct.unpack_from("<4H", data, position + 1)
            own = _colour_table(data[position + 9])
            count += 1
            if count > MAX_GIF_IMAGES:
                raise UnusableStream(f"the GIF file holds more than {MAX_GIF_IMAGES} images")
            palette, length = (position + 10, own) if own else (13, everywhere)
            if palette + length > size:
                raise UnusableStream("the GIF file is broken")
            yield _GifImage(left, top, width, height, disposal, transparent, palette, length // 3)
            disposal, transparent = 0, -1
            position = _behind_blocks(data, position + 11 + own)
        else:
            raise UnusableStream("the GIF file is broken")


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: memoryview, position: int) -> int:
    while position < len(data) and data[position]:
        position += 1 + data[position]
    return position + 1


def _gif_frames(data: memoryview) -> NDArray[Any]:
    """Every image as it is seen when its turn comes: frames x rows x columns x channels."""
    images = list(_gif_images(data))
    if any(image.disposal == _RESTORE for image in images[:-1]):
        return _restored_frames(data, images)
    pixels: NDArray[Any] = imagecodecs.gif_decode(bytes(data))
    return pixels if len(images) > 1 else pixels.reshape(1, *pixels.shape)


def _restored_frames(data: memoryview, images: list[_GifImage]) -> NDArray[Any]:
    """The library does not know how to bring back what was there before an image: then images are laid over each other here."""
    if len(images) > _MAX_RESTORING_IMAGES:
        raise UnusableStream(
            f"the GIF file holds more than {_MAX_RESTORING_IMAGES} images of which some are taken back"
        )
    columns, rows = struct.unpack_from("<2H", data, 6)
    whole = bytes(data)
    canvas = np.zeros((rows, columns, 3), np.uint8)
    frames = np.empty((len(images), rows, columns, 3), np.uint8)
    for number, image in enumerate(images):
        area = np.s_[image.top : image.top + image.height, image.left : image.left + image.width]
        own = imagecodecs.gif_decode(whole, index=number, asrgb=False)[area]
        palette = np.zeros((256, 3), np.uint8)
        palette[: image.colours] = np.frombuffer(data, np.uint8, 3 * image.colours, image.palette).reshape(-1, 3)
        before = canvas.copy()
        canvas[area] = np.where((own == image.transparent)[..., np.newaxis], canvas[area], palette[own])
        frames[number] = canvas
        if image.disposal == _RESTORE:
            canvas = before
        elif image.disposal == _BACKGROUND:
            canvas[area] = 0
    return frames
