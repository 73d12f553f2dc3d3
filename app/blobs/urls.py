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

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from app.blobs.base import BlobStore
from app.blobs.keys import validate_key
from app.blobs.local import LocalBlobStore
from app.blobs.memory import MemoryBlobStore
from app.blobs.object_store import CloudStore, ObjectBlobStore
from app.blobs.spool import SpoolFolder

# Requests are of 16 MiB at most, except for very large frames.
CLIENT_DEFAULTS = {"connect_timeout": "5s", "timeout": "60s"}
MAX_RETRIES = 3
RETRY_SECONDS = 60.0

_CLIENT_OPTIONS = frozenset(
    {
        "allow_http", "allow_invalid_certificates", "connect_timeout", "pool_idle_timeout", "pool_max_idle_per_host",
        "proxy_ca_certificate", "proxy_excludes", "proxy_url", "root_certificate", "timeout", "user_agent",
    }
)  # fmt: skip
_SWITCHES = frozenset({"allow_http", "allow_invalid_certificates"})
_CERTIFICATES = frozenset({"proxy_ca_certificate", "root_certificate"})


@dataclass(frozen=True, slots=True)
class _Cloud:
    """make(bucket, ...) -> store; where its endpoint may come from; configuration that the URL may override."""

    make: Callable[..., CloudStore]
    endpoint_options: tuple[str, ...]
    endpoint_variables: tuple[str, ...]
    defaults: Mapping[str, str]


_CLOUDS = {
    "s3": _Cloud(
        S3Store,
        ("endpoint", "aws_endpoint_url_s3", "aws_endpoint", "endpoint_url"),
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_ENDPOINT_URL"),
        # One blob is deleted at a time: the bulk request gains nothing and not every S3 server knows it.
        {"disable_bulk_delete": "true"},
    ),
    "az": _Cloud(AzureStore, ("endpoint",), ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"), {}),
    "gs": _Cloud(GCSStore, ("base_url",), ("GOOGLE_BASE_URL",), {}),
}


def open_blob_store(
    url: str,
    *,
    spool_dir: Path,
    options: Mapping[str, str] | None = None,
    sync: bool = True,
    min_free_bytes: int = 0,
) -> BlobStore:
    """The blob store that `url` names (see above).

    spool_dir       where object stores keep uploads until they are committed; a folder has its own on its own disk
    options         as after the question mark of the URL, and stronger: secrets need not be in the URL
    sync            False gives up the durability of a folder for speed
    min_free_bytes  uploads end with OutOfSpace rather than leave less room on the disk of the spool
    Raises ValueError for a URL or an option that cannot be used, without repeating any value; BlobStoreUnavailable when a
    folder cannot be made. Object stores are not contacted yet.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        if not url:
            raise ValueError("the URL of the blob store is empty")
        return LocalBlobStore(Path(url), sync=sync, min_free_bytes=min_free_bytes)
    parts = urlsplit(url)
    scheme = scheme.lower()
    if scheme == "memory":
        return MemoryBlobStore()
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or len(parts.path) < 2 or parts.query:
            raise ValueError("the URL of a folder looks like file:///var/lib/gantry/blobs")
        return LocalBlobStore(Path(unquote(parts.path)), sync=sync, min_free_bytes=min_free_bytes)
    cloud = _CLOUDS.get(scheme)
    if cloud is None:
        known = ", ".join(f"{name}://" for name in ("file", "memory", *_CLOUDS))
        raise ValueError(f"blob stores of the kind {scheme[:20]!r} are not known: use a folder, {known}")
    given = dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(options or {})
    return ObjectBlobStore(
        _cloud_store(scheme, cloud, parts.netloc, parts.path, given), SpoolFolder(spool_dir, min_free_bytes)
    )


def _cloud_store(scheme: str, cloud: _Cloud, bucket: str, path: str, given: Mapping[str, str]) -> CloudStore:
    if not bucket or "@" in bucket or ":" in bucket:
        raise ValueError(f"the URL of this blob store looks like {scheme}://name/prefix")
    prefix = path.strip("/")
    if prefix:
        validate_key(prefix)
    client: dict[str, Any] = dict(CLIENT_DEFAULTS)
    config = dict(cloud.defaults)
    retry = {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    for name, value in given.items():
        name = name.lower()
        if name in _CLIENT_OPTIONS:
            client[name] = _client_value(name, value)
        elif name == "max_retries":
            retry[name] = int(_number(name, value))
        elif name == "retry_timeout":
            retry[name] = timedelta(seconds=_number(name, value.removesuffix("s")))
        else:
            config[name] = value
    endpoints = [config.get(name, "") for name in cloud.endpoint_options]
    endpoints += [os.environ.get(name, "") for name in cloud.endpoint_variables]
    if any(endpoint.startswith("http://") for endpoint in endpoints):
        client.setdefault("allow_http", True)
    try:
        return cloud.make(bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retry)
    except (BaseError, ValueError, TypeError, OSError) as error:
        # The text may hold values, secrets among them: it stays out of the message, and out of the chain.
        names = ", ".join(sorted(given)) or "none"
        raise ValueError(f"{scheme}:// cannot be opened ({type(error).__name__}); options given: {names}") from None


def _client_value(name: str, value: str) -> str | bool:
    if name in _SWITCHES:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"{name} is either true or false")
        return value.lower() == "true"
    if name in _CERTIFICATES:
        try:
            return Path(value).read_text("ascii")
        except (OSError, UnicodeError) as error:
            raise ValueError(f"{name} is the path of a file of certificates in PEM form") from error
    return value


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} is a number") from None
    if not 0 <= number <= 3600:
        raise ValueError(f"{name} is a number from 0 to 3600")
    return number
