"""Keeps one PostgreSQL server running for as long as anyone holds its pipe: run as a script, with the standard library only.

    python postgres_keeper.py FOLDER BINARIES

FOLDER is empty. The server listens on a socket in FOLDER/socket; the file FOLDER/ready appears when it answers. Who uses it
opens the pipe FOLDER/alive for writing and writes a byte. When the last of them is gone, however it died, the server is
stopped and the folder removed.
"""

import os
import pwd
import select
import shutil
import subprocess
import sys
from pathlib import Path

FIRST_USER_WAIT = 60  # seconds
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # only speed is at stake: the data lives as long as the tests
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


def unprivileged() -> dict[str, object]:
    """Arguments for subprocess: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def keep(folder: Path, binaries: Path) -> None:
    data, socket = folder / "data", folder / "socket"
    identity = unprivileged()
    for path in (folder, data, socket):
        path.mkdir(exist_ok=True)
        if identity:
            os.chown(path, int(str(identity["user"])), int(str(identity["group"])))
    folder.chmod(0o755)
    data.chmod(0o700)
    os.mkfifo(folder / "alive")

    def run(name: str, *arguments: str) -> None:
        log = (folder / "log").open("ab")
        command = [str(binaries / name), *arguments]
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder), "TZ": "UTC"}
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            **identity,
        )

    run("initdb", "-D", str(data), "-U", "gantry", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
    run(
        "pg_ctl", "-D", str(data), "-w", "-s", "-l", str(data / "server.log"), "-o", f"-k '{socket}' {options}", "start"
    )
    try:
        pipe = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
        (folder / "ready").touch()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        wait: int | None = FIRST_USER_WAIT * 1000
        while events := poll.poll(wait):
            if events[0][1] & select.POLLIN:
                os.read(pipe, 4096)
                wait = None
            elif events[0][1] & select.POLLHUP:
                return
    finally:
        run("pg_ctl", "-D", str(data), "-s", "-m", "immediate", "stop")


if __name__ == "__main__":
    where = Path(sys.argv[1])
    try:
        keep(where, Path(sys.argv[2]))
    except subprocess.CalledProcessError:
        (where / "failed").write_text((where / "log").read_text())
        sys.exit(1)
    shutil.rmtree(where, ignore_errors=True)
