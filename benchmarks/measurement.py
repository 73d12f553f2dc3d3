"""What was measured: values, and the way to them from a stretch of work on one server."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.processes import cpu_seconds, load_average, peak_memory, reset_peak
from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Work:
    """What a client saw in a stretch of work. Times in seconds; `units` are what the case counts, `requests` else."""

    requests: int
    seconds: float
    transferred: int
    p50: float
    p95: float
    errors: int = 0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One server in one case.

    rate        units a second; `unit` says of what
    p50_ms, p95_ms  of one request at a time where the case asks so, else under its load
    cpu_ms      processor time of all server processes per unit
    peak_mb     highest memory of the server (its database not counted)
    mb_per_s    bytes of bodies
    """

    case: str
    server: str
    unit: str
    rate: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    cpu_ms: float | None = None
    peak_mb: float | None = None
    mb_per_s: float | None = None
    errors: int = 0
    load_before: float = 0.0
    load_after: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Work, and what it cost the server."""

    work: Work
    cpu: float
    peak: int
    load_before: float
    load_after: float


def observe(server: Server, work: Callable[[], Work]) -> Stretch:
    """Do the work and look at the server before and after."""
    pids = server.pids()
    reset_peak(server.own_pids())
    load_before, cpu_before = load_average(), cpu_seconds(pids)
    result = work()
    pids = sorted({*pids, *server.pids()})
    return Stretch(result, cpu_seconds(pids) - cpu_before, peak_memory(server.own_pids()), load_before, load_average())


def measured(
    case: str,
    server: str,
    loaded: Sequence[Stretch],
    alone: Sequence[Stretch] = (),
    *,
    unit: str = "requests",
    note: str = "",
) -> Measurement:
    """From the stretches of all rounds: the median round's rate, times of the stretches with one client if there are any."""
    rates = [(one.work.units or one.work.requests) / one.work.seconds for one in loaded if one.work.seconds]
    units = sum(one.work.units or one.work.requests for one in loaded)
    timed = [one.work for one in (alone or loaded) if one.work.requests]
    return Measurement(
        case=case,
        server=server,
        unit=unit,
        rate=statistics.median(rates) if rates else 0.0,
        p50_ms=statistics.median(work.p50 for work in timed) * 1000 if timed else None,
        p95_ms=statistics.median(work.p95 for work in timed) * 1000 if timed else None,
        cpu_ms=sum(one.cpu for one in loaded) / units * 1000 if units else None,
        peak_mb=max((one.peak for one in loaded), default=0) / 1e6 or None,
        mb_per_s=_throughput(loaded),
        errors=sum(one.work.errors for one in [*loaded, *alone]),
        load_before=loaded[0].load_before if loaded else 0.0,
        load_after=loaded[-1].load_after if loaded else 0.0,
        note=note,
    )


def _throughput(stretches: Sequence[Stretch]) -> float | None:
    rates = [one.work.transferred / one.work.seconds / 1e6 for one in stretches if one.work.seconds]
    return statistics.median(rates) if rates else None


def percentile(values: Sequence[float], share: float) -> float:
    """Of values in any order; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def clock() -> float:
    return time.perf_counter()
