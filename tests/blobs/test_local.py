from pathlib import Path

import pytest

from app.blobs import LocalBlobStore
from tests.blobs.backend import Backend
from tests.blobs.blob_store_tests import BlobStoreTests


class LocalBackend(Backend):
    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: LocalBlobStore = LocalBlobStore(root)
        self.spool = root / ".spool"
        self.folders = (root,)

    def raw_get(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.exists() else None

    def raw_put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def raw_keys(self) -> set[str]:
        keys = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}
        return {key for key in keys if not key.startswith(".spool/")}


class TestLocalBlobStore(BlobStoreTests):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> LocalBackend:
        return LocalBackend(tmp_path / "blobs")
