"""Clients that store without pause while the server is killed under them, and remember what they were promised."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from tests.conformance.instances import Item, Maker, Uids
from tests.support.http import JSON, Peer, build_multipart, first, store_headers, values


@dataclass(slots=True)
class Promise:
    """What may be found at a path: one of `digests`, or nothing unless `acknowledged`.

    An answer that never came leaves both possible, the version that was there and the one that was sent.
    """

    digests: set[str] = field(default_factory=set)
    acknowledged: bool = False


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Uploader(threading.Thread):
    """Stores new instances in a few studies of its own, sometimes new versions of earlier ones, until `stop` is set."""

    def __init__(self, base_url: str, seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.maker = Maker(Uids(seed))
        self.random = random.Random(seed)
        self.stop = stop
        self.peer = Peer(base_url)
        self.promises: dict[str, Promise] = {}
        self.items: list[Item] = []
        self.studies = [self.maker.uids.new() for _ in range(3)]
        self.series = {study: [self.maker.uids.new() for _ in range(2)] for study in self.studies}
        self.acknowledged = 0
        self.interrupted = 0
        self.failure = ""

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.store([self.one() for _ in range(self.random.randint(1, 6))])
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failure = repr(error)
        finally:
            self.peer.close()

    def one(self) -> Item:
        if self.items and self.random.random() < 0.15:
            old = self.random.choice(self.items)
            version = {**old.dataset, 0x00204000: ("LT", f"version {self.random.getrandbits(40)}")}
            return self.maker.item("version", version)
        study = self.random.choice(self.studies)
        dataset = self.maker.dataset("killed", study, self.random.choice(self.series[study]), StudyDate="20240301")
        side = self.random.choice((4, 30, 100, 400))
        return self.maker.item("new", dataset | self.maker.image(side, side))

    def store(self, items: list[Item]) -> None:
        # One request holds one version of an instance: of two the outcome would not say which.
        items = list({item.path: item for item in items}.values())
        for item in items:
            self.promises.setdefault(item.path, Promise()).digests.add(digest(item.data))
        boundary, body = build_multipart([item.data for item in items])
        try:
            answer = self.peer.request(
                "POST", "/studies", accept=JSON, headers=store_headers(boundary), content=self.slowly(body)
            )
        except httpx.TransportError:
            self.interrupted += 1
            time.sleep(0.05)
            return
        if answer.status_code == 503:
            return
        if answer.status_code != 200:
            raise AssertionError(f"{answer.status_code} {answer.text[:300]}")
        stored = {first(reference, "00081155") for reference in values(answer.json(), "00081199")}
        for item in items:
            if item.instance not in stored:
                raise AssertionError(f"200, but {item.path} is not among the stored")
            self.promises[item.path] = Promise({digest(item.data)}, acknowledged=True)
            self.acknowledged += 1
        self.items += items
        self.stop.wait(self.random.uniform(0, 0.1))

    def slowly(self, body: bytes) -> Iterator[bytes]:
        """Chunked, so that a kill finds requests in every state."""
        size = self.random.choice((1000, 10_000, 200_000))
        return (body[start : start + size] for start in range(0, len(body), size))
