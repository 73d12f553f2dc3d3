"""What a folder store does when disks fill, fail or vanish, and when its process dies in the middle."""

import asyncio
import errno
import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from app.blobs import LocalBlobStore, folder_tree, threads
from app.errors import BlobNotFound, BlobStoreUnavailable, OutOfSpace
from tests.blobs.backend import MIB, list_keys, names_in, new_key, noise, open_below, read_blob, until, write_blob

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalBlobStore]:
    store = LocalBlobStore(tmp_path / "blobs")
    yield store
    await store.close()
    if store.spool.path.is_dir():
        assert names_in(store.spool.path) == []


def run_python(code: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# A limit of the process on the size of a file is a real ENOSPC's nearest kin: the kernel refuses a write in the middle.
FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from app.blobs import LocalBlobStore
from app.errors import OutOfSpace

async def attempt(store, size, key):
    writer = await store.open_writer()
    for call in (writer.write, lambda data: writer.commit(key), lambda data: writer.commit(key), lambda data: writer.digest()):
        try:
            await call(bytes(size))
        except OutOfSpace as error:
            print(call.__name__, "OutOfSpace", str(error))
    await writer.cancel()

async def main():
    store = LocalBlobStore(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    await attempt(store, 600_000, "small")
    await attempt(store, 5_000_000, "large")
    writer = await store.open_writer()
    await writer.write(bytes(400_000))
    await writer.commit("fits")
    print([stat.key async for stat in store.list()], os.listdir(store.spool.path))
    await store.close()

asyncio.run(main())
"""


def test_a_full_disk_is_out_of_space_and_leaves_nothing(tmp_path: Path) -> None:
    lines = run_python(FULL, str(tmp_path / "blobs")).splitlines()
    full = "OutOfSpace there is no room left in the blob store"
    # A small blob meets the limit at its commit, a large one while it is written; both repeat it when asked again.
    assert lines[:3] == [f"<lambda> {full}"] * 3
    assert lines[3] == f"write {full}"
    assert lines[4:7] == [f"<lambda> {full}"] * 3
    assert lines[7] == "['fits'] []"


async def test_room_is_left_on_the_disk(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "blobs", min_free_bytes=2**60)
    writer = await store.open_writer()
    await writer.write(b"abc")
    with pytest.raises(OutOfSpace):
        await writer.commit(new_key())
    writer = await store.open_writer()
    with pytest.raises(OutOfSpace):
        await writer.write(bytes(3 * MIB))
    await writer.cancel()
    assert names_in(store.spool.path) == []
    await store.close()


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, OutOfSpace), (errno.EDQUOT, OutOfSpace), (errno.EIO, BlobStoreUnavailable)]
)
async def test_a_sync_that_fails_is_no_commit(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(expected):
        await write_blob(store, b"abc")
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", fail)  # after the rename
    with pytest.raises(expected):
        await write_blob(store, b"abc")
    assert await list_keys(store) == []


async def test_a_blob_is_synced_before_it_is_named_and_its_folders_after(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def record(name: str, original: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(store.root))
            events.append(f"{name} {'spool file' if '.spool' in path else path}")
            original(descriptor)

        return call

    original_rename = os.rename

    def rename(source: Path, target: str) -> None:
        events.append("rename")
        original_rename(source, target)

    monkeypatch.setattr(os, "fdatasync", record("fdatasync", os.fdatasync))
    monkeypatch.setattr(os, "fsync", record("fsync", os.fsync))
    monkeypatch.setattr(os, "rename", rename)
    await write_blob(store, b"abc", "instances/1/2/3/a.dcm")
    chain = [f"fsync {folder}" for folder in ("/instances/1/2/3", "/instances/1/2", "/instances/1", "/instances", "")]
    assert events == ["fdatasync spool file", "rename", *chain]
    events.clear()
    await write_blob(store, b"abc", "instances/1/2/4/b.dcm")  # the series folder is known to be durable
    assert events == ["fdatasync spool file", "rename", "fsync /instances/1/2/4", "fsync /instances/1/2"]
    events.clear()
    await store.delete("instances/1/2/3/a.dcm")
    await store.delete("instances/1/2/4/b.dcm")
    assert events == ["fsync /instances/1/2", "fsync "]
    events.clear()
    await write_blob(store, b"abc", "instances/1/2/4/c.dcm")  # all folders had been removed: none is known any more
    assert events[2:] == [
        f"fsync {folder}" for folder in ("/instances/1/2/4", "/instances/1/2", "/instances/1", "/instances", "")
    ]


async def committed_together(store: LocalBlobStore, keys: list[str]) -> list[BaseException | None]:
    """What became of each."""
    writers = [await store.open_writer() for _ in keys]
    for writer in writers:
        await writer.write(b"abc")
    commits = (writer.commit(key) for writer, key in zip(writers, keys, strict=True))
    return await asyncio.gather(*commits, return_exceptions=True)


async def test_a_folder_is_not_known_before_all_above_it_are_synced(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever meets a known folder looks no further up: another commit would be told too early."""
    original = os.fsync

    def sync(descriptor: int) -> None:
        assert not store.tree._durable
        original(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    assert await committed_together(store, ["instances/1/2/3/a", "instances/1/2/4/b"]) == [None] * 2
    assert store.tree._durable


@pytest.mark.parametrize("path", ["instances/1/2/3", "instances/1/2"])
async def test_a_folder_that_others_removed_and_made_again_is_not_the_known_one(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Three processes: one knows the folder, one removes it with its last blob, one has made it anew and not synced it yet."""
    await write_blob(store, b"abc", "instances/1/2/3/a.dcm")
    await write_blob(store, b"abc", "instances/1/other")
    removing = LocalBlobStore(store.root)
    await removing.delete("instances/1/2/3/a.dcm")
    await removing.close()
    (store.root / path).mkdir(parents=True)
    synced: list[str] = []
    original = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(store.root)))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    await write_blob(store, b"abc", f"{path}/b.dcm")
    expected = ["/instances/1/2/3", "/instances/1/2", "/instances/1"]
    assert synced == expected[expected.index(f"/{path}") :]
    synced.clear()
    await write_blob(store, b"abc", f"{path}/c.dcm")
    assert synced == [f"/{path}"], "now it is known"


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_folders_that_are_known_are_few_open_files(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_tree, "_DURABLE_FOLDERS", 5)
    before = open_files()
    for number in range(30):
        await write_blob(store, b"abc", f"instances/1/{number}/a.dcm")
    assert open_files() - before <= 5 + 4
    for number in range(30):
        await store.delete(f"instances/1/{number}/a.dcm")
    assert open_files() == before


async def test_blobs_that_come_together_have_each_of_their_folders_synced_once(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    original = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(str(store.root)))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    keys = ["instances/1/2/3/a", "instances/1/2/4/b", "instances/1/5/6/c", "instances/7/8/9/d"]
    assert await committed_together(store, keys) == [None] * 4
    folders = ["/1/2/3", "/1/2/4", "/1/5/6", "/7/8/9", "/1/2", "/1/5", "/7/8", "/1", "/7", ""]
    assert synced == [*(f"/instances{folder}" for folder in folders), ""]
    for key in keys:
        assert await read_blob(store, key) == b"abc"


@pytest.mark.parametrize("broken", ["/1/2/4", "/1/2", "/1", ""])
async def test_a_folder_that_cannot_be_synced_fails_what_lies_below_it_alone(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    original = os.fsync

    def sync(descriptor: int) -> None:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()) == f"{store.root}/instances{broken}":
            raise OSError(errno.EIO, "the disk is broken")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    keys = ["instances/1/2/3/a", "instances/1/2/4/b", "instances/1/5/6/c", "instances/7/8/9/d"]
    outcomes = await committed_together(store, keys)
    below = [key.startswith(f"instances{broken}/") for key in keys]
    assert [isinstance(outcome, BlobStoreUnavailable) for outcome in outcomes] == below
    monkeypatch.undo()
    assert {stat.key async for stat in store.list()} == {k for k, fails in zip(keys, below, strict=True) if not fails}


async def test_without_sync_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(os, "fsync", fail)
    store = LocalBlobStore(tmp_path, sync=False)
    key = await write_blob(store, noise(2 * MIB))
    assert (await store.stat(key)).size == 2 * MIB
    await store.delete(key)
    await store.close()


async def test_the_time_of_a_blob_is_that_of_its_commit(store: LocalBlobStore) -> None:
    writer = await store.open_writer()
    await writer.write(noise(2 * MIB))
    (spool_file,) = store.spool.path.iterdir()
    os.utime(spool_file, (1000, 1000))  # the client took its time
    writer._file._written -= 100  # type: ignore[attr-defined]
    await writer.commit(key := new_key())
    assert time.time() - (await store.stat(key)).modified.timestamp() < 60


async def test_an_unmounted_disk_is_not_a_missing_blob(store: LocalBlobStore) -> None:
    key = await write_blob(store, b"abc")
    store.root.rename(store.root.with_name("elsewhere"))
    for mounted in (False, True):
        if mounted:
            store.root.mkdir()  # the empty mount point
        for call in (
            store.stat(key),
            store.get_range(key, 0, 1),
            read_blob(store, key),
            list_keys(store),
            store.delete(key),
        ):
            with pytest.raises(BlobStoreUnavailable):
                await call
        with pytest.raises(BlobStoreUnavailable):
            await write_blob(store, b"def")
        with pytest.raises(BlobStoreUnavailable):
            await store.remove_stale_spool(timedelta(0))
    assert list(store.root.iterdir()) == []
    store.root.rmdir()
    store.root.with_name("elsewhere").rename(store.root)
    assert await read_blob(store, key) == b"abc"


async def test_a_disk_that_cannot_be_read_is_not_a_missing_blob(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await write_blob(store, noise(2 * MIB))

    def fail(*arguments: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    monkeypatch.setattr(os, "preadv", fail)
    for call in (store.get_range(key, 0, 1), store.get_ranges(key, [(0, 1), (MIB, 1)]), read_blob(store, key)):
        with pytest.raises(BlobStoreUnavailable):
            await call
    store.close_idle_files()

    def is_let_go() -> bool:
        gc.collect()  # the errors refer to what was being read
        return open_below(store.root) == []

    await until(is_let_go)  # the thread that read lets go of the file after the result is known


async def test_a_blob_that_shrinks_under_a_reader_is_an_error(store: LocalBlobStore) -> None:
    key = await write_blob(store, noise(3 * MIB))
    stream = store.open(key)
    await anext(stream)
    os.truncate(store.root / key, MIB)
    with pytest.raises(BlobStoreUnavailable):
        async for _ in stream:
            pass


async def test_a_blob_in_the_place_of_a_folder_is_an_error(store: LocalBlobStore) -> None:
    await write_blob(store, b"abc", "instances")
    with pytest.raises(BlobStoreUnavailable):
        await write_blob(store, b"abc")
    assert await list_keys(store) == ["instances"]


def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobStoreUnavailable):
        LocalBlobStore(tmp_path / "file" / "blobs")


async def test_others_see_nothing(store: LocalBlobStore) -> None:
    key = await write_blob(store, b"abc")
    path = store.root / key
    assert path.stat().st_mode & 0o007 == 0
    assert path.parent.stat().st_mode & 0o007 == 0


async def test_list_leaves_out_what_is_no_blob(store: LocalBlobStore) -> None:
    key = await write_blob(store, b"abc")
    (store.root / "lost+found").mkdir()
    (store.root / "lost+found" / "1234").write_text("")
    (store.root / "instances" / ".DS_Store").write_text("")
    (store.root / "instances" / "empty").mkdir()
    (store.root / "instances" / "dangling").symlink_to("nowhere")
    os.mkfifo(store.root / "instances" / "pipe")
    assert await list_keys(store) == [key]


async def test_delete_removes_emptied_folders_only(store: LocalBlobStore) -> None:
    first = await write_blob(store, b"abc", "instances/1/2/3/a")
    second = await write_blob(store, b"abc", "instances/1/3/4/b")
    await store.delete(first)
    assert sorted(names_in(store.root / "instances" / "1")) == ["3"]
    await store.delete(second)
    assert sorted(names_in(store.root)) == [".spool"]


async def test_a_folder_that_a_delete_takes_away_is_made_again(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.rename
    failures = 0

    def rename(source: Path, target: str) -> None:
        nonlocal failures
        if failures < 3:
            failures += 1
            for folder in list(Path(target).parents)[: failures + 1]:
                folder.rmdir()
        original(source, target)

    monkeypatch.setattr(os, "rename", rename)
    key = await write_blob(store, b"abc", "instances/1/2/3/a")
    assert await read_blob(store, key) == b"abc"
    assert failures == 3


async def test_an_ended_writer_holds_no_memory(store: LocalBlobStore) -> None:
    tracemalloc.start()
    try:
        writers = [await store.open_writer() for _ in range(8)]
        data = noise(MIB)
        before, _ = tracemalloc.get_traced_memory()
        for writer in writers:
            await writer.write(data)
        await asyncio.gather(*(writer.commit(new_key()) for writer in writers[:4]))
        await asyncio.gather(*(writer.cancel() for writer in writers[4:]))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MIB
    assert len(writers) == 8


async def test_a_list_longer_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "BATCH", 7)
    store = LocalBlobStore(tmp_path)
    (tmp_path / "instances").mkdir()
    for number in range(30):
        (tmp_path / "instances" / str(number)).write_bytes(b"")
    assert len(await list_keys(store)) == len(set(await list_keys(store))) == 30
    await store.close()


async def test_a_writer_outlives_its_store_without_a_leak(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    writer = await store.open_writer()
    await writer.write(noise(2 * MIB))
    await store.close()
    await writer.cancel()
    assert names_in(store.spool.path) == []


async def test_a_missing_blob_in_a_store_that_is_there(store: LocalBlobStore) -> None:
    with pytest.raises(BlobNotFound):
        await store.stat(new_key())
