"""Query parameters of rendered resources: window, viewport, quality, annotation, iccprofile (PS3.18 8.3.5.1)."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.conformance.corpus import Corpus
from tests.conformance.displayed import (
    Pixels,
    close,
    decoded,
    grey_item,
    linear,
    linear_exact,
    png,
    ramp,
    sigmoid,
    stored,
    structural_similarity,
)
from tests.conformance.instances import Item
from tests.support.http import Peer

VALUES = ramp(40, 60, -1024, 3071, "<i2")
IDENTITY = "window=127.5,256,linear"  # of the 8-bit image: its values as they are


@pytest.fixture(scope="module")
def ct(peer: Peer, corpus: Corpus) -> Item:
    """Hounsfield units from -1024 to 3071, stored without offset."""
    return stored(peer, grey_item(corpus.maker, "hounsfield", VALUES, RescaleIntercept="0", RescaleSlope="1"))


@pytest.fixture(scope="module")
def rescaled(peer: Peer, corpus: Corpus) -> Item:
    """The same shown, stored with slope and intercept."""
    values = ((VALUES.astype("i4") + 1024) // 2).astype("<u2")
    return stored(peer, grey_item(corpus.maker, "slope", values, RescaleIntercept="-1024", RescaleSlope="2"))


@pytest.fixture(scope="module")
def photo(peer: Peer, corpus: Corpus) -> Item:
    """Smooth, and different in each corner."""
    rows, columns = np.mgrid[0:48, 0:64]
    values = (rows * 3 + columns * 1.5).round().astype("u1")
    return stored(peer, grey_item(corpus.maker, "corners", values, PatientSex="F", KVP="120"))


@pytest.mark.proves("REN-010", "REN-011")
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (0.5, 1.5), (1000, 3), (500, 60000)])
def test_window(peer: Peer, ct: Item, rescaled: Item, center: float, width: float) -> None:
    for item, values in ((ct, VALUES), (rescaled, (VALUES.astype("i4") + 1024) // 2 * 2 - 1024)):
        for name, formula in (("linear", linear), ("linear-exact", linear_exact), ("sigmoid", sigmoid)):
            shown = png(peer, f"{item.path}/rendered", f"window={center},{width},{name}")
            assert close(shown, formula(values, center, width))


@pytest.mark.proves("REN-012", "REN-013")
@pytest.mark.parametrize(
    "window",
    [
        "40,400",
        "a,400,linear",
        "40,400,foo",
        "40,b,linear",
        "",
        "40",
        "40,0,linear",
        "40,-5,sigmoid",
        "40,400,linear,1",
    ],
)
def test_window_ill_formed(peer: Peer, ct: Item, window: str) -> None:
    for resource in ("", "/frames/1"):
        response = peer.get(f"{ct.path}{resource}/rendered", "*/*", f"window={window}")
        assert response.status_code == 400
        assert "window" in response.text
    assert peer.get(f"{ct.series_path}/rendered", "*/*", f"window={window}").status_code == 400


def test_window_of_the_object(peer: Peer, corpus: Corpus) -> None:
    """Without the parameter, the first window that the object names (PS3.3 C.11.2)."""
    named = grey_item(
        corpus.maker, "windowed", VALUES, WindowCenter="50\\400", WindowWidth="350\\2000", VOILUTFunction="LINEAR_EXACT"
    )
    shown = png(peer, f"{stored(peer, named).path}/rendered")
    assert close(shown, linear_exact(VALUES, 50, 350))


@pytest.mark.proves("REN-014", "REN-015")
@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        ("32,24", (24, 32)), ("32,32", (24, 32)), ("100,24", (24, 32)), ("32,1000", (24, 32)), ("1,1", (1, 1)),
        ("128,96", (96, 128)), ("640,1000", (480, 640)), ("64,48", (48, 64)),
    ],
)  # fmt: skip
def test_viewport_scales_and_keeps_the_aspect(peer: Peer, photo: Item, viewport: str, size: tuple[int, int]) -> None:
    whole = png(peer, f"{photo.path}/rendered")
    assert whole.shape == (48, 64)
    shown = png(peer, f"{photo.path}/rendered", f"viewport={viewport}")
    assert shown.shape == size
    if min(size) > 1:
        reference = Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR)
        assert close(shown, np.asarray(reference).astype(float), 3)


@pytest.mark.proves("REN-016")
@pytest.mark.parametrize(
    ("viewport", "expected"),
    [
        ("16,12,8,4,16,12", np.s_[4:16, 8:24]),
        ("64,48,,,16,12", np.s_[0:12, 0:16]),
        ("48,44,16,4", np.s_[4:, 16:]),
        ("64,44,,4", np.s_[4:, :]),
        ("16,48,,,16", np.s_[:, :16]),
        ("64,12,,,,12", np.s_[:12, :]),
        ("32,32,32,16,99,99", np.s_[16:, 32:]),
        ("16,12,-8,4,16,12", np.s_[4:16, 8:24]),
        ("16,12,8.0,-4.0,16,12.0", np.s_[4:16, 8:24]),
    ],
)
def test_viewport_crops(peer: Peer, photo: Item, viewport: str, expected: tuple[slice, slice]) -> None:
    """8.3.5.1.3: sx and sy are decimal numbers whose absolute values say where the region begins."""
    whole = png(peer, f"{photo.path}/rendered", IDENTITY)
    part = whole[expected]
    shown = png(peer, f"{photo.path}/rendered", f"viewport={viewport}&{IDENTITY}")
    if shown.shape == part.shape:
        assert (shown == part).all()
    else:
        assert shown.shape == (48, 64)  # the sizes above have one aspect: scaled up without distortion
        reference = Image.fromarray(np.ascontiguousarray(part)).resize((64, 48), Image.Resampling.BILINEAR)
        assert close(shown, np.asarray(reference).astype(float), 3)


@pytest.mark.proves("REN-017")
def test_viewport_flips(peer: Peer, photo: Item) -> None:
    whole = png(peer, f"{photo.path}/rendered", IDENTITY)

    def shown(viewport: str) -> Pixels:
        return png(peer, f"{photo.path}/rendered", f"viewport={viewport}&{IDENTITY}")

    assert (shown("64,48,0,0,-64,48") == whole[:, ::-1]).all()
    assert (shown("64,48,0,0,64,-48") == whole[::-1]).all()
    assert (shown("64,48,,,-64,-48") == whole[::-1, ::-1]).all()
    assert (shown("16,12,8,4,-16,12") == whole[4:16, 8:24][:, ::-1]).all()


@pytest.mark.proves("REN-018")
@pytest.mark.parametrize(
    "viewport",
    [
        "0,10",
        "10,0",
        "10",
        "",
        "a,10",
        "-10,10",
        "1.5,10",
        "10,10,",
        "10,10,,,0,5",
        "10,10,0,0,5,5,5",
        "10,10,x",
        "10,10,,-",
    ],
)
def test_viewport_ill_formed(peer: Peer, photo: Item, viewport: str) -> None:
    for resource in ("", "/frames/1"):
        assert peer.get(f"{photo.path}{resource}/rendered", "*/*", f"viewport={viewport}").status_code == 400
    assert peer.get(f"{photo.study_path}/rendered", "*/*", f"viewport={viewport}").status_code == 400


def test_viewports_that_cannot_be_had(peer: Peer, photo: Item) -> None:
    for viewport in ("10,10,64,0", "10,10,0,48,1,1", "100000,100000", "999999999,1"):
        for level in (photo.path, photo.series_path):
            response = peer.get(f"{level}/rendered", "*/*", f"viewport={viewport}")
            assert response.status_code == 400


@pytest.mark.proves("REN-019")
def test_quality(peer: Peer, corpus: Corpus, photo: Item) -> None:
    path = f"{corpus['JPEG-lossy.dcm'].path}/rendered"
    sizes = [len(peer.get(path, "image/jpeg", f"quality={quality}").content) for quality in (1, 30, 75, 100)]
    assert sizes == sorted(sizes)
    assert sizes[3] > 2 * sizes[0]
    exact = png(peer, path)
    images = [decoded(peer.get(path, "image/jpeg", f"quality={quality}").content) for quality in (5, 95)]
    errors = [np.abs(shown.astype(int) - exact).mean() for shown in images]
    assert errors[1] < errors[0]
    for quality in ("0", "101", "x", "", "1.5", "-1"):
        assert peer.get(path, "image/jpeg", f"quality={quality}").status_code == 400
        assert peer.get(path, "image/png", f"quality={quality}").status_code == 400
    assert (png(peer, path, "quality=1") == exact).all()


@pytest.mark.proves("REN-020", "REN-022")
def test_annotation_is_burned_in(peer: Peer, photo: Item) -> None:
    size = "viewport=640,480"
    plain = png(peer, f"{photo.path}/rendered", size)
    assert (plain == png(peer, f"{photo.path}/rendered", f"{size}&foo=bar")).all()
    changed = {}
    for words in ("patient", "technique", "patient,technique"):
        shown = png(peer, f"{photo.path}/rendered", f"{size}&annotation={words}")
        assert shown.shape == plain.shape
        changed[words] = shown != plain
        assert 50 < changed[words].sum() < plain.size / 4
        assert shown[changed[words]].max() == 255  # white letters
    assert not (changed["patient"] & changed["technique"]).any()
    assert (changed["patient,technique"] == (changed["patient"] | changed["technique"])).all()


@pytest.mark.proves("REN-021")
def test_unknown_annotations_are_named(peer: Peer, photo: Item) -> None:
    text = "The following annotation values are not supported: foo"
    for path in (photo.path, f"{photo.path}/frames/1", photo.series_path):
        response = peer.get(
            f"{path}/rendered", 'image/png, multipart/related; type="image/png"', "annotation=patient,foo"
        )
        assert response.status_code == 200
        assert response.headers["warning"].startswith("299 ")
        assert text in response.headers["warning"]
    known = peer.get(f"{photo.path}/rendered", "image/png", "annotation=patient")
    assert "warning" not in known.headers
    assert known.content == peer.get(f"{photo.path}/rendered", "image/png", "annotation=patient,foo").content
    for annotation in ("", "a b", "1,2", ","):
        assert peer.get(f"{photo.path}/rendered", "image/png", f"annotation={annotation}").status_code == 400


@pytest.mark.proves("REN-023", "REN-024")
def test_icc_profiles(peer: Peer, corpus: Corpus) -> None:
    path = f"{corpus['SC_rgb_jpeg_dcmtk.dcm'].path}/rendered"
    plain = png(peer, path)
    for kind in ("image/jpeg", "image/png", "image/jp2"):
        for choice in ("yes", "srgb", "adobergb", "rommrgb"):
            response = peer.get(path, kind, f"iccprofile={choice}")
            assert response.status_code == 200
            shown = Image.open(BytesIO(response.content))
            if kind != "image/jp2":
                assert shown.info["icc_profile"][36:40] == b"acsp"
            assert b"acsp" in response.content or kind == "image/png"  # compressed there
            if kind == "image/jpeg":
                assert b"\xff\xe2" in response.content  # APP2
        response = peer.get(path, kind, "iccprofile=no")
        assert "icc_profile" not in Image.open(BytesIO(response.content)).info
    assert (png(peer, path, "iccprofile=srgb") == plain).all()
    assert structural_similarity(png(peer, path, "iccprofile=adobergb"), plain) > 0.9
    for choice in ("yes", "srgb"):
        assert peer.get(path, "image/gif", f"iccprofile={choice}").status_code == 400
        assert peer.get(f"{corpus['sr1'].path}/rendered", "text/html", f"iccprofile={choice}").status_code == 400
    assert peer.get(path, "image/gif", "iccprofile=no").status_code == 200
    for choice in ("", "foo", "SRGB"):
        assert peer.get(path, "image/png", f"iccprofile={choice}").status_code == 400


def test_parameters_twice_and_unknown_ones(peer: Peer, photo: Item) -> None:
    path = f"{photo.path}/rendered"
    assert peer.get(path, "*/*", "quality=5&quality=6").status_code == 400
    assert peer.get(path, "*/*", "viewport=5,5&viewport=5,5").status_code == 400
    assert peer.get(path, "*/*", "unknown=1&Window=x").status_code == 200
