"""The registry of encoders: native frames in, bare codestreams out, and what that does to the description.

Whether an image can be encoded follows from its description alone (`encoded_image`), before a byte is read. The rules are the
tables of PS3.5 8.2.1 to 8.2.16: which Photometric Interpretations, Bits Allocated and Bits Stored a transfer syntax can hold.
Lossless syntaxes give every value of a native frame back, bit for bit.

Colour. JPEG baseline and extended turn RGB into YBR_FULL_422; JPEG 2000 and HTJ2K transform RGB within the codestream: YBR_RCT
where reversible, YBR_ICT where not; lossy JPEG XL is XYB. Lossless JPEG, JPEG-LS, JPEG XL and RLE keep RGB and YBR_FULL as
they are; native YBR_FULL_422 becomes YBR_FULL everywhere, because none of these codestreams knows it. RLE is by plane, all
others by pixel. Deflated and encapsulated uncompressed frames are the native ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from app.dicom.codecs.uncompressed import encode_deflated
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import (
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
)
from app.errors import CodecError, UnsupportedTransferSyntax

MAX_PIXELS = 1 << 27  # of one frame, as for decoding
_MAX_RLE_SEGMENTS = 15

_LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError)

_MONOCHROME = {"MONOCHROME1": "MONOCHROME1", "MONOCHROME2": "MONOCHROME2"}
_PALETTE = {"PALETTE COLOR": "PALETTE COLOR"}
_AS_IT_IS = {"RGB": "RGB", "YBR_FULL": "YBR_FULL", "YBR_FULL_422": "YBR_FULL"}
_HALVED = {"RGB": "YBR_FULL_422", "YBR_FULL": "YBR_FULL_422", "YBR_FULL_422": "YBR_FULL_422"}
_REVERSIBLE = {**_AS_IT_IS, "RGB": "YBR_RCT"}
_IRREVERSIBLE = {**_AS_IT_IS, "RGB": "YBR_ICT"}


@dataclass(frozen=True, slots=True)
class _Rule:
    """colours    native Photometric Interpretation -> that of the codestream
    allocated  Bits Allocated
    bits       of the codestream, least and most
    signed     whether Pixel Representation may be 1
    planar     Planar Configuration of three samples
    """

    colours: Mapping[str, str]
    allocated: tuple[int, ...] = (8, 16)
    bits: tuple[int, int] = (1, 16)
    signed: bool = True
    planar: int = 0


_ANY_COLOUR = {**_MONOCHROME, **_PALETTE, **_AS_IT_IS}
_LOSSLESS_JPEG = _Rule(_ANY_COLOUR)
_LOSSLESS_HTJ2K = _Rule({**_MONOCHROME, **_PALETTE, **_REVERSIBLE}, (1, 8, 16, 32))

_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "1.2.840.10008.1.2.4.50": _Rule({**_MONOCHROME, **_HALVED}, (8,), bits=(8, 8), signed=False),
        "1.2.840.10008.1.2.4.51": _Rule({**_MONOCHROME, **_HALVED}, bits=(8, 12), signed=False),
        "1.2.840.10008.1.2.4.57": _LOSSLESS_JPEG,
        "1.2.840.10008.1.2.4.70": _LOSSLESS_JPEG,
        "1.2.840.10008.1.2.4.80": _Rule(_ANY_COLOUR),
        "1.2.840.10008.1.2.4.81": _Rule({**_MONOCHROME, **_AS_IT_IS}, bits=(8, 16)),
        # Beyond 24 bits the library codes wrong values without complaint.
        "1.2.840.10008.1.2.4.90": _Rule({**_MONOCHROME, **_PALETTE, **_REVERSIBLE}, (1, 8, 16, 32), bits=(1, 24)),
        "1.2.840.10008.1.2.4.91": _Rule({**_MONOCHROME, **_IRREVERSIBLE}, (8, 16, 32), bits=(8, 16)),
        "1.2.840.10008.1.2.4.201": _LOSSLESS_HTJ2K,
        "1.2.840.10008.1.2.4.202": _LOSSLESS_HTJ2K,
        "1.2.840.10008.1.2.4.203": _Rule({**_MONOCHROME, **_IRREVERSIBLE}, (8, 16, 32), bits=(8, 16)),
        "1.2.840.10008.1.2.4.110": _Rule(_ANY_COLOUR),
        "1.2.840.10008.1.2.4.112": _Rule({**_MONOCHROME, "RGB": "XYB"}, bits=(8, 16), signed=False),
        RLE_LOSSLESS: _Rule(_ANY_COLOUR, (1, 8, 16, 32, 64), bits=(1, 64), planar=1),
    }
)
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_ENVELOPES = (ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME)


def encoded_image(image: ImagePixel, transfer_syntax_uid: str) -> ImagePixel:
    """The description of encoded frames. Raises CodecError, which says what the syntax cannot hold, and
    UnsupportedTransferSyntax for one that is not encoded here.
    """
    if transfer_syntax_uid in _ENVELOPES:
        return image
    rule = _RULES.get(transfer_syntax_uid)
    if rule is None:
        raise UnsupportedTransferSyntax(f"frames cannot be encoded in transfer syntax {transfer_syntax_uid[:64]}")
    name = TRANSFER_SYNTAXES[transfer_syntax_uid].name
    samples, allocated = image.samples_per_pixel, image.bits_allocated
    colour = rule.colours.get(image.photometric_interpretation)
    if colour is None or samples != (1 if colour in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else 3):
        photometric = image.photometric_interpretation[:16] or "unknown"
        raise CodecError(f"{name} cannot hold {samples} samples per pixel of Photometric Interpretation {photometric}")
    if allocated not in rule.allocated or (allocated == 1 and samples > 1):
        raise CodecError(f"{name} cannot hold {allocated} bits allocated")
    if not 1 <= image.bits_stored <= allocated:
        raise CodecError(f"{image.bits_stored} bits stored in {allocated} allocated")
    bits = image.sign_bit
    fewest, most = rule.bits
    # The processes of extended JPEG have 8 bits and 12 bits, nothing in between (PS3.5 Table 8.2.1-1).
    if not fewest <= bits <= most or (transfer_syntax_uid == _JPEG_EXTENDED and (allocated, bits) not in _EXTENDED):
        raise CodecError(f"{name} cannot hold {bits} bits stored in {allocated} bits allocated")
    if image.pixel_representation == 1 and not (rule.signed and samples == 1 and not image_is_palette(image)):
        raise CodecError(f"{name} cannot hold signed samples of this kind")
    if transfer_syntax_uid == RLE_LOSSLESS and samples * allocated > 8 * _MAX_RLE_SEGMENTS:
        raise CodecError("RLE Lossless has no more than 15 segments")
    planar = rule.planar if samples > 1 else image.planar_configuration
    return replace(image, photometric_interpretation=colour, planar_configuration=planar)


_EXTENDED = ((8, 8), (16, 12))


def image_is_palette(image: ImagePixel) -> bool:
    """Whether samples are indexes into tables of colours: what is near in value is not near in colour."""
    return image.photometric_interpretation == "PALETTE COLOR"


def encode_frame(native: bytes, image: ImagePixel, transfer_syntax_uid: str, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """One native frame as a bare codestream, without padding.

    native  as app.dicom.codecs.DecodedFrame holds it: little endian, 1-bit samples packed from the least significant bit
    image   its description; what the codestream is like says `encoded_image`

    Blocking and thread safe. Raises CodecError, UnsupportedTransferSyntax.
    """
    encoded_image(image, transfer_syntax_uid)
    if image.rows * image.columns > max_pixels:
        raise CodecError(f"a frame of {image.columns} x {image.rows} pixels is larger than {max_pixels} pixels")
    if transfer_syntax_uid == ENCAPSULATED_UNCOMPRESSED:
        return native
    if transfer_syntax_uid == DEFLATED_IMAGE_FRAME:
        return encode_deflated(native)
    # With the first frame: the libraries behind it are 0.2 s and 15 MB of a process that encodes none.
    from app.dicom.codecs.encoders import encode_samples

    syntax = TRANSFER_SYNTAXES[transfer_syntax_uid]
    try:
        return encode_samples(native, image, syntax, most_bits=_RULES[transfer_syntax_uid].bits[1])
    except _LIBRARY_ERRORS as error:
        raise CodecError(f"the frame cannot be encoded as {syntax.name}") from error
