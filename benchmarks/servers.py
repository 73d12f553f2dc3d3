"""The servers that are compared, each in a folder of its own on 127.0.0.1, with its defaults unless a comment says why not."""

import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from benchmarks.postgres import Cluster
from benchmarks.processes import PROJECT, Process, answers, free_port

ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")
_RUN = "from app.cli import main; main()"


class Server(ABC):
    """`url` is the root, `base` the path of the DICOMweb service below it."""

    base = ""

    def __init__(self, name: str, folder: Path, cluster: Cluster | None = None) -> None:
        self.name = name
        self.folder = folder
        self.cluster = cluster
        self.port = free_port()
        self.start_seconds = 0.0
        self.process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def make_process(self) -> Process:
        """What is to be run."""

    @property
    @abstractmethod
    def ready_url(self) -> str:
        """Answers 200 once the server works."""

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = self.make_process()
        self.start_seconds = self.process.start(lambda: answers(self.ready_url))

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
            self.process = None

    def own_pids(self) -> list[int]:
        """The server's processes, its database's not among them."""
        return self.process.pids() if self.process else []

    def pids(self) -> list[int]:
        """All processes that work for an answer."""
        return self.own_pids() + (self.cluster.pids() if self.cluster else [])


class Gantry(Server):
    """Ours: default settings, so every answer to an upload comes after fdatasync."""

    base = "/dicomweb"

    def __init__(
        self,
        name: str,
        folder: Path,
        cluster: Cluster | None = None,
        *,
        database: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, folder, cluster)
        self.settings = dict(settings or {})
        self.database_url = cluster.url(database or "gantry") if cluster else ""

    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(PROJECT),
            "PYTHONDONTWRITEBYTECODE": "",  # an installed server is compiled
            "GANTRY_DATA_DIR": str(self.folder / "data"),
            "GANTRY_PORT": str(self.port),
            "GANTRY_DATABASE_URL": self.database_url,
            **self.settings,
        }

    def make_process(self) -> Process:
        return Process([sys.executable, "-c", _RUN, "serve"], self.folder, self.environment())

    @property
    def ready_url(self) -> str:
        return f"{self.url}/readyz"

    @property
    def sqlite_file(self) -> Path:
        return self.folder / "data" / "gantry.sqlite"


class Orthanc(Server):
    """The Debian packages, SQLite or PostgreSQL index; files are synced by default, as ours are."""

    base = "/dicom-web"

    def make_process(self) -> Process:
        plugins = [str(ORTHANC_PLUGINS / "libOrthancDicomWeb.so")]
        configuration: dict[str, object] = {
            "Name": "bench",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "KeepAlive": True,
            "StableAge": 3600,  # its background work on series that are complete stays out of the measurement
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
        }
        if self.cluster is not None:
            plugins.append(str(ORTHANC_PLUGINS / "libOrthancPostgreSQLIndex.so"))
            configuration["PostgreSQL"] = {
                "EnableIndex": True,
                "EnableStorage": False,
                "Host": "127.0.0.1",
                "Port": self.cluster.port,
                "Database": self.cluster.create("orthanc"),
                "Username": "gantry",
                "Password": "",
                "Lock": False,
            }
        configuration["Plugins"] = plugins
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration, indent=2))
        return Process([_binary("Orthanc"), str(path)], self.folder)

    @property
    def ready_url(self) -> str:
        return f"{self.url}/system"


class Nginx(Server):
    """The limit: the same bytes as plain files, one worker process."""

    def make_process(self) -> Process:
        self.root.mkdir(exist_ok=True)
        path = self.folder / "nginx.conf"
        path.write_text(
            f"""daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
{"user root;" if self.folder.owner() == "root" else ""}
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000; open_file_cache max=1000;
  client_body_temp_path {self.folder}; proxy_temp_path {self.folder}; fastcgi_temp_path {self.folder};
  uwsgi_temp_path {self.folder}; scgi_temp_path {self.folder};
  default_type application/octet-stream;
  server {{ listen 127.0.0.1:{self.port}; root {self.root}; location = /ready {{ return 200; }} }}
}}
"""
        )
        return Process([_binary("nginx"), "-p", str(self.folder), "-c", str(path)], self.folder)

    @property
    def root(self) -> Path:
        return self.folder / "files"

    @property
    def ready_url(self) -> str:
        return f"{self.url}/ready"

    def serve(self, name: str, body: bytes) -> str:
        """Put a file in; the path of its URL."""
        (self.root / name).write_bytes(body)
        return f"/{name}"


def _binary(name: str) -> str:
    """Debian keeps server binaries where the path of an ordinary user does not look."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(name)
    return found


def missing_tools() -> dict[str, str]:
    """What is not installed, and the Debian package that has it."""
    wanted = {"nginx": "nginx-light", "wrk": "wrk", "Orthanc": "orthanc"}
    missing = {}
    for name, package in wanted.items():
        try:
            _binary(name)
        except FileNotFoundError:
            missing[name] = package
    if "Orthanc" not in missing and not (ORTHANC_PLUGINS / "libOrthancDicomWeb.so").exists():
        missing["Orthanc"] = "orthanc-dicomweb"
    return missing


def has_orthanc_postgresql() -> bool:
    return (ORTHANC_PLUGINS / "libOrthancPostgreSQLIndex.so").exists()
