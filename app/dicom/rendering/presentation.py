"""A frame as a presentation state shows it: the transformations of PS3.4 N.2, in their order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from app.dicom.rendering.cielab import Colour
from app.dicom.rendering.colour import Palette
from app.dicom.rendering.graphics import WHITE, draw, layer_colours, read_drawings
from app.dicom.rendering.grayscale import GrayscaleTransform, display_fractions, render_grey, to_grey
from app.dicom.rendering.image_pixels import is_grayscale, render_image, stored_frame
from app.dicom.rendering.lettering import as_drawable
from app.dicom.rendering.overlays import GROUPS, Mask, read_overlay
from app.dicom.rendering.parameters import Viewport
from app.dicom.rendering.placement import plan_placement
from app.dicom.rendering.presentation_state import GRAPHIC_ANNOTATION_SEQUENCE, PresentationState
from app.dicom.rendering.samples import SampleFormat, in_blocks
from app.dicom.rendering.shutters import hidden_pixels, shutter_colour, shutter_group
from app.dicom.rendering.source import RenderingSource

Pixels = NDArray[np.uint8]


def present_frame(
    frame: bytes | memoryview,
    source: RenderingSource,
    frame_number: int,
    viewport: Viewport | None,
    state: PresentationState,
) -> Pixels:
    """rows x columns of grey, or x 3 of RGB where image, palette, shutter or annotations have colours. Raises CodecError."""
    uid, rows, columns = source.sop_instance_uid, source.image.rows, source.image.columns
    words: NDArray[Any] | None = None
    if is_grayscale(source):
        words, sample = stored_frame(frame, source)
        pixels = _grayscale(words, sample, uid, frame_number, state)
    else:
        pixels = render_image(frame, source, frame_number)
    hidden = hidden_pixels(state.attributes, rows, columns)
    colour = shutter_colour(state.attributes)
    if hidden is not None:
        pixels = _painted(pixels, hidden, colour)
    layers = layer_colours(state.attributes)
    for _, ink, mask in sorted(_overlays(source, frame_number, state, words, layers), key=lambda one: one[0]):
        pixels = _painted(pixels, mask, ink)

    placement = plan_placement(state.displayed_area(uid, frame_number, columns, rows), viewport)
    result = placement.place(pixels, 0)
    annotations = state.items_for(GRAPHIC_ANNOTATION_SEQUENCE, uid, frame_number)
    drawings = read_drawings(annotations, layers, placement)
    if drawings:
        if any(not _is_grey(drawing.colour) for drawing in drawings):
            result = _as_rgb(result)
        image = as_drawable(result)
        canvas = ImageDraw.Draw(image)
        for drawing in drawings:
            draw(canvas, drawing, placement)
        result = np.asarray(image)
    return np.ascontiguousarray(result[: placement.shown_height, : placement.shown_width])


def _grayscale(
    words: NDArray[Any], sample: SampleFormat | None, uid: str, frame_number: int, state: PresentationState
) -> Pixels:
    finite = words[np.isfinite(words)] if sample is None else words[:0]
    real_range = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    transform = state.grayscale(sample, uid, frame_number, real_range)
    palette = state.palette
    if palette is not None:
        return in_blocks(words, lambda block: _pseudo_colours(block, sample, transform, palette), channels=3)
    return to_grey(words, transform) if sample is None else render_grey(words, sample, transform)


def _pseudo_colours(
    words: NDArray[Any], sample: SampleFormat | None, transform: GrayscaleTransform, palette: Palette
) -> Pixels:
    """The output of the presentation step, spread over the whole palette (PS3.3 A.33.3)."""
    stored = words if sample is None else sample.stored_values(words)
    index = np.floor(np.nan_to_num(display_fractions(stored, transform)) * (len(palette.colours) - 1) + 0.5)
    return palette.colours.take(index.astype(np.intp), axis=0)


def _overlays(
    source: RenderingSource,
    frame_number: int,
    state: PresentationState,
    words: NDArray[Any] | None,
    layers: Mapping[str, tuple[int, Colour]],
) -> list[tuple[int, Colour, Mask]]:
    """Overlay planes that the state activates, its own before those of the image (PS3.3 C.11.7)."""
    found = []
    for group in GROUPS:
        layer = state.attributes.text(f"{group:04X}1001")
        if not layer or group == shutter_group(state.attributes):
            continue
        overlay = read_overlay(state.attributes, group, frame_number)
        if overlay is None:
            overlay = read_overlay(source.reader, group, frame_number, words)
        if overlay is not None:
            order, colour = layers.get(layer, (0, WHITE))
            found.append((order, colour, overlay.on_image(source.image.rows, source.image.columns)))
    return found


def _painted(pixels: Pixels, mask: Mask, colour: Colour) -> Pixels:
    """A copy with the marked pixels in a colour."""
    if pixels.ndim == 2 and _is_grey(colour):
        return np.where(mask, np.uint8(colour[0]), pixels)
    result = _as_rgb(pixels).copy()
    result[mask] = colour
    return result


def _as_rgb(pixels: Pixels) -> Pixels:
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else pixels


def _is_grey(colour: Colour) -> bool:
    return colour[0] == colour[1] == colour[2]
