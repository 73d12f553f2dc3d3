"""Graphic annotations of presentation states (PS3.3 C.10.5, C.10.7)."""

import time

import numpy as np
import pytest

from app.dicom.rendering import needed_bulkdata, read_presentation_state
from app.dicom.rendering.cielab import srgb_of_cielab
from app.dicom.rendering.graphics import read_drawings
from app.dicom.rendering.placement import plan_placement
from app.dicom.rendering.presentation_state import GRAPHIC_ANNOTATION_SEQUENCE
from tests.dicom.rendering.images import SOP_INSTANCE_UID, json_of, rendered
from tests.dicom.rendering.presentations import (
    ELSEWHERE,
    GREEN,
    GSPS,
    HERE,
    RED,
    annotation,
    area,
    box_of,
    drawn,
    graphic,
    state,
    viewport,
)


def test_polylines() -> None:
    mask = drawn(graphic("POLYLINE", 5, 10, 30, 10))
    assert box_of(mask) == (5, 10, 30, 10)
    assert mask.sum() == 26
    filled = drawn(graphic("POLYLINE", 5, 5, 20, 5, 20, 20, 5, 20, 5, 5, filled="Y"))
    assert filled[5:20, 5:20].all()
    assert not filled[25:].any()


def test_round_graphics() -> None:
    assert box_of(drawn(graphic("CIRCLE", 20, 20, 30, 20))) == pytest.approx((10, 10, 30, 30), abs=1)
    ellipse = drawn(graphic("ELLIPSE", 5, 20, 35, 20, 20, 10, 20, 30))
    assert box_of(ellipse) == pytest.approx((5, 10, 35, 30), abs=1)
    assert not ellipse[20, 20]


def test_points_and_curves() -> None:
    assert box_of(drawn(graphic("POINT", 20, 20))) == pytest.approx((17, 17, 23, 23), abs=1)
    curve = drawn(graphic("INTERPOLATED", 5, 30, 20, 5, 35, 30))
    assert curve[30, 5]
    assert curve[5, 20]
    assert curve[29:31, 34:36].any()
    closed = drawn(graphic("INTERPOLATED", 10, 10, 30, 10, 30, 30, 10, 30, 10, 10))
    assert closed.sum() > 60


def test_display_units_count_the_displayed_area() -> None:
    shown = [area(11, 11, 30, 30)]
    line = graphic("POLYLINE", 0.25, 0.5, 0.75, 0.5, units="DISPLAY")
    assert box_of(drawn(line, DisplayedAreaSelectionSequence=shown)) == (5, 10, 15, 10)


def test_graphics_turn_with_the_image_and_scale_with_the_viewport() -> None:
    line = graphic("POLYLINE", 5, 10, 30, 10)
    assert box_of(drawn(line, ImageRotation=90)) == (30, 5, 30, 30)
    assert box_of(drawn(line, ImageHorizontalFlip="Y")) == (10, 10, 35, 10)
    applied = state(GraphicAnnotationSequence=annotation(GraphicObjectSequence=[line]))
    large = rendered(np.zeros((40, 40), "u1"), parameters=viewport(400, 400), presentation=applied)
    assert box_of(large > 0) == (50, 100, 300, 100)


def test_text_in_its_box() -> None:
    text = {
        "UnformattedTextValue": "Lesion\r\n12 mm",
        "BoundingBoxAnnotationUnits": "PIXEL",
        "BoundingBoxTopLeftHandCorner": [20, 30],
        "BoundingBoxBottomRightHandCorner": [90, 70],
        "BoundingBoxTextHorizontalJustification": "CENTER",
        "AnchorPointAnnotationUnits": "PIXEL",
        "AnchorPoint": [100, 95],
        "AnchorPointVisibility": "Y",
    }
    black = np.zeros((100, 120), "u1")
    with_anchor = rendered(black, presentation=state(GraphicAnnotationSequence=annotation(TextObjectSequence=[text])))
    assert with_anchor[95, 100] > 0
    text["AnchorPointVisibility"] = "N"
    pixels = rendered(black, presentation=state(GraphicAnnotationSequence=annotation(TextObjectSequence=[text])))
    left, top, right, bottom = box_of(pixels > 128)
    assert left >= 18
    assert top >= 28
    assert right <= 92
    assert bottom <= 72
    assert (pixels > 128).sum() > 100


def test_text_at_its_anchor() -> None:
    text = {"UnformattedTextValue": "A", "AnchorPointAnnotationUnits": "DISPLAY", "AnchorPoint": [0.5, 0.5]}
    black = np.zeros((100, 100), "u1")
    pixels = rendered(black, presentation=state(GraphicAnnotationSequence=annotation(TextObjectSequence=[text])))
    assert pixels[50:70, 50:70].any()
    assert not pixels[:45].any()
    nowhere = state(GraphicAnnotationSequence=annotation(TextObjectSequence=[{"UnformattedTextValue": "A"}]))
    assert not rendered(black, presentation=nowhere).any()


def test_layers_have_an_order_and_colours() -> None:
    layers = [
        {"GraphicLayer": "TOP", "GraphicLayerOrder": 2, "GraphicLayerRecommendedDisplayCIELabValue": RED},
        {"GraphicLayer": "LOW", "GraphicLayerOrder": 1, "GraphicLayerRecommendedDisplayCIELabValue": GREEN},
    ]
    square = graphic("POLYLINE", 5, 5, 30, 5, 30, 30, 5, 30, 5, 5, filled="Y")
    annotations = [{"GraphicLayer": name, "GraphicObjectSequence": [square]} for name in ("TOP", "LOW")]
    applied = state(GraphicLayerSequence=layers, GraphicAnnotationSequence=annotations)
    pixels = rendered(np.zeros((40, 40), "u1"), presentation=applied)
    assert pixels.shape == (40, 40, 3)
    assert pixels[15, 15][0] > 200
    assert pixels[15, 15][1] < 80
    assert srgb_of_cielab(*GREEN)[1] > 200


@pytest.mark.parametrize(
    ("lab", "expected"),
    [((65535, 32896, 32896), (255, 255, 255)), ((0, 32896, 32896), (0, 0, 0)), ((34816, 53484, 50168), (254, 0, 0))],
)
def test_cielab(lab: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert np.abs(np.subtract(srgb_of_cielab(*lab), expected)).max() <= 6


@pytest.mark.parametrize("kind", ["INTERPOLATED", "CIRCLE", "ELLIPSE"])
def test_coordinates_beyond_measure_are_drawn_as_numbers(kind: str) -> None:
    """A line to what is not a number keeps Pillow busy for minutes, with the interpreter's lock in its hand."""
    applied = state(
        GraphicAnnotationSequence=annotation(
            GraphicObjectSequence=[graphic(kind, 1e308, -1e308, -1e308, 1e308, 1e308, 1e308, 0, 0)]
        )
    )
    (drawing,) = read_drawings(
        applied.items_for(GRAPHIC_ANNOTATION_SEQUENCE, SOP_INSTANCE_UID, 1),
        {},
        plan_placement(applied.displayed_area(SOP_INSTANCE_UID, 1, 40, 40), None),
    )
    ((points, _),) = drawing.lines
    assert np.isfinite(points).all()


def test_annotations_of_other_images_stay_away() -> None:
    other = annotation(GraphicObjectSequence=[graphic("POLYLINE", 0, 0, 39, 39)])
    other[0]["ReferencedImageSequence"] = ELSEWHERE
    assert not rendered(np.zeros((40, 40), "u1"), presentation=state(GraphicAnnotationSequence=other)).any()


def test_too_many_graphics_are_cut_off() -> None:
    lines = [graphic("POLYLINE", *([0, 0, 1e30, 1e30] * 400)) for _ in range(3000)]
    start = time.process_time()
    assert drawn(*lines).any()
    assert time.process_time() - start < 10


@pytest.mark.parametrize("kind", ["POINT", "POLYLINE", "CIRCLE", "ELLIPSE", "INTERPOLATED", "ODD", ""])
@pytest.mark.parametrize("data", [(), (1,), (1, 2), (1, 2, 3), (1e38, -1e38, 5, 5), (0, 0, 0, 0, 0, 0, 0, 0)])
def test_broken_graphics(kind: str, data: tuple[float, ...]) -> None:
    assert drawn(graphic(kind, *data), graphic(kind, *data, units="DISPLAY", filled="Y")).shape == (40, 40)


def test_long_values_come_as_bulkdata() -> None:
    dataset = json_of(
        SOPClassUID=GSPS,
        ReferencedSeriesSequence=[{"ReferencedImageSequence": HERE}],
        GraphicAnnotationSequence=annotation(GraphicObjectSequence=[graphic("POLYLINE", 0, 0)]),
    )
    dataset["00700001"]["Value"][0]["00700009"]["Value"][0]["00700022"] = {"vr": "FL", "BulkDataURI": "/b"}
    (path,) = needed_bulkdata(dataset)
    assert path == "00700001.1.00700009.1.00700022"
    data = np.array([5, 10, 30, 10], "<f4").tobytes()
    applied = read_presentation_state(dataset, {path: data})
    assert box_of(rendered(np.zeros((40, 40), "u1"), presentation=applied) > 0) == (5, 10, 30, 10)


@pytest.mark.parametrize("filled", ["Y", "N"])
def test_the_work_of_drawing_follows_from_a_bound(filled: str) -> None:
    """Lines all over a large image: what is beyond the bound is left out, not drawn for minutes."""
    magnified = [area(1, 1, 40, 40, "MAGNIFY", PresentationPixelMagnificationRatio=200.0)]
    scribble = graphic("POLYLINE", *([1.0, 1.0, 39.0, 39.0] * 4000), filled=filled)
    line = graphic("POLYLINE", 5, 10, 30, 10)
    start = time.process_time()
    assert box_of(drawn(line, *[scribble] * 6, DisplayedAreaSelectionSequence=magnified))[2] < 6100
    assert time.process_time() - start < 10


def test_the_letters_of_a_picture_have_a_bound() -> None:
    page = {
        "UnformattedTextValue": "\r\n".join(["W" * 128] * 64),
        "AnchorPointAnnotationUnits": "PIXEL",
        "AnchorPoint": [1, 1],
    }
    start = time.process_time()
    applied = state(GraphicAnnotationSequence=annotation(TextObjectSequence=[page] * 500))
    assert rendered(np.zeros((800, 800), "u1"), presentation=applied).any()
    assert time.process_time() - start < 10
