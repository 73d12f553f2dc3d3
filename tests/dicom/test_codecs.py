"""Decoded frames are exactly what their description says, whatever codec and sample format."""

import zlib
from dataclasses import replace
from itertools import count

import imagecodecs
import numpy as np
import pytest

from app.dicom.codecs import can_decode, decode_frame, decoded_image
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    TRANSFER_SYNTAXES,
    Family,
)
from app.errors import CodecError, UnsupportedTransferSyntax
from tests.dicom.encoded import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    JPEG_LS_NEAR,
    JPEG_XL,
    JPEG_XL_JPEG,
    JPEG_XL_LOSSLESS,
    RLE,
    Encoded,
    Samples,
    description,
    encode_j2k,
    encode_rle,
    lossless_frames,
    picture,
)

LOSSLESS = list(lossless_frames())
NUMBERS = count()


def samples_of(data: bytes, image: ImagePixel) -> Samples:
    kind = "i" if image.pixel_representation else "u"
    shape = (image.rows, image.columns) + ((3,) if image.samples_per_pixel == 3 else ())
    return np.frombuffer(data, f"<{kind}{image.bits_allocated // 8}").reshape(shape)


def decode(codestream: bytes, image: ImagePixel, uid: str) -> Samples:
    frame = decode_frame(codestream, image, uid)
    result = decoded_image(image, uid)
    assert frame.photometric_interpretation == result.photometric_interpretation
    assert frame.planar_configuration == result.planar_configuration
    assert frame.bits_allocated == result.bits_allocated == image.bits_allocated
    return samples_of(frame.data, result)


@pytest.mark.parametrize(
    "encoded", LOSSLESS, ids=lambda e: f"{e.uid[18:]}-{e.image.bits_stored}-{e.image.samples_per_pixel}-{next(NUMBERS)}"
)
def test_lossless_frames_come_back_bit_for_bit(encoded: Encoded) -> None:
    assert (decode(encoded.codestream, encoded.image, encoded.uid) == encoded.samples).all()


def test_every_image_syntax_can_be_decoded_and_nothing_else() -> None:
    for uid, syntax in TRANSFER_SYNTAXES.items():
        still_image = syntax.encapsulated and syntax.family not in (Family.VIDEO, Family.JPIP)
        assert can_decode(uid) == still_image
    assert not can_decode("1.2.3")
    with pytest.raises(UnsupportedTransferSyntax):
        decoded_image(LOSSLESS[0].image, "1.2.840.10008.1.2.4.102")
    with pytest.raises(UnsupportedTransferSyntax):
        decode_frame(b"x", LOSSLESS[0].image, "1.2.840.10008.1.2.1")


# Lossy


@pytest.mark.parametrize(
    ("uid", "bits", "shape", "tolerance"),
    [
        (JPEG_BASELINE, 8, (40, 50), 12),
        (JPEG_EXTENDED, 12, (40, 50), 60),
        (JPEG_LS_NEAR, 8, (40, 50), 2),
        (JPEG_LS_NEAR, 12, (40, 50, 3), 2),
        (JPEG_2000, 8, (40, 50, 3), 12),
        (HTJ2K, 8, (40, 50, 3), 12),
        (HTJ2K, 16, (40, 50), 60),
        (JPEG_XL, 8, (40, 50), 12),
        (JPEG_XL, 12, (40, 50), 120),
    ],
)
def test_lossy_frames_come_back_nearly(uid: str, bits: int, shape: tuple[int, ...], tolerance: int) -> None:
    samples = picture(bits, shape, noise=1)
    image = description(samples, bits)
    if uid in (JPEG_BASELINE, JPEG_EXTENDED):
        stream = imagecodecs.jpeg8_encode(samples, 97, bitspersample=bits)
    elif uid == JPEG_LS_NEAR:
        stream = imagecodecs.jpegls_encode(samples, 2)
    elif uid == JPEG_2000:
        stream = imagecodecs.jpeg2k_encode(samples, 45, reversible=False, codecformat="j2k")
    elif uid == HTJ2K:
        stream = imagecodecs.htj2k_encode(samples, reversible=False)
    else:
        stream = imagecodecs.jpegxl_encode(samples, distance=0.5, bitspersample=bits)
    difference = np.abs(decode(stream, image, uid).astype(int) - samples)
    assert difference.max() <= tolerance  # in particular nothing wraps around at black and white


# Signed samples (PS3.5 8.1.1: the value's bits, the sign in those above)


@pytest.mark.parametrize("uid", [JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
@pytest.mark.parametrize("dtype", ["i1", "i2"])
def test_signed_codestreams_keep_their_values(uid: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    samples = np.random.default_rng(1).integers(info.min, info.max, (21, 17), dtype, endpoint=True)
    if uid == HTJ2K_LOSSLESS:
        stream = imagecodecs.htj2k_encode(samples, reversible=True)
    else:
        stream = encode_j2k(samples, 8 * samples.dtype.itemsize)
    image = description(samples, 8 * samples.dtype.itemsize, signed=True)
    assert (decode(stream, image, uid) == samples).all()


SIGNED_12_BIT = np.random.default_rng(2).integers(-2048, 2047, (21, 17), "i2", endpoint=True)


def test_a_signed_codestream_of_12_bits() -> None:
    stream = encode_j2k(SIGNED_12_BIT, 12)
    assert (decode(stream, description(SIGNED_12_BIT, 12, signed=True), JPEG_2000_LOSSLESS) == SIGNED_12_BIT).all()


@pytest.mark.parametrize("uid", [JPEG_2000_LOSSLESS, JPEG_LS, JPEG_LOSSLESS_SV1, JPEG_XL_LOSSLESS])
def test_an_unsigned_codestream_of_signed_samples_is_sign_extended(uid: str) -> None:
    coded = (SIGNED_12_BIT & 0xFFF).astype("u2")  # JPEG knows no signs; J2K_pixelrep_mismatch.dcm is such a file
    if uid == JPEG_2000_LOSSLESS:
        stream = encode_j2k(coded, 12)
    elif uid == JPEG_LS:
        stream = imagecodecs.jpegls_encode(np.resize(SIGNED_12_BIT.clip(-3, 2) & 0xFFF, (21, 17)).astype("u2"))
    elif uid == JPEG_XL_LOSSLESS:
        stream = imagecodecs.jpegxl_encode(coded, lossless=True, bitspersample=12)
    else:
        stream = imagecodecs.jpeg8_encode(coded, lossless=True, bitspersample=12)
    expected = SIGNED_12_BIT.clip(-3, 2) if uid == JPEG_LS else SIGNED_12_BIT
    assert (decode(stream, description(SIGNED_12_BIT, 12, signed=True), uid) == expected).all()


def test_lossless_jpeg_of_16_bit_words_uses_the_high_bit_as_the_sign() -> None:
    for word in (SIGNED_12_BIT.view("u2"), SIGNED_12_BIT.view("u2") & 0xFFF):
        stream = imagecodecs.jpeg8_encode(np.ascontiguousarray(word), lossless=True, bitspersample=16)
        image = description(SIGNED_12_BIT, 12, signed=True)
        assert (decode(stream, image, JPEG_LOSSLESS_SV1) == SIGNED_12_BIT).all()


def test_a_signed_codestream_of_unsigned_samples_is_read_as_unsigned() -> None:
    stream = encode_j2k(SIGNED_12_BIT, 12)
    image = description(SIGNED_12_BIT, 12)
    assert (decode(stream, image, JPEG_2000_LOSSLESS) == (SIGNED_12_BIT & 0xFFF)).all()


def test_samples_are_widened_to_bits_allocated() -> None:
    samples = picture(8, (9, 11))
    image = replace(description(samples, 8), bits_allocated=16)
    for stream, uid in (
        (imagecodecs.jpeg8_encode(samples, lossless=True), JPEG_LOSSLESS_SV1),
        (imagecodecs.jpegls_encode(picture(8, (9, 11), noise=0)), JPEG_LS),
        (encode_j2k(samples, 8), JPEG_2000_LOSSLESS),
        (imagecodecs.jpegxl_encode(samples, lossless=True), JPEG_XL_LOSSLESS),
    ):
        expected = picture(8, (9, 11), noise=0) if uid == JPEG_LS else samples
        assert (decode(stream, image, uid) == expected).all()


# One bit


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 1)])
def test_one_bit_frames_are_packed(shape: tuple[int, int]) -> None:
    bits = (np.random.default_rng(3).random(shape) > 0.5).astype("u1")
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    image = description(bits, 1)
    assert image.bits_allocated == 1
    rle_of_bits = encode_rle(np.frombuffer(packed, "u1").reshape(1, -1))
    frames = [
        (rle_of_bits, RLE),
        (encode_rle(bits), RLE),
        (encode_j2k(bits, 1), JPEG_2000_LOSSLESS),
        (imagecodecs.jpegls_encode(bits * 0), JPEG_LS),
        (zlib.compress(packed, wbits=-15), DEFLATED_IMAGE_FRAME),
        (packed, ENCAPSULATED_UNCOMPRESSED),
    ]
    for stream, uid in frames:
        if uid == JPEG_LS:
            with pytest.raises(CodecError):  # of 8 bits: more than are allocated
                decode_frame(stream, image, uid)
            continue
        assert decode_frame(stream, image, uid).data == packed


# Native frames in an envelope


@pytest.mark.parametrize("size", [27, 28])
def test_enveloped_native_frames_lose_their_padding(size: int) -> None:
    frame = bytes(range(size))
    image = replace(description(picture(8, (1, size)), 8), planar_configuration=1)
    padded = frame + b"\0" * (size % 2)
    deflated = zlib.compress(frame, wbits=-15)
    deflated += b"\0" * (len(deflated) % 2)
    assert decode_frame(padded, image, ENCAPSULATED_UNCOMPRESSED).data == frame
    assert decode_frame(frame, image, ENCAPSULATED_UNCOMPRESSED).data == frame
    decoded = decode_frame(deflated, image, DEFLATED_IMAGE_FRAME)
    assert decoded.data == frame
    assert decoded.planar_configuration == 1  # not altered: the bytes are those of the writer


def test_native_4_2_2_in_an_envelope_stays_so() -> None:
    image = replace(description(picture(8, (4, 6, 3)), 8), photometric_interpretation="YBR_FULL_422")
    frame = bytes(range(4 * 6 * 2))
    decoded = decode_frame(frame, image, ENCAPSULATED_UNCOMPRESSED)
    assert (decoded.data, decoded.photometric_interpretation) == (frame, "YBR_FULL_422")


@pytest.mark.parametrize("uid", [DEFLATED_IMAGE_FRAME, ENCAPSULATED_UNCOMPRESSED])
@pytest.mark.parametrize("size", [98, 99, 102, 103, 300, 1_000_000])
def test_enveloped_native_frames_of_another_size_are_refused(uid: str, size: int) -> None:
    image = description(picture(8, (10, 10)), 8)
    data = bytes(size)
    with pytest.raises(CodecError):
        decode_frame(zlib.compress(data, wbits=-15) if uid == DEFLATED_IMAGE_FRAME else data, image, uid)


def test_deflated_frames_are_inflated_no_further_than_described() -> None:
    bomb = zlib.compress(bytes(200_000_000), wbits=-15)
    with pytest.raises(CodecError):
        decode_frame(bomb, description(picture(8, (10, 10)), 8), DEFLATED_IMAGE_FRAME)


# RLE


def test_rle_is_colour_by_plane_and_comes_back_by_pixel() -> None:
    samples = picture(8, (6, 7, 3))
    image = replace(description(samples, 8), planar_configuration=1)
    frame = decode_frame(encode_rle(samples), image, RLE)
    assert frame.planar_configuration == 0
    assert frame.data == samples.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:40],
        lambda data: b"\x03" + data[1:],
        lambda data: data[:4] + b"\x00" + data[5:],
        lambda data: data[:8] + b"\xff\xff\xff\x7f" + data[12:],
        lambda data: data[:-6],
        lambda data: data[:8] + data[4:8] + data[12:],
    ],
)
def test_broken_rle_is_refused(change: object) -> None:
    samples = picture(16, (6, 7))
    assert callable(change)
    with pytest.raises(CodecError):
        decode_frame(change(encode_rle(samples)), description(samples, 16), RLE)


def test_rle_segments_of_another_size_are_refused() -> None:
    stream = encode_rle(picture(16, (6, 7)))
    for rows, columns in ((6, 6), (6, 8), (1, 1)):
        with pytest.raises(CodecError):
            decode_frame(stream, description(picture(16, (rows, columns)), 16), RLE)


# Sizes are compared before anything is decoded


@pytest.mark.parametrize(
    "encoded", [e for e in LOSSLESS if e.image.bits_stored == 8], ids=lambda e: f"{e.uid[18:]}-{next(NUMBERS)}"
)
def test_another_size_than_described_is_refused(encoded: Encoded) -> None:
    image = encoded.image
    for wrong in (
        replace(image, rows=image.rows - 1),
        replace(image, columns=image.columns + 1),
        # RLE does not know rows, only how many bytes there are.
        replace(image, rows=image.columns, columns=image.rows + (encoded.uid == RLE)),
        replace(image, samples_per_pixel=4 - image.samples_per_pixel),
    ):
        with pytest.raises(CodecError):
            decode_frame(encoded.codestream, wrong, encoded.uid)


@pytest.mark.parametrize(
    "encoded", [e for e in LOSSLESS if e.image.bits_stored == 12], ids=lambda e: f"{e.uid[18:]}-{next(NUMBERS)}"
)
def test_more_bits_than_allocated_are_refused(encoded: Encoded) -> None:
    narrow = replace(encoded.image, bits_allocated=8, bits_stored=8, high_bit=7)
    with pytest.raises(CodecError):
        decode_frame(encoded.codestream, narrow, encoded.uid)


def test_descriptions_that_cannot_be_are_refused() -> None:
    image = LOSSLESS[0].image
    for wrong in (
        replace(image, samples_per_pixel=4),
        replace(image, bits_allocated=12),
        replace(image, bits_stored=9),
        replace(image, bits_stored=0),
        replace(image, bits_allocated=1, bits_stored=1, samples_per_pixel=3),
    ):
        with pytest.raises(CodecError):
            decoded_image(wrong, JPEG_2000)
    with pytest.raises(CodecError, match="larger than"):
        decode_frame(LOSSLESS[0].codestream, image, LOSSLESS[0].uid, max_pixels=image.rows * image.columns - 1)
    with pytest.raises(CodecError, match="empty"):
        decode_frame(b"", image, JPEG_XL_JPEG)
    with pytest.raises(CodecError):
        decode_frame(LOSSLESS[0].codestream, replace(image, rows=0), LOSSLESS[0].uid)
