"""Validators of what is sent, and the answers to conditions on them: 304 and 412 (RFC 9110 8.8 and 13).

What a stranger stored is shown and nothing more: no scripts, no requests, no forms, and no guessing of other types.
"""

from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from app.dicomweb.conditional import ETag, http_date, not_modified, precondition_failed

NO_GUESSING = {"X-Content-Type-Options": "nosniff"}
# Documents that viewers of the browser open (PDF) cannot be in a sandbox.
_SANDBOX = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


def validators(etag: ETag | None, modified: datetime) -> dict[str, str]:
    """Headers of a negotiated answer. Data about patients stays out of shared caches, and is asked about before use."""
    headers = {
        "Last-Modified": http_date(modified.timestamp()),
        "Vary": "Accept",
        "Cache-Control": "private, no-cache",
        **NO_GUESSING,
    }
    if etag is not None:
        headers["ETag"] = str(etag)
    return headers


def shown_only(media_type: str) -> dict[str, str]:
    """Headers of a single part that a browser would run: markup, whatever it is called."""
    return _SANDBOX if media_type.startswith("text/") else {}


def unchanged(request: Request, etag: ETag | None, modified: datetime, headers: dict[str, str]) -> Response | None:
    """The 304 answer, when the request's conditions say that the client has this very representation; 412 when they say that it
    wants another one than there is (RFC 9110 13.2.2)."""
    asked = request.headers
    if ("if-match" in asked or "if-unmodified-since" in asked) and precondition_failed(
        if_match=",".join(asked.getlist("if-match")) if "if-match" in asked else None,
        if_unmodified_since=asked.get("if-unmodified-since"),
        etag=etag,
        last_modified=modified.timestamp(),
    ):
        return Response(status_code=412, headers=headers)
    if not_modified(
        if_none_match=asked.get("if-none-match"),
        if_modified_since=asked.get("if-modified-since"),
        etag=etag,
        last_modified=modified.timestamp(),
    ):
        return Response(status_code=304, headers=headers)
    return None
