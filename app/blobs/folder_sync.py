"""Folders forced to disk, once for all who wait for the same one at the same time."""

import os
from threading import Condition


class FolderSyncs:
    """`sync(folder)` returns when a sync of the folder that began after the call has ended. Blocking; raises OSError.

    Files of a series become durable side by side: their names lie in one folder, and one sync serves all whose name was
    there when it began.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._folders: dict[str, _Rounds] = {}

    def sync(self, folder: str) -> None:
        with self._changed:
            rounds = self._folders.setdefault(folder, _Rounds())
            rounds.users += 1
            try:
                self._wait_for_round(folder, rounds, rounds.begun + 1)
            finally:
                rounds.users -= 1
                if not rounds.users:
                    del self._folders[folder]

    def _wait_for_round(self, folder: str, rounds: "_Rounds", wanted: int) -> None:
        while rounds.ended < wanted:
            if rounds.begun > rounds.ended:
                self._changed.wait()
                continue
            rounds.begun += 1
            self._changed.release()
            try:
                sync_folder(folder)
            except OSError as error:
                rounds.failed, rounds.error = rounds.begun, error
            finally:
                self._changed.acquire()
                rounds.ended = rounds.begun
                self._changed.notify_all()
        # Whoever has not seen the end of an earlier round yet is told the failure too: the system may not report it twice.
        if rounds.error is not None and wanted <= rounds.failed:
            raise OSError(rounds.error.errno, rounds.error.strerror) from rounds.error


class _Rounds:
    """Syncs of one folder, numbered from 1; there is one at a time. failed: number of the last that did, 0 for none."""

    def __init__(self) -> None:
        self.begun = self.ended = self.failed = self.users = 0
        self.error: OSError | None = None


def sync_folder(folder: str) -> None:
    """Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
