"""Colour: samples to 8-bit RGB, palettes, luminance and chrominance (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5, C.7.9)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.samples import SampleFormat, all_words, in_blocks, look_up_words
from app.errors import CodecError

Rgb = NDArray[np.uint8]

PALETTE_DESCRIPTORS = ("00281101", "00281102", "00281103")
PALETTE_DATA = ("00281201", "00281202", "00281203")
SEGMENTED_PALETTE_DATA = ("00281221", "00281222", "00281223")
MAX_ENTRIES = 65536
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
# Colour spaces whose samples are RGB once they are decoded.
_RGB = frozenset(("RGB", "YBR_RCT", "YBR_ICT", "XYB", "", "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"))


@dataclass(frozen=True, slots=True)
class Palette:
    """colours  entries x 3, 8 bits each
    first    the stored value that the first entry belongs to; values outside take the first or last entry
    """

    colours: Rgb
    first: int

    def look_up(self, stored: NDArray[Any]) -> Rgb:
        index = stored.astype(np.int64) - self.first
        return self.colours.take(index.clip(0, len(self.colours) - 1), axis=0)


def render_palette(words: NDArray[Any], sample: SampleFormat, palette: Palette) -> Rgb:
    """rows x columns x 3."""
    if sample.is_tabulated:
        return look_up_words(palette.look_up(sample.stored_values(all_words(sample))), words)
    return in_blocks(words, lambda block: palette.look_up(sample.stored_values(block)), channels=3)


def read_palette(attributes: AttributeReader) -> Palette | None:
    """The Palette Color Lookup Table module; None where it is missing or cannot be used."""
    channels, first = [], 0
    for tags in zip(PALETTE_DESCRIPTORS, PALETTE_DATA, SEGMENTED_PALETTE_DATA, strict=True):
        descriptor = attributes.numbers(tags[0])
        if len(descriptor) != 3:
            return None
        count, first, bits = (int(value) for value in descriptor)
        count = count or MAX_ENTRIES  # C.7.6.3.1.5: 0 says 65,536
        if not 1 <= count <= MAX_ENTRIES or abs(first) >= MAX_ENTRIES or bits not in (8, 16):
            return None
        entries = _entries(attributes, tags[1], tags[2], count, bits)
        if entries is None:
            return None
        channels.append(entries)
    size = min(channel.size for channel in channels)
    if not size:
        return None
    table = np.stack([channel[:size] for channel in channels], axis=-1)
    # 16-bit entries: the upper byte, whether white is FFFFH or FF00H. Some writers say 16 bits and mean 8.
    wide = int(table.max()) > 255
    return Palette((table >> 8 if wide else table).astype(np.uint8), first)


def _entries(attributes: AttributeReader, tag: str, segmented_tag: str, count: int, bits: int) -> NDArray[Any] | None:
    data = attributes.binary(tag)
    if data:
        if bits == 8 and len(data) < 2 * count:
            return np.frombuffer(data, np.uint8)[:count].astype(np.int64)
        return np.frombuffer(data, "<u2", len(data) // 2)[:count].astype(np.int64)
    data = attributes.binary(segmented_tag)
    if not data:
        return None
    kind = "<u1" if bits == 8 else "<u2"
    return expand_segments(np.frombuffer(data, kind, len(data) // (bits // 8)).tolist(), count, bits // 8)


def expand_segments(values: list[int], count: int, entry_bytes: int) -> NDArray[np.int64] | None:
    """The entries of a Segmented Palette Color Lookup Table Data (PS3.3 C.7.9.2), no more than `count`; None if broken.

    values       words of `entry_bytes`, 1 or 2
    """
    result: list[int] = []
    starts: set[int] = set()
    position = 0
    while position + 1 < len(values) and len(result) < count:
        starts.add(position)
        if values[position] == _INDIRECT:
            position = _copied_segments(values, position, starts, result, count, entry_bytes)
        else:
            position = _segment(values, position, result, count)
        if position < 0:
            return None
    return np.array(result[:count], np.int64) if result else None


def _segment(values: list[int], position: int, result: list[int], count: int) -> int:
    """Appends one discrete or linear segment; the position behind it, -1 if it is broken."""
    kind, length = values[position : position + 2]
    if kind == _DISCRETE:
        end = position + 2 + length
        result.extend(values[position + 2 : end][: count - len(result)])
        return end if end <= len(values) else -1
    if kind != _LINEAR or position + 2 >= len(values) or not result:
        return -1
    start, last = result[-1], values[position + 2]
    steps = min(length, count - len(result))
    result.extend(start + round((last - start) * step / length) for step in range(1, steps + 1))
    return position + 3


def _copied_segments(
    values: list[int], position: int, starts: set[int], result: list[int], count: int, entry_bytes: int
) -> int:
    """An indirect segment: so many segments again, from an offset on, which are not indirect themselves."""
    end = position + 2 + 4 // entry_bytes
    words = values[position + 2 : end]
    if end > len(values):
        return -1
    offset = sum(word << (8 * entry_bytes * place) for place, word in enumerate(words))
    # C.7.9.2.3 counts bytes; some writers count entries.
    at = offset // entry_bytes if offset % entry_bytes == 0 and offset // entry_bytes in starts else offset
    if at not in starts or at == position:
        return -1
    for _ in range(values[position + 1]):
        entries = len(result)
        if at >= position or values[at] == _INDIRECT or entries >= count:
            break
        at = _segment(values, at, result, count)
        if at < 0:
            return -1
        if len(result) == entries:
            break  # an empty segment: copies of thousands of them would take minutes
    return end


def render_colour(words: NDArray[Any], sample: SampleFormat, photometric_interpretation: str) -> Rgb:
    """Three or four samples a pixel to RGB; a fourth one is left out. Raises CodecError for unknown colour spaces."""
    eight = _eight_bits(words[..., -3:] if photometric_interpretation == "ARGB" else words[..., :3], sample)
    if photometric_interpretation in _RGB or photometric_interpretation == "ARGB":
        return eight
    if photometric_interpretation in ("YBR_FULL", "YBR_FULL_422"):
        # The tables of JFIF are those of C.7.6.3.1.2.
        image = Image.frombuffer("YCbCr", (eight.shape[1], eight.shape[0]), eight.tobytes(), "raw", "YCbCr", 0, 1)
        return np.asarray(image.convert("RGB"))
    if photometric_interpretation in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        return _from_partial(eight)
    raise CodecError(f"pixels of photometric interpretation {photometric_interpretation[:16]!r} cannot be rendered")


def _eight_bits(words: NDArray[Any], sample: SampleFormat) -> Rgb:
    if sample.bits_allocated == 8 and sample.bits_stored == 8:
        return np.ascontiguousarray(words)
    if sample.is_tabulated:
        return look_up_words(_scaled(all_words(sample), sample), words)
    return in_blocks(words, lambda block: _scaled(block, sample))


def _scaled(words: NDArray[Any], sample: SampleFormat) -> Rgb:
    """All bits that are stored to eight, rounded."""
    largest = (1 << sample.bits_stored) - 1
    stored = sample.stored_values(words).astype(np.float64)
    if sample.is_signed:
        stored += (largest + 1) // 2
    return np.floor(stored * (255 / largest) + 0.5).astype(np.uint8)


def _from_partial(samples: Rgb) -> Rgb:
    """ITU-R BT.601 with black at 16 and white at 235."""
    luma = (samples[..., 0].astype(np.float32) - 16) * (255 / 219)
    blue = samples[..., 1].astype(np.float32) - 128
    red = samples[..., 2].astype(np.float32) - 128
    scale = 255 / 224
    channels = (
        luma + 1.402 * scale * red,
        luma - (0.344136 * blue + 0.714136 * red) * scale,
        luma + 1.772 * scale * blue,
    )
    return np.floor(np.stack(channels, axis=-1) + 0.5).clip(0, 255).astype(np.uint8)
