"""Between the samples that codecs work on and the bytes of native frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.layout import ImagePixel
from app.dicom.native_pixels import pack_bits, unpack_bits
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


def coded_sign_bit(image: ImagePixel, samples: Samples, precision: int) -> int:
    """The same for samples that were coded as unsigned ones of `precision` bits.

    It is the highest of all where bits beyond the described ones are in use: then the values themselves have that many, or
    their sign is repeated in each, and both end there.
    """
    described = image.sign_bit
    if image.pixel_representation == 1 and precision > described and samples.dtype.kind == "u" and samples.size:
        return precision if int(samples.max()) >> described else described
    return described


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


def frame_samples(frame: bytes, image: ImagePixel) -> Samples:
    """The samples of a native frame: rows x columns [x samples], little endian, signed where the description says so.

    Colour is had by pixel, whatever the planar configuration; native 4:2:2 (PS3.3 C.7.6.3.1.2) gets a chroma sample for
    every pixel. Raises CodecError when the frame is not of the size that its description asks for.
    """
    pixels, samples = image.rows * image.columns, image.samples_per_pixel
    if image.bits_allocated == 1:
        if len(frame) != (pixels * samples + 7) // 8:
            raise CodecError("the native frame is not of the size that its description asks for")
        return np.frombuffer(unpack_bits(frame, pixels * samples), np.uint8).reshape(sample_shape(image))
    width = image.bits_allocated // 8
    values = np.frombuffer(frame, f"<{'i' if image.pixel_representation == 1 else 'u'}{width}", len(frame) // width)
    if len(frame) == pixels * samples * width:
        if samples > 1 and image.planar_configuration == 1:
            return np.ascontiguousarray(np.moveaxis(values.reshape(samples, image.rows, image.columns), 0, -1))
        return values.reshape(sample_shape(image))
    if 8 * len(frame) != image.frame_bits or image.columns % 2:
        raise CodecError("the native frame is not of the size that its description asks for")
    pairs = values.reshape(-1, 4)  # Y1 Y2 CB CR
    full = np.empty((pixels, 3), values.dtype)
    full[:, 0] = pairs[:, :2].reshape(-1)
    full[:, 1:] = np.repeat(pairs[:, 2:], 2, axis=0)
    return full.reshape(sample_shape(image))


def value_bits(image: ImagePixel, samples: Samples, largest: int) -> int:
    """Bits a sample that hold every value: those described, or all that are allocated where more are in use.

    Nothing above the high bit is part of a value (PS3.5 8.1.1), but old images keep overlays there: where `largest` bits can
    be coded, they are not lost. A signed sample fits when its sign is repeated in all bits above.
    """
    bits = image.sign_bit
    if bits >= min(image.bits_allocated, largest) or not samples.size:
        return bits
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if samples.dtype.kind == "i" else (0, (1 << bits) - 1)
    fits = low <= int(samples.min()) and int(samples.max()) <= high
    return bits if fits or image.bits_allocated > largest else image.bits_allocated


def within_bits(samples: Samples, bits: int) -> Samples:
    """The lowest `bits` bits of each sample as a value, with its sign where samples are signed; the type stays."""
    shift = 8 * samples.dtype.itemsize - bits
    if shift <= 0:
        return samples
    return np.right_shift(np.left_shift(samples, shift), shift)


def narrowed(samples: Samples, bits: int) -> Samples:
    """The same values in the smallest type of `bits` bits, contiguous, in this machine's byte order."""
    width = 1 if bits <= 8 else 2 if bits <= 16 else 4
    return np.ascontiguousarray(samples.astype(f"{samples.dtype.kind}{width}", copy=False))


def unsigned(samples: Samples, bits: int) -> Samples:
    """The same bits as unsigned values below 2**bits, for codecs that do not know signs, in the smallest type."""
    raw = samples.view(f"<u{samples.dtype.itemsize}")
    if 8 * samples.dtype.itemsize > bits:
        raw = raw & ((1 << bits) - 1)
    return narrowed(raw, bits)
