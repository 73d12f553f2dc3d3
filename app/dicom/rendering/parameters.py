"""What a user agent may ask of a rendering (PS3.18 8.3.5), as values."""

import math
from dataclasses import dataclass
from enum import StrEnum

from app.errors import InvalidParameter

MAX_OUTPUT_PIXELS = 1 << 26  # of one rendered image: 8,192 pixels square
MAX_OUTPUT_EDGE = 32768
PATIENT, TECHNIQUE = "patient", "technique"
SUPPORTED_ANNOTATIONS = (PATIENT, TECHNIQUE)


class VoiFunction(StrEnum):
    """PS3.18 8.3.5.1.4; the values of VOI LUT Function (0028,1056) in lower case, with hyphens."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


class IccProfileChoice(StrEnum):
    """PS3.18 8.3.5.1.5."""

    NO = "no"
    YES = "yes"
    SRGB = "srgb"
    ADOBERGB = "adobergb"
    ROMMRGB = "rommrgb"


@dataclass(frozen=True, slots=True)
class Window:
    """In units of the modality LUT's output. Raises InvalidParameter where PS3.3 C.11.2.1.2 and C.11.2.1.3 do."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and math.isfinite(self.width)):
            raise InvalidParameter("window center and width are finite numbers")
        if self.function is VoiFunction.LINEAR and self.width < 1:
            raise InvalidParameter("the width of a linear window is 1 or more")
        if self.width <= 0:
            raise InvalidParameter("the width of a window is more than 0")


@dataclass(frozen=True, slots=True)
class Viewport:
    """PS3.18 8.3.5.1.3. Raises InvalidParameter for sizes that cannot be had.

    width, height                of the viewport, in pixels; the image fits inside
    x, y                         top left corner of the source region, in pixels of the image, from 0
    region_width, region_height  of the source region; None = to the edge of the image, negative = flipped
    """

    width: int
    height: int
    x: float = 0.0
    y: float = 0.0
    region_width: float | None = None
    region_height: float | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidParameter("viewport width and height are positive integers")
        if max(self.width, self.height) > MAX_OUTPUT_EDGE or self.width * self.height > MAX_OUTPUT_PIXELS:
            raise InvalidParameter(f"viewports have at most {MAX_OUTPUT_PIXELS} pixels, {MAX_OUTPUT_EDGE} on an edge")
        if not (0 <= self.x < math.inf and 0 <= self.y < math.inf):
            raise InvalidParameter("the source region of a viewport begins inside of the image")
        for size in (self.region_width, self.region_height):
            if size is not None and not 0 < abs(size) < math.inf:
                raise InvalidParameter("the source region of a viewport is not empty")

    @property
    def selects_region(self) -> bool:
        """Whether there is more than a size: not allowed for presentation states and thumbnails (8.3.5.1.3, 8.3.5.2)."""
        return bool(self.x or self.y) or self.region_width is not None or self.region_height is not None


@dataclass(frozen=True, slots=True)
class RenderingParameters:
    """annotation  of `patient` and `technique`; others are ignored (8.3.5.1.1)
    quality     1 to 100; None = the encoder's own choice
    """

    annotation: tuple[str, ...] = ()
    quality: int | None = None
    viewport: Viewport | None = None
    window: Window | None = None
    iccprofile: IccProfileChoice | None = None

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise InvalidParameter("quality is an integer from 1 to 100")
