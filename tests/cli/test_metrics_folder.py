"""Each run adds up its own metrics: in a folder that nobody else has, and that does not outlive it for long."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from app.cli.metrics_folder import metrics_folder


def _run(parent: str, tell: Connection) -> None:
    with metrics_folder(parent) as folder:
        tell.send(folder)
        signal.pause()


def _begun(parent: Path) -> tuple[multiprocessing.process.BaseProcess, Path]:
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(str(parent), tell), daemon=True)
    process.start()
    return process, Path(told.recv())


def test_of_its_own_and_gone_at_the_end(tmp_path: Path) -> None:
    parent = tmp_path / "not" / "there yet"
    with metrics_folder(str(parent)) as one, metrics_folder(str(parent)) as other:
        assert one != other
        assert {Path(one), Path(other)} == set(parent.iterdir())
        (Path(one) / "1.prom").write_text("")
    assert list(parent.iterdir()) == []


def test_what_is_left_of_those_that_were_killed(tmp_path: Path) -> None:
    others = [tmp_path / "mine", tmp_path / "0.prom"]
    others[0].mkdir()
    others[1].write_text("")
    (tmp_path / "run-without-lock").mkdir()
    (killed, left), (running, kept) = _begun(tmp_path), _begun(tmp_path)
    (left / "1.prom").write_text("")
    assert killed.pid
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert left.exists()
    with metrics_folder(str(tmp_path)) as folder:
        assert set(tmp_path.iterdir()) == {*others, kept, Path(folder)}
    running.kill()
    running.join()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="exists"), metrics_folder(str(tmp_path / "file")):
        pass
