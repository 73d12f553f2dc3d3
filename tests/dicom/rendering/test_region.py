"""Viewports in all their forms (PS3.18 8.3.5.1.3; REN-014 to REN-018, REN-030, REN-031)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.rendering import RenderingParameters, Viewport
from app.dicom.rendering.region import fitted_size, plan_region, resample, resized
from app.errors import InvalidParameter
from tests.dicom.rendering.images import ramp, rendered


def viewed(samples: np.ndarray, *numbers: float | None) -> np.ndarray:
    return rendered(samples, parameters=RenderingParameters(viewport=Viewport(*numbers)))


def test_without_a_viewport_the_matrix_is_the_size() -> None:
    assert rendered(ramp((5, 9))).shape == (5, 9)


@pytest.mark.parametrize(
    ("viewport", "size"),
    [((100, 100), (50, 100)), ((10, 100), (5, 10)), ((1000, 10), (10, 20)), ((1, 1), (1, 1)), ((3, 1000), (2, 3))],
)
def test_aspect_is_kept_within_the_viewport(viewport: tuple[int, int], size: tuple[int, int]) -> None:
    assert viewed(ramp((8, 16)), *viewport).shape == size


@given(*[st.integers(1, 3000)] * 4)
def test_sizes_fit_and_touch(width: int, height: int, viewport_width: int, viewport_height: int) -> None:
    columns, rows = fitted_size(width, height, viewport_width, viewport_height)
    assert 1 <= columns <= viewport_width
    assert 1 <= rows <= viewport_height
    assert columns == viewport_width or rows == viewport_height
    scale = min(viewport_width / width, viewport_height / height)
    for size, exact in ((columns, width * scale), (rows, height * scale)):
        assert size == 1 or abs(size - exact) <= 0.5 + 1e-9


def test_a_region_is_cut_out() -> None:
    assert viewed(ramp(), 4, 4, 2, 3, 4, 4).tolist() == ramp()[3:7, 2:6].tolist()


def test_a_region_without_its_size_goes_to_the_edge() -> None:
    assert viewed(ramp(), 6, 4, 10, 12).tolist() == ramp()[12:, 10:].tolist()


def test_a_region_without_its_corner_begins_at_the_first_pixel() -> None:
    assert viewed(ramp(), 4, 4, 0, 0, 4, 4).tolist() == ramp()[:4, :4].tolist()


def test_a_region_beyond_the_edge_ends_there() -> None:
    assert viewed(ramp(), 2, 2, 14, 14, 100, 100).tolist() == ramp()[14:, 14:].tolist()


def test_flips() -> None:
    """REN-017: a negative width mirrors left and right, a negative height top and bottom."""
    assert viewed(ramp(), 16, 16, 0, 0, -16, 16).tolist() == ramp()[:, ::-1].tolist()
    assert viewed(ramp(), 16, 16, 0, 0, 16, -16).tolist() == ramp()[::-1].tolist()
    assert viewed(ramp(), 4, 4, 2, 3, -4, -4).tolist() == ramp()[3:7, 2:6][::-1, ::-1].tolist()


def test_flips_of_a_scaled_region() -> None:
    plain, flipped = viewed(ramp(), 33, 33, 1.5, 2, 7, 7), viewed(ramp(), 33, 33, 1.5, 2, -7, 7)
    assert (flipped == plain[:, ::-1]).all()


def test_upscaling_interpolates() -> None:
    """REN-015."""
    pixels = viewed(np.array([[0, 255]], "u1"), 8, 8)
    assert pixels.shape == (4, 8)
    assert (np.diff(pixels[0].astype(int)) >= 0).all()
    assert pixels[0, 0] == 0
    assert pixels[0, -1] == 255
    assert 60 < pixels[0, 3] < 130


def test_downscaling_averages() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels = viewed(checks.astype("u1"), 8, 8)
    assert np.abs(pixels.astype(int) - 128).max() <= 2


def test_parts_of_pixels() -> None:
    pixels = viewed(np.array([[0, 200]], "u1"), 1, 1, 0.5, 0, 1, 1)
    assert 90 <= pixels[0, 0] <= 110


def test_colours_are_resampled_alike() -> None:
    grey = ramp((20, 20))
    colour = np.repeat(grey[..., None], 3, axis=-1)
    assert (viewed(colour, 7, 7)[..., 1] == viewed(grey, 7, 7)).all()


def test_large_reductions() -> None:
    assert viewed(np.full((1000, 900), 77, "u1"), 9, 10).tolist() == [[77] * 9] * 10


@pytest.mark.parametrize(
    "numbers",
    [(0, 10), (10, 0), (-1, 5), (5, -1), (5, 5, -1, 0), (5, 5, 0, -1), (5, 5, 0, 0, 0, 5), (5, 5, 0, 0, 5, 0),
     (5, 5, math.nan, 0), (5, 5, 0, math.inf), (5, 5, 0, 0, math.nan, 5), (5, 5, 0, 0, math.inf, 5),
     (40000, 1), (20000, 20000)],
)  # fmt: skip
def test_viewports_that_cannot_be(numbers: tuple[float, ...]) -> None:
    with pytest.raises(InvalidParameter):
        Viewport(*numbers)


@pytest.mark.parametrize("numbers", [(5, 5, 16, 0), (5, 5, 0, 16), (5, 5, 999, 999, 5, 5)])
def test_regions_outside_of_the_image(numbers: tuple[float, ...]) -> None:
    with pytest.raises(InvalidParameter):
        viewed(ramp(), *numbers)


def test_what_selects_a_region() -> None:
    assert not Viewport(5, 5).selects_region
    assert not Viewport(5, 5, 0, 0).selects_region
    assert Viewport(5, 5, 1).selects_region
    assert Viewport(5, 5, 0, 0, 5).selects_region


def test_results_own_their_memory() -> None:
    region = plan_region(16, 16, Viewport(4, 4, 0, 0, -4, 4))
    assert resample(ramp(), region).flags["C_CONTIGUOUS"]


def test_the_size_of_a_result_is_bounded() -> None:
    with pytest.raises(InvalidParameter):
        resized(ramp(), 1 << 14, 1 << 14)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality(quality: int) -> None:
    """REN-019."""
    with pytest.raises(InvalidParameter):
        RenderingParameters(quality=quality)
    assert RenderingParameters(quality=100).quality == 100
