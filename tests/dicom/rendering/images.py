"""Images made by hand: samples in, what rendering takes out."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.dicom.layout import ImagePixel
from app.dicom.rendering import RenderingParameters, RenderingSource, render_frame
from app.dicom.rendering.presentation_state import PresentationState

SOP_INSTANCE_UID = "1.2.3.4"


def json_of(**attributes: Any) -> dict[str, Any]:
    """DICOM JSON by keyword: a value, a list of values, or a list of mappings for a sequence. bytes become InlineBinary."""
    result = {}
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        result[f"{tag:08X}"] = element_of(dictionary_VR(tag).split(" or ")[0], value)
    return result


def element_of(vr: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        return {"vr": "OW" if vr == "US" else vr, "InlineBinary": base64.b64encode(value).decode()}
    values = value if isinstance(value, list) else [value]
    if vr == "SQ":
        values = [json_of(**item) for item in values]
    if vr == "PN":
        values = [{"Alphabetic": name} for name in values]
    return {"vr": vr, "Value": values}


def description(samples: NDArray[Any], photometric: str = "", **changes: Any) -> ImagePixel:
    colour = samples.ndim == 3
    bits = 8 * samples.dtype.itemsize
    values: dict[str, Any] = {
        "rows": samples.shape[0],
        "columns": samples.shape[1],
        "samples_per_pixel": samples.shape[2] if colour else 1,
        "photometric_interpretation": photometric or ("RGB" if colour else "MONOCHROME2"),
        "planar_configuration": 0,
        "bits_allocated": bits,
        "bits_stored": bits,
        "high_bit": bits - 1,
        "pixel_representation": int(samples.dtype.kind == "i"),
        "number_of_frames": 1,
    }
    values |= changes
    if "bits_stored" in changes and "high_bit" not in changes:
        values["high_bit"] = changes["bits_stored"] - 1
    return ImagePixel(**values)


def source_of(
    samples: NDArray[Any], photometric: str = "", attributes: Mapping[str, Any] | None = None, **changes: Any
) -> RenderingSource:
    found = json_of(SOPInstanceUID=SOP_INSTANCE_UID, SOPClassUID="1.2.840.10008.5.1.4.1.1.7") | dict(attributes or {})
    return RenderingSource(description(samples, photometric, **changes), found)


def rendered(
    samples: NDArray[Any],
    photometric: str = "",
    parameters: RenderingParameters | None = None,
    presentation: PresentationState | None = None,
    image: Mapping[str, Any] | None = None,
    frame_number: int = 1,
    **attributes: Any,
) -> NDArray[np.uint8]:
    """image: changes of the description; attributes by keyword."""
    source = source_of(samples, photometric, json_of(**attributes), **(image or {}))
    frame = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    return render_frame(frame, source, frame_number, parameters or RenderingParameters(), presentation)


def ramp(shape: tuple[int, int] = (16, 16), kind: str = "u1", step: int = 1, first: int = 0) -> NDArray[Any]:
    """Counting pixels."""
    return (np.arange(shape[0] * shape[1]) * step + first).reshape(shape).astype(kind)


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()
