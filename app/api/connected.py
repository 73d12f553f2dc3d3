"""Whether anybody is there any more to receive an answer.

The server swallows what is sent to a client that has gone, and cancels nothing: the rest of a study would be read, and frames
would be converted and rendered, for nobody.
"""

import asyncio

from starlette.types import Receive


async def disconnected(receive: Receive) -> None:
    """Ends when the client has gone. A GET has no body: one message at most comes before that."""
    for _ in range(2):
        if (await receive())["type"] == "http.disconnect":
            return
    await asyncio.Event().wait()
