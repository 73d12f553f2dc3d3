"""Servers as the kernel sees them: started in a folder of their own, and what they use of processor and memory (/proc)."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
_TICK = os.sysconf("SC_CLK_TCK")
_FIRST_PORT = 9500


def free_port() -> int:
    """A port above 9500 that nobody listens on."""
    for port in range(_FIRST_PORT + os.getpid() % 400, 65000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in _given:
                _given.add(port)
                return port
    raise RuntimeError("no free port")


_given: set[int] = set()


def unprivileged(*folders: Path) -> dict[str, Any]:
    """Arguments for subprocess: PostgreSQL refuses to run as root. The folders are given to that user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    for folder in folders:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass(slots=True)
class Process:
    """A server process; its children count as part of it."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self, ready: Callable[[], bool], *, timeout: float = 60) -> float:
        """Start it and wait until it answers; the seconds that took. Raises RuntimeError with the end of its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANTRY_")}
        started = time.perf_counter()
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**inherited, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.identity,
            )
        while time.perf_counter() - started < timeout:
            if self.running.poll() is not None:
                break
            if ready():
                return time.perf_counter() - started
            time.sleep(0.01)
        tail = self.log.read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"{self.command[0]} did not start:\n{tail}")

    def stop(self) -> None:
        if self.running is None:
            return
        if self.running.poll() is None:
            self.running.send_signal(signal.SIGTERM)
            try:
                self.running.wait(20)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.running.pid, signal.SIGKILL)  # the session that was started here, and nothing else
                self.running.wait()
        self.running = None

    def pids(self) -> list[int]:
        return [] if self.running is None else family(self.running.pid)


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes that live, and of their children that do not."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICK


def reset_peak(pids: Iterable[int]) -> None:
    """Begin to measure the highest memory anew."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pids: Iterable[int]) -> int:
    """Bytes: the sum of each process' highest resident set since `reset_peak`."""
    return _status(pids, "VmHWM:")


def memory(pids: Iterable[int]) -> int:
    """Bytes resident now."""
    return _status(pids, "VmRSS:")


def _status(pids: Iterable[int], name: str) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(name):
                    total += int(line.split()[1]) * 1024
    return total


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own servers
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def load_average() -> float:
    return os.getloadavg()[0]


def use_free_memory(path: Path) -> None:
    """Fill the page cache with the holes of a file, as that of a machine that has read and written for a day is full.

    A virtual machine may be lent its memory page by page: then the first use of a page costs more than what is written to it.
    """
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with path.open("wb") as file:
        file.truncate(size)
    with path.open("rb", buffering=0) as file:
        while file.read(1024 * 1024):
            pass
