"""Memory bounds: large uploads side by side, a series of thousands as one message, a study as one file."""

import struct
import threading
from collections.abc import Sequence

from benchmarks.cases.case import Case
from benchmarks.corpus import WORD_FRAMES
from benchmarks.dicom_files import encode, image, template_of, uid
from benchmarks.lab import Lab
from benchmarks.load import fetch
from benchmarks.measurement import Measurement, Work, clock, measured, observe
from benchmarks.servers import Gantry
from benchmarks.uploads import Connection

UPLOADS = 10
OF_A_STUDY = 5
_MEGABYTE = bytes(1024 * 1024)


def large_file(megabytes: int, number: int) -> list[bytes]:
    """A multi-frame object of 1 MiB frames, in pieces that all share one buffer."""
    template = template_of(encode(image("OT", WORD_FRAMES, 1024, 512, frames=megabytes)))
    header = template.stamp(
        study=uid(21, number // OF_A_STUDY), series=uid(22, number), sop=uid(23, number), number="1", series_number="1"
    )
    return [header, struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, megabytes << 20), *([_MEGABYTE] * megabytes)]


def _upload_side_by_side(server: Gantry, requests: Sequence[Sequence[Sequence[bytes]]]) -> Work:
    """Requests of files, which come in pieces."""
    statuses: list[int] = []

    def send(files: Sequence[Sequence[bytes]]) -> None:
        connection = Connection(server.port, f"{server.base}/studies")
        statuses.append(connection.store(files)[0])
        connection.close()

    threads = [threading.Thread(target=send, args=(files,)) for files in requests]
    started = clock()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = clock() - started
    total = sum(len(piece) for files in requests for file in files for piece in file)
    return Work(len(requests), seconds, total, seconds, seconds, sum(status != 200 for status in statuses))


def _get(server: Gantry, path: str, accept: str) -> Work:
    answer = fetch(server, server.base + path, {"Accept": accept}, keep=False, timeout=600)
    length = int(answer.headers["x-length"])
    return Work(1, answer.seconds, length, answer.seconds, answer.seconds, answer.status != 200)


def _memory(lab: Lab) -> list[Measurement]:
    found = []
    with lab.another_gantry("memory") as server:
        uploads = [[large_file(lab.memory_mb, number)] for number in range(UPLOADS)]
        stretch = observe(server, lambda: _upload_side_by_side(server, uploads))
        found.append(measured("memory", f"gantry {UPLOADS} uploads of {lab.memory_mb} MB", [stretch]))
        study = f"/studies/{uid(21, 0)}"
        stretch = observe(server, lambda: _get(server, study, "application/zip"))
        found.append(measured("memory", f"gantry zip of {OF_A_STUDY * lab.memory_mb} MB", [stretch]))
        many = lab.series("many")
        stretch = observe(server, lambda: _upload_side_by_side(server, [list(many.files())]))
        found.append(measured("memory", f"gantry store of {many.count}, one multipart", [stretch]))
        stretch = observe(
            server, lambda: _get(server, many.path, 'multipart/related; type="application/dicom"; transfer-syntax=*')
        )
        found.append(measured("memory", f"gantry series of {many.count}, multipart", [stretch]))
        stretch = observe(server, lambda: _get(server, f"{many.path}/metadata", "application/dicom+json"))
        found.append(measured("memory", f"gantry metadata of {many.count}, first read", [stretch]))
    return found


CASES = [Case("memory", "memory under large requests", "< 300 MB each", _memory)]
