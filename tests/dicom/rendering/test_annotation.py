"""Burned-in annotation (PS3.18 8.3.5.1.1; REN-020 to REN-022, REN-032)."""

import numpy as np
import pytest

from app.dicom.rendering import SUPPORTED_ANNOTATIONS, RenderingParameters, stock_label, stock_thumbnail
from app.dicom.rendering.annotation import patient_lines, technique_lines
from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.lettering import MAX_LINE_LENGTH, MAX_LINES, fitting_font, font_of, lines_of, text_size
from tests.dicom.rendering.images import json_of, rendered

PATIENT = {
    "PatientName": "Doe^Jane^^Dr",
    "PatientID": "4711",
    "PatientSex": "F",
    "PatientBirthDate": "19700131",
    "StudyDate": "20240229",
}
TECHNIQUE = {"Modality": "CT", "KVP": 120, "XRayTubeCurrent": 250, "SliceThickness": 1.5}
GROUND = np.full((256, 256), 90, "u1")


def annotated(*annotation: str, samples: np.ndarray = GROUND) -> np.ndarray:
    return rendered(samples, parameters=RenderingParameters(annotation=annotation), **PATIENT, **TECHNIQUE)


def test_lines() -> None:
    assert patient_lines(AttributeReader(json_of(**PATIENT))) == [
        "Doe Jane Dr", "4711  F", "born 1970-01-31", "study 2024-02-29",
    ]  # fmt: skip
    assert technique_lines(AttributeReader(json_of(**TECHNIQUE)), 1) == ["CT", "120 kV  250 mA", "Slice 1.5 mm"]


def test_technique_of_a_frame() -> None:
    attributes = json_of(
        Modality="MR",
        SharedFunctionalGroupsSequence=[{"MRTimingAndRelatedParametersSequence": [{"RepetitionTime": 500}]}],
        PerFrameFunctionalGroupsSequence=[{}, {"MREchoSequence": [{"EffectiveEchoTime": 30}]}],
    )
    assert technique_lines(AttributeReader(attributes), 2) == ["MR", "TR 500 ms  TE 30 ms"]
    assert technique_lines(AttributeReader(attributes), 1) == ["MR", "TR 500 ms"]


def test_nothing_is_burned_in_unasked() -> None:
    assert (annotated() == GROUND).all()


def test_unknown_words_are_ignored() -> None:
    assert (annotated("foo") == GROUND).all()
    assert (annotated("foo", "patient") == annotated("patient")).all()


def test_patient_stands_at_the_top_and_technique_at_the_bottom() -> None:
    top, bottom = annotated("patient") != GROUND, annotated("technique") != GROUND
    assert top[:128].any()
    assert not top[128:].any()
    assert bottom[128:].any()
    assert not bottom[:128].any()
    both = annotated(*SUPPORTED_ANNOTATIONS) != GROUND
    assert (both == (top | bottom)).all()


def test_text_is_legible_on_any_ground() -> None:
    for level in (0, 255):
        pixels = annotated("patient", samples=np.full((256, 256), level, "u1"))
        assert pixels.min() < 50
        assert pixels.max() > 200


def test_colour_images_stay_colour_images() -> None:
    pixels = annotated("patient", samples=np.full((64, 64, 3), 90, "u1"))
    assert pixels.shape == (64, 64, 3)
    assert pixels.max() > 200


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (10, 10), (2000, 40)])
def test_images_of_any_shape(shape: tuple[int, int]) -> None:
    assert annotated("patient", "technique", samples=np.zeros(shape, "u1")).shape == shape


@pytest.mark.parametrize("name", ["X" * 100_000, "\0\x1b[31m", "山田^太郎", "\u202eevil", "", "\ud800"])
def test_names_of_strangers(name: str) -> None:
    parameters = RenderingParameters(annotation=("patient",))
    assert rendered(GROUND, parameters=parameters, PatientName=name).shape == GROUND.shape


def test_names_are_bounded() -> None:
    assert len(patient_lines(AttributeReader(json_of(PatientName="X" * 1000)))[0]) == 64
    assert [len(line) for line in lines_of("X" * 1000)] == [MAX_LINE_LENGTH]
    assert len(lines_of("a\r\nb\rc\n" * 1000)) == MAX_LINES
    assert lines_of("a\tb\u202ec") == ["abc"]


def test_fonts_fit() -> None:
    lines = ["a rather long line of text", "short"]
    font = fitting_font(lines, 100, 60, 40)
    width, height = text_size(lines, font)
    assert width <= 100
    assert height <= 60
    assert fitting_font(lines, 10_000, 10_000, 40) is font_of(40)
    assert font_of(1) is not None
    assert font_of(100_000).size <= 96


def test_stock_thumbnails_say_nothing_of_the_patient() -> None:
    """REN-034."""
    label = stock_label(json_of(Modality="SR", **PATIENT))
    assert label == "SR"
    pixels = stock_thumbnail(label)
    assert pixels.shape == (200, 150)
    assert (pixels != stock_thumbnail("ECG")).any()
    assert stock_label(json_of(Modality="Doe^Jane")) == "DICOM"
    assert stock_label({}) == "DICOM"
