"""Several workers of one archive: what one of them has changed, none gives out as it was."""

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.cli.test_serve import children_of
from tests.support.dicom_bytes import make_instance, new_uid
from tests.support.server import Server

OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"'}
READERS = 6
ROUNDS = 4


@pytest.fixture
def server_settings() -> dict[str, str]:
    return {"GANTRY_WORKERS": "2"}


@dataclass
class Reader:
    """Asks for one frame again and again on a connection of its own: when each request began, and what came of it."""

    port: int
    path: str
    stop: threading.Event
    answers: list[tuple[float, int, bytes]] = field(default_factory=list)

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stop.is_set():
            began = time.monotonic()
            connection.request("GET", self.path, headers=OCTETS)
            response = connection.getresponse()
            self.answers.append((began, response.status, response.read()))
        connection.close()


def call(port: int, method: str, path: str, body: bytes = b"") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body or None, {"Content-Type": "application/dicom"} if body else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@pytest.mark.parametrize("side", [16, 300])
def test_frames_that_everybody_is_asking_for(server: Server, side: int) -> None:
    """Small ones come from memory, large ones from their file; replaced, then deleted, while they are asked for."""
    for _ in range(ROUNDS):
        study, series, sop = new_uid(), new_uid(), new_uid()
        path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
        frames = [bytes([grey]) * side * side for grey in (1, 2)]
        files = [make_instance(study, series, sop, rows=side, columns=side, pixel_bytes=frame) for frame in frames]
        assert call(server.port, "POST", "/dicomweb/studies", files[0]) == 200
        stop = threading.Event()
        readers = [Reader(server.port, f"{path}/frames/1", stop) for _ in range(READERS)]
        threads = [threading.Thread(target=reader.run) for reader in readers]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        assert call(server.port, "POST", "/dicomweb/studies", files[1]) == 200
        replaced = time.monotonic()
        time.sleep(0.2)
        deleting = time.monotonic()
        assert call(server.port, "DELETE", path) == 204
        deleted = time.monotonic()
        time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        for reader in readers:
            assert len(reader.answers) > 10
            for began, status, body in reader.answers:
                if began > deleted:
                    assert status == 410
                elif replaced < began < deleting and status == 200:
                    assert frames[1] in body
                else:
                    assert status == 410 or frames[0] in body or frames[1] in body


def workers_of(server: Server) -> list[int]:
    """What looks after them has a fork server and its resource tracker as children; the workers are the fork server's."""
    assert server.process is not None
    return [worker for child in children_of(server.process.pid) for worker in children_of(child)]


def wait_for(what: Callable[[], bool], server: Server) -> None:
    end = time.monotonic() + 60
    while not what():
        assert server.alive(), f"the server has ended:\n{server.tail()}"
        assert time.monotonic() < end, server.tail()
        time.sleep(0.1)


def test_workers_that_die_while_the_blob_store_is_away(server: Server) -> None:
    """Those that take their places try again until it is there, and nobody ends the server."""
    study, series, sop = new_uid(), new_uid(), new_uid()
    assert call(server.port, "POST", "/dicomweb/studies", make_instance(study, series, sop)) == 200
    folder, elsewhere = server.data_dir / "blobs", server.data_dir / "elsewhere"
    folder.rename(elsewhere)
    wait_for(lambda: len(workers_of(server)) == 2, server)
    for worker in workers_of(server):
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: server.tail(100_000).count("worker.not_started") >= 3, server)
    elsewhere.rename(folder)
    path = f"/dicomweb/studies/{study}/series/{series}/instances/{sop}"
    assert call(server.port, "GET", path) == 200  # the socket keeps what comes before a worker is there
    assert server.stop() == 0
