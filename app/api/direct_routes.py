"""Requests that need nothing of the framework but their path: they reach their endpoint without its routing.

Finding a route among fifty and setting up the machinery of dependencies costs a quarter of a millisecond, half of what a frame
costs besides. All endpoints here take the request alone, and every resource of PS3.18 is named by words and identifiers in
turn, so that one look into a dictionary is enough. What is not found there goes the usual way.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.errors import domain_error_response
from app.errors import GantryError

Endpoint = Callable[[Request], Awaitable[Response]]
Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    route: APIRoute
    endpoint: Endpoint
    names: Words


class DirectRoutes:
    """Pure ASGI, the innermost layer. `prefix` is one segment, e.g. `/dicomweb`."""

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter], prefix: str) -> None:
        self.app = app
        self._root = prefix.removeprefix("/")
        self._targets: dict[tuple[str, int, Words], _Target] = {}
        for router in routers:
            for route in router.routes:
                if isinstance(route, APIRoute):
                    self._add(route)

    def _add(self, route: APIRoute) -> None:
        segments = [self._root, *route.path.split("/")[1:]]
        names = [segment[1:-1] for segment in segments[2::2]]
        in_turn = not any("{" in word for word in segments[1::2]) and all(
            segment == f"{{{name}}}" and name.isidentifier()
            for segment, name in zip(segments[2::2], names, strict=True)
        )
        alone = list(inspect.signature(route.endpoint).parameters) == ["request"]
        if in_turn and alone and not route.dependencies:
            target = _Target(route, route.endpoint, tuple(names))
            for method in route.methods or ():
                self._targets.setdefault((method, len(segments), tuple(segments[1::2])), target)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = values = None
        if scope["type"] == "http" and not scope.get("root_path"):
            segments = scope["path"].split("/")[1:]
            values = segments[2::2]
            if segments[:1] == [self._root] and all(values):
                target = self._targets.get((scope["method"], len(segments), tuple(segments[1::2])))
        if target is None or values is None:
            await self.app(scope, receive, send)
            return
        scope["path_params"] = dict(zip(target.names, values, strict=True))
        scope["endpoint"] = target.endpoint
        scope["route"] = target.route
        request = Request(scope, receive, send)
        try:
            response = await target.endpoint(request)
        except GantryError as error:
            response = domain_error_response(request, error)
        await response(scope, receive, send)
