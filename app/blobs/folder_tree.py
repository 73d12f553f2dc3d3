"""The tree of folders that blobs lie in: put there so that they stay, and taken away with the folders that this leaves empty.

Everything here is blocking, and for any number of threads at a time.
"""

# ruff: noqa: PTH102, PTH104, PTH106, PTH108 - paths are texts here: one of pathlib costs as much as a system call

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from app.blobs.folder_sync import FolderSyncs, SyncedFolder, sync_folder
from app.blobs.keys import validate_key
from app.blobs.spool import storage_error
from app.errors import BlobNotFound, BlobStoreUnavailable

FOLDER_MODE = 0o750
_PLACE_ATTEMPTS = 100
_DURABLE_FOLDERS = 256  # each is a descriptor; to forget one costs a sync of those above it
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


class FolderTree:
    """Below `root`. `mark` is a folder that is there when the root's disk is mounted. `sync=False` gives up durability."""

    def __init__(self, root: Path, mark: Path, *, sync: bool) -> None:
        self.root = str(root)
        self.sync = sync
        self._mark = mark
        self._folder_syncs = FolderSyncs()
        # Folders whose names, and those of all above them, are on the disk; another of the same path is another one.
        self._durable: dict[str, SyncedFolder] = {}

    def path_of(self, key: str) -> str:
        return f"{self.root}/{validate_key(key)}"

    def read_error(self, error: OSError) -> BlobNotFound | BlobStoreUnavailable:
        """What a failed read of a blob means: missing only when the store itself is there."""
        if error.errno in _MISSING and self._mark.is_dir():
            return BlobNotFound("a stored object is missing from the blob store")
        return BlobStoreUnavailable(f"the blob store cannot be read ({error.strerror})")

    def place(self, spool_path: Path, key: str) -> str:
        """Rename a synced spool file to its place, which `settle` then makes durable. Raises OSError."""
        target = self.path_of(key)
        folder = _parent(target)
        for attempt in range(1, _PLACE_ATTEMPTS + 1):
            try:
                if attempt > 1 or folder not in self._durable:
                    self._make_folder(folder)
                os.rename(spool_path, target)
                break
            except FileNotFoundError:  # a concurrent delete took the empty folder away again
                if attempt == _PLACE_ATTEMPTS or not spool_path.exists():
                    raise
        return target

    def settle(self, targets: Iterable[str]) -> dict[str, OSError]:
        """Make what was placed durable, each folder once. Those with which it failed are taken away again, and told.

        The folders are synced first, then each parent that may not hold the name of its child on the disk yet, and so on upwards.
        Whether a folder is known is asked after the rename, of the folder that was synced then: one that was removed and made
        again in between, by whatever process, is never taken for the durable one that had its path.
        """
        failed: dict[str, OSError] = {}
        if not self.sync:
            return failed
        fresh: dict[str, SyncedFolder] = {}
        below: dict[str, list[str]] = {}  # the targets that depend on a folder
        for target in targets:
            below.setdefault(_parent(target), []).append(target)
        while below:
            above: dict[str, list[str]] = {}
            for folder, inside in below.items():
                try:
                    synced = self._folder_syncs.sync(folder)
                except OSError as error:
                    for target in inside:
                        failed[target] = OSError(error.errno, error.strerror)
                        with contextlib.suppress(OSError):  # a commit that failed leaves nothing to see
                            os.unlink(target)
                    continue
                if folder != self.root and not self._is_known(folder, synced):
                    above.setdefault(_parent(folder), []).extend(inside)
                    fresh[folder] = synced
            below = above
        # Only now: whoever meets a known folder looks no further up.
        if len(self._durable) > _DURABLE_FOLDERS:
            self._durable.clear()
        if not failed:
            self._durable.update(fresh)
        return failed

    def forget(self) -> None:
        """Nothing is known to be durable any more, and no folder is open."""
        self._durable.clear()

    def _is_known(self, folder: str, synced: SyncedFolder) -> bool:
        known = self._durable.get(folder)
        return known is not None and known.identity == synced.identity

    def _make_folder(self, folder: str) -> None:
        if folder == self.root:
            return
        self._durable.pop(folder, None)  # another process may have removed it
        try:
            os.mkdir(folder, FOLDER_MODE)
        except FileExistsError:
            return
        except FileNotFoundError:
            if _parent(folder) == self.root:  # never make the root anew: its disk may not be mounted
                raise
            self._make_folder(_parent(folder))
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, FOLDER_MODE)

    def remove(self, key: str) -> None:
        path = self.path_of(key)
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if not self._mark.is_dir():
                raise self.read_error(error) from error
            return
        except OSError as error:
            raise storage_error(error) from error
        folder = _parent(path)
        while folder != self.root:
            self._durable.pop(folder, None)
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass  # a concurrent delete was faster
            except OSError:
                break  # not empty
            folder = _parent(folder)
        if self.sync:
            self._sync_survivor(folder)

    def _sync_survivor(self, folder: str) -> None:
        """What is deleted stays deleted after a power failure: sync the nearest folder that is still there."""
        while True:
            try:
                sync_folder(folder)
            except FileNotFoundError:
                if folder == self.root:
                    raise BlobStoreUnavailable("the folder of the blob store is gone") from None
                folder = _parent(folder)
            except OSError as error:
                raise storage_error(error) from error
            else:
                return


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
