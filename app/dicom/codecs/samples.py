"""From the samples that a codec delivers to the bytes that the description asks for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.layout import ImagePixel
from app.dicom.native_pixels import pack_bits
from app.errors import CodecError

Samples = NDArray[Any]


def check_size(image: ImagePixel, rows: int, columns: int, samples: int) -> None:
    """Raises CodecError when a codestream is not of the size that the description says."""
    if (rows, columns, samples) != (image.rows, image.columns, image.samples_per_pixel):
        raise CodecError(
            f"the codestream holds {columns} x {rows} pixels of {samples} samples, "
            f"the description says {image.columns} x {image.rows} of {image.samples_per_pixel}"
        )


def check_precision(image: ImagePixel, precision: int) -> None:
    """Raises CodecError when samples of `precision` bits do not fit into Bits Allocated."""
    if not 1 <= precision <= image.bits_allocated:
        raise CodecError(f"the codestream holds {precision} bits a sample, the description {image.bits_allocated}")


def sample_shape(image: ImagePixel) -> tuple[int, ...]:
    """The shape of the array of one frame: rows, columns and, for colour, samples."""
    shape = (image.rows, image.columns)
    return shape if image.samples_per_pixel == 1 else (*shape, image.samples_per_pixel)


def described_sign_bit(image: ImagePixel) -> int:
    """Number (from 1) of the bit that holds the sign, for codestreams that do not know signs."""
    return min(max(image.high_bit + 1, image.bits_stored), image.bits_allocated)


def native_frame(samples: Samples, image: ImagePixel, sign_bit: int) -> bytes:
    """Bytes of a decoded frame, each sample in Bits Allocated bits, little endian, colour by pixel.

    samples   rows x columns [x samples], as the codec delivers them, signed or unsigned
    sign_bit  number (from 1) of the bit that is the sign when the codec's idea of signedness is not the description's:
              then bits above it are filled with the sign, or cleared where the description says unsigned (PS3.5 8.1.1 and
              8.2: the description rules, the bits of the value are the same)
    """
    if samples.shape != sample_shape(image):
        raise CodecError("the codec delivered a frame of another shape than its header says")
    if image.bits_allocated == 1:
        return pack_bits(samples)
    if samples.dtype.kind not in "iu":
        raise CodecError("the codestream holds floating point samples")
    if samples.dtype.itemsize * 8 > image.bits_allocated:
        raise CodecError("the codestream holds more bits a sample than are allocated")
    signed = image.pixel_representation == 1
    width = image.bits_allocated
    if signed == (samples.dtype.kind == "i"):
        return samples.astype(f"<{samples.dtype.kind}{width // 8}", copy=False).tobytes()
    # Widening keeps the value; reading the result with the other sign keeps the bits.
    wide = samples.astype(f"<{samples.dtype.kind}{width // 8}").view(f"<{'i' if signed else 'u'}{width // 8}")
    shift = width - sign_bit
    if shift > 0:
        np.left_shift(wide, shift, out=wide)
        np.right_shift(wide, shift, out=wide)  # arithmetic for signed samples
    return wide.tobytes()
