"""What an instance says about itself once it has been compressed with loss (PS3.3 C.7.6.1.1.5, C.12.4.1, C.12.4.2).

A compressed version of another image is derived: Image Type says so, it has a SOP Instance UID of its own, refers to its source,
and remembers method and ratio of every lossy step, oldest first. The UID follows from the stored bytes and the transfer syntax,
so that the same request gives the same instance again.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.dicom.explicit_elements import ITEM, SEQUENCE_END, UNDEFINED_LENGTH, element, element_header, item_header
from app.dicom.explicit_rewrite import Change
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, Family

# Defined Terms of Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1).
_METHODS = {
    Family.JPEG: "ISO_10918_1",
    Family.JPEG_LS: "ISO_14495_1",
    Family.JPEG_2000: "ISO_15444_1",
    Family.HTJ2K: "ISO_15444_15",
    Family.JPEG_XL: "ISO_18181_1",
}
# Raised when encoders are set differently: what was derived before is another image then.
_GENERATION = 1
_NAMESPACE = uuid.UUID("6c3f1e0b-6d3d-5cde-9d0e-8f2b8a4f6b17")


@dataclass(frozen=True, slots=True)
class LossyCompression:
    """One lossy step from a stored instance.

    source_is_lossless  whether the source never lost anything, as far as its transfer syntax tells
    ratio               native bytes by encoded ones
    """

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    digest: str
    ratio: float
    source_is_lossless: bool


def derived_uid(digest: str, transfer_syntax_uid: str) -> str:
    """SOP Instance UID of the version with loss of the stored bytes with this digest (PS3.5 B.2: a UUID)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{digest} {transfer_syntax_uid} {_GENERATION}').int}"


def lossy_changes(step: LossyCompression) -> Mapping[int, Change]:
    """Changes of the data set, for app.dicom.explicit_rewrite."""
    syntax = TRANSFER_SYNTAXES[step.transfer_syntax_uid]
    uid = derived_uid(step.digest, syntax.uid)
    description = f"Lossy compression: {syntax.name}, ratio {_ratio(step.ratio)}"
    return {
        0x00080008: _image_type,
        0x00080018: element(0x00080018, "UI", uid.encode("ascii")),
        0x00082111: lambda stored: stored or element(0x00082111, "ST", description.encode("ascii")),
        0x00082112: _with_item(0x00082112, _source(step)),
        0x00089215: _with_item(0x00089215, _code("113040", "Lossy Compression")),
        0x00282110: element(0x00282110, "CS", b"01"),
        0x00282112: _with_value(0x00282112, "DS", _ratio(step.ratio)),
        0x00282114: _with_value(0x00282114, "CS", _METHODS[syntax.family]),
    }


def _ratio(ratio: float) -> str:
    return f"{ratio:.4g}" if ratio < 1000 else f"{ratio:.0f}"


def _image_type(stored: bytes) -> bytes:
    """Value 1 is DERIVED; the others stay."""
    _, *others = _text(stored).split("\\")
    return element(0x00080008, "CS", "\\".join(["DERIVED", *(others or ["PRIMARY"])]).encode("latin-1"))


def _text(stored: bytes) -> str:
    """Value of an element of a VR with a 16-bit length."""
    return stored[8:].decode("latin-1").strip("\0 ")


def _with_value(tag: int, vr: str, value: str) -> Callable[[bytes], bytes]:
    def append(stored: bytes) -> bytes:
        values = [text for text in (_text(stored), value) if text]
        return element(tag, vr, "\\".join(values).encode("latin-1"))

    return append


def _with_item(tag: int, item: bytes) -> Callable[[bytes], bytes]:
    def append(stored: bytes) -> bytes:
        content = b""
        if stored[4:6] == b"SQ":
            content = stored[12:]
            if stored[8:12] == UNDEFINED_LENGTH.to_bytes(4, "little"):
                content = content.removesuffix(item_header(SEQUENCE_END, 0))
        content += item_header(ITEM, len(item)) + item
        return element_header(tag, "SQ", len(content)) + content

    return append


def _source(step: LossyCompression) -> bytes:
    """An item of Source Image Sequence (PS3.3 Table C.12-8)."""
    item = element(0x00081150, "UI", step.sop_class_uid.encode("ascii"))
    item += element(0x00081155, "UI", step.sop_instance_uid.encode("ascii"))
    if step.source_is_lossless:
        item += _with_item(0x0040A170, _code("121320", "Uncompressed predecessor"))(b"")
    return item


def _code(value: str, meaning: str) -> bytes:
    return (
        element(0x00080100, "SH", value.encode("ascii"))
        + element(0x00080102, "SH", b"DCM")
        + element(0x00080104, "LO", meaning.encode("ascii"))
    )
