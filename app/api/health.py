"""Whether the server is alive, ready, and how it is doing. Not part of PS3.18; for orchestrators and monitoring."""

import asyncio

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from app.api.dependencies import door_of
from app.api.responses import bytes_response
from app.db.inventory import ping
from app.errors import BlobNotFound, Unavailable
from app.shared_metrics import SharedMetrics

router = APIRouter(tags=["health"])


@router.get("/healthz", name="health")
async def healthz(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", name="readiness")
async def readyz(request: Request) -> Response:
    """The database and the blob store answer: 200, else 503."""
    archive = door_of(request).archive
    problems = {}
    try:
        await ping(archive.db)
    except Unavailable as error:
        problems["database"] = str(error)
    try:
        await archive.blobs.stat("instances/readiness-probe")
    except BlobNotFound:
        pass  # it answered
    except Unavailable as error:
        problems["blobs"] = str(error)
    if problems:
        return JSONResponse({"status": "unavailable", **problems}, status_code=503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", name="metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text format, of all server processes together."""
    shared: SharedMetrics = request.app.state.metrics
    return bytes_response(await asyncio.to_thread(shared.text), CONTENT_TYPE_LATEST)
