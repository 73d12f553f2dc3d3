"""The tree of folders that blobs lie in: put there so that they stay, and taken away with the folders that this leaves empty.

Everything here is blocking, and for any number of threads at a time.
"""

import contextlib
import errno
from collections.abc import Iterable
from pathlib import Path

from app.blobs.folder_sync import FolderSyncs, sync_folder
from app.blobs.keys import validate_key
from app.blobs.spool import storage_error
from app.errors import BlobNotFound, BlobStoreUnavailable

FOLDER_MODE = 0o750
_PLACE_ATTEMPTS = 100
_DURABLE_FOLDERS = 10_000
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


class FolderTree:
    """Below `root`. `mark` is a folder that is there when the root's disk is mounted. `sync=False` gives up durability."""

    def __init__(self, root: Path, mark: Path, *, sync: bool) -> None:
        self.root = root
        self.sync = sync
        self._mark = mark
        self._folder_syncs = FolderSyncs()
        self._durable: set[Path] = set()  # folders whose own entry in their parent is on the disk

    def path_of(self, key: str) -> Path:
        return self.root / validate_key(key)

    def read_error(self, error: OSError) -> BlobNotFound | BlobStoreUnavailable:
        """What a failed read of a blob means: missing only when the store itself is there."""
        if error.errno in _MISSING and self._mark.is_dir():
            return BlobNotFound("a stored object is missing from the blob store")
        return BlobStoreUnavailable(f"the blob store cannot be read ({error.strerror})")

    def place(self, spool_path: Path, key: str) -> Path:
        """Rename a synced spool file to its place, which `settle` then makes durable. Raises OSError."""
        target = self.path_of(key)
        for attempt in range(1, _PLACE_ATTEMPTS + 1):
            try:
                if attempt > 1 or target.parent not in self._durable:
                    self._make_folder(target.parent)
                spool_path.rename(target)
                break
            except FileNotFoundError:  # a concurrent delete took the empty folder away again
                if attempt == _PLACE_ATTEMPTS or not spool_path.exists():
                    raise
        return target

    def settle(self, targets: Iterable[Path]) -> dict[Path, OSError]:
        """Make what was placed durable, a folder at a time. Those with which it failed are taken away again, and told."""
        failed: dict[Path, OSError] = {}
        if not self.sync:
            return failed
        folders: dict[Path, list[Path]] = {}
        for target in targets:
            folders.setdefault(target.parent, []).append(target)
        for folder, inside in folders.items():
            try:
                self._sync_folders(folder)
            except OSError as error:
                for target in inside:
                    failed[target] = OSError(error.errno, error.strerror)
                    with contextlib.suppress(OSError):  # a commit that failed leaves nothing to see
                        target.unlink()
        return failed

    def _make_folder(self, folder: Path) -> None:
        if folder == self.root:
            return
        self._durable.discard(folder)  # another process may have removed it
        try:
            folder.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            return
        except FileNotFoundError:
            if folder.parent == self.root:  # never make the root anew: its disk may not be mounted
                raise
            self._make_folder(folder.parent)
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)

    def _sync_folders(self, folder: Path) -> None:
        """Sync a folder, and each parent that may not hold the name of its child on the disk yet.

        Whether a folder is known is asked after the rename, and `remove` forgets a folder before it removes it: a
        folder that was removed and made again in between is never taken for a durable one.
        """
        self._folder_syncs.sync(folder)
        fresh: list[Path] = []
        while folder != self.root and folder not in self._durable:
            self._folder_syncs.sync(folder.parent)
            fresh.append(folder)
            folder = folder.parent
        if len(self._durable) > _DURABLE_FOLDERS:
            self._durable.clear()
        self._durable.update(fresh)

    def remove(self, key: str) -> None:
        path = self.path_of(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if not self._mark.is_dir():
                raise self.read_error(error) from error
            return
        except OSError as error:
            raise storage_error(error) from error
        folder = path.parent
        while folder != self.root:
            self._durable.discard(folder)
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # a concurrent delete was faster
            except OSError:
                break  # not empty
            folder = folder.parent
        if self.sync:
            self._sync_survivor(folder)

    def _sync_survivor(self, folder: Path) -> None:
        """What is deleted stays deleted after a power failure: sync the nearest folder that is still there."""
        while True:
            try:
                sync_folder(folder)
            except FileNotFoundError:
                if folder == self.root:
                    raise BlobStoreUnavailable("the folder of the blob store is gone") from None
                folder = folder.parent
            except OSError as error:
                raise storage_error(error) from error
            else:
                return
