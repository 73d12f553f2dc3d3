"""Whole instances with encapsulated pixel data, planned once their frames are encoded: then every length is known.

One fragment per frame, each of even length, behind a Basic Offset Table; an Extended Offset Table where 32-bit offsets do not
reach the last frame, because that is what it is for (PS3.5 A.4, PS3.3 C.7.6.3.1.8). The rest of the file is as
app.dicom.transcode makes it: Explicit VR Little Endian, values unaltered.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.dicom.conversion_plan import ConversionPlan, EncodedFrames, conversion_plan
from app.dicom.explicit_elements import (
    ITEM,
    MAX_LENGTH,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    element,
    element_header,
    guess_encoding,
    item_header,
)
from app.dicom.explicit_rewrite import Change, Level, Rewriter
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.lossy_compression import LossyCompression, derived_uid, lossy_changes
from app.dicom.transcode import ENCAPSULATION_TAGS, IconDecoder, description_changes, file_meta_of_result
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import CodecError, TooLarge

_PIXEL_REPRESENTATION, _PIXEL_DATA = 0x00280103, 0x7FE00010
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = 0x7FE00001, 0x7FE00002
_MAX_OFFSET = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class EncapsulatedResult:
    """image        as app.dicom.codecs.encoding.encoded_image says
    frame_sizes  bytes of each codestream
    lossy        the step that lost something; None when nothing was lost
    """

    transfer_syntax_uid: str
    image: ImagePixel
    frame_sizes: Sequence[int]
    lossy: LossyCompression | None = None


def plan_encapsulated(
    head: bytes, layout: InstanceLayout, stored_uid: str, tail: bytes, result: EncapsulatedResult
) -> ConversionPlan:
    """The instance with other frames. Blocking: the whole header is read.

    head, tail  the file in front of the value of its pixel data, and behind its pixel data; of a deflated data set: with
                the data set inflated, `layout` and `stored_uid` accordingly
    Raises CodecError (no image), TooLarge, TruncatedDicom, MalformedDicom.
    """
    if layout.image is None or layout.pixel_data is None:
        raise CodecError("there is no image to encode")
    syntax = transfer_syntax(stored_uid)
    declared = Encoding(syntax.implicit_vr, syntax.big_endian)
    icons = IconDecoder(stored_uid)
    level = Level()
    # Needed for attributes that stand in front of it, too.
    level.values[_PIXEL_REPRESENTATION] = struct.pack("<H", layout.image.pixel_representation & 1)
    tables, basic_table = offset_tables(result.frame_sizes)
    changes: dict[int, Change] = dict.fromkeys(ENCAPSULATION_TAGS)
    changes.update(description_changes(layout.image, result.image))
    changes.update(tables)
    if result.lossy is not None:
        changes.update(lossy_changes(result.lossy))
    Rewriter(head, 0, icons).data_set(
        layout.dataset_offset, declared, level, stop=layout.pixel_data.offset, changes=changes
    )
    level.add(element_header(_PIXEL_DATA, "OB", UNDEFINED_LENGTH) + item_header(ITEM, len(basic_table)) + basic_table)
    level.add(EncodedFrames(sum(8 + size + size % 2 for size in result.frame_sizes)))
    level.add(item_header(SEQUENCE_END, 0))
    if tail:
        encoding = guess_encoding(head, layout.dataset_offset, declared)
        Rewriter(tail, layout.pixel_data.end, icons).data_set(0, encoding, level)
    uid = derived_uid(result.lossy.digest, result.transfer_syntax_uid) if result.lossy else ""
    meta = file_meta_of_result(head[: layout.dataset_offset], level.values, result.transfer_syntax_uid, uid)
    return conversion_plan([meta, *level.pieces], result.transfer_syntax_uid)


def offset_tables(frame_sizes: Sequence[int]) -> tuple[Mapping[int, bytes], bytes]:
    """Elements of the Extended Offset Table, where one is needed, and the value of the basic one."""
    if max(frame_sizes, default=0) > MAX_LENGTH - 1:
        raise TooLarge("an encoded frame is longer than a fragment may be")
    offsets = [0, *accumulate(8 + size + size % 2 for size in frame_sizes)][: len(frame_sizes)]
    if offsets and offsets[-1] > _MAX_OFFSET:
        count = f"<{len(offsets)}Q"
        return {
            _EXTENDED_OFFSETS: element(_EXTENDED_OFFSETS, "OV", struct.pack(count, *offsets)),
            _EXTENDED_LENGTHS: element(_EXTENDED_LENGTHS, "OV", struct.pack(count, *frame_sizes)),
        }, b""
    return {}, struct.pack(f"<{len(offsets)}I", *offsets)


def fragment(codestream: bytes) -> tuple[bytes, bytes]:
    """What stands in front of a frame of encapsulated pixel data, and behind it."""
    padding = b"\0" * (len(codestream) % 2)
    return item_header(ITEM, len(codestream) + len(padding)), padding
