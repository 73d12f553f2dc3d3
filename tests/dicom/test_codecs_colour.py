"""Photometric Interpretation of decoded frames: known beforehand, and true."""

import io
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.codecs.jpeg_header import read_jpeg_header
from app.errors import CodecError
from tests.dicom.encoded import (
    HTJ2K,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    JPEG_XL,
    JPEG_XL_JPEG,
    JPEG_XL_LOSSLESS,
    RLE,
    Samples,
    description,
    encode_j2k,
    encode_rle,
    picture,
)

RGB = picture(8, (48, 40, 3), noise=1)
YBR = convert_color_space(RGB, "RGB", "YBR_FULL")


@pytest.mark.parametrize(
    ("uid", "stored", "decoded"),
    [
        (JPEG_BASELINE, "YBR_FULL_422", "RGB"),
        (JPEG_BASELINE, "YBR_FULL", "RGB"),
        (JPEG_BASELINE, "RGB", "RGB"),
        (JPEG_EXTENDED, "YBR_FULL", "RGB"),
        (JPEG_LOSSLESS, "YBR_FULL", "YBR_FULL"),
        (JPEG_LOSSLESS_SV1, "YBR_FULL_422", "YBR_FULL"),
        (JPEG_LS, "YBR_FULL", "YBR_FULL"),
        (JPEG_LS, "RGB", "RGB"),
        (JPEG_2000, "YBR_ICT", "RGB"),
        (JPEG_2000, "YBR_RCT", "RGB"),
        (JPEG_2000, "YBR_FULL", "YBR_FULL"),
        (HTJ2K, "YBR_ICT", "RGB"),
        (JPEG_XL, "XYB", "RGB"),
        (JPEG_XL, "YBR_FULL_422", "RGB"),
        (JPEG_XL_JPEG, "YBR_FULL_422", "RGB"),
        (JPEG_XL_LOSSLESS, "YBR_FULL", "YBR_FULL"),
        (RLE, "YBR_FULL", "YBR_FULL"),
        (RLE, "YBR_FULL_422", "YBR_FULL"),
    ],
)
def test_decoded_colour(uid: str, stored: str, decoded: str) -> None:
    image = replace(description(RGB, 8, photometric=stored), planar_configuration=1)
    result = decoded_image(image, uid)
    assert result == replace(image, photometric_interpretation=decoded, planar_configuration=0)


@pytest.mark.parametrize("stored", ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "YBR_FULL"])
def test_one_sample_keeps_its_interpretation(stored: str) -> None:
    samples = picture(8, (9, 9))
    image = description(samples, 8, photometric=stored)
    assert decoded_image(image, JPEG_BASELINE) == image
    frame = decode_frame(imagecodecs.jpeg8_encode(samples, 95), image, JPEG_BASELINE)
    assert frame.photometric_interpretation == stored


def jpeg(*, ycbcr: bool, marker: str, identifiers: bytes = b"\1\2\3", lossless: bool = False) -> bytes:
    """RGB's colours as JPEG, coded as RGB or YCbCr, with JFIF, Adobe or no marker."""
    coded = YBR if ycbcr else RGB
    options = {"lossless": True, "predictor": 1} if lossless else {"level": 98}
    # Encoded as if it were RGB to RGB: no transformation, and identifiers R, G, B that are replaced here.
    stream = imagecodecs.jpeg8_encode(coded, colorspace="RGB", outcolorspace="RGB", subsampling="444", **options)
    header = read_jpeg_header(stream)
    assert header.components == (82, 71, 66)
    assert not header.has_jfif
    start = stream.index(bytes([0xFF, header.process]))
    edited = bytearray(stream)
    edited[start + 10 : start + 19 : 3] = identifiers
    edited[header.scan + 5 : header.scan + 11 : 2] = identifiers
    stream = bytes(edited)
    adobe = stream.find(b"\xff\xee")
    if adobe > 0:
        stream = stream[:adobe] + stream[adobe + 16 :]
    segments = {
        "none": b"",
        "jfif": b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00",
        "adobe rgb": b"\xff\xee\x00\x0eAdobe\x00\x65\x00\x00\x00\x00\x00",
        "adobe ycbcr": b"\xff\xee\x00\x0eAdobe\x00\x65\x00\x00\x00\x00\x01",
        "short adobe": b"\xff\xee\x00\x0cAdobe\x00\x00\x00\x00\x00",
    }
    return stream[:2] + segments[marker] + stream[2:]


def decode(stream: bytes, stored: str, uid: str = JPEG_BASELINE) -> Samples:
    image = description(RGB, 8, photometric=stored)
    frame = decode_frame(stream, image, uid)
    assert frame.photometric_interpretation == decoded_image(image, uid).photometric_interpretation
    return np.frombuffer(frame.data, "u1").reshape(RGB.shape)


def is_like(samples: Samples, expected: Samples) -> bool:
    return bool(np.abs(samples.astype(int) - expected).max() <= 12)


@pytest.mark.parametrize(
    ("stored", "ycbcr", "marker", "identifiers"),
    [
        ("YBR_FULL_422", True, "none", b"\1\2\3"),
        ("YBR_FULL", True, "jfif", b"\1\2\3"),
        ("YBR_FULL", True, "adobe ycbcr", b"\0\1\2"),
        ("YBR_FULL", False, "none", b"RGB"),  # identifiers win: pydicom does so, too
        ("RGB", False, "none", b"\1\2\3"),
        ("RGB", False, "none", b"\0\1\2"),  # SC_jpeg_no_color_transform.dcm
        ("RGB", False, "adobe rgb", b"\0\1\2"),  # SC_jpeg_no_color_transform_2.dcm
        ("RGB", False, "short adobe", b"\0\1\2"),  # SC_rgb_jpeg.dcm
        ("RGB", False, "adobe rgb", b"RGB"),  # SC_rgb_dcmtk_+eb+cr.dcm
        ("RGB", True, "jfif", b"\1\2\3"),
        ("RGB", True, "adobe ycbcr", b"\1\2\3"),
    ],
)
def test_lossy_jpeg_is_delivered_as_rgb(stored: str, ycbcr: bool, marker: str, identifiers: bytes) -> None:
    stream = jpeg(ycbcr=ycbcr, marker=marker, identifiers=identifiers)
    assert is_like(decode(stream, stored), RGB)


def test_subsampled_chroma_is_spread_over_the_pixels() -> None:
    stream = imagecodecs.jpeg8_encode(RGB, 98, subsampling="422")
    assert is_like(decode(stream, "YBR_FULL_422"), RGB)


@pytest.mark.parametrize("marker", ["none", "jfif", "adobe rgb", "adobe ycbcr"])
@pytest.mark.parametrize("stored", ["RGB", "YBR_FULL"])
def test_lossless_jpeg_does_not_touch_colour(stored: str, marker: str) -> None:
    samples = RGB if stored == "RGB" else YBR
    stream = jpeg(ycbcr=stored != "RGB", marker=marker, lossless=True)
    assert (decode(stream, stored, JPEG_LOSSLESS_SV1) == samples).all()


def test_a_lossless_codestream_labelled_lossy_is_decoded_where_its_colour_is_known() -> None:
    assert (decode(jpeg(ycbcr=False, marker="jfif", lossless=True), "RGB") == RGB).all()
    with pytest.raises(CodecError, match="labelled"):
        decode(jpeg(ycbcr=True, marker="none", lossless=True), "YBR_FULL")


@pytest.mark.parametrize("stored", ["RGB", "YBR_RCT", "YBR_FULL"])
def test_jpeg_2000_component_transformation_is_undone(stored: str) -> None:
    samples = YBR if stored == "YBR_FULL" else RGB
    stream = encode_j2k(samples, 8, mct=stored != "YBR_FULL")
    assert (decode(stream, stored, JPEG_2000) == samples).all()


def test_jpeg_2000_in_a_jp2_file_is_decoded() -> None:
    stream = imagecodecs.jpeg2k_encode(RGB, level=0, reversible=True, codecformat="jp2")
    assert stream.startswith(b"\x00\x00\x00\x0cjP  ")
    assert (decode(stream, "RGB", JPEG_2000) == RGB).all()
    with pytest.raises(CodecError):
        decode(stream[: stream.index(b"jp2c")], "RGB", JPEG_2000)


def test_a_recompressed_jpeg_is_rgb() -> None:
    stream = imagecodecs.jpeg8_encode(RGB, 98, subsampling="444")
    assert is_like(decode(imagecodecs.jpegxl_encode_jpeg(stream), "YBR_FULL_422", JPEG_XL_JPEG), RGB)


def test_lossy_jpeg_xl_in_xyb_is_rgb() -> None:
    stream = imagecodecs.jpegxl_encode(RGB, distance=0.3)
    difference = np.abs(decode(stream, "XYB", JPEG_XL).astype(int) - RGB)
    assert difference.mean() < 3
    assert difference.max() < 25


def test_ybr_full_in_rle_and_jpeg_ls_stays() -> None:
    assert (decode(encode_rle(YBR), "YBR_FULL", RLE) == YBR).all()
    smooth = np.full(RGB.shape, (90, 120, 140), "u1")
    image = description(smooth, 8, photometric="YBR_FULL")
    assert decode_frame(imagecodecs.jpegls_encode(smooth), image, JPEG_LS).data == smooth.tobytes()


@pytest.mark.parametrize(
    ("compressed", "original"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),  # pydicom has no decoder for these here
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_real_files_equal_their_originals(compressed: str, original: str) -> None:
    source = dcmread(io.BytesIO(_bytes_of(compressed)))
    (stream,) = generate_frames(source.PixelData, number_of_frames=1)
    reference = dcmread(io.BytesIO(_bytes_of(original))).pixel_array
    image = description(reference, source.BitsStored, signed=source.PixelRepresentation == 1)
    assert decode_frame(stream, image, source.file_meta.TransferSyntaxUID).data == reference.tobytes()


def _bytes_of(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()
