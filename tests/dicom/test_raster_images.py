"""PNG and GIF as native frames: nothing but alpha is lost, and no bomb goes off (PS3.18 10.5.2)."""

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.dicom.raster_images import RasterImage, decode_raster
from app.dicom.stream_headers.description import UnusableStream

RANDOM = np.random.default_rng(5)
MANY = 1 << 26


def decode(data: bytes, media_type: str = "image/png", max_bytes: int = MANY, *, grey: bool = False) -> RasterImage:
    return decode_raster(memoryview(data), media_type, max_bytes=max_bytes, grey=grey)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(columns: int, rows: int, depth: int, kind: int, lines: list[bytes], *more: bytes) -> bytes:
    """Written by hand: unfiltered lines, further chunks before the pixels."""
    header = struct.pack(">IIBBBBB", columns, rows, depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def array_of(image: RasterImage) -> Any:
    return np.frombuffer(image.data, f"<u{image.bits // 8}").reshape(
        image.frames, image.rows, image.columns, image.samples
    )


def test_grey_and_rgb_of_8_bits() -> None:
    grey = decode(png(3, 2, 8, 0, [b"\1\2\3", b"\4\5\6"]))
    assert grey == RasterImage(b"\1\2\3\4\5\6", 2, 3, 1, 8, 1)
    rgb = decode(png(2, 1, 8, 2, [b"\1\2\3\4\5\6"]))
    assert rgb == RasterImage(b"\1\2\3\4\5\6", 1, 2, 3, 8, 1)


def test_sixteen_bits_become_little_endian() -> None:
    assert decode(png(2, 1, 16, 0, [b"\x01\x02\xff\xfe"])) == RasterImage(b"\x02\x01\xfe\xff", 1, 2, 1, 16, 1)
    assert decode(png(1, 1, 16, 2, [b"\0\1\0\2\0\3"])) == RasterImage(b"\1\0\2\0\3\0", 1, 1, 3, 16, 1)


def test_few_bits_are_scaled_to_eight() -> None:
    assert decode(png(8, 1, 1, 0, [b"\xa5"])).data == b"\xff\0\xff\0\0\xff\0\xff"
    assert decode(png(4, 1, 2, 0, [b"\x1b"])).data == b"\x00\x55\xaa\xff"


def test_alpha_is_dropped_not_blended() -> None:
    assert decode(png(2, 1, 8, 4, [b"\x07\x00\x09\x80"])) == RasterImage(b"\7\x09", 1, 2, 1, 8, 1)
    assert decode(png(1, 1, 8, 6, [b"\1\2\3\0"])) == RasterImage(b"\1\2\3", 1, 1, 3, 8, 1)
    transparent = png(2, 1, 8, 0, [b"\x07\x09"], chunk(b"tRNS", b"\0\7"))
    assert decode(transparent) == RasterImage(b"\7\x09", 1, 2, 1, 8, 1)


def test_palettes_become_rgb_and_grey_where_that_is_what_they_are() -> None:
    palette = chunk(b"PLTE", bytes((10, 10, 10, 20, 20, 20)))
    data = png(2, 1, 8, 3, [b"\1\0"], palette, chunk(b"tRNS", b"\0\xff"))
    assert decode(data) == RasterImage(bytes((20, 20, 20, 10, 10, 10)), 1, 2, 3, 8, 1)
    assert decode(data, grey=True) == RasterImage(bytes((20, 10)), 1, 2, 1, 8, 1)
    coloured = png(2, 1, 8, 3, [b"\1\0"], chunk(b"PLTE", bytes((10, 10, 11, 20, 20, 20))))
    assert decode(coloured, grey=True).samples == 3


def gif(frames: list[Any], **how: Any) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=50, **how)
    return buffer.getvalue()


def moving(count: int) -> list[Any]:
    """Frames of which only a part changes, so that the writer stores parts."""
    base = RANDOM.integers(1, 200, (20, 30), dtype=np.uint8)
    palette = RANDOM.integers(0, 256, 768, dtype=np.uint8).tobytes()
    frames = []
    for number in range(count):
        pixels = base.copy()
        pixels[2 + number : 5 + number, 3 + 2 * number : 9 + 2 * number] = RANDOM.integers(1, 250, (3, 6))
        frame = Image.fromarray(pixels)
        frame = frame.convert("P")
        frame.putpalette(palette)
        frames.append(frame)
    return frames


def test_one_gif_image() -> None:
    frame = moving(1)[0]
    found = decode(gif([frame]), "image/gif")
    assert (found.frames, found.rows, found.columns, found.samples, found.bits) == (1, 20, 30, 3, 8)
    assert found.data == np.asarray(frame.convert("RGB")).tobytes()


def test_a_gif_that_ends_with_a_short_comment() -> None:
    frame = moving(1)[0]
    data = gif([frame])
    for comment in (b"\x01a", b"\x02ab"):
        found = decode(data[:-1] + b"\x21\xfe" + comment + b"\0;", "image/gif")
        assert found.data == np.asarray(frame.convert("RGB")).tobytes()


@pytest.mark.parametrize("disposal", [0, 1, 2, [1, 3, 3, 1, 1], [3, 2, 1, 3, 1]])
def test_animations_become_frames(disposal: Any) -> None:
    data = gif(moving(5), disposal=disposal)
    found = array_of(decode(data, "image/gif"))
    assert len(found) == 5
    reader = Image.open(io.BytesIO(data))
    for number in range(5):
        reader.seek(number)
        if disposal == [3, 2, 1, 3, 1] and number == 1:
            continue  # what was there before the first image: nothing, which readers draw in different colours
        assert np.array_equal(found[number], np.asarray(reader.convert("RGB"))), number


def test_grey_animation() -> None:
    frames = [Image.fromarray(RANDOM.integers(0, 256, (9, 7), dtype=np.uint8)) for _ in range(3)]
    found = decode(gif(frames), "image/gif", grey=True)
    assert (found.frames, found.samples) == (3, 1)
    assert np.array_equal(array_of(found)[..., 0], np.stack([np.asarray(frame) for frame in frames]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no header"),
        (b"\x89PNG\r\n\x1a\n", "no header"),
        (png(0, 1, 8, 0, []), "cannot be described"),
        (png(70_000, 1, 8, 0, []), "cannot be described"),
        (png(1, 1, 8, 7, [b"\0"]), "colour type"),
        (png(2, 2, 8, 0, [b"\0\0"])[:50], "cannot be decoded"),
        (png(1, 1, 8, 3, [b"\0"]), "cannot be decoded"),
        (png(60_000, 60_000, 8, 2, []), "decodes up to"),
        (png(60_000, 60_000, 1, 0, []), "decodes up to"),
    ],
)
def test_png_that_cannot_be_decoded(data: bytes, why: str) -> None:
    with pytest.raises(UnusableStream, match=why):
        decode(data)


GIF = gif(moving(3))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GIF89a", "cannot be described"),
        (GIF[:6] + b"\0\0" + GIF[8:], "cannot be described"),
        (GIF[:13] + b";", "no image"),
        (GIF[:800], "broken|cannot be decoded"),
        (b"GIF89a\x01\0\x01\0\0\0\0" + b"\x2c" + bytes(9) + b"\x02\0", "cannot be decoded"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0" + b"\x2c" + bytes(9) + b"\x02\0;", "decodes up to"),
        (b"GIF89a\x01\0\x01\0\0\0\0" + (b"\x2c" + bytes(9) + b"\x02\0") * 10_001, "more than"),
        (b"GIF89a\x01\0\x01\0\0\0\0" + b"\x99" * 30, "broken"),
        (b"GIF89a\x01\0\x01\0\x87\0\0" + bytes(30), "broken|no image"),
    ],
)
def test_gif_that_cannot_be_decoded(data: bytes, why: str) -> None:
    with pytest.raises(UnusableStream, match=why):
        decode(data, "image/gif")


def test_size_is_judged_before_anything_is_decoded() -> None:
    bomb = png(30_000, 30_000, 8, 2, [bytes(90_000)] * 3)
    frames = b"GIF89a\xe8\x03\xe8\x03\0\0\0" + (b"\x2c" + bytes(9) + b"\x02\0") * 9000
    began = time.process_time()
    for data, kind in ((bomb, "image/png"), (frames, "image/gif")):
        with pytest.raises(UnusableStream, match="decodes up to"):
            decode(data, kind, 1 << 30)
    assert time.process_time() - began < 1


def test_the_bound_is_exact() -> None:
    data = png(100, 100, 8, 0, [bytes(100)] * 100)
    assert decode(data, max_bytes=10_000).rows == 100
    with pytest.raises(UnusableStream):
        decode(data, max_bytes=9_999)


PNG = png(5, 4, 8, 2, [RANDOM.integers(0, 256, 15, dtype=np.uint8).tobytes() for _ in range(4)])


@given(st.booleans(), st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.binary(max_size=4))
def test_changed_files_are_decoded_or_refused(is_gif: bool, share: float, removed: int, added: bytes) -> None:
    data, kind = (GIF, "image/gif") if is_gif else (PNG, "image/png")
    place = 13 + int(share * (len(data) - 13))
    changed = data[:place] + added + data[place + removed :]
    try:
        found = decode(changed, kind, 1 << 22)
    except UnusableStream:
        return
    assert len(found.data) == found.rows * found.columns * found.samples * found.frames * found.bits // 8
