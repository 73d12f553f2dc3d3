"""Validators of what is sent, and 304 for what the client has already (RFC 9110 8.8 and 13)."""

from datetime import datetime

from fastapi import Request
from starlette.responses import Response

from app.dicomweb.conditional import ETag, http_date, not_modified


def validators(etag: ETag | None, modified: datetime) -> dict[str, str]:
    """Headers of a negotiated answer. Data about patients stays out of shared caches, and is asked about before use."""
    headers = {"Last-Modified": http_date(modified.timestamp()), "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if etag is not None:
        headers["ETag"] = str(etag)
    return headers


def unchanged(request: Request, etag: ETag | None, modified: datetime, headers: dict[str, str]) -> Response | None:
    """The 304 answer, when the request's conditions say that the client has this very representation."""
    if not_modified(
        if_none_match=request.headers.get("if-none-match"),
        if_modified_since=request.headers.get("if-modified-since"),
        etag=etag,
        last_modified=modified.timestamp(),
    ):
        return Response(status_code=304, headers=headers)
    return None
