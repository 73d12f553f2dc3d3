"""Memory stays bounded when an instance of GANTRY_BIG_UPLOAD_MB comes as metadata and bulkdata, in one part or in many."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conformance.instances import ENHANCED_CT, Maker, Uids
from tests.conformance.metadata_messages import encoded, grey, metadata, number, path_of, reference
from tests.durability.test_memory import FRAME, LIMIT, MEGABYTES, MemoryWatch, streamed
from tests.support.http import Peer, values
from tests.support.server import Server, running_server

HEADERS = {"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=big'}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data") as server:
        yield server


class OwnMemoryWatch(MemoryWatch):
    """Without mapped files: their pages are the kernel's, which takes them back when it needs them. A file of many frames is
    mapped while the heads of its frames are read.
    """

    def run(self) -> None:
        assert self.server.process is not None
        status = Path(f"/proc/{self.server.process.pid}/status")
        while not self.ended.wait(0.02):
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            self.highest = max(self.highest, int(fields["RssAnon"].split()[0]) * 1024)


def message(dataset: dict[str, Any], part: bytes, bodies: Iterator[bytes], *, each: bool) -> Iterator[bytes]:
    """`part` is the head of each body, or of all of them as one."""
    yield b"--big\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps([dataset]).encode() + b"\r\n"
    if not each:
        yield part
    for body in bodies:
        if each:
            yield part
        yield body
        if each:
            yield b"\r\n"
    yield b"--big--\r\n" if each else b"\r\n--big--\r\n"


def store(server: Server, watch: MemoryWatch, body: Iterator[bytes]) -> int:
    """The highest memory while the message is stored."""
    peer = Peer(server.base_url)
    watch.start()
    try:
        answer = peer.request("POST", "/studies", headers=HEADERS, content=body)
    finally:
        highest = watch.end()
        peer.close()
    assert answer.status_code == 200, answer.text[:500]
    assert len(values(answer.json(), "00081199")) == 1
    print(f"server memory: {highest / 1e6:.0f} MB at most")
    return highest


@pytest.mark.timeout(1800)
def test_one_large_part(server: Server) -> None:
    maker = Maker(Uids(21))
    frames = {"_00280008": {"vr": "IS", "Value": [MEGABYTES]}, "_7FE00010": reference("p")}
    dataset = metadata(maker, "large", ENHANCED_CT, **{**grey(1024, 512, 16), **frames})
    digest = hashlib.sha256()

    def bodies() -> Iterator[bytes]:
        for position in range(1, MEGABYTES + 1):
            frame = position.to_bytes(4, "little") * (FRAME // 4)
            digest.update(frame)
            yield frame

    head = b"--big\r\nContent-Type: application/octet-stream\r\nContent-Location: p\r\n\r\n"
    highest = store(server, MemoryWatch(server), message(dataset, head, bodies(), each=False))
    url = f"{server.base_url}{path_of(dataset)}/bulkdata/7FE00010"
    assert streamed(url, "application/octet-stream") == (MEGABYTES * FRAME, digest.hexdigest())
    assert highest < LIMIT, f"{highest / 1e6:.0f} MB"


@pytest.mark.timeout(1800)
def test_many_parts(server: Server) -> None:
    """Compressed frames, each looked at to describe the image."""
    maker = Maker(Uids(22))
    noise = np.random.default_rng(1).integers(0, 256, (400, 500), dtype=np.uint8)
    frame = encoded(Image.fromarray(noise), "JPEG", quality=90)
    count = MEGABYTES * FRAME // len(frame)
    dataset = metadata(maker, "many", ENHANCED_CT, _7FE00010=reference("p"), _00280010=number(400))
    head = b"--big\r\nContent-Type: image/jpeg\r\nContent-Location: p\r\n\r\n"
    highest = store(server, OwnMemoryWatch(server), message(dataset, head, (frame for _ in range(count)), each=True))
    peer = Peer(server.base_url)
    for wanted in (1, count):
        answer = peer.get(f"{path_of(dataset)}/frames/{wanted}", "image/jpeg; transfer-syntax=*")
        assert answer.content.removesuffix(b"\0") == frame
    peer.close()
    assert highest < LIMIT, f"{highest / 1e6:.0f} MB"
