"""CORS (WHATWG Fetch 3.2): viewers on other origins."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send


class CrossOrigin(CORSMiddleware):
    """Requests without an Origin pass by: what their answers need to say of it, app.api.middleware says."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
