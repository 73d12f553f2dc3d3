"""One encoder per family of codecs: samples in, one bare codestream out. What may be encoded is decided in encoding.py.

    encode(samples, image, bits, is_lossless) -> codestream

samples      rows x columns [x 3] as `frame_samples` gives them, every value within `bits`
image        the native description
bits         of the codestream, 1 to 24
is_lossless  what the transfer syntax that was asked for promises
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import imagecodecs
import numpy as np
from rle.rle import encode_frame as rle_encode_frame
from rle.rle import encode_segment as rle_encode_segment

from app.dicom.codecs.charls import encode_jpeg_ls
from app.dicom.codecs.jpeg_header import read_jpeg_header
from app.dicom.codecs.samples import Samples, frame_samples, narrowed, unsigned, value_bits, within_bits
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import RLE_LOSSLESS, TransferSyntax

# Chosen so that a difference cannot be seen: a lossy syntax is asked for to save time and room, not to look worse.
JPEG_QUALITY = 92
NEAR = 2  # JPEG-LS: how far a sample may be off
# Two values: up to 8 bits, and beyond. Wide samples are looked at through windows, which make small differences large.
JPEG_2000_PSNR = (55, 65)  # decibels
# Where a dimension is smaller, OpenJPEG misses the ratio by far: all of a black frame was left out, which then is mid-grey. Five
# decompositions leave one row or column of those; nothing is left out of their codestreams.
JPEG_2000_SMALL = 32
HTJ2K_STEP = 1 / 1024  # of the quantiser, in parts of the whole range of samples
JPEG_XL_DISTANCE = (0.5, 0.05)  # 1.0 is "visually lossless", in the words of its makers
_JPEG_XL_EFFORT = 4  # 7 takes ten times as long for 2 % less

_SIZ_PRECISION = 42  # offset of the first component's precision in a codestream (T.800 A.5.1)
_THUMBNAIL = 64


def encode_jpeg(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """Lossless, or sequential DCT of 8 or 12 bits; colour becomes YCbCr 4:2:2 there (PS3.5 8.2.1)."""
    gray = samples.ndim == 2
    if is_lossless:
        coded = max(2, bits)  # T.81 knows no lossless samples of one bit
        # RGB whatever it is: no codec then transforms samples that the description alone explains.
        colour = "GRAYSCALE" if gray else "RGB"
        return bytes(
            imagecodecs.jpeg8_encode(
                unsigned(samples, coded),
                colorspace=colour,
                outcolorspace=colour,
                lossless=True,
                predictor=1,
                bitspersample=coded,
            )
        )
    return bytes(
        imagecodecs.jpeg8_encode(
            narrowed(samples, bits),
            level=JPEG_QUALITY,
            colorspace="GRAYSCALE" if gray else "RGB" if image.photometric_interpretation == "RGB" else "YCBCR",
            outcolorspace="GRAYSCALE" if gray else "YCBCR",
            subsampling=None if gray else "422",
            bitspersample=bits,
        )
    )


def encode_jpeg_extended(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """The same, labelled as the extended process: a baseline codestream is one of it (T.81 4.11)."""
    return as_extended(encode_jpeg(samples, image, bits, is_lossless=is_lossless))


def as_extended(codestream: bytes) -> bytes:
    """A sequential DCT codestream with the frame header of the extended process. Raises CodecError."""
    header = read_jpeg_header(codestream)
    if header.process != 0xC0:
        return codestream
    return codestream[: header.frame + 1] + b"\xc1" + codestream[header.frame + 2 :]


def encode_jls(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """Lossless or near-lossless. JPEG-LS does not know signs: the bits are coded (PS3.5 8.2.3).

    A sample takes as many bytes in the codestream as in the native frame, which decoders in the field insist on; old ones
    know no fewer than 8 bits.
    """
    coded = 8 if image.bits_allocated == 8 else max(9, bits)
    near = 0 if is_lossless else NEAR
    if near and (coded > bits or samples.dtype.kind == "i"):
        # What is near the largest value must not become one that the description does not know, or the smallest.
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if samples.dtype.kind == "i" else (-near, (1 << bits) - 1)
        samples = np.clip(samples.astype("i4"), low + near, high - near).astype(samples.dtype)
    return encode_jpeg_ls(unsigned(samples, coded), coded, near)


def encode_jpeg_2000(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """Reversible, or irreversible; RGB is transformed within the codestream, other colour is not (PS3.5 8.2.4)."""
    is_small = min(image.rows, image.columns) < JPEG_2000_SMALL
    return bytes(
        imagecodecs.jpeg2k_encode(
            narrowed(samples, bits),
            level=0 if is_lossless or is_small else JPEG_2000_PSNR[bits > 8],
            codecformat="j2k",
            bitspersample=bits,
            reversible=is_lossless,
            mct=image.photometric_interpretation == "RGB",
            numthreads=1,
        )
    )


def encode_htj2k(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """Reversible, or irreversible. Always in the order RPCL, with a tile-part per resolution and their lengths.

    PS3.5 10.18 asks this of .202: progression RPCL, tile-part lengths (TLM), a lowest resolution of at most 64.
    """
    levels, size = 5, max(image.rows, image.columns)
    while size > _THUMBNAIL << levels:
        levels += 1
    codestream = imagecodecs.htj2k_encode(
        _sixteen_bits(samples, bits, is_lossless=is_lossless),
        level=None if is_lossless else HTJ2K_STEP,
        rgb=image.photometric_interpretation == "RGB",
        planar=False,
        resolutions=levels,
        reversible=is_lossless,
        tlm=True,
        tilepart=imagecodecs.HTJ2K.TILEPART.RESOLUTIONS,
    )
    return _with_precision(bytes(codestream), bits, image)


def _sixteen_bits(samples: Samples, bits: int, *, is_lossless: bool) -> Samples:
    """Samples that the library, which takes 16 bits for granted, codes as samples of `bits` would be.

    It subtracts half of the range of 16 bits from unsigned samples first, where half of the range of `bits` is meant
    (T.800 G.1). Quantiser steps are parts of the whole range (E.1.1), so lossy samples are brought to that scale instead.
    """
    if is_lossless:
        wide = samples.astype("i4") + (0 if samples.dtype.kind == "i" else (1 << 15) - (1 << bits - 1))
    else:
        wide = samples.astype("i4") << 16 - bits
    return np.ascontiguousarray(wide.astype("i2" if samples.dtype.kind == "i" else "u2"))


def _with_precision(codestream: bytes, bits: int, image: ImagePixel) -> bytes:
    kind = bits - 1 | (0x80 if image.pixel_representation == 1 else 0)
    patched = bytearray(codestream)
    for component in range(image.samples_per_pixel):
        patched[_SIZ_PRECISION + 3 * component] = kind
    return bytes(patched)


def encode_jpeg_xl(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """Modular and lossless, or lossy in XYB. JPEG XL does not know signs: the bits are coded."""
    return bytes(
        imagecodecs.jpegxl_encode(
            unsigned(samples, bits),
            lossless=is_lossless or None,
            distance=None if is_lossless else JPEG_XL_DISTANCE[bits > 8],
            effort=_JPEG_XL_EFFORT,
            bitspersample=bits,
            numthreads=1,
        )
    )


def encode_rle(samples: Samples, image: ImagePixel, bits: int, *, is_lossless: bool) -> bytes:
    """All bits that are allocated, a segment for each byte of a pixel, rows not joined (PS3.5 G.3.1)."""
    if image.bits_allocated == 1:
        packed = np.packbits(samples.reshape(-1), bitorder="little").tobytes()
        segment = bytes(rle_encode_segment(packed, image.columns // 8 if image.columns % 8 == 0 else len(packed)))
        return b"".join(number.to_bytes(4, "little") for number in (1, 64, *[0] * 14)) + segment
    return bytes(
        rle_encode_frame(
            samples.tobytes(), image.rows, image.columns, image.samples_per_pixel, image.bits_allocated, "<"
        )
    )


# encode(samples, native description, bits, is_lossless=) -> codestream
_ENCODERS: Mapping[str, Callable[..., bytes]] = MappingProxyType(
    {
        "1.2.840.10008.1.2.4.50": encode_jpeg,
        "1.2.840.10008.1.2.4.51": encode_jpeg_extended,
        "1.2.840.10008.1.2.4.57": encode_jpeg,
        "1.2.840.10008.1.2.4.70": encode_jpeg,
        "1.2.840.10008.1.2.4.80": encode_jls,
        "1.2.840.10008.1.2.4.81": encode_jls,
        "1.2.840.10008.1.2.4.90": encode_jpeg_2000,
        "1.2.840.10008.1.2.4.91": encode_jpeg_2000,
        "1.2.840.10008.1.2.4.201": encode_htj2k,
        "1.2.840.10008.1.2.4.202": encode_htj2k,
        "1.2.840.10008.1.2.4.203": encode_htj2k,
        "1.2.840.10008.1.2.4.110": encode_jpeg_xl,
        "1.2.840.10008.1.2.4.112": encode_jpeg_xl,
        RLE_LOSSLESS: encode_rle,
    }
)


def encode_samples(native: bytes, image: ImagePixel, syntax: TransferSyntax, *, most_bits: int) -> bytes:
    """A native frame of this description as a codestream; most_bits  that a codestream of `syntax` has for a sample.

    Raises CodecError, and whatever the libraries raise.
    """
    samples = frame_samples(native, image)
    bits = image.sign_bit
    if image.bits_allocated == 1:
        bits = 1
    elif syntax.lossless:
        bits = value_bits(image, samples, most_bits)
    if image.bits_allocated > 1 and syntax.uid != RLE_LOSSLESS:
        samples = within_bits(samples, bits)
    return _ENCODERS[syntax.uid](samples, image, bits, is_lossless=syntax.lossless)
