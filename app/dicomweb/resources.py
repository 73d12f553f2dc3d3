"""What each kind of resource can be represented as (PS3.18 Tables 8.7.3-2, 8.7.3-4, 8.7.3-5, 10.4.4-1, 10.5.4-1, 10.6.4-1).

Pure data: app.dicomweb.negotiation holds the rules that choose among it.
"""

from dataclasses import dataclass
from enum import Enum, auto

from app.dicom.transfer_syntaxes import AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES

DICOM = "application/dicom"
OCTET_STREAM = "application/octet-stream"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
ZIP = "application/zip"  # not of DICOM: our extension, whole files as stored
JSON = "application/json"  # not of DICOM; older editions and many clients say so for application/dicom+json


class Resource(Enum):
    """What is asked for. INSTANCES are those of a study or a series; INSTANCE is one.

    RENDERED_* are the categories of Table 8.7.4-1; a frame of a multi-frame image is a single frame image (8.7.2). URI_* are
    the same in the URI service, where every answer is a single part, and may be the instance itself (9.3).
    """

    INSTANCES = auto()
    INSTANCE = auto()
    METADATA = auto()
    BULKDATA_ITEM = auto()
    BULKDATA_COLLECTION = auto()
    FRAMES = auto()
    SEARCH = auto()
    STORE_RESPONSE = auto()
    CAPABILITIES = auto()
    RENDERED_SINGLE_FRAME = auto()
    RENDERED_MULTI_FRAME = auto()
    RENDERED_VIDEO = auto()
    RENDERED_TEXT = auto()
    RENDERED_DOCUMENT = auto()
    THUMBNAIL = auto()
    URI_IMAGE = auto()
    URI_VIDEO = auto()
    URI_TEXT = auto()
    URI_DOCUMENT = auto()
    URI_OTHER = auto()


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to represent a resource.

    transfer_syntaxes  that the media type may hold, its default first; () where there is no such notion; with AS_STORED
                       any of them is allowed
    by_name_only       no wildcard leads to it
    one_item           only for a resource that is a single response item (PS3.18 10.4.4, note 3)
    """

    media_type: str
    multipart: bool
    transfer_syntaxes: tuple[str, ...] = ()
    by_name_only: bool = False
    one_item: bool = False


# PS3.18 Table 8.7.3-5: what a media type means without a transfer-syntax parameter. The order is ours: which to prefer
# where a client leaves it open and nothing is stored that way.
_DEFAULT_SYNTAX = {
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/jxl": "1.2.840.10008.1.2.4.110",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg": "1.2.840.10008.1.2.4.101",
    "video/mp4": "1.2.840.10008.1.2.4.102",
    "video/H265": "1.2.840.10008.1.2.4.107",
}


def _syntaxes(media_type: str) -> tuple[str, ...]:
    """All syntaxes of a compressed media type, the default first, then those that lose nothing."""
    default = _DEFAULT_SYNTAX[media_type]
    others = [entry for entry in TRANSFER_SYNTAXES.values() if entry.media_type == media_type and entry.uid != default]
    return default, *(entry.uid for entry in sorted(others, key=lambda entry: not entry.lossless))


COMPRESSED: dict[str, tuple[str, ...]] = {media_type: _syntaxes(media_type) for media_type in _DEFAULT_SYNTAX}

_ANY = (EXPLICIT_VR_LITTLE_ENDIAN, AS_STORED)

# The document types that PS3.3 C.24.2 encapsulates: their bulkdata is served as what it is.
DOCUMENT_TYPES = ("application/pdf", "text/xml", "model/stl", "model/obj", "model/mtl")

_PARTS = (
    Offer(OCTET_STREAM, multipart=True, transfer_syntaxes=_ANY),
    *(Offer(name, multipart=True, transfer_syntaxes=uids) for name, uids in COMPRESSED.items()),
)
_SINGLE = (
    Offer(OCTET_STREAM, multipart=False, transfer_syntaxes=_ANY, one_item=True),
    *(Offer(name, multipart=False, transfer_syntaxes=uids, one_item=True) for name, uids in COMPRESSED.items()),
)
_DOCUMENTS = tuple(Offer(name, multipart=False, by_name_only=True, one_item=True) for name in DOCUMENT_TYPES)
_MODEL = (
    Offer(DICOM_JSON, multipart=False),
    Offer(DICOM_XML, multipart=True),
    Offer(JSON, multipart=False, by_name_only=True),
)
_PS3_10 = Offer(DICOM, multipart=True, transfer_syntaxes=_ANY)
# Table 10.4.4-1: on instances this type asks for their bulkdata, another resource; so only by name.
_BULKDATA_OF_INSTANCES = Offer(OCTET_STREAM, multipart=True, transfer_syntaxes=_ANY, by_name_only=True)

_ZIP = Offer(ZIP, multipart=False, by_name_only=True)

# PS3.18 Table 8.7.4-1, as far as rendered here; the first is the default where the Standard names one.
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/jp2", "image/jph", "image/jxl")
_ANIMATION = "image/gif"
_VIDEOS = ("video/mp4", "video/mpeg", "video/H265")
_TEXTS = ("text/html", "text/plain", "text/xml")
# Documents are given out as they were encapsulated.
_DOCUMENT_TEXTS = ("application/pdf", "text/xml")


def _singles(names: tuple[str, ...]) -> tuple[Offer, ...]:
    return tuple(Offer(name, multipart=False) for name in names)


def _one_item(names: tuple[str, ...]) -> tuple[Offer, ...]:
    """As a single part where it is the only one, and as parts."""
    return (
        *(Offer(name, multipart=False, one_item=True) for name in names),
        *(Offer(name, multipart=True) for name in names),
    )


# Table 9.3-1: without contentType and with `*/*` an instance is rendered; it comes as it is only by name.
_URI_DICOM = Offer(DICOM, multipart=False, transfer_syntaxes=_ANY, by_name_only=True)

# In order of the server's preference: the first is the default of the resource.
OFFERS: dict[Resource, tuple[Offer, ...]] = {
    Resource.INSTANCES: (_PS3_10, _BULKDATA_OF_INSTANCES, _ZIP),
    Resource.INSTANCE: (_PS3_10, Offer(DICOM, multipart=False, transfer_syntaxes=_ANY), _BULKDATA_OF_INSTANCES, _ZIP),
    Resource.METADATA: _MODEL,
    Resource.SEARCH: _MODEL,
    # PS3.18 8.9.4 names both; Annex H describes the first.
    Resource.CAPABILITIES: (Offer("application/vnd.sun.wadl+xml", multipart=False), Offer(JSON, multipart=False)),
    Resource.STORE_RESPONSE: (*_MODEL, Offer(DICOM_XML, multipart=False)),
    # A bulkdata URI is one item: who follows it with `*/*`, a browser say, wants its bytes and not a multipart.
    Resource.BULKDATA_ITEM: (*_SINGLE, *_DOCUMENTS, *_PARTS),
    Resource.BULKDATA_COLLECTION: _PARTS,
    Resource.FRAMES: (*_PARTS, *_SINGLE),
    Resource.RENDERED_SINGLE_FRAME: _one_item(_IMAGES),
    # No default: a part for each frame is what `*/*` gets (8.7.7 leaves the choice), one that plays whoever asks for it.
    Resource.RENDERED_MULTI_FRAME: (
        *(Offer(name, multipart=True) for name in _IMAGES),
        Offer(_ANIMATION, multipart=False, one_item=True),
    ),
    Resource.RENDERED_VIDEO: _one_item(_VIDEOS),
    Resource.RENDERED_TEXT: _one_item(_TEXTS),
    Resource.RENDERED_DOCUMENT: _one_item(_DOCUMENT_TEXTS),
    Resource.THUMBNAIL: _singles(_IMAGES),
    Resource.URI_IMAGE: (*_singles(_IMAGES), _URI_DICOM),
    Resource.URI_VIDEO: (*_singles(_VIDEOS), _URI_DICOM),
    Resource.URI_TEXT: (*_singles(_TEXTS), _URI_DICOM),
    Resource.URI_DOCUMENT: (*_singles(_DOCUMENT_TEXTS), _URI_DICOM),
    # What cannot be rendered has no other form, so a wildcard leads to it.
    Resource.URI_OTHER: (Offer(DICOM, multipart=False, transfer_syntaxes=_ANY),),
}

# PS3.18 Table 8.7.4-1. image/jpeg, image/jp2, image/jxl and the videos are DICOM media types as well (Table 8.7.3-5).
RENDERED_TYPES = frozenset(
    {
        "image/jpeg", "image/gif", "image/png", "image/jp2", "image/jph", "image/jxl",
        "video/mpeg", "video/mp4", "video/H265",
        "text/html", "text/plain", "text/xml", "text/rtf", "application/pdf",
    }
)  # fmt: skip

# Resources whose representations are rendered: what else is named there asks for DICOM media types (8.7.5).
RENDERED_RESOURCES = frozenset(
    resource
    for resource in Resource
    if resource.name.startswith(("RENDERED_", "URI_")) or resource is Resource.THUMBNAIL
)
# DICOM media types that are rendered ones under no circumstances (Tables 8.7.3-4, 8.7.3-5).
DICOM_TYPES = frozenset({DICOM, DICOM_JSON, DICOM_XML, OCTET_STREAM, *COMPRESSED}) - RENDERED_TYPES
