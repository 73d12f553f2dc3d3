"""What every router needs of a request: the archive behind the door, the resource that is meant, the URL it is known by."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import Request

from app.api.frame_answers import FrameAnswers
from app.dicom.references import InstanceRef, Reference, reference_of
from app.dicomweb import urls
from app.dicomweb.negotiation import Representation
from app.errors import NotFound
from app.services.archive import Archive
from app.services.syntaxes import Alternative


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
    frame_answers: FrameAnswers = field(default_factory=FrameAnswers, init=False)


def door_of(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


def service_url(request: Request) -> str:
    """The DICOMweb root as the client knows it, without a slash at its end."""
    door = door_of(request)
    host, port = request.scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    return urls.service_url(
        request.headers,
        scheme=request.scope["scheme"],
        host=f"{host}:{port}" if port else host,
        path=urls.DICOMWEB_PREFIX,
        public_url=door.public_url,
        trust_forwarded=door.trust_forwarded,
    )


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


def alternatives_of(representations: Sequence[Representation]) -> list[Alternative]:
    """What the services need of them, in the same order."""
    return [Alternative(one.transfer_syntaxes, one.converts, one.fallback, one.allows_loss) for one in representations]


def accept_of(request: Request) -> str | None:
    """Every Accept header as one (RFC 9110 5.3), or None."""
    values = request.headers.getlist("accept")
    return ", ".join(values) if values else None


def accept_parameter_of(request: Request) -> str | None:
    """The `accept` query parameter (PS3.18 8.3.3.1)."""
    if not request.scope["query_string"]:
        return None
    values = request.query_params.getlist("accept")
    return ",".join(values) if values else None
