"""What is known about one instance after its header was read once: the values that travel from store to database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.dicom.references import InstanceRef

# Prepared metadata text names its own instance by this byte, inside BulkDataURI values only:
# `"BulkDataURI":"\x01/bulkdata/7FE00010"`. JSON text never holds a raw control character, so the byte cannot
# collide with data, and `text.replace(INSTANCE_URL_MARK, url)` is all that serving needs.
INSTANCE_URL_MARK = b"\x01"

DicomJson = Mapping[str, Any]  # one data set in the DICOM JSON Model (PS3.18 Annex F): {"00100010": {"vr": "PN", ...}}


FRAGMENT = "fragment"  # the only one: a bare codestream
FRAGMENTS = "fragments"  # with offset table and item headers, without the delimiter (PS3.5 A.4)


@dataclass(frozen=True, slots=True)
class BulkdataItem:
    """A value that the metadata names by URI instead of holding it.

    path    tags and 1-based item numbers joined by dots: `00420011`, `54000100.1.54001010`
    offset  of the first byte of the value, from the start of the file; in Deflated Explicit VR LE, from the start of
            the inflated data set
    length  in bytes, padding included; -1 for encapsulated pixel data (then the frame index says where)
    coding  "" = the bytes are the value; of a text its codecs (app.dicom.character_sets), joined by commas; FRAGMENT or
            FRAGMENTS for compressed data elsewhere than in the top-level pixel data, such as icons
    """

    path: str
    vr: str
    offset: int
    length: int
    coding: str = ""


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where (7FE0,0010), (7FE0,0008) or (7FE0,0009) of the top level is.

    offset  of the value: the first native byte, or the tag of the Basic Offset Table item
    length  in bytes; None when encapsulated (undefined length)
    end     offset of the first byte behind the element (behind the sequence delimiter)
    """

    keyword: str
    vr: str
    offset: int
    length: int | None
    end: int


@dataclass(frozen=True, slots=True)
class ParsedInstance:
    """One instance as read from its PS3.10 bytes.

    dataset         the data set in the DICOM JSON Model: no group 0002, no group lengths, keys ascending; bulkdata as
                    {"vr": .., "BulkDataURI": ..}
    json            the same as UTF-8 text, BulkDataURIs beginning with INSTANCE_URL_MARK
    dataset_offset  of the first byte behind the file meta information (0 where there is none)
    frame_index     packed, see app.dicom.frame_index; b"" when there are no frames
    """

    transfer_syntax_uid: str
    dataset_offset: int
    dataset: DicomJson
    json: bytes
    bulkdata: tuple[BulkdataItem, ...]
    pixel_data: PixelData | None
    frame_index: bytes

    def text(self, tag: str) -> str:
        """First value of a top-level attribute as text ("" when absent or empty), `tag` as 8 hex digits."""
        values = self.dataset.get(tag, {}).get("Value")
        if not values or values[0] is None:
            return ""
        return str(values[0])


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """All that the database keeps of one accepted instance, whose blob is durable already.

    digest     of the whole blob: hexadecimal digits and their kind (app.blobs.digests)
    lost_blob  key of a blob of the same bytes that is no longer whole: where it is the live one, this one takes its place
    """

    ref: InstanceRef
    sop_class_uid: str
    parsed: ParsedInstance
    blob_key: str
    size: int
    digest: str
    lost_blob: str = ""
