"""Errors as Status Reports (PS3.18 8.6.3): an explanation, and whether the same request may succeed later."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Scope

from app.api.responses import bytes_response
from app.dicomweb import status_report as reports


def status_report(
    scope: Scope,
    status: int,
    explanation: str,
    *,
    transient: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a request that failed, in the text type that its Accept header prefers."""
    accept = ", ".join([value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"])
    report = reports.status_report(status, explanation, accept=accept, temporary=transient)
    extra = {"vary": "Accept", "cache-control": "no-store", **(headers or {})}
    return bytes_response(report.body, report.content_type, status=status, headers=extra)
