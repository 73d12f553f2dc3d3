"""What an object store does when the network or the server fails: an error that says so, and nothing half-visible."""

import asyncio
import hashlib
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from app.blobs import BlobStore, open_blob_store
from app.blobs import object_store as object_store_module
from app.errors import BlobNotFound, BlobStoreUnavailable, OutOfSpace
from tests.blobs.backend import MIB, every_call, list_keys, names_in, new_key, noise, read_blob, until, write_blob
from tests.support.fault_proxy import Fault, FaultProxy, http_answer
from tests.support.object_servers import S3Server

PROJECT = Path(__file__).resolve().parents[2]
BUSY = http_answer("503 Service Unavailable")


def requests_of(method: str, ending: str = "") -> Callable[[bytes], bool]:
    def matches(head: bytes) -> bool:
        line = head.partition(b" HTTP/")[0].decode()
        return line.startswith(f"{method} ") and ending in line

    return matches


class Setup:
    """A store that reaches the server through the proxy, and the objects behind its back."""

    def __init__(self, server: S3Server, proxy: FaultProxy, spool: Path) -> None:
        self.server, self.proxy, self.spool = server, proxy, spool
        self.prefix = f"t-{secrets.token_hex(6)}"
        self.stores: list[BlobStore] = []

    def open(self, **options: str) -> BlobStore:
        quick = {"endpoint": self.proxy.endpoint, "max_retries": "0", "timeout": "3s"}
        store = open_blob_store(self.server.url(self.prefix, **quick | options), spool_dir=self.spool)
        self.stores.append(store)
        return store

    def put(self, data: bytes) -> str:
        self.server.raw_put(f"{self.prefix}/{(key := new_key())}", data)
        return key

    def methods(self) -> list[str]:
        return [line.split()[0] for line in self.proxy.requests]

    def names(self) -> set[str]:
        return {name.removeprefix(f"{self.prefix}/") for name in self.server.raw_names(f"{self.prefix}/")}

    def parts(self) -> set[str]:
        return self.server.raw_names(f"{self.prefix}/", f"{self.server.bucket}+segments")


@pytest.fixture
async def setup(s3_server: S3Server, tmp_path: Path) -> AsyncIterator[Setup]:
    async with FaultProxy(s3_server.endpoint) as proxy:
        setup = Setup(s3_server, proxy, tmp_path / "spool")
        yield setup
        for store in setup.stores:
            await store.close()
        assert not setup.spool.exists() or names_in(setup.spool) == []


async def test_the_proxy_itself_changes_nothing(setup: Setup) -> None:
    store = setup.open()
    key = await write_blob(store, data := noise(3 * MIB))
    assert await read_blob(store, key) == data
    assert setup.names() == {key}


async def test_refused_connections_are_unavailable_and_pass(setup: Setup) -> None:
    key = setup.put(b"abc")
    store = setup.open()
    await setup.proxy.refuse()
    assert await every_call(store, key) == [BlobStoreUnavailable] * 8
    await setup.proxy.accept()
    assert await every_call(store, key) == [None] * 8


async def test_wrong_credentials_are_named_and_not_a_missing_blob(setup: Setup) -> None:
    key = setup.put(b"abc")
    store = setup.open(secret_access_key="wrong")
    assert await every_call(store, key) == [BlobStoreUnavailable] * 8
    with pytest.raises(BlobStoreUnavailable, match="refuses the credentials"):
        await store.stat(new_key())
    with pytest.raises(BlobStoreUnavailable, match="refuses the credentials"):
        await list_keys(store)
    assert setup.names() == {key}


async def test_a_missing_bucket_is_not_a_missing_blob(s3_server: S3Server, tmp_path: Path) -> None:
    url = s3_server.url("prefix").replace(f"s3://{s3_server.bucket}/", "s3://no-such-bucket/")
    store = open_blob_store(url, spool_dir=tmp_path)
    assert await every_call(store, new_key()) == [BlobStoreUnavailable] * 8
    await store.close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("507 Insufficient Storage", b"", OutOfSpace),
        ("403 Forbidden", b"<Error><Code>QuotaExceeded</Code></Error>", OutOfSpace),
        ("403 Forbidden", b"<Error><Code>AccessDenied</Code></Error>", BlobStoreUnavailable),
        ("400 Bad Request", b"<Error><Code>XMinioStorageFull</Code></Error>", OutOfSpace),
        ("500 Internal Server Error", b"", BlobStoreUnavailable),
        ("503 Service Unavailable", b"", BlobStoreUnavailable),
        ("401 Unauthorized", b"", BlobStoreUnavailable),
    ],
)
async def test_answers_to_a_put(setup: Setup, status: str, body: bytes, expected: type[Exception]) -> None:
    setup.proxy.faults = [Fault(matches=requests_of("PUT"), answer=http_answer(status, body))]
    store = setup.open()
    writer = await store.open_writer()
    await writer.write(b"abc")
    with pytest.raises(expected):
        await writer.commit(new_key())
    with pytest.raises(expected):  # and it stays so
        await writer.commit(new_key())
    await writer.cancel()
    assert setup.names() == set()


async def test_a_busy_server_is_asked_again(setup: Setup) -> None:
    key = setup.put(b"abc")
    setup.proxy.faults = [Fault(times=2, answer=BUSY)]
    store = setup.open(max_retries="3")
    assert await store.get_range(key, 0, 3) == b"abc"
    setup.proxy.faults = [Fault(times=2, matches=requests_of("PUT"), answer=BUSY)]
    other = await write_blob(store, b"def")
    assert setup.names() == {key, other}


async def test_a_put_that_breaks_off_is_no_blob(setup: Setup) -> None:
    setup.proxy.faults = [Fault(matches=requests_of("PUT"), cut_request=500_000)]
    store = setup.open()
    with pytest.raises(BlobStoreUnavailable):
        await write_blob(store, noise(2 * MIB))
    assert setup.names() == set()


async def test_a_put_that_breaks_off_is_repeated(setup: Setup) -> None:
    setup.proxy.faults = [Fault(matches=requests_of("PUT"), cut_request=500_000)]
    store = setup.open(max_retries="2")
    key = await write_blob(store, data := noise(2 * MIB))
    assert setup.server.raw_get(f"{setup.prefix}/{key}") == data


def other_tag(data: bytes) -> Fault:
    """The server tells another entity tag than the MD5 of `data`, as with an encrypted bucket."""
    tag = hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
    return Fault(matches=requests_of("PUT"), replace=(tag, tag[::-1]))


async def test_an_object_that_arrives_short_is_taken_back(setup: Setup) -> None:
    store = setup.open()
    setup.proxy.faults = [other_tag(data := noise(2000))]
    key = await write_blob(store, data)  # from now on the size is asked for
    setup.proxy.faults = [
        Fault(matches=requests_of("HEAD"), replace=(b"Content-Length: 2000", b"Content-Length: 1999"))
    ]
    with pytest.raises(BlobStoreUnavailable, match="did not arrive whole"):
        await write_blob(store, data)
    assert setup.names() == {key}


async def test_where_entity_tags_prove_nothing_the_size_is_asked_for(setup: Setup) -> None:
    setup.proxy.faults = [other_tag(data := noise(2000))]
    store = setup.open()
    keys = {await write_blob(store, data), await write_blob(store, data)}
    assert setup.methods() == ["PUT", "GET", "PUT", "HEAD"], "what the first tag did not prove was read"
    assert setup.names() == keys


@pytest.mark.parametrize("proven", [True, False])
async def test_an_object_of_other_bytes_is_taken_back(setup: Setup, proven: bool) -> None:
    """As long as they should be: only the entity tag tells. Whether an earlier one has proven to be an MD5 or not."""
    store = setup.open(unsigned_payload="true")  # servers need not look at the digest in a signature
    kept = {await write_blob(store, b"abc")} if proven else set()
    data = noise(2000)
    altered = Fault(matches=requests_of("PUT"), replace_request=(data[500:600], noise(100)))
    for _ in range(2):
        setup.proxy.faults = [altered]
        altered.times = 1
        with pytest.raises(BlobStoreUnavailable, match="did not arrive whole"):
            await write_blob(store, data)
        assert altered.times == 0
        assert setup.names() == kept, "and the next one is looked at as well"
    setup.proxy.faults = []
    kept.add(key := await write_blob(store, data))
    assert await read_blob(store, key) == data
    assert setup.names() == kept


async def test_an_answer_that_breaks_off_is_an_error(setup: Setup) -> None:
    key = setup.put(noise(2 * MIB))
    store = setup.open()
    for call in (
        lambda: store.get_range(key, 0, MIB),
        lambda: store.get_ranges(key, [(0, MIB), (2 * MIB - 1, 1)]),
        lambda: read_blob(store, key),
    ):
        setup.proxy.faults = [Fault(times=9, matches=requests_of("GET"), cut_answer=300_000)]
        with pytest.raises(BlobStoreUnavailable):
            await call()


async def test_a_stream_that_breaks_off_in_the_middle_goes_on(setup: Setup) -> None:
    key = setup.put(data := noise(9 * MIB))
    store = setup.open(max_retries="2")
    chunks = []
    async with aclosing(store.open(key)) as stream:
        async for chunk in stream:
            chunks.append(chunk)
            if len(chunks) == 2:
                setup.proxy.faults = [Fault(answer=BUSY, matches=requests_of("GET"))]
    assert b"".join(chunks) == data
    assert len(setup.proxy.requests) == 4, "three windows, and one of them again"


async def test_a_stream_that_cannot_go_on_is_an_error_not_an_end(setup: Setup) -> None:
    key = setup.put(data := noise(9 * MIB))
    store = setup.open()
    chunks: list[bytes] = []
    with pytest.raises(BlobStoreUnavailable):
        async for chunk in store.open(key):
            chunks.append(chunk)
            setup.proxy.faults = [Fault(times=9, answer=BUSY)]
    assert data.startswith(b"".join(chunks))
    assert sum(map(len, chunks)) < len(data)


async def test_a_server_that_hangs_is_given_up(setup: Setup) -> None:
    key = setup.put(b"abc")
    setup.proxy.faults = [Fault(times=9, delay=60.0)]
    store = setup.open(timeout="300ms")
    async with asyncio.timeout(10):
        with pytest.raises(BlobStoreUnavailable):
            await store.stat(key)


async def test_large_blobs_go_up_in_parts(setup: Setup) -> None:
    store = setup.open()
    key = await write_blob(store, data := noise(20 * MIB + 5))
    assert setup.server.raw_get(f"{setup.prefix}/{key}") == data
    assert len(setup.parts()) == 3
    assert await store.get_ranges(key, [(8 * MIB - 2, 4), (20 * MIB, 5)]) == [
        data[8 * MIB - 2 : 8 * MIB + 2],
        data[-5:],
    ]
    await store.delete(key)
    assert setup.names() == set()


async def test_a_part_that_fails_aborts_the_upload(setup: Setup) -> None:
    setup.proxy.faults = [Fault(matches=requests_of("PUT", "partNumber=3"), answer=BUSY)]
    store = setup.open()
    with pytest.raises(BlobStoreUnavailable):
        await write_blob(store, noise(30 * MIB))
    assert setup.names() == set()


async def test_a_cancelled_upload_in_parts_ends_early_and_leaves_nothing(setup: Setup) -> None:
    setup.proxy.faults = [Fault(times=2, matches=requests_of("PUT", "partNumber="), delay=0.3)]
    store = setup.open()
    writer = await store.open_writer()
    piece = noise(MIB)
    for _ in range(64):
        await writer.write(piece)
    task = asyncio.ensure_future(writer.commit(new_key()))
    await until(lambda: any("partNumber=" in line for line in setup.proxy.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sum("partNumber=" in line for line in setup.proxy.requests) < 8
    assert setup.names() == set()
    assert setup.parts() == set()
    assert names_in(setup.spool) == []


async def test_a_cancelled_put_that_succeeds_nevertheless_is_taken_back(setup: Setup) -> None:
    setup.proxy.faults = [Fault(matches=requests_of("PUT"), delay=0.3)]
    store = setup.open()
    task = asyncio.ensure_future(write_blob(store, noise(1000)))
    await until(lambda: setup.proxy.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setup.methods() == ["PUT", "DELETE"]
    assert setup.names() == set()


async def test_neighbouring_ranges_are_one_request(setup: Setup) -> None:
    key = setup.put(data := noise(4 * MIB))
    store = setup.open()
    ranges = [(number * 50_008, 50_000) for number in range(10)] + [(3 * MIB, 100)]
    assert await store.get_ranges(key, ranges) == [data[start : start + length] for start, length in ranges]
    assert len(setup.proxy.requests) == 2


async def test_groups_of_ranges_are_fetched_side_by_side(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store_module, "MERGE_GAP", 0)
    key = setup.put(data := noise(100_000))
    setup.proxy.faults = [Fault(times=20, delay=0.5)]
    store = setup.open()
    ranges = [(start, 10) for start in range(0, 100_000, 5_000)]
    async with asyncio.timeout(3):  # one after the other would take ten seconds
        assert await store.get_ranges(key, ranges) == [data[start : start + 10] for start, _ in ranges]


async def test_a_small_blob_takes_one_request_and_no_spool(setup: Setup) -> None:
    store = setup.open()
    writer = await store.open_writer()
    await writer.write(noise(MIB))
    assert names_in(setup.spool) == []
    await writer.commit(new_key())
    assert setup.methods() == ["PUT"]


async def test_a_blob_in_parts_is_measured_afterwards(setup: Setup) -> None:
    await write_blob(setup.open(), noise(20 * MIB))
    assert setup.methods()[-1] == "HEAD"


async def test_strange_objects_in_the_bucket_are_not_listed(setup: Setup) -> None:
    key = setup.put(b"abc")
    setup.server.raw_put(f"{setup.prefix}/instances/some thing", b"abc")
    assert await list_keys(setup.open()) == [key]


async def test_a_missing_blob_costs_one_more_request_to_be_sure(setup: Setup) -> None:
    store = setup.open()
    with pytest.raises(BlobNotFound):
        await store.stat(new_key())
    assert setup.methods() == ["HEAD", "GET"]


EXIT = """
import asyncio, sys
from pathlib import Path
from app.blobs import open_blob_store

async def main():
    store = open_blob_store(sys.argv[1], spool_dir=Path(sys.argv[2]))

    async def one(number):
        writer = await store.open_writer()
        await writer.write(bytes(300_000))
        await writer.commit(f"exit/{number}")
        await store.get_range(f"exit/{number}", 0, 1000)

    await asyncio.gather(*(one(number) for number in range(16)))

asyncio.run(main())
"""


def test_a_process_may_end_right_after_its_last_call(s3_server: S3Server, tmp_path: Path) -> None:
    """obstore's own coroutines abort the interpreter in about a third of such runs."""
    arguments = [sys.executable, "-c", EXIT, s3_server.url(f"t-{secrets.token_hex(6)}"), str(tmp_path)]
    statuses = [subprocess.run(arguments, cwd=PROJECT, timeout=60, check=False).returncode for _ in range(8)]
    assert statuses == [0] * 8
