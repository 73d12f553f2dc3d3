"""An object store from its URL (see app.blobs.urls). Importing this brings obstore."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from app.blobs.keys import validate_key
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


def open_object_store(url: str, options: Mapping[str, str], spool: SpoolFolder) -> ObjectBlobStore:
    """Of one of the kinds of app.blobs.urls. Raises ValueError."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(options)
    scheme = parts.scheme.lower()
    return ObjectBlobStore(_cloud_store(scheme, _CLOUDS[scheme], parts.netloc, parts.path, given), spool)


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
