"""What is drawn for an instance without pixels: never with what identifies the patient."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.dicom.rendering.lettering import draw_lines, fitting_font, lines_of
from app.dicom.rendering.parameters import Viewport
from app.dicom.rendering.region import fitted_size
from app.dicom.rendering.thumbnail import thumbnail_viewport

_PAPER, _INK, _GROUND = 232, 40, 32


def stock_thumbnail(label: str, viewport: Viewport | None = None) -> NDArray[np.uint8]:
    """A sheet of paper with a word on it, for what has no pixels: `SR`, `PDF`, `ECG`. Grey, three quarters as wide as high."""
    size = thumbnail_viewport(viewport)
    width, height = fitted_size(3, 4, size.width, size.height)
    image = Image.new("L", (width, height), _GROUND)
    draw = ImageDraw.Draw(image)
    margin, fold = round(min(width, height) * 0.08), round(min(width, height) * 0.2)
    right, bottom = width - 1 - margin, height - 1 - margin
    outline = [(margin, margin), (right - fold, margin), (right, margin + fold), (right, bottom), (margin, bottom)]
    draw.polygon(outline, fill=_PAPER)
    draw.line([(right - fold, margin), (right - fold, margin + fold), (right, margin + fold)], fill=_INK)
    lines = lines_of(label[:16])
    inner = max(1, right - margin)
    font = fitting_font(lines, inner * 0.8, height * 0.3, max(8, round(height / 5)))
    draw_lines(draw, lines, font, (width / 2, height * 0.45), ink=_INK, justification="CENTER")
    return np.asarray(image)
