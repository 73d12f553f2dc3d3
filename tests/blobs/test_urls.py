import os
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from app.blobs import LocalBlobStore, MemoryBlobStore, open_blob_store
from app.blobs.object_store import CloudStore, ObjectBlobStore
from app.errors import BlobStoreUnavailable
from tests.blobs.backend import read_blob, write_blob

AZURE_KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.fixture(autouse=True)
def _no_clouds_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)


def cloud_store(url: str, spool: Path, **options: str) -> CloudStore:
    store = open_blob_store(url, spool_dir=spool, options=options)
    assert isinstance(store, ObjectBlobStore)
    assert store.spool.path == spool
    assert spool.is_dir()
    return store.store


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}", "FILE://{}"])
def test_a_folder(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "a b" / "blobs"
    url = form.format(folder) if form == "{}" else form.format(str(folder).replace(" ", "%20"))
    store = open_blob_store(url, spool_dir=tmp_path / "spool", sync=False, min_free_bytes=7)
    assert isinstance(store, LocalBlobStore)
    assert store.root == folder
    assert store.spool.path.is_dir()
    assert (store.tree.sync, store.spool.min_free_bytes) == (False, 7)
    assert not (tmp_path / "spool").exists(), "a folder has its own spool, on its own disk"


def test_a_relative_folder_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_blob_store("data/blobs", spool_dir=tmp_path)
    monkeypatch.chdir("/")
    assert isinstance(store, LocalBlobStore)
    assert store.root == tmp_path / "data" / "blobs"


async def test_memory(tmp_path: Path) -> None:
    store = open_blob_store("memory://", spool_dir=tmp_path)
    assert isinstance(store, MemoryBlobStore)
    assert await read_blob(store, await write_blob(store, b"abc")) == b"abc"


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://host/path", "http://bucket.example", "s3:///prefix", "s3://", "file://host/path", "file://", "file:///",
        "s3://key:secret@bucket/prefix", "s3://bucket:9000/prefix", "s3://bucket/../prefix", "s3://bucket/a//b",
        "s3://bucket?nonsense=1", "s3://bucket?timeout=soon", "s3://bucket?max_retries=many", "s3://bucket?max_retries=-1",
        "s3://bucket?retry_timeout=1e9", "s3://bucket?allow_http=perhaps", "s3://bucket?root_certificate=/nowhere",
        "az://container", "az://container?account_name=a&account_key=%21", "gs://bucket?service_account=/nowhere",
        "file:///tmp/blobs?sync=no",
    ],
)  # fmt: skip
def test_urls_that_cannot_be_used(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError):
        open_blob_store(url, spool_dir=tmp_path)


def test_an_unknown_kind_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'hdfs' are not known: use a folder, file://, memory://, s3://, az://, gs://"):
        open_blob_store("hdfs://host/path", spool_dir=tmp_path)


def test_no_secret_gets_into_an_error(tmp_path: Path) -> None:
    for url in (
        "s3://bucket?secret_access_key=hush&nonsense=hush",
        "az://c?account_name=a&account_key=hush!",
        "s3://u:hush@b/p",
    ):
        with pytest.raises(ValueError) as caught:
            open_blob_store(url, spool_dir=tmp_path)
        assert "hush" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_s3_as_minio_garage_and_ceph_expect_it(tmp_path: Path) -> None:
    url = "s3://pacs/archive/one?endpoint=http://minio:9000&region=garage&access_key_id=me&secret_access_key=hush"
    store = cloud_store(url, tmp_path / "spool")
    assert isinstance(store, S3Store)
    assert store.prefix == "archive/one"
    config = {name.removeprefix("aws_"): value for name, value in store.config.items()}
    assert config["bucket"] == "pacs"
    assert config["endpoint"] == "http://minio:9000"
    assert config["region"] == "garage"
    assert config["access_key_id"] == "me"
    assert config["secret_access_key"] == "hush"
    assert "virtual_hosted_style_request" not in config  # so the bucket is in the path
    assert str(store.client_options["allow_http"]).lower() == "true"


def test_an_encrypted_endpoint_stays_encrypted(tmp_path: Path) -> None:
    store = cloud_store("s3://pacs?endpoint=https://minio:9000", tmp_path)
    assert "allow_http" not in store.client_options
    assert store.prefix is None


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://ceph:7480")
    assert str(cloud_store("s3://pacs", tmp_path).client_options["allow_http"]).lower() == "true"


def test_options_win_over_the_url(tmp_path: Path) -> None:
    store = cloud_store(
        "s3://pacs?region=a&timeout=5s", tmp_path, region="b", timeout="7s", max_retries="1", retry_timeout="9s"
    )
    config = {name.removeprefix("aws_"): value for name, value in store.config.items()}
    assert config["region"] == "b"
    assert store.client_options["timeout"] == "7s"
    assert store.retry_config is not None
    assert store.retry_config["max_retries"] == 1
    assert store.retry_config["retry_timeout"] == timedelta(seconds=9)


def test_patience_is_bounded_by_default(tmp_path: Path) -> None:
    store = cloud_store("s3://pacs", tmp_path)
    assert store.client_options["connect_timeout"] == "5s"
    assert store.client_options["timeout"] == "60s"
    assert store.retry_config is not None
    assert store.retry_config["max_retries"] == 3
    assert store.retry_config["retry_timeout"] == timedelta(seconds=60)


def test_a_private_certificate_authority(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match="root_certificate"):  # read, and found not to be one
        cloud_store(f"s3://pacs?root_certificate={tmp_path}/ca.pem", tmp_path)


def test_azure(tmp_path: Path) -> None:
    url = f"az://studies/one?account_name=hospital&account_key={AZURE_KEY}&endpoint=http://127.0.0.1:10000/hospital"
    store = cloud_store(url, tmp_path)
    assert isinstance(store, AzureStore)
    assert store.prefix == "one"
    config = {name.removeprefix("azure_").removeprefix("storage_"): value for name, value in store.config.items()}
    assert (config["container_name"], config["account_name"]) == ("studies", "hospital")
    assert config["endpoint"] == "http://127.0.0.1:10000/hospital"
    assert str(store.client_options["allow_http"]).lower() == "true"


def test_azure_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "hospital")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
    assert isinstance(cloud_store("az://studies", tmp_path), AzureStore)


def test_google(tmp_path: Path) -> None:
    store = cloud_store("gs://pacs/a/b?base_url=http://127.0.0.1:4443&skip_signature=true", tmp_path)
    assert isinstance(store, GCSStore)
    assert store.prefix == "a/b"
    config = {name.removeprefix("google_"): value for name, value in store.config.items()}
    assert config["bucket"] == "pacs"
    assert config["base_url"] == "http://127.0.0.1:4443"
    assert str(store.client_options["allow_http"]).lower() == "true"


def test_a_spool_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobStoreUnavailable):
        open_blob_store("s3://pacs", spool_dir=tmp_path / "file" / "spool")
