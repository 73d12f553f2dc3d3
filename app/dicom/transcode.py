"""Whole instances as Explicit VR Little Endian (PS3.18 8.7.3: what every client may ask for), planned without pixel data.

A plan names every byte of the result: literal bytes, ranges of the stored file as they are or with their words reversed,
and decoded frames. Its length is exact, so it can be announced before the first byte; carrying it out needs no more memory
than one range or one frame at a time.

Decompression changes what describes the pixel data and nothing else: Photometric Interpretation and Planar Configuration
become what app.dicom.codecs.decoded_image says, the Extended Offset Table goes, Lossy Image Compression and its history stay,
and so does the SOP Instance UID (PS3.3 C.7.6.1.1.5: the pixel values are what the compressed instance says they are).
"""

import struct
from collections.abc import Mapping

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.conversion_plan import ConversionPlan, Copy, DecodedFrames, Literal, Segment, Swap, conversion_plan
from app.dicom.explicit_elements import MAX_LENGTH, Encoding, element, element_header, guess_encoding
from app.dicom.explicit_rewrite import Level, Piece, Rewriter
from app.dicom.instance import PixelData
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.native_pixels import swap_width
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, Family, TransferSyntax, transfer_syntax
from app.errors import CodecError, MalformedDicom, TooLarge, TruncatedDicom, UnsupportedTransferSyntax

__all__ = [
    "ENCAPSULATION_TAGS",
    "ConversionPlan",
    "Copy",
    "DecodedFrames",
    "IconDecoder",
    "Literal",
    "Segment",
    "Swap",
    "description_changes",
    "file_meta_of_result",
    "plan_explicit_vr_little_endian",
]

# Names this writer in files that came without file meta information (PS3.10 7.1); derived from a UUID (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID = "2.25.304219862518346137790652870143215904211"

_PREAMBLE = bytes(128) + b"DICM"
_EXPLICIT = Encoding(implicit_vr=False, big_endian=False)
_MAX_ICON_PIXELS = 1 << 20

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_SAMPLES_PER_PIXEL, _PHOTOMETRIC, _PLANAR = 0x00280002, 0x00280004, 0x00280006
_PIXEL_REPRESENTATION, _PIXEL_DATA = 0x00280103, 0x7FE00010
_NATIVE_VRS = frozenset(("OB", "OW", "OF", "OD", "UN"))
_VR_OF = {"PixelData": "OW", "FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}
_TAG_OF = {"PixelData": _PIXEL_DATA, "FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009}
# Extended Offset Table, its lengths, and Encapsulated Pixel Data Value Total Length: of encapsulated pixel data only.
ENCAPSULATION_TAGS = (0x7FE00001, 0x7FE00002, 0x7FE00003)


def plan_explicit_vr_little_endian(
    head: bytes,
    layout: InstanceLayout,
    transfer_syntax_uid: str,
    tail: bytes = b"",
    *,
    size: int,
) -> ConversionPlan:
    """The stored instance as Explicit VR Little Endian. Blocking: the whole header is read.

    head  the file up to the value of its pixel data; the whole file where there is none. The first 132 bytes are enough
          for what is a PS3.10 file of Explicit VR Little Endian already: it is copied as it is
    tail  the file behind its pixel data
    size  of the stored file

    Raises UnsupportedTransferSyntax (video, JPIP; deflated data sets), CodecError (frames that cannot
    be decoded), TooLarge (PS3.18 8.7.8: a value of more than 2**32 - 2 bytes), TruncatedDicom, MalformedDicom.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.family in (Family.VIDEO, Family.JPIP) or syntax.deflated:
        raise UnsupportedTransferSyntax(f"{syntax.name} cannot be made into Explicit VR Little Endian")
    if syntax.uid == EXPLICIT_VR_LITTLE_ENDIAN and head[128:132] == b"DICM":
        return conversion_plan([Copy(0, size)], EXPLICIT_VR_LITTLE_ENDIAN)
    changes, pixels = _pixel_data(layout, syntax, size)
    declared = Encoding(syntax.implicit_vr, syntax.big_endian)
    level = Level()
    if layout.image is not None:
        # Needed for attributes that stand in front of it, too.
        level.values[_PIXEL_REPRESENTATION] = struct.pack("<H", layout.image.pixel_representation & 1)
    icons = IconDecoder(syntax.uid)
    stop = layout.pixel_data.offset if layout.pixel_data else None
    Rewriter(head, 0, icons).data_set(layout.dataset_offset, declared, level, stop=stop, changes=changes)
    for piece in pixels:
        level.add(piece)
    if layout.pixel_data is not None and tail:
        encoding = guess_encoding(head, layout.dataset_offset, declared)
        Rewriter(tail, layout.pixel_data.end, icons).data_set(0, encoding, level)
    meta = file_meta_of_result(head[: layout.dataset_offset], level.values)
    return conversion_plan([meta, *level.pieces], EXPLICIT_VR_LITTLE_ENDIAN)


def _pixel_data(
    layout: InstanceLayout, syntax: TransferSyntax, size: int
) -> tuple[Mapping[int, bytes | None], list[Piece]]:
    """Changes of the header, and the pixel data element."""
    stored = layout.pixel_data
    if stored is None:
        return {}, []
    if stored.length is not None:
        if syntax.encapsulated:
            raise CodecError("the pixel data is not encapsulated, though the transfer syntax says so")
        return {}, _native(stored, stored.length, layout.image, syntax, size)
    if not syntax.encapsulated:
        raise MalformedDicom("the pixel data is encapsulated, though the transfer syntax does not say so")
    if layout.image is None:
        raise CodecError("the size of the image is not known")
    return _decoded(layout.image, syntax)


def _native(stored: PixelData, length: int, image: ImagePixel | None, syntax: TransferSyntax, size: int) -> list[Piece]:
    if stored.offset + length > size:
        raise TruncatedDicom("the file ends within its pixel data")
    vr = stored.vr if not syntax.implicit_vr and stored.vr in _NATIVE_VRS else _VR_OF[stored.keyword]
    # An unpadded value of odd length is an error of the writer, but readers take it.
    padded = length + length % 2
    if padded > MAX_LENGTH:
        raise TooLarge("the pixel data is too long for Explicit VR Little Endian")
    width = swap_width(vr, image.bits_allocated if image else 0) if syntax.big_endian else 1
    value = Swap(stored.offset, length, width) if width > 1 else Copy(stored.offset, length)
    return [element_header(_TAG_OF[stored.keyword], vr, padded), value, bytes(padded - length)]


def _decoded(image: ImagePixel, syntax: TransferSyntax) -> tuple[Mapping[int, bytes | None], list[Piece]]:
    result = decoded_image(image, syntax.uid)
    frames = DecodedFrames(image.number_of_frames, result.frame_bits)
    padded = frames.length + frames.length % 2
    if padded > MAX_LENGTH:
        raise TooLarge("the decoded pixel data is too long for Explicit VR Little Endian")
    header = element_header(_PIXEL_DATA, _native_vr(result), padded)
    changes: dict[int, bytes | None] = dict.fromkeys(ENCAPSULATION_TAGS)
    changes.update(description_changes(image, result))
    return changes, [header, frames, bytes(padded - frames.length)]


def _native_vr(image: ImagePixel) -> str:
    """VR of native pixel data in Explicit VR (PS3.5 8.1.2)."""
    return "OW" if image.bits_allocated > 8 else "OB"


def description_changes(image: ImagePixel, result: ImagePixel) -> dict[int, bytes]:
    """Elements of the Image Pixel Module that decoding changes."""
    changes = {}
    if result.photometric_interpretation != image.photometric_interpretation:
        changes[_PHOTOMETRIC] = element(_PHOTOMETRIC, "CS", result.photometric_interpretation.encode("ascii"))
    if result.samples_per_pixel > 1:  # the attribute is required then, and meaningless while compressed
        changes[_PLANAR] = element(_PLANAR, "US", struct.pack("<H", result.planar_configuration))
    return changes


class IconDecoder:
    """Decodes pixel data inside of sequence items, which is compressed as that of the image is."""

    def __init__(self, transfer_syntax_uid: str) -> None:
        self._uid = transfer_syntax_uid

    def __call__(self, values: Mapping[int, bytes], codestream: bytes) -> Mapping[int, bytes]:
        def number(tag: int, default: int = 0) -> int:
            value = values.get(tag, b"")
            return int.from_bytes(value[:2], "little") if len(value) >= 2 else default

        bits_allocated = number(0x00280100, 8)
        bits_stored = number(0x00280101, bits_allocated)
        image = ImagePixel(
            rows=number(0x00280010),
            columns=number(0x00280011),
            samples_per_pixel=number(_SAMPLES_PER_PIXEL, 1),
            photometric_interpretation=values.get(_PHOTOMETRIC, b"").decode("latin-1").strip("\0 "),
            planar_configuration=number(_PLANAR),
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            high_bit=number(0x00280102, max(0, bits_stored - 1)),
            pixel_representation=number(_PIXEL_REPRESENTATION),
            number_of_frames=1,
        )
        result = decoded_image(image, self._uid)
        frame = decode_frame(codestream, image, self._uid, max_pixels=_MAX_ICON_PIXELS)
        changes = description_changes(image, result)
        changes[_PIXEL_DATA] = element(_PIXEL_DATA, _native_vr(result), frame.data)
        return changes


def file_meta_of_result(
    stored: bytes,
    values: Mapping[int, bytes],
    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN,
    sop_instance_uid: str = "",
) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 7.1) of the result.

    stored            what stands in front of the stored data set; all is kept but the transfer syntax and the group length
    values            attributes of the data set, for files without any of it
    sop_instance_uid  where it is another one than stored
    """
    has_preamble = stored[128:132] == b"DICM"
    start = 132 if has_preamble else 0
    preamble = stored[:132] if has_preamble else _PREAMBLE
    changes: dict[int, bytes | None] = {
        0x00020000: None,
        0x00020010: element(0x00020010, "UI", transfer_syntax_uid.encode("ascii")),
    }
    if sop_instance_uid:
        changes[0x00020003] = element(0x00020003, "UI", sop_instance_uid.encode("ascii"))
    if not stored[start:]:
        changes |= {
            0x00020001: element(0x00020001, "OB", b"\x00\x01"),
            0x00020002: element(0x00020002, "UI", values.get(_SOP_CLASS_UID, b"")),
            0x00020003: changes.get(0x00020003) or element(0x00020003, "UI", values.get(_SOP_INSTANCE_UID, b"")),
            0x00020012: element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        }
    level = Level()
    Rewriter(stored, 0, IconDecoder(EXPLICIT_VR_LITTLE_ENDIAN)).data_set(start, _EXPLICIT, level, changes=changes)
    group = b"".join(piece for piece in level.pieces if isinstance(piece, bytes))
    if len(group) != level.length:
        raise MalformedDicom("the file meta information is too large")
    return preamble + element(0x00020000, "UL", struct.pack("<I", len(group))) + group
