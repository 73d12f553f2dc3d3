"""A data set as metadata gives it (PS3.18 10.5.1.4): values that are there as bytes, and values that are to come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BulkReference:
    """The value is bulkdata: `uri` as the metadata writes it, to be found among the parts of the message."""

    uri: str


@dataclass(frozen=True, slots=True)
class MetadataElement:
    """value  the value field in Explicit VR Little Endian, unpadded; or the items of a sequence; or where to find it"""

    vr: str
    value: "bytes | BulkReference | tuple[DataSet, ...]"


DataSet = dict[int, MetadataElement]  # by tag


@dataclass(frozen=True, slots=True)
class ReadMetadata:
    """One instance as its metadata describes it.

    data_set   every element but those of group 0002 and the like
    discarded  paths of elements that were left out, as BulkdataItem.path writes them
    ascii      whether no text holds anything but ASCII
    """

    data_set: DataSet
    discarded: tuple[str, ...]
    ascii: bool


@dataclass(frozen=True, slots=True)
class Payload:
    """One bulkdata part of the message, as far as DICOM is concerned.

    media_type           "type/subtype" in lower case, "" where the part does not say
    transfer_syntax_uid  the part's `transfer-syntax` parameter, "" where there is none
    offset, length       of its bytes in the spool, in bytes
    problem              why its bytes cannot be used (it was cut off); "" normally
    """

    media_type: str
    transfer_syntax_uid: str
    offset: int
    length: int
    problem: str = ""


def text_of(data_set: DataSet, tag: int) -> str:
    """The first value of a top-level text as text, "" where it is absent, empty or bulkdata."""
    found = data_set.get(tag)
    if found is None or not isinstance(found.value, bytes):
        return ""
    return found.value.decode("utf-8", "replace").split("\\")[0].strip(" \0")


def references_of(data_set: DataSet) -> list[str]:
    """The URI of every value that is to come, those within items too, in tag order."""
    found: list[str] = []
    for tag in sorted(data_set):
        value = data_set[tag].value
        if isinstance(value, BulkReference):
            found.append(value.uri)
        elif isinstance(value, tuple):
            for item in value:
                found += references_of(item)
    return found


def items(*data_sets: DataSet) -> MetadataElement:
    """A sequence."""
    return MetadataElement("SQ", tuple(data_sets))
