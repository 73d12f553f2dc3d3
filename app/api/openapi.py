"""The OpenAPI description. Routes take only the request (hot paths need no parameter machinery); what they read is told here.

openapi/openapi.json is the committed copy; a test compares the two.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.dicomweb.charsets import CHARACTER_SETS

DICOM_JSON = "application/dicom+json"
DICOM_XML = 'multipart/related; type="application/dicom+xml"'
DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'

_UID = {"type": "string", "pattern": "^[0-9]+([.][0-9]+)*$", "maxLength": 64}

_PATH: dict[str, tuple[str, dict[str, Any]]] = {
    "study": ("Study Instance UID", _UID),
    "series": ("Series Instance UID", _UID),
    "instance": ("SOP Instance UID", _UID),
    "frames": ("Frame numbers, from 1, separated by commas", {"type": "string", "pattern": "^[0-9]+(,[0-9]+)*$"}),
    "path": ("Tags and item numbers of the value, separated by dots", {"type": "string"}),
}

_STATUS = {
    200: "Done.",
    202: "Some instances were refused, or stored with a warning: the body says which and why.",
    204: "Done; there is nothing to say.",
    206: "The part asked for by Range.",
    304: "Not changed since the version that the client holds.",
    400: "The request is wrong in itself.",
    404: "Not in the archive.",
    406: "Not to be had in any of the accepted media types and transfer syntaxes.",
    409: "Nothing was stored: the body says why, instance by instance.",
    410: "It was in the archive and has been deleted.",
    413: "Larger than this server takes.",
    415: "A Content-Type or Content-Encoding that this server does not read.",
    416: "The Range lies outside of the value.",
    503: "Something behind the server does not answer; try again later.",
}


def parameter(
    name: str, description: str, schema: dict[str, Any] | None = None, *, where: str = "query"
) -> dict[str, Any]:
    """One parameter object; path parameters are required."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": schema or {"type": "string"},
    }


def charset_parameter(section: str) -> dict[str, Any]:
    """Names what there is: PS3.18 8.8 wants that in the capabilities, which are made of this description."""
    names = [entry.name for entry in CHARACTER_SETS]
    return parameter("charset", f"Character set of text ({section}).", {"type": "string", "examples": names})


ACCEPT_PARAMETER = parameter("accept", "Media types, as in the Accept header and before it (PS3.18 8.3.3.1).")

# 8.3.5.1.2: what the number means is the server's to say, here and in its conformance statement.
QUALITY = (
    "of image/jpeg the scale of libjpeg, 90 where absent; of image/jp2 a peak signal to noise ratio, 20 to 59 dB; of image/jph "
    "the step of the quantizer, doubled for each 16 less; of image/jxl the scale of cjxl. The last three lose nothing at 100 "
    "or where absent. Nothing for other media types"
)

SEARCH_PARAMETERS = [
    parameter(
        "{attributeID}",
        "Matching keys: any number of keywords, tags or dotted sequence paths with their values (PS3.18 8.3.4.1).",
    ),
    parameter("includefield", "Attributes to return besides the default ones, or `all` (8.3.4.3)."),
    parameter("limit", "Most results to return (8.3.4.4).", {"type": "integer", "minimum": 0}),
    parameter("offset", "Results to skip (8.3.4.4).", {"type": "integer", "minimum": 0}),
    parameter(
        "fuzzymatching", "Match names by the beginnings and the sound of their parts (8.3.4.2).", {"type": "boolean"}
    ),
    parameter("emptyvaluematching", 'Let `""` match what is absent or empty (8.3.4.5).', {"type": "boolean"}),
    parameter(
        "multiplevaluematching",
        "Let values separated by backslashes match what has them all; of attributes of one value, any of them (8.3.4.6).",
        {"type": "boolean"},
    ),
]


def describe(
    path: str,
    *,
    parameters: list[dict[str, Any]] | None = None,
    success: int = 200,
    media_types: tuple[str, ...] = (),
    failures: tuple[int, ...] = (400, 404, 406, 410, 503),
    request_types: tuple[str, ...] = (),
) -> dict[str, Any]:
    """`openapi_extra` of a route: its path parameters, query parameters, bodies and statuses."""
    names = [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]
    answers = {
        str(success): {
            "description": _STATUS[success],
            **({"content": {kind: {} for kind in media_types}} if media_types else {}),
        }
    }
    for status in failures:
        answers[str(status)] = {"description": _STATUS[status]}
    extra: dict[str, Any] = {
        "parameters": [parameter(name, _PATH[name][0], _PATH[name][1], where="path") for name in names]
        + (parameters or []),
        "responses": answers,
    }
    if request_types:
        body = {"schema": {"type": "string", "format": "binary"}}
        extra["requestBody"] = {"required": True, "content": dict.fromkeys(request_types, body)}
    return extra


def install_openapi(app: FastAPI) -> None:
    """Serve the description without the parts that FastAPI adds for validated parameters: there are none."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                routes=app.routes,
                license_info=app.license_info,
            )
            for operations in schema["paths"].values():
                for operation in operations.values():
                    responses = operation["responses"]
                    responses.pop("422", None)
                    if len(responses) > 1 and responses.get("200") == {"description": "Successful Response"}:
                        responses.pop("200")
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
