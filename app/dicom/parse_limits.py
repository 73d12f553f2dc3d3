"""Bounds on what one file may make a reader do."""

from dataclasses import dataclass

from app.dicom.fragments import MAX_FRAGMENTS


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """max_depth            of nested sequences
    max_elements          of all data sets together, sequence items counted as well
    max_inflated_bytes    of a deflated data set
    max_header_bytes      of all that is not bulkdata
    max_fallback_bytes    of the same, in a file that only the slow reader can follow
    at_once_bytes         of a data set in front of its pixel data, and behind it: what has more is odd
    at_once_fragments     of encapsulated pixel data: TooManyFragments is raised for more
    bulkdata_threshold    longer values become bulkdata, where their VR allows it
    text_threshold        the same for texts where it is larger: what is found by searching must stand in the metadata
    """

    max_depth: int = 64
    max_elements: int = 5_000_000
    max_inflated_bytes: int = 1 << 29
    max_header_bytes: int = 1 << 29
    max_fallback_bytes: int = 1 << 22
    at_once_bytes: int = 1 << 62
    at_once_fragments: int = MAX_FRAGMENTS
    bulkdata_threshold: int = 1024
    text_threshold: int = 65_536  # LT and ST have at most 10,240 characters (PS3.5 6.2)
