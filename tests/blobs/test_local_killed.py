"""What is left of a folder store when its process is killed in the middle."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.blobs import LocalBlobStore
from tests.blobs.backend import digest_of, list_keys, names_in, read_blob

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalBlobStore]:
    store = LocalBlobStore(tmp_path / "blobs")
    yield store
    await store.close()
    if store.spool.path.is_dir():
        assert names_in(store.spool.path) == []


def start_python(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


WRITER = """
import asyncio, os, sys
from pathlib import Path
from app.blobs import LocalBlobStore
from app.blobs.keys import instance_key

async def write(store, number):
    while True:
        data = os.urandom(1000 + number * 700_001)
        writer = await store.open_writer()
        for start in range(0, len(data), 65_536):
            await writer.write(data[start:start + 65_536])
        key = instance_key("1.2", f"1.3.{number}", "1.4", await writer.digest())
        await writer.commit(key)
        os.write(1, (key + chr(10)).encode())

async def main():
    store = LocalBlobStore(Path(sys.argv[1]))
    await asyncio.gather(*(write(store, number) for number in range(6)))

asyncio.run(main())
"""


async def test_a_killed_process_leaves_whole_blobs_only(store: LocalBlobStore) -> None:
    acknowledged: set[str] = set()
    for _ in range(12):
        process = start_python(WRITER, str(store.root))
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout as output:
            first = output.readline()  # it is under way
            await asyncio.sleep(random.uniform(0, 0.12))
            process.send_signal(signal.SIGKILL)
            process.wait()
            lines = first + output.read()
        acknowledged |= {line for line in lines.decode().splitlines(keepends=False) if line.endswith(".dcm")}
    left_in_spool = len(names_in(store.spool.path))
    listed = set(await list_keys(store))
    assert acknowledged <= listed, "nothing that was acknowledged is lost"
    for key in listed:
        digest = digest_of(await read_blob(store, key))
        assert digest.startswith(key.rpartition("/")[2].split("-")[1]), "nothing half-written is listed"
    assert left_in_spool > 0, "no process was killed in the middle"
    assert await store.remove_stale_spool(timedelta(hours=1)) == 0
    assert await store.remove_stale_spool(timedelta(0)) == left_in_spool
    assert names_in(store.spool.path) == []


async def test_the_spool_of_a_living_process_is_left_alone(store: LocalBlobStore) -> None:
    code = """
import asyncio, sys
from pathlib import Path
from app.blobs import LocalBlobStore

async def main():
    writer = await LocalBlobStore(Path(sys.argv[1])).open_writer()
    await writer.write(bytes(2_000_000))
    print("written", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""
    process = start_python(code, str(store.root))
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline() == b"written\n"
        assert await store.remove_stale_spool(timedelta(0)) == 0
        assert len(names_in(store.spool.path)) == 1
        process.kill()
        process.wait()
    assert await store.remove_stale_spool(timedelta(0)) == 1
