"""One frame as its image asks for it to be shown: grayscale or RGB, 8 bits, in the size of its matrix."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.colour import Palette, read_palette, render_colour, render_palette
from app.dicom.rendering.functional_groups import frame_groups
from app.dicom.rendering.grayscale import GrayscaleTransform, render_grey, to_grey
from app.dicom.rendering.parameters import Window
from app.dicom.rendering.samples import SampleFormat, frame_words, real_samples, sample_format
from app.dicom.rendering.source import RenderingSource
from app.dicom.rendering.voi import image_transform
from app.errors import CodecError

Pixels = NDArray[np.uint8]

_PIXEL_PRESENTATION = "00089205"
# MR, CT, XA/XRF, PET and US Image Frame Type Sequences.
_FRAME_TYPE_SEQUENCES = ("00189226", "00189329", "00189412", "00189751", "00189806", "00189807")


def is_grayscale(source: RenderingSource) -> bool:
    """Whether the grayscale transformations apply: one sample a pixel, and no palette instead of them."""
    return source.image.samples_per_pixel == 1 and source.image.photometric_interpretation != "PALETTE COLOR"


def stored_frame(frame: bytes | memoryview, source: RenderingSource) -> tuple[NDArray[Any], SampleFormat | None]:
    """The samples of a frame, and how an integer stands in its word; None for real samples. Raises CodecError."""
    if source.has_real_samples:
        return real_samples(frame, source.image), None
    sample = sample_format(source.image)
    return frame_words(frame, source.image), sample


def render_image(
    frame: bytes | memoryview, source: RenderingSource, frame_number: int, window: Window | None = None
) -> Pixels:
    """rows x columns of grey, or rows x columns x 3 of RGB. Raises CodecError.

    window  replaces the VOI of a grayscale image; colours are shown as they are (PS3.3 C.11.2.1.2)
    """
    words, sample = stored_frame(frame, source)
    image, attributes = source.image, source.reader
    photometric = image.photometric_interpretation
    if image.samples_per_pixel in (3, 4) and sample is not None:
        return render_colour(words, sample, photometric)
    if image.samples_per_pixel != 1:
        raise CodecError(f"pixels of {image.samples_per_pixel} samples cannot be rendered")
    if photometric == "PALETTE COLOR" and sample is not None:
        palette = read_palette(attributes)
        if palette is None:
            raise CodecError("the palette of the image cannot be read")
        return render_palette(words, sample, palette)
    transform = image_transform(words, sample, attributes, frame_number, photometric, window)
    if sample is None:
        return to_grey(words, transform)
    supplemental = _supplemental_palette(attributes, frame_number)
    if supplemental is not None:
        return _with_supplemental(words, sample, transform, supplemental)
    return render_grey(words, sample, transform)


def _supplemental_palette(attributes: AttributeReader, frame_number: int) -> Palette | None:
    """The palette for part of the values of a grayscale image (PS3.3 C.7.6.19, C.8.16.2.1.1.1)."""
    if not attributes.has("00281101"):
        return None
    presentation = ""
    for group in frame_groups(attributes, frame_number):
        for tag in _FRAME_TYPE_SEQUENCES:
            macro = group.item(tag)
            presentation = presentation or (macro.text(_PIXEL_PRESENTATION) if macro is not None else "")
    presentation = presentation or attributes.text(_PIXEL_PRESENTATION)
    return read_palette(attributes) if presentation in ("COLOR", "MIXED") else None


def _with_supplemental(
    words: NDArray[Any], sample: SampleFormat, transform: GrayscaleTransform, palette: Palette
) -> Pixels:
    grey = render_grey(words, sample, transform)
    coloured = sample.stored_values(words) >= palette.first
    result = np.repeat(grey[..., None], 3, axis=-1)
    result[coloured] = palette.look_up(sample.stored_values(words)[coloured])
    return result
