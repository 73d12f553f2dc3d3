"""Whole series from an object store that is 20 ms away: with read-ahead, one object after the other, and obstore alone.

Two stores. Swift is a real one and soon at its own limit, so nginx serves the same files as a second: what is seen there is
our own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.cases.case import Case
from benchmarks.corpus import Series
from benchmarks.lab import Lab, Left
from benchmarks.load import fetch
from benchmarks.measurement import Measurement, Stretch, Work, measured, observe
from benchmarks.object_stores import (
    SWIFT_PYTHON,
    Bucket,
    OneByOne,
    copy_blobs,
    far_away,
    nginx_bucket,
    read_side_by_side,
    swift,
)
from benchmarks.processes import load_average
from benchmarks.servers import Gantry
from benchmarks.uploads import store_all

INSTANCES = 200
ROUND_TRIP = 20.0  # milliseconds
AT_ONCE = 17  # of obstore alone: as many requests as our server has under way
ROUNDS = 3
_ACCEPT = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


def _object_store(lab: Lab) -> list[Measurement]:
    all_series = {"ct": lab.series("ct"), "small": replace(lab.series("many"), count=INSTANCES)}
    with lab.another_gantry("object-store") as server:
        store_all(server, all_series.values())
    blobs = server.folder / "data" / "blobs"
    found = []
    if lab.nginx is not None:
        found += _on(lab, server, nginx_bucket(lab.nginx, blobs), "nginx", all_series)
    if not SWIFT_PYTHON.exists():
        raise Left("Swift is not installed: make test-servers")
    with swift(lab.folder / "swift") as bucket:
        copy_blobs(blobs, bucket)
        found += _on(lab, server, bucket, "swift", all_series)
    return found


def _on(lab: Lab, stored: Gantry, bucket: Bucket, store: str, all_series: dict[str, Series]) -> list[Measurement]:
    found = []
    folder = lab.folder / f"object-store-{store}"
    blobs = stored.folder / "data" / "blobs"
    with far_away(bucket, folder, ROUND_TRIP) as far, _servers(stored, far, store) as (ahead, one_by_one):
        for name, series in all_series.items():
            objects = [
                (str(path.relative_to(blobs)), path.stat().st_size)
                for path in (blobs / "instances" / series.study / series.series).rglob("*.dcm")
            ]
            assert len(objects) == series.count
            stretches: dict[str, list[Stretch]] = {"gantry": [], "one by one": [], "obstore": []}
            for _ in range(ROUNDS):
                stretches["gantry"].append(observe(ahead, lambda s=series: _series(ahead, s)))
                stretches["one by one"].append(observe(one_by_one, lambda s=series: _series(one_by_one, s)))
                alone = read_side_by_side(far, objects, AT_ONCE)
                stretches["obstore"].append(Stretch(alone, 0.0, 0, load_average(), load_average()))
            found += _rows(f"object-store-{store} {name}", stretches)
    return found


def _series(server: Gantry, series: Series) -> Work:
    answer = fetch(server, f"{server.base}{series.path}", _ACCEPT, keep=False)
    length = int(answer.headers["x-length"])
    assert length > series.count * len(series.template), f"{server.name} sent {length} bytes"
    return Work(1, answer.seconds, length, answer.seconds, answer.seconds, answer.status != 200, series.count)


def _rows(case: str, stretches: dict[str, list[Stretch]]) -> list[Measurement]:
    rows = [measured(case, name, some, unit="instances") for name, some in stretches.items()]
    ours = rows[0].rate
    return [rows[0], *(replace(row, note=f"ours is {ours / row.rate:.2f} times as fast") for row in rows[1:])]


@contextmanager
def _servers(stored: Gantry, bucket: Bucket, store: str) -> Iterator[tuple[Gantry, Gantry]]:
    """On the database that is there, its blobs in the bucket."""
    settings = {
        "GANTRY_BLOB_URL": bucket.url(),
        "GANTRY_DATABASE_URL": f"sqlite:///{stored.sqlite_file}",
        "GANTRY_DATA_DIR": str(stored.folder / "data"),
    }
    servers = [
        kind(f"{store}-{kind.__name__}", stored.folder / f"{store}-{kind.__name__}", settings=settings)
        for kind in (Gantry, OneByOne)
    ]
    try:
        for server in servers:
            server.start()
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.stop()


CASES = [
    Case(
        "object-store",
        f"series of {INSTANCES} from an object store {ROUND_TRIP:.0f} ms away",
        "5x one by one",
        _object_store,
        opt_in="--object-store",
    )
]
