import secrets
from pathlib import Path

import pytest

from app.blobs import open_blob_store
from tests.blobs.backend import Backend
from tests.blobs.blob_store_tests import BlobStoreTests
from tests.support.object_servers import S3Server


class S3Backend(Backend):
    def __init__(self, server: S3Server, spool: Path) -> None:
        self.server = server
        self.prefix = f"t-{secrets.token_hex(6)}"
        self.spool = spool
        self.folders = (spool,)
        self.store = open_blob_store(server.url(self.prefix), spool_dir=spool)

    def raw_get(self, key: str) -> bytes | None:
        return self.server.raw_get(f"{self.prefix}/{key}")

    def raw_put(self, key: str, data: bytes) -> None:
        self.server.raw_put(f"{self.prefix}/{key}", data)

    def raw_keys(self) -> set[str]:
        return {name.removeprefix(f"{self.prefix}/") for name in self.server.raw_names(f"{self.prefix}/")}


class TestS3BlobStore(BlobStoreTests):
    @pytest.fixture
    def backend(self, s3_server: S3Server, tmp_path: Path) -> S3Backend:
        return S3Backend(s3_server, tmp_path / "spool")
