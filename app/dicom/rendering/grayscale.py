"""The grayscale transformations: modality, VOI, presentation (PS3.3 C.11.1, C.11.2, C.11.6; PS3.4 N.2.1).

Integers of up to 16 bits go through one table that combines all steps, whatever the size of the image; other samples are
computed one by one.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.lookup_tables import LookupTable, Values
from app.dicom.rendering.parameters import VoiFunction, Window
from app.dicom.rendering.samples import SampleFormat, all_words, in_blocks, look_up_words

Grey = NDArray[np.uint8]
WHITE = 255


@dataclass(frozen=True, slots=True)
class Rescale:
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        return self.slope == 1.0 and self.intercept == 0.0


@dataclass(frozen=True, slots=True)
class ValueRange:
    """All values from `low` to `high`, linearly; what a VOI is where none is given."""

    low: float
    high: float


Modality = Rescale | LookupTable
Voi = Window | LookupTable | ValueRange


@dataclass(frozen=True, slots=True)
class GrayscaleTransform:
    """presentation  applied to the output of the VOI step
    inverts       at the end: MONOCHROME1, or Presentation LUT Shape INVERSE
    """

    modality: Modality
    voi: Voi
    presentation: LookupTable | None = None
    inverts: bool = False


def modality_values(stored: NDArray[Any], modality: Modality) -> Values:
    values = stored.astype(np.float64)
    if isinstance(modality, LookupTable):
        return modality.look_up(values)
    if not modality.is_identity:
        with np.errstate(over="ignore", invalid="ignore"):
            values *= modality.slope
            values += modality.intercept
    return values


def windowed(values: Values, window: Window) -> Values:
    """Output from 0.0 to 1.0 (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2)."""
    center, width = window.center, window.width
    if window.function is VoiFunction.SIGMOID:
        exponent = (-4.0 / width) * (values - center)
        result: Values = 1.0 / (1.0 + np.exp(exponent.clip(-700, 700)))
        return result
    if window.function is VoiFunction.LINEAR:
        center, width = center - 0.5, width - 1.0
    if width == 0.0:
        return (values > center).astype(np.float64)
    return ((values - center) / width + 0.5).clip(0.0, 1.0)


def _voi_values(values: Values, voi: Voi) -> Values:
    if isinstance(voi, Window):
        return windowed(values, voi)
    if isinstance(voi, LookupTable):
        return voi.look_up(values) / voi.maximum
    if voi.high <= voi.low:
        return np.zeros_like(values)
    return ((values - voi.low) / (voi.high - voi.low)).clip(0.0, 1.0)


def display_fractions(stored: NDArray[Any], transform: GrayscaleTransform) -> Values:
    """Stored values, integer or real, to 0.0 (black) to 1.0 (white)."""
    with np.errstate(over="ignore", invalid="ignore"):
        result = _voi_values(modality_values(stored, transform.modality), transform.voi)
    if transform.presentation is not None:
        result = transform.presentation.look_up_fraction(result)
    return 1.0 - result if transform.inverts else result


def to_grey(stored: NDArray[Any], transform: GrayscaleTransform) -> Grey:
    """Stored values, integer or real, to 0 (black) to 255 (white); what is not a number is black."""
    return in_blocks(stored, lambda block: _to_grey(block, transform))


def _to_grey(stored: NDArray[Any], transform: GrayscaleTransform) -> Grey:
    fractions = np.nan_to_num(display_fractions(stored, transform), nan=0.0)
    return np.floor(fractions * WHITE + 0.5).astype(np.uint8)


@lru_cache(maxsize=32)
def grey_table(sample: SampleFormat, transform: GrayscaleTransform) -> Grey:
    """The grey of every possible word: many frames of one series are rendered alike."""
    table = _to_grey(sample.stored_values(all_words(sample)), transform)
    table.setflags(write=False)
    return table


def render_grey(words: NDArray[Any], sample: SampleFormat, transform: GrayscaleTransform) -> Grey:
    """The grey of each word of a frame."""
    if sample.is_tabulated:
        return look_up_words(grey_table(sample, transform), words)
    return in_blocks(words, lambda block: _to_grey(sample.stored_values(block), transform))
