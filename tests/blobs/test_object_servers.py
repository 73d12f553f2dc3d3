"""The servers of the tests end with the last process that uses them, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blobs.backend import until
from tests.support import object_servers
from tests.support.object_servers import azure_left_out

PROJECT = Path(__file__).resolve().parents[2]

USER = """
import os, sys, time
from pathlib import Path
from tests.support.object_servers import _shared_server

folder = Path(sys.argv[1])
command = [sys.executable, "-c", "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"]

def ready():
    file = folder / "pid"
    return file.read_text() if file.exists() and file.read_text() else None

with _shared_server(folder, lambda: command, ready) as pid:
    print(pid, flush=True)
    sys.stdin.read()
"""


def start_user(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", USER, str(folder)]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def pid_told_by(user: "subprocess.Popen[str]") -> int:
    assert user.stdout is not None
    return int(user.stdout.readline())


def end(user: "subprocess.Popen[str]", number: int) -> None:
    user.send_signal(number)
    user.communicate()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_a_server_is_shared_and_ends_with_its_last_user(tmp_path: Path) -> None:
    users = [start_user(tmp_path / "server") for _ in range(3)]
    pids = {pid_told_by(user) for user in users}
    assert len(pids) == 1, "started once"
    pid = pids.pop()
    end(users[0], signal.SIGKILL)
    end(users[1], signal.SIGTERM)
    late = start_user(tmp_path / "server")
    assert pid_told_by(late) == pid
    end(users[2], signal.SIGKILL)
    assert is_running(pid)
    end(late, signal.SIGKILL)
    await until(lambda: not is_running(pid))
    await until(lambda: not (tmp_path / "server" / "lease").exists())


async def test_a_server_that_ended_is_started_anew(tmp_path: Path) -> None:
    user = start_user(tmp_path / "server")
    os.kill(pid := pid_told_by(user), signal.SIGKILL)
    await until((tmp_path / "server" / "ended").exists)
    end(user, signal.SIGTERM)
    (tmp_path / "server" / "pid").unlink()
    user = start_user(tmp_path / "server")
    assert pid_told_by(user) != pid
    end(user, signal.SIGTERM)


def test_a_server_that_cannot_start_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such ring')"]
    shared = object_servers._shared_server(tmp_path / "server", command.copy, lambda: None)
    with pytest.raises(pytest.fail.Exception, match="no such ring"), shared:
        raise AssertionError("it was said to be ready")


@pytest.mark.parametrize(
    ("npm", "required", "left_out"), [("", "", True), ("", "1", False), ("npm", "", False), ("npm", "1", False)]
)
def test_azure_is_left_out_only_where_npm_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: str, required: str, left_out: bool
) -> None:
    monkeypatch.setattr(object_servers, "AZURITE", tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GANTRY_REQUIRE_AZURE", required)
    if npm:
        (tmp_path / npm).touch(mode=0o755)
    assert (azure_left_out() is not None) is left_out
