"""One sync serves all who wait for it, and nobody who came after it had begun."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.blobs import folder_sync
from app.blobs.folder_sync import FolderSyncs, SyncedFolder


class Disk:
    """Stands in for the system call: each sync waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.count = 0
        self.fails = False

    def sync(self, _folder: str) -> SyncedFolder:
        self.count += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=10)
        if self.fails:
            raise OSError(errno.EIO, "the disk is broken")
        return SyncedFolder(os.open("/", os.O_RDONLY))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    one = Disk()
    monkeypatch.setattr(folder_sync, "sync_folder", one.sync)
    return one


def waiting(syncs: FolderSyncs, folder: str) -> int:
    return syncs._folders[folder].users


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.001)


def test_those_who_come_together_share(disk: Disk) -> None:
    syncs, folder = FolderSyncs(), "a"
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(syncs.sync, folder)
        assert disk.begun.acquire(timeout=10)
        later = [pool.submit(syncs.sync, folder) for _ in range(9)]
        until(lambda: waiting(syncs, folder) == 10)
        disk.go_on.release()
        first.result(10)
        assert disk.begun.acquire(timeout=10)
        assert not any(one.done() for one in later), "what began before them does not count"
        disk.go_on.release()
        for one in later:
            one.result(10)
    assert disk.count == 2
    assert syncs._folders == {}


def test_a_failure_is_told_to_all_of_its_round(disk: Disk) -> None:
    syncs, folder = FolderSyncs(), "a"
    disk.fails = True
    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(syncs.sync, folder)]
        assert disk.begun.acquire(timeout=10)
        works += [pool.submit(syncs.sync, folder) for _ in range(3)]
        until(lambda: waiting(syncs, folder) == 4)
        disk.go_on.release(2)
        for work in works:
            with pytest.raises(OSError, match="broken") as caught:
                work.result(10)
            assert caught.value.errno == errno.EIO
    disk.fails = False
    disk.go_on.release()
    syncs.sync(folder)


def test_folders_do_not_wait_for_each_other(disk: Disk) -> None:
    syncs = FolderSyncs()
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(syncs.sync, name) for name in "ab"]
        for _ in works:
            assert disk.begun.acquire(timeout=10)
        disk.go_on.release(2)
        for work in works:
            work.result(10)


def test_the_real_call(tmp_path: Path) -> None:
    found = FolderSyncs().sync(str(tmp_path))
    assert found.identity == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)
    with pytest.raises(FileNotFoundError):
        FolderSyncs().sync(tmp_path / "missing")
