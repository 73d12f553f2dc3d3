"""Which transformation an image asks for: its modality LUT, its first window or VOI LUT, its range where it has none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.functional_groups import (
    FRAME_VOI_LUT_SEQUENCE,
    PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
    frame_macro,
)
from app.dicom.rendering.grayscale import (
    GrayscaleTransform,
    Modality,
    Rescale,
    ValueRange,
    Voi,
    modality_values,
)
from app.dicom.rendering.lookup_tables import LookupTable, read_lookup_table
from app.dicom.rendering.parameters import VoiFunction, Window
from app.dicom.rendering.samples import SampleFormat
from app.errors import InvalidParameter

MODALITY_LUT_SEQUENCE = "00283000"
VOI_LUT_SEQUENCE = "00283010"
_RESCALE_INTERCEPT, _RESCALE_SLOPE = "00281052", "00281053"
_WINDOW_CENTER, _WINDOW_WIDTH, _VOI_LUT_FUNCTION = "00281050", "00281051", "00281056"
_PIXEL_PADDING_VALUE, _PIXEL_PADDING_RANGE_LIMIT = "00280120", "00280121"
_PRESENTATION_LUT_SHAPE = "20500020"
_SOP_CLASS_UID, _SEGMENTATION_TYPE, _MAXIMUM_FRACTIONAL_VALUE = "00080016", "00620001", "0062000E"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def read_modality(item: AttributeReader) -> Modality | None:
    """Modality LUT Sequence, or Rescale Slope and Intercept; None where there is neither (PS3.3 C.11.1)."""
    table = read_lookup_table(item.item(MODALITY_LUT_SEQUENCE))
    if table is not None:
        return table
    slope, intercept = item.number(_RESCALE_SLOPE), item.number(_RESCALE_INTERCEPT)
    if slope is None and intercept is None:
        return None
    # A slope of 0 would make every image black: it is written by those who have none.
    return Rescale(slope or 1.0, intercept or 0.0)


def read_voi(item: AttributeReader, *, is_real: bool = False) -> Voi | None:
    """The first VOI LUT, else the first window that can be used; None where there is neither (PS3.3 C.11.2).

    is_real  the window is for real samples, not for integers
    """
    return read_lookup_table(item.item(VOI_LUT_SEQUENCE)) or _read_window(item, is_real)


def _read_window(item: AttributeReader, is_real: bool) -> Window | None:
    name = item.text(_VOI_LUT_FUNCTION).upper().replace("_", "-").lower()
    function = VoiFunction(name) if name in list(VoiFunction) else VoiFunction.LINEAR
    for center, width in zip(item.numbers(_WINDOW_CENTER), item.numbers(_WINDOW_WIDTH), strict=False):
        if function is VoiFunction.LINEAR and (0 < width < 1 or (width == 1 and is_real)):
            # LINEAR counts integers (C.11.2.1.2.1): it makes no sense here, and what the writer means is clear.
            function = VoiFunction.LINEAR_EXACT
        try:
            return Window(center, width, function)
        except InvalidParameter:
            continue
    return None


def image_transform(
    words: NDArray[Any],
    sample: SampleFormat | None,
    attributes: AttributeReader,
    frame_number: int,
    photometric_interpretation: str,
    window: Window | None,
) -> GrayscaleTransform:
    """What a frame of an image asks for by itself.

    words   of the frame, as stored; real samples when `sample` is None
    window  asked for by the user agent; it replaces the image's own VOI
    """
    modality = read_modality(frame_macro(attributes, frame_number, PIXEL_VALUE_TRANSFORMATION_SEQUENCE))
    voi: Voi | None = window or read_voi(
        frame_macro(attributes, frame_number, FRAME_VOI_LUT_SEQUENCE), is_real=sample is None
    )
    if voi is None:
        voi = _default_range(words, sample, attributes, modality or Rescale())
    inverts = photometric_interpretation == "MONOCHROME1" or attributes.text(_PRESENTATION_LUT_SHAPE) == "INVERSE"
    return GrayscaleTransform(modality or Rescale(), voi, None, inverts)


def full_range(sample: SampleFormat, modality: Modality) -> ValueRange:
    """All that the modality LUT may put out (PS3.4 N.2.1.2: the VOI of a presentation state that has none)."""
    if isinstance(modality, LookupTable):
        return ValueRange(0, modality.maximum)
    low = -(1 << (sample.bits_stored - 1)) if sample.is_signed else 0
    ends = modality_values(np.array([low, low + (1 << sample.bits_stored) - 1]), modality)
    return ValueRange(float(ends.min()), float(ends.max()))


def _default_range(
    words: NDArray[Any], sample: SampleFormat | None, attributes: AttributeReader, modality: Modality
) -> ValueRange:
    """The range of an image that says nothing of it.

    Values of up to 8 bits are what a screen shows, and are left as they are: stretching them would change screenshots, and
    make frames of a film flicker. Everything else is stretched from its smallest to its largest value, but for padding.
    """
    is_segmentation = attributes.text(_SOP_CLASS_UID) in _SEGMENTATIONS
    if is_segmentation and words.dtype.itemsize <= 2:
        largest = int(words.max(initial=1))
        if attributes.text(_SEGMENTATION_TYPE) == "FRACTIONAL":
            largest = attributes.integer(_MAXIMUM_FRACTIONAL_VALUE) or largest
        return ValueRange(0, largest)
    plain = isinstance(modality, Rescale) and modality.is_identity
    if sample is not None and plain and sample.bits_stored <= 8 and not sample.is_signed:
        return full_range(sample, modality)
    if sample is None:
        finite = words[np.isfinite(words)]
        stored: NDArray[Any] = _without_padding(finite, attributes, None)
    else:
        stored = _without_padding(sample.stored_values(words), attributes, sample)
    if not stored.size:
        return ValueRange(0, 1)
    if isinstance(modality, LookupTable):
        outputs = modality.look_up(np.unique(stored).astype(np.float64))
    else:
        outputs = modality_values(np.array([stored.min(), stored.max()]), modality)
    return ValueRange(float(outputs.min()), float(outputs.max()))


def _without_padding(stored: NDArray[Any], attributes: AttributeReader, sample: SampleFormat | None) -> NDArray[Any]:
    """Values that are neither Pixel Padding Value nor within its range (PS3.3 C.7.5.1.1.2); all where nothing is left."""
    padding = attributes.number(_PIXEL_PADDING_VALUE)
    if padding is None:
        return stored
    ends = [padding, attributes.number(_PIXEL_PADDING_RANGE_LIMIT)]
    limits = [_as_stored(end, sample) for end in ends if end is not None]
    kept = stored[(stored < min(limits)) | (stored > max(limits))]
    return kept if kept.size else stored


def _as_stored(value: float, sample: SampleFormat | None) -> float:
    """A value written with the sign that the pixels do not have, or without the one that they have."""
    if sample is None:
        return value
    span = 1 << sample.bits_allocated
    if sample.is_signed and value >= span // 2:
        return value - span
    return value + span if value < 0 and not sample.is_signed else value
