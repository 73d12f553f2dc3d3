"""Retrieve Capabilities (PS3.18 8.9): OPTIONS on the service root. A browser's preflight never comes here: CORS answers it."""

import hashlib
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from app.api.caching import unchanged
from app.api.dependencies import accept_of, accept_parameter_of, door_of, service_url
from app.api.responses import bytes_response
from app.dicom.attributes import REQUIRED_KEYS, keyword_path
from app.dicom.matching import Level
from app.dicomweb.capabilities import WADL, Operation, Parameter, to_json, to_wadl
from app.dicomweb.conditional import strong_etag
from app.dicomweb.negotiation import Resource, negotiate
from app.dicomweb.urls import DICOMWEB_PREFIX

router = APIRouter(tags=["Capabilities"])

_XSD = {"integer": "xs:unsignedInt", "boolean": "xs:boolean"}
_DESCRIPTION = {
    "responses": {
        "200": {
            "description": "Every resource, method, parameter and media type.",
            "content": {WADL: {}, "application/json": {}},
        },
        "406": {"description": "Only WADL and JSON can be had."},
    }
}


@router.options("", name="retrieve_capabilities", openapi_extra=_DESCRIPTION)
@router.options("/", include_in_schema=False)
async def retrieve_capabilities(request: Request) -> Response:
    """What this service can do, as WADL or JSON."""
    representation = negotiate(
        Resource.CAPABILITIES,
        accept_of(request),
        accept_parameter_of(request),
        strict=door_of(request).strict_accept,
    )[0]
    url = service_url(request)
    operations = operations_of(request.app)
    body = (to_wadl if representation.media_type == WADL else to_json)(url, operations)
    etag = strong_etag(hashlib.sha256(body).hexdigest()[:32])
    headers = {"ETag": str(etag), "Vary": "Accept", "Cache-Control": "no-cache"}
    if answer := unchanged(request, etag, None, headers, representation.media_type):
        return answer
    return bytes_response(body, representation.media_type, headers=headers)


def operations_of(app: FastAPI) -> list[Operation]:
    """Every documented operation of the DICOMweb service: one source for this, /docs and openapi.json."""
    operations = []
    for path, methods in app.openapi()["paths"].items():
        if not path.startswith(DICOMWEB_PREFIX):
            continue
        below = path.removeprefix(DICOMWEB_PREFIX) or "/"
        for method, described in methods.items():
            operations.append(_operation(below, method.upper(), described))
    return operations


def _operation(path: str, method: str, described: dict[str, Any]) -> Operation:
    parameters = [
        _parameter(one)
        for one in described.get("parameters", [])
        if one["in"] == "query" and not one["name"].startswith("{")
    ]
    if method == "GET":
        # PS3.18 8.8: all supported character sets are told; the header knows the same ones as the parameter.
        charsets = [replace(one, name="Accept-Charset", style="header") for one in parameters if one.name == "charset"]
        parameters[:0] = [Parameter("Accept", "header"), *charsets]
        if "QIDO-RS" in described.get("tags", []):
            parameters += _matching_keys(path)
    return Operation(
        path,
        method,
        described["operationId"].split(f"_{DICOMWEB_PREFIX.strip('/')}")[0],
        described.get("summary", ""),
        tuple(parameters),
        tuple(described.get("requestBody", {}).get("content", {})),
        {int(status): tuple(answer.get("content", {})) for status, answer in described["responses"].items()},
    )


def _parameter(described: dict[str, Any]) -> Parameter:
    schema = described.get("schema", {})
    return Parameter(
        described["name"],
        "query",
        _XSD.get(schema.get("type", ""), "xs:string"),
        described.get("description", ""),
        tuple(schema.get("enum") or schema.get("examples") or ()),
    )


def _matching_keys(path: str) -> list[Parameter]:
    """Keyword and tag form of each required key that the resource matches on (PS3.18 Table 10.6.1-5)."""
    levels = {
        "studies": [Level.STUDY],
        "series": [Level.SERIES] if "{study}" in path else [Level.STUDY, Level.SERIES],
        "instances": [Level.INSTANCE],
    }[path.rsplit("/", 1)[-1]]
    if path.endswith("/instances") and "{series}" not in path:
        levels = [Level.SERIES, Level.INSTANCE] if "{study}" in path else [Level.STUDY, Level.SERIES, Level.INSTANCE]
    keys = [key for level in levels for key in REQUIRED_KEYS[level]]
    return [Parameter(name) for key in keys for name in (keyword_path(key), key.dotted)]
