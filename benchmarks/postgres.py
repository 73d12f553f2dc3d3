"""A PostgreSQL of the benchmark's own, with durable settings: fsync is on."""

import asyncio
import subprocess
from pathlib import Path

import asyncpg

from benchmarks.processes import Process, free_port, unprivileged
from tests.support.postgres import PostgresMissing, find_binaries

__all__ = ["Cluster", "PostgresMissing"]

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "512MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "4GB",
    "max_connections": "100",
    "unix_socket_directories": "",
}


class Cluster:
    """Starts with `start`; databases are made by `create`. Raises PostgresMissing where there are no binaries."""

    def __init__(self, folder: Path) -> None:
        self.binaries = find_binaries()
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "data"
        data.mkdir(exist_ok=True)
        identity = unprivileged(folder, data)
        options = [item for name, value in SETTINGS.items() for item in ("-c", f"{name}={value}")]
        self.process = Process(
            [str(self.binaries / "postgres"), "-D", str(data), "-p", str(self.port), *options],
            folder,
            {"LC_ALL": "C", "TZ": "UTC"},
            identity,
        )
        subprocess.run(
            [
                self.binaries / "initdb",
                "-D",
                data,
                "-U",
                "gantry",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
            **identity,
        )

    def start(self) -> None:
        self.process.start(lambda: self._run("SELECT 1") is not None)

    def stop(self) -> None:
        self.process.stop()

    def pids(self) -> list[int]:
        return self.process.pids()

    def url(self, database: str) -> str:
        """Of a database that is made if need be."""
        return f"postgresql://gantry@127.0.0.1:{self.port}/{self.create(database)}"

    def create(self, database: str) -> str:
        if not self._run(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"):  # noqa: S608 - names of our own
            self._run(f'CREATE DATABASE "{database}"')
        return database

    def _run(self, statement: str) -> list[asyncpg.Record] | None:
        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(f"postgresql://gantry@127.0.0.1:{self.port}/postgres", timeout=5)
            try:
                found: list[asyncpg.Record] = await connection.fetch(statement)
                return found
            finally:
                await connection.close()

        try:
            return asyncio.run(run())
        except (OSError, asyncpg.CannotConnectNowError):
            return None
