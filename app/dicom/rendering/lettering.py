"""Text in images, in the one font that comes with Pillow (Aileron, CC0): ASCII; all else, accented letters too, becomes boxes."""

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from app.errors import CodecError

MAX_LINE_LENGTH = 128
MAX_LINES = 64
SMALLEST, LARGEST = 7, 96
_SPACING = 1.3  # of lines, in font sizes


@lru_cache(maxsize=32)
def font_of(size: int) -> FreeTypeFont:
    """The font at a size in pixels, within what is legible and what is affordable."""
    font = ImageFont.load_default(max(SMALLEST, min(size, LARGEST)))
    if not isinstance(font, FreeTypeFont):
        raise CodecError("text cannot be drawn here: FreeType is missing")
    return font


@lru_cache(maxsize=4096)
def _has_letter(character: str) -> bool:
    """Whether the font has a shape of its own for it, or none is needed."""
    font = font_of(SMALLEST)
    return character.isspace() or bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))


def lacks_letters(lines: list[str]) -> bool:
    """Whether boxes would stand for some of the characters."""
    return not all(map(_has_letter, {character for line in lines for character in line}))


def lines_of(text: str) -> list[str]:
    """Lines without control characters, bounded in length and number."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n", MAX_LINES)[:MAX_LINES]
    return [
        "".join(c for c in line[:MAX_LINE_LENGTH] if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
        for line in lines
    ]


def fitting_font(lines: list[str], width: float, height: float, wanted: int) -> FreeTypeFont:
    """The largest font up to `wanted` pixels in which the lines fit into a box, or the smallest there is."""
    font = font_of(wanted)
    widest = max((font.getlength(line) for line in lines), default=0.0)
    high = len(lines) * _SPACING * font.size
    shrink = min(1.0, width / widest if widest else 1.0, height / high if high else 1.0)
    return font_of(int(font.size * shrink)) if shrink < 1 else font


def text_size(lines: list[str], font: FreeTypeFont) -> tuple[float, float]:
    """Width and height in pixels."""
    return max((font.getlength(line) for line in lines), default=0.0), len(lines) * _SPACING * font.size


def draw_lines(
    draw: ImageDraw.ImageDraw,
    lines: list[str],
    font: FreeTypeFont,
    at: tuple[float, float],
    *,
    ink: int | tuple[int, int, int],
    outline: int | tuple[int, int, int] | None = None,
    justification: str = "LEFT",
) -> None:
    """Lines from the top of `at` on; its left edge, centre or right edge, by `justification`."""
    anchor = {"CENTER": "ma", "RIGHT": "ra"}.get(justification, "la")
    for number, line in enumerate(lines):
        position = (at[0], at[1] + number * _SPACING * font.size)
        width = 1 if outline is not None else 0
        draw.text(position, line, fill=ink, font=font, anchor=anchor, stroke_width=width, stroke_fill=outline)


def as_drawable(pixels: NDArray[np.uint8]) -> Image.Image:
    """A copy that can be drawn upon: mode L or RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels)).copy()
