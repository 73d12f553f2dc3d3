"""A real Gantry in a process of its own: `gantry serve` on a free port of 127.0.0.1 with a data folder of the test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

PROJECT = Path(__file__).resolve().parents[2]

# The kernel ends the server when the test process dies, however it dies (prctl 1 is PR_SET_PDEATHSIG, Linux only).
_RUN = """
import ctypes, signal
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (AttributeError, OSError):
    pass
from app.cli import main
main()
"""


@dataclass(slots=True)
class Server:
    """`url` is the root, `base_url` the DICOMweb service; `log` holds all that the process writes."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/dicomweb"

    @property
    def log(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.log"

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANTRY_")}
        return {
            **inherited,
            "PYTHONPATH": str(PROJECT),
            "GANTRY_DATA_DIR": str(self.data_dir),
            "GANTRY_HOST": "127.0.0.1",
            "GANTRY_PORT": str(self.port),
            "GANTRY_LOG_LEVEL": "warning",
            **self.settings,
        }

    def gantry(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run another command of the `gantry` program on the same data."""
        return subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            env=self.environment(),
            cwd=self.data_dir,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *, timeout: float = 60) -> None:
        """Start and wait until it is ready. The port stays the same after the first start."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        first_start = not self.port
        for attempt in range(5):
            if first_start:
                self.port = free_port()
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _RUN, "serve"],
                    env=self.environment(),
                    cwd=self.data_dir,  # a gantry.toml of the project must not change what the tests see
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self._ready(timeout):
                return
            if "address already in use" not in self.tail().lower() or attempt == 4:
                break
            time.sleep(0.2)
        raise AssertionError(f"gantry serve did not start (exit {self.process.poll()}):\n{self.tail()}")

    def _ready(self, timeout: float) -> bool:
        assert self.process is not None
        end = time.monotonic() + timeout
        with httpx.Client(trust_env=False, timeout=5) as client:
            while time.monotonic() < end and self.process.poll() is None:
                try:
                    if client.get(f"{self.url}/readyz").status_code == 200:
                        return True
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        if self.process.poll() is None:
            self.kill()
        return False

    def tail(self, size: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, *, timeout: float = 20) -> int:
        """Ask it to end (SIGTERM); its exit status. A server that does not end is killed, and that is a failure."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"gantry serve did not end within {timeout} s of SIGTERM:\n{self.tail()}") from None

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def memory(self) -> int:
        """Bytes of memory held by the server process (VmRSS)."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS: the server is gone")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_server(
    data_dir: Path,
    *,
    database_url: str = "",
    blob_url: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server with its own data; `settings` are `GANTRY_*` (and object store) environment variables."""
    chosen = dict(settings or {})
    if database_url:
        chosen["GANTRY_DATABASE_URL"] = database_url
    if blob_url:
        chosen["GANTRY_BLOB_URL"] = blob_url
    server = Server(data_dir, chosen)
    try:
        server.start()
        yield server
    finally:
        if server.alive():
            server.stop()
