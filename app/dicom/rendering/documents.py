"""What instances that are not images are rendered as: reports, documents, video (PS3.18 8.7.4)."""

import re
from dataclasses import dataclass
from enum import StrEnum

from app.dicom.instance import DicomJson
from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.sr_content import is_report
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, Family

ENCAPSULATED_DOCUMENT_PATH = "00420011"
# The Standard fixes the media type for each SOP Class of encapsulated documents (PS3.3 A.45, A.85, A.98, A.104).
_DOCUMENTS = {
    "1.2.840.10008.5.1.4.1.1.104.1": "application/pdf",
    "1.2.840.10008.5.1.4.1.1.104.2": "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
_PRESENTATION_STATES = "1.2.840.10008.5.1.4.1.1.11."
_LABEL = re.compile(r"[A-Z0-9]{1,16}", re.ASCII)


class Category(StrEnum):
    """The resource categories of Table 8.7.4-1, and what is none of them."""

    SINGLE_FRAME = "single frame"
    MULTI_FRAME = "multi-frame"
    VIDEO = "video"
    TEXT = "text"
    DOCUMENT = "document"
    PRESENTATION_STATE = "presentation state"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class EncapsulatedDocument:
    """length  in bytes, without padding; None = all of the value"""

    media_type: str
    path: str
    length: int | None


def category_of(attributes: DicomJson, transfer_syntax_uid: str, number_of_frames: int) -> Category:
    """number_of_frames  that are stored; 0 where there is no pixel data"""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is not None and syntax.family is Family.VIDEO:
        return Category.VIDEO
    if is_presentation_state(AttributeReader(attributes).text("00080016")):
        return Category.PRESENTATION_STATE
    if number_of_frames:
        return Category.MULTI_FRAME if number_of_frames > 1 else Category.SINGLE_FRAME
    if encapsulated_document(attributes) is not None:
        return Category.DOCUMENT
    return Category.TEXT if is_report(attributes) else Category.NONE


def is_presentation_state(sop_class_uid: str) -> bool:
    """Whether a SOP class is one of presentation states, of any kind."""
    return sop_class_uid.startswith(_PRESENTATION_STATES)


def encapsulated_document(attributes: DicomJson) -> EncapsulatedDocument | None:
    """The document inside of an instance; None for SOP Classes that hold none.

    The media type follows from the SOP Class alone: what MIME Type of Encapsulated Document says is a stranger's word, and
    a browser that believed `text/html` would run it.
    """
    reader = AttributeReader(attributes)
    media_type = _DOCUMENTS.get(reader.text("00080016"))
    if media_type is None or not reader.has(ENCAPSULATED_DOCUMENT_PATH):
        return None
    length = reader.integer("00420015", -1)
    return EncapsulatedDocument(media_type, ENCAPSULATED_DOCUMENT_PATH, length if length >= 0 else None)


def video_media_type(transfer_syntax_uid: str) -> str | None:
    """Media type of the stream of a video transfer syntax; None for others."""
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    if syntax is None or syntax.family is not Family.VIDEO:
        return None
    return syntax.media_type


def stock_label(attributes: DicomJson) -> str:
    """A word for the thumbnail of what has no pixels: `PDF`, `SR`, `ECG`, else `DICOM`; nothing of the patient."""
    document = encapsulated_document(attributes)
    if document is not None:
        return "CDA" if document.media_type == "text/xml" else document.media_type.rpartition("/")[2].upper()
    modality = AttributeReader(attributes).text("00080060").upper()
    return modality if _LABEL.fullmatch(modality) else "DICOM"
