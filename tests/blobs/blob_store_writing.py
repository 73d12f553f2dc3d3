"""What writers of every blob store do: a part of BlobStoreTests."""

import asyncio
import hashlib

import pytest

from app.blobs import BlobStore, BlobWriter
from app.blobs.keys import tombstone_key
from tests.blobs.backend import (
    MIB,
    SIZES,
    Backend,
    digest_of,
    list_keys,
    new_key,
    noise,
    read_blob,
    until,
    write_blob,
)


class WritingTests:
    """Needs the fixtures of BlobStoreTests."""

    @pytest.mark.parametrize("size", SIZES)
    async def test_commit_stores_exactly_the_bytes_written(self, backend: Backend, store: BlobStore, size: int) -> None:
        data = noise(size)
        key = await write_blob(store, data)
        assert backend.raw_get(key) == data
        assert backend.raw_keys() == {key}

    async def test_pieces_are_joined_in_order(self, backend: Backend, writer: BlobWriter) -> None:
        data = noise(2 * MIB + 500_001)
        sizes = [1, 7, 65_536, 1000, 300_000]
        start = 0
        while start < len(data):
            piece = data[start : start + sizes[start % len(sizes)]]
            await writer.write(piece)
            start += len(piece)
        assert writer.size == len(data)
        await writer.commit(key := new_key(data))
        assert backend.raw_get(key) == data

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_key_may_be_made_of_the_digest(self, backend: Backend, writer: BlobWriter, size: int) -> None:
        data = noise(size)
        for start in range(0, size, 200_000):
            await writer.write(memoryview(data)[start : start + 200_000])
        keys = []

        def key_of(digest: str) -> str:
            assert digest == digest_of(data)
            keys.append(new_key(data))
            return keys[0]

        await writer.commit(key_of)
        assert backend.raw_keys() == set(keys)
        assert backend.raw_get(keys[0]) == data

    async def test_a_key_that_cannot_be_made_leaves_nothing(self, backend: Backend, writer: BlobWriter) -> None:
        await writer.write(noise(1000))
        with pytest.raises(ValueError):
            await writer.commit(lambda _: "../outside")
        await writer.cancel()
        assert backend.raw_keys() == set()

    @pytest.mark.parametrize("size", [1000, 200_000])
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    async def test_every_kind_of_buffer_is_copied(
        self, backend: Backend, writer: BlobWriter, kind: type, size: int
    ) -> None:
        source = bytearray(noise(size))
        expected = bytes(source) * 2
        await writer.write(kind(source))
        await writer.write(memoryview(kind(source)))
        source[:] = bytes(size)  # the caller uses its buffer again
        await writer.commit(key := new_key())
        assert backend.raw_get(key) == expected

    async def test_one_write_may_be_larger_than_what_is_held(self, backend: Backend, writer: BlobWriter) -> None:
        data = noise(5 * MIB + 3)
        await writer.write(memoryview(data))
        await writer.commit(key := new_key(data))
        assert backend.raw_get(key) == data

    async def test_empty_writes_change_nothing(self, backend: Backend, writer: BlobWriter) -> None:
        await writer.write(b"")
        await writer.write(b"abc")
        await writer.write(b"")
        assert writer.size == 3
        await writer.commit(key := new_key())
        assert backend.raw_get(key) == b"abc"

    async def test_size_counts_bytes(self, writer: BlobWriter) -> None:
        assert writer.size == 0
        await writer.write(memoryview(bytes(8)).cast("I"))
        assert writer.size == 8

    @pytest.mark.parametrize("size", SIZES)
    async def test_digest_is_that_of_what_was_written(self, writer: BlobWriter, size: int) -> None:
        data = noise(size)
        await writer.write(data)
        assert await writer.digest() == digest_of(data)
        older = hashlib.sha256(data).hexdigest()
        assert await writer.digest(like=older) == older, "in the kind of earlier versions, too"
        assert await writer.digest(like=digest_of(b"other")) == digest_of(data)

    async def test_digest_may_be_asked_between_writes(self, writer: BlobWriter) -> None:
        data = noise(2 * MIB)
        for end in (10, 100_000, 100_001, MIB, MIB + 1, 2 * MIB):
            await writer.write(data[writer.size : end])
            assert await writer.digest() == digest_of(data[:end])
            assert await writer.digest() == digest_of(data[:end])

    @pytest.mark.parametrize("size", SIZES)
    async def test_contents_are_what_was_written(self, writer: BlobWriter, size: int) -> None:
        data = noise(size)
        await writer.write(data)
        contents = await writer.contents()
        assert isinstance(contents, bytes) or contents.readonly
        assert bytes(contents) == data
        writer.forget_contents()
        assert bytes(contents) == data

    async def test_contents_may_be_asked_between_writes(self, backend: Backend, writer: BlobWriter) -> None:
        data = noise(3 * MIB)
        for end in (10, MIB, 2 * MIB + 5, 3 * MIB):
            await writer.write(data[writer.size : end])
            assert bytes(await writer.contents()) == data[:end]
        assert await writer.digest() == digest_of(data)
        await writer.commit(key := new_key(data))
        assert backend.raw_get(key) == data

    @pytest.mark.parametrize("size", SIZES)
    async def test_ranges_of_what_was_written(self, backend: Backend, writer: BlobWriter, size: int) -> None:
        data = noise(size)
        await writer.write(data)
        for offset, length in ((0, size), (0, 10), (size // 2, 100_000), (max(0, size - 5), 50), (size + 7, 3), (0, 0)):
            assert await writer.read(offset, length) == data[offset : offset + length]
        assert await writer.digest() == digest_of(data)
        await writer.write(b"more")
        assert await writer.read(size, 4) == b"more"
        await writer.commit(key := new_key(data))
        assert backend.raw_get(key) == data + b"more"

    async def test_a_part_of_the_contents_that_is_still_held_does_not_hinder_the_commit(
        self, backend: Backend, writer: BlobWriter
    ) -> None:
        data = noise(2 * MIB)
        await writer.write(data)
        part = memoryview(await writer.contents())[100:200]
        await writer.commit(key := new_key(data))
        assert backend.raw_get(key) == data
        assert bytes(part) == data[100:200]
        part.release()

    @pytest.mark.parametrize("size", [10, 3 * MIB])
    async def test_nothing_is_visible_before_commit(self, backend: Backend, store: BlobStore, size: int) -> None:
        writer = await store.open_writer()
        await writer.write(noise(size))
        assert backend.raw_keys() == set()
        assert await list_keys(store) == []
        await writer.cancel()

    @pytest.mark.parametrize("size", [0, 10, 3 * MIB])
    async def test_cancel_leaves_nothing(self, backend: Backend, store: BlobStore, size: int) -> None:
        writer = await store.open_writer()
        await writer.write(noise(size))
        await writer.contents()
        await writer.cancel()
        assert backend.raw_keys() == set()
        assert backend.spool_files() == []
        assert backend.descriptors() == []

    async def test_cancel_is_safe_after_everything(self, backend: Backend, store: BlobStore) -> None:
        writer = await store.open_writer()
        await writer.cancel()
        await writer.cancel()
        writer = await store.open_writer()
        await writer.write(b"abc")
        await writer.commit(key := new_key())
        await writer.cancel()
        assert backend.raw_get(key) == b"abc"

    @pytest.mark.parametrize("ending", ["commit", "cancel"])
    async def test_an_ended_writer_takes_nothing_more(self, backend: Backend, store: BlobStore, ending: str) -> None:
        writer = await store.open_writer()
        await writer.write(b"abc")
        await (writer.commit(new_key()) if ending == "commit" else writer.cancel())
        before = backend.raw_keys()
        for call in (
            writer.write(b"d"),
            writer.digest(),
            writer.contents(),
            writer.read(0, 1),
            writer.commit(new_key()),
        ):
            with pytest.raises(RuntimeError):
                await call
        assert backend.raw_keys() == before

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".spool/a", "a/.b", "a b", "a\0b", "ä", "a" * 600]
    )
    async def test_keys_that_are_none_are_refused(
        self, backend: Backend, store: BlobStore, writer: BlobWriter, key: str
    ) -> None:
        await writer.write(b"abc")
        calls = [writer.commit(key), store.stat(key), store.delete(key), store.get_range(key, 0, 1)]
        calls += [store.get_ranges(key, [(0, 1)]), read_blob(store, key)]
        for call in calls:
            with pytest.raises(ValueError):
                await call
        assert backend.raw_keys() == set()
        await writer.commit(good := new_key())  # a bad key does not cost the blob
        assert backend.raw_get(good) == b"abc"

    async def test_a_sidecar_may_be_written_again(self, backend: Backend, store: BlobStore) -> None:
        key = tombstone_key(new_key())
        await write_blob(store, b'{"reason": "replaced"}', key)
        await write_blob(store, b'{"reason": "deleted"}', key)
        assert backend.raw_get(key) == b'{"reason": "deleted"}'
        assert backend.raw_keys() == {key}

    async def test_many_writers_at_once(self, backend: Backend, store: BlobStore) -> None:
        blobs = {new_key(data := noise(size)): data for size in range(100_000, 100_040)}
        await asyncio.gather(*(write_blob(store, data, key) for key, data in blobs.items()))
        assert backend.raw_keys() == set(blobs)
        assert all(backend.raw_get(key) == data for key, data in blobs.items())

    @pytest.mark.parametrize("size", [100, 2 * MIB])
    @pytest.mark.parametrize("turns", [0, 1, 2, 5])
    async def test_a_cancelled_commit_shows_nothing(
        self, backend: Backend, store: BlobStore, size: int, turns: int
    ) -> None:
        writer = await store.open_writer()
        await writer.write(noise(size))
        task = asyncio.ensure_future(writer.commit(key := new_key()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert backend.raw_get(key) is None
        else:
            assert turns, "a commit that never began cannot succeed"
            assert backend.raw_get(key) is not None
        await writer.cancel()
        assert backend.spool_files() == []
        assert backend.descriptors() == []

    async def test_a_cancelled_write_drops_the_blob(self, backend: Backend, store: BlobStore) -> None:
        writer = await store.open_writer()
        task = asyncio.ensure_future(self._write_for_ever(writer))
        await until(lambda: writer.size >= 3 * MIB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await writer.cancel()
        assert backend.raw_keys() == set()
        assert backend.spool_files() == []
        assert backend.descriptors() == []

    @staticmethod
    async def _write_for_ever(writer: BlobWriter) -> None:
        piece = noise(MIB // 2)
        while True:
            await writer.write(piece)
            if writer.size >= 16 * MIB:
                await asyncio.sleep(3600)
            await asyncio.sleep(0)
