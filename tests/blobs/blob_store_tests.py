"""What every blob store does, whatever it stands on. A backend inherits BlobStoreTests and gives a `backend` fixture."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app.blobs import BlobStat, BlobStore, BlobWriter
from app.errors import BlobNotFound
from tests.blobs.backend import (
    MIB,
    Backend,
    list_keys,
    new_key,
    noise,
    write_blob,
)
from tests.blobs.blob_store_reading import ReadingTests
from tests.blobs.blob_store_writing import WritingTests


class BlobStoreTests(WritingTests, ReadingTests):
    """Inherited by one class per backend."""

    @pytest.fixture
    async def store(self, backend: Backend) -> AsyncIterator[BlobStore]:
        yield backend.store
        await backend.store.close()
        assert backend.spool_files() == [], "a test left spool files behind"
        assert backend.descriptors() == [], "a test left descriptors open"

    @pytest.fixture
    async def writer(self, store: BlobStore) -> AsyncIterator[BlobWriter]:
        writer = await store.open_writer()
        yield writer
        await writer.cancel()

    # Deleting

    async def test_delete_removes_one_blob_only(self, backend: Backend, store: BlobStore) -> None:
        backend.raw_put(first := new_key(), b"abc")
        backend.raw_put(second := new_key(), b"def")
        await store.delete(first)
        assert backend.raw_get(first) is None
        assert backend.raw_get(second) == b"def"
        with pytest.raises(BlobNotFound):
            await store.stat(first)

    async def test_deleting_what_is_missing_is_fine(self, backend: Backend, store: BlobStore) -> None:
        await store.delete(key := new_key())
        backend.raw_put(key, b"abc")
        await store.delete(key)
        await store.delete(key)
        assert backend.raw_keys() == set()

    async def test_commits_and_deletes_in_one_series_at_once(self, backend: Backend, store: BlobStore) -> None:
        async def come_and_go() -> None:
            for _ in range(4):
                key = await write_blob(store, b"abc")
                assert (await store.stat(key)).size == 3
                await store.delete(key)

        kept, *_ = await asyncio.gather(write_blob(store, b"kept"), *(come_and_go() for _ in range(8)))
        assert backend.raw_keys() == {kept}

    # Listing

    async def test_list_tells_everything(self, backend: Backend, store: BlobStore) -> None:
        blobs = {new_key(study=f"1.{number % 3}", instance=f"1.9.{number}"): number for number in range(30)}
        for key, size in blobs.items():
            backend.raw_put(key, bytes(size))
        found = [stat async for stat in store.list()]
        assert {stat.key: stat.size for stat in found} == blobs
        assert len(found) == len(blobs)
        assert all(isinstance(stat, BlobStat) and stat.modified.utcoffset() == timedelta(0) for stat in found)

    async def test_list_of_nothing(self, store: BlobStore) -> None:
        assert await list_keys(store) == []
        assert await list_keys(store, "instances/") == []

    async def test_list_by_prefix(self, backend: Backend, store: BlobStore) -> None:
        keys = [
            "instances/1.2/a",
            "instances/1.2/b/c",
            "instances/1.23/a",
            "instances/1.3/a",
            "tombstones/instances/1.2/a",
            "x",
        ]
        for key in keys:
            backend.raw_put(key, b"abc")
        prefixes = [
            "",
            "i",
            "instances",
            "instances/",
            "instances/1.2",
            "instances/1.2/",
            "instances/1.2/b",
            "instances/1.2/a",
        ]
        for prefix in [*prefixes, "instances/1.2/a/", "tombstones/", "x", "y", "y/", "instances/9/"]:
            found = await list_keys(store, prefix)
            assert sorted(found) == [key for key in keys if key.startswith(prefix)], prefix

    @pytest.mark.parametrize("prefix", ["/", "../", "a//", ".spool/", "a b"])
    async def test_prefixes_that_are_none_are_refused(self, store: BlobStore, prefix: str) -> None:
        with pytest.raises(ValueError):
            await list_keys(store, prefix)

    async def test_a_list_that_is_left_early_holds_nothing(self, backend: Backend, store: BlobStore) -> None:
        for number in range(5):
            backend.raw_put(new_key(instance=f"1.9.{number}"), b"abc")
        async with contextlib.aclosing(store.list()) as stats:
            async for _ in stats:
                break
        assert backend.descriptors() == []

    async def test_what_is_listed_can_be_deleted_meanwhile(self, backend: Backend, store: BlobStore) -> None:
        for number in range(20):
            backend.raw_put(new_key(instance=f"1.9.{number}"), b"abc")
        async for stat in store.list():
            await store.delete(stat.key)
        assert backend.raw_keys() == set()

    async def test_stale_spool_of_this_process_is_left_alone(self, backend: Backend, store: BlobStore) -> None:
        writer = await store.open_writer()
        await writer.write(data := noise(2 * MIB))
        assert await store.remove_stale_spool(timedelta(0)) == 0
        await writer.commit(key := new_key(data))
        assert backend.raw_get(key) == data
