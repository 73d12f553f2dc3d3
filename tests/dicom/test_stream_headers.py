"""What compressed streams say about themselves: encoders' output for images, hand-written headers for videos."""

import time
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.image_description import OCTET_STREAM, describe_stream, usual_type
from app.dicom.metadata_elements import Payload
from app.dicom.stream_headers.description import StreamDescription, UnusableStream
from tests.support.video_bytes import (
    avc_configuration,
    box,
    hevc,
    hevc_configuration,
    mp4,
    mpeg_2,
    noise,
    program_stream,
    transport_stream,
)

UID = "1.2.840.10008.1.2.4."
RANDOM = np.random.default_rng(11)
RGB = (np.arange(37 * 91 * 3).reshape(37, 91, 3) // 40).astype(np.uint8)
GREY = RGB[..., 0].copy()
DEEP = RANDOM.integers(0, 4096, (37, 91), dtype=np.uint16)


def describe(data: bytes, media_type: str = OCTET_STREAM) -> StreamDescription:
    return describe_stream(memoryview(data), media_type)


def syntaxes(*numbers: str) -> tuple[str, ...]:
    return tuple(UID + number for number in numbers)


def jpeg(pixels: Any = RGB, **how: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=90, **how))


def j2k(pixels: Any = RGB, **how: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, **{"codecformat": "j2k", "reversible": True, **how}))


IMAGES: list[tuple[str, bytes, str, tuple[str, ...], int, int, str, str]] = [
    # name, stream, media type, transfer syntaxes, samples, bits, photometric, method
    ("jpeg 4:2:2", jpeg(subsampling="422"), "image/jpeg", syntaxes("50", "51"), 3, 8, "YBR_FULL_422", "ISO_10918_1"),
    ("jpeg 4:2:0", jpeg(subsampling="420"), "image/jpeg", syntaxes("50", "51"), 3, 8, "YBR_FULL_422", "ISO_10918_1"),
    ("jpeg 4:4:4", jpeg(subsampling="444"), "image/jpeg", syntaxes("50", "51"), 3, 8, "YBR_FULL", "ISO_10918_1"),
    (
        "jpeg rgb",
        jpeg(colorspace="RGB", outcolorspace="RGB"),
        "image/jpeg",
        syntaxes("50", "51"),
        3,
        8,
        "RGB",
        "ISO_10918_1",
    ),
    ("jpeg grey", jpeg(GREY), "image/jpeg", syntaxes("50", "51"), 1, 8, "MONOCHROME2", "ISO_10918_1"),
    ("jpeg 12 bit", jpeg(DEEP, bitspersample=12), "image/jpeg", syntaxes("51"), 1, 12, "MONOCHROME2", "ISO_10918_1"),
    ("jpeg lossless", jpeg(lossless=True, predictor=1), "image/jpeg", syntaxes("70", "57"), 3, 8, "RGB", ""),
    ("jpeg predictor 4", jpeg(GREY, lossless=True, predictor=4), "image/jpeg", syntaxes("57"), 1, 8, "MONOCHROME2", ""),
    ("jls", imagecodecs.jpegls_encode(DEEP), "image/jls", syntaxes("80", "81"), 1, 16, "MONOCHROME2", ""),
    ("jls rgb", imagecodecs.jpegls_encode(RGB), "image/jls", syntaxes("80", "81"), 3, 8, "RGB", ""),
    (
        "jls near",
        imagecodecs.jpegls_encode(GREY, level=3),
        "image/jls",
        syntaxes("81"),
        1,
        8,
        "MONOCHROME2",
        "ISO_14495_1",
    ),
    ("j2k", j2k(), "image/jp2", syntaxes("90", "91"), 3, 8, "YBR_RCT", ""),
    ("j2k without mct", j2k(mct=False), "image/jp2", syntaxes("90", "91"), 3, 8, "RGB", ""),
    ("j2k 16", j2k(DEEP), "image/jp2", syntaxes("90", "91"), 1, 16, "MONOCHROME2", ""),
    ("j2k lossy", j2k(reversible=False, level=30), "image/jp2", syntaxes("91"), 3, 8, "YBR_ICT", "ISO_15444_1"),
    (
        "htj2k",
        imagecodecs.htj2k_encode(RGB, reversible=True),
        "image/jphc",
        syntaxes("201", "202", "203"),
        3,
        8,
        "YBR_RCT",
        "",
    ),
    (
        "htj2k lossy",
        imagecodecs.htj2k_encode(RGB, reversible=False, level=0.01),
        "image/jphc",
        syntaxes("203"),
        3,
        8,
        "YBR_ICT",
        "ISO_15444_15",
    ),
    ("jxl", imagecodecs.jpegxl_encode(RGB, lossless=True), "image/jxl", syntaxes("110", "112"), 3, 8, "RGB", ""),
    (
        "jxl grey",
        imagecodecs.jpegxl_encode(GREY, lossless=True),
        "image/jxl",
        syntaxes("110", "112"),
        1,
        8,
        "MONOCHROME2",
        "",
    ),
    (
        "jxl file",
        imagecodecs.jpegxl_encode(DEEP, lossless=True, usecontainer=True),
        "image/jxl",
        syntaxes("110", "112"),
        1,
        16,
        "MONOCHROME2",
        "",
    ),
    (
        "jxl lossy",
        imagecodecs.jpegxl_encode(RGB, level=80, lossless=False),
        "image/jxl",
        syntaxes("112"),
        3,
        8,
        "XYB",
        "ISO_18181_1",
    ),
    (
        "jxl of jpeg",
        imagecodecs.jpegxl_encode_jpeg(jpeg(subsampling="420")),
        "image/jxl",
        syntaxes("111", "112"),
        3,
        8,
        "YBR_FULL_422",
        "ISO_18181_1",
    ),
]
BY_NAME = {name: bytes(stream) for name, stream, *_ in IMAGES}


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case[0])
def test_images(case: Any) -> None:
    _, stream, media_type, uids, samples, bits, photometric, method = case
    found = describe(bytes(stream), media_type)
    assert found == describe(bytes(stream)), "octets are told apart by their first bytes"
    assert (found.rows, found.columns) == (37, 91)
    assert (found.media_type, found.transfer_syntaxes) == (media_type, uids)
    assert (found.samples, found.bits, found.photometric, found.method) == (samples, bits, photometric, method)
    assert (found.start, found.length, found.number_of_frames) == (0, len(stream), 1)
    assert found.photometric in found.photometrics


def test_signs_are_what_the_stream_says() -> None:
    assert describe(j2k(DEEP.astype(np.int16))).is_signed is True
    assert describe(j2k(DEEP)).is_signed is False
    assert describe(BY_NAME["jls"]).is_signed is None


def test_the_file_format_around_a_codestream_is_left_away() -> None:
    whole = j2k(codecformat="jp2")
    found = describe(whole, "image/jp2")
    assert whole[found.start : found.start + found.length] == whole[whole.index(b"\xff\x4f\xff\x51") :]
    assert found.transfer_syntaxes == syntaxes("90", "91")


@pytest.mark.parametrize(
    ("name", "believed"),
    [
        ("jpeg 4:2:2", False),  # JFIF is YCbCr
        ("jpeg lossless", True),
        ("j2k", False),
        ("j2k without mct", True),
        ("jxl lossy", True),
    ],
)
def test_whether_a_sender_who_says_rgb_is_believed(name: str, believed: bool) -> None:
    assert ("RGB" in describe(BY_NAME[name]).photometrics) is believed


def test_without_any_marker_the_sender_knows_best() -> None:
    plain = BY_NAME["jpeg 4:4:4"]
    at = plain.index(b"\xff\xe0")
    length = int.from_bytes(plain[at + 2 : at + 4], "big")
    found = describe(plain[:at] + plain[at + 2 + length :])
    assert found.photometric == "YBR_FULL"
    assert "RGB" in found.photometrics


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "do not begin"),
        (b"GIF89a", "do not begin"),
        (b"\xff\xd8\xff", "no readable header"),
        (BY_NAME["jpeg grey"].replace(b"\xff\xc0", b"\xff\xc2"), "progressive JPEG"),
        (BY_NAME["jpeg grey"].replace(b"\xff\xc0", b"\xff\xc9"), "process C9H"),
        (jpeg(RANDOM.integers(0, 255, (9, 9, 4), dtype=np.uint8), colorspace="CMYK", outcolorspace="CMYK"), "4 samples"),
        (BY_NAME["j2k"][:30], "no readable header"),
        (BY_NAME["j2k"][:52] , "how it is coded"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + bytes(40), "no codestream"),
        (BY_NAME["jxl"][:4], "ends within"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "no codestream"),
        (imagecodecs.jpegxl_encode(RANDOM.integers(0, 255, (9, 9, 4), dtype=np.uint8), lossless=True), "alpha"),
        (imagecodecs.jpegxl_encode(np.zeros((9, 9), np.float32), lossless=True), "floating point"),
    ],
)  # fmt: skip
def test_streams_that_cannot_be_stored(data: Any, why: str) -> None:
    with pytest.raises(UnusableStream, match=why):
        describe(bytes(data))


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("jpeg grey", "image/jls"), ("jls", "image/jpeg"), ("j2k", "image/jxl"), ("jxl", "video/mp4")],
)
def test_streams_of_another_type_than_the_part(name: str, media_type: str) -> None:
    with pytest.raises(UnusableStream, match=f"the part is {media_type}"):
        describe(BY_NAME[name], media_type)


@pytest.mark.parametrize(("name", "media_type"), [("htj2k", "image/jp2"), ("j2k", "image/jphc"), ("j2k", "image/jpx")])
def test_kinds_of_jpeg_2000_are_told_apart_by_their_headers(name: str, media_type: str) -> None:
    assert describe(BY_NAME[name], media_type) == describe(BY_NAME[name])


@pytest.mark.parametrize(
    ("given_type", "usual"),
    [
        ("image/jpeg", "image/jpeg"),
        ("image/jpg", "image/jpeg"),
        ("image/x-jls", "image/jls"),
        ("image/jph", "image/jphc"),
        ("image/x-dicom-rle", "image/dicom-rle"),
        ("video/h265", "video/H265"),
        ("", "application/octet-stream"),
    ],
)
def test_usual_types(given_type: str, usual: str) -> None:
    assert usual_type(Payload(given_type, "", 0, 0)) == usual


@pytest.mark.parametrize("media_type", ["image/tiff", "text/html", "application/pdf", "image/webp", "audio/mp4"])
def test_types_that_pixel_data_cannot_be(media_type: str) -> None:
    with pytest.raises(UnusableStream, match=media_type):
        usual_type(Payload(media_type, "", 0, 0))


def fragmentable(*numbers: str) -> tuple[str, ...]:
    return syntaxes(*numbers, *(f"{number}.1" for number in numbers))


VIDEOS: list[tuple[str, bytes, str, tuple[str, ...], int, str]] = [
    ("mp4", mp4(), "video/mp4", fragmentable("102", "103", "104", "105"), 7, "ISO_14496_10"),
    (
        "mp4, index first",
        mp4(index_first=True),
        "video/mp4",
        fragmentable("102", "103", "104", "105"),
        7,
        "ISO_14496_10",
    ),
    (
        "mp4 4.2",
        mp4(configuration=avc_configuration(level=42)),
        "video/mp4",
        fragmentable("104", "105"),
        7,
        "ISO_14496_10",
    ),
    (
        "mp4 main",
        mp4(configuration=avc_configuration(77, 30)),
        "video/mp4",
        fragmentable("102", "103", "104", "105"),
        7,
        "ISO_14496_10",
    ),
    ("mp4 stereo", mp4(configuration=avc_configuration(128, 42)), "video/mp4", fragmentable("106"), 7, "ISO_14496_10"),
    (
        "mp4 of h265",
        mp4(codec=b"hvc1", configuration=hevc_configuration()),
        "video/H265",
        syntaxes("107", "108"),
        7,
        "ISO_23008_2",
    ),
    (
        "mp4 of main 10",
        mp4(codec=b"hev1", configuration=hevc_configuration(2)),
        "video/H265",
        syntaxes("108"),
        7,
        "ISO_23008_2",
    ),
    ("h265", hevc(), "video/H265", syntaxes("107", "108"), 5, "ISO_23008_2"),
    ("h265 main 10", hevc(profile=2, bits=10), "video/H265", syntaxes("108"), 5, "ISO_23008_2"),
    ("mpeg-2", mpeg_2(), "video/mpeg", fragmentable("100", "101"), 5, "ISO_13818_2"),
    ("mpeg-2 high", mpeg_2(level=4), "video/mpeg", fragmentable("101"), 5, "ISO_13818_2"),
    ("program stream", program_stream(mpeg_2()), "video/mpeg", fragmentable("100", "101"), 5, "ISO_13818_2"),
    ("transport stream", transport_stream(mpeg_2()), "video/mpeg", fragmentable("100", "101"), 5, "ISO_13818_2"),
]


@pytest.mark.parametrize("case", VIDEOS, ids=lambda case: case[0])
def test_videos(case: Any) -> None:
    name, stream, media_type, uids, frames, method = case
    found = describe(stream, media_type)
    assert found == describe(stream)
    assert (found.rows, found.columns, found.samples, found.number_of_frames) == (240, 320, 3, frames)
    assert (found.media_type, found.method, found.photometric) == (media_type, method, "YBR_PARTIAL_420")
    # The variants that may be cut into fragments come last: what fits into one fragment is one (PS3.5 A.4.5).
    assert set(found.transfer_syntaxes) == set(uids)
    assert found.transfer_syntaxes[0] == uids[0]
    assert found.bits == (10 if "main 10" in name else 8)
    assert (found.start, found.length) == (0, len(stream))


@pytest.mark.parametrize(("rows", "columns"), [(1080, 1920), (8, 16), (2160, 3840), (242, 318)])
def test_sizes_of_videos(rows: int, columns: int) -> None:
    for stream in (mp4(rows, columns), hevc(rows, columns), mpeg_2(rows, columns)):
        assert (describe(stream).rows, describe(stream).columns) == (rows, columns)


@pytest.mark.parametrize("size", [5, 7, 61, 100, 101, 149, 168])
def test_pictures_are_counted_across_packets(size: int) -> None:
    assert describe(program_stream(mpeg_2(frames=40), size)).number_of_frames == 40
    assert describe(transport_stream(mpeg_2(frames=40), size)).number_of_frames == 40


def test_a_fragmented_file_does_not_say_how_many_frames() -> None:
    assert describe(mp4(frames=0)).number_of_frames is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (mp4(codec=b"av01"), "av01"),
        (mp4(configuration=avc_configuration(level=51)), "level 5.1"),
        (mp4(configuration=avc_configuration(profile=122)), "profile 122"),
        (mp4(configuration=avc_configuration(profile=66)), "profile 66"),
        (mp4(configuration=box(b"pasp", bytes(8))), "does not say its profile"),
        (mp4(codec=b"hvc1", configuration=hevc_configuration(4)), "profile 4"),
        (mp4(codec=b"hvc1", configuration=hevc_configuration(1, 186)), "level 6.2"),
        (mp4()[:-700], "do not fit|no video track"),
        (b"\0\0\0\x08ftyp", "no video track"),
        (b"\0\0\0\x07ftyp" + bytes(20), "do not fit"),
        (b"\0\0\0\x08free" * 100_001, "more than"),
        (hevc(chroma=3), "4:2:0"),
        (hevc(profile=3), "profile 3"),
        (hevc(bits=10), "10 bits"),
        (hevc()[:40], "sequence parameter set"),
        (mpeg_2(profile=0), "MPEG-1"),
        (mpeg_2(profile=1), "Main Profile"),
        (mpeg_2(chroma=2), "4:2:0"),
        (mpeg_2()[:6], "no sequence header"),
        (b"\0\0\1\xba\x21" + bytes(20), "MPEG-1"),
        (b"\0\0\1\xba\x44" + bytes(9), "no sequence header"),
        (transport_stream(mpeg_2())[:400] + b"\0" + transport_stream(mpeg_2()), "no sequence header|out of step"),
    ],
)
def test_videos_that_cannot_be_stored(data: bytes, why: str) -> None:
    with pytest.raises(UnusableStream, match=why):
        describe(data)


def test_constrained_baseline_is_what_a_high_profile_decoder_takes() -> None:
    assert describe(mp4(configuration=avc_configuration(66, 30, 0x40))).transfer_syntaxes[0] == UID + "102"


ALL = [*BY_NAME.values(), *(stream for _, stream, *_ in VIDEOS)]


@given(st.sampled_from(ALL), st.floats(0, 0.4), st.integers(0, 6), st.binary(max_size=6))
def test_changed_streams_are_described_or_refused(stream: bytes, share: float, removed: int, added: bytes) -> None:
    place = int(share * min(len(stream), 600))
    check(stream[:place] + added + stream[place + removed :])


@given(st.sampled_from(ALL), st.floats(0, 1))
def test_cut_streams_are_described_or_refused(stream: bytes, share: float) -> None:
    check(stream[: int(share * min(len(stream), 400))])


@given(st.sampled_from(ALL), st.binary(max_size=80))
def test_invented_streams_are_described_or_refused(stream: bytes, rest: bytes) -> None:
    check(stream[:12] + rest)


def check(data: bytes) -> None:
    try:
        found = describe(data)
    except UnusableStream as error:
        refusal = str(error)
    else:
        refusal = ""
        assert 0 < found.rows <= 0xFFFF
        assert 0 < found.columns <= 0xFFFF
        assert found.start + found.length <= len(data)
        assert found.transfer_syntaxes
    assert len(refusal) < 300


@pytest.mark.parametrize("start", [b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\1\x40\1", b"\0\0\1\xba\x44", b"\x47"])
def test_large_streams_of_nothing_are_refused_in_time(start: bytes) -> None:
    began = time.process_time()
    for filler in (bytes(188), b"\xff" * 188, b"\0\0\1\x42" * 47, b"\x47" + bytes(187), noise(188)):
        with pytest.raises(UnusableStream):
            describe(start + filler * 20_000)
    assert time.process_time() - began < 10
