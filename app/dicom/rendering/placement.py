"""Where the displayed area of an image comes to lie in the output: cut, turned, flipped, scaled (PS3.3 C.10.4, C.10.6)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.parameters import MAX_OUTPUT_EDGE, MAX_OUTPUT_PIXELS, Viewport
from app.dicom.rendering.presentation_state import DisplayedArea
from app.dicom.rendering.region import fitted_size, resized
from app.errors import CodecError

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Placement:
    """output_width, output_height  of the whole displayed area, before it is cut to a viewport
    shown_width, shown_height    of what is left then; it begins at the top left
    """

    area: DisplayedArea
    output_width: int
    output_height: int
    shown_width: int
    shown_height: int

    @property
    def stroke(self) -> int:
        """Width of lines."""
        return max(1, round(min(self.output_width, self.output_height) / 512))

    def to_output(self, points: Points, *, is_display: bool = False) -> Points:
        """Points x 2 in pixels of the output, cut off far outside of it.

        points  column and row from the top left corner of the image's first pixel (PIXEL units), or fractions of the
                displayed area as it is shown (DISPLAY units)
        """
        if is_display:
            unit = points
        else:
            unit = (points - (self.area.left, self.area.top)) / (self.area.width, self.area.height)
            unit = self._turned(unit)
        return unit.clip(-1, 2) * (self.output_width, self.output_height)

    def _turned(self, unit: Points) -> Points:
        """Points of the unit square, turned and flipped as the area is."""
        x, y = unit[:, 0], unit[:, 1]
        for _ in range(self.area.rotation):
            x, y = 1 - y, x
        return np.stack([1 - x if self.area.flips else x, y], axis=-1)

    def place(self, pixels: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
        """The displayed area of an image, whose missing parts are background."""
        rows, columns = pixels.shape[:2]
        area = self.area
        left, top = max(0, area.left), max(0, area.top)
        right, bottom = min(columns, area.left + area.width), min(rows, area.top + area.height)
        shape = (self.output_height, self.output_width, *pixels.shape[2:])
        canvas = np.full(shape, background, np.uint8)
        if left < right and top < bottom:
            part = np.rot90(pixels[top:bottom, left:right], -area.rotation)
            if area.flips:
                part = part[:, ::-1]
            ends = self.to_output(np.array([(left, top), (right, bottom)], np.float64))
            (x0, y0), (x1, y1) = np.rint(ends.min(axis=0)).astype(int), np.rint(ends.max(axis=0)).astype(int)
            x1, y1 = min(max(x1, x0 + 1), self.output_width), min(max(y1, y0 + 1), self.output_height)
            if x0 < x1 and y0 < y1:
                is_scaled = (y1 - y0, x1 - x0) != part.shape[:2]
                canvas[y0:y1, x0:x1] = resized(part, int(x1 - x0), int(y1 - y0)) if is_scaled else part
        return canvas


def plan_placement(area: DisplayedArea, viewport: Viewport | None) -> Placement:
    """Sizes of the output (PS3.18 8.3.5.1.6): fitted into the viewport, or magnified and then cut to it.

    Raises CodecError when a presentation state asks for more pixels than anyone can look at.
    """
    width, height = float(area.width), area.height * area.aspect
    if area.rotation % 2:
        width, height = height, width
    if area.magnification is not None:
        width, height = width * area.magnification, height * area.magnification
    elif viewport is not None:
        size = fitted_size(width, height, viewport.width, viewport.height)
        return Placement(area, *size, *size)
    # Cut to a number that is still too large: infinity cannot be rounded.
    columns, rows = (max(1, round(min(edge, MAX_OUTPUT_EDGE + 1.0))) for edge in (width, height))
    if max(columns, rows) > MAX_OUTPUT_EDGE or columns * rows > MAX_OUTPUT_PIXELS:
        raise CodecError("the displayed area of the presentation state is too large to be rendered")
    if viewport is None:
        return Placement(area, columns, rows, columns, rows)
    return Placement(area, columns, rows, min(columns, viewport.width), min(rows, viewport.height))
