"""Source region, flips and scaling of a viewport (PS3.18 8.3.5.1.3): geometry, and the resampling that it asks for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.dicom.rendering.parameters import MAX_OUTPUT_EDGE, MAX_OUTPUT_PIXELS, Viewport
from app.errors import InvalidParameter

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image and the size that it is shown in.

    left, top, right, bottom   in pixels of the source, from the edge of its first pixel
    width, height              of the output
    """

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int
    flips_horizontally: bool = False
    flips_vertically: bool = False


def fitted_size(width: float, height: float, viewport_width: int, viewport_height: int) -> tuple[int, int]:
    """The largest size of the same aspect that fits; at least one pixel each way."""
    scale = min(viewport_width / width, viewport_height / height)
    return (
        min(viewport_width, max(1, round(width * scale))),
        min(viewport_height, max(1, round(height * scale))),
    )


def plan_region(columns: int, rows: int, viewport: Viewport | None) -> Region:
    """What a viewport asks for of an image. Raises InvalidParameter when its source region lies outside of the image.

    A region that reaches beyond the image ends at its edge.
    """
    if viewport is None:
        return Region(0, 0, columns, rows, columns, rows)
    width = columns - viewport.x if viewport.region_width is None else viewport.region_width
    height = rows - viewport.y if viewport.region_height is None else viewport.region_height
    right, bottom = min(viewport.x + abs(width), columns), min(viewport.y + abs(height), rows)
    if right <= viewport.x or bottom <= viewport.y:
        raise InvalidParameter(f"the source region lies outside of the image of {columns} x {rows} pixels")
    size = fitted_size(right - viewport.x, bottom - viewport.y, viewport.width, viewport.height)
    return Region(viewport.x, viewport.y, right, bottom, *size, width < 0, height < 0)


def resample(pixels: Pixels, region: Region) -> Pixels:
    """rows x columns [x 3] of the output."""
    columns, rows = pixels.shape[1], pixels.shape[0]
    box = (region.left, region.top, region.right, region.bottom)
    is_whole = all(float(edge).is_integer() for edge in box)
    if is_whole and (region.right - region.left, region.bottom - region.top) == (region.width, region.height):
        left, top, right, bottom = (int(edge) for edge in box)
        result = pixels[top:bottom, left:right]
    else:
        result = resized(pixels, region.width, region.height, box if box != (0, 0, columns, rows) else None)
    if region.flips_horizontally:
        result = result[:, ::-1]
    if region.flips_vertically:
        result = result[::-1]
    return np.ascontiguousarray(result)


def resized(pixels: Pixels, width: int, height: int, box: tuple[float, float, float, float] | None = None) -> Pixels:
    """Bilinear when larger, averaging all pixels that fall together when smaller. Raises InvalidParameter when too large."""
    if max(width, height) > MAX_OUTPUT_EDGE or width * height > MAX_OUTPUT_PIXELS:
        raise InvalidParameter(f"rendered images have at most {MAX_OUTPUT_PIXELS} pixels, {MAX_OUTPUT_EDGE} on an edge")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0))
