"""A blob store from its URL.

    /var/lib/gantry/blobs                                   a folder
    file:///var/lib/gantry/blobs                            the same
    memory://                                               for tests
    s3://bucket/prefix?endpoint=https://minio.local:9000&region=us-east-1&access_key_id=...&secret_access_key=...
    az://container/prefix?account_name=...&account_key=...
    gs://bucket/prefix?service_account=/etc/gantry/key.json

What follows the question mark are obstore's configuration keys of the store (S3Config, AzureConfig, GCSConfig) and of its
HTTP client (ClientConfig), and `max_retries` and `retry_timeout`. What the URL does not say comes from the usual environment
variables (AWS_*, AZURE_*, GOOGLE_*) or from the machine's own identity. Buckets are addressed in the path, as MinIO, Garage
and Ceph expect it, unless `virtual_hosted_style_request=true`; an endpoint that begins with `http://` is allowed to be
without encryption.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.blobs.base import BlobStore
from app.blobs.local import LocalBlobStore
from app.blobs.memory import MemoryBlobStore
from app.blobs.spool import SpoolFolder

_OBJECT_STORES = ("s3", "az", "gs")


def open_blob_store(
    url: str,
    *,
    spool_dir: Path,
    options: Mapping[str, str] | None = None,
    sync: bool = True,
    min_free_bytes: int = 0,
    create: bool = True,
) -> BlobStore:
    """The blob store that `url` names (see above).

    spool_dir       where object stores keep uploads until they are committed; a folder has its own on its own disk
    options         as after the question mark of the URL, and stronger: secrets need not be in the URL
    sync            False gives up the durability of a folder for speed
    min_free_bytes  uploads end with OutOfSpace rather than leave less room on the disk of the spool
    create          False where blobs are known to be stored: a folder without any is then a disk that is not mounted
    Raises ValueError for a URL or an option that cannot be used, without repeating any value; BlobStoreUnavailable when a
    folder cannot be made, or is not there. Object stores are not contacted yet.
    """
    if (folder := folder_of(url)) is not None:
        return LocalBlobStore(folder, sync=sync, min_free_bytes=min_free_bytes, create=create)
    scheme = url.partition("://")[0].lower()
    if scheme == "memory":
        return MemoryBlobStore()
    if scheme not in _OBJECT_STORES:
        known = ", ".join(f"{name}://" for name in ("file", "memory", *_OBJECT_STORES))
        raise ValueError(f"blob stores of the kind {scheme[:20]!r} are not known: use a folder, {known}")
    # An archive in a folder does without obstore.
    from app.blobs.object_urls import open_object_store

    return open_object_store(url, options or {}, SpoolFolder(spool_dir, min_free_bytes))


def folder_of(url: str) -> Path | None:
    """The folder that `url` names; None where it names another kind of store. Raises ValueError."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        if not url:
            raise ValueError("the URL of the blob store is empty")
        return Path(url)
    if scheme.lower() != "file":
        return None
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or len(parts.path) < 2 or parts.query:
        raise ValueError("the URL of a folder looks like file:///var/lib/gantry/blobs")
    return Path(unquote(parts.path))
