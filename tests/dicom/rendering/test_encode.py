"""The bytes of rendered images (PS3.18 Table 8.7.4-1; REN-001 to REN-004, REN-019, REN-023, REN-024)."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from app.dicom.rendering import (
    ICC_MEDIA_TYPES,
    IMAGE_MEDIA_TYPES,
    LOSSY_MEDIA_TYPES,
    IccProfileChoice,
    RenderingSource,
    apply_icc_profile,
    encode_animation,
    encode_image,
    frame_time,
    read_presentation_state,
)
from app.dicom.rendering.boxes import box
from app.dicom.rendering.icc import MAX_PROFILE_BYTES, well_known_profile
from app.errors import CodecError, InvalidParameter, NotAcceptable
from tests.dicom.rendering.images import description, json_of, source_of

SRGB = well_known_profile(IccProfileChoice.SRGB)


def picture(*, colour: bool, size: int = 61) -> np.ndarray:
    y, x = np.mgrid[:size, : size + 6]
    grey = (127 + 100 * np.sin(x / 9) * np.cos(y / 7)).astype("u1")
    return np.stack([grey, grey[::-1], 255 - grey], axis=-1) if colour else grey


def decoded(media_type: str, body: bytes) -> np.ndarray:
    """By another library than the one that encoded, where there is one."""
    if media_type in ("image/jpeg", "image/png", "image/jp2"):
        return np.asarray(Image.open(io.BytesIO(body)))
    if media_type == "image/gif":
        image = Image.open(io.BytesIO(body))
        mode = "RGB" if image.convert("RGB").getcolors(1 << 24) and not is_grey_table(image) else "L"
        return np.asarray(image.convert(mode))
    if media_type == "image/jph":
        return imagecodecs.jpeg2k_decode(body[body.index(b"jp2c") + 4 :])
    assert media_type == "image/jxl"
    return imagecodecs.jpegxl_decode(body)


def is_grey_table(image: Image.Image) -> bool:
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("media_type", IMAGE_MEDIA_TYPES)
def test_each_type_holds_the_image(media_type: str, colour: bool) -> None:
    pixels = picture(colour=colour)
    result = decoded(media_type, encode_image(pixels, media_type))
    assert result.shape == pixels.shape
    difference = np.abs(result.astype(int) - pixels)
    if media_type == "image/jpeg":
        assert difference.max() <= 12
    elif media_type == "image/gif" and colour:
        assert difference.mean() < 8  # 256 colours, dithered
    else:
        assert difference.max() == 0


@pytest.mark.parametrize("media_type", LOSSY_MEDIA_TYPES)
def test_quality_trades_size_for_likeness(media_type: str) -> None:
    pixels = picture(colour=True, size=200) + np.random.default_rng(0).integers(0, 6, (200, 206, 3)).astype("u1")
    sizes, errors = [], []
    for quality in (10, 50, 95):
        body = encode_image(pixels, media_type, quality=quality)
        sizes.append(len(body))
        errors.append(np.abs(decoded(media_type, body).astype(int) - pixels).mean())
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert errors == sorted(errors, reverse=True)
    for quality in (1, 100):
        assert decoded(media_type, encode_image(pixels, media_type, quality=quality)).shape == pixels.shape


@pytest.mark.parametrize("media_type", LOSSY_MEDIA_TYPES[1:])
def test_quality_100_is_without_loss(media_type: str) -> None:
    pixels = picture(colour=True)
    assert (decoded(media_type, encode_image(pixels, media_type, quality=100)) == pixels).all()


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_is_baseline(colour: bool) -> None:
    """REN-003: SOF0, 8 bits, nothing but Huffman coding."""
    body = encode_image(picture(colour=colour), "image/jpeg")
    markers, at = [], 2
    while body[at + 1] != 0xDA:
        markers.append(body[at + 1])
        at += 2 + struct.unpack_from(">H", body, at + 2)[0]
    assert 0xC0 in markers
    assert not set(markers) & {0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB}
    assert body[body.index(b"\xff\xc0") + 4] == 8


def test_jph_is_what_it_says() -> None:
    body = encode_image(picture(colour=True), "image/jph")
    assert body[4:8] == b"jP  "
    assert body[16:24] == b"ftypjph "
    assert b"\xff\x50" in body[body.index(b"jp2c") :][:120]  # CAP: the codestream needs Part 15
    assert encode_image(picture(colour=True), "image/jp2")[16:24] == b"ftypjp2 "


def test_unknown_types() -> None:
    with pytest.raises(NotAcceptable):
        encode_image(picture(colour=False), "image/bmp")
    with pytest.raises(NotAcceptable):
        list(encode_animation([picture(colour=False)], "video/mp4"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3, 3)])
@pytest.mark.parametrize("media_type", IMAGE_MEDIA_TYPES)
def test_odd_shapes(media_type: str, shape: tuple[int, ...]) -> None:
    body = encode_image(np.full(shape, 200, "u1"), media_type)
    assert decoded(media_type, body).shape[:2] == shape[:2]


def test_too_large_for_jpeg_and_gif() -> None:
    with pytest.raises(CodecError):
        encode_image(np.zeros((1, 70_000), "u1"), "image/jpeg")
    with pytest.raises(CodecError):
        encode_image(np.zeros((70_000, 1), "u1"), "image/gif")


@pytest.mark.parametrize("media_type", ICC_MEDIA_TYPES)
@pytest.mark.parametrize("size", [len(SRGB), 150_000])
def test_profiles_are_embedded(media_type: str, size: int) -> None:
    """REN-023: APP2 (in several segments where it must), iCCP, colr."""
    profile = SRGB + np.random.default_rng(0).bytes(size - len(SRGB))
    body = encode_image(picture(colour=False), media_type, icc=profile)
    if media_type in ("image/jp2", "image/jph"):
        assert decoded(media_type, body).shape == (61, 67, 3)
        assert box(b"colr", b"\x02\x00\x00" + profile) in body
        return
    image = Image.open(io.BytesIO(body))
    assert image.info["icc_profile"] == profile
    assert image.mode == "RGB"


@pytest.mark.parametrize("media_type", sorted(set(IMAGE_MEDIA_TYPES) - set(ICC_MEDIA_TYPES)))
def test_types_without_profiles(media_type: str) -> None:
    """REN-024."""
    with pytest.raises(InvalidParameter):
        encode_image(picture(colour=True), media_type, icc=SRGB)


def test_profiles_that_are_too_large_for_jpeg() -> None:
    with pytest.raises(CodecError):
        encode_image(picture(colour=True), "image/jpeg", icc=bytes(65519 * 256))


def colour_source(**attributes: object) -> RenderingSource:
    return RenderingSource(description(picture(colour=True)), json_of(**attributes))


def test_no_profile_unless_asked() -> None:
    pixels = picture(colour=True)
    for choice in (None, IccProfileChoice.NO):
        result, profile = apply_icc_profile(pixels, colour_source(ICCProfile=SRGB), choice)
        assert result is pixels
        assert profile is None


def test_yes_takes_the_profile_of_the_image() -> None:
    adobe = well_known_profile(IccProfileChoice.ADOBERGB)
    yes = IccProfileChoice.YES
    pixels = picture(colour=True)
    assert apply_icc_profile(pixels, colour_source(ICCProfile=adobe + b"\0"), yes)[1] == adobe
    path = colour_source(OpticalPathSequence=[{"ICCProfile": adobe}])
    assert apply_icc_profile(pixels, path, yes)[1] == adobe
    assert apply_icc_profile(pixels, colour_source(ColorSpace="ADOBERGB"), yes)[1] == adobe
    assert apply_icc_profile(pixels, colour_source(), yes)[1] == SRGB
    grey, profile = apply_icc_profile(picture(colour=False), source_of(picture(colour=False)), yes)
    assert profile == SRGB
    assert grey.shape == (61, 67, 3)


def test_the_profile_of_a_presentation_state_comes_first() -> None:
    adobe = well_known_profile(IccProfileChoice.ADOBERGB)
    state = read_presentation_state(
        json_of(
            SOPClassUID="1.2.840.10008.5.1.4.1.1.11.2",
            ICCProfile=adobe,
            ReferencedSeriesSequence=[{"ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2"}]}],
        )
    )
    for choice in (None, IccProfileChoice.YES):
        assert apply_icc_profile(picture(colour=True), colour_source(ICCProfile=SRGB), choice, state)[1] == adobe


@pytest.mark.parametrize("choice", [IccProfileChoice.ADOBERGB, IccProfileChoice.ROMMRGB])
def test_colours_are_transformed(choice: IccProfileChoice) -> None:
    """A colour that both spaces hold comes back; pure green of sRGB lies inside of the larger spaces."""
    pixels = np.zeros((4, 4, 3), "u1")
    pixels[..., 1] = 255
    result, profile = apply_icc_profile(pixels, colour_source(), choice)
    assert profile == well_known_profile(choice)
    assert result[0, 0, 0] > 100
    back, _ = apply_icc_profile(result, colour_source(ICCProfile=profile), IccProfileChoice.SRGB)
    assert np.abs(back.astype(int) - pixels).max() <= 6
    white, _ = apply_icc_profile(np.full((2, 2, 3), 255, "u1"), colour_source(), choice)
    assert white.min() >= 253


def test_srgb_stays_srgb() -> None:
    pixels = picture(colour=True)
    result, profile = apply_icc_profile(pixels, colour_source(), IccProfileChoice.SRGB)
    assert (result == pixels).all()
    assert profile == SRGB


@pytest.mark.parametrize(
    "profile",
    [b"", bytes(10), bytes(500), SRGB[:100], SRGB[:300], b"\xff" * 4 + SRGB[4:], SRGB + bytes(MAX_PROFILE_BYTES),
     SRGB[:16] + b"CMYK" + SRGB[20:]],
    ids=["empty", "zeros", "more-zeros", "cut", "cut-later", "wrong-size", "too-large", "not-rgb"],  # SRGB holds the time
)  # fmt: skip
def test_profiles_that_are_none(profile: bytes) -> None:
    assert apply_icc_profile(picture(colour=True), colour_source(ICCProfile=profile), IccProfileChoice.YES)[1] == SRGB


def test_a_profile_that_cannot_be_used() -> None:
    broken = SRGB[:128] + bytes(len(SRGB) - 128)
    with pytest.raises(CodecError):
        apply_icc_profile(picture(colour=True), colour_source(ICCProfile=broken), IccProfileChoice.ADOBERGB)


@pytest.mark.parametrize("colour", [False, True])
def test_animations_hold_every_frame(colour: bool) -> None:
    """REN-004. Two equal frames stay two."""
    frames = [picture(colour=colour), picture(colour=colour), picture(colour=colour)[::-1]]
    image = Image.open(io.BytesIO(b"".join(encode_animation(frames, "image/gif", 40))))
    assert image.n_frames == 3
    assert image.info["loop"] == 0
    for number, pixels in enumerate(frames):
        image.seek(number)
        assert image.info["duration"] == 40
        shown = np.asarray(image.convert("RGB")).astype(int)
        wanted = pixels if colour else np.repeat(pixels[..., None], 3, axis=-1)
        assert np.abs(shown - wanted).mean() < (8 if colour else 0.001)


def test_an_animation_is_written_as_frames_come() -> None:
    taken = []

    def frames():
        for number in range(5):
            taken.append(number)
            yield picture(colour=False)

    pieces = encode_animation(frames(), "image/gif", 100)
    next(pieces)
    assert taken == [0]
    assert sum(1 for _ in pieces) > 5


def test_few_colours_are_exact_in_gif() -> None:
    pixels = np.random.default_rng(3).integers(0, 6, (40, 40, 3)).astype("u1") * 51
    body = encode_image(pixels, "image/gif")
    assert (np.asarray(Image.open(io.BytesIO(body)).convert("RGB")) == pixels).all()


@pytest.mark.parametrize("rate", ["1e-320", 1e-300])
def test_an_animation_that_hardly_moves(rate: object) -> None:
    time = frame_time({"00082144": {"vr": "IS", "Value": [rate]}})
    image = Image.open(io.BytesIO(b"".join(encode_animation([picture(colour=False)] * 2, "image/gif", time))))
    assert image.info["duration"] == 655_350


def test_animations_that_cannot_be() -> None:
    with pytest.raises(CodecError):
        list(encode_animation([], "image/gif"))
    with pytest.raises(CodecError):
        list(encode_animation([np.zeros((2, 2), "u1"), np.zeros((2, 3), "u1")], "image/gif"))


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"RecommendedDisplayFrameRate": 25, "FrameTime": 100}, 40),
        ({"CineRate": 10}, 100),
        ({"FrameTime": 33.3}, 33.3),
        ({"FrameTimeVector": [0, 20, 40]}, 30),
        ({"CineRate": 0, "FrameTime": -1}, 100),
        ({}, 100),
    ],
)
def test_frame_time(attributes: dict[str, object], expected: float) -> None:
    assert frame_time(json_of(**attributes)) == pytest.approx(expected)
