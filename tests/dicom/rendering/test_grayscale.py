"""Modality, VOI and presentation: the formulas of PS3.3 C.11, where they come from, and what happens without them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.rendering import RenderingParameters, VoiFunction, Window, render_frame
from app.dicom.rendering.grayscale import GrayscaleTransform, Rescale, grey_table, render_grey, windowed
from app.dicom.rendering.samples import SampleFormat
from app.errors import CodecError, InvalidParameter
from tests.dicom.rendering.images import json_of, ramp, rendered, source_of, words

LINEAR, EXACT, SIGMOID = VoiFunction.LINEAR, VoiFunction.LINEAR_EXACT, VoiFunction.SIGMOID
finite = st.floats(-1e6, 1e6)


def by_the_letter(x: float, window: Window) -> float:
    """The pseudo-code of PS3.3 C.11.2.1.2 and C.11.2.1.3, for an output from 0 to 1."""
    c, w = window.center, window.width
    if window.function is SIGMOID:
        return 1 / (1 + math.exp(max(-700, min(-4 * (x - c) / w, 700))))
    if window.function is LINEAR:
        if x <= c - 0.5 - (w - 1) / 2:
            return 0
        if x > c - 0.5 + (w - 1) / 2:
            return 1
        return (x - (c - 0.5)) / (w - 1) + 0.5
    if x <= c - w / 2:
        return 0
    if x > c + w / 2:
        return 1
    return (x - c) / w + 0.5


@given(finite, finite, st.floats(1, 1e5), st.sampled_from(VoiFunction))
def test_windows_by_the_letter(x: float, center: float, width: float, function: VoiFunction) -> None:
    window = Window(center, width, function)
    assert windowed(np.array([x]), window)[0] == pytest.approx(by_the_letter(x, window), abs=1e-6)


@pytest.mark.parametrize("function", VoiFunction)
def test_requested_window_is_applied(function: VoiFunction) -> None:
    """REN-010, REN-011."""
    samples = ramp(kind="u2", step=16)
    window = Window(2048.5, 1000, function)
    pixels = rendered(samples, parameters=RenderingParameters(window=window))
    expected = [math.floor(by_the_letter(float(x), window) * 255 + 0.5) for x in samples.ravel()]
    assert np.abs(pixels.ravel().astype(int) - expected).max() <= 1
    assert len(set(expected)) > 50


def test_the_narrowest_window_is_a_threshold() -> None:
    pixels = rendered(ramp(), parameters=RenderingParameters(window=Window(100, 1)))
    assert (pixels.ravel() == np.where(np.arange(256) > 99.5, 255, 0)).all()


@pytest.mark.parametrize(("center", "width", "function"), [(0, 0.5, LINEAR), (0, 0, EXACT), (0, -1, SIGMOID)])
def test_windows_that_the_standard_forbids(center: float, width: float, function: VoiFunction) -> None:
    with pytest.raises(InvalidParameter):
        Window(center, width, function)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_windows_are_finite(value: float) -> None:
    with pytest.raises(InvalidParameter):
        Window(value, 10)
    with pytest.raises(InvalidParameter):
        Window(0, value)


@given(
    st.sampled_from([(8, 8), (8, 5), (16, 16), (16, 12), (16, 10)]),
    st.booleans(),
    st.integers(0, 6),
    st.integers(0, 2**32),
)
def test_words_are_read_as_their_description_says(
    bits: tuple[int, int], is_signed: bool, unused_below: int, seed: int
) -> None:
    """Value, sign and rubbish around it, one by one; the same by table."""
    allocated, stored = bits
    low = min(unused_below, allocated - stored)
    sample = SampleFormat(allocated, stored, stored - 1 + low, is_signed)
    raw = np.random.default_rng(seed).integers(0, 1 << allocated, 50).astype(f"<u{allocated // 8}")
    values = [(int(word) >> low) & ((1 << stored) - 1) for word in raw]
    if is_signed:
        values = [value - (1 << stored) if value >> (stored - 1) else value for value in values]
    assert sample.stored_values(raw).tolist() == values
    transform = GrayscaleTransform(Rescale(2, -5), Window(10, 300))
    expected = [math.floor(by_the_letter(value * 2 - 5, transform.voi) * 255 + 0.5) for value in values]
    assert np.abs(render_grey(raw, sample, transform).astype(int) - expected).max() <= 1


def test_tables_are_kept() -> None:
    sample, transform = SampleFormat(16, 16, 15, True), GrayscaleTransform(Rescale(1, -1024), Window(40, 400))
    assert grey_table(sample, transform) is grey_table(SampleFormat(16, 16, 15, True), transform)


def test_rescale_comes_before_the_window() -> None:
    stored = np.array([[0, 1024, 1064, 1264, 2000]], "u2")
    pixels = rendered(stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    assert pixels.tolist() == [[0, 102, 128, 255, 255]]


def test_a_slope_of_zero_is_none() -> None:
    assert rendered(ramp(), RescaleSlope=0, RescaleIntercept=0).tolist() == ramp().tolist()


def test_modality_lut_sequence() -> None:
    table = {"LUTDescriptor": [4, 10, 16], "LUTData": [100, 200, 300, 400]}
    stored = np.array([[0, 10, 11, 12, 13, 99]], "u2")
    pixels = rendered(stored, ModalityLUTSequence=[table], WindowCenter=250, WindowWidth=300)
    expected = [by_the_letter(x, Window(250, 300)) * 255 for x in (100, 100, 200, 300, 400, 400)]
    assert np.abs(pixels[0] - np.array(expected)).max() <= 1


@pytest.mark.parametrize("data", [[0, 50, 100, 255], words(0, 50, 100, 255), bytes((0, 50, 100, 255))])
def test_voi_lut_sequence_however_it_is_written(data: Any) -> None:
    table = {"LUTDescriptor": [4, 2, 8], "LUTData": data}
    pixels = rendered(np.array([[0, 2, 3, 4, 5, 6]], "u1"), VOILUTSequence=[table], WindowCenter=1, WindowWidth=1)
    assert pixels.tolist() == [[0, 0, 50, 100, 255, 255]]


def test_voi_lut_of_more_bits_and_negative_first_value() -> None:
    table = {"LUTDescriptor": [3, -1, 12], "LUTData": [0, 2048, 4095]}
    pixels = rendered(np.array([[-5, -1, 0, 1, 7]], "i2"), VOILUTSequence=[table])
    assert pixels.tolist() == [[0, 0, 128, 255, 255]]


def test_a_descriptor_that_says_too_few_bits() -> None:
    table = {"LUTDescriptor": [2, 0, 8], "LUTData": [0, 1023]}
    assert rendered(np.array([[0, 1]], "u2"), VOILUTSequence=[table]).tolist() == [[0, 255]]


@pytest.mark.parametrize(
    "table",
    [
        {"LUTDescriptor": [4, 0], "LUTData": [1, 2, 3, 4]},
        {"LUTDescriptor": [4, 0, 17], "LUTData": [1, 2, 3, 4]},
        {"LUTDescriptor": [4, 0, 0], "LUTData": [1, 2, 3, 4]},
        {"LUTDescriptor": [-4, 0, 8], "LUTData": [1, 2, 3, 4]},
        {"LUTDescriptor": [4, 0, 8]},
        {"LUTDescriptor": [99999999, 0, 8], "LUTData": [1]},
        {},
    ],
)
def test_broken_tables_are_left_out(table: dict[str, Any]) -> None:
    assert rendered(ramp(), VOILUTSequence=[table]).tolist() == ramp().tolist()


def test_a_requested_window_replaces_the_voi_lut() -> None:
    table = {"LUTDescriptor": [2, 0, 8], "LUTData": [255, 255]}
    pixels = rendered(ramp(), parameters=RenderingParameters(window=Window(128, 256)), VOILUTSequence=[table])
    assert pixels.tolist() == ramp().tolist()


def test_the_first_usable_window_counts() -> None:
    pixels = rendered(ramp(), WindowCenter=[10, 128], WindowWidth=[0, 256])
    assert pixels.tolist() == ramp().tolist()


@pytest.mark.parametrize(("name", "function"), [("LINEAR_EXACT", EXACT), ("SIGMOID", SIGMOID), ("ODD", LINEAR)])
def test_voi_lut_function_of_the_image(name: str, function: VoiFunction) -> None:
    pixels = rendered(ramp(), WindowCenter=100, WindowWidth=50, VOILUTFunction=name)
    asked = rendered(ramp(), parameters=RenderingParameters(window=Window(100, 50, function)))
    assert pixels.tolist() == asked.tolist()


def test_a_width_below_one_is_taken_for_exact() -> None:
    stored = np.array([[0, 1, 2, 3]], "u2")
    pixels = rendered(stored, RescaleSlope=0.1, RescaleIntercept=0, WindowCenter=0.15, WindowWidth=0.3)
    assert pixels.tolist() == [[0, 85, 170, 255]]


def test_monochrome1_is_inverted() -> None:
    assert rendered(ramp(), "MONOCHROME1").tolist() == (255 - ramp()).tolist()
    windowed_pixels = rendered(ramp(), "MONOCHROME1", WindowCenter=100, WindowWidth=50)
    assert windowed_pixels.tolist() == (255 - rendered(ramp(), WindowCenter=100, WindowWidth=50)).tolist()


def test_presentation_lut_shape_inverts_once() -> None:
    assert rendered(ramp(), PresentationLUTShape="INVERSE").tolist() == (255 - ramp()).tolist()
    assert rendered(ramp(), "MONOCHROME1", PresentationLUTShape="INVERSE").tolist() == (255 - ramp()).tolist()


def test_eight_bits_are_left_as_they_are() -> None:
    assert rendered(ramp((4, 4), first=100)).tolist() == ramp((4, 4), first=100).tolist()


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "i1"])
def test_other_images_are_stretched(kind: str) -> None:
    """REN-009."""
    first = -60 if kind[0] == "i" else 1000
    pixels = rendered(ramp((10, 10), kind, first=first))
    assert (pixels.ravel() == np.floor(np.arange(100) / 99 * 255 + 0.5)).all()


def test_a_falling_modality_is_stretched_as_well() -> None:
    pixels = rendered(ramp((10, 10), "u2"), RescaleSlope=-2, RescaleIntercept=7)
    assert (pixels.ravel()[[0, -1]] == [255, 0]).all()


def test_a_modality_lut_is_stretched_over_the_values_that_occur() -> None:
    table = {"LUTDescriptor": [4, 0, 16], "LUTData": [9, 500, 300, 60000]}
    pixels = rendered(np.array([[0, 1, 2]], "u2"), ModalityLUTSequence=[table])
    assert pixels.tolist() == [[0, 255, round((300 - 9) / 491 * 255)]]


@pytest.mark.parametrize(
    ("stored", "padding", "expected"),
    [
        ([-2000, 0, 40, 100], {"PixelPaddingValue": -2000}, [0, 0, 102, 255]),
        ([-2000, 0, 40, 100], {"PixelPaddingValue": 63536}, [0, 0, 102, 255]),
        ([-2000, 0, 100, 200], {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": 0}, [0, 0, 0, 255]),
        ([-2000, 0, 100, 200], {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": -2000}, [0, 0, 0, 255]),
        ([0, 40, 100, 100], {"PixelPaddingValue": 5}, [0, 102, 255, 255]),
    ],
)
def test_padding_does_not_count(stored: list[int], padding: dict[str, int], expected: list[int]) -> None:
    """Neither the value nor its range, whatever sign it was written with (PS3.3 C.7.5.1.1.2)."""
    assert rendered(np.array([stored], "i2"), **padding).tolist() == [expected]


def test_an_image_of_padding_only_is_black() -> None:
    assert rendered(np.full((3, 3), 7, "u2"), PixelPaddingValue=7).tolist() == [[0] * 3] * 3


def test_a_constant_image_is_black() -> None:
    assert rendered(np.full((2, 2), 4000, "i2")).tolist() == [[0, 0], [0, 0]]


def test_one_bit() -> None:
    bits = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 1]], "u1")
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    source = source_of(bits, bits_allocated=1, bits_stored=1, high_bit=0)
    assert render_frame(packed, source).tolist() == (bits * 255).tolist()


def test_segmentations() -> None:
    labels = np.array([[0, 1, 2, 5]], "u1")
    label_map = rendered(labels, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7")
    assert label_map.tolist() == [[0, 51, 102, 255]]
    fractional = rendered(
        labels,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4",
        SegmentationType="FRACTIONAL",
        MaximumFractionalValue=10,
    )
    assert fractional.tolist() == [[0, 26, 51, 128]]


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_real_samples(kind: str) -> None:
    samples = np.array([[-1.0, 0.0, np.nan, 1.0, np.inf]], kind)
    tag = "7FE00008" if kind == "f4" else "7FE00009"
    source = source_of(samples, attributes={tag: {"vr": "OF", "BulkDataURI": "x"}})
    assert render_frame(samples.tobytes(), source).tolist() == [[0, 128, 0, 255, 255]]
    narrow = source_of(
        samples, attributes={tag: {"vr": "OF"}} | json_of(WindowCenter=0, WindowWidth=1, VOILUTFunction="LINEAR")
    )
    assert render_frame(samples.tobytes(), narrow).tolist() == [[0, 128, 0, 255, 255]]


def test_signalling_nan_is_black_without_a_warning() -> None:
    samples = np.frombuffer(bytes.fromhex("0100807f 0000803f"), "<f4").reshape(1, 2)
    source = source_of(samples, attributes={"7FE00008": {"vr": "OF", "BulkDataURI": "x"}})
    assert render_frame(samples.tobytes(), source)[0, 0] == 0


def groups(center: int, width: int, slope: int, intercept: int) -> dict[str, Any]:
    return {
        "FrameVOILUTSequence": [{"WindowCenter": center, "WindowWidth": width}],
        "PixelValueTransformationSequence": [{"RescaleSlope": slope, "RescaleIntercept": intercept}],
    }


def test_functional_groups_of_enhanced_images() -> None:
    """A frame's own groups, then the shared ones, then the top level."""
    stored = ramp(kind="u2")
    attributes = {
        "SharedFunctionalGroupsSequence": [groups(500, 100, 3, 0)],
        "PerFrameFunctionalGroupsSequence": [{}, groups(128, 256, 1, 0)],
        "WindowCenter": 9999,
        "WindowWidth": 1,
    }
    assert rendered(stored, frame_number=2, **attributes).tolist() == ramp().tolist()
    expected = rendered(stored, RescaleSlope=3, RescaleIntercept=0, WindowCenter=500, WindowWidth=100)
    assert rendered(stored, frame_number=1, **attributes).tolist() == expected.tolist()
    assert rendered(stored, frame_number=99, **attributes).tolist() == expected.tolist()
    bare = rendered(stored, frame_number=1, PerFrameFunctionalGroupsSequence=[{}], WindowCenter=128, WindowWidth=256)
    assert bare.tolist() == ramp().tolist()


@pytest.mark.parametrize(
    "changes",
    [{"bits_allocated": 12}, {"bits_stored": 0}, {"rows": 17}, {"samples_per_pixel": 2}, {"samples_per_pixel": 3},
     {"rows": 1 << 20, "columns": 1 << 20}, {"bits_allocated": 24}],
)  # fmt: skip
def test_descriptions_that_cannot_be(changes: dict[str, int]) -> None:
    with pytest.raises(CodecError):
        rendered(ramp(), image=changes)
