"""Memory stays bounded whatever the size of an instance: one of GANTRY_BIG_UPLOAD_MB (300; 2000 in the full run) in and out."""

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conformance.encoder import attributes, encode, part10
from tests.conformance.instances import ENHANCED_CT, Maker, Uids
from tests.support.http import Peer, first, values
from tests.support.server import Server, running_server

MEGABYTES = int(os.environ.get("GANTRY_BIG_UPLOAD_MB", "300"))
FRAME = 1024 * 1024  # 1024 x 512 pixels of 16 bits
LIMIT = 200_000_000
UPLOADS = 2


class MemoryWatch(threading.Thread):
    """The highest memory of the server, looked at 50 times a second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.ended = threading.Event()
        self.highest = 0

    def run(self) -> None:
        while not self.ended.wait(0.02):
            self.highest = max(self.highest, self.server.memory())

    def end(self) -> int:
        self.ended.set()
        self.join()
        return self.highest


class BigInstance:
    """MEGABYTES frames of 1 MiB, each filled with its own number; made while it is sent."""

    def __init__(self, seed: int) -> None:
        maker = Maker(Uids(seed))
        image = maker.image(1024, 512, bits=16, pixels=b"") | attributes(NumberOfFrames=str(MEGABYTES))
        del image[0x7FE00010]
        named = {"SOPClassUID": ENHANCED_CT, "Modality": "CT"}
        dataset = maker.dataset("big", maker.uids.new(), maker.uids.new(), **named) | image
        length = (MEGABYTES * FRAME).to_bytes(4, "little")
        self.head = part10(dataset) + b"\xe0\x7f\x10\0OW\0\0" + length
        assert encode({0x7FE00010: ("OW", b"")}) == b"\xe0\x7f\x10\0OW\0\0\0\0\0\0"
        self.path = maker.item("big", dataset).path
        self.instance = str(dataset[0x00080018][1])
        self.hash = hashlib.sha256(self.head)

    @property
    def size(self) -> int:
        return len(self.head) + MEGABYTES * FRAME

    @staticmethod
    def frame(number: int) -> bytes:
        return number.to_bytes(4, "little") * (FRAME // 4)

    def message(self) -> Iterator[bytes]:
        yield b"--big\r\nContent-Type: application/dicom\r\n\r\n" + self.head
        for number in range(1, MEGABYTES + 1):
            frame = self.frame(number)
            self.hash.update(frame)
            yield frame
        yield b"\r\n--big--\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data") as server:
        yield server


def send(server: Server, big: BigInstance, answers: list[httpx.Response]) -> None:
    peer = Peer(server.base_url)
    try:
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=big'}
        answers.append(peer.request("POST", "/studies", headers=headers, content=big.message()))
    finally:
        peer.close()


def streamed(url: str, accept: str) -> tuple[int, str]:
    """Size and digest of an answer that is never whole in memory."""
    total, digest = 0, hashlib.sha256()
    with httpx.stream("GET", url, headers={"Accept": accept}, timeout=120, trust_env=False) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            total += len(chunk)
            digest.update(chunk)
    return total, digest.hexdigest()


@pytest.mark.timeout(1800)
def test_big_instances_in_and_out(server: Server) -> None:
    watch = MemoryWatch(server)
    watch.start()
    bigs = [BigInstance(seed) for seed in range(UPLOADS)]
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=send, args=(server, big, answers)) for big in bigs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * UPLOADS
    stored = {first(values(answer.json(), "00081199")[0], "00081155") for answer in answers}
    assert stored == {big.instance for big in bigs}
    while_storing = watch.highest
    for big in bigs:
        assert streamed(server.base_url + big.path, "application/dicom; transfer-syntax=*") == (
            big.size,
            big.hash.hexdigest(),
        )
    peer = Peer(server.base_url)
    try:
        for number in (1, MEGABYTES // 2, MEGABYTES):
            answer = peer.get(f"{bigs[0].path}/frames/{number}", "application/octet-stream")
            assert answer.content == BigInstance.frame(number)
        (dataset,) = peer.metadata(bigs[0].path)
        assert int(first(dataset, "00280008")) == MEGABYTES
        total, _ = streamed(dataset["7FE00010"]["BulkDataURI"], "application/octet-stream")
        assert total == MEGABYTES * FRAME
    finally:
        peer.close()
    highest = watch.end()
    print(f"server memory: {while_storing / 1e6:.0f} MB while storing, {highest / 1e6:.0f} MB at most")
    assert while_storing
    assert highest < LIMIT, f"{highest / 1e6:.0f} MB at most, {while_storing / 1e6:.0f} MB while storing"
