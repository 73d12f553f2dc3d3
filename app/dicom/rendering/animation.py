"""Multi-frame images as one file that plays."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from app.dicom.instance import DicomJson
from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.gif import encode_gif
from app.dicom.rendering.media_types import ANIMATION_MEDIA_TYPES
from app.errors import NotAcceptable

_DEFAULT_FRAME_TIME = 100.0  # milliseconds


def frame_time(attributes: DicomJson) -> float:
    """Milliseconds from one frame to the next (PS3.3 C.7.6.5): what is recommended for display, else as acquired."""
    reader = AttributeReader(attributes)
    recommended = reader.number("00082144") or reader.number("00180040")  # frames per second
    if recommended is not None and recommended > 0:
        return 1000.0 / recommended
    stored = reader.number("00181063")
    if stored is not None and stored > 0:
        return stored
    vector = [time for time in reader.numbers("00181065")[1:] if time > 0]
    return sum(vector) / len(vector) if vector else _DEFAULT_FRAME_TIME


def encode_animation(
    frames: Iterable[NDArray[np.uint8]], media_type: str, frame_time_ms: float = _DEFAULT_FRAME_TIME
) -> Iterator[bytes]:
    """The pieces of one file, a piece at a time while frames come in. Raises NotAcceptable, CodecError."""
    if media_type not in ANIMATION_MEDIA_TYPES:
        raise NotAcceptable(f"multi-frame images cannot be rendered as {media_type[:80]}")
    return encode_gif(frames, frame_time_ms)
