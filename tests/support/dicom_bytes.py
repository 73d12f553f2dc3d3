"""DICOM bytes written by hand, for any transfer syntax: what the tests of every package feed on.

Small pieces, all of them returning bytes:

    element(0x00100010, "PN", "Doe^John")                      one data element (Explicit VR Little Endian by default)
    element(0x00280010, "US", [4], IMPLICIT)                   numbers are packed in the byte order of the syntax
    sequence(0x00081140, [item_bytes, b""], undefined=True)    items are the bytes of their elements
    encapsulated([b"frame 1", b"frame 2"], offsets=[0, 16])    the VALUE of encapsulated pixel data, delimiter included
    pixel_data(b"..." or [b"fragment", ...], syntax)           the whole (7FE0,0010), native or encapsulated
    part10(dataset_bytes, "1.2.840.10008.1.2.1", ...)          preamble, DICM, file meta information, data set
    make_instance(rows=2, columns=2, PatientName="Doe^John")   a whole plausible file from keywords

Nothing is checked: broken values, lengths and orders can be written on purpose (`length=` lies about the length).
"""

import struct
import uuid
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import dictionary_VR, tag_for_keyword

from app.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    Family,
)

IMPLICIT = IMPLICIT_VR_LITTLE_ENDIAN
EXPLICIT = EXPLICIT_VR_LITTLE_ENDIAN
BIG_ENDIAN = EXPLICIT_VR_BIG_ENDIAN

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
MULTIFRAME_GRAYSCALE_BYTE_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"
UNDEFINED = 0xFFFFFFFF

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_NUMBER_FORMAT = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
    "OW": "H",
    "OL": "I",
    "OV": "Q",
    "OF": "f",
    "OD": "d",
}
_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))

Value = bytes | str | int | float | None | Sequence[str] | Sequence[int] | Sequence[float]


def new_uid() -> str:
    """A UID that nobody has used (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def _order(syntax: str) -> str:
    return ">" if syntax == BIG_ENDIAN else "<"


def _is_implicit(syntax: str) -> bool:
    return syntax == IMPLICIT


def element(
    tag: int, vr: str, value: Value = b"", syntax: str = EXPLICIT, *, length: int | None = None, encoding: str = "utf-8"
) -> bytes:
    """One data element.

    value   bytes as they are; text is encoded (lists joined by a backslash); numbers and lists of numbers are packed by VR
            (AT: 32-bit tags); odd values are padded with a space, UI and binary ones with NUL
    length  what the length field says, when it shall lie (UNDEFINED for undefined length)
    """
    raw = _encode(vr, value, _order(syntax), encoding)
    if len(raw) % 2:
        raw += b"\0" if vr == "UI" or isinstance(value, bytes) else b" "
    return element_header(tag, vr, len(raw) if length is None else length, syntax) + raw


def element_header(tag: int, vr: str, length: int, syntax: str = EXPLICIT) -> bytes:
    """Tag, VR and length of an element: 8 or 12 bytes."""
    order = _order(syntax)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if _is_implicit(syntax):
        return head + struct.pack("<I", length)
    head += vr.encode("latin-1")
    if vr in _LONG:
        return head + b"\0\0" + struct.pack(order + "I", length)
    return head + struct.pack(order + "H", length & 0xFFFF)


def _encode(vr: str, value: Value, order: str, encoding: str) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(encoding)
    values: Sequence[Any] = [value] if isinstance(value, int | float) else value
    if vr == "AT":
        return b"".join(struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) for tag in values)
    if vr in _NUMBER_FORMAT:
        return struct.pack(f"{order}{len(values)}{_NUMBER_FORMAT[vr]}", *values)
    return "\\".join(str(one) for one in values).encode(encoding)


def item(content: bytes, syntax: str = EXPLICIT, *, undefined: bool = False) -> bytes:
    """One item of a sequence: `content` is the bytes of its elements."""
    order = _order(syntax)
    if undefined:
        return struct.pack(order + "HHI", 0xFFFE, 0xE000, UNDEFINED) + content + item_delimiter(syntax)
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content


def item_delimiter(syntax: str = EXPLICIT) -> bytes:
    return struct.pack(_order(syntax) + "HHI", 0xFFFE, 0xE00D, 0)


def sequence_delimiter(syntax: str = EXPLICIT) -> bytes:
    return struct.pack(_order(syntax) + "HHI", 0xFFFE, 0xE0DD, 0)


def sequence(
    tag: int,
    items: Sequence[bytes],
    syntax: str = EXPLICIT,
    *,
    undefined: bool = False,
    undefined_items: bool | None = None,
    vr: str = "SQ",
) -> bytes:
    """A sequence element of `items` (each the bytes of its elements), of defined or undefined length.

    undefined_items  the same for the items; by default as the sequence itself
    vr               "UN" writes a sequence whose VR the writer did not know (PS3.5 6.2.2)
    """
    inner = undefined if undefined_items is None else undefined_items
    content = b"".join(item(one, syntax, undefined=inner) for one in items)
    if undefined:
        return element_header(tag, vr, UNDEFINED, syntax) + content + sequence_delimiter(syntax)
    return element_header(tag, vr, len(content), syntax) + content


def encapsulated(fragments: Sequence[bytes], offsets: Sequence[int] | None = None, *, end: bool = True) -> bytes:
    """The value field of encapsulated pixel data (PS3.5 A.4): offset table item, fragments, sequence delimiter.

    offsets  Basic Offset Table entries; None = empty table; `fragment_offsets(fragments)` gives the right ones
    end      False leaves the sequence delimiter away, as a truncated file would
    """
    table = struct.pack(f"<{len(offsets or ())}I", *(offsets or ()))
    parts = [item(table)]
    parts += [item(fragment + b"\0" * (len(fragment) % 2)) for fragment in fragments]
    if end:
        parts.append(sequence_delimiter())
    return b"".join(parts)


def fragment_offsets(fragments: Sequence[bytes]) -> list[int]:
    """Offset of each fragment's item tag from the first fragment's, as offset tables count them."""
    offsets, position = [], 0
    for fragment in fragments:
        offsets.append(position)
        position += 8 + len(fragment) + len(fragment) % 2
    return offsets


def extended_offset_table(fragments: Sequence[bytes], offsets: Sequence[int] | None = None) -> bytes:
    """(7FE0,0001) and (7FE0,0002) for one fragment per frame (PS3.3 C.7.6.3.1.8)."""
    return element(0x7FE00001, "OV", list(fragment_offsets(fragments) if offsets is None else offsets)) + element(
        0x7FE00002, "OV", [len(fragment) for fragment in fragments]
    )


def pixel_data(
    value: bytes | Sequence[bytes],
    syntax: str = EXPLICIT,
    *,
    vr: str = "OW",
    offsets: Sequence[int] | None = None,
    end: bool = True,
) -> bytes:
    """(7FE0,0010): native when `value` is bytes (as they shall stand in the file), encapsulated when it is fragments."""
    if isinstance(value, bytes):
        return element(0x7FE00010, vr, value, syntax)
    return element_header(0x7FE00010, "OB", UNDEFINED) + encapsulated(value, offsets, end=end)


def file_meta(
    transfer_syntax: str | None = EXPLICIT,
    sop_instance: str = "1.2.3.4",
    sop_class: str = SECONDARY_CAPTURE_IMAGE_STORAGE,
    extra: bytes = b"",
) -> bytes:
    """File meta information group with its group length (PS3.10 7.1); None leaves (0002,0010) out."""
    body = element(0x00020001, "OB", b"\0\1")
    body += element(0x00020002, "UI", sop_class) + element(0x00020003, "UI", sop_instance)
    if transfer_syntax is not None:
        body += element(0x00020010, "UI", transfer_syntax)
    body += element(0x00020012, "UI", "2.25.1") + extra
    return element(0x00020000, "UL", [len(body)]) + body


def part10(
    dataset: bytes,
    transfer_syntax: str = EXPLICIT,
    *,
    sop_instance: str = "1.2.3.4",
    sop_class: str = SECONDARY_CAPTURE_IMAGE_STORAGE,
    preamble: bytes = bytes(128),
) -> bytes:
    """A PS3.10 file: `dataset` are the bytes of its elements; deflated here where the syntax says so (PS3.5 A.5)."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax)
    if syntax is not None and syntax.deflated:
        dataset = deflate(dataset)
    return preamble + b"DICM" + file_meta(transfer_syntax, sop_instance, sop_class) + dataset


def deflate(dataset: bytes) -> bytes:
    """Raw deflate, padded to even length."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = compressor.compress(dataset) + compressor.flush()
    return packed + b"\0" * (len(packed) % 2)


def elements_of(attributes: Mapping[str, Any], syntax: str = EXPLICIT, encodings: Sequence[str] = ("utf-8",)) -> bytes:
    """Elements by keyword, in tag order, VR from the dictionary; None = empty, a list of mappings = a sequence."""
    if "SpecificCharacterSet" in attributes:
        declared = attributes["SpecificCharacterSet"]
        encodings = convert_encodings(declared if isinstance(declared, str) else list(declared))
    parts = {}
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(f"{keyword} is not a keyword")
        vr = dictionary_VR(tag).split(" or ")[0]
        if vr == "SQ":
            parts[tag] = sequence(tag, [elements_of(one, syntax, encodings) for one in value or ()], syntax)
        elif vr in _TEXT and value is not None and not isinstance(value, bytes):
            text = value if isinstance(value, str) else "\\".join(value)
            coded = b"\\".join(encode_string(one, list(encodings)) for one in text.split("\\"))
            parts[tag] = element(tag, vr, coded + b" " * (len(coded) % 2), syntax)
        else:
            parts[tag] = element(tag, vr, value, syntax)
    return b"".join(parts[tag] for tag in sorted(parts))


def make_instance(
    study: str | None = None,
    series: str | None = None,
    sop: str | None = None,
    sop_class: str = SECONDARY_CAPTURE_IMAGE_STORAGE,
    transfer_syntax: str = EXPLICIT,
    rows: int = 4,
    columns: int = 4,
    frames: int = 1,
    pixel_bytes: bytes | Sequence[bytes] | None = None,
    **attributes: Any,
) -> bytes:
    """A whole PS3.10 file that an archive accepts.

    study, series, sop  UIDs; new ones where None
    rows                0 = an object without pixel data (JPIP syntaxes have none in any case)
    pixel_bytes         native: the bytes of all frames as they stand in the file; encapsulated: one fragment per frame (a
                        list; bytes = one fragment). By default a counting pattern; encapsulated: fragments that begin
                        and end like a JPEG codestream but cannot be decoded
    attributes          by keyword; they replace the defaults, e.g. BitsAllocated=16, PatientName="Doe^John"
    """
    sop = sop or new_uid()
    values: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": sop,
        "StudyDate": "20240229",
        "StudyTime": "101530",
        "AccessionNumber": "A1",
        "Modality": "OT",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": study or new_uid(),
        "SeriesInstanceUID": series or new_uid(),
        "StudyID": "S1",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
    }
    if rows:
        values |= {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": 8,
            "PixelRepresentation": 0,
        }
        if frames != 1:
            values["NumberOfFrames"] = str(frames)
    values |= attributes
    if rows:
        values.setdefault("BitsStored", values["BitsAllocated"])
        values.setdefault("HighBit", values["BitsStored"] - 1)
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    written = transfer_syntax if transfer_syntax in (IMPLICIT, BIG_ENDIAN) else EXPLICIT
    dataset = elements_of(values, written)
    if rows and syntax.family is not Family.JPIP:
        if pixel_bytes is None:
            pixel_bytes = _pattern(values, frames, encapsulated=syntax.encapsulated)
        if syntax.encapsulated:
            fragments = [pixel_bytes] if isinstance(pixel_bytes, bytes) else list(pixel_bytes)
            offsets = fragment_offsets(fragments) if len(fragments) == frames else None
            dataset += pixel_data(fragments, offsets=offsets)
        else:
            native = pixel_bytes if isinstance(pixel_bytes, bytes) else b"".join(pixel_bytes)
            wide = values["BitsAllocated"] > 8 or written == IMPLICIT
            dataset += pixel_data(native, written, vr="OW" if wide else "OB")
    return part10(dataset, transfer_syntax, sop_instance=sop, sop_class=sop_class)


def _pattern(values: Mapping[str, Any], frames: int, *, encapsulated: bool) -> bytes | list[bytes]:
    if encapsulated:
        return [
            b"\xff\xd8\xff\xe0" + bytes([number % 255]) * (2 * number % 40) + b"\xff\xd9" for number in range(frames)
        ]
    bits = values["Rows"] * values["Columns"] * values["SamplesPerPixel"] * values["BitsAllocated"] * frames
    size = (bits + 7) // 8
    return (bytes(range(251)) * (size // 251 + 1))[:size]
