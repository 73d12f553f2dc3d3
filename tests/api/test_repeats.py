"""Frames that the server gives again by itself: told, counted and headed as all others, and never other than what is stored now."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop
from fastapi import FastAPI

from app.api import frame_answers
from app.api.frame_answers import SMALL, FrameAnswers
from app.errors import Unavailable
from app.main import create_app
from app.observability import configure_logging
from app.services.archive import Archive
from app.settings import Settings
from tests.support.databases import database_url, postgres_template, sqlite_template
from tests.support.dicom_bytes import make_instance
from tests.support.sockets import connected, serving

__all__ = ["database_url", "postgres_template", "sqlite_template"]

OCTETS = 'multipart/related; type="application/octet-stream"'
# Frames whose answers are kept whole, that are read each time, and that go out as parts of their files.
SIDES = pytest.mark.parametrize("side", [16, 150, 300])
Headers = dict[str, list[str]]


class Asked:
    """How often the application was asked for a frame."""

    number = 0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked, again = Asked(), FrameAnswers.again

    async def counted(answers: FrameAnswers, words: tuple[str, ...], archive: Archive) -> object:
        asked.number += 1
        return await again(answers, words, archive)

    monkeypatch.setattr(FrameAnswers, "again", counted)
    return asked


@pytest.fixture
def application(database_url: str, tmp_path: Path) -> FastAPI:
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url, sync=False, log_level="warning")
    return create_app(settings)


@pytest.fixture
async def port(application: FastAPI) -> AsyncIterator[int]:
    async with serving(application, uvloop.new_event_loop, lifespan="on", access_log=False) as number:
        yield number


async def call(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Headers, bytes]:
    lines = [f"{method} {path} HTTP/1.1", "Host: gantry.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/dicom"]
    async with connected(port) as (reader, writer):
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        found: Headers = {}
        for line in filter(None, rest):
            name, value = line.split(": ", 1)
            found.setdefault(name, []).append(value)
        length = 0 if method == "HEAD" else int(found.get("content-length", ["0"])[0])
        return int(first.split()[1]), found, await reader.readexactly(length)


async def stored(port: int, side: int, grey: int = 1) -> tuple[str, bytes]:
    """The path of the only frame of a new instance, and its bytes."""
    frame = bytes([grey]) * side * side
    status, _, body = await call(
        port, "POST", "/dicomweb/studies", make_instance(rows=side, columns=side, pixel_bytes=frame)
    )
    assert status == 200
    match = re.search(rb"/dicomweb/studies/[0-9./a-z]+/instances/[0-9.]+", body)
    assert match
    return f"{match.group().decode()}/frames/1", frame


async def asked_often(port: int, path: str, times: int = 5, **headers: str) -> list[tuple[int, Headers, bytes]]:
    return [await call(port, "GET", path, accept=OCTETS, **headers) for _ in range(times)]


def is_sqlite(application: FastAPI) -> bool:
    return application.state.door.archive.db.dialect == "sqlite"


@SIDES
async def test_the_same_answer_with_an_id_and_a_time_of_its_own(
    application: FastAPI, port: int, asked: Asked, side: int
) -> None:
    path, frame = await stored(port, side)
    answers = await asked_often(port, path, 8)
    # The first is planned, the second kept, with the third the server is told how; on PostgreSQL it cannot be.
    assert asked.number == (3 if is_sqlite(application) else 8)
    assert {status for status, _, _ in answers} == {200}
    assert all(frame in body for _, _, body in answers)
    assert len({body for _, _, body in answers[1:]}) == 1
    own = ("date", "x-request-id", "server-timing")
    heads = [{name: values for name, values in headers.items() if name not in own} for _, headers, _ in answers[1:]]
    assert all(head == heads[0] for head in heads)
    assert all(len(headers[name]) == 1 for _, headers, _ in answers for name in own)
    assert len({headers["x-request-id"][0] for _, headers, _ in answers}) == 8
    assert all(re.fullmatch(r"app;dur=\d+\.\d\d", headers["server-timing"][0]) for _, headers, _ in answers)


@SIDES
async def test_each_is_counted_and_logged(port: int, capsys: pytest.CaptureFixture[str], side: int) -> None:
    path, _ = await stored(port, side)

    async def counted() -> tuple[float, float]:
        _, _, text = await call(port, "GET", "/metrics")
        labels = rb'{status="200",transaction="retrieve_instance_frames"}'
        seconds = re.search(rb"gantry_request_seconds_count" + labels + rb" (\S+)", text)
        sent = re.search(rb"gantry_response_bytes_total" + labels + rb" (\S+)", text)
        return (float(seconds[1]), float(sent[1])) if seconds and sent else (0.0, 0.0)

    before = await counted()
    capsys.readouterr()
    configure_logging(as_json=False, level="info")
    try:
        answers = await asked_often(port, path, 6)
        await asyncio.sleep(0.05)
    finally:
        configure_logging(as_json=False, level="warning")
    after = await counted()
    assert after[0] - before[0] == 6
    assert after[1] - before[1] == sum(len(body) for _, _, body in answers)
    lines = [line for line in capsys.readouterr().err.splitlines() if path in line]
    assert len(lines) == 6
    for line, (_, headers, body) in zip(lines, answers, strict=True):
        assert f"bytes={len(body)} method=GET" in line
        assert headers["x-request-id"][0] in line
        assert "status=200" in line


@SIDES
async def test_an_id_that_the_client_gives(port: int, side: int) -> None:
    path, _ = await stored(port, side)
    answers = await asked_often(port, path, x_request_id="mine-1")
    assert {tuple(headers["x-request-id"]) for _, headers, _ in answers} == {("mine-1",)}


@SIDES
async def test_origins_and_heads_are_told_apart(application: FastAPI, port: int, side: int) -> None:
    path, frame = await stored(port, side)
    for _, headers, body in await asked_often(port, path):
        assert "access-control-allow-origin" not in headers
        assert "Origin" in headers["vary"]
        assert frame in body
    for _, headers, _ in await asked_often(port, path, origin="https://viewer.test"):
        assert headers["access-control-allow-origin"] == ["*"]
    for _ in range(5):
        status, headers, body = await call(port, "HEAD", path, accept=OCTETS)
        assert (status, body) == (200, b"")
        assert int(headers["content-length"][0]) > side * side
    for _ in range(5):
        single = await call(port, "GET", path, accept="application/octet-stream")
        assert single[2] == frame
        status, _, body = await call(
            port, "GET", path, accept="application/octet-stream", if_none_match=single[1]["etag"][0]
        )
        assert (status, body) == (304, b"")


@SIDES
async def test_what_is_deleted_is_gone_and_what_arrives_changes_nothing(port: int, asked: Asked, side: int) -> None:
    path, frame = await stored(port, side)
    other, _ = await stored(port, side, 2)
    await asked_often(port, path)
    await asked_often(port, other)
    instance = other.removesuffix("/frames/1")
    assert (await call(port, "DELETE", instance))[0] == 204
    assert {status for status, _, _ in await asked_often(port, other)} == {410}
    before = asked.number
    assert all(frame in body for _, _, body in await asked_often(port, path))
    assert asked.number > before  # once at least: something had changed


@SIDES
async def test_a_blob_that_is_lost(application: FastAPI, port: int, tmp_path: Path, side: int) -> None:
    path, _ = await stored(port, side)
    before = await asked_often(port, path)
    for file in (tmp_path / "data" / "blobs").rglob("*.dcm"):
        file.unlink()
    after = await asked_often(port, path)
    if side * side <= SMALL:  # its answer is at hand, and right
        assert [body for _, _, body in after] == [before[-1][2]] * len(after)
    else:
        assert {status for status, _, _ in after} == {500}


async def test_a_database_that_cannot_be_read(
    application: FastAPI, port: int, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    """What fails is told in the usual way."""
    path, _ = await stored(port, 16)
    await asked_often(port, path)
    number = asked.number

    def fails(_: object) -> int:
        raise Unavailable("the database is gone")

    monkeypatch.setattr(frame_answers, "change_number", fails)
    assert {status for status, _, _ in await asked_often(port, path, 3)} == {503}
    assert asked.number == number + 3
