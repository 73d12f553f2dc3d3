"""Memory stays bounded when small uploads inflate to large data sets (PS3.5 A.5), several at once."""

import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.durability.test_memory import MemoryWatch
from tests.support.dicom_bytes import make_instance
from tests.support.server import Server, running_server

DEFLATED = "1.2.840.10008.1.2.1.99"
MEGABYTE = 1024 * 1024
INFLATED = 128  # megabytes of each
UPLOADS = 4
LIMIT = 400 * MEGABYTE  # one of them, and the server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data") as server:
        yield server


def instance() -> bytes:
    """Some 130 kB: a private value of zeros."""
    native = make_instance(rows=0, transfer_syntax=DEFLATED.removesuffix(".99"))
    group = int.from_bytes(native[140:144], "little")
    meta, dataset = native[132 : 144 + group], native[144 + group :]
    old = b"\x02\0\x10\0UI\x14\x00" + DEFLATED.removesuffix(".99").encode() + b"\0"
    new = b"\x02\0\x10\0UI\x16\x00" + DEFLATED.encode()
    assert old in meta
    meta = meta.replace(old, new)
    meta = meta[:8] + (group + len(new) - len(old)).to_bytes(4, "little") + meta[12:]
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    value = b"\xff\xff\x10\x10OB\0\0" + (INFLATED * MEGABYTE).to_bytes(4, "little")
    pieces = [deflate.compress(dataset + value)]
    pieces += [deflate.compress(bytes(MEGABYTE)) for _ in range(INFLATED)]
    body = b"".join([*pieces, deflate.flush()])
    return native[:132] + meta + body + b"\0" * (len(body) % 2)


@pytest.mark.timeout(300)
def test_data_sets_that_inflate(server: Server) -> None:
    watch = MemoryWatch(server)
    watch.start()
    statuses: list[int] = []

    def send(data: bytes) -> None:
        headers = {"Content-Type": "application/dicom"}
        answer = httpx.post(f"{server.base_url}/studies", content=data, headers=headers, timeout=120, trust_env=False)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=send, args=(instance(),)) for _ in range(UPLOADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    highest = watch.end()
    assert statuses == [200] * UPLOADS
    assert highest < LIMIT, f"{highest / MEGABYTE:.0f} MB"
