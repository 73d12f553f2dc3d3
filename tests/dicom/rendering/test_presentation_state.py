"""Presentation states applied to images (PS3.4 Annex N, PS3.18 8.3.5.1.6; REN-028 to REN-030)."""

from typing import Any

import numpy as np
import pytest

from app.dicom.rendering import (
    RenderingParameters,
    Viewport,
    Window,
    display_order,
    is_presentation_state,
    read_presentation_state,
    render_frame,
)
from app.dicom.rendering.parameters import MAX_OUTPUT_EDGE
from app.errors import CodecError, InvalidParameter, NotAcceptable
from tests.dicom.rendering.images import json_of, ramp, rendered, source_of, words
from tests.dicom.rendering.presentations import (
    COLOR,
    ELSEWHERE,
    GSPS,
    HERE,
    PSEUDO,
    RED,
    activation,
    area,
    overlay,
    state,
    viewport,
)


def test_references() -> None:
    images = [
        {"ReferencedSOPClassUID": "1.1", "ReferencedSOPInstanceUID": "1.2.3"},
        {"ReferencedSOPClassUID": "1.1", "ReferencedSOPInstanceUID": "1.2.4", "ReferencedFrameNumber": [2, 3]},
    ]
    first, second = state(images=images).references
    assert (first.series_instance_uid, first.sop_class_uid, first.sop_instance_uid) == ("1.2", "1.1", "1.2.3")
    assert first.frame_numbers == ()
    assert second.frame_numbers == (2, 3)


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.11.4", "1.2.840.10008.5.1.4.1.1.2", ""])
def test_kinds_that_cannot_be_rendered(sop_class: str) -> None:
    with pytest.raises(NotAcceptable):
        state(sop_class)
    assert is_presentation_state("1.2.840.10008.5.1.4.1.1.11.4")
    assert not is_presentation_state("1.2.840.10008.5.1.4.1.1.2")


def test_a_state_without_images() -> None:
    with pytest.raises(NotAcceptable):
        read_presentation_state(json_of(SOPClassUID=GSPS))


def test_windows_and_regions_belong_to_the_state() -> None:
    for parameters in (
        RenderingParameters(window=Window(40, 400)),
        RenderingParameters(viewport=Viewport(4, 4, 0, 0, 2, 2)),
    ):
        with pytest.raises(InvalidParameter):
            rendered(ramp(), parameters=parameters, presentation=state())


def test_nothing_said_is_the_full_range() -> None:
    """Neither window nor MONOCHROME1 nor rescale of the image count (PS3.4 N.2.1)."""
    attributes = {"WindowCenter": 5, "WindowWidth": 3, "RescaleSlope": 7, "RescaleIntercept": 1}
    assert rendered(ramp(), "MONOCHROME1", presentation=state(), **attributes).tolist() == ramp().tolist()
    deep = rendered(ramp(kind="u2", step=16), presentation=state(), image={"bits_stored": 12})
    assert np.abs(deep.astype(int) - ramp()).max() <= 1


def test_full_range_of_signed_pixels_and_of_a_modality_lut() -> None:
    signed = rendered(np.array([[-128, 0, 127]], "i1"), presentation=state())
    assert signed.tolist() == [[0, 128, 255]]
    table = {"LUTDescriptor": [3, 0, 8], "LUTData": [0, 100, 255]}
    assert rendered(np.array([[0, 1, 2]], "u1"), presentation=state(ModalityLUTSequence=[table])).tolist() == [
        [0, 100, 255]
    ]
    falling = rendered(ramp(), presentation=state(RescaleSlope=-1, RescaleIntercept=0))
    assert falling.tolist() == (255 - ramp()).tolist()


def test_windows_of_the_images_that_they_are_for() -> None:
    vois = [
        {"ReferencedImageSequence": ELSEWHERE, "WindowCenter": 1, "WindowWidth": 1},
        {
            "ReferencedImageSequence": [HERE[0] | {"ReferencedFrameNumber": [2]}],
            "WindowCenter": 100,
            "WindowWidth": 50,
        },
        {"WindowCenter": 128, "WindowWidth": 256},
    ]
    applied = state(SoftcopyVOILUTSequence=vois)
    assert rendered(ramp(), presentation=applied, frame_number=1).tolist() == ramp().tolist()
    second = rendered(ramp(), presentation=applied, frame_number=2)
    assert second.tolist() == rendered(ramp(), WindowCenter=100, WindowWidth=50).tolist()


def test_presentation_lut() -> None:
    table = {"LUTDescriptor": [256, 0, 16], "LUTData": words(*(65535 - 257 * n for n in range(256)))}
    assert rendered(ramp(), presentation=state(PresentationLUTSequence=[table])).tolist() == (255 - ramp()).tolist()
    inverse = state(PresentationLUTShape="INVERSE")
    assert rendered(ramp(), presentation=inverse).tolist() == (255 - ramp()).tolist()
    assert rendered(ramp(), presentation=state(PresentationLUTShape="IDENTITY")).tolist() == ramp().tolist()


def test_real_samples_use_their_own_range() -> None:
    samples = np.array([[0.0, 0.5, 1.0, np.nan]], "f4")
    source = source_of(samples, attributes={"7FE00008": {"vr": "OF"}})
    assert render_frame(samples.tobytes(), source, presentation=state()).tolist() == [[0, 128, 255, 0]]


def test_displayed_area() -> None:
    shown = state(DisplayedAreaSelectionSequence=[area(3, 4, 6, 7)])
    assert rendered(ramp(), presentation=shown).tolist() == ramp()[3:7, 2:6].tolist()
    elsewhere = state(DisplayedAreaSelectionSequence=[area(1, 1, 1, 1) | {"ReferencedImageSequence": ELSEWHERE}])
    assert rendered(ramp(), presentation=elsewhere).tolist() == ramp().tolist()


def test_an_area_beyond_the_image_has_a_border() -> None:
    shown = state(DisplayedAreaSelectionSequence=[area(-1, 0, 18, 17)])
    pixels = rendered(ramp(), presentation=shown)
    assert pixels.shape == (18, 20)
    assert pixels[1:17, 2:18].tolist() == ramp().tolist()
    assert pixels[0].max() == pixels[:, :2].max() == pixels[17].max() == pixels[:, 18:].max() == 0


def test_an_area_beside_the_image_is_empty() -> None:
    assert (
        rendered(ramp(), presentation=state(DisplayedAreaSelectionSequence=[area(100, 100, 110, 104)])).tolist()
        == [[0] * 11] * 5
    )


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["N", "Y"])
def test_rotation_comes_before_the_flip(rotation: int, flip: str) -> None:
    applied = state(
        ImageRotation=rotation, ImageHorizontalFlip=flip, DisplayedAreaSelectionSequence=[area(1, 1, 12, 16)]
    )
    expected = np.rot90(ramp()[:, :12], -rotation // 90)
    expected = expected[:, ::-1] if flip == "Y" else expected
    assert rendered(ramp(), presentation=applied).tolist() == expected.tolist()


def test_scaling_into_the_viewport() -> None:
    shown = state(DisplayedAreaSelectionSequence=[area(1, 1, 16, 8)], ImageRotation=90)
    assert rendered(ramp(), parameters=viewport(100, 100), presentation=shown).shape == (100, 50)
    true_size = state(DisplayedAreaSelectionSequence=[area(1, 1, 16, 8, "TRUE SIZE")])
    assert rendered(ramp(), parameters=viewport(64, 64), presentation=true_size).shape == (32, 64)


def test_pixels_that_are_not_square() -> None:
    tall = state(DisplayedAreaSelectionSequence=[area(1, 1, 16, 16, PresentationPixelAspectRatio=[2, 1])])
    assert rendered(ramp(), presentation=tall).shape == (32, 16)
    wide = state(DisplayedAreaSelectionSequence=[area(1, 1, 16, 16, PresentationPixelSpacing=[0.5, 1.0])])
    assert rendered(ramp(), parameters=viewport(64, 64), presentation=wide).shape == (32, 64)
    absurd = state(DisplayedAreaSelectionSequence=[area(1, 1, 16, 16, PresentationPixelSpacing=[1e30, 1e-30])])
    assert rendered(ramp(), parameters=viewport(64, 64), presentation=absurd).shape == (64, 1)


def test_magnification_is_cut_to_the_viewport() -> None:
    shown = area(1, 1, 16, 16, "MAGNIFY", PresentationPixelMagnificationRatio=4.0)
    magnified = state(DisplayedAreaSelectionSequence=[shown])
    assert rendered(ramp(), presentation=magnified).shape == (64, 64)
    cut = rendered(ramp(), parameters=viewport(40, 100), presentation=magnified)
    assert cut.shape == (64, 40)
    assert (cut == rendered(ramp(), presentation=magnified)[:, :40]).all()


@pytest.mark.parametrize(
    "shown",
    [
        area(1, 1, 16, 16, "MAGNIFY", PresentationPixelMagnificationRatio=1e9),
        area(1, 1, 16, 16, "MAGNIFY", PresentationPixelMagnificationRatio=1e308),
        area(-(2**31), -(2**31), 2**31 - 1, 2**31 - 1),
        area(1, 1, MAX_OUTPUT_EDGE + 1, 1),
    ],
)
def test_areas_that_nobody_can_look_at(shown: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        rendered(ramp(), presentation=state(DisplayedAreaSelectionSequence=[shown]))


def test_a_huge_area_fits_into_a_viewport() -> None:
    huge = state(DisplayedAreaSelectionSequence=[area(-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)])
    assert rendered(ramp(), parameters=viewport(30, 30), presentation=huge).shape == (30, 30)


def test_rectangular_shutter() -> None:
    applied = state(
        ShutterShape="RECTANGULAR",
        ShutterLeftVerticalEdge=3,
        ShutterRightVerticalEdge=6,
        ShutterUpperHorizontalEdge=2,
        ShutterLowerHorizontalEdge=4,
        ShutterPresentationValue=65535,
    )
    expected = np.full((16, 16), 255)
    expected[1:4, 2:6] = ramp()[1:4, 2:6]
    assert rendered(ramp(), presentation=applied).tolist() == expected.tolist()


def test_circular_and_polygonal_shutters() -> None:
    white = np.full((20, 20), 255, "u1")
    circle = rendered(
        white, presentation=state(ShutterShape="CIRCULAR", CenterOfCircularShutter=[5, 10], RadiusOfCircularShutter=3)
    )
    rows, columns = np.nonzero(circle)
    assert (rows.min() + 1, rows.max() + 1, columns.min() + 1, columns.max() + 1) == (2, 8, 7, 13)
    square = rendered(
        white, presentation=state(ShutterShape="POLYGONAL", VerticesOfThePolygonalShutter=[3, 4, 3, 9, 7, 9, 7, 4])
    )
    rows, columns = np.nonzero(square)
    assert (rows.min() + 1, rows.max() + 1, columns.min() + 1, columns.max() + 1) == (3, 7, 4, 9)
    assert square.astype(bool).sum() == 5 * 6


def test_bitmap_shutter_in_colour() -> None:
    bits = ramp() % 2 == 0
    applied = state(
        ShutterShape="BITMAP",
        ShutterOverlayGroup=0x6000,
        ShutterPresentationColorCIELabValue=RED,
        overlay=overlay(bits),
    )
    pixels = rendered(ramp(), presentation=applied)
    assert pixels.shape == (16, 16, 3)
    assert (pixels[bits] == pixels[0, 0]).all()
    assert pixels[0, 0][0] > 200 > 60 > pixels[0, 0][1]
    assert (pixels[~bits] == ramp()[~bits][:, None]).all()


def test_overlays_are_shown_when_activated() -> None:
    bits = np.zeros((4, 4), bool)
    bits[0] = True
    layers = [{"GraphicLayer": "A", "GraphicLayerOrder": 1, "GraphicLayerRecommendedDisplayGrayscaleValue": 32768}]
    image = overlay(bits, origin=(3, 5))
    source = source_of(ramp(), attributes=image)
    plain = render_frame(ramp().tobytes(), source, presentation=state(GraphicLayerSequence=layers))
    assert plain.tolist() == ramp().tolist()
    active = state(GraphicLayerSequence=layers, overlay=activation("A"))
    expected = ramp().astype(int)
    expected[2, 4:8] = 128
    assert render_frame(ramp().tobytes(), source, presentation=active).tolist() == expected.tolist()
    own = state(GraphicLayerSequence=layers, overlay=overlay(bits, origin=(-0, 1)) | activation("A"))
    assert render_frame(ramp().tobytes(), source, presentation=own).tolist() == ramp().tolist()  # row 0 lies above


def test_overlay_in_unused_bits_and_of_a_frame() -> None:
    samples = np.array([[5, 0x1005, 7, 0x1007]], "u2")
    inside = {
        "60000010": {"vr": "US", "Value": [1]},
        "60000011": {"vr": "US", "Value": [4]},
        "60000102": {"vr": "US", "Value": [12]},
    }
    source = source_of(samples, attributes=inside, bits_stored=8)
    shown = render_frame(samples.tobytes(), source, presentation=state(overlay=activation("A")))
    assert shown.tolist() == [[5, 255, 7, 255]]
    two = np.zeros((2, 16, 16), bool)
    two[1, 0, 0] = True
    frames = overlay(two.reshape(32, 16), **{"0015": {"vr": "IS", "Value": [2]}, "0051": {"vr": "US", "Value": [2]}})
    frames["60000010"] = {"vr": "US", "Value": [16]}
    multi = source_of(ramp(first=7), attributes=frames)
    for number, expected in ((1, 7), (2, 7), (3, 255), (4, 7)):
        pixels = render_frame(ramp(first=7).tobytes(), multi, number, presentation=state(overlay=activation("A")))
        assert pixels[0, 0] == expected


def test_pseudo_colour() -> None:
    palette = {f"{name}PaletteColorLookupTableDescriptor": [3, 0, 16] for name in ("Red", "Green", "Blue")}
    palette |= {
        "RedPaletteColorLookupTableData": words(0, 0xFF00, 0xFF00),
        "GreenPaletteColorLookupTableData": words(0, 0, 0xFF00),
        "BluePaletteColorLookupTableData": words(0, 0, 0),
    }
    pixels = rendered(np.array([[0, 100, 128, 255]], "u1"), presentation=state(PSEUDO, **palette))
    assert pixels.tolist() == [[[0, 0, 0], [255, 0, 0], [255, 0, 0], [255, 255, 0]]]


def test_color_images() -> None:
    samples = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype("u1")
    pixels = rendered(samples, presentation=state(COLOR, ImageHorizontalFlip="Y"))
    assert (pixels == samples[:, ::-1]).all()


def test_order_of_rendered_frames() -> None:
    """PS3.18 8.3.5.1.6: dimension indices, position along the normal, then as referenced."""
    axial = [1, 0, 0, 0, 1, 0]
    slices = [json_of(ImagePositionPatient=[0, 0, z], ImageOrientationPatient=axial) for z in (30, -10, 5)]
    assert sorted(range(3), key=lambda n: display_order(slices[n], 1)) == [1, 2, 0]
    enhanced = json_of(
        SharedFunctionalGroupsSequence=[{"PlaneOrientationSequence": [{"ImageOrientationPatient": axial}]}],
        PerFrameFunctionalGroupsSequence=[
            {"FrameContentSequence": [{"DimensionIndexValues": [1, 2]}]},
            {"FrameContentSequence": [{"DimensionIndexValues": [1, 1]}]},
            {"PlanePositionSequence": [{"ImagePositionPatient": [0, 0, -99]}]},
        ],
    )
    assert sorted((1, 2, 3), key=lambda n: display_order(enhanced, n)) == [2, 1, 3]
    assert display_order({}, 1) == display_order(json_of(Modality="CT"), 7)
