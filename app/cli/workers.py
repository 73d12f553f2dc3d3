"""Several server processes, and the one that looks after them.

uvicorn starts its workers as new interpreters, each of which imports everything again: a second of processor time and 60 MB for
each. Here they are forked from a process that has the application imported and does nothing else (multiprocessing's fork
server, which has one thread), so that they start at once and share what was imported. What looks after them imports neither
the application nor its libraries.
"""

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import typer
import uvicorn._subprocess
from uvicorn.supervisors import Multiprocess

_context = multiprocessing.get_context("forkserver")


def run_workers(
    config: uvicorn.Config,
    listener: Any,
    prepare: Callable[[], str],
    announce: Callable[[str], None],
) -> None:
    """Until a signal comes. `prepare` is run in a process of its own before; what it gives is announced. Raises typer.Exit."""
    _context.set_forkserver_preload(["app.cli.preloaded"])
    announce(_elsewhere(prepare))
    # The only way to say how workers are started: a name of a private module, whose use a test watches.
    uvicorn._subprocess.spawn = _context  # type: ignore[assignment]  # noqa: SLF001
    config.app = "app.cli.worker_process:create_worker_app"
    Multiprocess(config, sockets=[listener]).run()


def _elsewhere(work: Callable[[], str]) -> str:
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_report, args=(work, sender))
    process.start()
    sender.close()
    try:
        return str(receiver.recv())
    except EOFError:
        process.join()
        raise typer.Exit(process.exitcode or 1) from None
    finally:
        receiver.close()
        process.join()


def _report(work: Callable[[], str], sender: Connection) -> None:
    try:
        sender.send(work())
    except typer.Exit as leaving:  # it has said why
        sys.exit(leaving.exit_code)
