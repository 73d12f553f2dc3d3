"""Rendered resources: media types by category, levels, parts, headers (PS3.18 8.7.4, 10.4.1.1.3)."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.conformance.corpus import PDF, Corpus
from tests.conformance.displayed import JPEG_START, decoded, grey_item, png, ramp, stored, structural_similarity
from tests.conformance.encoder import attributes
from tests.conformance.instances import BASIC_TEXT_SR, Item, Maker
from tests.support.http import Peer, media_type

JPEG_PARTS = 'multipart/related; type="image/jpeg"'
ANY_PARTS = 'multipart/related; type="*/*"'


@pytest.fixture(scope="module")
def image(peer: Peer, corpus: Corpus) -> Item:
    """A single frame image with a gradient."""
    return stored(peer, grey_item(corpus.maker, "ramp", ramp(48, 64, 0, 255, "u1")))


@pytest.mark.proves("REN-001", "REN-003", "RET-018")
def test_a_single_frame_is_a_baseline_jpeg(peer: Peer, image: Item) -> None:
    for accept in ("*/*", "image/*", "image/jpeg", "text/html, image/webp, */*;q=0.8", "image/png;q=0.5, image/jpeg"):
        response = peer.get(f"{image.path}/rendered", accept)
        assert response.status_code == 200
        assert response.headers["content-type"] == "image/jpeg"
        assert response.content.startswith(JPEG_START)
        # Start of frame 0: baseline, Huffman coding, then 8 bits a sample (ITU-T T.81 B.2.2).
        frame = response.content.index(b"\xff\xc0")
        assert response.content[frame + 4] == 8
        assert b"\xff\xc2" not in response.content[:frame]
        assert decoded(response.content).shape == (48, 64)
        assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.proves("REN-002")
def test_png_and_gif_show_the_same(peer: Peer, image: Item) -> None:
    expected = png(peer, f"{image.path}/rendered")
    gif = peer.get(f"{image.path}/rendered", "image/gif")
    assert (gif.status_code, gif.headers["content-type"]) == (200, "image/gif")
    assert gif.content.startswith(b"GIF89a")
    assert (decoded(gif.content) == expected).all()
    jpeg = decoded(peer.get(f"{image.path}/rendered", "image/jpeg").content)
    assert structural_similarity(jpeg, expected) > 0.999


def test_jpeg_2000_and_jpeg_xl(peer: Peer, image: Item) -> None:
    expected = png(peer, f"{image.path}/rendered")
    response = peer.get(f"{image.path}/rendered", "image/jp2")
    assert response.status_code == 200
    assert response.content[4:12] == b"jP  \r\n\x87\n"  # the box, not the bare codestream (8.7.4)
    assert (decoded(response.content) == expected).all()
    for kind in ("image/jph", "image/jxl"):
        response = peer.get(f"{image.path}/rendered", kind)
        assert (response.status_code, response.headers["content-type"]) == (200, kind)
        assert b"jP  " in response.content[:16] or response.content[:2] in (b"\xff\x0a", b"\0\0")


@pytest.mark.proves("REN-004", "REN-027")
def test_a_multi_frame_image_is_a_part_for_each_frame(peer: Peer, corpus: Corpus) -> None:
    item = corpus["frames"]
    for accept in (JPEG_PARTS, "*/*", ANY_PARTS):
        parts = peer.parts(f"{item.path}/rendered", accept)
        assert len(parts) == 5
        for number, part in enumerate(parts, start=1):
            assert part.media_type == "image/jpeg"
            assert decoded(part.body).shape == (3, 5)
            assert part.location == f"{peer.base_url}{item.path}/frames/{number}"
    animated = peer.get(f"{item.path}/rendered", "image/gif")
    assert animated.headers["content-type"] == "image/gif"
    movie = Image.open(BytesIO(animated.content))
    assert movie.n_frames == 5  # type: ignore[attr-defined]
    for number in range(5):
        movie.seek(number)
        expected = png(peer, f"{item.path}/frames/{number + 1}/rendered")
        assert (np.asarray(movie.convert("L")) == expected).all()
    # A single image is not what a multi-frame image is (Table 8.7.4-1), however convenient.
    assert peer.get(f"{item.path}/rendered", "image/jpeg").status_code == 406


@pytest.mark.proves("REN-005")
def test_a_video_is_its_stream(peer: Peer, corpus: Corpus) -> None:
    item = corpus["video"]
    stream = b"".join(item.dataset[0x7FE00010][1].fragments)  # type: ignore[union-attr]
    for accept in ("video/mp4", "video/*", "*/*"):
        response = peer.get(f"{item.path}/rendered", accept)
        assert (response.status_code, response.headers["content-type"]) == (200, "video/mp4")
        assert response.content == stream
    (part,) = peer.parts(f"{item.path}/rendered", 'multipart/related; type="video/mp4"')
    assert part.body == stream
    assert peer.get(f"{item.path}/rendered", "video/mpeg").status_code == 406
    assert peer.get(f"{item.path}/frames/1/rendered", "image/jpeg").status_code == 406


@pytest.mark.needs("ranges")
def test_ranges_of_a_video(peer: Peer, corpus: Corpus) -> None:
    item = corpus["video"]
    stream = b"".join(item.dataset[0x7FE00010][1].fragments)  # type: ignore[union-attr]
    for first, last in ((0, 9), (700, 760), (0, len(stream) - 1), (len(stream) - 5, len(stream) - 1)):
        response = peer.get(f"{item.path}/rendered", "video/mp4", Range=f"bytes={first}-{last}")
        assert response.status_code == 206
        assert response.content == stream[first : last + 1]
        assert response.headers["content-range"] == f"bytes {first}-{last}/{len(stream)}"


@pytest.mark.proves("REN-006", "COM-039")
def test_a_report_is_text(peer: Peer, corpus: Corpus) -> None:
    path = f"{corpus['sr1'].path}/rendered"
    for accept, kind in (
        ("*/*", "text/html"),
        ("text/html;charset=UTF-8", "text/html"),
        ("text/*", "text/html"),
        ("text/plain", "text/plain"),
        ("text/xml", "text/xml"),
        ("text/html;q=0.1, text/plain", "text/plain"),
    ):
        response = peer.get(path, accept)
        assert response.status_code == 200
        name, parameters = media_type(response.headers["content-type"])
        assert (name, parameters["charset"].upper()) == (kind, "UTF-8")
        text = response.content.decode("utf-8")
        assert "nothing" in text
        assert "Finding" in text
        assert ("<html" in text) == (kind == "text/html")
        assert ("<NativeDicomModel" in text) == (kind == "text/xml")
    assert peer.get(path, "image/jpeg").status_code == 406
    (part,) = peer.parts(path, 'multipart/related; type="text/html"')
    assert part.location == f"{peer.base_url}{corpus['sr1'].path}"


def test_text_cannot_run_scripts(peer: Peer, maker: Maker) -> None:
    tree = [attributes(ValueType="TEXT", TextValue="<script>alert(1)</script><img src=x onerror=alert(2)>")]
    report = attributes(ValueType="CONTAINER", ContentSequence=tree)
    item = stored(peer, maker.single("script", report, SOPClassUID=BASIC_TEXT_SR, Modality="SR"))
    response = peer.get(f"{item.path}/rendered", "text/html")
    assert "<script" not in response.text
    assert "<img" not in response.text
    assert "&lt;script&gt;" in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.proves("COM-041")
def test_character_sets_of_text(peer: Peer, maker: Maker) -> None:
    report = attributes(ValueType="CONTAINER", SpecificCharacterSet="ISO_IR 192")
    item = maker.single("kanji", report, SOPClassUID=BASIC_TEXT_SR, Modality="SR", PatientName="山田^太郎")
    path = f"{stored(peer, item).path}/rendered"
    for accept in ("text/html", "text/plain"):
        assert peer.get(path, accept, Accept_Charset="ISO-8859-1").status_code == 406
        assert peer.get(path, f"{accept};charset=ISO-8859-1").status_code == 406
        assert peer.get(path, accept, "charset=ISO-8859-1").status_code == 406
        assert "山田" in peer.get(path, accept, Accept_Charset="nonsense").content.decode("utf-8")
        for name, codec in (("ISO-2022-JP", "iso2022-jp"), ("GB18030", "gb18030"), ("UTF-8", "utf-8")):
            response = peer.get(path, accept, Accept_Charset=name)
            assert media_type(response.headers["content-type"])[1]["charset"].upper() == name
            assert "山田 太郎" in response.content.decode(codec)
            assert "Accept-Charset" in response.headers["vary"]


@pytest.mark.proves("REN-007")
def test_a_document_is_what_it_was(peer: Peer, corpus: Corpus) -> None:
    path = f"{corpus['pdf'].path}/rendered"
    for accept in ("application/pdf", "*/*"):
        response = peer.get(path, accept)
        assert (response.status_code, response.headers["content-type"]) == (200, "application/pdf")
        assert response.content.rstrip(b"\0") == PDF.rstrip(b"\0")
    assert peer.get(path, "text/html").status_code == 406


def test_cda_is_xml(peer: Peer, maker: Maker) -> None:
    document = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>'
    item = maker.single(
        "cda",
        attributes(EncapsulatedDocument=document, MIMETypeOfEncapsulatedDocument="text/html"),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.2",
        Modality="DOC",
    )
    response = peer.get(f"{stored(peer, item).path}/rendered", "text/xml")
    # The SOP Class says what it is: a browser that believed the attribute would run the document's scripts.
    assert (response.status_code, response.headers["content-type"]) == (200, "text/xml")
    assert response.content.rstrip(b"\0 ") == document
    assert "sandbox" in response.headers["content-security-policy"]


@pytest.mark.proves("REN-025", "REN-026", "REN-027")
def test_frames(peer: Peer, corpus: Corpus) -> None:
    item = corpus["frames"]
    single = peer.get(f"{item.path}/frames/2/rendered", "image/jpeg")
    assert single.headers["content-type"] == "image/jpeg"
    assert single.headers["content-location"] == f"{peer.base_url}{item.path}/frames/2"
    (part,) = peer.parts(f"{item.path}/frames/2/rendered", JPEG_PARTS)
    assert part.body == single.content
    parts = peer.parts(f"{item.path}/frames/1,2/rendered", JPEG_PARTS)
    assert [one.location.rsplit("/", 1)[1] for one in parts] == ["1", "2"]
    assert parts[1].body == single.content
    assert parts[0].body != parts[1].body
    # One response item is one part or none; two are parts (10.4.4, note 3).
    assert peer.get(f"{item.path}/frames/1,2/rendered", "image/jpeg").status_code == 406
    for frames, status in (("6", 404), ("1,6", 404), ("0", 400), ("x", 400)):
        assert peer.get(f"{item.path}/frames/{frames}/rendered", ANY_PARTS).status_code == status
    assert peer.get(f"{corpus['pdf'].path}/frames/1/rendered").status_code == 404


@pytest.mark.proves("RET-004", "RET-011", "REN-027")
def test_a_study_and_a_series_are_parts(peer: Peer, corpus: Corpus) -> None:
    study, series = corpus["ct1"].study_path, corpus["ct1"].series_path
    for accept in (JPEG_PARTS, "*/*"):
        parts = peer.parts(f"{series}/rendered", accept)
        assert [part.location for part in parts] == [f"{peer.base_url}{corpus[f'ct{n}'].path}" for n in (1, 2, 3)]
        assert {part.media_type for part in parts} == {"image/jpeg"}
        assert all(decoded(part.body).shape == (4, 6) for part in parts)
    images = peer.parts(f"{study}/rendered", JPEG_PARTS)
    assert {part.location for part in images} == {
        f"{peer.base_url}{corpus[name].path}" for name in ("ct1", "ct2", "ct3", "ct-second")
    }
    everything = peer.parts(f"{study}/rendered", ANY_PARTS)
    assert sorted(part.media_type for part in everything) == ["image/jpeg"] * 4 + ["text/html"]
    (text,) = peer.parts(f"{study}/rendered", 'multipart/related; type="text/plain"')
    assert text.location == f"{peer.base_url}{corpus['sr1'].path}"
    for kind in ("image/jpeg", "application/pdf", "text/html", 'multipart/related; type="video/mp4"'):
        assert peer.get(f"{study}/rendered", kind).status_code == 406


def test_a_study_without_anything_to_render(peer: Peer, corpus: Corpus) -> None:
    for level in (corpus["no-pixels"].study_path, corpus["no-pixels"].series_path, corpus["no-pixels"].path):
        response = peer.get(f"{level}/rendered")
        assert response.status_code == 406
        assert "rendered" in response.text


@pytest.mark.proves("NEG-001")
def test_dicom_and_rendered_types_are_not_mixed(peer: Peer, image: Item) -> None:
    for mixture in (
        "application/dicom, image/png",
        f'{JPEG_PARTS}, multipart/related; type="application/octet-stream"',
    ):
        for level in (image.path, image.series_path, f"{image.path}/frames/1"):
            assert peer.get(f"{level}/rendered", mixture).status_code == 400
    assert peer.get(f"{image.path}/metadata", "application/dicom+json, image/png").status_code == 400
    assert peer.get(f"{image.path}/rendered", "application/dicom").status_code == 406
    # The parameter is read by itself; wildcards are of both kinds.
    assert peer.get(f"{image.path}/rendered", "*/*", "accept=image/png").headers["content-type"] == "image/png"
    assert peer.get(f"{image.path}/rendered", "*/*", "accept=image/png,application/dicom").status_code == 400
    assert peer.get(f"{image.path}/rendered", "*/*", "accept=image/*").status_code == 400


@pytest.mark.proves("NEG-023")
def test_rendered_types_have_no_transfer_syntax(peer: Peer, image: Item) -> None:
    for syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "*"):
        response = peer.get(f"{image.path}/rendered", f"image/jpeg; transfer-syntax={syntax}")
        assert response.status_code in (200, 400)
        if response.status_code == 200:
            assert response.headers["content-type"] == "image/jpeg"
            assert b"\xff\xc0" in response.content


@pytest.mark.needs("conditional")
def test_what_has_not_changed_is_not_rendered_again(peer: Peer, corpus: Corpus, image: Item) -> None:
    seen = set()
    for path, accept, query in (
        (image.path, "image/jpeg", ""),
        (image.path, "image/png", ""),
        (image.path, "image/png", "window=10,20,linear"),
        (image.path, "image/png", "viewport=10,10"),
        (f"{corpus['frames'].path}/frames/1", "image/png", ""),
        (f"{corpus['frames'].path}/frames/2", "image/png", ""),
        (corpus["frames"].path, "image/gif", ""),
        (corpus["frames"].path, JPEG_PARTS, ""),
        (corpus["sr1"].path, "text/html", ""),
        (corpus["pdf"].path, "application/pdf", ""),
        (corpus["ct1"].study_path, ANY_PARTS, ""),
    ):
        response = peer.get(f"{path}/rendered", accept, query)
        tag = response.headers["etag"]
        seen.add(tag)
        again = peer.get(f"{path}/rendered", accept, query, If_None_Match=tag)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "Accept" in again.headers["vary"]
        assert peer.get(f"{path}/rendered", accept, query, If_None_Match='"other"').status_code == 200
    assert len(seen) == 11
    equal = [peer.get(f"{image.path}/rendered", "image/png", f"quality={n}").headers["etag"] for n in (1, 50)]
    assert equal[0] == equal[1]  # quality is for what loses something


def test_head_and_missing(peer: Peer, corpus: Corpus, image: Item) -> None:
    for path, accept in (
        (image.path, "image/jpeg"),
        (corpus["frames"].path, JPEG_PARTS),
        (image.study_path, JPEG_PARTS),
    ):
        head = peer.request("HEAD", f"{path}/rendered", accept=accept)
        assert (head.status_code, head.content) == (200, b"")
    unknown = f"/studies/{corpus.uids.new()}/series/1.2/instances/1.3"
    for path in (unknown, f"{unknown}/frames/1", unknown.partition("/instances")[0], unknown.partition("/series")[0]):
        assert peer.get(f"{path}/rendered").status_code == 404
