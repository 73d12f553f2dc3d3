"""Encoders against decoders of other makers: exact where the syntax is lossless, near where it is not, refused before a byte is
read where the Standard's tables have no place for the image (PS3.5 8.2.1 to 8.2.16)."""

from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.codecs.encoding import encode_frame, encoded_image
from app.dicom.codecs.jpeg_header import read_jpeg_header
from app.dicom.codecs.recompression import can_recompress, recompress_frame
from app.dicom.codecs.samples import frame_samples
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES
from app.errors import CodecError, UnsupportedTransferSyntax
from tests.dicom.native_images import KINDS, Native, can_encode, described, frame_of, values

P = "1.2.840.10008.1.2."
LOSSLESS = [P + one for one in ("1.98", "4.57", "4.70", "4.80", "4.90", "4.201", "4.202", "4.110", "5", "8.1")]
LOSSY = [P + one for one in ("4.50", "4.51", "4.81", "4.91", "4.203", "4.112")]
BY_NAME = {kind.name: kind for kind in KINDS}


def expected_samples(kind: Native, frame: bytes) -> np.ndarray:
    return frame_samples(frame, kind.image)


@pytest.mark.parametrize("uid", LOSSLESS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lossless_gives_every_bit_back(kind: Native, uid: str) -> None:
    if not can_encode(kind.image, uid):
        with pytest.raises(CodecError):
            encode_frame(kind.frames[0], kind.image, uid)
        return
    result = encoded_image(kind.image, uid)
    native = decoded_image(result, uid)
    for frame in kind.frames:
        decoded = decode_frame(encode_frame(frame, kind.image, uid), result, uid)
        assert np.array_equal(frame_samples(decoded.data, native), expected_samples(kind, frame))
        if kind.image.planar_configuration == native.planar_configuration == 0 and "422" not in kind.name:
            assert decoded.data == frame
    assert (native.bits_allocated, native.bits_stored, native.pixel_representation) == (
        kind.image.bits_allocated,
        kind.image.bits_stored,
        kind.image.pixel_representation,
    )


@pytest.mark.parametrize(
    ("uid", "refused"),
    [
        ("1.98", set()),
        ("8.1", set()),
        ("5", set()),
        ("4.70", {"1 bit", "1 bit, 3 frames", "12 in 32", "24 in 32", "24 in 32 signed", "32", "32 signed"}),
        ("4.80", {"1 bit", "1 bit, 3 frames", "12 in 32", "24 in 32", "24 in 32 signed", "32", "32 signed"}),
        ("4.110", {"1 bit", "1 bit, 3 frames", "12 in 32", "24 in 32", "24 in 32 signed", "32", "32 signed"}),
        ("4.90", {"32", "32 signed"}),
        ("4.201", {"24 in 32", "24 in 32 signed", "32", "32 signed"}),
    ],
)
def test_what_a_lossless_syntax_cannot_hold(uid: str, refused: set[str]) -> None:
    assert {kind.name for kind in KINDS if not can_encode(kind.image, P + uid)} == refused


@pytest.mark.parametrize(
    ("uid", "taken"),
    [
        ("4.50", {"8", "8 inverse", "RGB", "RGB by plane", "YBR_FULL", "YBR_FULL by plane", "YBR_FULL_422"}),
        (
            "4.51",
            {"8", "8 inverse", "12", "RGB", "RGB by plane", "RGB 12", "YBR_FULL", "YBR_FULL by plane", "YBR_FULL_422"},
        ),
        ("4.112", {"8", "8 inverse", "8 in 16", "10", "12", "14", "16", "RGB", "RGB by plane", "RGB 12", "RGB 16"}),
    ],
)
def test_what_a_lossy_syntax_can_hold(uid: str, taken: set[str]) -> None:
    assert {kind.name for kind in KINDS if can_encode(kind.image, P + uid)} == taken


@pytest.mark.parametrize("uid", LOSSY)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lossy_stays_near(kind: Native, uid: str) -> None:
    if not can_encode(kind.image, uid):
        with pytest.raises(CodecError):
            encoded_image(kind.image, uid)
        return
    result = encoded_image(kind.image, uid)
    native = decoded_image(result, uid)
    assert native.samples_per_pixel == kind.image.samples_per_pixel
    frame = native_bytes(gradient(kind.image), kind.image)
    smooth = frame_samples(frame, kind.image).astype(int)
    decoded = decode_frame(encode_frame(frame, kind.image, uid), result, uid)
    got = frame_samples(decoded.data, native).astype(int)
    if native.photometric_interpretation == "RGB" and kind.image.photometric_interpretation != "RGB":
        smooth = rgb(smooth)
    assert np.abs(got - smooth).max() <= max(4, (1 << kind.image.bits_stored) // 25)


def gradient(image: ImagePixel) -> np.ndarray:
    """Smooth, so that even halved chroma is near."""
    full = (1 << image.bits_stored) - 1
    low = -(1 << image.bits_stored - 1) if image.pixel_representation else 0
    ramp = np.add.outer(np.arange(image.rows), np.arange(image.columns)) / (image.rows + image.columns - 2)
    if image.samples_per_pixel == 3:
        ramp = np.stack([ramp * 0.6 + 0.2, 0.4 + ramp * 0.2, 0.6 - ramp * 0.2], -1)
    return np.rint(low + ramp * full).astype(int)


def native_bytes(samples: np.ndarray, image: ImagePixel) -> bytes:
    kind = f"<{'i' if image.pixel_representation else 'u'}{image.bits_allocated // 8}"
    samples = samples.astype(kind)
    if image.photometric_interpretation == "YBR_FULL_422":
        pairs = samples.reshape(-1, 2, 3)
        return np.concatenate([pairs[:, :, 0], pairs[:, 0, 1:]], axis=1).tobytes()
    if image.planar_configuration == 1 and image.samples_per_pixel == 3:
        samples = np.moveaxis(samples, -1, 0)
    return samples.tobytes()


def rgb(ybr: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.3.1.2, for 8 bits."""
    y, cb, cr = (ybr[..., number].astype(float) for number in range(3))
    parts = [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)]
    return np.rint(np.stack(parts, -1)).clip(0, 255).astype(int)


@pytest.mark.parametrize("name", ["8", "8 signed", "12", "8 in 16", "12 signed", "16 signed"])
def test_near_lossless_is_near_for_every_value(name: str) -> None:
    """Signed ones too: the largest value must not become the smallest."""
    image = BY_NAME[name].image
    frame = BY_NAME[name].frames[0]
    uid = P + "4.81"
    back = decode_frame(encode_frame(frame, image, uid), encoded_image(image, uid), uid).data
    error = np.abs(frame_samples(back, image).astype(int) - frame_samples(frame, image).astype(int)).max()
    assert 0 < error <= (4 if image.pixel_representation or name == "8 in 16" else 2)
    assert int(frame_samples(back, image).max()) < 1 << image.bits_stored


@pytest.mark.parametrize("uid", ["4.57", "4.70", "4.80", "4.81", "4.50", "4.51"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_precision_of_jpeg_is_bits_stored(kind: Native, uid: str) -> None:
    """PS3.5 8.2.1, 8.2.3: the description is consistent with the codestream."""
    if can_encode(kind.image, P + uid):
        header = read_jpeg_header(encode_frame(kind.frames[0], kind.image, P + uid))
        fewest = 2
        if uid in ("4.80", "4.81"):  # a sample has as many bytes as in the native frame
            fewest = 8 if kind.image.bits_allocated == 8 else 9
        assert header.precision == max(fewest, kind.image.bits_stored)
        process = {"4.57": 0xC3, "4.70": 0xC3, "4.80": 0xF7, "4.81": 0xF7, "4.50": 0xC0, "4.51": 0xC1}
        assert header.process == process[uid]


@pytest.mark.parametrize("uid", ["4.90", "4.91", "4.201", "4.202", "4.203"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_precision_and_sign_of_jpeg_2000_are_those_described(kind: Native, uid: str) -> None:
    if can_encode(kind.image, P + uid):
        stream = encode_frame(kind.frames[0], kind.image, P + uid)
        expected = kind.image.bits_stored - 1 | (0x80 if kind.image.pixel_representation else 0)
        components = stream[42 : 42 + 3 * kind.image.samples_per_pixel]
        assert components == bytes([expected, 1, 1]) * kind.image.samples_per_pixel


@pytest.mark.parametrize("uid", ["4.201", "4.202", "4.203"])
@pytest.mark.parametrize("name", ["1 in 8", "8", "12", "12 signed", "16", "RGB", "RGB 12", "YBR_FULL", "palette 16"])
def test_openjph_and_openjpeg_agree_on_what_openjph_encoded(name: str, uid: str) -> None:
    """The encoder is told of 16 bits and the header then of the right number: both libraries must see the same image."""
    kind = BY_NAME[name]
    if not can_encode(kind.image, P + uid):
        assert uid == "4.203"
        return
    stream = encode_frame(kind.frames[0], kind.image, P + uid)
    one, other = imagecodecs.jpeg2k_decode(stream), imagecodecs.htj2k_decode(stream)
    if name == "YBR_FULL":  # without a colour transformation OpenJPH delivers planes
        other = np.moveaxis(other, 0, -1)
    if uid != "4.203":
        assert np.array_equal(one, frame_samples(kind.frames[0], kind.image))
        assert np.array_equal(one, other)
    else:
        # OpenJPH does not clip: only what is far from both ends can be compared.
        middle = (one > one.max() // 8) & (one < one.max() - one.max() // 8)
        assert np.abs(one.astype(int) - other)[middle].max() <= 1 + (1 << kind.image.bits_stored) // 256


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 1000), (64, 64), (513, 700), (5000, 3)])
def test_htj2k_rpcl_can_be_shown_while_it_arrives(rows: int, columns: int) -> None:
    """PS3.5 10.18: RPCL, lengths of tile-parts, and a lowest resolution of at most 64."""
    image = replace(described(8, 8), rows=rows, columns=columns)
    uid = P + "4.202"
    frame = np.random.default_rng(1).integers(0, 256, rows * columns, dtype="u1").tobytes()
    stream = encode_frame(frame, image, uid)
    markers = dict(segments(stream))
    assert markers[0xFF52][1] == 2  # progression order: RPCL (T.800 Table A.16)
    levels = markers[0xFF52][5]
    assert max(rows, columns) >> levels <= 64
    assert 0xFF55 in markers  # TLM
    assert markers[0xFF50][:4] == b"\0\2\0\0"  # CAP: Part 15
    assert decode_frame(stream, image, uid).data == frame


def segments(stream: bytes) -> list[tuple[int, bytes]]:
    found, position = [], 2
    while stream[position : position + 2] != b"\xff\x90":
        length = int.from_bytes(stream[position + 2 : position + 4], "big")
        found.append(
            (int.from_bytes(stream[position : position + 2], "big"), stream[position + 4 : position + 2 + length])
        )
        position += 2 + length
    return found


@pytest.mark.parametrize(
    ("uid", "colours"),
    [
        ("4.50", {"RGB": "YBR_FULL_422", "YBR_FULL": "YBR_FULL_422"}),
        ("4.70", {"RGB": "RGB", "YBR_FULL": "YBR_FULL", "YBR_FULL_422": "YBR_FULL", "PALETTE COLOR": "PALETTE COLOR"}),
        ("4.80", {"RGB": "RGB", "YBR_FULL": "YBR_FULL", "MONOCHROME1": "MONOCHROME1"}),
        ("4.90", {"RGB": "YBR_RCT", "YBR_FULL": "YBR_FULL", "MONOCHROME2": "MONOCHROME2"}),
        ("4.91", {"RGB": "YBR_ICT", "YBR_FULL": "YBR_FULL"}),
        ("4.201", {"RGB": "YBR_RCT"}),
        ("4.203", {"RGB": "YBR_ICT"}),
        ("4.110", {"RGB": "RGB"}),
        ("4.112", {"RGB": "XYB"}),
        ("5", {"RGB": "RGB", "YBR_FULL_422": "YBR_FULL"}),
        ("8.1", {"RGB": "RGB", "YBR_FULL_422": "YBR_FULL_422"}),
    ],
)
def test_photometric_interpretation_of_the_codestream(uid: str, colours: dict[str, str]) -> None:
    for before, after in colours.items():
        image = replace(described(8, 8, photometric=before), planar_configuration=1)
        result = encoded_image(image, P + uid)
        assert result.photometric_interpretation == after
        if image.samples_per_pixel == 3:
            assert result.planar_configuration == (1 if uid in ("5", "8.1") else 0)


@pytest.mark.parametrize("uid", ["4.90", "4.201"])
def test_colour_transformation_is_in_the_codestream_only_where_it_is_named(uid: str) -> None:
    for photometric, expected in (("RGB", 1), ("YBR_FULL", 0)):
        image = described(8, 8, photometric=photometric)
        assert dict(segments(encode_frame(frame_of(image), image, P + uid)))[0xFF52][4] == expected


@pytest.mark.parametrize("uid", ["4.57", "4.80", "4.90", "4.201", "4.110", "5"])
def test_bits_beyond_the_high_bit_are_not_lost(uid: str) -> None:
    """Overlays in unused bits were legal until 2004 (PS3.5 8.1.2)."""
    image = described(16, 12)
    samples = values(image)
    samples[3, 3] |= 0x8000
    back = decode_frame(encode_frame(samples.tobytes(), image, P + uid), encoded_image(image, P + uid), P + uid)
    assert back.data == samples.tobytes()


@pytest.mark.parametrize("uid", ["4.57", "4.80", "4.90", "4.201", "4.110", "5"])
def test_signed_values_beyond_the_bits_described_are_not_lost(uid: str) -> None:
    """Scanners wrote -2048 to 4095 and called it 12 bits, signed; native such files show well everywhere."""
    image = described(16, 12, signed=True)
    samples = np.linspace(-2048, 4095, image.rows * image.columns).astype("<i2")
    back = decode_frame(encode_frame(samples.tobytes(), image, P + uid), encoded_image(image, P + uid), P + uid)
    assert back.data == samples.tobytes()


def test_signed_values_without_their_sign_bits_keep_their_value() -> None:
    """A signed 12-bit sample written without the sign above bit 11 is the same value (PS3.5 8.1.1)."""
    image = described(16, 12, signed=True)
    wanted = values(image)
    stored = (wanted.view("<u2") & 0xFFF).tobytes()
    for uid in (P + "4.70", P + "4.80", P + "4.110"):
        back = decode_frame(encode_frame(stored, image, uid), encoded_image(image, uid), uid).data
        assert back == wanted.tobytes()


@pytest.mark.parametrize(
    "image",
    [
        described(8, 8, photometric="ARGB"),
        described(8, 8, photometric=""),
        replace(described(8, 8), samples_per_pixel=3),
        replace(described(8, 8, photometric="RGB"), samples_per_pixel=1),
        replace(described(8, 8, photometric="RGB"), samples_per_pixel=4),
        replace(described(8, 8), bits_stored=9),
        replace(described(8, 8), bits_stored=0),
        described(24, 12),
        described(64, 64),
        replace(described(1, 1, photometric="RGB")),
        described(8, 8, signed=True, photometric="PALETTE COLOR"),
        described(8, 8, signed=True, photometric="RGB"),
    ],
    ids=lambda image: f"{image.photometric_interpretation} {image.samples_per_pixel} {image.bits_allocated}",
)
def test_odd_descriptions_are_refused_before_anything_is_read(image: ImagePixel) -> None:
    for uid in (*LOSSLESS[1:8], *LOSSY):
        assert not can_encode(image, uid), uid


def test_no_encoder_for_video_or_native_syntaxes() -> None:
    image = described(8, 8)
    for uid in (P + "4.102", P + "1", "1.2.840.10008.1.2", P + "4.94", P + "4.111", P + "4.92", "1.2.3"):
        assert not can_encode(image, uid)
        with pytest.raises(UnsupportedTransferSyntax):
            encode_frame(b"", image, uid)


@pytest.mark.parametrize("uid", [*LOSSLESS[1:9], *LOSSY])
def test_a_frame_of_the_wrong_size_is_refused(uid: str) -> None:
    image = described(8, 8)
    for frame in (b"", b"\0", bytes(ROWS_BY_COLUMNS - 1), bytes(ROWS_BY_COLUMNS + 1)):
        with pytest.raises(CodecError):
            encode_frame(frame, image, uid)


ROWS_BY_COLUMNS = described(8, 8).rows * described(8, 8).columns


def test_a_frame_of_too_many_pixels_is_refused() -> None:
    image = replace(described(8, 8), rows=1000, columns=1000)
    with pytest.raises(CodecError, match="larger than"):
        encode_frame(bytes(1_000_000), image, P + "4.70", max_pixels=999_999)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_lossless_image_comes_back(data: st.DataObject) -> None:
    uid = data.draw(st.sampled_from(LOSSLESS))
    allocated = data.draw(st.sampled_from([8, 16, 32]))
    stored = data.draw(st.integers(1, allocated))
    image = ImagePixel(
        rows=data.draw(st.integers(1, 9)),
        columns=data.draw(st.integers(1, 9)),
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        planar_configuration=0,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1,
        pixel_representation=data.draw(st.integers(0, 1)),
        number_of_frames=1,
    )
    if not can_encode(image, uid):
        return
    low = -(1 << stored - 1) if image.pixel_representation else 0
    count = image.rows * image.columns
    numbers = data.draw(st.lists(st.integers(low, low + (1 << stored) - 1), min_size=count, max_size=count))
    kind = "i" if image.pixel_representation else "u"
    frame = np.array(numbers, f"<{kind}{allocated // 8}").tobytes()
    assert decode_frame(encode_frame(frame, image, uid), encoded_image(image, uid), uid).data == frame


# Recompression


@pytest.mark.parametrize("name", ["8", "RGB", "YBR_FULL"])
def test_jpeg_in_jpeg_xl_comes_back_bit_for_bit(name: str) -> None:
    kind = BY_NAME[name]
    baseline, recompressed = P + "4.50", P + "4.111"
    jpeg = encode_frame(kind.frames[0], kind.image, baseline)
    assert can_recompress(baseline, recompressed)
    jxl = recompress_frame(jpeg + b"\0", baseline, recompressed)
    assert jxl.startswith(b"\0\0\0\x0cJXL ")
    assert recompress_frame(jxl, recompressed, baseline) == jpeg
    image = encoded_image(kind.image, baseline)
    one = decode_frame(jpeg, image, baseline).data
    other = decode_frame(jxl, image, recompressed).data
    difference = np.frombuffer(one, "u1").astype(int) - np.frombuffer(other, "u1")
    # Two libraries upsample chroma and round in ways of their own; the coefficients are the same.
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("70", "57"), ("90", "91"), ("201", "203"), ("202", "201"), ("202", "203"), ("110", "112"), ("50", "51")],
)
def test_a_narrower_syntax_is_the_wider_one(stored: str, wanted: str) -> None:
    kind = BY_NAME["8"]
    before, after = f"{P}4.{stored}", f"{P}4.{wanted}"
    stream = encode_frame(kind.frames[0], kind.image, before)
    other = recompress_frame(stream, before, after)
    image = encoded_image(kind.image, before)
    assert decode_frame(other, image, after).data == decode_frame(stream, image, before).data
    assert not can_recompress(after, before) or stored == "50"
    if stored == "50":
        assert read_jpeg_header(other).process == 0xC1
        assert imagecodecs.jpeg8_decode(other).tobytes() == imagecodecs.jpeg8_decode(stream).tobytes()


@pytest.mark.parametrize("codestream", [b"", b"\xff\xd8\xff\xd9", b"nonsense" * 9])
@pytest.mark.parametrize(("stored", "wanted"), [("50", "111"), ("111", "50"), ("50", "51")])
def test_what_is_no_such_codestream_is_not_recompressed(codestream: bytes, stored: str, wanted: str) -> None:
    with pytest.raises(CodecError):
        recompress_frame(codestream, f"{P}4.{stored}", f"{P}4.{wanted}")


def test_nothing_else_is_recompressed() -> None:
    for uid in TRANSFER_SYNTAXES:
        assert not can_recompress(P + "1", uid)
        assert not can_recompress(P + "4.102", uid)
    with pytest.raises(CodecError):
        recompress_frame(b"", P + "5", P + "4.50")
