"""Real object-store servers for tests: OpenStack Swift with its S3 interface, and Azurite.

Each is started once per test run, on free ports of 127.0.0.1, and shared by all pytest-xdist workers. It ends with the last
process that uses it, also when that is killed.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SUPPORT = Path(__file__).resolve().parent
SWIFT_PYTHON = PROJECT / ".venv-swift" / "bin" / "python"
AZURITE = SUPPORT / "azurite" / "node_modules" / ".bin" / "azurite-blob"
START_SECONDS = 60.0

T = TypeVar("T")


def azure_left_out() -> str | None:
    """Why the Azure tests are not run; None when they are."""
    if AZURITE.exists() or shutil.which("npm") or os.environ.get("GANTRY_REQUIRE_AZURE"):
        return None
    return "The tests against Azurite are left out: npm is not installed (GANTRY_REQUIRE_AZURE=1 makes this an error)."


def _call(method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})  # noqa: S310 -- 127.0.0.1
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.read()


@dataclass(frozen=True, slots=True)
class S3Server:
    """Swift. The `raw` methods use Swift's own protocol on another port: nothing of S3, nothing of ours."""

    endpoint: str
    raw_url: str
    access_key_id: str
    secret_access_key: str
    bucket: str

    def url(self, prefix: str, **options: str) -> str:
        keys = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        return f"s3://{self.bucket}/{prefix}?{urlencode(keys | options)}"

    def raw_get(self, name: str) -> bytes | None:
        try:
            return _call("GET", f"{self.raw_url}/{self.bucket}/{quote(name)}")
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    def raw_put(self, name: str, data: bytes) -> None:
        _call("PUT", f"{self.raw_url}/{self.bucket}/{quote(name)}", data)

    def raw_names(self, prefix: str, bucket: str | None = None) -> set[str]:
        try:
            text = _call("GET", f"{self.raw_url}/{bucket or self.bucket}?{urlencode({'prefix': prefix})}").decode()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return set()
                raise
        return set(text.split())


@dataclass(frozen=True, slots=True)
class AzureServer:
    """Azurite. The `raw` methods speak REST with a shared access signature, the store signs with the shared key."""

    endpoint: str
    account_name: str
    account_key: str
    container: str

    def url(self, prefix: str, **options: str) -> str:
        keys = {"endpoint": self.endpoint, "account_name": self.account_name, "account_key": self.account_key}
        return f"az://{self.container}/{prefix}?{urlencode(keys | options)}"

    def _signature(self) -> str:
        """An account SAS: https://learn.microsoft.com/rest/api/storageservices/create-account-sas"""
        end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {
            "sp": "rwdlac",
            "ss": "b",
            "srt": "sco",
            "st": "",
            "se": end,
            "sip": "",
            "spr": "",
            "sv": "2022-11-02",
            "ses": "",
        }
        text = "\n".join([self.account_name, *fields.values(), ""])
        digest = hmac.new(base64.b64decode(self.account_key), text.encode(), hashlib.sha256).digest()
        given = {name: value for name, value in fields.items() if value}
        return urlencode(given | {"sig": base64.b64encode(digest).decode()})

    def create_container(self) -> None:
        try:
            _call("PUT", f"{self.endpoint}/{self.container}?restype=container&{self._signature()}", b"")
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 409:  # another worker was faster
                    raise

    def raw_get(self, name: str) -> bytes | None:
        try:
            return _call("GET", f"{self.endpoint}/{self.container}/{quote(name)}?{self._signature()}")
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise

    def raw_put(self, name: str, data: bytes) -> None:
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        _call("PUT", f"{self.endpoint}/{self.container}/{quote(name)}?{self._signature()}", data, headers)

    def raw_names(self, prefix: str) -> set[str]:
        query = urlencode({"restype": "container", "comp": "list", "prefix": prefix})
        text = _call("GET", f"{self.endpoint}/{self.container}?{query}&{self._signature()}")
        return {element.text or "" for element in ElementTree.fromstring(text).iter("Name")}  # noqa: S314


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if not SWIFT_PYTHON.exists():
        pytest.fail("the S3 tests need OpenStack Swift in .venv-swift: run `make test-servers`", pytrace=False)
    folder = _shared_folder(tmp_path_factory) / "swift"

    def command() -> list[str]:
        return [str(SWIFT_PYTHON), str(SUPPORT / "swift" / "server.py"), str(folder / "node"), secrets.token_hex(16)]

    def ready() -> dict[str, str] | None:
        file = folder / "node" / "server.json"
        return json.loads(file.read_text()) if file.exists() else None

    with _shared_server(folder, command, ready) as description:
        yield S3Server(**description)


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    if not AZURITE.exists():
        pytest.fail(
            "the Azure tests need Azurite in tests/support/azurite: install npm and run `make test-servers`",
            pytrace=False,
        )
    folder = _shared_folder(tmp_path_factory) / "azurite"
    account, container = "gantrytests", "blobs"

    def command() -> list[str]:
        (folder / "key").write_text(key := base64.b64encode(secrets.token_bytes(32)).decode())
        options = [
            "--inMemoryPersistence",
            "--disableTelemetry",
            "--silent",
            "--blobPort",
            "0",
            "--skipApiVersionCheck",
        ]
        return ["env", f"AZURITE_ACCOUNTS={account}:{key}", str(AZURITE), *options]

    def ready() -> dict[str, str] | None:
        found = re.search(r"successfully listens on (http://\S+)", (folder / "log").read_text())
        if found is None:
            return None
        return {
            "endpoint": f"{found[1]}/{account}",
            "account_name": account,
            "account_key": (folder / "key").read_text(),
        }

    with _shared_server(folder, command, ready) as description:
        server = AzureServer(container=container, **description)
        server.create_container()
        yield server


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a run, and for no other run."""
    base = factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@contextlib.contextmanager
def _shared_server(folder: Path, command: Callable[[], list[str]], ready: Callable[[], T | None]) -> Iterator[T]:
    """What `ready` tells of the server, which is started by the first who asks and held while anybody is in here."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lease = _attach(folder)
        if lease is None:
            lease = _start(folder, command())
        try:
            description = _wait(folder, ready)
        except BaseException:
            os.close(lease)
            raise
    try:
        yield description
    finally:
        os.close(lease)


def _attach(folder: Path) -> int | None:
    try:
        return os.open(folder / "lease", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # no pipe, or nobody watches it
        return None


def _start(folder: Path, command: list[str]) -> int:
    shutil.rmtree(folder / "node", ignore_errors=True)
    (folder / "node").mkdir()
    for name in ("lease", "log", "ended"):
        (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / "lease", 0o600)
    (folder / "log").touch()
    read_end = os.open(folder / "lease", os.O_RDONLY | os.O_NONBLOCK)
    try:
        lease = os.open(folder / "lease", os.O_WRONLY | os.O_NONBLOCK)
        watchdog = [sys.executable, str(SUPPORT / "object_servers_watchdog.py"), str(folder), str(read_end), *command]
        with (folder / "log").open("ab") as log:
            subprocess.run(watchdog, check=True, pass_fds=[read_end], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    finally:
        os.close(read_end)
    return lease


def _wait(folder: Path, ready: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + START_SECONDS
    while (description := ready()) is None:
        if (folder / "ended").exists() or time.monotonic() > deadline:
            tail = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
            pytest.fail(f"the server did not start, see {folder / 'log'}: {' '.join(tail)}", pytrace=False)
        time.sleep(0.05)
    return description
