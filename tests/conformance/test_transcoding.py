"""Frames, bulkdata and instances in compressed transfer syntaxes that nothing is stored in (PS3.18 8.7.3, 8.7.8).

Codestreams are decoded here by libraries, not by the server under test.
"""

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import generate_frames

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import EXPLICIT, Fragments, attributes
from tests.conformance.instances import Maker
from tests.conformance.packaged import read
from tests.support.http import DICOM_MULTIPART, OCTET_MULTIPART, Peer

pytestmark = pytest.mark.needs("transcoding")

P = "1.2.840.10008.1.2."
BASELINE, EXTENDED, LOSSLESS_JPEG, JPEG_LS, JPEG_2000, RLE = (
    P + suffix for suffix in ("4.50", "4.51", "4.70", "4.80", "4.90", "5")
)
Decode = Callable[[bytes], np.ndarray]


def decode_rle(codestream: bytes) -> np.ndarray:
    return np.frombuffer(bytes(imagecodecs.dicomrle_decode(codestream, "<u2")), "<u2")


DECODERS: dict[str, Decode] = {
    P + "4.57": imagecodecs.jpeg8_decode,
    P + "4.70": imagecodecs.jpeg8_decode,
    P + "4.80": imagecodecs.jpegls_decode,
    P + "4.90": imagecodecs.jpeg2k_decode,
    P + "4.201": imagecodecs.jpeg2k_decode,
    P + "4.202": imagecodecs.jpeg2k_decode,
    P + "4.110": imagecodecs.jpegxl_decode,
    P + "5": decode_rle,
}
DEFAULTS = [
    ("image/jpeg", P + "4.70"),
    ("image/jls", P + "4.80"),
    ("image/jp2", P + "4.90"),
    ("image/jphc", P + "4.201"),
    ("image/jxl", P + "4.110"),
    ("image/dicom-rle", P + "5"),
]
# The same MR image in five transfer syntaxes.
SOURCES = ("MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "three-fragments")


def same_bits(codestream: bytes, uid: str, pixels: bytes) -> bool:
    decoded = np.ascontiguousarray(DECODERS[uid](codestream)).reshape(-1)
    return decoded.view(f"<u{decoded.itemsize}").tobytes() == pixels


@pytest.mark.proves("NEG-024", "NEG-025")
@pytest.mark.parametrize(("name", "default"), DEFAULTS)
@pytest.mark.parametrize("source", SOURCES)
def test_each_image_type_has_its_default_syntax(
    peer: Peer, corpus: Corpus, source: str, name: str, default: str
) -> None:
    (part,) = peer.parts(corpus[source].path + "/frames/1", f'multipart/related; type="{name}"')
    assert part.media_type == name
    assert part.parameters["transfer-syntax"] == default
    assert same_bits(part.body, default, corpus.mr_pixels)


@pytest.mark.proves("NEG-025")
def test_image_jpx_means_multi_component_lossless(peer: Peer, corpus: Corpus, maker: Maker) -> None:
    """Nobody encodes Part 2 here: what is stored in it is passed on."""
    image = maker.image(64, 64, bits=16)
    image |= attributes(PixelRepresentation=(1,))
    pixels = Fragments((corpus.mr_codestream,))
    item = maker.single("jpx", {**image, 0x7FE00010: ("OB", pixels)}, P + "4.92")
    assert peer.store([item.data]).status_code == 200
    for name in ("image/jpx", "image/jp2"):
        response = peer.get(f"{item.path}/frames/1", f'multipart/related; type="{name}"')
        assert response.status_code == 200
        assert (P + "4.92" in response.text) == (name == "image/jpx")


@pytest.mark.proves("NEG-018")
@pytest.mark.parametrize("target", DECODERS)
@pytest.mark.parametrize("source", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_an_instance_in_a_syntax_asked_for(peer: Peer, corpus: Corpus, source: str, target: str) -> None:
    item = corpus[source]
    (part,) = peer.parts(item.path, f"{DICOM_MULTIPART}; transfer-syntax={target}")
    assert part.parameters["transfer-syntax"] == target
    if target == item.syntax:
        assert part.body == item.data
        return
    sent, stored = read(part.body), read(item.data)
    assert sent.file_meta.TransferSyntaxUID == target
    assert sent.SOPInstanceUID == sent.file_meta.MediaStorageSOPInstanceUID == stored.SOPInstanceUID
    (frame,) = generate_frames(sent.PixelData, number_of_frames=1)
    assert same_bits(unpadded(frame, target), target, corpus.mr_pixels)
    kept = [element for element in stored if element.keyword not in ("PixelData", "PlanarConfiguration")]
    assert [sent[element.tag] for element in kept] == kept


def unpadded(frame: bytes, uid: str) -> bytes:
    """What decoders that are strict about the end want: without the byte that makes a fragment even."""
    return frame[:-1] if frame.endswith(b"\xff\xd9\0") and uid != RLE else frame


@pytest.mark.proves("NEG-018")
def test_an_instance_deflated(peer: Peer, corpus: Corpus) -> None:
    (part,) = peer.parts(corpus["MR_small_RLE.dcm"].path, f"{DICOM_MULTIPART}; transfer-syntax={P}1.99")
    sent = read(part.body)
    assert sent.file_meta.TransferSyntaxUID == P + "1.99"
    assert sent.PixelData == corpus.mr_pixels


def color_frames(peer: Peer, corpus: Corpus, target: str) -> tuple[Dataset, Dataset]:
    item = corpus["SC_rgb_rle_2frame.dcm"]
    (part,) = peer.parts(item.path, f"{DICOM_MULTIPART}; transfer-syntax={target}")
    assert part.parameters["transfer-syntax"] == target
    return read(part.body), read(item.data)


@pytest.mark.proves("NEG-018")
@pytest.mark.parametrize(
    ("target", "photometric"),
    [(P + "4.90", "YBR_RCT"), (P + "4.201", "YBR_RCT"), (P + "4.80", "RGB"), (P + "4.70", "RGB"), (P + "4.110", "RGB")],
)
def test_color_is_described_as_it_is_coded(peer: Peer, corpus: Corpus, target: str, photometric: str) -> None:
    sent, stored = color_frames(peer, corpus, target)
    assert sent.PhotometricInterpretation == photometric
    assert sent.PlanarConfiguration == 0
    expected = stored.pixel_array
    frames = list(generate_frames(sent.PixelData, number_of_frames=2))
    for frame, pixels in zip(frames, expected, strict=True):
        assert np.array_equal(DECODERS[target](unpadded(frame, target)), pixels)


@pytest.mark.proves("NEG-018")
def test_what_loses_something_says_so(peer: Peer, corpus: Corpus) -> None:
    """PS3.3 C.7.6.1.1.5: another instance, derived from the one that is stored; the same one each time."""
    sent, stored = color_frames(peer, corpus, BASELINE)
    assert sent.PhotometricInterpretation == "YBR_FULL_422"
    assert sent.LossyImageCompression == "01"
    assert sent.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(sent.LossyImageCompressionRatio) > 1
    assert sent.ImageType[0] == "DERIVED"
    assert sent.SOPInstanceUID not in (stored.SOPInstanceUID, "")
    assert sent.SOPInstanceUID == sent.file_meta.MediaStorageSOPInstanceUID
    assert stored.SOPInstanceUID in [one.ReferencedSOPInstanceUID for one in sent.SourceImageSequence]
    assert color_frames(peer, corpus, BASELINE)[0].SOPInstanceUID == sent.SOPInstanceUID
    for frame in generate_frames(sent.PixelData, number_of_frames=2):
        assert imagecodecs.jpeg8_decode(frame).shape == (stored.Rows, stored.Columns, 3)


@pytest.mark.parametrize(
    "accept", ["image/jpeg; transfer-syntax=*", "image/jpeg", "image/*", "image/*; transfer-syntax=*"]
)
def test_nothing_is_lost_for_those_who_leave_the_syntax_open(peer: Peer, corpus: Corpus, accept: str) -> None:
    name, _, parameter = accept.partition(";")
    multipart = f'multipart/related; type="{name}"' + (f";{parameter}" if parameter else "")
    for source in ("ct1", "MR_small.dcm"):
        (part,) = peer.parts(corpus[source].path + "/frames/1", multipart)
        assert part.media_type.startswith("image/")
        assert part.parameters["transfer-syntax"] not in (BASELINE, EXTENDED, P + "4.81", P + "4.91", P + "4.203")


def test_a_jpeg_is_recompressed_without_loss(peer: Peer, corpus: Corpus) -> None:
    item = corpus["SC_rgb_jpeg_dcmtk.dcm"]
    (stored,) = generate_frames(read(item.data).PixelData, number_of_frames=1)
    accept = f'multipart/related; type="image/jxl"; transfer-syntax={P}4.111'
    (part,) = peer.parts(item.path + "/frames/1", accept)
    assert part.parameters["transfer-syntax"] == P + "4.111"
    assert len(part.body) < len(stored)
    assert imagecodecs.jpegxl_decode_jpeg(part.body) == stored[: stored.rindex(b"\xff\xd9") + 2]
    (whole,) = peer.parts(item.path, f"{DICOM_MULTIPART}; transfer-syntax={P}4.111")
    sent = read(whole.body)
    assert sent.SOPInstanceUID == item.instance
    (frame,) = generate_frames(sent.PixelData, number_of_frames=1)
    assert frame.startswith(part.body)


@pytest.mark.parametrize("source", ["MR_small.dcm", "MR_small_RLE.dcm"])
def test_pixel_data_as_bulkdata(peer: Peer, corpus: Corpus, source: str) -> None:
    path = corpus[source].path
    for resource in ("/bulkdata/7FE00010", "/pixeldata"):
        (part,) = peer.parts(path + resource, 'multipart/related; type="image/jp2"')
        assert part.parameters["transfer-syntax"] == JPEG_2000
        assert same_bits(part.body, JPEG_2000, corpus.mr_pixels)
        (part,) = peer.parts(path + resource, f"{OCTET_MULTIPART}; transfer-syntax={EXPLICIT}")
        assert part.body == corpus.mr_pixels
    (part,) = peer.parts(path + "/frames/1", f"{OCTET_MULTIPART}; transfer-syntax={JPEG_LS}")
    assert part.media_type == "application/octet-stream"
    assert part.parameters["transfer-syntax"] == JPEG_LS
    assert same_bits(part.body, JPEG_LS, corpus.mr_pixels)


def test_every_frame_is_a_part_of_its_own(peer: Peer, corpus: Corpus) -> None:
    path = corpus["SC_rgb_rle_2frame.dcm"].path
    parts = peer.parts(path + "/frames/1,2", 'multipart/related; type="image/jls"')
    assert [part.location.rsplit("/", 1)[1] for part in parts] == ["1", "2"]
    assert [len(part.body) == int(part.headers["content-length"]) for part in parts] == [True, True]
    expected = read(corpus["SC_rgb_rle_2frame.dcm"].data).pixel_array
    for part, pixels in zip(parts, expected, strict=True):
        assert np.array_equal(imagecodecs.jpegls_decode(part.body), pixels)


@pytest.mark.proves("NEG-019")
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("ct1", BASELINE),
        ("MR_small.dcm", EXTENDED),
        ("pdf", JPEG_2000),
        ("video", JPEG_2000),
        ("MR_small.dcm", P + "4.111"),
        ("MR_small.dcm", P + "4.92"),
    ],
)
def test_what_a_syntax_cannot_hold_is_not_acceptable(peer: Peer, corpus: Corpus, name: str, target: str) -> None:
    response = peer.get(corpus[name].path, f"{DICOM_MULTIPART}; transfer-syntax={target}")
    assert response.status_code == 406
    assert len(response.text) > 20


@pytest.mark.proves("NEG-020")
def test_the_next_best_syntax_serves_what_the_best_cannot_hold(peer: Peer, corpus: Corpus) -> None:
    accept = ", ".join(
        f"{DICOM_MULTIPART}; transfer-syntax={uid}; q={q}"
        for uid, q in ((BASELINE, 1), (JPEG_LS, 0.7), (EXPLICIT, 0.1))
    )
    (part,) = peer.parts(corpus["MR_small.dcm"].path, accept)
    assert part.parameters["transfer-syntax"] == JPEG_LS
    (part,) = peer.parts(corpus["pdf"].path, accept)
    assert part.parameters["transfer-syntax"] == EXPLICIT


@pytest.mark.needs("single-part", "ranges")
def test_a_converted_instance_in_ranges(peer: Peer, corpus: Corpus) -> None:
    path, accept = corpus["MR_small.dcm"].path, f"application/dicom; transfer-syntax={JPEG_2000}"
    whole = peer.get(path, accept)
    assert whole.status_code == 200
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert read(io.BytesIO(whole.content).read()).file_meta.TransferSyntaxUID == JPEG_2000
    part = peer.get(path, accept, Range="bytes=100-299")
    assert part.status_code == 206
    assert part.content == whole.content[100:300]
    assert part.headers["etag"] == whole.headers["etag"]
    assert whole.headers["etag"] != peer.get(path, "application/dicom").headers["etag"]


def test_head_of_a_converted_instance(peer: Peer, corpus: Corpus) -> None:
    path, accept = corpus["MR_small.dcm"].path, f"application/dicom; transfer-syntax={LOSSLESS_JPEG}"
    whole = peer.get(path, accept)
    response = peer.request("HEAD", path, headers={"accept": accept})
    assert response.status_code == 200
    assert response.headers["content-length"] == str(len(whole.content))
    assert response.headers["etag"] == whole.headers["etag"]
