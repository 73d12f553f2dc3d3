import base64
import secrets
from pathlib import Path

import pytest

from app.blobs import open_blob_store
from app.errors import BlobStoreUnavailable
from tests.blobs.backend import MIB, Backend, every_call, new_key, noise, write_blob
from tests.blobs.blob_store_tests import BlobStoreTests
from tests.support.object_servers import AzureServer


class AzureBackend(Backend):
    def __init__(self, server: AzureServer, spool: Path) -> None:
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


class TestAzureBlobStore(BlobStoreTests):
    @pytest.fixture
    def backend(self, azure_server: AzureServer, tmp_path: Path) -> AzureBackend:
        return AzureBackend(azure_server, tmp_path / "spool")


async def test_large_blobs_go_up_in_parts(azure_server: AzureServer, tmp_path: Path) -> None:
    backend = AzureBackend(azure_server, tmp_path / "spool")
    key = await write_blob(backend.store, data := noise(20 * MIB + 5))
    assert backend.raw_get(key) == data
    assert await backend.store.get_range(key, 16 * MIB - 2, 4) == data[16 * MIB - 2 : 16 * MIB + 2]
    await backend.store.close()


async def test_wrong_credentials_are_named(azure_server: AzureServer, tmp_path: Path) -> None:
    wrong = base64.b64encode(b"wrong" * 8).decode()
    store = open_blob_store(azure_server.url("x", account_key=wrong, max_retries="0"), spool_dir=tmp_path)
    assert await every_call(store, new_key()) == [BlobStoreUnavailable] * 8
    with pytest.raises(BlobStoreUnavailable, match="refuses the credentials"):
        await store.stat(new_key())
    await store.close()


async def test_a_missing_container_is_not_a_missing_blob(azure_server: AzureServer, tmp_path: Path) -> None:
    url = azure_server.url("x").replace(f"az://{azure_server.container}/", "az://no-such-container/")
    store = open_blob_store(url, spool_dir=tmp_path)
    assert await every_call(store, new_key()) == [BlobStoreUnavailable] * 8
    await store.close()
