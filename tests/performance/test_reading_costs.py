"""What reading may cost: statements, ranges and bytes, the same for the first frame and for the last of very many."""

import asyncio
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from imagecodecs import jpeg2k_encode

from app.asgi_extensions import SEND_FILES
from app.blobs.local import OPEN_AT_ONCE
from app.db import prepared_json
from app.db.prepared_json import metadata_from_row
from app.services import transcoding
from tests.performance.conftest import Store
from tests.support.counting_blobs import Traffic
from tests.support.databases import StatementCounter
from tests.support.dicom_bytes import make_instance, new_uid

NATIVE = {"accept": 'multipart/related; type="application/octet-stream"'}
SINGLE = {"accept": "application/octet-stream"}
STORED = {"accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
JSON = {"accept": "application/dicom+json"}
JPEG_BASELINE, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"
SIDE = 8


def native(frames: int) -> bytes:
    return make_instance(rows=SIDE, columns=SIDE, frames=frames, sop_class="1.2.840.10008.5.1.4.1.1.7.2")


def encapsulated(frames: int) -> tuple[bytes, list[bytes]]:
    fragments = [b"\xff\xd8" + f"{number:010d}".encode() + b"\xff\xd9" for number in range(1, frames + 1)]
    data = make_instance(
        rows=SIDE,
        columns=SIDE,
        frames=frames,
        transfer_syntax=JPEG_BASELINE,
        pixel_bytes=fragments,
        sop_class="1.2.840.10008.5.1.4.1.1.7.2",
    )
    return data, fragments


@pytest.mark.parametrize("frames", [1, 30, 5000])
async def test_a_native_frame(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter, frames: int
) -> None:
    path = await store(native(frames))
    for number in {1, frames // 2 or 1, frames}:
        for headers in (NATIVE, SINGLE):
            traffic.clear()
            with statement_counter.counting(1):
                answer = await client.get(f"{path}/frames/{number}", headers=headers)
            assert answer.status_code == 200
            assert [len(ranges) for ranges in traffic.reads] == [1]
            assert traffic.read == SIDE * SIDE


async def test_a_frame_that_is_asked_for_again(
    app: FastAPI, client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter
) -> None:
    """On SQLite nothing is looked up as long as nothing changes, whether anything did is asked; what changes costs one look-up.
    A small frame is read twice."""
    path = await store(native(5000))
    look_up, ask = "SELECT studies.study_instance_uid", "PRAGMA data_version"
    is_sqlite = app.state.door.archive.db.dialect == "sqlite"
    answers = []

    async def get_frame(*expected: str) -> None:
        await asyncio.sleep(0)  # requests of one turn of the loop share what is asked
        traffic.clear()
        before = len(statement_counter.statements)
        answers.append(await client.get(f"{path}/frames/4000", headers=NATIVE))
        sent = statement_counter.statements[before:]
        assert len(sent) == len(expected), sent
        assert all(map(str.startswith, sent, expected)), sent
        assert traffic.read == (SIDE * SIDE if len(answers) <= 2 else 0)

    again = [ask] if is_sqlite else [look_up]
    changed = [ask, look_up] if is_sqlite else [look_up]
    for statements in ([look_up], [look_up], changed, again, again):
        await get_frame(*statements)
    await store(native(1))
    for statements in (changed, again):
        await get_frame(*statements)
    assert len({answer.content for answer in answers[1:]}) == 1
    boundaries = [answer.content.split(b"\r\n", 1)[0] for answer in answers]
    assert answers[0].content.replace(boundaries[0], boundaries[1]) == answers[1].content


@pytest.mark.parametrize("frames", [1, 30, 5000])
async def test_an_encapsulated_frame(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter, frames: int
) -> None:
    data, fragments = encapsulated(frames)
    path = await store(data)
    for number in {1, frames // 2 or 1, frames}:
        traffic.clear()
        with statement_counter.counting(1):
            answer = await client.get(f"{path}/frames/{number}", headers=STORED)
        assert fragments[number - 1] in answer.content
        assert [len(ranges) for ranges in traffic.reads] == [1]
        assert traffic.read == len(fragments[number - 1])


async def test_frames_side_by_side_are_one_read(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter
) -> None:
    path = await store(native(50))
    with statement_counter.counting(1):
        answer = await client.get(f"{path}/frames/{','.join(map(str, range(11, 41)))}", headers=NATIVE)
    assert answer.status_code == 200
    assert len(traffic.reads) == 1
    assert traffic.read == 30 * SIDE * SIDE


async def test_a_decoded_frame_reads_itself_alone_and_once(
    client: httpx.AsyncClient,
    store: Store,
    traffic: Traffic,
    statement_counter: StatementCounter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transcoding, "WORTH_KEEPING", 0.0)  # whether it is kept must not hang on the clock
    images = [np.full((64, 64), number, np.uint8) for number in range(100)]
    coded = [jpeg2k_encode(image, level=0, codecformat="j2k") for image in images]
    path = await store(make_instance(rows=64, columns=64, frames=100, transfer_syntax=JPEG_2000, pixel_bytes=coded))
    with statement_counter.counting(1):
        answer = await client.get(f"{path}/frames/70", headers=SINGLE)
    assert answer.content == images[69].tobytes()
    assert traffic.read <= len(coded[69]) + 1
    traffic.clear()
    with statement_counter.counting(1):
        again = await client.get(f"{path}/frames/70", headers=SINGLE)
    assert again.content == answer.content
    assert traffic.reads == []


async def test_an_instance_is_read_once_from_end_to_end(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter
) -> None:
    data = native(40)
    path = await store(data)
    with statement_counter.counting(1):
        answer = await client.get(path, headers={"accept": "application/dicom; transfer-syntax=*"})
    assert answer.content == data
    assert len(traffic.reads) == 1
    assert traffic.read == len(data)


async def test_a_series_is_located_by_one_statement(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter
) -> None:
    study, series = new_uid(), new_uid()
    files = [make_instance(study, series, InstanceNumber=str(number)) for number in range(20)]
    for data in files:
        path = await store(data)
    with statement_counter.counting(1):
        answer = await client.get(
            path.split("/instances/")[0],
            headers={"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
        )
    assert answer.status_code == 200
    assert len(traffic.reads) == len(files)
    assert traffic.read == sum(map(len, files))


@pytest.mark.parametrize("level", ["study", "series"])
async def test_metadata_never_reads_blobs_and_is_made_once(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter, level: str
) -> None:
    study = new_uid()
    for _ in range(3):
        series = new_uid()
        for number in range(5):
            path = await store(make_instance(study, series, InstanceNumber=str(number)))
    path = path.split("/series/" if level == "study" else "/instances/")[0] + "/metadata"
    first = await client.get(path, headers=JSON)
    with statement_counter.counting(1):
        warm = await client.get(path, headers=JSON)
    assert len(warm.json()) == (15 if level == "study" else 5)
    assert warm.content == first.content
    with statement_counter.counting(1):
        unchanged = await client.get(path, headers={**JSON, "if-none-match": warm.headers["etag"]})
    assert unchanged.status_code == 304
    assert traffic.reads == []


async def test_a_search_is_one_statement_and_on_sqlite_one_more_to_count(
    app: FastAPI, client: httpx.AsyncClient, store: Store, traffic: Traffic, statement_counter: StatementCounter
) -> None:
    for number in range(12):
        path = await store(make_instance(PatientID=f"P{number // 6}"))
    study = path.split("/series/")[0]
    with_count = 2 if app.state.door.archive.db.dialect == "sqlite" else 1
    for query, statements, found in (
        ("/dicomweb/studies", 1, 12),
        ("/dicomweb/studies?PatientID=P1", 1, 6),
        ("/dicomweb/studies?PatientID=P1&limit=2", with_count, 2),
        ("/dicomweb/studies?PatientID=nobody", 1, 0),
        ("/dicomweb/studies?PatientID=P*", 1, 12),
        ("/dicomweb/studies?PatientID=*1&limit=2", 2, 2),  # how many studies there are decides the way
        ("/dicomweb/studies?PatientName=*&offset=3&limit=4", with_count, 4),
        (f"{study}/series", 1, 1),
        (f"{study}/instances", 1, 1),
    ):
        with statement_counter.counting(statements):
            answer = await client.get(query, headers=JSON)
        assert len(answer.json()) == found
    assert traffic.reads == []


async def test_a_search_for_instances_unpacks_no_metadata(
    client: httpx.AsyncClient, store: Store, statement_counter: StatementCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = 0

    def unpack(stored: bytes) -> dict[str, Any]:
        nonlocal unpacked
        unpacked += 1
        return metadata_from_row(stored)

    monkeypatch.setattr(prepared_json, "metadata_from_row", unpack)
    study, series = new_uid(), new_uid()
    for number in range(3):
        path = await store(make_instance(study, series, InstanceNumber=str(number)))
    for query, expected in (("", 0), ("?includefield=NumberOfFrames", 0), ("?includefield=BitsStored", 3)):
        unpacked = 0
        with statement_counter.counting(1):
            answer = await client.get(f"{path.rpartition('/')[0]}{query}", headers=JSON)
        assert len(answer.json()) == 3
        assert unpacked == expected


@pytest.mark.parametrize("headers", [NATIVE, SINGLE], ids=["multipart", "single"])
async def test_a_large_frame_is_never_held_whole(
    client: httpx.AsyncClient,
    app: FastAPI,
    store: Store,
    traffic: Traffic,
    statement_counter: StatementCounter,
    headers: dict[str, str],
) -> None:
    side = 1500
    pixels = np.arange(2 * side * side, dtype=np.uint16)
    path = await store(make_instance(rows=side, columns=side, frames=2, BitsAllocated=16, pixel_bytes=pixels.tobytes()))
    pieces = await body_messages(app, f"{path}/frames/2", headers)
    frame = pixels[side * side :].tobytes()
    assert frame in b"".join(pieces)
    assert max(map(len, pieces)) <= 1 << 20
    assert traffic.read == len(frame)
    traffic.clear()
    with statement_counter.counting(1):
        both = await client.get(f"{path}/frames/2,1", headers=NATIVE)
    assert frame in both.content
    assert pixels[: side * side].tobytes() in both.content
    assert traffic.read == 2 * len(frame)
    if headers is SINGLE:
        traffic.clear()
        part = await client.get(f"{path}/frames/2", headers={**SINGLE, "range": "bytes=1000000-1000009"})
        assert (part.status_code, part.content) == (206, frame[1000000:1000010])
        assert traffic.read == 10


async def test_a_large_frame_of_fragments(client: httpx.AsyncClient, store: Store, traffic: Traffic) -> None:
    size = 700_000
    fragments = [bytes([65 + number]) * size for number in range(3)]
    path = await store(make_instance(transfer_syntax=JPEG_BASELINE, pixel_bytes=fragments))
    answer = await client.get(f"{path}/frames/1", headers=STORED)
    assert b"".join(fragments) in answer.content
    assert traffic.read == 3 * size
    single = {"accept": "application/octet-stream; transfer-syntax=*"}
    for first, last in (
        (0, 9),
        (size - 5, size + 4),
        (size * 2 - 1, size * 2),
        (0, size * 3 - 1),
        (size * 3 - 7, size * 3 - 1),
    ):
        traffic.clear()
        part = await client.get(f"{path}/frames/1", headers={**single, "range": f"bytes={first}-{last}"})
        assert part.content == b"".join(fragments)[first : last + 1]
        assert traffic.read == last + 1 - first


async def test_files_of_a_series_go_out_together(app: FastAPI, store: Store) -> None:
    """Every message passes all layers: where the server takes files, many small ones are one message."""
    study, series = new_uid(), new_uid()
    files = [make_instance(study, series, InstanceNumber=str(number)) for number in range(100)]
    for data in files:
        path = await store(data)
    headers = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    as_bytes = b"".join(await body_messages(app, path.split("/instances/")[0], headers))
    pieces = await body_messages(app, path.split("/instances/")[0], headers, takes_files=True)
    assert len(pieces) <= 3 + -(-100 // OPEN_AT_ONCE)
    boundaries = [body.split(b"\r\n", 1)[0] for body in (as_bytes, b"".join(pieces))]
    assert b"".join(pieces).replace(boundaries[1], boundaries[0]) == as_bytes
    assert all(data in as_bytes for data in files)


async def body_messages(app: FastAPI, path: str, headers: dict[str, str], *, takes_files: bool = False) -> list[bytes]:
    """The pieces in which an answer is handed to the server."""
    pieces: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        files = message.get("files", ())
        piece = message.get("body", b"") + b"".join([chunk for file in files async for chunk in file.read()])
        assert message.get("count") in (None, len(piece))
        pieces.append(piece)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("gantry.test", 80),
        "extensions": {SEND_FILES: {}} if takes_files else {},
    }
    await app(scope, receive, send)
    return pieces
