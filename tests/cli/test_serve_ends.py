"""How `gantry serve` ends, and what it leaves."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_serve import get_when_ready, root_of, serving, upload_head
from tests.support.dicom_bytes import make_instance
from tests.support.http import build_multipart


@contextmanager
def inheriting(sign: signal.Signals, action: signal.Handlers) -> Iterator[None]:
    """What is started meanwhile begins with this action; the tests themselves may run under nohup."""
    before = signal.signal(sign, action)
    try:
        yield
    finally:
        signal.signal(sign, before)


def test_nohup_is_respected(tmp_path: Path) -> None:
    with inheriting(signal.SIGHUP, signal.SIG_IGN), serving(tmp_path, port=0) as (process, said):
        get_when_ready(f"{root_of(said)}/studies")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        assert get_when_ready(f"{root_of(said)}/studies").status_code in (200, 204)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_uploads_under_way_are_finished_before_it_ends(tmp_path: Path, sign: signal.Signals) -> None:
    """Also when the terminal is closed that it was started in."""
    with inheriting(signal.SIGHUP, signal.SIG_DFL), serving(tmp_path, port=0) as (process, said):
        address = root_of(said).split("/")[2].split(":")
        get_when_ready(f"{root_of(said)}/studies")
        boundary, body = build_multipart([make_instance(study="1.2.3")])
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.sendall(upload_head(boundary, len(body)) + body[:100])
            time.sleep(0.5)
            process.send_signal(sign)
            time.sleep(0.5)
            assert process.poll() is None
            connection.sendall(body[100:])
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert process.wait(30) == 0


def test_who_asks_twice_is_obeyed_without_a_word(tmp_path: Path) -> None:
    """The second time nothing is waited for any more."""
    with serving(tmp_path, port=0) as (process, said):
        address = root_of(said).split("/")[2].split(":")
        get_when_ready(f"{root_of(said)}/studies")
        with socket.create_connection((address[0], int(address[1]))) as connection:
            connection.sendall(upload_head("b", 1000) + b"--b")
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
