"""Presentation states made by hand."""

import base64
from typing import Any

import numpy as np

from app.dicom.rendering import PresentationState, RenderingParameters, Viewport, read_presentation_state
from tests.dicom.rendering.images import SOP_INSTANCE_UID, json_of, rendered

GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
COLOR = "1.2.840.10008.5.1.4.1.1.11.2"
PSEUDO = "1.2.840.10008.5.1.4.1.1.11.3"
HERE = [{"ReferencedSOPInstanceUID": SOP_INSTANCE_UID}]
ELSEWHERE = [{"ReferencedSOPInstanceUID": "9.9"}]
RED, GREEN = [34816, 53484, 50168], [57523, 10753, 54183]  # CIELab 53 80 67 and 88 -86 83, 16 bits each


def state(sop_class: str = GSPS, images: list[dict[str, Any]] | None = None, **attributes: Any) -> PresentationState:
    series = {"SeriesInstanceUID": "1.2", "ReferencedImageSequence": images or HERE}
    dataset = json_of(SOPClassUID=sop_class, ReferencedSeriesSequence=[series]) | overlays_of(attributes)
    return read_presentation_state(dataset | json_of(**attributes))


def overlays_of(attributes: dict[str, Any]) -> dict[str, Any]:
    """Elements of repeating groups, which have no keyword of their own: given as `overlay`."""
    return dict(attributes.pop("overlay", {}))


def overlay(bits: np.ndarray, group: str = "6000", origin: tuple[int, int] = (1, 1), **extra: Any) -> dict[str, Any]:
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    found = {
        f"{group}0010": {"vr": "US", "Value": [bits.shape[0]]},
        f"{group}0011": {"vr": "US", "Value": [bits.shape[1]]},
        f"{group}0050": {"vr": "SS", "Value": list(origin)},
        f"{group}3000": {"vr": "OW", "InlineBinary": base64.b64encode(packed).decode()},
    }
    return found | {f"{group}{tag}": value for tag, value in extra.items()}


def activation(layer: str, group: str = "6000") -> dict[str, Any]:
    return {f"{group}1001": {"vr": "CS", "Value": [layer]}}


def area(left: int, top: int, right: int, bottom: int, mode: str = "SCALE TO FIT", **extra: Any) -> dict[str, Any]:
    return {
        "DisplayedAreaTopLeftHandCorner": [left, top],
        "DisplayedAreaBottomRightHandCorner": [right, bottom],
        "PresentationSizeMode": mode,
    } | extra


def viewport(width: int, height: int) -> RenderingParameters:
    return RenderingParameters(viewport=Viewport(width, height))


def annotation(**content: Any) -> list[dict[str, Any]]:
    return [{"ReferencedImageSequence": HERE, "GraphicLayer": "A"} | content]


def graphic(kind: str, *data: float, units: str = "PIXEL", filled: str = "N") -> dict[str, Any]:
    return {
        "GraphicAnnotationUnits": units,
        "GraphicType": kind,
        "GraphicData": list(data),
        "NumberOfGraphicPoints": len(data) // 2,
        "GraphicFilled": filled,
    }


def drawn(*graphics: dict[str, Any], size: int = 40, **more: Any) -> np.ndarray:
    """Where white was drawn on black."""
    applied = state(GraphicAnnotationSequence=annotation(GraphicObjectSequence=list(graphics)), **more)
    return rendered(np.zeros((size, size), "u1"), presentation=applied) > 0


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())
