"""JPEG XL (ISO/IEC 18181; PS3.5 8.2.15), by libjxl."""

import imagecodecs
import numpy as np

from app.dicom.codecs.samples import Samples, coded_sign_bit, native_frame, sample_shape
from app.dicom.layout import ImagePixel
from app.errors import CodecError

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \r\n\x87\n"


def decode(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """The first image of a codestream or container. Raises CodecError, or RuntimeError or ValueError of the library."""
    if not codestream.startswith((_CODESTREAM, _CONTAINER)):
        raise CodecError("the frame does not begin like a JPEG XL codestream")
    samples = _samples(codestream, image)
    return native_frame(samples, image, coded_sign_bit(image, samples, 8 * samples.dtype.itemsize))


def _samples(codestream: bytes, image: ImagePixel) -> Samples:
    # The library compares size and type of the array that is handed to it with the codestream's header before it decodes;
    # the header alone says whether samples take one byte or two.
    widths = (1,) if image.bits_allocated <= 8 else (2, 1) if image.bits_stored > 8 else (1, 2)
    for width in widths:
        samples = np.empty(sample_shape(image), f"u{width}")
        try:
            imagecodecs.jpegxl_decode(codestream, 0, keeporientation=True, numthreads=1, out=samples)
        except ValueError:
            continue
        return samples
    raise CodecError("the JPEG XL codestream is not of the size or kind that the description says")
