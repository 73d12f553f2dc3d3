"""JPEG-LS, lossless and near-lossless (ITU-T T.87; PS3.5 8.2.3), by CharLS."""

import imagecodecs

from app.dicom.codecs.jpeg_header import read_jpeg_header
from app.dicom.codecs.samples import check_precision, check_size, coded_sign_bit, native_frame
from app.dicom.layout import ImagePixel
from app.errors import CodecError

_JPEG_LS = 0xF7


def decode(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """One frame, of any interleave mode. Raises CodecError, or RuntimeError or ValueError of the library."""
    header = read_jpeg_header(codestream)
    if header.process != _JPEG_LS:
        raise CodecError("the codestream is not JPEG-LS")
    check_size(image, header.rows, header.columns, len(header.components))
    check_precision(image, header.precision)
    if codestream.rfind(b"\xff\xd9") < header.scan:
        # The library would find out as well, but on some truncated codestreams only after seconds.
        raise CodecError("the JPEG-LS codestream ends before its end-of-image marker")
    samples = imagecodecs.jpegls_decode(codestream)
    # JPEG-LS does not know signs: the high bit of the description is the sign, or the highest bit that was coded.
    return native_frame(samples, image, min(coded_sign_bit(image, samples, header.precision), header.precision))
