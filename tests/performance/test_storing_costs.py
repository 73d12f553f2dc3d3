"""What storing may cost: each byte is written once and hashed once, each header is read once, however it arrives."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.blobs import spool
from app.blobs.digests import BlobHash
from app.dicom.header import parse_head, parse_instance
from app.services import store_group as service
from tests.performance.conftest import Store
from tests.support.counting_blobs import Traffic
from tests.support.databases import StatementCounter
from tests.support.dicom_bytes import make_instance, new_uid
from tests.support.http import build_multipart, store_headers


class Hashed:
    """Stands in for BlobHash in app.blobs.spool and counts the bytes on their way to the real thing."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self) -> "Hashing":
        return Hashing(self)


class Hashing(BlobHash):
    __slots__ = ("_counts",)

    def __init__(self, counts: Hashed) -> None:
        super().__init__()
        self._counts = counts

    def update(self, data: Any) -> None:
        self._counts.bytes += len(data)
        super().update(data)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Hashed:
    counts = Hashed()
    monkeypatch.setattr(spool, "BlobHash", counts)
    return counts


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much was looked at of the files whose headers were read."""
    sizes: list[int] = []

    def counting(parse: Callable[..., Any]) -> Callable[..., Any]:
        def counted(data: Any, *rest: Any, **options: Any) -> Any:
            sizes.append(len(data))
            return parse(data, *rest, **options)

        return counted

    for parse in (parse_head, parse_instance):
        monkeypatch.setattr(service, parse.__name__, counting(parse))
    return sizes


def files_of(count: int, size: int) -> list[bytes]:
    study, series = new_uid(), new_uid()
    return [
        make_instance(study, series, rows=size, columns=size, InstanceNumber=str(number)) for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "size", "chunk", "is_whole"),
    [(10, 16, 1 << 16, False), (10, 16, 100, False), (10, 700, 1 << 16, False), (3, 1500, 1 << 16, True)],
)
async def test_one_pass_over_the_body(
    client: httpx.AsyncClient,
    traffic: Traffic,
    hashed: Hashed,
    parsed: list[int],
    count: int,
    size: int,
    chunk: int,
    is_whole: bool,
) -> None:
    """Of an image that is in memory the first bytes are enough: its pieces are never joined (is_whole)."""
    files = files_of(count, size)
    boundary, body = build_multipart(files)

    async def chunks() -> Any:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    answer = await client.post("/dicomweb/studies", content=chunks(), headers=store_headers(boundary))
    assert answer.status_code == 200, answer.text
    total = sum(map(len, files))
    assert traffic.written == hashed.bytes == total
    assert sorted(parsed) == sorted(len(file) if is_whole else min(len(file), service.HEAD_BYTES) for file in files)
    assert (traffic.digests, traffic.contents, traffic.commits) == (0, count if is_whole else 0, count)
    assert traffic.rereads == 0
    assert traffic.reads == []


async def test_what_is_known_is_not_written_again(
    client: httpx.AsyncClient, store: Store, traffic: Traffic, hashed: Hashed
) -> None:
    data = make_instance()
    await store(data)
    hashed.bytes = 0
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    assert answer.status_code == 200
    assert traffic.commits == 0
    assert hashed.bytes == len(data)


async def test_statements_do_not_grow_with_the_instances_of_a_batch(
    client: httpx.AsyncClient, traffic: Traffic, statement_counter: StatementCounter
) -> None:
    counts = []
    for count in (2, 60):
        before = len(statement_counter.statements)
        boundary, body = build_multipart(files_of(count, 4))
        answer = await client.post("/dicomweb/studies", content=body, headers=store_headers(boundary))
        assert answer.status_code == 200
        sent = statement_counter.statements[before:]
        assert sum(statement.startswith("INSERT INTO instances") for statement in sent) == 1
        counts.append(len(sent))
    assert counts[1] == counts[0], statement_counter.statements
