"""Media types and media ranges as they stand in Content-Type, Accept and `accept=` (PS3.18 8.7, RFC 9110 8.3 and 12.5.1).

`parse_media_type` reads one and raises; `parse_accept` reads a list and leaves out what it cannot read, because PS3.18
8.7.7 says that invalid and unsupported entries are ignored. Everything runs in linear time on any input.
"""

import re
from dataclasses import dataclass

from app.errors import InvalidMediaType

MAX_HEADER_LENGTH = 16_384  # characters of one header value that are looked at
MAX_RANGES = 100

Parameters = tuple[tuple[str, str], ...]

# RFC 9110 5.6.2: a token is one or more visible ASCII characters other than the delimiters "(),/:;<=>?@[\]{} and quotes.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")

# RFC 9110 5.6.4: a quoted string is anything between quotation marks, where a backslash makes the next character plain.
# One left open runs to the end. Every alternative is possessive, so no text is read twice.
_QUOTED = r'"(?:[^"\\]++|\\.)*+"?'
_LIST_PIECES = re.compile(rf'[^",]++|{_QUOTED}|,', re.DOTALL)
_PARAMETER_PIECES = re.compile(rf'[^";]++|{_QUOTED}|;', re.DOTALL)
_CLOSED_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)

# PS3.18 8.7.1 lets `type=application/dicom` stand without quotes although RFC 2387 wants them, and boundaries come with
# every character of RFC 2046: an unquoted value is any run of visible ASCII without quotation mark and semicolon.
_UNQUOTED = re.compile(r"[!#-:<-~]++")

# RFC 9110 12.4.2: weight is 0 to 1 with at most three decimals. `.2` (Java's URLConnection) is let through.
_WEIGHT = re.compile(r"(?:0?\.[0-9]{1,6}|0\.?|1(?:\.0{0,6})?)")

_ALIASES = {
    # PS3.18 8.7.3.3.2, note: names of older editions. The others are seen in the field.
    "image/x-jls": "image/jls",
    "image/x-dicom-rle": "image/dicom-rle",
    "image/x-htj2k": "image/jphc",
    "image/jhc": "image/jphc",
    "image/x-jxl": "image/jxl",
    "image/jll": "image/jpeg",
    # PS3.18 Table 8.7.3-5 writes this one with a capital; types are compared without regard to case (RFC 9110 8.3.1).
    "video/h265": "video/H265",
}


@dataclass(frozen=True, slots=True)
class MediaType:
    """One media type or media range. `type`, `subtype` and parameter names are lower case, values as sent.

    In a multipart type a transfer syntax that stood inside the quotation marks of `type` has been moved beside it.
    """

    type: str
    subtype: str
    parameters: Parameters = ()

    @property
    def essence(self) -> str:
        return f"{self.type}/{self.subtype}"

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first parameter of that (lower-case) name."""
        return next((value for key, value in self.parameters if key == name), default)

    def get_all(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self.parameters if key == name)

    def __str__(self) -> str:
        return self.essence + "".join(f"; {name}={quote_if_needed(value)}" for name, value in self.parameters)


@dataclass(frozen=True, slots=True)
class MediaRange:
    """An entry of an Accept header; `q` from 0 (never) to 1."""

    media_type: MediaType
    q: float


def canonical_name(essence: str) -> str:
    """The name that PS3.18 uses for a media type that also goes by another: `image/x-jls` is `image/jls`."""
    return _ALIASES.get(essence, essence)


def quote_if_needed(value: str) -> str:
    """A parameter value as it goes on the wire: a token as it is, anything else in quotation marks."""
    if _TOKEN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_media_type(text: str) -> MediaType:
    """One media type, as in Content-Type. Raises InvalidMediaType."""
    if len(text) > MAX_HEADER_LENGTH:
        raise InvalidMediaType(f"a media type of more than {MAX_HEADER_LENGTH} characters")
    name, *rest = _split(text, _PARAMETER_PIECES, ";")
    major, slash, minor = name.strip(" \t").lower().partition("/")
    if not (slash and _TOKEN.fullmatch(major) and _TOKEN.fullmatch(minor)):
        raise InvalidMediaType(f"{name.strip()[:80]!r} is not a media type")
    if major == "*" and minor != "*":
        raise InvalidMediaType(f"{name.strip()[:80]!r} is not a media range")
    parameters = tuple(_parameter(piece) for piece in rest if piece.strip(" \t"))
    if major == "multipart":
        parameters = _unwrap_type(parameters)
    return MediaType(major, minor, parameters)


def parse_accept(text: str) -> tuple[MediaRange, ...]:
    """The readable entries of an Accept header, in its order. Never raises."""
    ranges = []
    for entry in split_list(text[:MAX_HEADER_LENGTH])[:MAX_RANGES]:
        if entry == "*" or entry.startswith("*;"):  # Java's URLConnection: `*; q=.2`
            entry = "*/*" + entry[1:]
        try:
            ranges.append(_media_range(parse_media_type(entry)))
        except InvalidMediaType:
            continue
    return tuple(ranges)


def split_list(text: str) -> list[str]:
    """The entries of a comma-separated header (RFC 9110 5.6.1), empty ones left out, quoted commas left in."""
    entries = (entry.strip(" \t") for entry in _split(text, _LIST_PIECES, ","))
    return [entry for entry in entries if entry]


def _media_range(media_type: MediaType) -> MediaRange:
    weight = media_type.get("q")
    if weight is None:
        return MediaRange(media_type, 1.0)
    if not _WEIGHT.fullmatch(weight):
        raise InvalidMediaType(f"{weight[:20]!r} is not a weight")
    parameters = tuple(pair for pair in media_type.parameters if pair[0] != "q")
    return MediaRange(MediaType(media_type.type, media_type.subtype, parameters), float(weight))


def _split(text: str, pieces: re.Pattern[str], separator: str) -> list[str]:
    """`text` cut at every separator that is not inside quotation marks."""
    fields, start = [], 0
    for match in pieces.finditer(text):
        if match[0] == separator:
            fields.append(text[start : match.start()])
            start = match.end()
    fields.append(text[start:])
    return fields


def _parameter(text: str) -> tuple[str, str]:
    """RFC 9110 5.6.6: name, equals sign, token or quoted string. Blanks around the sign are let through."""
    name, equals, value = text.partition("=")
    name, value = name.strip(" \t").lower(), value.strip(" \t")
    if not (equals and _TOKEN.fullmatch(name)):
        raise InvalidMediaType(f"{text.strip()[:80]!r} is not a parameter of a media type")
    if quoted := _CLOSED_QUOTED.fullmatch(value):
        return name, _QUOTED_PAIR.sub(r"\1", quoted[1])
    if not _UNQUOTED.fullmatch(value):
        raise InvalidMediaType(f"{value[:80]!r} is not a value of a parameter")
    return name, value


def _unwrap_type(parameters: Parameters) -> Parameters:
    """`type="image/jpeg; transfer-syntax=*"` as `type=image/jpeg; transfer-syntax=*`; the type in lower case."""
    result: list[tuple[str, str]] = []
    for name, value in parameters:
        if name != "type":
            result.append((name, value))
            continue
        inner, *wrapped = _split(value, _PARAMETER_PIECES, ";")
        result.append((name, inner.strip(" \t").lower()))
        result.extend(_parameter(piece) for piece in wrapped if piece.strip(" \t"))
    return tuple(result)
