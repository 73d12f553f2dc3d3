"""A store server to import into: a real HTTP server in a thread, which does as a test says."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol, TypeVar

import pydicom
import uvicorn

from tests.support.http import parse_multipart
from tests.support.server import free_port


@dataclass(frozen=True, slots=True)
class Reply:
    """`drop`: the connection is cut instead of an answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    drop: bool = False


@dataclass(slots=True)
class StorePeer:
    """Stores everything; `script` replies come first, one per request; `judge` may refuse an instance by a Failure Reason.

    requests  what came: (headers, parts)
    stored    SOP Instance UID -> bytes
    """

    port: int = 0
    script: list[Reply] = field(default_factory=list)
    judge: Callable[[str], int | None] = lambda _: None
    reply: Callable[[list[bytes]], Reply | None] = lambda _: None
    requests: list[tuple[dict[str, str], list[bytes]]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    most_at_once: int = 0
    delay: float = 0.0
    _at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicomweb"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            body, more = bytearray(), True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
            await asyncio.sleep(self.delay)
            parts = [part.body for part in parse_multipart(headers["content-type"], bytes(body))]
            self.requests.append((headers, parts))
            reply = self.script.pop(0) if self.script else (self.reply(parts) or self._store(parts))
            if reply.drop:
                raise ConnectionResetError
            lines = [(name.encode(), value.encode()) for name, value in reply.headers]
            await send({"type": "http.response.start", "status": reply.status, "headers": lines})
            await send({"type": "http.response.body", "body": reply.body})
        finally:
            self._at_once -= 1

    def _store(self, parts: list[bytes]) -> Reply:
        stored, failed, other = [], [], []
        for content in parts:
            dataset = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, force=True)
            uid = str(dataset.get("SOPInstanceUID", ""))
            reason = self.judge(uid)
            if reason is None:
                self.stored[uid] = content
                stored.append(item(uid))
            elif uid and reason != 0xC000:
                failed.append(item(uid, reason))
            else:
                other.append({"00081197": {"vr": "US", "Value": [reason]}})
        status = 200 if not failed and not other else 202 if stored else 409
        return Reply(status, response_module(stored, failed, other))


def item(uid: str, reason: int | None = None, tag: str = "00081197") -> dict[str, Any]:
    element: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if reason is not None:
        element[tag] = {"vr": "US", "Value": [reason]}
    return element


def response_module(stored: list[Any], failed: list[Any], other: list[Any] | None = None) -> bytes:
    sequences = {"00081199": stored, "00081198": failed, "0008119A": other or []}
    return json.dumps({tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}).encode()


class _Peer(Protocol):
    port: int

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None: ...


P = TypeVar("P", bound=_Peer)


@contextmanager
def running(peer: P) -> Iterator[P]:
    """`peer` behind a real HTTP server on a port of its own."""
    peer.port = peer.port or free_port()
    config = uvicorn.Config(
        peer, host="127.0.0.1", port=peer.port, log_level="critical", lifespan="off", loop="asyncio"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield peer
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
