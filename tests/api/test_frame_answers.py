"""Frames that are asked for again and again: quicker, and never other than what is stored now, whoever changed that."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app import main
from app.api import frame_answers
from app.main import create_app
from app.settings import Settings
from tests.blobs.backend import open_below, until
from tests.support.databases import database_url, postgres_template, sqlite_template
from tests.support.dicom_bytes import make_instance, new_uid

__all__ = ["database_url", "postgres_template", "sqlite_template"]

OCTETS = 'multipart/related; type="application/octet-stream"'
ANY_SYNTAX = f"{OCTETS}; transfer-syntax=*"
# Frames whose answers are kept whole, that are read each time, and that go out as parts of their files.
SIDES = pytest.mark.parametrize("side", [16, 150, 300])


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        sync=False,
        log_level="warning",
        trust_forwarded=True,
    )


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def other_process(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Another application on the same archive."""
    application = create_app(settings)
    async with application.router.lifespan_context(application), _client_of(application) as one:
        yield one


def _client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gantry.test")


async def store(client: httpx.AsyncClient, data: bytes) -> str:
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return url


def image(side: int, grey: int = 1, **uids: str) -> tuple[bytes, bytes]:
    """An instance, and its only frame."""
    frame = bytes([grey]) * side * side
    return make_instance(**uids, rows=side, columns=side, pixel_bytes=frame), frame


async def get(client: httpx.AsyncClient, url: str, accept: str = OCTETS, **headers: str) -> httpx.Response:
    return await client.get(f"{url}/frames/1", headers={"accept": accept, **headers})


async def asked_often(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The last of several answers, all of which are alike."""
    answers = [await get(client, url) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers[1:]}) == 1
    return answers[-1]


@SIDES
async def test_what_another_process_deletes_is_gone_at_once(
    client: httpx.AsyncClient, other_process: httpx.AsyncClient, side: int
) -> None:
    data, frame = image(side)
    url = await store(client, data)
    assert frame in (await asked_often(client, url)).content
    assert (await other_process.delete(url)).status_code == 204
    assert (await get(client, url)).status_code == 410
    assert (await get(client, url)).status_code == 410


async def test_what_is_read_while_others_are_planned_asks_for_itself(app: FastAPI, client: httpx.AsyncClient) -> None:
    """The server gives answers again while it reads: what was found out before, in the same turn of the loop, may be old."""
    data, frame = image(16)
    url = await store(client, data)
    await asked_often(client, url)
    door = app.state.door
    ((words, kept),) = door.frame_answers._kept.items()
    answer = await door.frame_answers.again(words, door.archive)
    if door.archive.db.dialect != "sqlite":
        assert answer.again is None
        return
    assert frame in b"".join(answer.again())
    change = sqlite3.connect(str(door.archive.db.engine.url.database), isolation_level=None)

    def planned() -> None:
        with pytest.raises(StopIteration):  # it waits for nothing
            door.frame_answers.again(words, door.archive).send(None)

    await asyncio.sleep(0)
    planned()
    change.execute("CREATE TABLE unrelated (value)")
    assert answer.again() is None
    await asyncio.sleep(0)
    planned()
    assert frame in b"".join(answer.again())
    change.close()
    assert kept.change_number is not None


@SIDES
async def test_what_another_process_replaces_is_the_new_one_at_once(
    client: httpx.AsyncClient, other_process: httpx.AsyncClient, side: int
) -> None:
    uids = {"study": new_uid(), "series": new_uid(), "sop": new_uid()}
    data, frame = image(side, 1, **uids)
    url = await store(client, data)
    assert frame in (await asked_often(client, url)).content
    for grey in (2, 3):
        data, frame = image(side, grey, **uids)
        assert await store(other_process, data) == url
        assert frame in (await get(client, url)).content
        assert frame in (await asked_often(client, url)).content


@SIDES
async def test_what_is_deleted_and_stored_again(client: httpx.AsyncClient, side: int) -> None:
    data, frame = image(side)
    url = await store(client, data)
    await asked_often(client, url)
    assert (await client.delete(url)).status_code == 204
    assert (await get(client, url)).status_code == 410
    await store(client, data)
    assert frame in (await asked_often(client, url)).content


@SIDES
async def test_studies_that_arrive_meanwhile_change_nothing(client: httpx.AsyncClient, side: int) -> None:
    data, _ = image(side)
    url = await store(client, data)
    before = await asked_often(client, url)
    for _ in range(3):
        await store(client, image(side, 9)[0])
        assert (await get(client, url)).content == before.content


@SIDES
async def test_many_at_once_while_studies_arrive(client: httpx.AsyncClient, side: int) -> None:
    frames = {}
    for grey in range(8):
        data, frame = image(side, grey)
        frames[await store(client, data)] = frame

    async def look(url: str, frame: bytes) -> None:
        for _ in range(10):
            assert frame in (await get(client, url)).content

    arriving = [store(client, image(side, 99)[0]) for _ in range(5)]
    await asyncio.gather(*(look(*one) for one in frames.items()), *(look(*one) for one in frames.items()), *arriving)


async def test_who_asks_in_other_words_gets_another_answer(client: httpx.AsyncClient) -> None:
    data, frame = image(300)
    url = await store(client, data)
    answer = await asked_often(client, url)
    for name, value, location in (
        ("host", "pacs.example:8042", "http://pacs.example:8042/dicomweb/studies/"),
        ("x-forwarded-proto", "https", "https://gantry.test/dicomweb/studies/"),
        ("x-forwarded-prefix", "/pacs", "http://gantry.test/pacs/dicomweb/studies/"),
        ("forwarded", "host=images.example;proto=https", "https://images.example/dicomweb/studies/"),
    ):
        for _ in range(4):
            other = await get(client, url, **{name: value})
            assert f"Content-Location: {location}".encode() in other.content
            assert frame in other.content
    for _ in range(4):
        assert (await get(client, url, "text/html")).status_code == 406
        single = await get(client, url, "application/octet-stream")
        assert single.content == frame
        known = await get(client, url, "application/octet-stream", **{"if-none-match": single.headers["etag"]})
        assert known.status_code == 304
    assert (await get(client, url)).content == answer.content


async def test_the_head_alone(client: httpx.AsyncClient) -> None:
    url = await store(client, image(300)[0])
    answer = await asked_often(client, url)
    for _ in range(4):
        head = await client.head(f"{url}/frames/1", headers={"accept": OCTETS})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(answer.content))


async def test_frames_that_are_converted(client: httpx.AsyncClient) -> None:
    """Big-endian words, and frames of one bit a pixel that begin within a byte, never go out as they lie."""
    big_endian = bytes(range(32))
    url = await store(
        client,
        make_instance(transfer_syntax="1.2.840.10008.1.2.2", BitsAllocated=16, pixel_bytes=big_endian),
    )
    words = b"".join([big_endian[at : at + 2][::-1] for at in range(0, 32, 2)])
    for _ in range(4):
        assert words in (await get(client, url)).content
    packed = make_instance(
        rows=3, columns=3, frames=2, BitsAllocated=1, BitsStored=1, HighBit=0, pixel_bytes=b"\xff\x01\x02\x00"
    )
    url = await store(client, packed)
    for _ in range(4):
        second = (await client.get(f"{url}/frames/2", headers={"accept": OCTETS})).content
        assert b"\r\n\r\n\x00\x01\r\n--" in second  # bits 9 to 17 of ff 01 02


async def test_no_file_is_held_open(app: FastAPI, client: httpx.AsyncClient, tmp_path: Path) -> None:
    url = await store(client, image(300)[0])
    await asked_often(client, url)
    app.state.door.archive.blobs.close_idle_files()

    await until(lambda: not open_below(tmp_path / "data" / "blobs"))  # the thread that opened it lets go a moment after
    assert (await get(client, url)).status_code == 200


async def test_what_was_swept_is_not_held_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another process, while nobody asks for anything."""
    monkeypatch.setattr(main, "UNUSED_FILES_SECONDS", 0.01)
    app = main.create_app(Settings(data_dir=tmp_path / "data", sync=False, log_level="warning"))
    blobs = tmp_path / "data" / "blobs"
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gantry.test") as client,
    ):
        url = await store(client, image(300)[0])
        await asked_often(client, url)
        for path in blobs.rglob("*.dcm"):
            path.unlink()
        await until(lambda: not open_below(blobs))


async def test_so_much_is_kept_and_no_more(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_answers, "MOST", 3)
    answers = app.state.door.frame_answers
    urls = [await store(client, image(16, grey)[0]) for grey in range(5)]
    for url in urls:
        await get(client, url)
    assert len(answers) == 0  # nothing for what is asked for once
    for url in urls:
        await asked_often(client, url)
        assert len(answers) <= 3
    assert len(answers) == 3
    for _ in range(4):
        long = await client.get(f"{urls[0]}/frames/1", params={"x": "y" * 3000}, headers={"accept": OCTETS})
        assert long.status_code == 200
    assert len(answers) == 3
    assert bytes([4]) * 256 in (await get(client, urls[-1])).content
