"""Bodies that end with their client, and close what feeds them whatever happens."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request

from app.api.connected import WhileConnected


class Source:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


def request_with(*messages: str) -> Request:
    """A request whose client sends these messages at once, and then nothing."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return {"type": waiting.pop(0)}

    return Request({"type": "http", "headers": []}, receive)


async def pieces() -> AsyncGenerator[bytes, None]:
    for number in range(5):
        yield bytes([number])
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("messages", [(), ("http.request",), ("http.request", "http.request")])
async def test_all_of_it_for_a_client_that_stays(messages: tuple[str, ...]) -> None:
    body = WhileConnected(request_with(*messages), pieces(), source := Source())
    assert [piece async for piece in body] == [bytes([number]) for number in range(5)]
    await body.aclose()
    assert source.closed == 1


@pytest.mark.parametrize("messages", [("http.disconnect",), ("http.request", "http.disconnect")])
async def test_no_more_for_a_client_that_has_gone(messages: tuple[str, ...]) -> None:
    body = WhileConnected(request_with(*messages), pieces(), source := Source())
    assert len([piece async for piece in body]) <= 2, "it takes a turn of the loop to hear of it"
    await body.aclose()
    assert source.closed == 1


async def test_what_was_never_begun_is_closed_too() -> None:
    body = WhileConnected(request_with(), pieces(), source := Source())
    await body.aclose()
    assert source.closed == 1


async def test_the_source_is_closed_when_closing_the_body_fails() -> None:
    async def stubborn() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
        finally:
            raise OSError("the body fails")

    body = WhileConnected(request_with(), stubborn(), source := Source())
    assert await anext(body) == b"a"
    with pytest.raises(OSError, match="fails"):
        await body.aclose()
    assert source.closed == 1
