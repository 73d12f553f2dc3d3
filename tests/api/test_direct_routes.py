"""The short way to an endpoint answers exactly as the usual one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app import main
from app.api.direct_routes import DirectRoutes
from app.dicomweb.urls import DICOMWEB_PREFIX
from app.main import DICOMWEB_ROUTERS, create_app
from app.settings import Settings
from tests.support.dicom_bytes import make_instance

_VARYING = {"date", "last-modified", "x-request-id", "server-timing"}
_UIDS = ("1.2", "1.2.1", "1.2.1.1")
STUDY = f"{DICOMWEB_PREFIX}/studies/1.2"
SERIES = f"{STUDY}/series/1.2.1"
INSTANCE = f"{SERIES}/instances/1.2.1.1"
REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", f"{DICOMWEB_PREFIX}/studies", {}),
    ("GET", f"{DICOMWEB_PREFIX}/studies?PatientID=P1&limit=1", {"accept": "application/dicom+json"}),
    ("GET", f"{DICOMWEB_PREFIX}/studies?StudyDate=never", {}),
    ("GET", f"{DICOMWEB_PREFIX}/series", {}),
    ("GET", f"{DICOMWEB_PREFIX}/instances", {}),
    ("GET", f"{STUDY}/series", {}),
    ("GET", f"{SERIES}/instances", {}),
    ("GET", f"{STUDY}/metadata", {"accept-encoding": "gzip"}),
    ("GET", f"{SERIES}/metadata", {"accept-encoding": "identity"}),
    ("GET", f"{INSTANCE}/metadata", {}),
    ("GET", f"{INSTANCE}/frames/1", {"accept": "application/octet-stream"}),
    ("GET", f"{INSTANCE}/frames/2", {"accept": "application/octet-stream"}),
    ("GET", f"{INSTANCE}/frames/x", {}),
    ("GET", f"{INSTANCE}/frames/1", {"accept": "text/html"}),
    ("GET", f"{INSTANCE}/frames/1", {"accept": "application/octet-stream", "range": "bytes=0-3"}),
    ("GET", INSTANCE, {"accept": "application/dicom; transfer-syntax=*"}),
    ("GET", f"{INSTANCE}/", {}),
    ("GET", f"{STUDY}//series", {}),
    ("GET", f"{DICOMWEB_PREFIX}/studies//metadata", {}),
    ("GET", f"{DICOMWEB_PREFIX}/studies/%20/metadata", {}),
    ("GET", f"{DICOMWEB_PREFIX}/studies/9.9/metadata", {}),
    ("GET", f"{DICOMWEB_PREFIX}/studies/9.9/metadata", {"accept": "application/dicom+json, */*;q=0.1"}),
    ("GET", f"/other{INSTANCE}", {}),
    ("GET", DICOMWEB_PREFIX, {}),
    ("GET", "/", {}),
    ("HEAD", f"{SERIES}/metadata", {}),
    ("HEAD", INSTANCE, {"accept": "application/dicom; transfer-syntax=*"}),
    ("PUT", f"{SERIES}/metadata", {}),
    ("OPTIONS", f"{SERIES}/metadata", {}),
    ("DELETE", f"{DICOMWEB_PREFIX}/studies/9.9", {}),
    ("POST", f"{DICOMWEB_PREFIX}/studies", {"content-type": "text/plain"}),
    ("POST", f"{DICOMWEB_PREFIX}/studies/1.x", {"content-type": "application/dicom"}),
    ("POST", f"{DICOMWEB_PREFIX}/series", {}),
]


class UsualWay:
    """In place of DirectRoutes: nothing."""

    def __init__(self, app: ASGIApp, **_: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gantry.test") as client,
    ):
        yield client


async def answers_of(app: FastAPI) -> list[tuple[int, dict[str, str], bytes]]:
    found = []
    async for client in client_of(app):
        data = make_instance(*_UIDS, PatientID="P1")
        stored = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        assert stored.status_code == 200, stored.text
        for method, url, headers in REQUESTS:
            answer = await client.request(method, url, headers=headers)
            kept = {
                name: "" if name == "etag" else value for name, value in answer.headers.items() if name not in _VARYING
            }
            found.append((answer.status_code, kept, answer.content))
    return found


async def test_both_ways_answer_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [Settings(data_dir=tmp_path / name, sync=False, log_level="warning") for name in ("a", "b")]
    direct = await answers_of(create_app(settings[0]))
    monkeypatch.setattr(main, "DirectRoutes", UsualWay)
    usual = await answers_of(create_app(settings[1]))
    for asked, one, other in zip(REQUESTS, direct, usual, strict=True):
        assert one == other, asked
    assert {status for status, _, _ in direct} >= {200, 206, 400, 404, 405, 406, 415}


async def test_every_route_of_plain_segments_is_found() -> None:
    passed: list[str] = []

    async def beyond(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["path"])

    direct = DirectRoutes(beyond, DICOMWEB_ROUTERS, DICOMWEB_PREFIX)
    reached: list[str] = []
    expected = 0
    for router in DICOMWEB_ROUTERS:
        for route in router.routes:
            if not isinstance(route, APIRoute) or ":path" in route.path:
                continue
            for method in route.methods or ():
                expected += 1
                path = DICOMWEB_PREFIX + route.path.replace("{", "x").replace("}", "x")
                segments = path.split("/")[1:]
                target = direct._targets.get((method, len(segments), tuple(segments[1::2])))
                if target is not None and target.route is route:
                    reached.append(route.name)
                    values = dict(zip(target.names, segments[2::2], strict=True))
                    assert values == {name: f"x{name}x" for name in route.param_convertors}, path
                else:
                    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
                    await direct(scope, _nothing, _nothing)
    # The hot ones are among them, whatever becomes of the others.
    hot = {
        "retrieve_instance_frames",
        "retrieve_series_metadata",
        "search_for_studies",
        "retrieve_series",
        "store_instances",
        "store_study_instances",
    }
    assert hot <= set(reached)
    assert len(reached) + len(passed) == expected


async def _nothing(*_: Any) -> Any:
    return {"type": "http.disconnect"}


async def test_what_it_tells_the_layers_outside(tmp_path: Path) -> None:
    """Metrics and logs name the transaction by its route."""
    app = create_app(Settings(data_dir=tmp_path / "data", sync=False, log_level="warning"))
    async for client in client_of(app):
        await client.get("/dicomweb/studies")
        metrics = (await client.get("/metrics")).text
        assert 'gantry_request_seconds_count{status="200",transaction="search_for_studies"}' in metrics
