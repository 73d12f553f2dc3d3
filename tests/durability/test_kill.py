"""kill -9 at random moments of uploads: what was acknowledged is there bit for bit, and nothing is half there.

Five kills per database; GANTRY_KILLS says otherwise.
"""

import os
import random
import sqlite3
import threading
import time
from collections import Counter

import asyncpg
import pytest

from tests.durability.uploads import Promise, Uploader, digest
from tests.support.http import Peer, first, integer
from tests.support.postgres import run_in_thread
from tests.support.server import Server

KILLS = int(os.environ.get("GANTRY_KILLS", "5"))
CLIENTS = 4
AS_STORED = "application/dicom; transfer-syntax=*"
KEYS = "SELECT blob_key FROM instances UNION ALL SELECT blob_key FROM tombstones"


def referenced_blobs(server: Server) -> list[str]:
    """Blob keys of all rows, read behind the server's back."""
    url = server.settings.get("GANTRY_DATABASE_URL")
    if url is None:
        with sqlite3.connect(server.data_dir / "gantry.sqlite") as connection:
            return [key for (key,) in connection.execute(KEYS)]

    async def read() -> list[str]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return [row[0] for row in await connection.fetch(KEYS)]
        finally:
            await connection.close()

    with_keys: list[str] = run_in_thread(read())
    return with_keys


def check_promises(peer: Peer, promises: dict[str, Promise]) -> None:
    for path, promise in promises.items():
        answer = peer.get(path, AS_STORED)
        if promise.acknowledged or answer.status_code == 200:
            assert answer.status_code == 200, f"acknowledged, but {answer.status_code}: {path}"
            assert digest(answer.content) in promise.digests, f"other bytes than were sent: {path}"
        else:
            assert answer.status_code == 404


def check_listing(peer: Peer, promises: dict[str, Promise]) -> None:
    """Search, metadata and retrieve agree: whatever is listed is whole, and the counts are right."""
    listed: list[tuple[str, str, str]] = []
    while page := peer.search("/instances", f"limit=500&offset={len(listed)}"):
        listed += [(first(one, "0020000D"), first(one, "0020000E"), first(one, "00080018")) for one in page]
    assert len(set(listed)) == len(listed)
    paths = {f"/studies/{study}/series/{series}/instances/{instance}" for study, series, instance in listed}
    assert paths <= promises.keys()
    assert {path for path, promise in promises.items() if promise.acknowledged} <= paths
    for study in peer.search("/studies", "limit=1000"):
        uid = first(study, "0020000D")
        in_study = Counter(series for of, series, _ in listed if of == uid)
        assert integer(study, "00201208") == in_study.total()
        assert integer(study, "00201206") == len(in_study)
        found = {first(one, "0020000E"): integer(one, "00201209") for one in peer.search(f"/studies/{uid}/series")}
        assert found == dict(in_study)
        datasets = peer.metadata(f"/studies/{uid}")
        assert {first(one, "00080018") for one in datasets} == {instance for of, _, instance in listed if of == uid}
    for path in sorted(paths)[:: len(paths) // 100 + 1]:
        assert peer.get(path + "/frames/1", "application/octet-stream").status_code == 200


def check_disk(server: Server) -> None:
    """After a sweep the disk holds the blobs that rows name, the sidecars of tombstones, and nothing else."""
    assert server.gantry("verify").returncode == 0
    # After GANTRY_KILLS kills in a short life there may be more strays than a sweep believes by itself.
    swept = server.gantry("sweep", "--delete", "--grace-hours", "0", "--force")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    root = server.data_dir / "blobs"
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    instances = {name for name in files if name.startswith("instances/")}
    keys = referenced_blobs(server)
    assert len(keys) == len(set(keys))
    assert instances == set(keys)
    rest = {name for name in files - instances if not name.startswith("tombstones/")}
    assert rest == set(), "left behind"


@pytest.mark.timeout(3600)
def test_kill(server: Server) -> None:
    stop, chance = threading.Event(), random.Random(KILLS)
    uploaders = [Uploader(server.base_url, seed, stop) for seed in range(CLIENTS)]
    for uploader in uploaders:
        uploader.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.05, 1.5))
            server.kill()
            server.start()
        time.sleep(0.5)
    finally:
        stop.set()
        for uploader in uploaders:
            uploader.join(60)
    assert [uploader.failure for uploader in uploaders] == [""] * CLIENTS
    assert sum(uploader.acknowledged for uploader in uploaders) > 10 * KILLS
    assert sum(uploader.interrupted for uploader in uploaders) >= KILLS
    promises = {path: promise for uploader in uploaders for path, promise in uploader.promises.items()}
    peer = Peer(server.base_url)
    try:
        check_promises(peer, promises)
        check_listing(peer, promises)
    finally:
        peer.close()
    assert server.stop() == 0
    check_disk(server)
    # And once more behind the sweep: it took nothing that is needed.
    server.start()
    peer = Peer(server.base_url)
    try:
        check_promises(peer, dict(sorted(promises.items())[:: len(promises) // 200 + 1]))
    finally:
        peer.close()
        server.stop()


def test_stop_lets_uploads_end(server: Server) -> None:
    """SIGTERM in the middle of an upload: it is answered, and what was answered is there."""
    stop = threading.Event()
    uploader = Uploader(server.base_url, 99, stop)
    uploader.start()
    time.sleep(0.7)
    assert server.stop() == 0
    stop.set()
    uploader.join(60)
    assert uploader.failure == ""
    assert uploader.acknowledged
    server.start()
    peer = Peer(server.base_url)
    try:
        check_promises(peer, uploader.promises)
        check_listing(peer, uploader.promises)
    finally:
        peer.close()
    assert list((server.data_dir / "blobs" / ".spool").glob("*")) == []
