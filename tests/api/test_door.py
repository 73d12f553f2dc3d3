"""What every answer has in common: ids, methods, reports, health, metrics."""

import httpx
import pytest
from fastapi import FastAPI

from app.errors import BlobNotFound, BlobStoreUnavailable, DatabaseUnavailable
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


async def test_the_root_says_where_everything_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/", headers={"host": "pacs.test:8080"})
    assert answer.status_code == 200
    assert "http://pacs.test:8080/dicomweb" in answer.text
    hostile = await client.get("/", headers={"host": "<script>alert(1)</script>"})
    assert "<script>" not in hostile.text
