"""Heads and tails of multipart bodies; the octets between them go out as they are (PS3.18 8.6.1.2, RFC 2046 5.1.1).

    multipart_content_type("application/dicom", b)      the response header
    part_head(b, {...}, first=True), octets             for each part
    closing(b)

A boundary is never looked for in the data: 128 random bits do not occur there.
"""

import re
import secrets
from collections.abc import Iterable, Mapping

# RFC 9110 5.5: a field value has no control characters. What comes from stored data is cut down to that.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def new_boundary() -> str:
    """A boundary that needs no quotation marks anywhere."""
    return secrets.token_hex(16)


def multipart_content_type(media_type: str, boundary: str) -> str:
    """The Content-Type of the message. `type` is mandatory and its slash needs quotation marks (PS3.18 8.6.1.2)."""
    return f'multipart/related; type="{media_type}"; boundary={boundary}'


def part_head(boundary: str, headers: Mapping[str, str], first: bool) -> bytes:
    """The delimiter and the header of a part, up to and with the empty line. Values are sent as UTF-8."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not "".join(headers.values()).isprintable():
        lines = "".join([f"{name}: {_CONTROLS.sub(' ', value)}\r\n" for name, value in headers.items()])
    delimiter = "--" if first else "\r\n--"
    return f"{delimiter}{boundary}\r\n{lines}\r\n".encode("utf-8", "replace")


def closing(boundary: str) -> bytes:
    """The closing delimiter. It goes out only behind a whole message: its absence tells a client what is missing."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def message_length(heads: Iterable[bytes], lengths: Iterable[int], boundary: str) -> int:
    """Content-Length in bytes of a message made of these part heads and parts of these lengths."""
    return sum(map(len, heads)) + sum(lengths) + len(closing(boundary))
