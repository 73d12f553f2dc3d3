"""A server to export from, small enough to be wrong in every way that a test wants."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.cli.store_peer import Reply
from tests.support.http import build_multipart


@dataclass(frozen=True, slots=True)
class Stored:
    study: str
    series: str
    sop: str
    content: bytes
    syntax: str = ""

    @property
    def path(self) -> str:
        return f"/dicomweb/studies/{self.study}/series/{self.series}/instances/{self.sop}"


@dataclass(slots=True)
class RetrievePeer:
    """`change` may replace the answer to (path, accept); `seen` holds (path, headers) of every request but searches."""

    port: int = 0
    instances: list[Stored] = field(default_factory=list)
    change: Callable[[str, str], Reply | None] = lambda _path, _accept: None
    page: int = 1000
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    searches: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicomweb"

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["path"]
        reply = self.change(path, headers.get("accept", ""))
        if path.endswith("/instances"):
            self.searches += 1
            reply = reply or self._search(path, parse_qs(scope["query_string"].decode()))
        else:
            self.seen.append((path, headers))
            reply = reply or self._retrieve(path)
        lines = [(name.encode(), value.encode()) for name, value in reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": lines})
        await send({"type": "http.response.body", "body": reply.body, "more_body": reply.drop})
        if reply.drop:
            raise ConnectionResetError

    def _search(self, path: str, query: dict[str, list[str]]) -> Reply:
        offset, limit = int(query["offset"][0]), min(int(query["limit"][0]), self.page)
        below = path.removesuffix("instances")
        page = [one for one in self.instances if one.path.startswith(below)][offset : offset + limit]
        return Reply(200, json.dumps([self._result(one) for one in page]).encode())

    def _result(self, stored: Stored) -> dict[str, Any]:
        result = {"0020000E": {"vr": "UI", "Value": [stored.series]}, "00080018": {"vr": "UI", "Value": [stored.sop]}}
        if stored.syntax:
            result["00083002"] = {"vr": "UI", "Value": [stored.syntax]}
        return result

    def _retrieve(self, path: str) -> Reply:
        below = [one for one in self.instances if one.path == path or one.path.startswith(path + "/")]
        if not below:
            return Reply(404)
        return multipart([one.content for one in below])


def multipart(contents: list[bytes], *, closing: bool = True, drop: bool = False) -> Reply:
    boundary, body = build_multipart(contents, closing=closing)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return Reply(200, body, (("content-type", kind),), drop=drop)
