"""STOW-RS clients: processes with a connection each, that write headers stamped in passing and shared pixel data."""

import http.client
import itertools
import multiprocessing
import queue
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.corpus import Series
from benchmarks.dicom_files import Template, uid
from benchmarks.measurement import Work, clock, percentile
from benchmarks.servers import Server

_BOUNDARY = "gantry-benchmark-boundary-0001"
_PART = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_END = f"--{_BOUNDARY}--\r\n".encode()
_BUFFERS = 512  # of one system call


@dataclass(frozen=True, slots=True)
class Upload:
    """What each client sends: requests of `batch` instances, all of one series a request where `batch` is over one."""

    template: Template
    batch: int
    kind: int


def message(port: int, path: str, files: Sequence[Sequence[bytes]]) -> tuple[bytes, list[bytes]]:
    """Head of the request and the pieces of its body; a file comes in pieces too."""
    pieces = [piece for file in files for piece in (_PART, *file, b"\r\n")] + [_END]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={_BOUNDARY}\r\n'
        f"Content-Length: {sum(map(len, pieces))}\r\n\r\n"
    )
    return head.encode(), pieces


class Connection:
    """One keep-alive connection to a server's STOW-RS service."""

    def __init__(self, port: int, path: str) -> None:
        self.port, self.path = port, path
        self._socket: socket.socket | None = None

    def store(self, files: Sequence[Sequence[bytes]]) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=120)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head, pieces = message(self.port, self.path, files)
        _send_all(self._socket, [head, *pieces])
        response = http.client.HTTPResponse(self._socket, method="POST")
        response.begin()
        body = response.read()
        if response.will_close:
            self.close()
        return response.status, body

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _send_all(connection: socket.socket, pieces: Sequence[bytes]) -> None:
    waiting = [memoryview(piece) for piece in pieces]
    at = 0
    while at < len(waiting):
        sent = connection.sendmsg(waiting[at : at + _BUFFERS])
        while at < len(waiting) and sent >= len(waiting[at]):
            sent -= len(waiting[at])
            at += 1
        if sent:
            waiting[at] = waiting[at][sent:]


def store_all(server: Server, series: Iterable[Series]) -> int:
    """Store whole series; how many instances. Raises RuntimeError for any answer but 200."""
    return store_files(server, itertools.chain.from_iterable(one.files() for one in series))


def store_files(
    server: Server, files: Iterable[Sequence[bytes]], *, batch: int = 50, seconds: float = float("inf")
) -> int:
    """The same for files, for so long at most."""
    connection = Connection(server.port, f"{server.base}/studies")
    count, end = 0, clock() + seconds
    waiting = iter(files)
    try:
        while clock() < end and (group := list(itertools.islice(waiting, batch))):
            status, body = connection.store(group)
            if status != 200:
                raise RuntimeError(f"{server.name} answered {status} to an upload: {body[:300]!r}")
            count += len(group)
    finally:
        connection.close()
    return count


def store_under_load(server: Server, upload: Upload, *, clients: int, seconds: float) -> Work:
    """All clients store for so long; the work they did together. Units are instances."""
    # Forked, not started anew: sixteen interpreters that import what makes files take longer than what is measured.
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()
    begin: Any = context.Event()
    path = f"{server.base}/studies"
    processes = [
        context.Process(
            target=_client, args=(server.port, path, upload, next(_editions), seconds, begin, answers), daemon=True
        )
        for _ in range(clients)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        answers.get(timeout=120)  # each says that it is ready
    started = clock()
    begin.set()
    try:
        results = [answers.get(timeout=seconds + 120) for _ in processes]
    except queue.Empty:
        raise RuntimeError(f"a client of {server.name} did not come to its end") from None
    elapsed = clock() - started
    for process in processes:
        process.join()
    times = [value for found, _, _ in results for value in found]
    errors = sum(found for _, found, _ in results)
    sent = sum(found for _, _, found in results)
    stored = (len(times) - errors) * upload.batch
    return Work(len(times), elapsed, sent, percentile(times, 0.5), percentile(times, 0.95), errors, stored)


_editions = itertools.count(1)


def _client(port: int, path: str, upload: Upload, edition: int, seconds: float, begin: Any, answers: Any) -> None:
    connection = Connection(port, path)
    requests = _requests(upload, edition)
    times: list[float] = []
    errors = sent = 0
    answers.put("ready")
    begin.wait()
    end = clock() + seconds
    while clock() < end:
        files = next(requests)
        started = clock()
        status, body = connection.store(files)
        times.append(clock() - started)
        # Every instance is named in the answer (PS3.18 10.5.3.1) and has no Failure Reason; Orthanc adds an empty sequence.
        if status != 200 or body.count(b"00081155") < upload.batch or b"00081197" in body:
            errors += 1
        sent += sum(len(header) + len(data) for header, data in files)
    connection.close()
    answers.put((times, errors, sent))


def _requests(upload: Upload, edition: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """New series without end; single instances come in series of 100 as a scanner sends them."""
    stamp = int(time.time()) % 10**6  # another run may store into the same archive
    serial = 0
    for number in itertools.count():
        kind = upload.kind * 10**9 + stamp * 1000 + edition
        group = number if upload.batch > 1 else number // 100
        files = []
        for _ in range(upload.batch):
            header = upload.template.stamp(
                study=uid(3, (kind * 10**4 + group) % 10**20),
                series=uid(4, (kind * 10**4 + group) % 10**20),
                sop=uid(5, (kind * 10**6 + serial) % 10**20),
                patient_id=f"U{edition:04d}{group:05d}",
                accession=f"U{edition:04d}{group:05d}",
                number=str(serial % 10**5),
                modality="CT",
                study_date="20240301",
                series_number="1",
            )
            files.append((header, upload.template.body))
            serial += 1
        yield files
