"""`gantry serve`: the HTTP server, after a look at everything that would keep it from starting."""

import logging
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
import uvicorn

from app.cli.configuration import fail, load_settings, locations, with_archive
from app.cli.http_protocol import HttpProtocol
from app.cli.text import printable
from app.settings import Settings

OPEN_FILES = 65_536
BACKLOG = 2048
# Longer than the 60 s after which proxies and browsers drop idle connections, so that it is not us who cut a request.
KEEP_ALIVE_SECONDS = 75
# Requests that are under way may end; less than the patience of what supervises us (systemd 90 s, Kubernetes 30 s).
SHUTDOWN_SECONDS = 15

EPILOG = """
Examples:

gantry serve

gantry serve --port 9000 --data-dir /srv/gantry --workers 4

GANTRY_DATABASE_URL=postgresql://gantry@db/gantry GANTRY_BLOB_URL=s3://images gantry serve
"""


class _Server(uvicorn.Server):
    """Says where it is as soon as it answers; and nothing of what is cut off when it is told twice to end."""

    announcement = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _announce(self.announcement)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def serve_command(
    host: Annotated[str | None, typer.Option(help="Address to listen on (GANTRY_HOST).")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port; 0 takes a free one (GANTRY_PORT).")] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-w", help="Server processes (GANTRY_WORKERS).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of everything local (GANTRY_DATA_DIR).")] = None,
    database_url: Annotated[str | None, typer.Option(help="SQLite or PostgreSQL URL (GANTRY_DATABASE_URL).")] = None,
    blob_url: Annotated[str | None, typer.Option(help="Folder, s3://, gs:// or az:// (GANTRY_BLOB_URL).")] = None,
    public_url: Annotated[
        str | None, typer.Option(help="The server's URL as clients see it (GANTRY_PUBLIC_URL).")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error (GANTRY_LOG_LEVEL).")] = None,
) -> None:
    """Run the DICOMweb server.

    Without any setting: one process, SQLite and a folder below ./gantry-data, at http://127.0.0.1:8080/dicomweb.
    """
    overrides = {
        "host": host,
        "port": port,
        "workers": workers,
        "data_dir": data_dir,
        "database_url": database_url,
        "blob_url": blob_url,
        "public_url": public_url,
        "log_level": log_level,
    }
    settings = load_settings(overrides)
    listener = _listen(settings)
    _run(settings, listener)


def _prepared(settings: Settings, port: int) -> str:
    """Tries all parts of the archive and brings the database up to date, before several processes would; what to announce."""
    with_archive(settings, _nothing)
    return announcement(settings, port)


async def _nothing(_archive: object) -> None:
    return


def _listen(settings: Settings) -> socket.socket:
    """A socket that clients can connect to already: what arrives before the server is ready waits."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise fail(f"cannot listen on {settings.host} port {settings.port}: {reason}") from error
    listener.set_inheritable(True)
    return listener


def _allow_open_files() -> None:
    """Connections, and the files that are being sent on them, need more descriptors than a shell's limit of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(settings: Settings, listener: socket.socket) -> NoReturn:
    _allow_open_files()
    config = uvicorn.Config(
        "app.main:create_server_app",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        # Gantry has its own: structured logs with a line per request, and Forwarded headers by GANTRY_TRUST_FORWARDED.
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    prepare = partial(_prepared, settings, listener.getsockname()[1])
    # Until uvicorn has handlers of its own, and when it repeats the signal once it has shut down: a clean end is no error.
    signal.signal(signal.SIGTERM, _leave)
    if settings.workers > 1:
        # Only here: one process alone needs nothing of it.
        from app.cli.metrics_folder import metrics_folder
        from app.cli.workers import run_workers

        with ExitStack() as until_the_end:
            try:
                os.environ["GANTRY_METRICS_DIR"] = until_the_end.enter_context(metrics_folder(settings.metrics_dir))
            except OSError as error:
                raise fail(
                    f"the folder of the metrics cannot be used: {(error.strerror or str(error)).lower()}"
                ) from error
            run_workers(config, listener, prepare, _announce)
        raise typer.Exit(0)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, _end_as_told)
    os.environ["GANTRY_METRICS_DIR"] = ""  # one process has nothing to add up
    from app.cli import preloaded  # noqa: F401 - after the socket: what is wrong with that is said at once

    server = _Server(config)
    server.announcement = prepare()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise typer.Exit(0 if server.started else 1)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _end_as_told(_signal: int, _frame: FrameType | None) -> None:
    """The terminal has gone: what is being sent or stored comes to its end."""
    os.kill(os.getpid(), signal.SIGTERM)


def announcement(settings: Settings, port: int) -> str:
    """`DICOMweb root: http://127.0.0.1:8080/dicomweb  (database ..., blobs ...)`."""
    # Only here: what looks after several processes does not need it.
    from app.dicomweb.urls import DICOMWEB_PREFIX

    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    root = settings.public_url or f"http://{host}:{port}"
    return f"DICOMweb root: {root}{DICOMWEB_PREFIX}  ({locations(settings)})"


def _announce(text: str) -> None:
    typer.echo(printable(text))
    sys.stdout.flush()
