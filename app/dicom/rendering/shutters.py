"""Display shutters: what of an image a presentation state hides (PS3.3 C.7.6.11, C.7.6.15)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.cielab import Colour, read_colour
from app.dicom.rendering.overlays import read_overlay

_SHAPE, _OVERLAY_GROUP = "00181600", "00181623"
_LEFT, _RIGHT, _UPPER, _LOWER = "00181602", "00181604", "00181606", "00181608"
_CENTER, _RADIUS, _VERTICES = "00181610", "00181612", "00181620"
_MAX_VERTICES = 10_000


def shutter_group(attributes: AttributeReader) -> int | None:
    """The overlay group that is a bitmap shutter."""
    if "BITMAP" not in _shapes(attributes):
        return None
    group = attributes.integer(_OVERLAY_GROUP, -1)
    return group if group >= 0 else None


def hidden_pixels(attributes: AttributeReader, rows: int, columns: int) -> NDArray[np.bool_] | None:
    """True where a pixel is hidden; None where there is no shutter. Several shapes hide what any of them hides."""
    hidden = np.zeros((rows, columns), np.bool_)
    shapes = _shapes(attributes)
    if "RECTANGULAR" in shapes:
        left, right, upper, lower = (attributes.number(tag) for tag in (_LEFT, _RIGHT, _UPPER, _LOWER))
        if left is not None and right is not None and upper is not None and lower is not None:
            x, y = np.arange(1, columns + 1), np.arange(1, rows + 1)[:, None]
            hidden |= (x < left) | (x > right) | (y < upper) | (y > lower)
    if "CIRCULAR" in shapes:
        center, radius = attributes.numbers(_CENTER), attributes.number(_RADIUS)
        if len(center) >= 2 and radius is not None:
            across, down = np.arange(1, columns + 1) - center[1], np.arange(1, rows + 1)[:, None] - center[0]
            hidden |= across * across + down * down > radius * radius
    if "POLYGONAL" in shapes:
        hidden |= _outside_polygon(attributes.numbers(_VERTICES)[: 2 * _MAX_VERTICES], rows, columns)
    group = shutter_group(attributes)
    overlay = read_overlay(attributes, group) if group is not None else None
    if overlay is not None:
        hidden |= overlay.on_image(rows, columns)
    return hidden if hidden.any() else None


def shutter_colour(attributes: AttributeReader) -> Colour:
    """What is shown in place of hidden pixels; black by default."""
    return read_colour(attributes, "00181624", "00181622") or (0, 0, 0)


def _shapes(attributes: AttributeReader) -> tuple[str, ...]:
    return tuple(shape.strip() for shape in attributes.texts(_SHAPE)[:4])


def _outside_polygon(vertices: tuple[float, ...], rows: int, columns: int) -> NDArray[np.bool_]:
    """Vertices are pairs of row and column, from 1; the edge itself is visible."""
    pairs = list(zip(vertices[1::2], vertices[0::2], strict=False))
    if len(pairs) < 3:
        return np.zeros((rows, columns), np.bool_)
    limit = 4 * max(rows, columns)
    points = [(min(max(x - 1, -limit), limit), min(max(y - 1, -limit), limit)) for x, y in pairs]
    inside = Image.new("L", (columns, rows), 0)
    ImageDraw.Draw(inside).polygon(points, fill=1, outline=1)
    outside: NDArray[np.bool_] = np.asarray(inside) == 0
    return outside
