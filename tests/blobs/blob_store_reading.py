"""What reading from every blob store gives: a part of BlobStoreTests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from app.blobs import BlobStore
from app.blobs.files import FileSlice
from app.errors import BlobNotFound, BlobStoreUnavailable
from tests.blobs.backend import (
    MIB,
    SIZES,
    Backend,
    new_key,
    noise,
    read_blob,
    write_blob,
)


class ReadingTests:
    """Needs the fixtures of BlobStoreTests."""

    @pytest.mark.parametrize("size", SIZES)
    async def test_open_streams_what_is_there(self, backend: Backend, store: BlobStore, size: int) -> None:
        backend.raw_put(key := new_key(), data := noise(size))
        chunks = [chunk async for chunk in store.open(key)]
        assert b"".join(chunks) == data
        assert all(isinstance(chunk, bytes) and 0 < len(chunk) <= MIB for chunk in chunks)

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, 1),
            (0, None),
            (1, None),
            (5, 10),
            (MIB - 1, 2),
            (0, 6 * MIB),
            (MIB, 5 * MIB),
            (6 * MIB - 1, 1),
            (6 * MIB, None),
        ],
    )
    async def test_open_streams_a_range(
        self, backend: Backend, store: BlobStore, offset: int, length: int | None
    ) -> None:
        backend.raw_put(key := new_key(), data := noise(6 * MIB))
        expected = data[offset:] if length is None else data[offset : offset + length]
        assert await read_blob(store, key, offset, length) == expected

    async def test_streams_run_side_by_side(self, backend: Backend, store: BlobStore) -> None:
        blobs = {new_key(): noise(2 * MIB + number) for number in range(4)}
        for key, data in blobs.items():
            backend.raw_put(key, data)
        read = await asyncio.gather(*(read_blob(store, key) for key in blobs))
        assert read == list(blobs.values())

    async def test_a_stream_that_is_left_early_holds_nothing(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), data := noise(9 * MIB))
        async with contextlib.aclosing(store.open(key)) as stream:
            async for chunk in stream:
                assert data.startswith(chunk)
                break
        assert await backend.lets_go()

    async def test_a_cancelled_stream_holds_nothing(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), noise(9 * MIB))
        for turns in (0, 1, 2, 3, 7):
            task = asyncio.ensure_future(read_blob(store, key))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await backend.lets_go()

    async def test_open_each_gives_one_stream_after_the_other(self, backend: Backend, store: BlobStore) -> None:
        blobs = {new_key(): noise(size) for size in (5, 9 * MIB + 1, 1, MIB, *range(100, 130), 4 * MIB)}
        for key, data in blobs.items():
            backend.raw_put(key, data)
        async with contextlib.aclosing(store.open_each([(key, len(data)) for key, data in blobs.items()])) as streams:
            read = [[chunk async for chunk in stream] async for stream in streams]
        assert [b"".join(chunks) for chunks in read] == list(blobs.values())
        assert all(isinstance(one, bytes) and 0 < len(one) <= MIB for chunks in read for one in chunks)

    async def test_open_each_of_nothing(self, store: BlobStore) -> None:
        assert [stream async for stream in store.open_each([])] == []

    async def test_a_missing_blob_is_told_when_its_turn_comes(self, backend: Backend, store: BlobStore) -> None:
        blobs = [(new_key(), 1000) for _ in range(4)]
        for key, size in (blobs[0], blobs[1], blobs[3]):
            backend.raw_put(key, noise(size))
        read: list[bytes] = []
        with pytest.raises(BlobNotFound):
            async with contextlib.aclosing(store.open_each(blobs)) as streams:
                async for stream in streams:
                    read += [chunk async for chunk in stream]
        assert [len(one) for one in read] == [1000, 1000]

    async def test_pieces_each_gives_streams_or_files(self, backend: Backend, store: BlobStore) -> None:
        blobs = [(new_key(), noise(size)) for size in (5, 3 * MIB, *range(100, 140), 1)]
        blobs.insert(7, (new_key(), b"missing"))
        for key, data in blobs:
            if data != b"missing":
                backend.raw_put(key, data)
        read: list[bytes] = []
        with pytest.raises(BlobNotFound):
            async with contextlib.aclosing(store.pieces_each([(key, len(data)) for key, data in blobs])) as streams:
                async for stream in streams:
                    assert isinstance(stream, list) == store.passes_files or len(read) == 7
                    read += await _contents(stream)
        assert read == [data for _, data in blobs[:7]]
        rest = [(key, len(data)) for key, data in blobs[8:]]
        async with contextlib.aclosing(store.pieces_each(rest)) as streams:
            async for stream in streams:
                read += await _contents(stream)
        assert read == [data for _, data in blobs if data != b"missing"]
        del stream
        assert await backend.lets_go()

    async def test_streams_that_are_left_early_hold_nothing(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), noise(5 * MIB))
        async with contextlib.aclosing(store.open_each([(key, 5 * MIB)] * 20)) as streams:
            stream = await anext(streams)
            assert len(await anext(stream)) > 0
        assert await backend.lets_go()

    async def test_get_range_gives_exactly_these_bytes(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), data := noise(100_000))
        for offset, length in ((0, 1), (0, 100_000), (99_999, 1), (12_345, 54_321)):
            part = await store.get_range(key, offset, length)
            assert isinstance(part, bytes)
            assert part == data[offset : offset + length]

    async def test_get_ranges_keeps_the_order_asked(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), data := noise(4 * MIB))
        ranges = [(3 * MIB, 500), (0, 10), (10, 10), (5, 10), (0, 10), (2 * MIB, MIB), (4 * MIB - 1, 1), (100, 1)]
        parts = await store.get_ranges(key, ranges)
        assert parts == [data[offset : offset + length] for offset, length in ranges]
        assert all(isinstance(part, bytes) for part in parts)

    async def test_get_ranges_of_nothing(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), b"abc")
        assert await store.get_ranges(key, []) == []

    async def test_many_ranges(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), data := noise(MIB))
        ranges = [(start, 700) for start in range(0, MIB - 700, 1000)]
        assert await store.get_ranges(key, ranges) == [data[start : start + 700] for start, _ in ranges]

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, 0), (0, -1), (5, 0)])
    async def test_ranges_that_are_none_are_refused(
        self, backend: Backend, store: BlobStore, offset: int, length: int
    ) -> None:
        backend.raw_put(key := new_key(), b"abcdefgh")
        calls = [store.get_range(key, offset, length), store.get_ranges(key, [(0, 1), (offset, length)])]
        for call in [*calls, read_blob(store, key, offset, length)]:
            with pytest.raises(ValueError):
                await call

    @pytest.mark.parametrize(("offset", "length"), [(0, 9), (7, 2), (8, 1), (100, 1), (0, 50_000_000), (0, 2**45)])
    async def test_a_range_beyond_the_end_is_an_error(
        self, backend: Backend, store: BlobStore, offset: int, length: int
    ) -> None:
        backend.raw_put(key := new_key(), b"abcdefgh")
        calls = [store.get_range(key, offset, length), store.get_ranges(key, [(0, 1), (offset, length)])]
        for call in [*calls, read_blob(store, key, offset, length)]:
            with pytest.raises(BlobStoreUnavailable):
                await call

    async def test_an_offset_beyond_the_end_is_an_error(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), b"abcdefgh")
        with pytest.raises(BlobStoreUnavailable):
            await read_blob(store, key, 9)

    async def test_what_is_missing_is_blob_not_found(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(new_key(), b"abc")
        key = new_key()
        for call in (
            store.stat(key),
            store.get_range(key, 0, 1),
            store.get_ranges(key, [(0, 1)]),
            read_blob(store, key),
        ):
            with pytest.raises(BlobNotFound):
                await call

    async def test_a_folder_of_keys_is_no_blob(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(key := new_key(), b"abc")
        folder = key.rpartition("/")[0]
        for call in (
            store.stat(folder),
            store.get_range(folder, 0, 1),
            read_blob(store, folder),
            store.stat(f"{key}/x"),
        ):
            with pytest.raises(BlobNotFound):
                await call
        await store.delete(folder)
        assert backend.raw_get(key) == b"abc"

    async def test_stat_tells_size_and_time(self, backend: Backend, store: BlobStore) -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)  # object stores tell whole seconds
        key = await write_blob(store, noise(1234))
        stat = await store.stat(key)
        assert (stat.key, stat.size) == (key, 1234)
        assert stat.modified.utcoffset() == timedelta(0)
        assert before <= stat.modified <= datetime.now(UTC) + timedelta(seconds=2)


async def _contents(streams: AsyncIterator[bytes] | list[FileSlice]) -> list[bytes]:
    """Of each file, or of the one stream."""
    readers = [file.read() for file in streams] if isinstance(streams, list) else [streams]
    return [b"".join([chunk async for chunk in reader]) for reader in readers]
