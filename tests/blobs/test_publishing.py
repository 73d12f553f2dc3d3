"""Blobs that are committed together: in groups, each with its own fate."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.blobs import LocalBlobStore, publishing
from app.blobs.base import BlobWriter
from app.blobs.publishing import AT_ONCE, GROUP_FILES, LARGE_BYTES
from app.errors import BlobStoreUnavailable, GantryError
from tests.blobs.backend import list_keys, names_in, noise, read_blob


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalBlobStore]:
    store = LocalBlobStore(tmp_path / "blobs")
    yield store
    await store.close()
    assert names_in(store.spool.path) == []


def key_of(number: int, folder: str = "1/2") -> str:
    return f"instances/{folder}/{number}.dcm"


async def written(store: LocalBlobStore, data: bytes) -> BlobWriter:
    writer = await store.open_writer()
    await writer.write(data)
    return writer


def path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


class Gate:
    """Holds up the syncs of files until it is opened, and notes in which thread each is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.threads: list[int] = []
        self._sync: Callable[[int], None] = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._wait)

    def _wait(self, descriptor: int) -> None:
        self.threads.append(threading.get_ident())
        assert self.open.wait(10)
        self._sync(descriptor)


async def begun(gate: Gate, threads: int) -> None:
    async with asyncio.timeout(10):
        while len(gate.threads) < threads:  # noqa: ASYNC110 - in other threads
            await asyncio.sleep(0.001)


async def test_all_arrive_in_as_many_groups_as_are_needed(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    original = publishing.Publishing._publish
    monkeypatch.setattr(
        publishing.Publishing, "_publish", lambda self, group: groups.append(len(group)) or original(self, group)
    )
    blobs = {key_of(number, f"1/{number % 3}"): noise(1000 + number) for number in range(50)}
    writers = {key: await written(store, data) for key, data in blobs.items()}
    await asyncio.gather(*(writer.commit(key) for key, writer in writers.items()))
    assert groups == [GROUP_FILES, GROUP_FILES, GROUP_FILES, 50 - 3 * GROUP_FILES]
    assert {key: await read_blob(store, key) for key in blobs} == blobs


async def test_what_comes_meanwhile_gathers_until_it_is_a_whole_group(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    commits: list[asyncio.Task[None]] = []

    async def commit(count: int) -> None:
        for _ in range(count):
            writer = await written(store, b"x")
            commits.append(asyncio.create_task(writer.commit(key_of(len(commits)))))

    await commit(1)
    await begun(gate, 1)
    await commit(GROUP_FILES - 1)
    await asyncio.sleep(0.05)
    assert len(gate.threads) == 1
    await commit(1 + (AT_ONCE - 2) * GROUP_FILES)
    await begun(gate, AT_ONCE)
    await commit(2 * GROUP_FILES)
    await asyncio.sleep(0.05)
    assert len(gate.threads) == AT_ONCE
    gate.open.set()
    await asyncio.gather(*commits)
    assert len(await list_keys(store)) == len(commits) == 1 + (AT_ONCE + 1) * GROUP_FILES


async def test_a_large_blob_keeps_nobody_waiting(store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    large = [
        asyncio.create_task((await written(store, bytes(LARGE_BYTES + 1))).commit(key_of(number)))
        for number in range(AT_ONCE + 1)
    ]
    await begun(gate, AT_ONCE + 1)
    monkeypatch.undo()
    await (await written(store, b"small")).commit(key_of(100))
    assert not any(task.done() for task in large)
    gate.open.set()
    await asyncio.gather(*large)


async def fates(commits: dict[str, asyncio.Task[None]]) -> dict[str, type[BaseException] | None]:
    await asyncio.wait(commits.values())
    return {key: type(task.exception()) if task.exception() else None for key, task in commits.items()}


async def test_a_file_that_cannot_be_synced_fails_alone(store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.fdatasync

    def sync(descriptor: int) -> None:
        if os.pread(descriptor, 3, 0) == b"bad":
            raise OSError(errno.EIO, "broken")
        original(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)
    contents = {key_of(number): b"bad" if number in (3, 8) else b"good" for number in range(12)}
    commits = {key: asyncio.create_task((await written(store, data)).commit(key)) for key, data in contents.items()}
    found = await fates(commits)
    assert found == {key: BlobStoreUnavailable if data == b"bad" else None for key, data in contents.items()}
    assert set(await list_keys(store)) == {key for key, data in contents.items() if data == b"good"}


async def test_a_key_that_cannot_be_made_fails_alone(store: LocalBlobStore) -> None:
    class Refused(GantryError):
        pass

    def refuse(_digest: str) -> str:
        raise Refused("no key")

    writers = [await written(store, noise(100)) for _ in range(6)]
    commits = {
        key_of(number): asyncio.create_task(writer.commit(refuse if number == 2 else key_of(number)))
        for number, writer in enumerate(writers)
    }
    assert await fates(commits) == {key: Refused if key == key_of(2) else None for key in commits}
    assert len(await list_keys(store)) == 5


async def test_a_folder_that_cannot_be_synced_fails_with_all_in_it(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.fsync

    def sync(descriptor: int) -> None:
        if path_of(descriptor).name == "broken":
            raise OSError(errno.EIO, "broken")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    keys = [key_of(number, f"1/{folder}") for number in range(4) for folder in ("broken", "whole")]
    commits = {key: asyncio.create_task((await written(store, b"x")).commit(key)) for key in keys}
    found = await fates(commits)
    assert found == {key: BlobStoreUnavailable if "broken" in key else None for key in keys}
    assert set(await list_keys(store)) == {key for key in keys if "whole" in key}


@pytest.mark.parametrize("waiting", [False, True])
async def test_one_that_is_given_up_takes_nobody_with_it(
    store: LocalBlobStore, monkeypatch: pytest.MonkeyPatch, waiting: bool
) -> None:
    gate = Gate(monkeypatch)
    before = []
    if waiting:
        before.append(asyncio.create_task((await written(store, b"x")).commit(key_of(100))))
        await begun(gate, 1)
    writers = [await written(store, b"x") for _ in range(5)]
    commits = [asyncio.create_task(writer.commit(key_of(number))) for number, writer in enumerate(writers)]
    await (asyncio.sleep(0.05) if waiting else begun(gate, 1))
    commits[2].cancel()
    await asyncio.sleep(0.01)
    assert commits[2].done() == waiting  # what has begun is waited for
    gate.open.set()
    await asyncio.gather(*before, *commits, return_exceptions=True)
    assert [task.cancelled() for task in commits] == [False, False, True, False, False]
    assert set(await list_keys(store)) == {
        *(key_of(number) for number in (0, 1, 3, 4)),
        *(key_of(100 + number) for number in range(len(before))),
    }
    await writers[2].cancel()
