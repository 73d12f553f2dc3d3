"""GETs: one for its content, many for speed. wrk is faster than any server here; slow answers are asked for one by one."""

import http.client
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measurement import Work, clock, percentile
from benchmarks.servers import Server

_SCRIPT = Path(__file__).with_name("wrk.lua")
_CHUNK = 1024 * 1024
SLOW_SECONDS = 0.25  # an answer that takes longer is not left to wrk, whose stretches may end before it


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def closes(self) -> bool:
        """Whether its end is the end of the connection."""
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers and self.status == 200


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server is asked, in turn. `check` raises AssertionError when the first answer is not what it should be.

    in_new_words  each request differs from all before in a parameter that means nothing
    """

    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Answer], None] = lambda answer: None
    in_new_words: bool = False


def fetch(server: Server, path: str, headers: Mapping[str, str], *, timeout: float = 120, keep: bool = True) -> Answer:
    """One GET; with `keep=False` the body is read and dropped, and only its length told (as `x-length`)."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout)
    started = clock()
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        if keep:
            body = response.read()
        else:
            body, length = b"", 0
            while chunk := response.read(_CHUNK):
                length += len(chunk)
            found["x-length"] = str(length)
        return Answer(response.status, found, body, clock() - started)
    finally:
        connection.close()


def get_under_load(server: Server, probe: Probe, *, connections: int, seconds: float, closes: bool = False) -> Work:
    """wrk with one thread: a core is left to the server.

    closes  the server ends its answers by closing the connection, which wrk takes for an error
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as paths:
        paths.write("\n".join(probe.paths) + "\n")
        paths.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "60s",
            "-s",
            str(_SCRIPT),
        ]
        given = [f"{name}={value}" for name, value in probe.headers.items()] + ["in-new-words"] * probe.in_new_words
        run = subprocess.run(
            [*command, server.url, "--", paths.name, *given],
            capture_output=True,
            text=True,
            timeout=seconds + 90,
            check=False,
        )
    line = next((line for line in run.stdout.splitlines() if line.startswith('{"requests"')), None)
    if line is None:
        raise RuntimeError(f"wrk failed: {run.stderr or run.stdout}")
    found = json.loads(line)
    return Work(
        requests=found["requests"],
        seconds=found["seconds"],
        transferred=found["bytes"],
        p50=found["p50"] / 1000,
        p95=found["p95"] / 1000,
        errors=found["errors"] + found["timeouts"] + (0 if closes else found["read"]),
    )


def get_one_by_one(server: Server, probe: Probe, *, seconds: float, at_least: int = 2) -> Work:
    """Answers that take long, or are large: one after the other, for at least so many requests."""
    times: list[float] = []
    transferred = errors = 0
    started = clock()
    while len(times) < at_least or clock() - started < seconds:
        answer = fetch(server, probe.paths[len(times) % len(probe.paths)], probe.headers, keep=False)
        transferred += int(answer.headers["x-length"])
        errors += answer.status != 200
        times.append(answer.seconds)
        if clock() - started > seconds * 5 + 10:
            break
    return Work(len(times), clock() - started, transferred, percentile(times, 0.5), percentile(times, 0.95), errors)
