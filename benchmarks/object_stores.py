"""Object stores to read from, behind a wire with a round-trip time; our server on them, and obstore alone."""

import json
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import obstore
from obstore.store import S3Store

from benchmarks.measurement import Work, clock
from benchmarks.processes import PROJECT, Process, free_port
from benchmarks.servers import Gantry, Nginx

SWIFT_PYTHON = PROJECT / ".venv-swift" / "bin" / "python"
_ONE_BY_ONE = "import app.blobs.object_store as store; store.BLOBS_AHEAD = 0; from app.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Bucket:
    """An S3 endpoint and what opens it."""

    endpoint: str
    name: str
    access_key_id: str = "nobody"
    secret_access_key: str = "nothing"  # noqa: S105 -- nobody looks at it

    def url(self) -> str:
        keys = {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }
        return f"s3://{self.name}/?{urlencode(keys)}"

    def store(self) -> S3Store:
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            client_options={"allow_http": True},
        )


class OneByOne(Gantry):
    """Ours with nothing fetched ahead."""

    def make_process(self) -> Process:
        return Process([sys.executable, "-c", _ONE_BY_ONE, "serve"], self.folder, self.environment())


@contextmanager
def swift(folder: Path) -> Iterator[Bucket]:
    """A real S3 server, as slow as Python is."""
    script = PROJECT / "tests" / "support" / "swift" / "server.py"
    node = folder / "node"
    node.mkdir(parents=True)
    process = Process([str(SWIFT_PYTHON), str(script), str(node), secrets.token_hex(16)], folder)
    description = node / "server.json"
    process.start(description.exists)
    try:
        told = json.loads(description.read_text())
        yield Bucket(told["endpoint"], told["bucket"], told["access_key_id"], told["secret_access_key"])
    finally:
        process.stop()


def nginx_bucket(nginx: Nginx, blobs: Path) -> Bucket:
    """The files of a blob folder as a bucket to read from: GET and HEAD of S3 are plain HTTP. It is no bottleneck."""
    (blobs / "instances" / "readiness-probe").touch()  # what is not there would be looked for in a listing
    bucket = nginx.root / "blobs"
    bucket.unlink(missing_ok=True)
    bucket.symlink_to(blobs)
    return Bucket(nginx.url, bucket.name)


@contextmanager
def far_away(bucket: Bucket, folder: Path, milliseconds: float) -> Iterator[Bucket]:
    """The same bucket behind a wire with this round-trip time."""
    port = free_port()
    upstream = urlsplit(bucket.endpoint).port
    arguments = [sys.executable, "-m", "benchmarks.delay_proxy", str(port), str(upstream), str(milliseconds)]
    process = Process(arguments, folder, {"PYTHONPATH": str(PROJECT)})
    process.start(lambda: _accepts(port))
    try:
        yield replace(bucket, endpoint=f"http://127.0.0.1:{port}")
    finally:
        process.stop()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def copy_blobs(blobs: Path, bucket: Bucket) -> None:
    """All files of a blob folder into a bucket, under the same keys."""
    store = bucket.store()
    keys = [str(path.relative_to(blobs)) for path in (blobs / "instances").rglob("*.dcm")]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: obstore.put(store, key, (blobs / key).read_bytes(), use_multipart=False), keys))


def read_side_by_side(bucket: Bucket, objects: Sequence[tuple[str, int]], at_once: int) -> Work:
    """What obstore alone reads from the bucket, and nothing done with it."""
    store = bucket.store()
    started = clock()
    with ThreadPoolExecutor(at_once) as pool:
        read = sum(pool.map(lambda one: len(obstore.get_range(store, one[0], start=0, length=one[1])), objects))
    seconds = clock() - started
    return Work(1, seconds, read, seconds, seconds, units=len(objects))
