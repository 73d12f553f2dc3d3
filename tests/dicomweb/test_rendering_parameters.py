"""Query parameters of rendered resources and thumbnails: values, and everything that is 400 (PS3.18 8.3.5)."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.rendering import IccProfileChoice, RenderingParameters, Viewport, VoiFunction, Window
from app.dicomweb.rendering_parameters import (
    RENDERING_PARAMETERS,
    RenderingQuery,
    check_icc_profile,
    parse_rendering_parameters,
    parse_thumbnail_viewport,
    without_unused,
)
from app.errors import InvalidParameter


def parse(query: str) -> RenderingQuery:
    return parse_rendering_parameters(parse_qsl(query, keep_blank_values=True))


def test_nothing_is_asked() -> None:
    assert parse("") == RenderingQuery(RenderingParameters())
    assert parse("accept=image/png&foo=1&Quality=0&WINDOW=x") == RenderingQuery(RenderingParameters())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64,32", Viewport(64, 32)),
        (" 64 , 32 ", Viewport(64, 32)),
        ("64,32,1,2,3,4", Viewport(64, 32, 1, 2, 3, 4)),
        ("512,512,,,256,256", Viewport(512, 512, 0, 0, 256, 256)),
        ("512,512,10", Viewport(512, 512, 10)),
        ("512,512,,10", Viewport(512, 512, 0, 10)),
        ("512,512,,,,-256", Viewport(512, 512, 0, 0, None, -256)),
        ("64,64,0,0,-64,64", Viewport(64, 64, 0, 0, -64, 64)),
        ("64,64,0.5,1.25,10.5,1e1", Viewport(64, 64, 0.5, 1.25, 10.5, 10)),
        ("64,64,-8,-0.5,10,-10", Viewport(64, 64, 8, 0.5, 10, -10)),
    ],
)
def test_viewport(text: str, expected: Viewport) -> None:
    found = parse(f"viewport={text}")
    assert found.parameters.viewport == expected
    assert found.has_source_region == (text.count(",") > 1)


@pytest.mark.parametrize(
    "text",
    [
        "", "64", "64,", ",64", "0,10", "10,0", "-1,10", "10,-1", "1.5,10", "+64,64", "a,b", "64,64,", "64,64,,",
        "64,64,,,", "64,64,,,,", "64,64,0,0,0,1", "64,64,0,0,1,0", "64,64,--1,0,1,1", "64,64,0,0,1,1,1", "64;64",
        "64,64,x", "64,64,nan", "64,64,inf", "64,64,0,0,1e999", "99999,99999", "999999999999,1", "40000,1", "٣,٣",
    ],
)  # fmt: skip
def test_viewport_ill_formed(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_rendering_parameters([("viewport", text)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40,400,linear", Window(40, 400, VoiFunction.LINEAR)),
        ("-600.5,1500,linear-exact", Window(-600.5, 1500, VoiFunction.LINEAR_EXACT)),
        ("4e1,.5,sigmoid", Window(40, 0.5, VoiFunction.SIGMOID)),
    ],
)
def test_window(text: str, expected: Window) -> None:
    assert parse(f"window={text}").parameters.window == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "40", "40,400", "40,400,", "40,400,foo", "40,400,LINEAR", "a,400,linear", "40,b,linear", ",400,linear",
        "40,,linear", "40,400,linear,", "40,0,linear", "40,-1,sigmoid", "40,0.5,linear", "nan,400,linear",
        "1e999,400,linear", "40,inf,linear", "--1,400,linear", "4 0,400,linear",
    ],
)  # fmt: skip
def test_window_ill_formed(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_rendering_parameters([("window", text)])


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("100", 100), ("075", 75)])
def test_quality(text: str, expected: int) -> None:
    assert parse(f"quality={text}").parameters.quality == expected


@pytest.mark.parametrize("text", ["", "0", "101", "x", "1.5", "-1", "+1", " ", "1e1", "9" * 5000])
def test_quality_ill_formed(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_rendering_parameters([("quality", text)])


@pytest.mark.parametrize(
    ("text", "supported", "others"),
    [
        ("patient", ("patient",), ()),
        ("technique,patient", ("patient", "technique"), ()),
        ("patient,foo", ("patient",), ("foo",)),
        ("foo,bar,foo", (), ("foo", "bar")),
        ("Patient", (), ("Patient",)),
    ],
)
def test_annotation(text: str, supported: tuple[str, ...], others: tuple[str, ...]) -> None:
    found = parse(f"annotation={text}")
    assert found.parameters.annotation == supported
    assert found.unsupported_annotations == others


@pytest.mark.parametrize(
    "text", ["", ",", "patient,", "a b", "1st", "<script>", "pati\u00ebnt", ",".join(["a"] * 33), "x" * 65, "a\r\nb"]
)
def test_annotation_ill_formed(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_rendering_parameters([("annotation", text)])


@pytest.mark.parametrize("choice", list(IccProfileChoice))
def test_icc_profile(choice: IccProfileChoice) -> None:
    assert parse(f"iccprofile={choice}").parameters.iccprofile is choice


@pytest.mark.parametrize("text", ["", "SRGB", "maybe", "no,yes"])
def test_icc_profile_ill_formed(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_rendering_parameters([("iccprofile", text)])


@pytest.mark.parametrize("name", RENDERING_PARAMETERS)
def test_a_parameter_given_twice(name: str) -> None:
    value = {"annotation": "patient", "quality": "5", "viewport": "1,1", "window": "1,1,linear", "iccprofile": "no"}[
        name
    ]
    parse_rendering_parameters([(name, value)])
    with pytest.raises(InvalidParameter, match="more than once"):
        parse_rendering_parameters([(name, value), (name, value)])


def test_what_can_hold_a_profile() -> None:
    for choice in IccProfileChoice:
        parameters = RenderingParameters(iccprofile=choice)
        for media_type in ("image/jpeg", "image/png", "image/jp2"):
            check_icc_profile(parameters, media_type)
        if choice is IccProfileChoice.NO:
            check_icc_profile(parameters, "image/gif")
        else:
            for media_type in ("image/gif", "text/html", "video/mp4", "application/pdf"):
                with pytest.raises(InvalidParameter):
                    check_icc_profile(parameters, media_type)
    check_icc_profile(RenderingParameters(), "image/gif")


def test_quality_is_nothing_to_what_loses_nothing() -> None:
    parameters = RenderingParameters(quality=5, window=Window(1, 2))
    assert without_unused(parameters, lossy=False) == RenderingParameters(window=Window(1, 2))
    assert without_unused(parameters, lossy=True) is parameters


def test_thumbnail_viewport() -> None:
    assert parse_thumbnail_viewport([]) is None
    assert parse_thumbnail_viewport([("window", "x"), ("annotation", ""), ("quality", "0")]) is None
    assert parse_thumbnail_viewport([("viewport", "64,32")]) == Viewport(64, 32)
    for text in ("64", "64,64,0,0,1,1", "64,64,0", "64,64,", "0,64", "", "64,x"):
        with pytest.raises(InvalidParameter):
            parse_thumbnail_viewport([("viewport", text)])
    with pytest.raises(InvalidParameter):
        parse_thumbnail_viewport([("viewport", "1,1"), ("viewport", "1,1")])


@given(st.lists(st.tuples(st.sampled_from(RENDERING_PARAMETERS), st.text(max_size=60)), max_size=4))
def test_any_text_is_values_or_one_kind_of_error(query: list[tuple[str, str]]) -> None:
    try:
        found = parse_rendering_parameters(query)
    except InvalidParameter:
        return
    assert found.parameters.quality is None or 1 <= found.parameters.quality <= 100


_number = st.one_of(st.integers(-9999, 9999), st.floats(-1e6, 1e6, allow_nan=False)).map(str)


@given(
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.lists(st.one_of(st.just(""), _number), max_size=4),
)
def test_viewports_of_any_numbers(width: int, height: int, items: list[str]) -> None:
    text = ",".join([str(width), str(height), *items])
    try:
        viewport = parse_rendering_parameters([("viewport", text)]).parameters.viewport
    except InvalidParameter:
        region = [float(item) if item else None for item in items] + [None] * (4 - len(items))
        _, _, region_width, region_height = region
        assert (items and not items[-1]) or region_width == 0 or region_height == 0
    else:
        assert viewport is not None
        assert (viewport.width, viewport.height) == (width, height)
