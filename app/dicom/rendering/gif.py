"""GIF (GIF89a): single images, and the frames of a multi-frame image one after the other."""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import CodecError

MAX_EDGE = 65535
_FOREVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_TRAILER = b"\x3b"
_HEADER_BYTES = 13
_IMAGE_SEPARATOR = 0x2C

Pixels = NDArray[np.uint8]


def encode_gif(frames: Iterable[Pixels], frame_time_ms: float | None = None) -> Iterator[bytes]:
    """The pieces of one file, a piece a frame: nobody holds all frames at once.

    frames         of one size; rows x columns of grey, exact, or rows x columns x 3 of RGB, exact for up to 256 colours
    frame_time_ms  of an animation, which repeats for ever; None = a single image

    Raises CodecError.
    """
    size: tuple[int, int] | None = None
    for pixels in frames:
        rows, columns = pixels.shape[:2]
        if size is None:
            size = (rows, columns)
            if max(size) > MAX_EDGE:
                raise CodecError(f"GIF images have at most {MAX_EDGE} pixels on an edge")
            # No global colour table: each frame has its own.
            yield b"GIF89a" + struct.pack("<HHBBB", columns, rows, 0x70, 0, 0)
            if frame_time_ms is not None:
                yield _FOREVER
        elif size != (rows, columns):
            raise CodecError("the frames of an animation are of one size")
        if frame_time_ms is not None:
            # Players take less than two hundredths of a second for a mistake.
            hundredths = max(2, round(min(frame_time_ms / 10, 65535.0)))
            yield b"\x21\xf9\x04\x04" + struct.pack("<H", hundredths) + b"\x00\x00"
        yield _image(pixels)
    if size is None:
        raise CodecError("an animation has at least one frame")
    yield _TRAILER


def _image(pixels: Pixels) -> bytes:
    """Image descriptor, local colour table and compressed pixels."""
    if pixels.ndim == 2:
        indices, colours = pixels, np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    else:
        indices, colours = _indexed(pixels)
    encoded = bytes(imagecodecs.gif_encode(np.ascontiguousarray(indices), colormap=colours))
    # Take the one image out of the library's file: its colour table is global, ours is local.
    table = 3 << ((encoded[10] & 7) + 1) if encoded[10] & 0x80 else 0
    start = _HEADER_BYTES + table
    while encoded[start] == 0x21:
        start = _behind_extension(encoded, start)
    if encoded[start] != _IMAGE_SEPARATOR or not table or encoded[-1:] != _TRAILER:
        raise CodecError("the GIF encoder wrote something else than one image")
    descriptor = encoded[start : start + 9] + bytes((0x80 | (encoded[10] & 7),))
    return descriptor + encoded[_HEADER_BYTES : _HEADER_BYTES + table] + encoded[start + 10 : -1]


def _behind_extension(encoded: bytes, start: int) -> int:
    at = start + 2
    while encoded[at]:
        at += 1 + encoded[at]
    return at + 1


def _indexed(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Indices and a table of 256 colours: exact when there are no more, else by median cut, with dithering."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    found = image.getcolors(256)
    colours = np.zeros((256, 3), np.uint8)
    if found is not None:
        used = np.array([colour for _, colour in found], np.uint8)
        colours[: len(used)] = used
        keys = _key(used)
        order = np.argsort(keys)
        return order[np.searchsorted(keys[order], _key(pixels))].astype(np.uint8), colours
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    table = np.array(reduced.getpalette() or [], np.uint8).reshape(-1, 3)
    colours[: len(table)] = table
    return np.asarray(reduced, np.uint8), colours


def _key(colours: Pixels) -> NDArray[np.uint32]:
    wide: NDArray[Any] = colours.astype(np.uint32)
    key: NDArray[np.uint32] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return key
