"""From start to first answer, with an empty archive, and what a server holds of memory when idle."""

from benchmarks.cases.case import Case
from benchmarks.lab import Lab
from benchmarks.measurement import Measurement
from benchmarks.processes import load_average, memory


def _startup(lab: Lab) -> list[Measurement]:
    found = []
    for name, server in lab.servers.items():
        server.stop()
        server.start()  # again: the first start of an archive makes its tables
        held = memory(server.own_pids()) / 1e6
        found.append(
            Measurement(
                "startup",
                name,
                "starts",
                1 / server.start_seconds,
                server.start_seconds * 1000,
                peak_mb=held,
                load_before=load_average(),
                load_after=load_average(),
                note="memory: idle, one worker",
            )
        )
    return found


CASES = [Case("startup", "start to first answer; idle memory", "< 2 s; < 120 MB a worker", _startup)]
