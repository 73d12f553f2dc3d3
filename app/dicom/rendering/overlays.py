"""Overlay planes, repeating group 60xx (PS3.3 C.9.2): where they lie and which pixels they mark."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.attribute_reader import AttributeReader

GROUPS = tuple(range(0x6000, 0x6020, 2))
MAX_OVERLAY_PIXELS = 1 << 26

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Overlay:
    """bits         overlay rows x columns, True where it marks
    row, column  of the image pixel under its first one, from 0; may be negative
    """

    bits: Mask
    row: int
    column: int

    def on_image(self, rows: int, columns: int) -> Mask:
        """The marks on an image of this size; what lies beside it is lost."""
        mask = np.zeros((rows, columns), np.bool_)
        top, left = max(0, self.row), max(0, self.column)
        bottom = min(rows, self.row + self.bits.shape[0])
        right = min(columns, self.column + self.bits.shape[1])
        if top < bottom and left < right:
            part = self.bits[top - self.row : bottom - self.row, left - self.column : right - self.column]
            mask[top:bottom, left:right] = part
        return mask


def read_overlay(
    attributes: AttributeReader, group: int, frame_number: int = 1, words: NDArray[Any] | None = None
) -> Overlay | None:
    """The plane of one group for one frame; None where there is none that can be used.

    words  of the image's frame: planes without Overlay Data stand in unused bits of the pixels (retired, PS3.5 8.1.2)
    """
    prefix = f"{group:04X}"
    rows, columns = attributes.integer(f"{prefix}0010"), attributes.integer(f"{prefix}0011")
    if rows <= 0 or columns <= 0 or rows * columns > MAX_OVERLAY_PIXELS:
        return None
    origin = attributes.numbers(f"{prefix}0050")
    row, column = (int(origin[0]) - 1, int(origin[1]) - 1) if len(origin) >= 2 else (0, 0)
    data = attributes.binary(f"{prefix}3000")
    if data is None:
        return _embedded(attributes, prefix, rows, columns, words)
    frames = max(1, attributes.integer(f"{prefix}0015", 1))
    first = attributes.integer(f"{prefix}0051", 1)  # Image Frame Origin
    number = frame_number - first if frames > 1 else 0
    if not 0 <= number < frames:
        return None
    start, count = number * rows * columns, rows * columns
    if len(data) * 8 < start + count:
        return None
    octets = np.frombuffer(data, np.uint8)[start // 8 : (start + count + 7) // 8]
    bits = np.unpackbits(octets, bitorder="little")[start % 8 : start % 8 + count]
    return Overlay(bits.reshape(rows, columns).astype(np.bool_), row, column)


def _embedded(
    attributes: AttributeReader, prefix: str, rows: int, columns: int, words: NDArray[Any] | None
) -> Overlay | None:
    position = attributes.integer(f"{prefix}0102", -1)
    if words is None or words.shape != (rows, columns) or not 0 <= position < 8 * words.dtype.itemsize:
        return None
    return Overlay((words >> words.dtype.type(position) & words.dtype.type(1)).astype(np.bool_), 0, 0)
