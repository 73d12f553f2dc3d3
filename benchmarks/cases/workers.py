"""Two worker processes against one, side by side: work that keeps a processor busy, and small uploads.

With the client and PostgreSQL on the same two processors there may be none left for a second worker. How workers scale that
have a processor each is seen where every process of ours is held to a third of one, and all else has the rest.
"""

import contextlib
import json
from collections.abc import Callable

from benchmarks.archive_rows import Rows, fill
from benchmarks.cases.case import Case
from benchmarks.cases.frames import fragments_of, is_frame, spread
from benchmarks.cases.ladder import AS_STORED
from benchmarks.cpu_shares import held
from benchmarks.lab import ROUNDS, Lab, first_answer, loaded_work
from benchmarks.load import Answer, Probe
from benchmarks.measurement import Measurement, Stretch, Work, measured, observe
from benchmarks.servers import Gantry, Server
from benchmarks.uploads import Upload, store_all, store_under_load

_STUDIES = 1000
_SHARE = 1 / 3
_CONNECTIONS = 64  # of a few that are opened at once, the process that happens to be awake takes nearly all
_OBJECT, _FRAMES = "ladder-1000", 1000


def _full_page(answer: Answer) -> None:
    assert len(json.loads(answer.body)) == 100


def _workers(lab: Lab) -> list[Measurement]:
    return _one_and_two(lab, "workers")


def _held_workers(lab: Lab) -> list[Measurement]:
    return _one_and_two(lab, "workers-held", share=_SHARE)


def _one_and_two(lab: Lab, case: str, share: float | None = None) -> list[Measurement]:
    found = []
    for on_postgresql in (False, True) if lab.cluster else (False,):
        with contextlib.ExitStack() as running:
            servers = {}
            for count in (1, 2):
                name = f"{case}-{count}{'-pg' if on_postgresql else ''}"
                servers[f"{'gantry-pg' if on_postgresql else 'gantry'} {count}"] = running.enter_context(
                    lab.another_gantry(
                        name,
                        database=name.replace("-", "_"),
                        settings={"GANTRY_WORKERS": str(count)},
                        on_postgresql=on_postgresql,
                    )
                )
            found += _compare(lab, case, servers, share)
    return found


def _compare(lab: Lab, case: str, servers: dict[str, Gantry], share: float | None) -> list[Measurement]:
    """Each kind of work at each server in turn; our processes held to `share` of a processor."""
    kinds: dict[tuple[str, str], tuple[Server, Callable[[], Work]]] = {}
    for name, server in servers.items():
        fill(server, Rows(_STUDIES))
        store_all(server, lab.corpus.series(_OBJECT))
        for kind, work in _work_at(lab, server).items():
            if share is None or kind != "store":  # whose clients and whose disk are not held
                kinds[kind, name] = server, work
    stretches: dict[tuple[str, str], list[Stretch]] = {one: [] for one in sorted(kinds)}
    ours = [pid for server in servers.values() for pid in server.own_pids()]
    with contextlib.nullcontext() if share is None else held(ours, share):
        for _ in range(ROUNDS):
            for one, found in stretches.items():
                found.append(observe(*kinds[one]))
    return [
        measured(case, f"{name} {kind}", found, unit="instances" if kind == "store" else "requests")
        for (kind, name), found in stretches.items()
    ]


def _work_at(lab: Lab, server: Server) -> dict[str, Callable[[], Work]]:
    seconds = lab.seconds / ROUNDS
    series = lab.series(_OBJECT)
    frame = is_frame(fragments_of(series.template.body[: 12 + 8 + 4 * _FRAMES + 20_000])[0])
    paths = [f"{server.base}{series.instance_path(0)}/frames/{number}" for number in spread(_FRAMES, 50)]
    # Each in new words: what is asked for again costs so little that one client and one worker fill two processors.
    frames = Probe(paths, AS_STORED, frame, in_new_words=True)
    search = Probe([f"{server.base}/studies?limit=100"], {"Accept": "application/dicom+json"}, _full_page)
    upload = Upload(lab.corpus.template("many"), 5, 3000)

    def reading(probe: Probe) -> Callable[[], Work]:
        return loaded_work(server, probe, first_answer(server, probe), seconds, _CONNECTIONS)

    return {
        "frame": reading(frames),
        "search": reading(search),
        "store": lambda: store_under_load(server, upload, clients=4, seconds=seconds),
    }


CASES = [
    Case(
        "workers",
        "GANTRY_WORKERS 1 and 2: 4 KiB frames in new words, pages of 100, small uploads",
        "1.6x; no errors",
        _workers,
    ),
    Case(
        "workers-held",
        "the same where each process of ours has a third of a processor at most",
        "1.6x",
        _held_workers,
    ),
]
