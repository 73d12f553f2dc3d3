"""What every router needs of a request: the archive behind the door, the resource that is meant, the URL it is known by."""

from dataclasses import dataclass

from fastapi import Request

from app.dicom.references import InstanceRef, Reference, reference_of
from app.dicomweb.urls import external_url
from app.errors import NotFound
from app.services.archive import Archive

DICOMWEB_PREFIX = "/dicomweb"


@dataclass(frozen=True, slots=True)
class Door:
    """The HTTP door's own settings, and the archive."""

    archive: Archive
    public_url: str = ""
    trust_forwarded: bool = False
    strict_accept: bool = False
    search_empty_status: int = 200
    search_max_results: int = 1000
    search_candidate_cap: int = 10_000
    max_request_bytes: int = 0
    max_parts: int = 100_000
    max_frames_per_request: int = 100_000


def door_of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


def service_url(request: Request) -> str:
    """The DICOMweb root as the client knows it, without a slash at its end."""
    door = door_of(request)
    root = external_url(
        scheme=request.url.scheme,
        host=request.headers.get("host") or f"{request.url.hostname or 'localhost'}",
        headers=request.headers.items(),
        public_url=door.public_url,
        trust_forwarded=door.trust_forwarded,
    )
    return f"{root}{DICOMWEB_PREFIX}"


def reference_in(request: Request) -> Reference:
    """The study, series or instance of the path. Raises InvalidUid."""
    path = request.path_params
    return reference_of(path["study"], path.get("series"), path.get("instance"))


def instance_in(request: Request) -> InstanceRef:
    """The instance of the path. Raises InvalidUid."""
    ref = reference_in(request)
    if not isinstance(ref, InstanceRef):
        raise NotFound("no instance in this path")
    return ref


def accept_of(request: Request) -> str | None:
    """Every Accept header as one (RFC 9110 5.3), or None."""
    values = request.headers.getlist("accept")
    return ", ".join(values) if values else None


def accept_parameter_of(request: Request) -> str | None:
    """The `accept` query parameter (PS3.18 8.3.3.1)."""
    values = request.query_params.getlist("accept")
    return ",".join(values) if values else None
