from datetime import UTC, datetime

import pytest

from app.blobs import MemoryBlobStore
from tests.blobs.backend import Backend
from tests.blobs.blob_store_tests import BlobStoreTests


class MemoryBackend(Backend):
    def __init__(self) -> None:
        self.store: MemoryBlobStore = MemoryBlobStore()

    def raw_get(self, key: str) -> bytes | None:
        return self.store.blobs.get(key, (None,))[0]

    def raw_put(self, key: str, data: bytes) -> None:
        self.store.blobs[key] = (data, datetime.now(UTC))

    def raw_keys(self) -> set[str]:
        return set(self.store.blobs)


class TestMemoryBlobStore(BlobStoreTests):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()
