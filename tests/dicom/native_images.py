"""Native frames of every kind that an image may be of, with their descriptions: what encoders are fed with in tests."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from app.dicom.codecs.encoding import encoded_image
from app.dicom.layout import ImagePixel
from app.dicom.native_pixels import BitConcatenator
from app.errors import CodecError, UnsupportedTransferSyntax

ROWS, COLUMNS = 18, 22


@dataclass(frozen=True, slots=True)
class Native:
    """frames  as they follow each other in native pixel data, each whole bytes (1-bit frames begin at a byte of their own)"""

    name: str
    image: ImagePixel
    frames: tuple[bytes, ...]

    def __str__(self) -> str:
        return self.name


def described(allocated: int, stored: int, *, signed: bool = False, photometric: str = "MONOCHROME2") -> ImagePixel:
    samples = 1 if photometric in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else 3
    return ImagePixel(ROWS, COLUMNS, samples, photometric, 0, allocated, stored, stored - 1, int(signed), 1)


def values(image: ImagePixel, seed: int = 0) -> np.ndarray:
    """A gradient with noise over the whole range of values, its ends included."""
    low = -(1 << image.bits_stored - 1) if image.pixel_representation else 0
    high = low + (1 << image.bits_stored) - 1
    shape = (image.rows, image.columns) if image.samples_per_pixel == 1 else (image.rows, image.columns, 3)
    random = np.random.default_rng(seed)
    ramp = np.linspace(low, high, image.rows * image.columns).reshape(shape[:2])
    if len(shape) == 3:
        ramp = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1)
    spread = max(1, (high - low) // 50)
    noisy = ramp + random.integers(-spread, spread + 1, shape)
    kind = "i" if image.pixel_representation else "u"
    result = np.clip(np.rint(noisy), low, high).astype(f"<{kind}{max(8, image.bits_allocated) // 8}")
    result.reshape(-1)[:2] = low, high
    return result


def frame_of(image: ImagePixel, seed: int = 0) -> bytes:
    samples = values(image, seed)
    if image.bits_allocated == 1:
        return np.packbits(samples.reshape(-1), bitorder="little").tobytes()
    if image.samples_per_pixel == 3 and image.photometric_interpretation == "YBR_FULL_422":
        first = samples.reshape(-1, 2, 3)
        return np.concatenate([first[:, :, 0], first[:, 0, 1:]], axis=1).tobytes()
    if image.samples_per_pixel == 3 and image.planar_configuration == 1:
        return np.moveaxis(samples, -1, 0).tobytes()
    return samples.tobytes()


def native(name: str, image: ImagePixel, frames: int = 1) -> Native:
    return Native(
        name, replace(image, number_of_frames=frames), tuple(frame_of(image, number) for number in range(frames))
    )


def by_plane(image: ImagePixel) -> ImagePixel:
    return replace(image, planar_configuration=1)


KINDS: tuple[Native, ...] = (
    native("1 bit", described(1, 1)),
    native("1 bit, 3 frames", described(1, 1), 3),
    native("1 in 8", described(8, 1)),
    native("6 in 8", described(8, 6)),
    native("8", described(8, 8), 2),
    native("8 inverse", described(8, 8, photometric="MONOCHROME1")),
    native("8 signed", described(8, 8, signed=True)),
    native("8 in 16", described(16, 8)),
    native("10", described(16, 10)),
    native("12", described(16, 12), 3),
    native("12 signed", described(16, 12, signed=True), 2),
    native("14", described(16, 14)),
    native("16", described(16, 16)),
    native("16 signed", described(16, 16, signed=True)),
    native("12 in 32", described(32, 12)),
    native("24 in 32", described(32, 24)),
    native("24 in 32 signed", described(32, 24, signed=True)),
    native("32", described(32, 32)),
    native("32 signed", described(32, 32, signed=True)),
    native("palette 8", described(8, 8, photometric="PALETTE COLOR")),
    native("palette 16", described(16, 16, photometric="PALETTE COLOR")),
    native("RGB", described(8, 8, photometric="RGB"), 2),
    native("RGB by plane", by_plane(described(8, 8, photometric="RGB")), 2),
    native("RGB 16", described(16, 16, photometric="RGB")),
    native("RGB 12", described(16, 12, photometric="RGB")),
    native("YBR_FULL", described(8, 8, photometric="YBR_FULL")),
    native("YBR_FULL by plane", by_plane(described(8, 8, photometric="YBR_FULL"))),
    native("YBR_FULL_422", described(8, 8, photometric="YBR_FULL_422")),
)


def can_encode(image: ImagePixel, transfer_syntax_uid: str) -> bool:
    """Whether native frames of this description can be encoded in the syntax: integer samples of Pixel Data (7FE0,0010)."""
    try:
        encoded_image(image, transfer_syntax_uid)
    except (CodecError, UnsupportedTransferSyntax):
        return False
    return True


def concatenate_bits(frames: Iterable[bytes], bit_length: int) -> bytes:
    """Frames of `bit_length` bits each as one run of bits without padding between them (PS3.18 8.7.3.3.1).

    Each frame begins in the least significant bit of its first byte; so does the result, whose last byte is padded with
    zero bits. Raises ValueError when a frame is short.
    """
    joined = BitConcatenator()
    parts = [joined.add(frame, bit_length) for frame in frames]
    parts.append(joined.end())
    return b"".join(parts)
