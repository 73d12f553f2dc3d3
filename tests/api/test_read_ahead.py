"""Whole series from an object store, read ahead: the answer, its failures and its end when nobody listens any more.

The application runs in this process on a real S3 server, behind a proxy that counts requests and holds them back.
"""

import asyncio
import contextlib
import io
import secrets
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support.dicom_bytes import make_instance, new_uid
from tests.support.fault_proxy import Fault, FaultProxy, http_answer
from tests.support.object_servers import S3Server, s3_server

__all__ = ["s3_server"]

MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ZIP = "application/zip"
COUNT = 40
AHEAD = 16
FOREVER = 10**6


class Series:
    def __init__(self, proxy: FaultProxy, path: str, files: list[bytes], keys: list[bytes]) -> None:
        self.proxy, self.path, self.files, self.keys = proxy, path, files, keys

    def fails(self, index: int) -> None:
        """The store refuses this instance."""
        key = self.keys[index]
        self.proxy.faults = [Fault(FOREVER, lambda head: key in head, http_answer("403 Forbidden"))]

    def hold(self, first: int) -> asyncio.Event:
        """Instances from `first` on are not answered until the event is set."""
        let_go = asyncio.Event()
        keys = self.keys[first:]
        self.proxy.faults = [Fault(FOREVER, lambda head: any(key in head for key in keys), until=let_go)]
        return let_go

    def methods(self) -> list[str]:
        return [line.split()[0] for line in self.proxy.requests]


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def app(s3_server: S3Server, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[FastAPI]:
    url = s3_server.url(f"t-{secrets.token_hex(6)}", endpoint=proxy.endpoint, max_retries="0", timeout="20s")
    application = create_app(Settings(data_dir=tmp_path / "data", blob_url=url, log_level="error"))
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def series(client: httpx.AsyncClient, proxy: FaultProxy) -> Series:
    study, name = new_uid(), new_uid()
    sops = [new_uid() for _ in range(COUNT)]
    files = [make_instance(study, name, sop, InstanceNumber=str(n)) for n, sop in enumerate(sops, 1)]
    for data in files:
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        assert answer.status_code == 200
    proxy.requests.clear()
    return Series(proxy, f"/dicomweb/studies/{study}/series/{name}", files, [f"/{sop}-".encode() for sop in sops])


class Client:
    """An ASGI server's side of one GET, message by message."""

    def __init__(self, app: FastAPI, path: str, accept: str, method: str = "GET") -> None:
        self.body: list[bytes] = []
        self.status = 0
        self.gone = asyncio.Event()
        self.on_piece: Callable[[], None] = lambda: None
        self._asked = False
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": [(b"accept", accept.encode())],
            "server": ("gantry.test", 80),
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.status = message.get("status", self.status)
        if message.get("body"):
            self.body.append(message["body"])
            self.on_piece()

    def files_among(self, files: list[bytes]) -> int:
        received = b"".join(self.body)
        return sum(data in received for data in files)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("waited in vain")


def files_of(answer: httpx.Response) -> list[bytes]:
    if answer.headers["content-type"] == ZIP:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
            return [file.read(name) for name in file.namelist()]
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    parts = answer.content.split(b"--" + boundary)[1:-1]
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
async def test_one_request_for_each_instance_and_the_order_of_reading(
    client: httpx.AsyncClient, series: Series, accept: str
) -> None:
    answer = await client.get(series.path, headers={"accept": accept})
    assert answer.status_code == 200
    assert files_of(answer) == series.files
    assert series.methods() == ["GET"] * COUNT


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
async def test_the_next_are_fetched_while_one_is_waited_for(app: FastAPI, series: Series, accept: str) -> None:
    let_go = series.hold(0)
    asked = Client(app, series.path, accept)
    await until(lambda: len(series.proxy.requests) >= AHEAD + 1)
    await asyncio.sleep(0.05)
    assert len(series.proxy.requests) == AHEAD + 1
    assert asked.status == 0, "the first piece comes before the status"
    let_go.set()
    await asked.task
    assert asked.status == 200
    assert asked.files_among(series.files) == COUNT


async def test_what_is_converted_stands_among_what_is_read_ahead(client: httpx.AsyncClient, series: Series) -> None:
    study, name = series.path.split("/")[3], series.path.split("/")[5]
    implicit = make_instance(study, name, transfer_syntax="1.2.840.10008.1.2", InstanceNumber="3")
    answer = await client.post("/dicomweb/studies", content=implicit, headers={"content-type": "application/dicom"})
    assert answer.status_code == 200
    answer = await client.get(series.path, headers={"accept": 'multipart/related; type="application/dicom"'})
    files = files_of(answer)
    assert len(files) == COUNT + 1
    assert [data for data in files if data in series.files] == series.files
    assert sum(data not in series.files for data in files) == 1


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
async def test_a_first_instance_that_cannot_be_read_gets_a_status(
    client: httpx.AsyncClient, series: Series, accept: str
) -> None:
    series.fails(0)
    answer = await client.get(series.path, headers={"accept": accept})
    assert answer.status_code == 503
    await until(lambda: series.proxy.under_way == 0)
    assert len(series.proxy.requests) <= AHEAD + 1


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
async def test_one_that_fails_in_mid_stream_breaks_the_answer_off(app: FastAPI, series: Series, accept: str) -> None:
    """Everything in front of it is sent, nothing behind it, and the end is missing (PS3.18 8.6.1.2)."""
    series.fails(20)
    asked = Client(app, series.path, accept)
    with pytest.raises(Exception, match="credentials"):
        await asked.task
    assert asked.status == 200
    assert asked.files_among(series.files) == asked.files_among(series.files[:20]) == 20
    assert not b"".join(asked.body).rstrip().endswith(b"--")
    await until(lambda: series.proxy.under_way == 0)
    assert len(series.proxy.requests) <= 20 + AHEAD + 1


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
@pytest.mark.parametrize("how", ["gone", "cancelled"])
async def test_nothing_is_read_for_a_client_that_has_gone(app: FastAPI, series: Series, accept: str, how: str) -> None:
    asked = Client(app, series.path, accept)
    leave = asked.gone.set if how == "gone" else asked.task.cancel
    asked.on_piece = lambda: leave() if len(asked.body) == 10 else None
    with contextlib.suppress(asyncio.CancelledError):
        await asked.task
    await until(lambda: series.proxy.under_way == 0)
    assert len(series.proxy.requests) <= 10 + AHEAD + 1
    assert asked.files_among(series.files) < COUNT
    store = app.state.door.archive.blobs
    assert len(store._budget._readers) == 0
    await until(lambda: store._streams._work_queue.qsize() == 0)  # what was cancelled there is taken out by the threads


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
async def test_a_cancelled_request_waits_for_nothing_but_its_own_read(
    app: FastAPI, series: Series, accept: str
) -> None:
    let_go = series.hold(5)
    asked = Client(app, series.path, accept)
    await until(lambda: series.proxy.under_way >= AHEAD + 1)
    asked.task.cancel()
    await asyncio.sleep(0.01)
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await asked.task
    await until(lambda: series.proxy.under_way == 0)
    assert len(app.state.door.archive.blobs._budget._readers) == 0


@pytest.mark.parametrize("accept", [MULTIPART, ZIP])
async def test_head_leaves_nothing_behind(app: FastAPI, series: Series, accept: str) -> None:
    asked = Client(app, series.path, accept, "HEAD")
    await asked.task
    assert (asked.status, asked.body) == (200, [])
    await until(lambda: series.proxy.under_way == 0)
    assert len(series.proxy.requests) <= AHEAD + 1
    assert len(app.state.door.archive.blobs._budget._readers) == 0
