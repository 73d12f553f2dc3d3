"""Request bodies in content codings, answers in content codings, and their bounds."""

import gzip
import zlib

import httpx
import pytest
import zstandard
from fastapi import FastAPI

from app.api.compression import _coding
from app.main import create_app
from app.settings import Settings
from tests.support.dicom_bytes import make_instance, new_uid

DICOM = {"content-type": "application/dicom"}


async def stored(client: httpx.AsyncClient, count: int = 1) -> str:
    study = new_uid()
    for number in range(count):
        data = make_instance(study, InstanceNumber=str(number), PatientName="Doe^Jane")
        answer = await client.post("/dicomweb/studies", content=data, headers=DICOM)
        assert answer.status_code == 200, answer.text
    return study


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    ],
)
async def test_coded_uploads_are_decoded(client: httpx.AsyncClient, coding: str, encode: object) -> None:
    data = make_instance()
    body = encode(data)  # type: ignore[operator]
    answer = await client.post("/dicomweb/studies", content=body, headers={**DICOM, "content-encoding": coding})
    assert answer.status_code == 200
    url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    back = await client.get(url, headers={"accept": "application/dicom; transfer-syntax=*"})
    assert back.content == data


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(make_instance())[:-20], b""])
async def test_broken_gzip_is_a_bad_request(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/dicomweb/studies", content=body, headers={**DICOM, "content-encoding": "gzip"})
    assert answer.status_code == 400
    assert (await client.get("/dicomweb/instances")).json() == []


async def test_unknown_coding_is_said_before_the_body_is_read(client: httpx.AsyncClient) -> None:
    answer = await client.post("/dicomweb/studies", content=b"x", headers={**DICOM, "content-encoding": "br"})
    assert answer.status_code == 415


async def test_bomb_is_stopped_at_the_limit(tmp_path: object) -> None:
    app: FastAPI = create_app(Settings(data_dir=tmp_path, sync=False, max_request_bytes=100_000, log_level="warning"))  # type: ignore[arg-type]
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gantry.test") as client:
            bomb = gzip.compress(bytes(50_000_000))
            assert len(bomb) < 100_000
            answer = await client.post("/dicomweb/studies", content=bomb, headers={**DICOM, "content-encoding": "gzip"})
            assert answer.status_code == 413
            answer = await client.post("/dicomweb/studies", content=bytes(100_001), headers=DICOM)
            assert answer.status_code == 413


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd, gzip", "zstd"),
        ("gzip, zstd;q=0.5", "gzip"),
        ("br", ""),
        ("gzip;q=0", ""),
        ("", ""),
        ("gzip;q=x", ""),
        ("identity", ""),
    ],
)
def test_best_coding_that_the_client_takes(accepted: str, coding: str) -> None:
    assert _coding(accepted) == coding


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_metadata_is_coded_and_its_tag_weakened(client: httpx.AsyncClient, coding: str) -> None:
    study = await stored(client, 3)
    url = f"/dicomweb/studies/{study}/metadata"
    plain = await client.get(url, headers={"accept-encoding": "identity"})
    async with client.stream("GET", url, headers={"accept-encoding": coding}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == coding
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert answer.headers["etag"] == f"W/{plain.headers['etag']}"
    decoded = gzip.decompress(raw) if coding == "gzip" else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    assert decoded == plain.content
    again = await client.get(url, headers={"accept-encoding": coding, "if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_pixels_are_never_coded(client: httpx.AsyncClient) -> None:
    study = await stored(client)
    answer = await client.get(f"/dicomweb/studies/{study}", headers={"accept-encoding": "gzip, zstd"})
    assert "content-encoding" not in answer.headers


async def test_small_answers_stay_plain(client: httpx.AsyncClient) -> None:
    answer = await client.get("/dicomweb/studies", headers={"accept-encoding": "gzip"})
    assert answer.content == b"[]"
    assert "content-encoding" not in answer.headers
