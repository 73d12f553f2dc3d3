"""Delete: not in PS3.18; the same URLs that other servers of the field use. What is deleted answers 410 from then on."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.dependencies import door_of, reference_in
from app.api.openapi import describe
from app.services import deletion

router = APIRouter(tags=["Delete"])

_STUDY = "/studies/{study}"
_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"


def _describe(path: str) -> dict[str, object]:
    return describe(path, success=204, failures=(400, 404, 410, 503))


@router.delete(_STUDY, name="delete_study", status_code=204, openapi_extra=_describe(_STUDY))
@router.delete(_SERIES, name="delete_series", status_code=204, openapi_extra=_describe(_SERIES))
@router.delete(_INSTANCE, name="delete_instance", status_code=204, openapi_extra=_describe(_INSTANCE))
async def delete(request: Request) -> Response:
    """Delete; `gantry restore` brings it back within GANTRY_RETENTION_DAYS."""
    await deletion.delete(door_of(request).archive, reference_in(request))
    return Response(status_code=204)
