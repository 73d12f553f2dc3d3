"""What reading ahead costs a real S3 server, and what it leaves behind: requests are counted, held and let go; no clock."""

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from app.blobs import object_store as object_store_module
from app.blobs import open_blob_store
from app.blobs.object_store import ObjectBlobStore
from app.blobs.read_ahead import Window
from app.errors import BlobNotFound, BlobStoreUnavailable
from tests.blobs.backend import MIB, new_key, noise, until
from tests.support.fault_proxy import Fault, FaultProxy, http_answer
from tests.support.object_servers import S3Server

FOREVER = 10**6


class InFlight:
    """Counts the threads that are fetching: the proxy hears of an answer's end later than who asked."""

    def __init__(self, fetch: Callable[[Window], bytes]) -> None:
        self.fetch = fetch
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, window: Window) -> bytes:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.fetch(window)
        finally:
            with self.lock:
                self.now -= 1


class Setup:
    def __init__(self, server: S3Server, proxy: FaultProxy, spool: Path) -> None:
        self.server, self.proxy = server, proxy
        self.prefix = f"t-{secrets.token_hex(6)}"
        url = server.url(self.prefix, endpoint=proxy.endpoint, max_retries="0", timeout="20s")
        store = open_blob_store(url, spool_dir=spool)
        assert isinstance(store, ObjectBlobStore)
        self.store = store
        self.fetching = InFlight(store._fetch)
        store._fetch = self.fetching

    def put(self, *sizes: int) -> dict[str, bytes]:
        blobs = {new_key(): noise(size) for size in sizes}
        for key, data in blobs.items():
            self.server.raw_put(f"{self.prefix}/{key}", data)
        return blobs

    def hold(self) -> asyncio.Event:
        """Requests stay unanswered until this is set."""
        let_go = asyncio.Event()
        self.proxy.faults = [Fault(times=FOREVER, until=let_go)]
        return let_go


@pytest.fixture
async def setup(s3_server: S3Server, tmp_path: Path) -> AsyncIterator[Setup]:
    async with FaultProxy(s3_server.endpoint) as proxy:
        setup = Setup(s3_server, proxy, tmp_path / "spool")
        yield setup
        await setup.store.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("blob-")] == []


def sizes_of(blobs: dict[str, bytes]) -> list[tuple[str, int]]:
    return [(key, len(data)) for key, data in blobs.items()]


async def read_each(setup: Setup, blobs: list[tuple[str, int]]) -> list[bytes]:
    async with aclosing(setup.store.open_each(blobs)) as streams:
        return [b"".join([chunk async for chunk in stream]) async for stream in streams]


async def under_way(setup: Setup, count: int) -> None:
    """So many requests come, and no more as long as none is answered."""
    await until(lambda: setup.proxy.under_way >= count)
    await asyncio.sleep(0.05)
    assert setup.proxy.under_way == count


async def test_one_request_for_each_blob_and_sixteen_ahead(setup: Setup) -> None:
    blobs = setup.put(*range(1000, 1040))
    let_go = setup.hold()
    reading = asyncio.create_task(read_each(setup, sizes_of(blobs)))
    await under_way(setup, 17)
    let_go.set()
    assert await reading == list(blobs.values())
    assert [line.split()[0] for line in setup.proxy.requests] == ["GET"] * 40
    assert setup.fetching.most <= 17


async def test_bytes_under_way_are_bounded(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.store._budget, "each", 5 * MIB)
    blobs = setup.put(*[MIB + number for number in range(9)])
    let_go = setup.hold()
    reading = asyncio.create_task(read_each(setup, sizes_of(blobs)))
    await under_way(setup, 4)
    let_go.set()
    assert await reading == list(blobs.values())
    assert setup.fetching.most <= 4


async def test_windows_of_a_large_blob_are_fetched_side_by_side(setup: Setup) -> None:
    ((key, data),) = setup.put(25 * MIB + 1).items()
    first_window_only = Fault(matches=lambda head: b"bytes=0-" in head)
    let_go = setup.hold()
    setup.proxy.faults.insert(0, first_window_only)
    async with aclosing(setup.store.open(key)) as stream:
        chunks = [await anext(stream)]
        await until(lambda: len(setup.proxy.requests) >= 4)
        await asyncio.sleep(0.05)
        assert len(setup.proxy.requests) == 4, "three more while the first is sent"
        let_go.set()
        chunks += [chunk async for chunk in stream]
    assert b"".join(chunks) == data
    assert len(setup.proxy.requests) == 7
    assert setup.fetching.most <= 4


async def test_a_large_blob_among_others_takes_no_more_requests_than_windows(setup: Setup) -> None:
    blobs = setup.put(10, 9 * MIB, 20)
    assert await read_each(setup, sizes_of(blobs)) == list(blobs.values())
    assert [line.split()[0] for line in setup.proxy.requests] == ["GET"] * 5


async def test_ranges_far_apart_are_bounded_in_number_and_in_bytes(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store_module, "MERGE_GAP", 0)
    ((key, data),) = setup.put(MIB).items()
    ranges = [(start, 10) for start in range(0, MIB - 10, 10_000)]
    let_go = setup.hold()
    reading = asyncio.create_task(setup.store.get_ranges(key, ranges))
    await under_way(setup, 9)
    let_go.set()
    assert await reading == [data[start : start + 10] for start, _ in ranges]
    assert len(setup.proxy.requests) == len(ranges)
    assert setup.fetching.most <= 9


async def test_what_is_cut_out_of_large_reads_does_not_keep_them(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ranges with gaps that are read over: what is asked for stays, what lies between goes at once."""
    monkeypatch.setattr(setup.store._budget, "each", 9 * MIB)
    ((key, data),) = setup.put(40 * MIB).items()
    ranges = [(start, 10) for start in range(0, 40 * MIB, MIB // 4)]
    let_go = setup.hold()
    reading = asyncio.create_task(setup.store.get_ranges(key, ranges))
    await under_way(setup, 2)
    let_go.set()
    assert await reading == [data[start : start + 10] for start, _ in ranges]
    assert setup.fetching.most <= 3


async def test_a_blob_of_another_size_is_an_error_in_the_same_request(setup: Setup) -> None:
    blobs = setup.put(1000, 1000, 1000)
    first, second, _ = blobs
    for wrong in (999, 1001):
        read: list[bytes] = []
        with pytest.raises(BlobStoreUnavailable):
            async with aclosing(setup.store.open_each([(first, 1000), (second, wrong)])) as streams:
                async for stream in streams:
                    read += [chunk async for chunk in stream]
        assert read == [blobs[first]]
    assert len(setup.proxy.requests) == 4


async def test_what_fails_ahead_is_told_behind_what_did_not(setup: Setup) -> None:
    blobs = setup.put(*range(1000, 1010))
    failing = list(blobs)[5]
    setup.proxy.faults = [Fault(matches=lambda head: failing.encode() in head, answer=http_answer("403 Forbidden"))]
    read: list[bytes] = []
    with pytest.raises(BlobStoreUnavailable):
        async with aclosing(setup.store.open_each(sizes_of(blobs))) as streams:
            async for stream in streams:
                read += [chunk async for chunk in stream]
    assert read == list(blobs.values())[:5]


async def test_a_missing_first_blob_is_told_before_any_byte(setup: Setup) -> None:
    blobs = setup.put(1000, 1000)
    async with aclosing(setup.store.open_each([(new_key(), 1000), *sizes_of(blobs)])) as streams:
        with pytest.raises(BlobNotFound):
            await anext(await anext(streams))


async def test_a_cancelled_reader_gives_its_threads_back(setup: Setup) -> None:
    """Requests under way come to their end; those that wait for a thread are never sent."""
    blobs = setup.put(*range(1000, 1060))
    let_go = setup.hold()
    readings = [asyncio.create_task(read_each(setup, sizes_of(blobs))) for _ in range(3)]
    await under_way(setup, 32)  # of 51 that three readers would like to have
    for reading in readings:
        reading.cancel()
    await asyncio.sleep(0)
    let_go.set()
    assert [type(one) for one in await asyncio.gather(*readings, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 3
    await until(lambda: setup.proxy.under_way == 0)
    sent = len(setup.proxy.requests)
    assert sent <= 34, "what waited is dropped"
    assert setup.store._streams._work_queue.qsize() == 0
    assert await read_each(setup, sizes_of(blobs)) == list(blobs.values())
    assert len(setup.proxy.requests) == sent + len(blobs)


async def test_a_single_read_does_not_queue_behind_streams(setup: Setup) -> None:
    blobs = setup.put(*range(1000, 1060))
    (wanted,) = setup.put(100)
    let_go = asyncio.Event()
    streamed = [key.encode() for key in blobs]
    setup.proxy.faults = [Fault(times=FOREVER, matches=lambda head: any(key in head for key in streamed), until=let_go)]
    readings = [asyncio.create_task(read_each(setup, sizes_of(blobs))) for _ in range(3)]
    await under_way(setup, 32)
    assert len(await setup.store.get_range(wanted, 0, 100)) == 100
    let_go.set()
    for reading in readings:
        assert await reading == list(blobs.values())
