"""Broken codestreams end in CodecError: no other exception, no crash, no endless work, no output that is not described."""

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import imagecodecs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.codecs import can_decode, decode_frame
from app.dicom.codecs.jpeg_header import read_jpeg_header
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.errors import CodecError
from tests.dicom.codec_fuzzing import FAMILIES
from tests.dicom.encoded import (
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS,
    JPEG_XL,
    Encoded,
    description,
    encode_j2k,
    lossless_frames,
    picture,
)

ROOT = Path(__file__).parents[2]
STREAMS = [e for e in lossless_frames((33, 29)) if e.image.bits_stored in (8, 12)]
SMALL = description(picture(8, (4, 4)), 8)
DECODABLE = sorted(uid for uid in TRANSFER_SYNTAXES if can_decode(uid))


@pytest.mark.parametrize("family", FAMILIES)
def test_mutated_codestreams_do_no_harm(family: str) -> None:
    count = int(os.environ.get("GANTRY_FUZZ_COUNT", "1500"))
    run = subprocess.run(
        [sys.executable, "-m", "tests.dicom.codec_fuzzing", family, "20", str(count)],
        cwd=ROOT,
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout)
    assert result["decoded"] + result["refused"] == count
    assert result["refused"] > count // 10
    assert result["slowest"] < 20  # seconds; CharLS may count to 2**31 once on what it cannot decode
    assert run.stderr == b""  # no exception that a library swallowed


@given(st.sampled_from(DECODABLE), st.binary(max_size=300))
def test_arbitrary_bytes_are_no_frame(uid: str, data: bytes) -> None:
    try:
        frame = decode_frame(data, SMALL, uid)
    except CodecError:
        return
    assert len(frame.data) == 16


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STREAMS), st.floats(0, 0.97))
def test_truncated_codestreams_are_refused(encoded: Encoded, part: float) -> None:
    with pytest.raises(CodecError):
        decode_frame(encoded.codestream[: int(len(encoded.codestream) * part)], encoded.image, encoded.uid)


def test_a_jpeg_without_its_end_is_refused_but_padding_behind_it_is_not() -> None:
    samples = picture(8, (30, 30))
    stream = imagecodecs.jpeg8_encode(samples, 90)
    image = description(samples, 8)
    for padding in (b"", b"\0", b"\xff"):
        assert len(decode_frame(stream + padding, image, JPEG_BASELINE).data) == 900
    with pytest.raises(CodecError, match="end-of-image"):
        decode_frame(stream[:-2], image, JPEG_BASELINE)


def test_sizes_that_are_lied_about_do_not_cost_memory() -> None:
    """A small codestream whose header says 65,535 x 65,535 is refused by its header alone."""
    samples = picture(8, (16, 16), noise=0)
    image = description(samples, 8)
    jpeg = bytearray(imagecodecs.jpeg8_encode(samples, 90))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    jpeg_ls = bytearray(imagecodecs.jpegls_encode(samples))
    at = jpeg_ls.index(b"\xff\xf7")
    jpeg_ls[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    j2k = bytearray(encode_j2k(samples, 8))
    j2k[8:16] = struct.pack(">II", 65535, 65535)
    ht = bytearray(imagecodecs.htj2k_encode(samples, reversible=True))
    ht[8:16] = struct.pack(">II", 65535, 65535)
    for stream, uid in (
        (jpeg, JPEG_BASELINE),
        (jpeg_ls, JPEG_LS),
        (j2k, JPEG_2000),
        (ht, HTJ2K_LOSSLESS),
        (imagecodecs.jpegxl_encode(picture(8, (3000, 3000), noise=0), lossless=True), JPEG_XL),
    ):
        with pytest.raises(CodecError):
            decode_frame(bytes(stream), image, uid)
        with pytest.raises(CodecError, match="larger than"):
            decode_frame(bytes(stream), replace(image, rows=65535, columns=65535), uid)


def test_tiny_tiles_are_refused() -> None:
    stream = bytearray(encode_j2k(picture(8, (100, 100)), 8))
    stream[24:32] = struct.pack(">II", 1, 1)
    with pytest.raises(CodecError, match="tiles"):
        decode_frame(bytes(stream), description(picture(8, (100, 100)), 8), JPEG_2000)


def test_components_that_differ_are_refused() -> None:
    samples = picture(8, (10, 10, 3))
    image = description(samples, 8)
    for position, value in ((43, 2), (45, 0x0B), (48, 0x87)):
        stream = bytearray(encode_j2k(samples, 8))
        stream[position] = value
        with pytest.raises(CodecError, match="alike"):
            decode_frame(bytes(stream), image, JPEG_2000)


@pytest.mark.parametrize("bits", [25, 32])
def test_jpeg_2000_beyond_what_its_decoder_can_do_is_refused(bits: int) -> None:
    samples = picture(bits, (9, 9))
    with pytest.raises(CodecError, match="reliably"):
        decode_frame(encode_j2k(samples, bits), description(samples, bits), JPEG_2000)
    stream = imagecodecs.htj2k_encode(samples, reversible=True)
    with pytest.raises(CodecError, match="reliably"):
        decode_frame(stream, description(samples, 32), HTJ2K_LOSSLESS)


def test_progressive_jpeg_is_refused() -> None:
    stream = imagecodecs.jpeg8_encode(picture(8, (30, 30)), 90).replace(b"\xff\xc0", b"\xff\xc2", 1)
    assert read_jpeg_header(stream).process == 0xC2
    with pytest.raises(CodecError, match="neither"):
        decode_frame(stream, description(picture(8, (30, 30)), 8), JPEG_BASELINE)


def test_codestreams_of_another_family_are_refused() -> None:
    for encoded in STREAMS:
        for uid in (JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_2000, JPEG_XL):
            if TRANSFER_SYNTAXES[uid].family is TRANSFER_SYNTAXES[encoded.uid].family:
                continue
            if uid == JPEG_2000 and encoded.uid == HTJ2K_LOSSLESS:
                continue  # one decoder for both
            with pytest.raises(CodecError):
                decode_frame(encoded.codestream, encoded.image, uid)


@given(st.binary(max_size=120))
def test_jpeg_headers_are_read_or_refused(data: bytes) -> None:
    for start in (b"\xff\xd8", b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x04\x00\x04\x01\x01\x11\x00"):
        try:
            header = read_jpeg_header(start + data)
        except CodecError:
            continue
        assert 2 <= header.scan < len(start + data)


def test_jpeg_headers_with_fill_bytes_and_two_frames() -> None:
    frame = b"\xff\xc0\x00\x0b\x08\x00\x04\x00\x05\x01\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    header = read_jpeg_header(b"\xff\xd8\xff\xff\xff\x01" + frame + scan)
    assert (header.rows, header.columns, header.components, header.precision) == (4, 5, (1,), 8)
    for broken in (
        frame + frame + scan,
        scan,
        frame,
        frame[:-1] + scan,
        b"\xff\xc0\x00\x02" + scan,
        frame + b"\xff\xd9",
    ):
        with pytest.raises(CodecError):
            read_jpeg_header(b"\xff\xd8" + broken)
