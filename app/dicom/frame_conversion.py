"""One frame from the transfer syntax it is stored in to another, and whether that is possible at all.

What can be told from the description is told before a byte is read: a plan exists, or CodecError says why not.
"""

from dataclasses import dataclass

from app.dicom.codecs import MAX_PIXELS, can_decode, decode_frame, decoded_image
from app.dicom.codecs.encoding import encode_frame, encoded_image
from app.dicom.codecs.recompression import can_recompress, recompress_frame
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from app.errors import CodecError, UnsupportedTransferSyntax


@dataclass(frozen=True, slots=True)
class FrameConversion:
    """stored   description of the stored frames
    native   of decoded ones; the stored one where frames are native or are not decoded
    result   of what is delivered
    decodes, encodes, recompresses  what is done to a frame; nothing where all are False
    loses    whether samples may change
    """

    stored_uid: str
    target_uid: str
    stored: ImagePixel
    native: ImagePixel
    result: ImagePixel
    decodes: bool
    encodes: bool
    recompresses: bool
    loses: bool


def plan_frame_conversion(layout: InstanceLayout, stored_uid: str, target_uid: str) -> FrameConversion:
    """Raises CodecError, UnsupportedTransferSyntax."""
    source, target, image = transfer_syntax(stored_uid), transfer_syntax(target_uid), layout.image
    if image is None or layout.pixel_data is None:
        raise CodecError("there are no frames, or their size is not known")
    if can_recompress(stored_uid, target_uid):
        return FrameConversion(stored_uid, target_uid, image, image, image, False, False, True, False)
    native = image
    if source.encapsulated:
        if not can_decode(stored_uid):
            raise UnsupportedTransferSyntax(f"frames of {source.name} cannot be decoded")
        native = decoded_image(image, stored_uid)
    encodes = target_uid != EXPLICIT_VR_LITTLE_ENDIAN
    result = native
    if encodes:
        if layout.pixel_data.keyword != "PixelData":
            raise CodecError("floating point samples cannot be compressed")
        result = encoded_image(native, target_uid)
    if native.rows * native.columns > MAX_PIXELS and (encodes or source.encapsulated):
        raise CodecError(f"frames of {native.columns} x {native.rows} pixels are too large to be decoded")
    return FrameConversion(
        stored_uid,
        target_uid,
        image,
        native,
        result,
        decodes=source.encapsulated,
        encodes=encodes,
        recompresses=False,
        loses=encodes and not target.lossless,
    )


def convert_frame(conversion: FrameConversion, frame: bytes) -> bytes:
    """Blocking and thread safe. `frame`: a codestream, or a native frame in little-endian order. Raises CodecError."""
    if conversion.recompresses:
        return recompress_frame(frame, conversion.stored_uid, conversion.target_uid)
    if conversion.decodes:
        frame = decode_frame(frame, conversion.stored, conversion.stored_uid).data
    return encode_frame(frame, conversion.native, conversion.target_uid) if conversion.encodes else frame
