"""Folders forced to disk, once for all who wait for the same one at the same time."""

import os
from threading import Condition
from typing import cast


class SyncedFolder:
    """A folder whose entries were on the disk when it was synced: open until nobody refers to it any more.

    As long as it is open its identity (device, inode) is that of no other folder, were it removed and one of its name made.
    """

    __slots__ = ("_descriptor", "identity")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self.identity = status.st_dev, status.st_ino

    def __del__(self) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor


class FolderSyncs:
    """`sync(folder)` returns the folder when a sync of the folder that began after the call has ended. Blocking; raises OSError.

    Files of a series become durable side by side: their names lie in one folder, and one sync serves all whose name was
    there when it began.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._folders: dict[str, _Rounds] = {}

    def sync(self, folder: str) -> SyncedFolder:
        with self._changed:
            rounds = self._folders.setdefault(folder, _Rounds())
            rounds.users += 1
            try:
                return self._wait_for_round(folder, rounds, rounds.begun + 1)
            finally:
                rounds.users -= 1
                if not rounds.users:
                    del self._folders[folder]

    def _wait_for_round(self, folder: str, rounds: "_Rounds", wanted: int) -> SyncedFolder:
        while rounds.ended < wanted:
            if rounds.begun > rounds.ended:
                self._changed.wait()
                continue
            rounds.begun += 1
            self._changed.release()
            try:
                rounds.folder = sync_folder(folder)
            except OSError as error:
                rounds.failed, rounds.error = rounds.begun, error
            finally:
                self._changed.acquire()
                rounds.ended = rounds.begun
                self._changed.notify_all()
        # Whoever has not seen the end of an earlier round yet is told the failure too: the system may not report it twice.
        if rounds.error is not None and wanted <= rounds.failed:
            raise OSError(rounds.error.errno, rounds.error.strerror) from rounds.error
        return cast(SyncedFolder, rounds.folder)  # one round has not failed


class _Rounds:
    """Syncs of one folder, numbered from 1; there is one at a time. failed: number of the last that did, 0 for none.
    folder: what the last one that did not fail has synced."""

    def __init__(self) -> None:
        self.begun = self.ended = self.failed = self.users = 0
        self.error: OSError | None = None
        self.folder: SyncedFolder | None = None


def sync_folder(folder: str) -> SyncedFolder:
    """Raises OSError."""
    opened = SyncedFolder(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    os.fsync(opened.fileno())
    return opened
