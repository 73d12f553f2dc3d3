"""Graphic annotations of a presentation state, drawn in the resolution of the output (PS3.3 C.10.5, C.10.7)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.cielab import Colour, read_colour
from app.dicom.rendering.lettering import draw_lines, fitting_font, lines_of, text_size
from app.dicom.rendering.placement import Placement

MAX_OBJECTS, MAX_POINTS = 2_000, 50_000
MAX_INK = 1 << 28  # pixels under all lines, crossings counted each time: two or three seconds of drawing
MAX_LETTERS = 20_000
_INK_OF_FILLING = 4  # as a width: what it takes to follow an edge from row to row
_GRAPHIC_LAYER_SEQUENCE, _TEXT_OBJECT_SEQUENCE, _GRAPHIC_OBJECT_SEQUENCE = "00700060", "00700008", "00700009"
_GRAPHIC_LAYER, _GRAPHIC_LAYER_ORDER, _UNITS, _ANCHOR_UNITS, _BOX_UNITS = (
    "00700002", "00700062", "00700005", "00700004", "00700003"
)  # fmt: skip
_CURVE_STEPS = 96
_FARTHEST = float(1 << 24)  # of a coordinate, as of displayed areas: what is computed of such numbers stays a number
WHITE: Colour = (255, 255, 255)

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Lines and text of one layer, in pixels of the output.

    lines  each an array of points x 2; a filled one is a polygon
    """

    colour: Colour
    lines: tuple[tuple[Points, bool], ...]
    texts: tuple["Lettering", ...]


@dataclass(frozen=True, slots=True)
class Lettering:
    """box  left, top, right, bottom; or None for text that begins at `anchor`"""

    lines: tuple[str, ...]
    box: tuple[float, float, float, float] | None
    anchor: tuple[float, float] | None
    shows_anchor: bool
    justification: str


def layer_colours(attributes: AttributeReader) -> Mapping[str, tuple[int, Colour]]:
    """Order and colour of each graphic layer, by name."""
    layers = {}
    for item in attributes.items(_GRAPHIC_LAYER_SEQUENCE)[:MAX_OBJECTS]:
        colour = read_colour(item, "00700401", "00700066") or WHITE
        layers[item.text(_GRAPHIC_LAYER)] = (item.integer(_GRAPHIC_LAYER_ORDER), colour)
    return layers


def read_drawings(
    annotations: Iterator[AttributeReader], layers: Mapping[str, tuple[int, Colour]], placement: Placement
) -> list[Drawing]:
    """The annotations of an image, lowest layer first. What is beyond one of the bounds above is left out."""
    drawings = []
    objects, points, ink, letters = MAX_OBJECTS, MAX_POINTS, float(MAX_INK), MAX_LETTERS
    for item in annotations:
        order, colour = layers.get(item.text(_GRAPHIC_LAYER), (0, WHITE))
        lines, texts = [], []
        for graphic in item.items(_GRAPHIC_OBJECT_SEQUENCE)[: max(0, objects)]:
            objects -= 1
            for line in _outlines(graphic, placement, points):
                points -= len(line[0])
                ink -= _ink(line, placement.stroke)
                if ink >= 0:
                    lines.append(line)
        for text in item.items(_TEXT_OBJECT_SEQUENCE)[: max(0, objects)]:
            objects -= 1
            lettering = _lettering(text, placement)
            if lettering is not None:
                letters -= sum(map(len, lettering.lines))
                if letters >= 0:
                    texts.append(lettering)
        drawings.append((order, Drawing(colour, tuple(lines), tuple(texts))))
        if min(objects, points, ink, letters) <= 0:
            break
    return [drawing for _, drawing in sorted(drawings, key=lambda pair: pair[0])]


def _ink(line: tuple[Points, bool], stroke: int) -> float:
    points, is_filled = line
    steps = np.diff(points, axis=0)
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum()) * (stroke + (_INK_OF_FILLING if is_filled else 0))


def _outlines(graphic: AttributeReader, placement: Placement, budget: int) -> Iterator[tuple[Points, bool]]:
    """The lines of one graphic object, in pixels of the output."""
    data = graphic.numbers("00700022")[: 2 * max(0, budget)]
    points = np.array(data[: len(data) // 2 * 2], np.float64).reshape(-1, 2).clip(-_FARTHEST, _FARTHEST)
    kind = graphic.text("00700023")
    if not len(points):
        return
    is_display = graphic.text(_UNITS) == "DISPLAY"
    if kind == "POINT":
        x, y = placement.to_output(points[:1], is_display=is_display)[0]
        size = max(2.0, placement.stroke * 3.0)
        yield np.array([(x - size, y), (x + size, y)]), False
        yield np.array([(x, y - size), (x, y + size)]), False
        return
    curve = points
    if kind == "INTERPOLATED":
        curve = _spline(points)
    elif kind in ("CIRCLE", "ELLIPSE"):
        round_one = _circle(points) if kind == "CIRCLE" else _ellipse(points)
        if round_one is None:
            return
        curve = round_one
    if len(curve) >= 2:
        yield placement.to_output(curve, is_display=is_display), graphic.text("00700024") == "Y"


def _circle(points: Points) -> Points | None:
    """Its centre and a point on it (C.10.5.2.3)."""
    if len(points) < 2:
        return None
    radius = float(np.hypot(*(points[1] - points[0])))
    angle = np.linspace(0, 2 * math.pi, _CURVE_STEPS + 1)
    circle: Points = points[0] + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return circle


def _ellipse(points: Points) -> Points | None:
    """The ends of its major and of its minor axis (C.10.5.2.4)."""
    if len(points) < 4:
        return None
    center = (points[0] + points[1]) / 2
    major, minor = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    angle = np.linspace(0, 2 * math.pi, _CURVE_STEPS + 1)[:, None]
    ellipse: Points = center + np.cos(angle) * major + np.sin(angle) * minor
    return ellipse


def _spline(points: Points) -> Points:
    """A smooth curve through all points (Catmull and Rom's); which curve it is the Standard leaves open."""
    if len(points) < 3 or len(points) > MAX_POINTS // 8:
        return points
    is_closed = bool((points[0] == points[-1]).all())
    before, after = (points[-2], points[1]) if is_closed else (points[0], points[-1])
    padded = np.vstack([before, points, after])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        cubic = 3 * b - 3 * c + d - a
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * cubic)))
    return np.vstack([*pieces, points[-1:]])


def _lettering(text: AttributeReader, placement: Placement) -> Lettering | None:
    lines = tuple(lines_of(text.text("00700006")))
    corners = text.numbers("00700010")[:2] + text.numbers("00700011")[:2]
    anchors = text.numbers("00700014")[:2]
    box = anchor = None
    if len(corners) == 4:
        is_display = text.text(_BOX_UNITS) == "DISPLAY"
        ends = placement.to_output(np.array(corners, np.float64).reshape(2, 2), is_display=is_display)
        (left, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
        box = (float(left), float(top), float(right), float(bottom))
    if len(anchors) == 2:
        is_display = text.text(_ANCHOR_UNITS) == "DISPLAY"
        x, y = placement.to_output(np.array([anchors], np.float64), is_display=is_display)[0]
        anchor = (float(x), float(y))
    if not any(lines) or (box is None and anchor is None):
        return None
    return Lettering(lines, box, anchor, text.text("00700015") == "Y", text.text("00700012"))


def draw(canvas: ImageDraw.ImageDraw, drawing: Drawing, placement: Placement) -> None:
    """Onto an image of mode L or RGB, in the size of the placement."""
    is_grey = canvas.mode == "L"
    ink: int | Colour = drawing.colour[0] if is_grey else drawing.colour
    red, green, blue = drawing.colour
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 96
    outline: int | Colour = (255 if dark else 0) if is_grey else (WHITE if dark else (0, 0, 0))
    for points, is_filled in drawing.lines:
        pairs = [(float(x), float(y)) for x, y in points]
        if is_filled and len(pairs) >= 3:
            canvas.polygon(pairs, fill=ink)
        canvas.line(pairs, fill=ink, width=placement.stroke)
    for text in drawing.texts:
        _draw_text(canvas, text, placement, ink, outline)


def _draw_text(
    canvas: ImageDraw.ImageDraw, text: Lettering, placement: Placement, ink: int | Colour, outline: int | Colour
) -> None:
    lines = list(text.lines)
    wanted = max(10, round(min(placement.output_width, placement.output_height) / 32))
    if text.box is None:
        if text.anchor is not None:
            font = fitting_font(lines, placement.output_width, placement.output_height, wanted)
            draw_lines(canvas, lines, font, text.anchor, ink=ink, outline=outline)
        return
    left, top, right, bottom = text.box
    font = fitting_font(lines, right - left, max(bottom - top, 1.0), 96)
    x = {"CENTER": (left + right) / 2, "RIGHT": right}.get(text.justification, left)
    draw_lines(canvas, lines, font, (x, top), ink=ink, outline=outline, justification=text.justification)
    if text.shows_anchor and text.anchor is not None:
        width, height = text_size(lines, font)
        near = (min(max(text.anchor[0], left), left + width), min(max(text.anchor[1], top), top + height))
        canvas.line([text.anchor, near], fill=ink, width=placement.stroke)
