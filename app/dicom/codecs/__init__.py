"""One registry of pixel data codecs: encapsulated frames in, native little-endian frames out.

What a decoded frame looks like is known from the stored description alone (`decoded_image`), so that a header and a
Content-Length can be written before the first frame is decoded; `decode_frame` delivers exactly that or raises.

Colour (PS3.5 8.2, PS3.3 C.7.6.3.1.2). Samples are delivered colour-by-pixel (Planar Configuration 0), and
- lossy JPEG: RGB. YCbCr is converted by the codec, as every viewer does; RGB that was coded as such stays.
- JPEG 2000 and HTJ2K: YBR_RCT and YBR_ICT are transformations of the codestream, undone by its decoder: RGB.
- JPEG XL: XYB, and the YCbCr of a recompressed JPEG, are undone by its decoder: RGB.
- lossless JPEG, JPEG-LS, RLE and the rest: as stored, nothing lossy happens to colour; YBR_FULL_422 becomes YBR_FULL,
  because these decoders deliver a chroma sample for every pixel.
- deflated and encapsulated uncompressed frames are native frames already: not altered at all.
"""

import zlib
from dataclasses import dataclass, replace

from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import ENCAPSULATED_UNCOMPRESSED, TRANSFER_SYNTAXES, Family
from app.errors import CodecError, UnsupportedTransferSyntax

MAX_PIXELS = 1 << 27  # of one frame: 11,585 pixels square

# Those that app.dicom.codecs.decoders has a decoder for.
_DECODED = frozenset(
    (
        Family.NATIVE,
        Family.JPEG,
        Family.JPEG_LS,
        Family.JPEG_2000,
        Family.HTJ2K,
        Family.JPEG_XL,
        Family.RLE,
        Family.DEFLATED_FRAME,
    )
)

_JPEG_LOSSY = frozenset(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"))
_JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"

# What the libraries raise for codestreams that they cannot decode; errors of imagecodecs are RuntimeErrors.
_LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError, zlib.error)


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One native little-endian frame.

    data  `frame_bits` of the decoded description, in bytes; 1-bit samples are packed, the first one in the least
          significant bit, the last byte padded with zero bits
    The rest is what may differ from the stored description.
    """

    data: bytes
    photometric_interpretation: str
    planar_configuration: int
    bits_allocated: int


def can_decode(transfer_syntax_uid: str) -> bool:
    """Whether encapsulated frames of this transfer syntax can be decoded: a syntax of still images that we know."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None or (syntax.family is Family.NATIVE and syntax.uid != ENCAPSULATED_UNCOMPRESSED):
        return False
    return syntax.family in _DECODED


def decoded_image(image: ImagePixel, transfer_syntax_uid: str) -> ImagePixel:
    """The description that every decoded frame will have. Raises CodecError, UnsupportedTransferSyntax."""
    if not can_decode(transfer_syntax_uid):
        raise UnsupportedTransferSyntax(f"frames of transfer syntax {transfer_syntax_uid[:64]} cannot be decoded")
    family = TRANSFER_SYNTAXES[transfer_syntax_uid].family
    if family in (Family.NATIVE, Family.DEFLATED_FRAME):
        return image
    samples = image.samples_per_pixel
    if samples not in (1, 3):
        raise CodecError(f"compressed images have 1 or 3 samples per pixel, not {samples}")
    if image.bits_allocated not in (1, 8, 16, 32, 64):
        raise CodecError(f"{image.bits_allocated} bits allocated cannot be decoded")
    if not 1 <= image.bits_stored <= image.bits_allocated:
        raise CodecError(f"{image.bits_stored} bits stored in {image.bits_allocated} allocated")
    if image.bits_allocated == 1 and samples != 1:
        raise CodecError("images of one bit have one sample per pixel")
    colour = image.photometric_interpretation
    if samples == 3:
        colour = _decoded_colour(colour, family, transfer_syntax_uid)
    return replace(image, photometric_interpretation=colour, planar_configuration=0)


def decode_frame(
    codestream: bytes, image: ImagePixel, transfer_syntax_uid: str, *, max_pixels: int = MAX_PIXELS
) -> DecodedFrame:
    """Decode one encapsulated frame, whose fragments are joined already, to what `decoded_image` says.

    Blocking and thread safe. Sizes are compared with the description before pixels are decoded, so the memory needed
    follows from the description; `max_pixels` bounds its rows times columns.
    Raises CodecError, UnsupportedTransferSyntax.
    """
    # With the first frame: the libraries behind them are 0.2 s and 15 MB of a process that decodes none.
    from app.dicom.codecs.decoders import DECODERS

    result = decoded_image(image, transfer_syntax_uid)
    if image.rows * image.columns > max_pixels:
        raise CodecError(f"a frame of {image.columns} x {image.rows} pixels is larger than {max_pixels} pixels")
    if not codestream:
        raise CodecError("the frame is empty")
    decode = DECODERS[TRANSFER_SYNTAXES[transfer_syntax_uid].family]
    try:
        data = decode(bytes(codestream), image, result)
    except _LIBRARY_ERRORS as error:
        name = TRANSFER_SYNTAXES[transfer_syntax_uid].name
        raise CodecError(f"the frame is not a readable codestream of {name}") from error
    expected = (result.frame_bits + 7) // 8
    if len(data) != expected:
        raise CodecError(f"the frame decodes to {len(data)} bytes, its description asks for {expected}")
    return DecodedFrame(data, result.photometric_interpretation, result.planar_configuration, result.bits_allocated)


def _decoded_colour(stored: str, family: Family, transfer_syntax_uid: str) -> str:
    """Photometric Interpretation of three decoded samples."""
    if stored in ("YBR_RCT", "YBR_ICT", "XYB"):
        return "RGB"
    by_the_codec = transfer_syntax_uid in _JPEG_LOSSY or (
        family is Family.JPEG_XL and transfer_syntax_uid != _JPEG_XL_LOSSLESS
    )
    if by_the_codec and stored.startswith("YBR"):
        return "RGB"
    return "YBR_FULL" if stored == "YBR_FULL_422" else stored
