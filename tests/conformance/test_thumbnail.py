"""Thumbnails: one small image of whatever there is (PS3.18 8.3.5.2, 10.4.1.1.4)."""

import numpy as np
import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.displayed import decoded, grey_item, png, ramp, stored, structural_similarity
from tests.conformance.encoder import attributes
from tests.conformance.instances import Item
from tests.conformance.test_presentation_states import in_series, presentation_state
from tests.support.http import Peer

pytestmark = pytest.mark.needs("thumbnails")
LARGEST = 256


@pytest.fixture(scope="module")
def series(peer: Peer, corpus: Corpus) -> list[Item]:
    """Five images of one series, each brighter than the one before."""
    first = grey_item(corpus.maker, "thumbs", ramp(400, 600, 0, 10, "u1"), InstanceNumber="1")
    items = [first]
    for number in range(2, 6):
        other = in_series(corpus.maker, first, f"thumbs-{number}", number, float(number))
        pixels = ramp(400, 600, 50 * (number - 1), 50 * (number - 1) + 10, "u1").tobytes()
        items.append(corpus.maker.item(other.name, {**other.dataset, 0x7FE00010: ("OB", pixels)}))
    return [stored(peer, item) for item in items]


@pytest.mark.proves("RET-005", "RET-012", "RET-019", "REN-033")
def test_every_level_has_one_small_jpeg(peer: Peer, series: list[Item]) -> None:
    middle = series[2]
    for level in (middle.study_path, middle.series_path, middle.path, f"{middle.path}/frames/1"):
        for accept in ("*/*", "image/jpeg", "image/*"):
            response = peer.get(f"{level}/thumbnail", accept)
            assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
            assert response.headers["content-location"] == f"{peer.base_url}{middle.path}"
            shown = decoded(response.content)
            assert max(shown.shape) <= LARGEST
            assert abs(shown.shape[1] / shown.shape[0] - 1.5) < 0.02
            assert 100 <= shown.mean() <= 111  # the middle image
            rendered = peer.get(f"{middle.path}/rendered", "image/jpeg")
            assert len(response.content) < len(rendered.content)


def test_the_middle_frame_stands_for_the_others(peer: Peer, corpus: Corpus) -> None:
    frames = np.stack([np.full((60, 80), value, "u1") for value in (0, 50, 100, 150, 250)])
    path = stored(peer, grey_item(corpus.maker, "thumb-frames", frames)).path
    assert decoded(peer.get(f"{path}/thumbnail").content).mean() == pytest.approx(100, abs=2)
    assert decoded(peer.get(f"{path}/frames/5/thumbnail").content).mean() == pytest.approx(250, abs=2)
    assert decoded(peer.get(f"{path}/frames/1,2,5/thumbnail").content).mean() == pytest.approx(50, abs=2)
    for frames_asked, status in (("6", 404), ("1,9", 404), ("0", 400), ("x", 400)):
        assert peer.get(f"{path}/frames/{frames_asked}/thumbnail").status_code == status


@pytest.mark.proves("REN-031")
def test_viewport(peer: Peer, series: list[Item]) -> None:
    path = f"{series[2].path}/thumbnail"
    for viewport, shape in (("64,64", (43, 64)), ("30,20", (20, 30)), ("600,20", (20, 30)), ("900,900", (600, 900))):
        response = peer.get(path, "image/png", f"viewport={viewport}")
        assert decoded(response.content).shape == shape
    for viewport in ("64,64,0,0,1,1", "64,64,0", "64", "", "0,64", "64,64,", "a,b"):
        assert peer.get(path, "*/*", f"viewport={viewport}").status_code == 400
    for other in ("window=x", "quality=0", "annotation="):  # not of thumbnails: passed over
        assert peer.get(path, "*/*", other).status_code == 200


def test_media_types(peer: Peer, series: list[Item]) -> None:
    path = f"{series[2].path}/thumbnail"
    for kind in ("image/png", "image/gif"):
        response = peer.get(path, kind)
        assert (response.status_code, response.headers["content-type"]) == (200, kind)
        assert structural_similarity(decoded(response.content), png(peer, path)) > 0.95
    for accept in ("text/html", "application/dicom", 'multipart/related; type="image/jpeg"', "video/mp4"):
        assert peer.get(path, accept).status_code == 406
    assert peer.get(path, "image/jpeg, application/dicom").status_code == 400


@pytest.mark.proves("REN-032")
def test_nothing_is_burned_in(peer: Peer, corpus: Corpus, series: list[Item]) -> None:
    path = f"{series[2].path}/thumbnail"
    plain = peer.get(path, "image/png", "viewport=500,500").content
    for words in ("patient", "technique", "patient,technique"):
        assert peer.get(path, "image/png", f"viewport=500,500&annotation={words}").content == plain
    # Nor what a presentation state writes on the image: it may be a name.
    text = attributes(
        UnformattedTextValue="Doe John",
        AnchorPoint=(1.0, 1.0),
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPointVisibility="N",
    )
    layer = attributes(GraphicLayer="TEXT", TextObjectSequence=[text])
    layers = [attributes(GraphicLayer="TEXT", GraphicLayerOrder="1")]
    state = presentation_state(
        corpus.maker, "named", [series[2]], GraphicAnnotationSequence=[layer], GraphicLayerSequence=layers
    )
    shown = peer.get(f"{stored(peer, state).path}/thumbnail", "image/png", "viewport=500,500")
    assert shown.content == plain
    # Two patients, one drawing: it depends on nothing that is theirs.
    reports = [
        corpus.maker.single(
            f"report-{name}", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", PatientName=name, StudyID=name
        )
        for name in ("Alpha", "Beta")
    ]
    drawn = [peer.get(f"{stored(peer, report).path}/thumbnail", "image/png").content for report in reports]
    assert drawn[0] == drawn[1]


@pytest.mark.proves("REN-034")
def test_what_has_no_pixels_is_drawn(peer: Peer, corpus: Corpus) -> None:
    drawn = {}
    for name in ("reportsi.dcm", "pdf", "no-pixels", "video"):
        item = corpus[name]
        for level in (item.study_path, item.series_path, item.path):
            response = peer.get(f"{level}/thumbnail")
            assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
            shown = decoded(response.content)
            assert 32 < max(shown.shape) <= LARGEST
            assert np.ptp(shown) > 150
            drawn[name] = response.content
    assert len(set(drawn.values())) == 4
    assert peer.get(f"{corpus['pdf'].path}/frames/1/thumbnail").status_code == 404


def test_a_hostile_modality_is_not_drawn(peer: Peer, corpus: Corpus) -> None:
    for name in ("Doe^John <script>", "x" * 500, ""):
        item = stored(
            peer, corpus.maker.single(f"m{len(name)}", SOPClassUID="1.2.840.10008.5.1.4.1.1.66", Modality=name)
        )
        plain = peer.get(f"{corpus['no-pixels'].path}/thumbnail", "image/png")
        response = peer.get(f"{item.path}/thumbnail", "image/png")
        assert response.status_code == 200
        assert decoded(response.content).shape == decoded(plain.content).shape


def test_pixels_that_cannot_be_shown(peer: Peer, corpus: Corpus) -> None:
    """A codestream of nonsense: a drawn sheet, which nobody should keep."""
    good = corpus["three-fragments"]
    from tests.conformance.encoder import JPEG_2000_LOSSLESS, Fragments

    broken = corpus.maker.single(
        "broken", {**good.dataset, 0x7FE00010: ("OB", Fragments((b"\xff\x4f\xff\x51nonsense",)))}, JPEG_2000_LOSSLESS
    )
    dataset = dict(broken.dataset) | attributes(
        SOPInstanceUID=corpus.uids.new(), StudyInstanceUID=corpus.uids.new(), SeriesInstanceUID=corpus.uids.new()
    )
    item = stored(peer, corpus.maker.item("broken-pixels", dataset, JPEG_2000_LOSSLESS))
    response = peer.get(f"{item.path}/thumbnail")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers
    assert decoded(response.content).size
    assert peer.get(f"{item.path}/rendered").status_code == 406


@pytest.mark.needs("conditional")
def test_what_has_not_changed(peer: Peer, series: list[Item]) -> None:
    tags = set()
    for level in (series[2].study_path, series[0].path, f"{series[1].path}/frames/1"):
        for query in ("", "viewport=50,50"):
            response = peer.get(f"{level}/thumbnail", "*/*", query)
            tags.add(response.headers["etag"])
            again = peer.get(f"{level}/thumbnail", "*/*", query, If_None_Match=response.headers["etag"])
            assert (again.status_code, again.content) == (304, b"")
    assert len(tags) == 6


def test_missing(peer: Peer, corpus: Corpus) -> None:
    path = f"/studies/{corpus.uids.new()}"
    for level in (
        path,
        f"{path}/series/1.2",
        f"{path}/series/1.2/instances/1.3",
        f"{path}/series/1.2/instances/1.3/frames/1",
    ):
        assert peer.get(f"{level}/thumbnail").status_code == 404
    assert peer.get("/studies/abc/thumbnail").status_code == 400
