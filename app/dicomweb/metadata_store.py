"""Which part of a store belongs to which BulkDataURI (PS3.18 10.5.1.4, 8.6.1.2).

A part is called by its Content-Location, absolute or relative to the request, or by its Content-ID (a `cid:` URI, RFC 2392). Both
sides are compared as absolute URIs in one spelling. The frames of a multi-frame image are parts of their own:

    the URI itself, once for each frame, in their order
    the URI with /frames/1, /frames/2, ..            whatever their order
    the instance's URL with /frames/1, ..            for a URI that is that URL with /bulkdata/7FE00010

Nothing is ever fetched: a URI that no part is called by is missing.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from app.dicom.metadata_elements import Payload
from app.dicomweb.media_types import MediaType

METADATA_TYPES = ("application/dicom+json", "application/dicom+xml")
_FRAME = re.compile(r"(.*)/frames/([0-9]{1,9})")
_OF_PIXEL_DATA = ("/bulkdata/7FE00010", "/bulkdata/7fe00010", "/frames", "/pixeldata")
_UNESCAPED = "/:@!$&'()*+,;=-._~%"


def is_metadata(media_type: MediaType | None) -> bool:
    """Whether a part, or a message of such parts, holds metadata."""
    return media_type is not None and media_type.essence in METADATA_TYPES


@dataclass(slots=True)
class _Part:
    location: str
    payload: Payload
    found: bool = False


class BulkdataParts:
    """The bulkdata parts of one message, by name. `base_url`: the absolute URL of the request."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._parts: list[_Part] = []
        self._named: dict[str, list[_Part]] = {}
        self._frames: dict[str, list[tuple[int, _Part]]] = {}

    def add(self, location: str, content_id: str, payload: Payload) -> None:
        """The next part; `location` and `content_id` as its header has them, "" where it has none."""
        part = _Part(location or content_id, payload)
        self._parts.append(part)
        names = {self._absolute(location)} if location else set()
        if content_id:
            names.add("cid:" + unquote(content_id.strip().strip("<>")))
        for name in names:
            self._named.setdefault(name, []).append(part)
            if numbered := _FRAME.fullmatch(name):
                self._frames.setdefault(numbered[1], []).append((int(numbered[2]), part))

    def find(self, uri: str) -> tuple[Payload, ...]:
        """The part that `uri` names, or the parts of its frames in their order; () where there is none."""
        name = self._absolute(uri)
        parts = self._named.get(name)
        if parts is None:
            numbered = self._frames.get(name) or next(
                (
                    frames
                    for ending in _OF_PIXEL_DATA
                    if name.endswith(ending) and (frames := self._frames.get(name.removesuffix(ending)))
                ),
                [],
            )
            return _in_order(numbered)
        for part in parts:
            part.found = True
        return tuple(part.payload for part in parts)

    def unreferenced(self) -> list[str]:
        """What the parts are called that nobody asked for, "" for those without a name."""
        return [part.location for part in self._parts if not part.found]

    def _absolute(self, uri: str) -> str:
        uri = uri.strip()
        if uri[:4].lower() == "cid:":
            return "cid:" + unquote(uri[4:])
        try:
            scheme, host, path, query, _ = urlsplit(urljoin(self._base_url, uri))
        except ValueError:  # half of an IPv6 address: a name like any other
            return uri
        # One spelling: %41 is A, and what must be escaped is (RFC 3986 6.2.2).
        return urlunsplit((scheme, host.lower(), _spelled(path), _spelled(query, "?"), ""))


def _spelled(text: str, further: str = "") -> str:
    return quote(unquote(text, errors="surrogateescape"), _UNESCAPED + further, errors="surrogateescape")


def _in_order(numbered: list[tuple[int, _Part]]) -> tuple[Payload, ...]:
    ordered = sorted(numbered, key=lambda pair: pair[0])
    for _, part in ordered:
        part.found = True
    payloads = [part.payload for _, part in ordered]
    if [number for number, _ in ordered] != list(range(1, len(ordered) + 1)):
        payloads[0] = replace(payloads[0], problem="the frames of this image do not come as 1, 2, 3 and so on")
    return tuple(payloads)
