"""Byte ranges of single-part answers (RFC 9110 section 14; PS3.18 8.6.1.1).

ranges = parse_range(request["range"], size)
None                      no usable Range: answer 200 with everything
UNSATISFIABLE, ()         416 with `Content-Range: bytes */size`
one range                 206 with its Content-Range
several                   206 multipart/byteranges
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.dicomweb.conditional import ETag, parse_entity_tag, parse_http_date
from app.dicomweb.multipart_writer import closing, part_head

# More than a player or a reader asks for; above it the whole is sent (RFC 9110 14.2, and CVE-2011-3192).
MAX_RANGES = 16
_MAX_HEADER = 2_048

# RFC 9110 14.1.1 and 14.1.2: "bytes", "=", then comma-separated `first-last`, `first-` or `-suffix length`.
_UNIT = re.compile(r"\s*+bytes\s*+=", re.IGNORECASE)
_SPEC = re.compile(r"(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})")


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """`length` bytes from offset `start`; never empty, always within the representation."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.start + self.length

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


UNSATISFIABLE: tuple[ByteRange, ...] = ()


def parse_range(header: str | None, size: int) -> tuple[ByteRange, ...] | None:
    """The ranges of a Range header that lie within `size` bytes.

    None = ignore the header: it is missing, of another unit, malformed, or asks for more than MAX_RANGES.
    UNSATISFIABLE = it is well-formed and nothing of it lies within. Ranges that overlap are merged, and then all are
    in ascending order; else they are in the order asked.
    """
    if header is None or len(header) > _MAX_HEADER:
        return None
    unit = _UNIT.match(header)
    if unit is None:
        return None
    specs = [spec.strip(" \t") for spec in header[unit.end() :].split(",")]
    specs = [spec for spec in specs if spec]
    if not specs or len(specs) > MAX_RANGES:
        return None
    ranges = []
    for spec in specs:
        found = _SPEC.fullmatch(spec)
        if found is None or spec == "-":
            return None
        first, last = found["first"], found["last"]
        if first and last and int(last) < int(first):
            return None
        if part := _within(first, last, size):
            ranges.append(part)
    return tuple(_merged(ranges))


def unsatisfied_content_range(size: int) -> str:
    """The Content-Range of a 416."""
    return f"bytes */{size}"


def if_range_holds(header: str | None, etag: ETag | None, last_modified: float | None) -> bool:
    """Whether Range may be applied (RFC 9110 13.1.5): no If-Range, or one that strongly names what is stored.

    last_modified  seconds since 1970
    """
    if header is None:
        return True
    text = header.strip(" \t")
    if text.startswith(('"', "W/")):
        tag = parse_entity_tag(text)
        return tag is not None and etag is not None and not tag.weak and tag == etag
    date = parse_http_date(text)
    return date is not None and last_modified is not None and date == int(last_modified)


def byteranges_content_type(boundary: str) -> str:
    return f"multipart/byteranges; boundary={boundary}"


def byteranges_heads(boundary: str, media_type: str, ranges: Sequence[ByteRange], size: int) -> list[bytes]:
    """What to send before each range; behind the last comes multipart_writer.closing(boundary)."""
    return [
        part_head(boundary, {"Content-Type": media_type, "Content-Range": part.content_range(size)}, first=number == 0)
        for number, part in enumerate(ranges)
    ]


def byteranges_length(boundary: str, media_type: str, ranges: Sequence[ByteRange], size: int) -> int:
    """Content-Length of the whole multipart answer."""
    heads = byteranges_heads(boundary, media_type, ranges, size)
    return sum(map(len, heads)) + sum(part.length for part in ranges) + len(closing(boundary))


def _within(first: str, last: str, size: int) -> ByteRange | None:
    if not first:
        length = min(int(last), size)
        return ByteRange(size - length, length) if length else None
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    return ByteRange(start, end - start) if start < end else None


def _merged(ranges: list[ByteRange]) -> list[ByteRange]:
    ordered = sorted(ranges)
    if all(before.end <= after.start for before, after in pairwise(ordered)):
        return ranges
    merged = [ordered[0]]
    for part in ordered[1:]:
        before = merged[-1]
        if part.start <= before.end:
            merged[-1] = ByteRange(before.start, max(before.end, part.end) - before.start)
        else:
            merged.append(part)
    return merged
