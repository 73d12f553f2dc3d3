"""What every answer has in common: ids, methods, reports, health, metrics."""

import asyncio
import io
import json
import logging
import re
import select
import sys

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.errors import BlobNotFound, BlobStoreUnavailable, DatabaseUnavailable
from app.observability import configure_logging, log_request
from tests.support.dicom_bytes import make_instance

UNKNOWN = "/dicomweb/studies/1.2.3"


async def test_alive_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("part", ["database", "blobs"])
async def test_not_ready_without_a_part(
    client: httpx.AsyncClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away") if part == "database" else BlobStoreUnavailable("away")

    if part == "database":
        monkeypatch.setattr("app.api.health.ping", away)
    else:
        monkeypatch.setattr(type(app.state.door.archive.blobs), "stat", away)
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()[part] == "away"


async def test_request_id_is_taken_or_given(client: httpx.AsyncClient) -> None:
    given = await client.get("/healthz", headers={"x-request-id": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    for bad in ("x" * 200, "a\tb"):
        answer = await client.get("/healthz", headers={"x-request-id": bad})
        assert answer.headers["x-request-id"] not in ("", bad)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json", "application/problem+json"),
        ("text/plain", "text/plain"),
        ("application/dicom", "text/html"),
    ],
)
async def test_failures_explain_themselves(client: httpx.AsyncClient, accept: str, content_type: str) -> None:
    answer = await client.get(UNKNOWN, headers={"accept": f"{accept}, */*;q=0.1"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith(content_type)


async def test_every_line_of_accept_counts_for_a_failure(client: httpx.AsyncClient) -> None:
    answer = await client.get(UNKNOWN, headers=[("accept", "application/dicom"), ("accept", "text/plain")])
    assert answer.headers["content-type"].startswith("text/plain")


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    await client.post("/dicomweb/studies", content=make_instance(), headers={"content-type": "application/dicom"})
    (study,) = (await client.get("/dicomweb/studies")).json()
    url = f"/dicomweb/studies/{study['0020000D']['Value'][0]}/metadata"
    got, head = await client.get(url), await client.head(url)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_unforeseen_error_is_a_500_that_tells_nothing(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr("app.api.search.search", broken)
    answer = await client.get("/dicomweb/studies")
    assert answer.status_code == 500
    assert "Doe" not in answer.text
    assert answer.headers["x-request-id"]


async def test_an_error_beyond_the_direct_routes_is_told_in_the_same_way(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr("app.shared_metrics.SharedMetrics.text", broken)
    answer = await client.get("/metrics", headers={"accept": "application/json"})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "Doe" not in answer.text
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/healthz", "/dicomweb/studies", UNKNOWN, "/nowhere"])
async def test_every_answer_tells_how_long_it_took(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        timing = (await client.request(method, path)).headers["server-timing"]
        assert re.fullmatch(r"app;dur=[0-9]+\.[0-9]{2}", timing), timing


async def test_request_ids_are_never_the_same(client: httpx.AsyncClient) -> None:
    ids = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("as_json", [True, False])
async def test_each_request_has_one_line_in_the_log(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logging(as_json=as_json, level="info")
    try:
        await client.get("/dicomweb/studies/1.2%0A%ED%A0%80", headers={"x-request-id": "the-id"})
        await asyncio.sleep(0)  # lines are written at the end of a turn of the loop
    finally:
        configure_logging(as_json=False, level="warning")
    lines = [line for line in capsys.readouterr().err.splitlines() if "the-id" in line]
    assert len(lines) == 1
    if as_json:
        told = json.loads(lines[0])
        assert (told["event"], told["status"], told["method"]) == ("request", 400, "GET")
        assert told["bytes"] > 0
    else:
        assert " request " in lines[0]
        assert "status=400" in lines[0]


async def test_lines_of_requests_go_out_together_in_parts_that_a_pipe_takes_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    configure_logging(as_json=False, level="info")
    monkeypatch.setattr(sys, "stderr", Pipe())
    try:
        for number in range(100):
            log_request("GET", f"/{'ü' * number}", 200, 10, 1.5, f"id-{number}")
        assert not written
        await asyncio.sleep(0)
        assert 1 < len(written) < 20
        assert max(len(text.encode()) for text in written) <= select.PIPE_BUF
        assert all(text.endswith("\n") for text in written)
        lines = "".join(written).splitlines()
        assert [re.search(r"id-(\d+)", line)[1] for line in lines] == [str(number) for number in range(100)]
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[info", line) for line in lines)
        written.clear()
        await asyncio.to_thread(log_request, "GET", "/", 200, 10, 1.5, "of no event loop")
        assert len(written) == 1
    finally:
        configure_logging(as_json=False, level="warning")


def test_the_server_makes_no_line_of_its_own_for_a_request() -> None:
    """uvicorn makes one for each request if its logger has a handler somewhere, even if it is dropped."""
    configure_logging(as_json=False, level="info")  # here, for pytest adds handlers of its own to every logger
    try:
        assert not logging.getLogger("uvicorn.access").hasHandlers()
        assert logging.getLogger("uvicorn.error").hasHandlers()
    finally:
        configure_logging(as_json=False, level="warning")


async def test_damaged_archive_is_a_500_and_database_away_a_503(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def missing(*_: object, **__: object) -> None:
        raise BlobNotFound("instances/1.2/secret key")

    monkeypatch.setattr("app.api.search.search", missing)
    answer = await client.get("/dicomweb/studies")
    assert answer.status_code == 500
    assert "secret" not in answer.text

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr("app.api.search.search", away)
    answer = await client.get("/dicomweb/studies")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


async def test_metrics_count_by_transaction(client: httpx.AsyncClient) -> None:
    await client.get("/dicomweb/studies")
    text = (await client.get("/metrics")).text
    assert 'gantry_request_seconds_count{status="200",transaction="search_for_studies"}' in text


async def test_a_request_is_counted_with_its_time_and_the_bytes_of_both_bodies(client: httpx.AsyncClient) -> None:
    async def counted(name: str, **labels: str) -> float:
        text = (await client.get("/metrics")).text
        (family,) = [one for one in text_string_to_metric_families(text) if name.startswith(one.name)]
        wanted = {"transaction": "store_instances", "status": "200", **labels}
        return sum(one.value for one in family.samples if one.name == name and one.labels == wanted)

    names = ("gantry_request_bytes_total", "gantry_response_bytes_total", "gantry_request_seconds_count")
    before = [await counted(name) for name in names]
    body = make_instance()
    headers = {"content-type": "application/dicom", "accept-encoding": "identity"}
    answer = await client.post("/dicomweb/studies", content=body, headers=headers)
    assert answer.status_code == 200
    after = [await counted(name) for name in names]
    assert [new - old for old, new in zip(before, after, strict=True)] == [len(body), len(answer.content), 1]
    # Each bucket holds what took at most so long; nothing takes five minutes.
    buckets = [await counted("gantry_request_seconds_bucket", le=bound) for bound in ("0.001", "1.0", "300.0", "+Inf")]
    assert buckets == sorted(buckets)
    assert buckets[2:] == [after[2], after[2]]
    assert await counted("gantry_request_seconds_sum") > 0


async def test_the_root_says_where_everything_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers={"host": "pacs.test:8080"})
    assert answer.status_code == 200
    assert "http://pacs.test:8080/dicomweb" in answer.text
    hostile = await client.get("/", headers={"host": "<script>alert(1)</script>"})
    assert "<script>" not in hostile.text
