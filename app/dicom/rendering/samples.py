"""From the bytes of a native frame to an array of its samples (PS3.5 8.1.1, PS3.3 C.7.6.3.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.layout import ImagePixel
from app.errors import CodecError

MAX_PIXELS = 1 << 27  # of one frame, as the codecs
_BLOCK = 1 << 15  # words at a time: what is computed of them stays in the cache of a processor
CHROMA_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How an integer sample stands in its word. Raises CodecError for words that nobody writes."""

    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    def __post_init__(self) -> None:
        if self.bits_allocated not in (1, 8, 16, 32, 64):
            raise CodecError(f"pixels of {self.bits_allocated} bits allocated cannot be rendered")
        if not 1 <= self.bits_stored <= self.bits_allocated:
            raise CodecError(f"{self.bits_stored} bits stored in {self.bits_allocated} allocated")

    @property
    def shift(self) -> int:
        """Number of unused bits below the value."""
        return max(0, min(self.high_bit, self.bits_allocated - 1) - self.bits_stored + 1)

    @property
    def is_tabulated(self) -> bool:
        """Whether all possible words are few enough for a table."""
        return self.bits_allocated <= 16

    def stored_values(self, words: NDArray[Any]) -> NDArray[Any]:
        """The integers that words stand for, without whatever else is in them (overlays, rubbish)."""
        width = 8 * words.dtype.itemsize
        kind = "i" if self.is_signed else "u"
        typed = words.view(f"<{kind}{words.dtype.itemsize}")
        if self.bits_allocated == 1 or self.bits_stored == self.bits_allocated:
            return typed if self.bits_allocated > 1 else words
        up = width - self.bits_stored - self.shift
        values: NDArray[Any] = np.right_shift(np.left_shift(typed, up), width - self.bits_stored)
        return values


def sample_format(image: ImagePixel) -> SampleFormat:
    stored = min(image.bits_stored, image.bits_allocated)
    return SampleFormat(image.bits_allocated, stored, image.high_bit, image.pixel_representation == 1)


def all_words(sample: SampleFormat) -> NDArray[Any]:
    """Every possible word of a tabulated format, in ascending order."""
    return np.arange(1 << max(8, sample.bits_allocated), dtype="<u2" if sample.bits_allocated == 16 else "<u1")


def frame_words(frame: bytes | memoryview, image: ImagePixel) -> NDArray[Any]:
    """The words of a frame of integers: rows x columns, or rows x columns x samples, colour by pixel.

    frame  native, little endian; 1-bit samples packed from the least significant bit of the first byte on
    Chroma samples of 4:2:2 are repeated, so that every pixel has its own. Raises CodecError when the frame is too short.
    """
    if image.rows * image.columns > MAX_PIXELS:
        raise CodecError(f"a frame of {image.columns} x {image.rows} pixels is larger than {MAX_PIXELS} pixels")
    samples = image.samples_per_pixel
    count = image.rows * image.columns * samples
    if image.bits_allocated == 1:
        if len(frame) * 8 < count or samples != 1:
            raise CodecError("the frame is shorter than its description asks for")
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), count=count, bitorder="little")
        return bits.reshape(image.rows, image.columns)
    size = image.bits_allocated // 8
    if size not in (1, 2, 4, 8):
        raise CodecError(f"pixels of {image.bits_allocated} bits allocated cannot be rendered")
    whole = len(frame) // size
    if samples == 3 and image.photometric_interpretation in CHROMA_SUBSAMPLED and whole < count:
        return _full_chroma(np.frombuffer(frame, f"<u{size}", whole), image)
    if whole < count:
        raise CodecError("the frame is shorter than its description asks for")
    words = np.frombuffer(frame, f"<u{size}", count)
    if samples == 1:
        return words.reshape(image.rows, image.columns)
    if image.planar_configuration == 1:
        return words.reshape(samples, image.rows, image.columns).transpose(1, 2, 0)
    return words.reshape(image.rows, image.columns, samples)


def in_blocks(
    words: NDArray[Any], compute: Callable[[NDArray[Any]], NDArray[np.uint8]], channels: int = 1
) -> NDArray[np.uint8]:
    """`compute` of all words, a block at a time: its intermediate values would need many times the memory of the image.

    channels  of the result of each word; more than one makes another axis
    """
    flat = words.reshape(-1)
    shape = (flat.size,) if channels == 1 else (flat.size, channels)
    result = np.empty(shape, np.uint8)
    for start in range(0, flat.size, _BLOCK):
        result[start : start + _BLOCK] = compute(flat[start : start + _BLOCK])
    return result.reshape(words.shape if channels == 1 else (*words.shape, channels))


def look_up_words(table: NDArray[np.uint8], words: NDArray[Any]) -> NDArray[np.uint8]:
    """The entry of each word; `table` has one (of any number of channels) for every possible word."""
    flat = words.reshape(-1)
    result = np.empty((flat.size, *table.shape[1:]), np.uint8)
    for start in range(0, flat.size, _BLOCK):
        end = start + _BLOCK
        # Nothing is clipped, as every word has its entry; but it is the way to no copy of the result.
        table.take(flat[start:end], axis=0, out=result[start:end], mode="clip")
    return result.reshape(*words.shape, *table.shape[1:])


def _full_chroma(words: NDArray[Any], image: ImagePixel) -> NDArray[Any]:
    """Two luma samples and one pair of chroma samples for every two pixels (PS3.3 C.7.6.3.1.2)."""
    pixels = image.rows * image.columns
    if pixels % 2 or words.size < 2 * pixels:
        raise CodecError("the frame is shorter than its description asks for")
    pairs = words[: 2 * pixels].reshape(-1, 4)
    full = np.empty((pixels // 2, 2, 3), words.dtype)
    full[:, :, 0] = pairs[:, :2]
    full[:, :, 1:] = pairs[:, None, 2:]
    return full.reshape(image.rows, image.columns, 3)


def real_samples(frame: bytes | memoryview, image: ImagePixel) -> NDArray[Any]:
    """The samples of Float or Double Float Pixel Data: rows x columns. Raises CodecError."""
    size = image.bits_allocated // 8
    count = image.rows * image.columns
    if count > MAX_PIXELS:
        raise CodecError(f"a frame of {image.columns} x {image.rows} pixels is larger than {MAX_PIXELS} pixels")
    if size not in (4, 8) or image.samples_per_pixel != 1 or len(frame) < count * size:
        raise CodecError("the frame is shorter than its description asks for")
    return np.frombuffer(frame, f"<f{size}", count).reshape(image.rows, image.columns)
