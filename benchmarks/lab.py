"""What the cases work with: the servers that run, what is stored in them, and the way to measure them in turn."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.corpus import Corpus, Series
from benchmarks.load import SLOW_SECONDS, Answer, Probe, fetch, get_one_by_one, get_under_load
from benchmarks.measurement import Measurement, Stretch, Work, measured, observe
from benchmarks.postgres import Cluster
from benchmarks.servers import Gantry, Nginx, Server
from benchmarks.uploads import store_all

ROUNDS = 2
CONNECTIONS = 16
LIMIT_PATHS = 8  # of a probe: so many of our answers are given to nginx
LIMIT_BYTES = 256 * 1024 * 1024
ONCE_SECONDS = 2.0  # what takes longer is timed once
LARGE = 2 * 1024 * 1024  # bytes of an answer from which on a few connections fill the machine
WHOLE_SERIES = 64 * 1024 * 1024  # bytes from which on wrk, which reads 8 KiB at a time, is slower than the servers

PeerProbe = Callable[[Server], Probe]


class Left(Exception):
    """A case cannot be measured here; the message says why."""


@dataclass(slots=True)
class Lab:
    """seconds  of load per server and case
    servers  by name, running; Gantry comes first
    studies  by server, how many the searches find
    """

    corpus: Corpus
    folder: Path
    seconds: float
    servers: dict[str, Server] = field(default_factory=dict)
    nginx: Nginx | None = None
    cluster: Cluster | None = None
    scale_studies: int = 0
    memory_mb: int = 100
    studies: dict[str, int] = field(default_factory=dict)
    _stored: set[tuple[str, str]] = field(default_factory=set)

    def ours(self) -> Gantry:
        server = next(iter(self.servers.values()))
        assert isinstance(server, Gantry)
        return server

    def ensure(self, server: Server, *names: str) -> None:
        """Store what is not there yet."""
        for name in names:
            if (server.name, name) not in self._stored:
                store_all(server, self.corpus.series(name))
                self._stored.add((server.name, name))

    def series(self, name: str) -> Series:
        return self.corpus.series(name)[0]

    @contextlib.contextmanager
    def another_gantry(
        self, name: str, *, database: str = "", settings: Mapping[str, str] | None = None, on_postgresql: bool = False
    ) -> Iterator[Gantry]:
        """One more server of ours with an archive of its own, for the length of a block."""
        server = Gantry(
            name, self.folder / name, self.cluster if on_postgresql else None, database=database, settings=settings
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()

    def compare(
        self,
        case: str,
        probe_of: PeerProbe,
        *,
        names: Sequence[str] = (),
        connections: int = CONNECTIONS,
        limit: bool = False,
        unit: str = "requests",
        peers: bool = True,
    ) -> list[Measurement]:
        """GETs at all servers in turn, `names` stored in them before. With `limit`, nginx sends what we have sent."""
        probes: dict[str, tuple[Server, Probe, Answer]] = {}
        found: list[Measurement] = []
        for name, server in self.servers.items():
            if not (peers or isinstance(server, Gantry)):
                continue
            try:
                self.ensure(server, *names)
                probe = probe_of(server)
                probes[name] = (server, probe, first_answer(server, probe))
            except (AssertionError, OSError, RuntimeError, Left) as error:
                found.append(failed(case, name, unit, error))
        ours = self.ours()
        if limit and self.nginx is not None and ours.name in probes:
            probes["nginx"] = self._limit(case, ours, probes[ours.name][1])
        loaded: dict[str, list[Stretch]] = {name: [] for name in probes}
        alone: dict[str, list[Stretch]] = {name: [] for name in probes}
        share = self.seconds / ROUNDS / 2
        for _ in range(ROUNDS):
            for name, (server, probe, answer) in probes.items():
                if answer.seconds > ONCE_SECONDS:
                    if not loaded[name]:
                        once = observe(server, lambda s=server, p=probe: get_one_by_one(s, p, seconds=0, at_least=1))
                        loaded[name].append(once)
                        alone[name].append(once)
                    continue
                alone[name].append(observe(server, lambda s=server, p=probe, a=answer: _alone(s, p, a, share)))
                many = loaded_work(server, probe, answer, share, connections)
                loaded[name].append(observe(server, many))
        return found + [measured(case, name, loaded[name], alone[name], unit=unit) for name in probes]

    def _limit(self, case: str, ours: Server, probe: Probe) -> tuple[Server, Probe, Answer]:
        assert self.nginx is not None
        paths, total = [], 0
        for place, path in enumerate(probe.paths[:LIMIT_PATHS]):
            answer = fetch(ours, path, probe.headers)
            total += len(answer.body)
            paths.append(self.nginx.serve(f"{case}-{place}", answer.body))
            if total > LIMIT_BYTES:
                break
        same = Probe(paths, {})
        return self.nginx, same, first_answer(self.nginx, same)


def first_answer(server: Server, probe: Probe) -> Answer:
    """Asked twice, so that what is timed is warm; the first is looked at. Raises AssertionError."""
    answer = fetch(server, probe.paths[0], probe.headers)
    if answer.status not in (200, 206, 304):
        raise AssertionError(f"answered {answer.status}: {answer.body[:200]!r}")
    probe.check(answer)
    return fetch(server, probe.paths[-1], probe.headers)


def _alone(server: Server, probe: Probe, answer: Answer, seconds: float) -> Work:
    """One client."""
    if _is_for_one(answer):
        return get_one_by_one(server, probe, seconds=seconds)
    return get_under_load(server, probe, connections=1, seconds=seconds, closes=answer.closes)


def loaded_work(server: Server, probe: Probe, answer: Answer, seconds: float, connections: int) -> Callable[[], Work]:
    """Many clients; a few where answers are large, one where they take long or are whole series."""
    if _is_for_one(answer):
        return lambda: get_one_by_one(server, probe, seconds=seconds)
    # Each connection gets to its end more than once, or there would be nothing to count.
    most = max(1, int(seconds / max(answer.seconds, 0.001) / 2))
    many = min(connections, most) if len(answer.body) < LARGE else min(connections, most, 4)
    return lambda: get_under_load(server, probe, connections=many, seconds=seconds, closes=answer.closes)


def _is_for_one(answer: Answer) -> bool:
    return answer.seconds > SLOW_SECONDS or len(answer.body) > WHOLE_SERIES


def failed(case: str, server: str, unit: str, error: BaseException) -> Measurement:
    return Measurement(
        case, server, unit, 0.0, note=str(error).strip().splitlines()[0][:160] if str(error) else repr(error)
    )
