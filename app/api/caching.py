"""Validators of what is sent, and the answers to conditions on them: 304 and 412 (RFC 9110 8.8 and 13).

What a stranger stored is shown and nothing more: no scripts, no requests, no forms, and no guessing of other types.
"""

import time
from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from app.api.compression import is_text
from app.dicomweb.conditional import ETag, http_date, not_modified, parse_entity_tags, precondition_failed

NO_GUESSING = {"X-Content-Type-Options": "nosniff"}
# Documents that viewers of the browser open (PDF) cannot be in a sandbox.
_SANDBOX = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
# Until then what is stored next may get the same Last-Modified, which has no fractions of a second (RFC 9110 8.8.2.2).
SETTLED_SECONDS = 2.0


def validators(etag: ETag | None, modified: datetime) -> dict[str, str]:
    """Headers of a negotiated answer. Data about patients stays out of shared caches, and is asked about before use."""
    headers = {"Vary": "Accept", "Cache-Control": "private, no-cache", **NO_GUESSING}
    stored = modified.timestamp()
    if time.time() - stored >= SETTLED_SECONDS:
        headers["Last-Modified"] = http_date(stored)
    if etag is not None:
        headers["ETag"] = str(etag)
    return headers


def shown_only(media_type: str) -> dict[str, str]:
    """Headers of a single part that a browser would run: markup, whatever it is called."""
    return _SANDBOX if media_type.startswith("text/") else {}


def unchanged(
    request: Request, etag: ETag | None, modified: datetime | None, headers: dict[str, str], media_type: str = ""
) -> Response | None:
    """The 304 answer, when the request's conditions say that the client has this very representation; 412 when they say that it
    wants another one than there is (RFC 9110 13.2.2).

    modified    None for what is made of several instances: when the newest is deleted it goes back, and says nothing
    media_type  of what would be sent else: the fields of the 304 are those of that answer (RFC 9110 15.4.5)
    """
    asked, last_modified = request.headers, None if modified is None else modified.timestamp()
    if ("if-match" in asked or "if-unmodified-since" in asked) and precondition_failed(
        if_match=_list_in(request, "if-match"),
        if_unmodified_since=asked.get("if-unmodified-since"),
        etag=etag,
        last_modified=last_modified,
    ):
        return Response(status_code=412, headers=headers)
    if_none_match = _list_in(request, "if-none-match")
    if not not_modified(
        if_none_match=if_none_match,
        if_modified_since=asked.get("if-modified-since"),
        etag=etag,
        last_modified=last_modified,
    ):
        return None
    if etag is not None and is_text(media_type):
        # As app.api.compression says it; a client that was sent coded bytes holds the weak tag.
        headers = headers | {"Vary": f"{headers['Vary']}, Accept-Encoding"}
        held = [tag for tag in parse_entity_tags(if_none_match or "") if tag.matches_weakly(etag)]
        if held and held[0].weak:
            headers["ETag"] = str(held[0])
    return Response(status_code=304, headers=headers)


def _list_in(request: Request, name: str) -> str | None:
    """The lines of a field that is a list, as one (RFC 9110 5.3); None where there is none."""
    lines = request.headers.getlist(name)
    return ", ".join(lines) if lines else None  # an empty list is a condition, too
