"""Codestreams of known samples, with the description that belongs to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rle.utils import encode_pixel_data

from app.dicom.layout import ImagePixel

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
JPEG_2000_MC_LOSSLESS = "1.2.840.10008.1.2.4.92"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K = "1.2.840.10008.1.2.4.203"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG = "1.2.840.10008.1.2.4.111"
JPEG_XL = "1.2.840.10008.1.2.4.112"
RLE = "1.2.840.10008.1.2.5"

Samples = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    codestream: bytes
    image: ImagePixel
    uid: str
    samples: Samples


def description(samples: Samples, bits_stored: int, *, photometric: str = "", signed: bool = False) -> ImagePixel:
    colour = samples.ndim == 3
    return ImagePixel(
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=samples.shape[2] if colour else 1,
        photometric_interpretation=photometric or ("RGB" if colour else "MONOCHROME2"),
        planar_configuration=0,
        bits_allocated=8 * samples.dtype.itemsize if bits_stored > 1 else 1,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1,
        pixel_representation=int(signed),
        number_of_frames=1,
    )


def picture(bits: int, shape: tuple[int, ...], *, noise: int = 5) -> Samples:
    """A gradient with some noise that uses the whole range of `bits`."""
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) / max(1, shape[0] + shape[1] - 2)
    if len(shape) == 3:
        ramp = np.stack([ramp, 1 - ramp, ramp / 2 + 0.25], -1)
    levels = ramp * ((1 << bits) - 1) + np.random.default_rng(bits).integers(-noise, noise + 1, shape)
    return levels.clip(0, (1 << bits) - 1).astype("u1" if bits <= 8 else "u2" if bits <= 16 else "u4")


def encode_rle(samples: Samples) -> bytes:
    return encode_pixel_data(
        samples.tobytes(),
        rows=samples.shape[0],
        columns=samples.shape[1],
        samples_per_pixel=samples.shape[2] if samples.ndim == 3 else 1,
        bits_allocated=8 * samples.dtype.itemsize,
        byteorder="<",
    )


def lossless_frames(shape: tuple[int, ...] = (19, 23)) -> Iterator[Encoded]:
    """Unsigned samples of many precisions in every lossless syntax."""
    colour = (*shape, 3)
    for bits in (8, 10, 12, 14, 16):
        for size in (shape, colour):
            samples = picture(bits, size)
            image = description(samples, bits)
            for predictor in (1, 4, 7):
                stream = imagecodecs.jpeg8_encode(samples, lossless=True, predictor=predictor, bitspersample=bits)
                yield Encoded(stream, image, JPEG_LOSSLESS_SV1 if predictor == 1 else JPEG_LOSSLESS, samples)
            yield Encoded(
                imagecodecs.jpegls_encode(picture(bits, size, noise=1)), image, JPEG_LS, picture(bits, size, noise=1)
            )
            yield Encoded(encode_j2k(samples, bits), image, JPEG_2000_LOSSLESS, samples)
            yield Encoded(encode_j2k(samples, bits), image, JPEG_2000_MC_LOSSLESS, samples)
            yield Encoded(imagecodecs.htj2k_encode(samples, reversible=True), image, HTJ2K_LOSSLESS, samples)
            for options in ({"bitspersample": bits}, {"usecontainer": True}):
                stream = imagecodecs.jpegxl_encode(samples, lossless=True, **options)
                yield Encoded(stream, image, JPEG_XL_LOSSLESS, samples)
            yield Encoded(encode_rle(samples), image, RLE, samples)
    for bits in (20, 24):
        samples = picture(bits, shape)
        yield Encoded(encode_j2k(samples, bits), description(samples, bits), JPEG_2000_LOSSLESS, samples)
    samples = picture(32, shape)
    yield Encoded(encode_rle(samples), description(samples, 32), RLE, samples)


def encode_j2k(samples: Samples, bits: int, **options: Any) -> bytes:
    return imagecodecs.jpeg2k_encode(
        samples, level=0, reversible=True, codecformat="j2k", bitspersample=bits, **options
    )
