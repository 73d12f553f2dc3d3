"""The front of rendering: a native frame in, a displayable image out (PS3.18 8.3.5.1)."""

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.annotation import annotate
from app.dicom.rendering.image_pixels import render_image
from app.dicom.rendering.parameters import RenderingParameters
from app.dicom.rendering.presentation import present_frame
from app.dicom.rendering.presentation_state import PresentationState
from app.dicom.rendering.region import plan_region, resample
from app.dicom.rendering.source import RenderingSource
from app.errors import InvalidParameter

_DEFAULT = RenderingParameters()


def render_frame(
    frame: bytes | memoryview,
    source: RenderingSource,
    frame_number: int = 1,
    parameters: RenderingParameters = _DEFAULT,
    presentation: PresentationState | None = None,
) -> NDArray[np.uint8]:
    """One frame as it is to be shown: rows x columns of grey, or rows x columns x 3 of RGB, 8 bits a sample.

    frame         native, little endian, as `source.image` describes it; 1-bit samples from the first bit on
    frame_number  from 1
    presentation  applied before the viewport; then neither a window nor a source region may be asked for (8.3.5.1.3, .4)

    Blocking and thread safe. Raises CodecError for pixels that cannot be shown, InvalidParameter.
    """
    if presentation is None:
        region = plan_region(source.image.columns, source.image.rows, parameters.viewport)
        pixels = resample(render_image(frame, source, frame_number, parameters.window), region)
    else:
        if parameters.window is not None:
            raise InvalidParameter("a presentation state has its own window")
        if parameters.viewport is not None and parameters.viewport.selects_region:
            raise InvalidParameter("a presentation state has its own displayed area")
        pixels = present_frame(frame, source, frame_number, parameters.viewport, presentation)
    return annotate(pixels, source.reader, frame_number, parameters.annotation) if parameters.annotation else pixels
