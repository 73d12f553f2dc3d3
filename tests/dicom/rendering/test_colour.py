"""Palettes, luminance and chrominance, planes, more than eight bits (REN-008)."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels.processing import convert_color_space

from app.dicom.rendering import RenderingSource, render_frame
from app.dicom.rendering.colour import expand_segments
from app.errors import CodecError
from tests.dicom.rendering.images import description, element_of, json_of, ramp, rendered, source_of, words

COLOURS = ("Red", "Green", "Blue")


def picture(bits: int = 8, shape: tuple[int, int] = (12, 10)) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 1 << bits, (*shape, 3)).astype("u1" if bits <= 8 else "u2")


def palette(descriptor: list[int], *channels: Any, segmented: bool = False) -> dict[str, Any]:
    prefix = "Segmented" if segmented else ""
    result: dict[str, Any] = {}
    for name, data in zip(COLOURS, channels, strict=True):
        result[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
        result[f"{prefix}{name}PaletteColorLookupTableData"] = data
    return result


@pytest.mark.parametrize("photometric", ["RGB", "YBR_RCT", "YBR_ICT", "XYB", "MONOCHROME2", ""])
def test_rgb_stays(photometric: str) -> None:
    assert (rendered(picture(), photometric or "RGB") == picture()).all()


def test_planes_are_put_together() -> None:
    planes = np.ascontiguousarray(picture().transpose(2, 0, 1))
    source = RenderingSource(description(picture(), planar_configuration=1), {})
    assert (render_frame(planes.tobytes(), source) == picture()).all()


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_than_eight_bits(bits: int) -> None:
    pixels = rendered(picture(bits), image={"bits_stored": bits})
    assert np.abs(pixels - picture(bits) / ((1 << bits) - 1) * 255).max() <= 0.501


def test_fewer_than_eight_bits_use_the_whole_scale() -> None:
    pixels = rendered(picture(4), image={"bits_stored": 4})
    assert (pixels == picture(4) * 17).all()


def test_signed_colour() -> None:
    samples = np.array([[[-128, 0, 127]]], "i1")
    assert rendered(samples, image={"bits_stored": 8}).shape == (1, 1, 3)


@pytest.mark.parametrize("bits", [8, 16])
def test_ybr_full_as_pydicom_converts_it(bits: int) -> None:
    pixels = rendered(picture(bits), "YBR_FULL")
    eight = picture(bits) if bits == 8 else np.floor(picture(bits) / 257 + 0.5).astype("u1")
    theirs = convert_color_space(eight, "YBR_FULL", "RGB")
    assert np.abs(pixels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_shared_chroma(photometric: str) -> None:
    """Two luma samples and one pair of chroma samples for two pixels (PS3.3 C.7.6.3.1.2)."""
    pairs = np.random.default_rng(1).integers(16, 236, (6, 5, 4)).astype("u1")
    full = np.stack(
        [pairs[..., :2].reshape(6, 10), pairs[..., 2].repeat(2, axis=1), pairs[..., 3].repeat(2, axis=1)], axis=-1
    )
    source = RenderingSource(description(full, photometric), {})
    ours = render_frame(pairs.tobytes(), source)
    assert (ours == rendered(full, "YBR_FULL" if photometric == "YBR_FULL_422" else "YBR_PARTIAL_422")).all()


def test_partial_range() -> None:
    samples = np.array([[[16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]]], "u1")
    expected = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert np.abs(rendered(samples, "YBR_PARTIAL_422")[0].astype(int) - expected).max() <= 2


def test_an_odd_number_of_pixels_cannot_share_chroma() -> None:
    source = RenderingSource(description(np.zeros((3, 3, 3), "u1"), "YBR_FULL_422"), {})
    with pytest.raises(CodecError):
        render_frame(bytes(18), source)


def test_alpha_is_left_out() -> None:
    samples = np.random.default_rng(0).integers(0, 255, (4, 4, 4)).astype("u1")
    assert (rendered(samples, "ARGB") == samples[..., 1:]).all()


@pytest.mark.parametrize("photometric", ["HSV", "CMYK", "<script>"])
def test_unknown_colour_spaces(photometric: str) -> None:
    with pytest.raises(CodecError):
        rendered(picture(), photometric)


def test_sixteen_bit_palette() -> None:
    attributes = palette([3, 1, 16], words(0, 0x8000, 0xFFFF), words(0, 0xFF00, 0), words(0x1234, 0, 0))
    pixels = rendered(np.array([[0, 1, 2, 3, 200]], "u1"), "PALETTE COLOR", **attributes)
    first, middle, last = [0, 0, 0x12], [0x80, 0xFF, 0], [0xFF, 0, 0]
    assert pixels.tolist() == [[first, first, middle, last, last]]


@pytest.mark.parametrize("data", [bytes((1, 2, 3, 4)), words(1, 2, 3, 4), [1, 2, 3, 4]])
def test_eight_bit_palette_however_it_is_written(data: Any) -> None:
    pixels = rendered(np.array([[0, 3]], "u1"), "PALETTE COLOR", **palette([4, 0, 8], data, data, data))
    assert pixels.tolist() == [[[1, 1, 1], [4, 4, 4]]]


def test_eight_bits_that_are_called_sixteen() -> None:
    pixels = rendered(np.array([[1]], "u1"), "PALETTE COLOR", **palette([2, 0, 16], *[words(0, 200)] * 3))
    assert pixels.tolist() == [[[200, 200, 200]]]


def test_palette_of_sixteen_bit_and_signed_pixels() -> None:
    attributes = palette([2, 1000, 16], *[words(0x1100, 0x2200)] * 3)
    pixels = rendered(np.array([[999, 1000, 1001, 65535]], "u2"), "PALETTE COLOR", **attributes)
    assert pixels[0, :, 0].tolist() == [0x11, 0x11, 0x22, 0x22]
    signed = palette([2, -1, 16], *[words(0x1100, 0x2200)] * 3)
    pixels = rendered(np.array([[-2, -1, 0]], "i2"), "PALETTE COLOR", **signed)
    assert pixels[0, :, 0].tolist() == [0x11, 0x11, 0x22]


def test_palette_values_in_bulkdata() -> None:
    attributes = json_of(**palette([2, 0, 16], *[b""] * 3))
    paths = ("00281201", "00281202", "00281203")
    for path in paths:
        attributes[path] = {"vr": "OW", "BulkDataURI": f"http://archive/bulkdata/{path}"}
    samples = np.array([[0, 1]], "u1")
    source = source_of(samples, "PALETTE COLOR", attributes)
    with pytest.raises(CodecError):
        render_frame(samples.tobytes(), source)
    given_values = RenderingSource(source.image, source.attributes, dict.fromkeys(paths, words(0x1100, 0xAA00)))
    assert render_frame(samples.tobytes(), given_values)[0, :, 0].tolist() == [0x11, 0xAA]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        palette([2, 0, 16], b"", b"", b""),
        palette([2, 0, 12], *[words(1, 2)] * 3),
        palette([2, 0], *[words(1, 2)] * 3),
        palette([-1, 0, 16], *[words(1, 2)] * 3),
        palette([4, 0, 16], *[words(1, 1, 5)] * 3, segmented=True),
    ],
)
def test_palettes_that_cannot_be_read(attributes: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        rendered(ramp(), "PALETTE COLOR", **attributes)


def test_a_palette_for_values_beyond_all_words() -> None:
    attributes = json_of(**palette([2, 0, 16], *[words(1, 2)] * 3))
    for tag in ("00281101", "00281102", "00281103"):
        attributes[tag] = {"vr": "FD", "Value": [2, 1e300, 16]}
    source = source_of(ramp(), "PALETTE COLOR", attributes)
    with pytest.raises(CodecError):
        render_frame(ramp().tobytes(), source)


def test_segmented_palette() -> None:
    """Discrete, linear and indirect segments (PS3.3 C.7.9.2)."""
    segments = words(0, 2, 0, 100, 1, 4, 500, 0, 1, 7, 2, 2, 0, 0)
    attributes = palette([13, 0, 16], *[segments] * 3, segmented=True)
    expected = [0, 100, 200, 300, 400, 500, 7, 0, 100, 200, 300, 400, 500]
    assert expand_segments(np.frombuffer(segments, "<u2").tolist(), 13, 2).tolist() == expected
    pixels = rendered(np.arange(13, dtype="u1").reshape(1, 13), "PALETTE COLOR", **attributes)
    assert pixels[0, :, 1].tolist() == [value >> 8 for value in expected]


def test_indirect_segments_count_bytes() -> None:
    """The second segment begins at word 4, byte 8."""
    values = [0, 2, 9, 9, 0, 1, 77, 2, 1, 8, 0]
    assert expand_segments(values, 4, 2).tolist() == [9, 9, 77, 77]


def test_copies_of_empty_segments_take_no_time() -> None:
    empty, copies = [0, 0] * 30_000, [2, 65_535, 6, 0] * 1_000
    started = time.process_time()
    assert expand_segments([0, 1, 5, *empty, *copies], 100, 2).tolist() == [5]
    assert time.process_time() - started < 2


def test_segments_of_eight_bits() -> None:
    values = [0, 1, 10, 1, 2, 20, 2, 1, 3, 0, 0, 0]
    assert expand_segments(values, 5, 1).tolist() == [10, 15, 20, 20, 20]


@pytest.mark.parametrize(
    "values",
    [[1, 3, 9], [0, 9, 1], [3, 1, 1], [0, 1, 5, 2, 1, 6, 0], [0, 1, 5, 2, 1, 1, 0], [0, 1, 5, 2, 1], [], [0]],
)
def test_broken_segments(values: list[int]) -> None:
    assert expand_segments(values, 100, 2) is None


@given(st.lists(st.integers(0, 65535) | st.integers(0, 2), max_size=60), st.sampled_from([1, 2]))
def test_segments_are_bounded(values: list[int], entry_bytes: int) -> None:
    result = expand_segments(values, 256, entry_bytes)
    assert result is None or 0 < result.size <= 256


def test_a_supplemental_palette() -> None:
    attributes = palette([2, 100, 16], words(0xFF00, 0), words(0, 0xFF00), words(0, 0)) | {"PixelPresentation": "COLOR"}
    pixels = rendered(np.array([[0, 99, 100, 101]], "u1"), **attributes)
    assert pixels.tolist() == [[[0, 0, 0], [99, 99, 99], [255, 0, 0], [0, 255, 0]]]


def test_a_supplemental_palette_of_one_frame() -> None:
    attributes = palette([1, 5, 16], words(0xFF00), words(0x0100), words(0)) | {
        "PerFrameFunctionalGroupsSequence": [
            {"MRImageFrameTypeSequence": [{"PixelPresentation": "MONOCHROME"}]},
            {"MRImageFrameTypeSequence": [{"PixelPresentation": "COLOR"}]},
        ],
        "PixelPresentation": "MIXED",
    }
    assert rendered(ramp(), frame_number=1, **attributes).ndim == 2
    assert rendered(ramp(), frame_number=2, **attributes).ndim == 3


def test_a_palette_beside_grey_pixels_is_not_used() -> None:
    assert rendered(ramp(), **palette([2, 0, 16], *[words(1, 2)] * 3)).ndim == 2


def test_elements_of_sequences_are_read_at_their_path() -> None:
    table = {"LUTDescriptor": [2, 0, 8], "LUTData": [0, 255]}
    attributes = json_of(VOILUTSequence=[table])
    attributes["00283010"]["Value"][0]["00283006"] = {"vr": "OW", "BulkDataURI": "/x"}
    samples = np.array([[0, 1]], "u1")
    source = source_of(samples, "", attributes)
    known = RenderingSource(source.image, source.attributes, {"00283010.1.00283006": words(255, 0)})
    assert render_frame(samples.tobytes(), known).tolist() == [[255, 0]]
    assert element_of("US", 1) == {"vr": "US", "Value": [1]}
