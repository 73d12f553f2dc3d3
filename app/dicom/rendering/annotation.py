"""Burning in who the patient is and how the image was made (PS3.18 8.3.5.1.1)."""

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.functional_groups import frame_text
from app.dicom.rendering.lettering import (
    as_drawable,
    draw_lines,
    fitting_font,
    lacks_letters,
    lines_of,
    text_size,
)
from app.dicom.rendering.parameters import PATIENT, TECHNIQUE

_MARGIN = 0.01  # of the edge
_MAX_VALUE_LENGTH = 64
# Label, tag and unit; each line shows what is known of it.
_TECHNIQUE_LINES = (
    (("", "00080060", ""), ("", "00181030", ""), ("", "0008103E", "")),
    (("", "00180060", " kV"), ("", "00181151", " mA"), ("", "00181152", " mAs"), ("", "00181150", " ms")),
    (("TR ", "00180080", " ms"), ("TE ", "00180081", " ms"), ("TE ", "00189082", " ms"), ("FA ", "00181314", "°")),
    (("Slice ", "00180050", " mm"), ("Location ", "00201041", " mm"), ("Kernel ", "00181210", "")),
)


def patient_lines(attributes: AttributeReader) -> list[str]:
    """Name; ID and sex; dates of birth and of the study."""
    name = " ".join(attributes.text("00100010").replace("^", " ").split())
    birth, study = _date(attributes.text("00100030")), _date(attributes.text("00080020"))
    lines = [
        name,
        "  ".join(part for part in (attributes.text("00100020"), attributes.text("00100040")) if part),
        f"born {birth}" if birth else "",
        f"study {study}" if study else "",
    ]
    return [line[:_MAX_VALUE_LENGTH] for line in lines if line]


def technique_lines(attributes: AttributeReader, frame_number: int) -> list[str]:
    """Modality and protocol, exposure, times, geometry: what the image or its functional groups say."""
    lines = []
    for parts in _TECHNIQUE_LINES:
        known = []
        for label, tag, unit in parts:
            value = frame_text(attributes, frame_number, tag)[:_MAX_VALUE_LENGTH]
            if value:
                known.append(f"{label}{value}{unit}")
        if known:
            lines.append("  ".join(dict.fromkeys(known)))
    return lines


def annotate(
    pixels: NDArray[np.uint8], attributes: AttributeReader, frame_number: int, annotation: tuple[str, ...]
) -> NDArray[np.uint8]:
    """The image with what was asked for: patient at the top left, technique at the bottom left."""
    rows, columns = pixels.shape[:2]
    patient, technique = _texts(attributes, frame_number, annotation)
    if not (any(patient) or any(technique)):
        return pixels
    image = as_drawable(pixels)
    draw = ImageDraw.Draw(image)
    margin = max(1.0, _MARGIN * min(rows, columns))
    white, black = (255, 0) if pixels.ndim == 2 else ((255, 255, 255), (0, 0, 0))
    for lines, is_at_bottom in ((patient, False), (technique, True)):
        if not any(lines):
            continue
        font = fitting_font(lines, columns - 2 * margin, rows / 2 - 2 * margin, max(10, round(min(rows, columns) / 32)))
        top = rows - margin - text_size(lines, font)[1] if is_at_bottom else margin
        draw_lines(draw, lines, font, (margin, top), ink=white, outline=black)
    return np.asarray(image)


def is_illegible(attributes: AttributeReader, frame_number: int, annotation: tuple[str, ...]) -> bool:
    """Whether boxes stand for some of its characters."""
    return any(lacks_letters(lines) for lines in _texts(attributes, frame_number, annotation))


def _texts(attributes: AttributeReader, frame_number: int, annotation: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Lines of the patient and of the technique, as far as they are asked for."""
    patient = lines_of("\n".join(patient_lines(attributes))) if PATIENT in annotation else []
    technique = lines_of("\n".join(technique_lines(attributes, frame_number))) if TECHNIQUE in annotation else []
    return patient, technique


def _date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdecimal() else text
