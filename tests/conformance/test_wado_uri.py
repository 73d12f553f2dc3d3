"""The URI service (PS3.18 chapter 9)."""

import random
from collections.abc import Mapping

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conformance.corpus import PDF, Corpus
from tests.conformance.displayed import close, decoded, grey_item, linear, png, ramp, stored
from tests.conformance.encoder import EXPLICIT, MPEG4
from tests.conformance.instances import Item
from tests.conformance.packaged import read
from tests.conformance.test_presentation_states import presentation_state
from tests.support.http import Peer, media_type

pytestmark = pytest.mark.needs("uri-service")
JPEG_2000 = "1.2.840.10008.1.2.4.90"
VALUES = ramp(48, 64, 0, 3000, "<u2")


def parameters(item: Item, more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {
        "requestType": "WADO",
        "studyUID": item.study,
        "seriesUID": item.series,
        "objectUID": item.instance,
        **(more or {}),
    }


def wado(peer: Peer, item: Item, accept: str | None = "*/*", **more: str) -> httpx.Response:
    return peer.get("/wado", accept, str(httpx.QueryParams(parameters(item, more))))


def image_of(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text[:300]
    return decoded(response.content)


@pytest.fixture(scope="module")
def image(peer: Peer, corpus: Corpus) -> Item:
    return stored(peer, grey_item(corpus.maker, "uri", VALUES))


@pytest.fixture(scope="module")
def square(peer: Peer, corpus: Corpus) -> Item:
    return stored(peer, grey_item(corpus.maker, "uri-square", ramp(64, 64, 0, 255, "u1")))


@pytest.mark.proves("URI-001", "URI-015")
def test_four_parameters_are_mandatory(peer: Peer, image: Item) -> None:
    pairs = list(parameters(image).items())
    for name, _ in pairs:
        for broken in (
            [(key, value) for key, value in pairs if key != name],
            [(key.upper() if key == name else key, value) for key, value in pairs],
            [(key, "" if key == name else value) for key, value in pairs],
        ):
            response = peer.get("/wado", "*/*", str(httpx.QueryParams(broken)))
            assert response.status_code == 400
            assert name in response.text
    for seed in range(5):
        random.Random(seed).shuffle(pairs)
        assert peer.get("/wado", "*/*", str(httpx.QueryParams(pairs))).status_code == 200
    for name, value in (("studyUID", "abc"), ("objectUID", "1..2"), ("seriesUID", "1.2/3")):
        assert wado(peer, image, **{name: value}).status_code == 400


@pytest.mark.proves("URI-002")
def test_request_type(peer: Peer, image: Item) -> None:
    for text in ("FOO", "wado", "", "WADO "):
        assert wado(peer, image, requestType=text).status_code == 400


@pytest.mark.proves("URI-003")
def test_an_image_is_a_jpeg_by_default(peer: Peer, corpus: Corpus, image: Item) -> None:
    for accept in ("*/*", "image/*", "image/jpeg", None, "text/html, image/webp, */*;q=0.8"):
        response = wado(peer, image, accept)
        assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
        assert decoded(response.content).shape == (48, 64)
    for kind in ("image/png", "image/gif"):
        assert wado(peer, image, contentType=kind).headers["content-type"] == kind
        assert wado(peer, image, kind).headers["content-type"] == kind
    assert wado(peer, image, contentType="video/mp4, image/png").headers["content-type"] == "image/png"
    assert wado(peer, image, "image/png", contentType="video/mp4").headers["content-type"] == "image/png"
    assert wado(peer, image, "video/mp4").status_code == 406
    assert (image_of(wado(peer, image, "image/png")) == png(peer, f"{image.path}/rendered")).all()
    for name, kind in (("sr1", "text/html"), ("pdf", "application/pdf"), ("video", "video/mp4")):
        assert media_type(wado(peer, corpus[name]).headers["content-type"])[0] == kind
    assert wado(peer, corpus["pdf"]).content.rstrip(b"\0") == PDF.rstrip(b"\0")
    text = wado(peer, corpus["sr1"], contentType="text/plain", charset="ISO-8859-1")
    assert media_type(text.headers["content-type"]) == ("text/plain", {"charset": "ISO-8859-1"})


@pytest.mark.proves("URI-004", "URI-005")
def test_dicom(peer: Peer, corpus: Corpus, image: Item) -> None:
    for item in (image, corpus["MR_small_jp2klossless.dcm"], corpus["implicit"], corpus["sr1"], corpus["no-pixels"]):
        for response in (wado(peer, item, contentType="application/dicom"), wado(peer, item, "application/dicom")):
            assert response.status_code == 200
            assert response.content[128:132] == b"DICM"
            dataset = read(response.content)
            assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
            assert dataset.SOPInstanceUID == item.instance
            assert response.headers["content-type"].startswith("application/dicom")
    assert wado(peer, image, contentType="application/dicom").content == image.data
    assert wado(peer, image, "image/webp, */*;q=0.8", contentType="application/dicom").content == image.data
    assert wado(peer, image, "image/png", contentType="application/dicom").status_code == 406
    assert wado(peer, image, contentType="application/dicom,image/png").status_code == 400
    # What cannot be decoded is given as it is (8.7.3.4).
    video = read(wado(peer, corpus["video"], contentType="application/dicom").content)
    assert video.file_meta.TransferSyntaxUID == MPEG4
    assert wado(peer, corpus["no-pixels"]).headers["content-type"].startswith("application/dicom")


@pytest.mark.proves("URI-006")
def test_transfer_syntax(peer: Peer, corpus: Corpus, image: Item) -> None:
    item = corpus["MR_small_jp2klossless.dcm"]
    stored_as = wado(peer, item, contentType="application/dicom", transferSyntax=JPEG_2000)
    assert stored_as.content == item.data
    explicit = wado(peer, item, contentType="application/dicom", transferSyntax=EXPLICIT)
    assert read(explicit.content).file_meta.TransferSyntaxUID == EXPLICIT
    for uid in ("1.2.840.10008.1.2.4.106", "1.2.3.4"):
        assert wado(peer, image, contentType="application/dicom", transferSyntax=uid).status_code == 406
    for text in ("abc", "", "*", "1.2.840.10008.1.2.1 "):
        assert wado(peer, image, contentType="application/dicom", transferSyntax=text).status_code == 400
    twice = str(httpx.QueryParams([*parameters(image).items(), *[("transferSyntax", EXPLICIT)] * 2]))
    assert peer.get("/wado", "*/*", twice).status_code == 400


@pytest.mark.proves("URI-007")
def test_content_type_has_no_such_parameters(peer: Peer, image: Item) -> None:
    for text in (
        f"application/dicom;transfer-syntax={EXPLICIT}",
        "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
        "text/html;charset=utf-8",
        "image/*",
        "*/*",
        "nonsense",
        "",
    ):
        assert wado(peer, image, contentType=text).status_code == 400


def test_anonymize_is_refused(peer: Peer, image: Item) -> None:
    """The option is the server's (9.4.2.3); what must not happen is that names are given out all the same."""
    for kind in ("application/dicom", "image/jpeg"):
        refused = wado(peer, image, contentType=kind, anonymize="yes")
        assert refused.status_code == 406
        assert "anonymize" in refused.text
        for text in ("no", "", "true"):
            assert wado(peer, image, contentType=kind, anonymize=text).status_code == 400


@pytest.mark.proves("URI-009")
def test_frame_number(peer: Peer, corpus: Corpus, image: Item) -> None:
    item = corpus["frames"]
    for number in (1, 3, 5):
        shown = image_of(wado(peer, item, contentType="image/png", frameNumber=str(number)))
        assert (shown == png(peer, f"{item.path}/frames/{number}/rendered")).all()
    for text in ("0", "6", "999", "-1", "x", "", "1.0"):
        assert wado(peer, item, frameNumber=text).status_code == 400
    for single in (image, corpus["sr1"], corpus["pdf"]):
        assert wado(peer, single, frameNumber="1").status_code == 400
    twice = str(httpx.QueryParams([*parameters(item).items(), ("frameNumber", "1"), ("frameNumber", "1")]))
    assert peer.get("/wado", "*/*", twice).status_code == 400
    first = image_of(wado(peer, item, contentType="image/png"))
    assert (first == png(peer, f"{item.path}/frames/1/rendered")).all()
    animated = wado(peer, item, contentType="image/gif")
    assert animated.content == peer.get(f"{item.path}/rendered", "image/gif").content


@pytest.mark.proves("URI-010")
def test_window(peer: Peer, image: Item) -> None:
    shown = image_of(wado(peer, image, contentType="image/png", windowCenter="1500", windowWidth="1000"))
    assert close(shown, linear(VALUES, 1500, 1000))
    for more in (
        {"windowCenter": "40"},
        {"windowWidth": "400"},
        {"windowCenter": "a", "windowWidth": "400"},
        {"windowCenter": "40", "windowWidth": ""},
        {"windowCenter": "40", "windowWidth": "0"},
    ):
        assert wado(peer, image, **more).status_code == 400


@pytest.mark.proves("URI-011")
def test_window_is_for_rendered_images(peer: Peer, image: Item) -> None:
    response = wado(peer, image, contentType="application/dicom", windowCenter="40", windowWidth="400")
    assert response.status_code == 400


@pytest.mark.proves("URI-012")
def test_region(peer: Peer, square: Item) -> None:
    whole = png(peer, f"{square.path}/rendered")
    shown = image_of(wado(peer, square, contentType="image/png", region="0.25,0,0.75,0.5"))
    assert (shown == whole[:32, 16:48]).all()
    assert (image_of(wado(peer, square, contentType="image/png", region="0,0,1,1")) == whole).all()
    scaled = image_of(wado(peer, square, contentType="image/png", region="0,0,0.5,0.25", rows="64", columns="64"))
    assert scaled.shape == (32, 64)
    reference = Image.fromarray(np.ascontiguousarray(whole[:16, :32])).resize((64, 32), Image.Resampling.BILINEAR)
    assert close(scaled, np.asarray(reference).astype(float), 3)
    tiny = image_of(wado(peer, square, contentType="image/png", region="0.999,0.999,1,1"))
    assert tiny.shape == (1, 1)
    for text in ("0,0,1", "0.5,0,0.2,1", "0,0,2,1", "0,0.5,1,0.5", "-0.1,0,1,1", "a,0,1,1", "", "0,0,1,1,1"):
        assert wado(peer, square, region=text).status_code == 400


@pytest.mark.proves("URI-013")
def test_rows_and_columns(peer: Peer, image: Item, square: Item) -> None:
    for item, more, shape in (
        (square, {"rows": "100", "columns": "400"}, (100, 100)),
        (square, {"rows": "400", "columns": "100"}, (100, 100)),
        (image, {"rows": "24", "columns": "400"}, (24, 32)),
        (image, {"rows": "24"}, (24, 32)),
        (image, {"columns": "128"}, (96, 128)),
    ):
        assert image_of(wado(peer, item, contentType="image/png", **more)).shape == shape
    for more in ({"rows": "0"}, {"columns": "x"}, {"rows": "-5", "columns": "5"}, {"rows": "99999"}, {"rows": ""}):
        assert wado(peer, image, **more).status_code == 400


def test_quality_and_annotation(peer: Peer, image: Item) -> None:
    sizes = [len(wado(peer, image, imageQuality=text).content) for text in ("5", "100")]
    assert sizes[0] < sizes[1]
    assert all(wado(peer, image, imageQuality=text).status_code == 400 for text in ("0", "101", "x", ""))
    large = {"contentType": "image/png", "rows": "480"}
    plain = image_of(wado(peer, image, **large))
    for name in ("annotation", "imageAnnotation"):
        response = wado(peer, image, **large, **{name: "patient,foo"})
        assert (image_of(response) != plain).sum() > 50
        assert "not supported: foo" in response.headers["warning"]
        assert wado(peer, image, **{name: ""}).status_code == 400


def test_presentation_state(peer: Peer, corpus: Corpus, image: Item) -> None:
    state = stored(peer, presentation_state(corpus.maker, "uri-state", [image]))
    named = {"presentationSeriesUID": state.series, "presentationUID": state.instance, "contentType": "image/png"}
    whole = image_of(wado(peer, image, **named))
    assert close(whole, 255 - linear(VALUES, 1000, 500))
    assert (image_of(wado(peer, image, **named, region="0.5,0.5,1,1")) == whole[24:, 32:]).all()
    assert image_of(wado(peer, image, **named, region="0,0,0.5,1", rows="96")).shape == (96, 64)
    assert image_of(wado(peer, image, **named, rows="24", columns="24")).shape == (18, 24)
    lettered = image_of(wado(peer, image, **named, region="0,0,1,1", rows="480", annotation="patient"))
    assert (lettered != image_of(wado(peer, image, **named, rows="480"))).sum() > 50
    for broken in (
        {**named, "windowCenter": "40", "windowWidth": "400"},
        {**named, "frameNumber": "1"},
        {**named, "presentationUID": corpus.uids.new()},
        {**named, "presentationSeriesUID": corpus.uids.new()},
        {**named, "presentationUID": image.instance, "presentationSeriesUID": image.series},
        {"presentationUID": state.instance},
        {"presentationSeriesUID": state.series},
    ):
        assert wado(peer, image, **broken).status_code == 400
    other = stored(peer, grey_item(corpus.maker, "uri-other", VALUES))
    assert wado(peer, other, **named).status_code == 400  # a state of another study says nothing of it
    # By itself it is an object like others here: rendered as a resource, given as a file by its URI.
    assert wado(peer, state).headers["content-type"].startswith("application/dicom")


@pytest.mark.proves("URI-014")
@pytest.mark.needs("delete")
def test_missing_and_deleted(peer: Peer, corpus: Corpus) -> None:
    item = stored(peer, grey_item(corpus.maker, "uri-deleted", VALUES))
    assert wado(peer, item).status_code == 200
    for kind in ("image/jpeg", "application/dicom"):
        assert wado(peer, item, contentType=kind, objectUID=corpus.uids.new()).status_code == 404
        assert wado(peer, item, contentType=kind, studyUID=corpus.uids.new()).status_code == 404
    assert peer.delete(item.study_path).status_code == 204
    for kind in ("image/jpeg", "application/dicom"):
        assert wado(peer, item, contentType=kind).status_code == 410


@pytest.mark.needs("conditional")
def test_what_has_not_changed(peer: Peer, image: Item) -> None:
    for more in ({}, {"rows": "10"}, {"contentType": "application/dicom"}, {"region": "0,0,0.5,1"}):
        response = wado(peer, image, **more)
        query = str(httpx.QueryParams(parameters(image, more)))
        assert peer.get("/wado", "*/*", query, If_None_Match=response.headers["etag"]).status_code == 304
        head = peer.request("HEAD", "/wado", query=query)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == response.headers["content-length"]


@pytest.mark.needs("settings")
def test_at_the_root_as_well(peer: Peer, image: Item) -> None:
    root = peer.base_url.removesuffix("/dicomweb")
    response = peer.get(f"{root}/wado", "*/*", str(httpx.QueryParams(parameters(image))))
    assert response.content == wado(peer, image).content
