"""Errors as Status Reports (PS3.18 8.6.3): an explanation, and whether the same request may succeed later."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Scope

from app.api.responses import bytes_response
from app.dicomweb.status_report import write_status_report


def status_report(
    scope: Scope,
    status: int,
    explanation: str,
    *,
    transient: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a request that failed, in the text type that its Accept header prefers."""
    accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), None)
    body, media_type = write_status_report(status, explanation, transient=transient, accept=accept)
    extra = {"vary": "Accept", "cache-control": "no-store", **(headers or {})}
    return bytes_response(body, media_type, status=status, headers=extra)
