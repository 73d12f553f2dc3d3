"""Whether an instance that was just read may be stored, in the words of PS3.4 and PS3.18 Annex I.

Every SOP class is taken, private ones too, in every transfer syntax of app.dicom.transfer_syntaxes. What is refused here could
not be given back under its own name: no usable UIDs, a study other than the one in the request, or frames that are not there.
"""

from app.dicom import store_status
from app.dicom.frame_index import frame_count
from app.dicom.instance import ParsedInstance
from app.dicom.layout import image_pixel_of
from app.dicom.references import InstanceRef, StudyRef, is_uid
from app.dicom.store_status import StoreStatus
from app.dicom.transfer_syntaxes import Family, transfer_syntax
from app.errors import DicomError, TruncatedDicom, UnsupportedTransferSyntax

# Type 1 in the Image Pixel Module (PS3.3 C.7.6.3), and in those of floating point images (C.7.6.24, C.7.6.25).
_ANY_IMAGE = ("00280002", "00280004", "00280010", "00280011", "00280100")
_IMAGE = (*_ANY_IMAGE, "00280101", "00280102", "00280103")

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


class Refusal(DicomError):
    """An instance is not stored; `status` is its Failure Reason (0008,1197)."""

    def __init__(self, status: StoreStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def refusal_of(error: DicomError) -> Refusal:
    """What an unreadable file is answered with (PS3.18 Table I.2-2)."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UnsupportedTransferSyntax):
        return Refusal(store_status.TRANSFER_SYNTAX_NOT_SUPPORTED, str(error))
    status = store_status.TRUNCATED if isinstance(error, TruncatedDicom) else store_status.CANNOT_UNDERSTAND
    return Refusal(status, str(error))


def accept(parsed: ParsedInstance, study: StudyRef | None) -> InstanceRef:
    """The name under which the instance is stored. Raises Refusal.

    `study` is the study that the request is confined to (PS3.18 10.5.1.1.1), None for any.
    """
    if not parsed.dataset_offset:
        raise Refusal(store_status.CANNOT_UNDERSTAND, "no File Meta Information: not a PS3.10 file")
    syntax = transfer_syntax(parsed.transfer_syntax_uid)
    if _uid(parsed, "00080016", "SOP Class UID") == MEDIA_STORAGE_DIRECTORY:
        raise Refusal(store_status.SOP_CLASS_NOT_SUPPORTED, "a DICOMDIR is not an instance that can be stored")
    ref = InstanceRef(
        _uid(parsed, "0020000D", "Study Instance UID"),
        _uid(parsed, "0020000E", "Series Instance UID"),
        _uid(parsed, "00080018", "SOP Instance UID"),
    )
    if study is not None and ref.study != study:
        raise Refusal(
            store_status.STUDY_MISMATCH,
            f"Study Instance UID is {ref.study_instance_uid}, the request is for {study.study_instance_uid}",
        )
    if syntax.family is not Family.JPIP:
        _check_frames(parsed)
    return ref


def warning_of(parsed: ParsedInstance) -> StoreStatus | None:
    """Why an accepted instance is stored with a warning (PS3.18 Table I.2-1), None for nearly all.

    What is looked for is what every image has, whatever its SOP Class: pixel data without the attributes of type 1 that
    describe it can be stored and given back, but hardly shown.
    """
    if parsed.pixel_data is None:
        return None
    required = _IMAGE if parsed.pixel_data.keyword == "PixelData" else _ANY_IMAGE
    complete = all(parsed.text(tag) for tag in required)
    return None if complete else store_status.STORED_DESPITE_MISMATCH


def _uid(parsed: ParsedInstance, tag: str, name: str) -> str:
    """Of value multiplicity 1 (PS3.6). Leading zeros and padding of any kind occur and are taken."""
    value = parsed.text(tag)
    if not value:
        raise Refusal(store_status.DATA_SET_MISMATCH, f"{name} ({tag[:4]},{tag[4:]}) is missing")
    if not is_uid(value):
        raise Refusal(store_status.DATA_SET_MISMATCH, f"{name} ({tag[:4]},{tag[4:]}) is not a UID")
    # Under the first alone, instances that differ in the others would replace each other.
    if any(parsed.dataset[tag]["Value"][1:]):
        raise Refusal(store_status.DATA_SET_MISMATCH, f"{name} ({tag[:4]},{tag[4:]}) has several values")
    return value


def _check_frames(parsed: ParsedInstance) -> None:
    """Frames that the header promises must be there: a viewer would ask for them."""
    if parsed.pixel_data is None:
        if parsed.text("00280008"):
            raise Refusal(store_status.DATA_SET_MISMATCH, "Number of Frames is given, but no pixel data")
        return
    image = image_pixel_of(parsed)
    promised = image.number_of_frames if image else 0
    found = frame_count(parsed.frame_index) if parsed.frame_index else 0
    if transfer_syntax(parsed.transfer_syntax_uid).is_video:
        return
    if found < promised:
        raise Refusal(
            store_status.CANNOT_UNDERSTAND,
            f"Number of Frames is {promised}, but the pixel data holds {found}",
        )
