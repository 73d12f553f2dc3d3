"""STOW-RS: many instances a request, and one. The peer uses every processor by threads; ours once as one process, which is its
default, and once as two.
"""

from collections.abc import Callable

from benchmarks.cases.case import Case
from benchmarks.lab import ROUNDS, Lab, failed
from benchmarks.measurement import Measurement, Stretch, measured, observe
from benchmarks.servers import Server
from benchmarks.uploads import Upload, store_under_load

_TWO_WORKERS = "gantry, 2 workers"


def _store(case: str, batch: int, clients: int) -> Callable[[Lab], list[Measurement]]:
    def run(lab: Lab) -> list[Measurement]:
        with lab.another_gantry(f"{case}-2", settings={"GANTRY_WORKERS": "2"}) as two:
            return compare(lab, {**lab.servers, _TWO_WORKERS: two})

    def compare(lab: Lab, servers: dict[str, Server]) -> list[Measurement]:
        upload = Upload(lab.corpus.template("ct"), batch, 1000 + batch)
        stretches: dict[str, list[Stretch]] = {name: [] for name in servers}
        broken: dict[str, BaseException] = {}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                if name in broken:
                    continue
                try:
                    seconds = lab.seconds / ROUNDS
                    work = observe(
                        server, lambda s=server, t=seconds: store_under_load(s, upload, clients=clients, seconds=t)
                    )
                except (OSError, RuntimeError) as error:
                    broken[name] = error
                else:
                    stretches[name].append(work)
        return [
            failed(case, name, "instances", broken[name])
            if name in broken
            else measured(case, name, found, unit="instances")
            for name, found in stretches.items()
        ]

    return run


CASES = [
    Case(
        "stow-50",
        "STOW, 527 kB CT, 50 a request, 4 clients",
        "2.5x the peer, a third of its CPU, < 250 MB",
        _store("stow-50", 50, 4),
    ),
    Case("stow-1", "STOW, one a request, 16 clients", "2x the peer", _store("stow-1", 1, 16)),
]
