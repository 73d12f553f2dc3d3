"""Bodies that end when nobody is there any more to receive them.

The server swallows what is sent to a client that has gone, and cancels nothing: the rest of a study would be read for nobody.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from starlette.requests import Request

from app.api.responses import Body
from app.blobs.files import FileSlice


class _Closes(Protocol):
    async def aclose(self) -> None: ...


class WhileConnected:
    """The pieces of `body`, until the client has gone. Closing it closes `body`, and `source` that feeds it, in every case:
    a generator that was never begun cannot do that for what it would have read.
    """

    def __init__(self, request: Request, body: AsyncIterator[bytes] | Body, source: _Closes) -> None:
        self._request = request
        self._body = body
        self._source = source
        self._gone: asyncio.Task[None] | None = None

    def __aiter__(self) -> "WhileConnected":
        return self

    async def __anext__(self) -> bytes | FileSlice | list[FileSlice]:
        if self._gone is None:
            self._gone = asyncio.create_task(_disconnected(self._request))
        if self._gone.done():
            raise StopAsyncIteration
        return await anext(self._body)

    async def aclose(self) -> None:
        if self._gone is not None:
            self._gone.cancel()
        try:
            if isinstance(self._body, AsyncGenerator):
                await self._body.aclose()
        finally:
            await self._source.aclose()


async def _disconnected(request: Request) -> None:
    """Ends when the client has gone. A GET has no body: one message at most comes before that."""
    for _ in range(2):
        if (await request.receive())["type"] == "http.disconnect":
            return
    await asyncio.Event().wait()
