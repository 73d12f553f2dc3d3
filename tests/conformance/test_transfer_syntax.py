"""The transfer-syntax parameter (PS3.18 8.7.3.5, 8.7.8.2): decoding by default, stored bytes on request."""

import zlib

import numpy as np
import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import DEFLATED, EXPLICIT, encode
from tests.conformance.packaged import read
from tests.support.http import DICOM_MULTIPART, OCTET_MULTIPART, Peer, parse_multipart

SAME_IMAGE = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "three-fragments",
)
AS_STORED = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "JPEG-lossy.dcm",
    "fragmented-frames",
    "video",
    "pdf",
)


@pytest.mark.proves("NEG-015")
@pytest.mark.parametrize("name", AS_STORED)
def test_as_stored(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    (part,) = peer.parts(item.path, DICOM_MULTIPART + "; transfer-syntax=*")
    assert part.body == item.data
    assert part.parameters["transfer-syntax"] == item.syntax
    (part,) = peer.parts(item.path, f"{DICOM_MULTIPART}; transfer-syntax={item.syntax}")
    assert part.body == item.data


@pytest.mark.proves("NEG-016")
@pytest.mark.parametrize("name", SAME_IMAGE)
def test_default_is_explicit_little_endian_decoded(peer: Peer, corpus: Corpus, name: str) -> None:
    for accept in (DICOM_MULTIPART, f"{DICOM_MULTIPART}; transfer-syntax={EXPLICIT}", "*/*"):
        (part,) = peer.parts(corpus[name].path, accept)
        dataset = read(part.body)
        assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
        assert dataset.PixelData == corpus.mr_pixels
        assert dataset.PhotometricInterpretation == "MONOCHROME2"


@pytest.mark.proves("NEG-016")
def test_decoded_file_is_whole(peer: Peer, corpus: Corpus) -> None:
    """Everything but the pixel data is as it was, element by element."""
    (part,) = peer.parts(corpus["MR_small_jp2klossless.dcm"].path, DICOM_MULTIPART)
    sent, stored = read(part.body), read(corpus["MR_small_jp2klossless.dcm"].data)
    kept = [element for element in stored if element.tag != 0x7FE00010]
    assert [sent[element.tag] for element in kept] == kept
    assert part.body[128:132] == b"DICM"


@pytest.mark.proves("NEG-016")
def test_color_is_decoded_with_its_description(peer: Peer, corpus: Corpus) -> None:
    item = corpus["SC_rgb_rle_2frame.dcm"]
    (part,) = peer.parts(item.path, DICOM_MULTIPART)
    sent, stored = read(part.body), read(item.data)
    assert sent.file_meta.TransferSyntaxUID == EXPLICIT
    assert len(sent.PixelData) == sent.Rows * sent.Columns * 3 * 2
    assert np.array_equal(sent.pixel_array, stored.pixel_array)


@pytest.mark.proves("NEG-017")
def test_lossy_image_by_default(peer: Peer, corpus: Corpus) -> None:
    item = corpus["SC_rgb_jpeg_dcmtk.dcm"]
    (part,) = peer.parts(item.path, DICOM_MULTIPART)
    sent = read(part.body)
    assert sent.file_meta.TransferSyntaxUID in (EXPLICIT, item.syntax)
    if sent.file_meta.TransferSyntaxUID == EXPLICIT:
        assert len(sent.PixelData) == sent.Rows * sent.Columns * 3
        assert sent.PhotometricInterpretation in ("RGB", "YBR_FULL")
        assert sent.LossyImageCompression == "01" or "LossyImageCompression" not in read(item.data)
    else:
        assert part.body == item.data


@pytest.mark.proves("NEG-019")
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.106", "1.2.3.4", "nonsense", "1.2.840.10008.1.2.4.102"])
def test_impossible_syntax(peer: Peer, corpus: Corpus, syntax: str) -> None:
    for name in ("ct1", "pdf"):
        for level in (corpus[name].path, corpus[name].series_path, corpus[name].study_path):
            response = peer.get(level, f"{DICOM_MULTIPART}; transfer-syntax={syntax}")
            assert response.status_code == 406, response.headers
    response = peer.get(corpus["ct1"].path + "/frames/1", f"{OCTET_MULTIPART}; transfer-syntax={syntax}")
    assert response.status_code == 406


@pytest.mark.proves("NEG-020")
@pytest.mark.parametrize(
    ("ranges", "decoded"),
    [
        ([("{stored}", "1"), (EXPLICIT, "0.5")], False),
        ([("{stored}", "0.5"), (EXPLICIT, "1")], True),
        ([("1.2.840.10008.1.2.4.106", "1"), ("{stored}", "0.2"), (EXPLICIT, "0.1")], False),
        ([("1.2.840.10008.1.2.4.106", "1"), (EXPLICIT, "0.1")], True),
        ([("{stored}", "0"), ("*", "0.5"), (EXPLICIT, "0.1")], None),
    ],
)
def test_best_q_among_syntaxes(peer: Peer, corpus: Corpus, ranges: list[tuple[str, str]], decoded: bool | None) -> None:
    item = corpus["MR_small_jp2klossless.dcm"]
    accept = ", ".join(
        f"{DICOM_MULTIPART}; transfer-syntax={syntax.format(stored=item.syntax)}; q={q}" for syntax, q in ranges
    )
    (part,) = peer.parts(item.path, accept)
    if decoded is not None:
        assert read(part.body).file_meta.TransferSyntaxUID == (EXPLICIT if decoded else item.syntax)
        assert (part.body == item.data) is not decoded


@pytest.mark.proves("NEG-021")
def test_repeated_parameter_spoils_its_range(peer: Peer, corpus: Corpus) -> None:
    item = corpus["MR_small_jp2klossless.dcm"]
    twice = f"{DICOM_MULTIPART}; transfer-syntax={item.syntax}; transfer-syntax={EXPLICIT}"
    assert peer.get(item.path, twice).status_code == 406
    (part,) = peer.parts(item.path, f"{twice}, {DICOM_MULTIPART}; transfer-syntax={item.syntax}; q=0.1")
    assert part.body == item.data


@pytest.mark.proves("NEG-022")
@pytest.mark.parametrize("name", ["ct1", "MR_small_jp2klossless.dcm", "JPEG-lossy.dcm"])
def test_parts_say_their_syntax(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    for accept in (DICOM_MULTIPART, DICOM_MULTIPART + "; transfer-syntax=*"):
        (part,) = peer.parts(item.path, accept)
        assert part.parameters["transfer-syntax"] == read(part.body).file_meta.TransferSyntaxUID
    for accept, expected in ((OCTET_MULTIPART, EXPLICIT), (OCTET_MULTIPART + "; transfer-syntax=*", item.syntax)):
        (part,) = peer.parts(item.path + "/frames/1", accept)
        assert part.parameters["transfer-syntax"] == expected


@pytest.mark.proves("NEG-024", "NEG-026")
@pytest.mark.parametrize("name", ["image/jls", "image/x-jls", "IMAGE/JLS"])
def test_jpeg_ls_frame_by_its_type(peer: Peer, corpus: Corpus, name: str) -> None:
    (part,) = peer.parts(
        corpus["MR_small_jpeg_ls_lossless.dcm"].path + "/frames/1", f'multipart/related; type="{name}"'
    )
    assert part.media_type == "image/jls"
    assert part.parameters["transfer-syntax"] == "1.2.840.10008.1.2.4.80"
    assert part.body[:4] == b"\xff\xd8\xff\xf7"


@pytest.mark.proves("NEG-026")
@pytest.mark.parametrize("name", ["image/dicom-rle", "image/x-dicom-rle", "image/*"])
def test_rle_frame_by_its_type(peer: Peer, corpus: Corpus, name: str) -> None:
    (part,) = peer.parts(corpus["MR_small_RLE.dcm"].path + "/frames/1", f'multipart/related; type="{name}"')
    assert part.media_type == "image/dicom-rle"
    assert part.parameters["transfer-syntax"] == "1.2.840.10008.1.2.5"
    assert part.body[:4] == b"\2\0\0\0"  # two segments: 16 bits, one sample (PS3.5 G.5)


def test_jpeg_type_without_syntax_is_not_baseline(peer: Peer, corpus: Corpus) -> None:
    """image/jpeg alone means lossless .70 (PS3.18 Table 8.7.3-5); a lossy frame has to be asked by its syntax, or by `*`."""
    path = corpus["SC_rgb_jpeg_dcmtk.dcm"].path + "/frames/1"
    for syntax in ("1.2.840.10008.1.2.4.50", "*"):
        (part,) = peer.parts(path, f'multipart/related; type="image/jpeg"; transfer-syntax={syntax}')
        assert part.media_type == "image/jpeg"
        assert part.parameters["transfer-syntax"] == "1.2.840.10008.1.2.4.50"
        assert part.body[:2] == b"\xff\xd8"
    assert peer.get(path, 'multipart/related; type="image/jpeg"').status_code in (200, 406)


@pytest.mark.proves("NEG-040")
def test_deflated(peer: Peer, corpus: Corpus) -> None:
    item = corpus["deflated"]
    for accept in (DICOM_MULTIPART, f"{DICOM_MULTIPART}; transfer-syntax={EXPLICIT}"):
        (part,) = peer.parts(item.path, accept)
        assert read(part.body).file_meta.TransferSyntaxUID == EXPLICIT
        assert part.body.endswith(encode(item.dataset))
    for accept in (DICOM_MULTIPART + "; transfer-syntax=*", f"{DICOM_MULTIPART}; transfer-syntax={DEFLATED}"):
        (part,) = peer.parts(item.path, accept)
        assert part.body == item.data
        start = 132 + 12 + int.from_bytes(part.body[140:144], "little")
        assert zlib.decompress(part.body[start:], -15) == encode(item.dataset)


@pytest.mark.needs("own-syntax")
@pytest.mark.parametrize("name", ["implicit", "big-endian", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"])
def test_original_bytes_by_their_own_syntax(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    (part,) = peer.parts(item.path, f"{DICOM_MULTIPART}; transfer-syntax={item.syntax}")
    assert part.body == item.data
    assert part.parameters["transfer-syntax"] == item.syntax


def test_study_is_planned_before_its_first_byte(peer: Peer, corpus: Corpus) -> None:
    """Where one instance cannot be had in the syntax asked, the whole answer is a 406: no half study."""
    response = peer.get(corpus["video"].study_path, f"{DICOM_MULTIPART}; transfer-syntax={EXPLICIT}")
    assert response.status_code in (200, 406)
    if response.status_code == 200:  # lossy-only: it may come as it is (PS3.18 8.7.3.4)
        (part,) = parse_multipart(response.headers["content-type"], response.content)
        assert part.body == corpus["video"].data
