"""Which HTTP status each error of the domain is answered with: one table for all routers (PS3.18 8.5)."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from app import errors
from app.api.status_reports import status_report
from app.observability import log

RETRY_AFTER_SECONDS = 5

# A subclass without a row of its own is answered as its nearest ancestor.
STATUS_OF: dict[type[errors.GantryError], int] = {
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.NotAcceptable: 406,
    errors.UnsupportedMediaType: 415,
    errors.TooLarge: 413,
    errors.Unavailable: 503,
    # The bytes are stored and cannot be shown in what was asked for; as stored they can still be had.
    errors.DicomError: 406,
    errors.CodecError: 406,
    errors.BlobNotFound: 500,
}


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.GantryError, _on_domain_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


def status_of(error: errors.GantryError) -> int:
    return next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)


async def _on_domain_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, errors.GantryError):
        raise error
    return domain_error_response(request, error)


def domain_error_response(request: Request, error: errors.GantryError) -> Response:
    status = status_of(error)
    transient = isinstance(error, errors.Unavailable)
    if status >= 500:
        log.error("request.error", error=str(error), kind=type(error).__name__, cause=repr(error.__cause__))
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    explanation = str(error) if status != 500 else "the archive is damaged here; the server's log has more"
    return status_report(request.scope, status, explanation, transient=transient, headers=headers)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What routing finds: no such path, or no such method there."""
    if not isinstance(error, HTTPException):
        raise error
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    explanation = str(error.detail)
    if error.status_code == 405:
        allowed = allowed_methods(request.app.routes, request.scope)
        headers["allow"] = ", ".join(allowed)
        if request.method == "OPTIONS":  # RFC 9110 9.3.7: the methods of a resource
            return Response(status_code=204, headers=headers)
        explanation = f"{request.method} is not possible here; possible are {headers['allow']}"
    elif error.status_code == 404:
        explanation = "there is no such resource in this service; see /docs for what there is"
    return status_report(request.scope, error.status_code, explanation, headers=headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    details: Any = error.errors() if isinstance(error, RequestValidationError) else []
    explanation = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in details) or "invalid request"
    return status_report(request.scope, 400, explanation)


def allowed_methods(routes: list[BaseRoute], scope: Scope) -> list[str]:
    """Every method that some route of this path takes (RFC 9110 10.2.1 wants them all)."""
    allowed = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    }
    allowed.add("OPTIONS")
    if "GET" in allowed:
        allowed.add("HEAD")
    return sorted(allowed)
