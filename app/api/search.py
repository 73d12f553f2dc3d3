"""QIDO-RS: Search (PS3.18 10.6), its six resources."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import chain

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.dependencies import accept_of, accept_parameter_of, door_of, service_url
from app.api.multipart import Part, multipart_of_parts
from app.api.openapi import ACCEPT_PARAMETER, DICOM_JSON, DICOM_XML, SEARCH_PARAMETERS, describe
from app.api.responses import StreamingBody, bytes_response
from app.db.search import search
from app.db.search_page import SearchPage
from app.dicom.matching import Level
from app.dicom.references import validate_uid
from app.dicomweb.negotiation import Resource, negotiate
from app.dicomweb.search_query import parse_search_query
from app.dicomweb.search_response import search_to_json, search_to_xml_parts
from app.dicomweb.warning_headers import additional_results, warning_headers

router = APIRouter(tags=["QIDO-RS"])


def _describe(path: str) -> dict[str, object]:
    return describe(
        path,
        parameters=[*SEARCH_PARAMETERS, ACCEPT_PARAMETER],
        media_types=(DICOM_JSON, DICOM_XML),
        failures=(204, 400, 406, 413, 503),
    )


@router.get("/studies", name="search_for_studies", openapi_extra=_describe("/studies"))
async def search_for_studies(request: Request) -> Response:
    """Studies that match."""
    return await _search(request, Level.STUDY)


@router.get("/series", name="search_for_series", openapi_extra=_describe("/series"))
@router.get(
    "/studies/{study}/series", name="search_for_study_series", openapi_extra=_describe("/studies/{study}/series")
)
async def search_for_series(request: Request) -> Response:
    """Series that match."""
    return await _search(request, Level.SERIES)


_IN_SERIES = "/studies/{study}/series/{series}/instances"


@router.get("/instances", name="search_for_instances", openapi_extra=_describe("/instances"))
@router.get(
    "/studies/{study}/instances",
    name="search_for_study_instances",
    openapi_extra=_describe("/studies/{study}/instances"),
)
@router.get(_IN_SERIES, name="search_for_series_instances", openapi_extra=_describe(_IN_SERIES))
async def search_for_instances(request: Request) -> Response:
    """Instances that match."""
    return await _search(request, Level.INSTANCE)


async def _search(request: Request, level: Level) -> Response:
    door = door_of(request)
    representation = negotiate(
        Resource.SEARCH, accept_of(request), accept_parameter_of(request), strict=door.strict_accept
    )[0]
    study, series = request.path_params.get("study"), request.path_params.get("series")
    scope = {
        "study_instance_uid": validate_uid(study) if study is not None else None,
        "series_instance_uid": validate_uid(series) if series is not None else None,
    }
    parsed = parse_search_query(request.url.query, level=level, **scope)
    page = await search(
        door.archive.db,
        parsed.query,
        max_results=door.search_max_results,
        candidate_cap=door.search_candidate_cap,
    )
    url = service_url(request)
    headers = {"Vary": "Accept", "Cache-Control": "private, no-cache"}
    warnings = [*parsed.warnings, *_page_warnings(page, door.search_candidate_cap)]
    if warnings:
        headers["Warning"] = ", ".join(warning_headers(url, warnings))
    if not page.results and (door.search_empty_status == 204 or representation.multipart):
        # An empty multipart message cannot be written (PS3.18 8.6.1.2: at least one part).
        return Response(status_code=204, headers=headers)
    if representation.multipart:
        # A thousand results take a second: others are answered meanwhile.
        documents = await asyncio.to_thread(
            lambda: list(search_to_xml_parts(page.results, url, level=level, **scope)),
        )
        parts = [(Part("application/dicom+xml", length=len(document)), document) for document in documents]
        return multipart_of_parts(parts, "application/dicom+xml", headers)
    pieces = search_to_json(page.results, url, level=level, **scope)
    first, second = next(pieces), next(pieces, None)
    if second is None:
        return bytes_response(first, representation.media_type, headers=headers)
    return StreamingBody(_in_turns(chain((first, second), pieces)), representation.media_type, headers=headers)


async def _in_turns(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Results with everything that is known of a thousand instances are ten megabytes: others are answered in between."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def _page_warnings(page: SearchPage, cap: int) -> list[str]:
    warnings = []
    if page.remaining:
        warnings.append(additional_results(page.remaining))
        if not page.remaining_is_exact:
            warnings.append("The number of additional results is a lower bound: there are more than are counted")
    if page.candidates_capped:
        warnings.append(f"An attribute that is not indexed was matched against the first {cap} candidates only")
    return warnings
