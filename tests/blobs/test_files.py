"""Files kept open, their parts, and what is known to be in memory."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.blobs import files as files_module
from app.blobs.base import BlobStore
from app.blobs.files import FileSlice, OpenFile, OpenFiles, are_ends_in_memory
from app.blobs.local import LocalBlobStore
from app.blobs.memory import MemoryBlobStore
from app.errors import BlobNotFound, BlobStoreUnavailable
from tests.blobs.backend import new_key, noise, open_below, until, write_blob


def opened(path: Path) -> OpenFile:
    return OpenFile(os.open(path, os.O_RDONLY), path.stat().st_size)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalBlobStore]:
    one = LocalBlobStore(tmp_path / "blobs", sync=False)
    yield one
    await one.close()


async def bytes_of(store: BlobStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
    found = b""
    async for piece in store.pieces(key, offset, length):
        if isinstance(piece, FileSlice):
            found += b"".join([chunk async for chunk in piece.read()])
        else:
            found += piece
    return found


@pytest.mark.parametrize("kind", ["local", "memory"])
async def test_pieces_are_the_bytes(store: LocalBlobStore, kind: str) -> None:
    one: BlobStore = store if kind == "local" else MemoryBlobStore()
    data = noise(1_500_000)
    key = await write_blob(one, data)
    for offset, length in ((0, None), (0, 1), (1_499_999, 1), (700_000, 600_000), (1_500_000, None)):
        expected = data[offset:] if length is None else data[offset : offset + length]
        assert await bytes_of(one, key, offset, length) == expected
    for offset, length in ((0, 1_500_001), (1_500_001, None), (1_499_999, 2)):
        with pytest.raises(BlobStoreUnavailable):
            await bytes_of(one, key, offset, length)
    with pytest.raises(BlobNotFound):
        await bytes_of(one, new_key())


async def test_a_local_blob_is_one_slice(store: LocalBlobStore) -> None:
    key = await write_blob(store, noise(2_000_000))
    (piece,) = [piece async for piece in store.pieces(key, 10, 1_000_000)]
    assert isinstance(piece, FileSlice)
    assert (piece.offset, piece.length) == (10, 1_000_000)


async def test_what_is_read_again_is_open_already(store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(5000)
    key = await write_blob(store, data)
    await store.get_range(key, 0, 1)
    monkeypatch.setattr(store, "_open", None)
    assert await store.get_ranges(key, [(4000, 1000), (0, 10)]) == [data[4000:], data[:10]]
    assert b"".join([chunk async for chunk in store.open(key)]) == data
    assert await bytes_of(store, key) == data


async def test_what_was_deleted_is_gone_though_it_was_open(store: LocalBlobStore) -> None:
    key = await write_blob(store, noise(5000))
    await store.get_range(key, 0, 1)
    await store.delete(key)
    for call in (store.get_range(key, 0, 1), bytes_of(store, key)):
        with pytest.raises(BlobNotFound):
            await call


async def test_a_reader_keeps_what_is_deleted_under_it(store: LocalBlobStore) -> None:
    data = noise(3_000_000)
    key = await write_blob(store, data)
    stream, slices = store.open(key), [piece async for piece in store.pieces(key)]
    first = await anext(stream)
    await store.delete(key)
    assert first + b"".join([chunk async for chunk in stream]) == data
    assert b"".join([chunk async for chunk in slices[0].read()]) == data


def test_only_so_many_stay_open(tmp_path: Path) -> None:
    files = OpenFiles(2)
    descriptors = []
    for name in "abc":
        (tmp_path / name).write_bytes(b"x")
        file = opened(tmp_path / name)
        descriptors.append(file.descriptor)
        files.keep(name, file)
        files.get("a")
    del file
    assert [is_open(one) for one in descriptors] == [True, False, True], "b was used least recently"
    files.clear()
    assert not any(is_open(one) for one in descriptors)


def test_what_was_not_used_for_a_while_and_what_was_removed_is_let_go(tmp_path: Path) -> None:
    files = OpenFiles(4)
    descriptors = {}
    for name in "abcd":
        (tmp_path / name).write_bytes(b"x")
        files.keep(name, opened(tmp_path / name))
        found = files.get(name)
        assert found is not None
        descriptors[name] = found.descriptor
    del found
    (tmp_path / "d").unlink()
    assert len(files.take_unused()) == 1
    assert [is_open(one) for one in descriptors.values()] == [True, True, True, False], "d was removed"
    files.get("b", looks=False)
    assert len(files.take_unused()) == 2
    assert [is_open(one) for one in descriptors.values()] == [False, True, False, False], "b alone was used since"
    assert files.get("a") is None
    for name in "aceg":  # as many as there is room for: the mark has gone too
        (tmp_path / name).write_bytes(b"x")
        files.keep(name, opened(tmp_path / name))
    assert files.take_unused() == []
    assert all(files.get(name) for name in "aceg")
    assert len(files.take_unused()) == 0
    assert len(files.take_unused()) == 4


async def test_a_file_that_another_process_removed_is_closed(store: LocalBlobStore) -> None:
    key = await write_blob(store, noise(5000))
    await store.get_range(key, 0, 1)
    (store.root / key).unlink()
    assert open_below(store.root)
    await store.close_unused_files()
    await until(lambda: not open_below(store.root))
    await MemoryBlobStore().close_unused_files()


def test_what_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = noise(1_000_000)
    path.write_bytes(data)
    file = opened(path)
    assert file.is_in_memory(0, 1_000_000) == hasattr(os, "RWF_NOWAIT")
    assert not file.is_in_memory(999_999, 2), "beyond the end nothing is"
    found = file.read_from_memory(7, 1000)
    assert found == (data[7:1007] if hasattr(os, "RWF_NOWAIT") else None)
    assert file.read_from_memory(999_999, 2) is None


def test_a_disk_would_have_to_be_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")

    def again(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", again)
    assert not opened(path).is_in_memory(0, 3)
    assert opened(path).read_from_memory(0, 3) is None


async def test_where_nothing_is_known_to_be_in_memory_a_thread_reads(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = noise(300_000)
    key = await write_blob(store, data)
    monkeypatch.setattr(OpenFile, "is_in_memory", lambda *_: False)
    monkeypatch.setattr(OpenFile, "read_from_memory", lambda *_: None)
    assert await store.get_range(key, 1, 100) == data[1:101]
    assert await store.get_ranges(key, [(0, 100), (299_000, 1000)]) == [data[:100], data[299_000:]]


async def test_parts_of_a_file(store: LocalBlobStore) -> None:
    data = noise(300_000)
    key = await write_blob(store, data)
    slices = await store.slices(key, [(0, 100), (100_000, 200_000), (50, 1)])
    assert [b"".join([chunk async for chunk in one.read()]) for one in slices] == [
        data[:100],
        data[100_000:],
        data[50:51],
    ]
    for offset, length in ((299_999, 2), (300_000, 1)):
        with pytest.raises(BlobStoreUnavailable):
            await store.slices(key, [(0, 1), (offset, length)])
    with pytest.raises(ValueError, match="offset"):
        await store.slices(key, [(-1, 1)])
    with pytest.raises(BlobNotFound):
        await store.slices("instances/none.dcm", [(0, 1)])
    assert await MemoryBlobStore().slices(key, [(0, 1)]) is None


def test_of_files_in_a_row_the_end_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(noise(1000))
    asked: list[int] = []

    def present(_descriptor: int, buffers: list[bytearray], place: int, _flags: int) -> int:
        asked.append(place)
        return len(buffers[0])

    monkeypatch.setattr(files_module, "_NOWAIT", 8)
    monkeypatch.setattr(os, "preadv", present)
    file = opened(path)
    assert are_ends_in_memory(file.descriptor, file.size)
    assert asked == [0, 999]
    assert are_ends_in_memory(file.descriptor, file.size, in_a_row=True)
    assert asked == [0, 999, 999]
