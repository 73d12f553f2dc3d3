"""JPEG baseline, extended and lossless (ITU-T T.81; PS3.5 8.2.1), 2 to 16 bits, by libjpeg-turbo."""

import imagecodecs

from app.dicom.codecs.jpeg_header import JpegHeader, read_jpeg_header
from app.dicom.codecs.samples import check_precision, check_size, coded_sign_bit, native_frame
from app.dicom.layout import ImagePixel
from app.errors import CodecError

_BASELINE, _EXTENDED, _LOSSLESS = 0xC0, 0xC1, 0xC3
_RGB_IDENTIFIERS = ((82, 71, 66), (114, 103, 98))  # "RGB", "rgb"


def decode(codestream: bytes, image: ImagePixel, result: ImagePixel) -> bytes:
    """One frame, whatever of the three processes it is coded by: files are labelled wrongly often enough.

    Raises CodecError, or RuntimeError or ValueError of the library.
    """
    header = read_jpeg_header(codestream)
    if header.process not in (_BASELINE, _EXTENDED, _LOSSLESS):
        # Progressive, hierarchical and arithmetic coding were retired; a progressive frame may ask for any time.
        raise CodecError("the JPEG codestream is neither baseline, extended nor lossless")
    check_size(image, header.rows, header.columns, len(header.components))
    check_precision(image, header.precision)
    if codestream.rfind(b"\xff\xd9") < header.scan:
        # The library fills what is missing with grey and says nothing.
        raise CodecError("the JPEG codestream ends before its end-of-image marker")
    stored, wanted = _colours(header, image, result)
    samples = imagecodecs.jpeg8_decode(codestream, colorspace=stored, outcolorspace=wanted)
    # JPEG does not know signs: the high bit of the description is the sign.
    return native_frame(samples, image, coded_sign_bit(image, samples, header.precision))


def _colours(header: JpegHeader, image: ImagePixel, result: ImagePixel) -> tuple[str, str]:
    """Colour spaces of the codestream and of the result, in the codec's words; equal = samples as they are."""
    if len(header.components) == 1:
        return "GRAYSCALE", "GRAYSCALE"
    converting = result.photometric_interpretation == "RGB" and _is_ycbcr(header, image)
    if not converting:
        return "RGB", "RGB"
    if header.process == _LOSSLESS:
        if image.photometric_interpretation == "RGB":
            return "RGB", "RGB"  # lossless processes do not transform colour, whatever their markers suggest
        raise CodecError("the lossless JPEG codestream is labelled as lossy: its colour is not known")
    return "YCBCR", "RGB"


def _is_ycbcr(header: JpegHeader, image: ImagePixel) -> bool:
    """Whether the three components are YCbCr.

    Photometric Interpretation and codestream contradict each other in the field; this is what pydicom and libjpeg make of
    it: identifiers that spell RGB win, then a description that says YBR; a description that says RGB gives way to the
    markers of JFIF (always YCbCr) and Adobe.
    """
    if header.components in _RGB_IDENTIFIERS:
        return False
    if image.photometric_interpretation.startswith("YBR"):
        return True
    return header.has_jfif or bool(header.adobe_transform)
