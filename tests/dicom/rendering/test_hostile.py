"""Attributes and pixels of strangers: an image or one of our errors, in bounded time and memory."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.dicom.layout import ImagePixel
from app.dicom.rendering import (
    IccProfileChoice,
    RenderingParameters,
    RenderingSource,
    Viewport,
    Window,
    apply_icc_profile,
    needed_bulkdata,
    read_presentation_state,
    render_frame,
)
from app.dicom.rendering.attribute_reader import MAX_NUMBERS, AttributeReader
from app.dicom.rendering.functional_groups import frame_text
from app.dicom.rendering.presentation_state import GRAYSCALE_SOFTCOPY, PSEUDO_COLOR_SOFTCOPY
from app.errors import GantryError
from tests.dicom.rendering.images import json_of, ramp, rendered

TAGS = [
    "00281050", "00281051", "00281052", "00281053", "00281056", "00283000", "00283010", "00283002", "00283006", "00280120",
    "00280121", "20500020", "20500010", "00281101", "00281102", "00281103", "00281201", "00281202", "00281203", "00281221",
    "00281222", "00281223", "00089205", "52009229", "52009230", "00289132", "00289145", "00282000", "00480105", "00080016",
    "00700001", "00700002", "00700005", "00700006", "00700008", "00700009", "00700010", "00700011", "00700014", "00700022",
    "00700023", "00700024", "00700041", "00700042", "00700052", "00700053", "0070005A", "00700060", "00700062", "00700066",
    "00700100", "00700101", "00700102", "00700103", "00700401", "00283110", "00181600", "00181602", "00181604", "00181606",
    "00181608", "00181610", "00181612", "00181620", "00181622", "00181623", "00181624", "60000010", "60000011", "60000015",
    "60000050", "60000051", "60000102", "60001001", "60003000", "00080018", "00081115", "00081140", "00100010", "0062000E",
]  # fmt: skip
numbers = st.integers(-(2**33), 2**33) | st.floats() | st.integers(-3, 20)
words_of_the_standard = st.sampled_from(
    ["INVERSE", "IDENTITY", "COLOR", "MIXED", "SIGMOID", "LINEAR_EXACT", "PIXEL", "DISPLAY", "POLYLINE", "CIRCLE", "ELLIPSE",
     "INTERPOLATED", "POINT", "Y", "MAGNIFY", "SCALE TO FIT", "RECTANGULAR", "CIRCULAR", "POLYGONAL", "BITMAP", "A",
     "1.2.840.10008.5.1.4.1.1.66.4", "FRACTIONAL"]
)  # fmt: skip
scalars = numbers | words_of_the_standard | st.text(max_size=6) | st.none() | st.booleans()


def elements(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    vrs = st.sampled_from(["US", "SS", "DS", "FL", "SQ", "OW", "CS", "LO", "XX", "OB"])
    return (
        st.fixed_dictionaries({"vr": vrs, "Value": st.lists(items, max_size=6)})
        | st.fixed_dictionaries(
            {"vr": vrs, "InlineBinary": st.sampled_from(["", "AAECAwQFBgc=", "/////w==", "!", "A"])}
        )
        | st.fixed_dictionaries({"vr": vrs, "BulkDataURI": st.just("http://x")})
        | items
    )


values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.dictionaries(st.sampled_from(TAGS), elements(inner), max_size=5), max_leaves=15
)
data_sets = st.dictionaries(st.sampled_from(TAGS), elements(values), max_size=12)
images = st.builds(
    ImagePixel,
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    samples_per_pixel=st.sampled_from([1, 1, 3, 4, 2]),
    photometric_interpretation=st.sampled_from(
        [
            "MONOCHROME1",
            "MONOCHROME2",
            "PALETTE COLOR",
            "RGB",
            "YBR_FULL",
            "YBR_FULL_422",
            "YBR_PARTIAL_420",
            "ARGB",
            "?",
        ]
    ),
    planar_configuration=st.integers(0, 2),
    bits_allocated=st.sampled_from([1, 8, 16, 32, 64, 12]),
    bits_stored=st.integers(0, 33),
    high_bit=st.integers(-1, 40),
    pixel_representation=st.integers(0, 2),
    number_of_frames=st.just(1),
)
parameters = st.builds(
    RenderingParameters,
    annotation=st.sampled_from([(), ("patient", "technique")]),
    viewport=st.none() | st.builds(Viewport, st.integers(1, 40), st.integers(1, 40)),
    window=st.none() | st.builds(Window, st.floats(-1e9, 1e9), st.floats(1, 1e9)),
)
unhurried = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(images, data_sets, parameters, st.integers(0, 5), st.binary(max_size=40))
def test_images(
    image: ImagePixel, attributes: dict[str, Any], wanted: RenderingParameters, frame_number: int, noise: bytes
) -> None:
    frame = (noise + b"\x7f") * (9 * 9 * 4 * 8 // (len(noise) + 1) + 1)
    paths = needed_bulkdata(attributes, frame_number)
    source = RenderingSource(image, attributes, dict.fromkeys(paths, noise))
    try:
        pixels = render_frame(frame, source, frame_number, wanted)
        apply_icc_profile(pixels, source, IccProfileChoice.YES)
    except GantryError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2 or pixels.shape[2] == 3
    if wanted.viewport is None:
        assert pixels.shape[:2] == (image.rows, image.columns)


@unhurried
@given(data_sets, data_sets, st.sampled_from([GRAYSCALE_SOFTCOPY, PSEUDO_COLOR_SOFTCOPY]), st.binary(max_size=24))
def test_presentation_states(attributes: dict[str, Any], extra: dict[str, Any], sop_class: str, noise: bytes) -> None:
    needed = json_of(
        SOPClassUID=sop_class, ReferencedSeriesSequence=[{"ReferencedImageSequence": [{"Modality": "CT"}]}]
    )
    dataset = attributes | needed
    state = read_presentation_state(dataset, dict.fromkeys(needed_bulkdata(dataset), noise))
    image = ImagePixel(8, 8, 1, "MONOCHROME2", 0, 8, 8, 7, 0, 1)
    wanted = RenderingParameters(viewport=Viewport(30, 20))
    try:
        pixels = render_frame(bytes(range(64)), RenderingSource(image, extra), 1, wanted, state)
    except GantryError:
        return
    assert pixels.shape[0] <= 20
    assert pixels.shape[1] <= 30


@pytest.mark.parametrize(
    "attributes",
    [
        {"00281050": None},
        {"00281050": []},
        {"00281050": {"vr": "DS", "Value": "40"}},
        {"00281050": {"vr": "DS", "Value": [{"x": 1}]}, "00281051": {"vr": "DS", "Value": [[1]]}},
        {"52009230": {"vr": "SQ", "Value": [None, 5]}},
        {"00283010": {"vr": "SQ", "Value": [{"00283002": {"vr": "US", "Value": [1e308, 0, 16]}}]}},
        {"00281052": {"vr": "DS", "Value": [1e308]}, "00281053": {"vr": "DS", "Value": [1e308]}},
    ],
)
def test_json_that_is_not_as_it_should_be(attributes: dict[str, Any]) -> None:
    image = ImagePixel(16, 16, 1, "MONOCHROME2", 0, 16, 16, 15, 0, 1)
    assert render_frame(ramp(kind="u2").tobytes(), RenderingSource(image, attributes)).shape == (16, 16)


def test_values_are_read_up_to_a_bound() -> None:
    reader = AttributeReader({"00700022": {"vr": "FL", "Value": [1.0] * (MAX_NUMBERS + 5)}})
    assert len(reader.numbers("00700022")) == MAX_NUMBERS
    outside = AttributeReader({"00700022": {"vr": "FL", "BulkDataURI": "x"}}, {"00700022": bytes(4 * MAX_NUMBERS + 40)})
    assert len(outside.numbers("00700022")) == MAX_NUMBERS
    decimal = AttributeReader({"00281050": {"vr": "DS", "BulkDataURI": "x"}}, {"00281050": b"1\\2.5 \\x"})
    assert decimal.numbers("00281050") == (1.0, 2.5)


@pytest.mark.parametrize(
    ("element", "numbers_read"),
    [
        ({"vr": "DS", "Value": [1, "2.5", None, 3]}, (1.0, 2.5)),
        ({"vr": "FD", "Value": ["NaN", 1]}, ()),
        ({"vr": "FD", "Value": ["Infinity"]}, ()),
        ({"vr": "OW", "InlineBinary": "AQACAA=="}, (1.0, 2.0)),
        ({"vr": "US"}, ()),
        ("nonsense", ()),
    ],
)
def test_numbers(element: Any, numbers_read: tuple[float, ...]) -> None:
    assert AttributeReader({"00281050": element}).numbers("00281050") == numbers_read


def test_texts() -> None:
    reader = AttributeReader(
        {
            "00100010": {"vr": "PN", "Value": [{"Ideographic": "山田"}]},
            "00100020": {"vr": "LO", "Value": [None, 5]},
            "0040A160": {"vr": "UT", "BulkDataURI": "x"},
        },
        {"0040A160": b"long\0"},
    )
    assert reader.text("00100010") == "山田"
    assert reader.texts("00100020") == ("", "5")
    assert reader.text("0040A160") == "long"
    assert reader.text("00100030") == ""
    assert not reader.has("00100030")
    assert frame_text(reader, 1, "00100030") == ""


def test_memory_follows_from_the_output() -> None:
    """A viewport of 2,000 pixels on 4,000 x 4,000: the image, its words and the result, not a multiple."""
    samples = np.zeros((4000, 4000), "u2")
    tracemalloc.start()
    rendered(samples, parameters=RenderingParameters(viewport=Viewport(2000, 2000)), WindowCenter=5, WindowWidth=9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80_000_000
