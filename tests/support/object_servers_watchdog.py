"""Runs one server for as long as somebody holds its lease, and never longer.

    python object_servers_watchdog.py FOLDER READ_END COMMAND...

READ_END is the read end of the named pipe FOLDER/lease. Whoever uses the server holds the pipe open for writing; when the
last of them is gone, however it ended, the kernel says so here, and the server is killed. Standard library only.
"""

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent():
    """For the case that the watchdog itself is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def nobody_left(lease):
    poll = select.poll()
    poll.register(lease, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(200))


def watch(folder, lease, command):
    with (folder / "log").open("ab") as log:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        server = subprocess.Popen(command, cwd=folder, preexec_fn=die_with_parent, **streams)  # noqa: PLW1509 -- one thread
    while server.poll() is None:
        if not nobody_left(lease):
            continue
        # Somebody may be attaching just now: that happens under the lock, so look again under it.
        with (folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if nobody_left(lease):
                (folder / "lease").unlink()
                server.kill()
                server.wait()
                return
    (folder / "ended").write_text(str(server.returncode))


if __name__ == "__main__":
    if os.fork():
        os._exit(0)  # the starter need not wait for us, nor we for it
    os.setsid()
    watch(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
