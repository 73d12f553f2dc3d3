"""Bodies that end with their client, and close what feeds them whatever happens."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from app.api import bulkdata_collections
from app.api import metadata as metadata_api
from app.api.responses import StreamingBody
from app.main import create_app
from app.services import explicit_instances
from app.services.codec_threads import CodecThreads
from app.settings import Settings
from tests.support.dicom_bytes import make_instance, new_uid
from tests.support.sockets import connected, serving, until

JPEG_2000 = "1.2.840.10008.1.2.4.90"
EXPLICIT = "1.2.840.10008.1.2.1"
FRAMES = 120
COMMENTS = ("ImageComments", "PatientComments", "VisitComments", "AdditionalPatientHistory")
FEW = 24  # pieces of work that are begun before the client leaves, and those that are made ahead


class Source:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


class Client:
    """Sends these messages at once, and then nothing; keeps what it is sent."""

    def __init__(self, *messages: str) -> None:
        self.waiting = list(messages)
        self.pieces: list[bytes] = []
        self.is_complete = False

    async def receive(self) -> dict[str, Any]:
        if not self.waiting:
            await asyncio.Event().wait()
        return {"type": self.waiting.pop(0)}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.pieces.append(message["body"])
            self.is_complete = not message["more_body"]

    async def get(self, body: AsyncIterator[bytes], source: Source, **scope: object) -> None:
        answer = StreamingBody(body, "text/plain")
        answer.source = source
        await answer({"type": "http", **scope}, self.receive, self.send)


async def pieces() -> AsyncGenerator[bytes, None]:
    for number in range(5):
        yield bytes([number])
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("messages", [(), ("http.request",), ("http.request", "http.request")])
async def test_all_of_it_for_a_client_that_stays(messages: tuple[str, ...]) -> None:
    client, source = Client(*messages), Source()
    await client.get(pieces(), source)
    assert client.pieces == [*(bytes([number]) for number in range(5)), b""]
    assert client.is_complete
    assert source.closed == 1
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("messages", [("http.disconnect",), ("http.request", "http.disconnect")])
async def test_no_more_for_a_client_that_has_gone(messages: tuple[str, ...]) -> None:
    client, source = Client(*messages), Source()
    await client.get(pieces(), source)
    assert len(client.pieces) <= 3, "it takes a turn of the loop to hear of it"
    assert not client.is_complete
    assert source.closed == 1


async def test_what_was_never_begun_is_closed_too() -> None:
    client, source = Client(), Source()
    await client.get(pieces(), source, **{"gantry.head": True})
    assert client.pieces == [b""]
    assert source.closed == 1


async def test_the_source_is_closed_when_closing_the_body_fails() -> None:
    async def stubborn() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            yield b"b"
            yield b"c"
            yield b"d"
        finally:
            raise OSError("the body fails")

    client, source = Client("http.disconnect"), Source()
    with pytest.raises(OSError, match="fails"):
        await client.get(stubborn(), source)
    assert source.closed == 1


class Work:
    """Counts what is done for requests; when `FEW` are done it goes on only once the client has left."""

    def __init__(self) -> None:
        self.done = 0
        self.may_go_on = True
        self.requests = 0

    async def turn(self) -> None:
        self.done += 1
        while self.done > FEW // 2 and not self.may_go_on:  # noqa: ASYNC110 - it is set on another event loop
            await asyncio.sleep(0.001)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    counted = Work()
    run, pages, pieces_of = CodecThreads.run, metadata_api.retrieve_metadata, bulkdata_collections.read_bulkdata

    async def counted_run(threads: CodecThreads, job: Callable[[], Any]) -> Any:
        await counted.turn()
        return await run(threads, job)

    async def counted_texts(*arguments: Any) -> AsyncIterator[Any]:
        async for one in pages(*arguments):
            await counted.turn()
            yield one

    async def counted_pieces(*arguments: Any) -> AsyncIterator[bytes]:
        await counted.turn()
        async for one in pieces_of(*arguments):
            yield one

    monkeypatch.setattr(CodecThreads, "run", counted_run)
    monkeypatch.setattr(metadata_api, "retrieve_metadata", counted_texts)
    monkeypatch.setattr(bulkdata_collections, "read_bulkdata", counted_pieces)
    return counted


@pytest.fixture
async def port(tmp_path: Path, work: Work) -> AsyncIterator[int]:
    settings = Settings(
        data_dir=tmp_path / "data", sync=False, log_level="warning", codec_threads=1, bulkdata_threshold=20_000
    )
    application = create_app(settings)

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        work.requests += 1
        try:
            await application(scope, receive, send)
        finally:
            work.requests -= 1

    async with serving(counting, uvloop.new_event_loop, lifespan="on", access_log=False) as number:
        yield number


async def store(port: int, data: bytes) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(
            f"http://127.0.0.1:{port}/dicomweb/studies", content=data, headers={"content-type": "application/dicom"}
        )
    match = re.search(r"/dicomweb/studies/[0-9./a-z]+/instances/[0-9.]+", answer.text)
    assert match, answer.text
    return match.group()


async def done_for_one_who_leaves(port: int, work: Work, path: str, accept: str) -> int:
    """What was done in all for a client that leaves when the answer begins."""
    work.done, work.may_go_on = 0, False
    try:
        async with asyncio.timeout(30), connected(port) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
            await until(lambda: work.done > FEW // 2)
            writer.transport.abort()
        await asyncio.sleep(0.1)  # until the server has heard of it
    finally:
        work.may_go_on = True
    await until(lambda: not work.requests)
    return work.done


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        pytest.param("/frames/{all}", f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}', id="frames"),
        pytest.param("/frames/{all}/rendered", 'multipart/related; type="image/png"', id="rendered frames"),
        pytest.param("/rendered", "image/gif", id="animation"),
        pytest.param("/pixeldata", f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}', id="bulkdata"),
    ],
)
async def test_no_more_frames_are_made(port: int, work: Work, path: str, accept: str) -> None:
    instance = await store(port, make_instance(rows=64, columns=64, frames=FRAMES))
    numbers = ",".join(str(number + 1) for number in range(FRAMES))
    assert await done_for_one_who_leaves(port, work, instance + path.format(all=numbers), accept) <= FEW


async def test_no_more_of_an_instance_is_decoded(port: int, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explicit_instances, "GROUP_BYTES", 4 * 64 * 64)  # decoded before the answer begins
    instance = await store(port, make_instance(rows=64, columns=64, frames=FRAMES))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(
            f"http://127.0.0.1:{port}{instance}",
            headers={"accept": f"application/dicom; transfer-syntax={JPEG_2000}"},
        )
        assert answer.status_code == 200
    assert await store(port, answer.content) == instance
    accept = f"application/dicom; transfer-syntax={EXPLICIT}"
    assert await done_for_one_who_leaves(port, work, instance, accept) <= FEW
    related = f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}'
    assert await done_for_one_who_leaves(port, work, instance, related) <= FEW


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        pytest.param("/metadata", 'multipart/related; type="application/dicom+xml"', id="XML"),
        pytest.param("/metadata?includefield={all}", "application/dicom+json", id="JSON"),
        pytest.param("/bulkdata", 'multipart/related; type="application/octet-stream"', id="bulkdata"),
    ],
)
async def test_no_more_instances_are_read(port: int, work: Work, path: str, accept: str) -> None:
    study, series = new_uid(), new_uid()
    for _ in range(60):
        # A few of them make a piece of the answer.
        data = make_instance(study, series, rows=200, columns=200, **dict.fromkeys(COMMENTS, "c" * 10_000))
        instance = await store(port, data)
    assert (
        await done_for_one_who_leaves(
            port, work, instance.split("/series/")[0] + path.format(all=",".join(COMMENTS)), accept
        )
        <= FEW
    )
