"""Heads of answers: as uvicorn would write them, or left to it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.cli.answer_head import head_of

PLAIN = [(b"date", b"Sun, 29 Nov 2026 10:00:00 GMT"), (b"content-type", b"text/plain"), (b"content-length", b"12")]


async def as_uvicorn(status: int, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, int]:
    """The head and the length that it announces. Raises RuntimeError for headers that must not go out."""
    written: list[bytes] = []

    class Transport:
        write = written.append

    cycle: Any = RequestResponseCycle.__new__(RequestResponseCycle)
    cycle.scope, cycle.transport, cycle.flow = {"method": "GET"}, Transport(), FlowControl(Transport())  # type: ignore[arg-type]
    cycle.disconnected = cycle.response_started = cycle.access_log = False
    cycle.keep_alive, cycle.chunked_encoding, cycle.default_headers = True, None, []
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    return b"".join(written), cycle.expected_content_length


NAMES = st.sampled_from([b"vary", b"etag", b"x-request-id", b"server-timing", b"warning"])
VALUES = st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F))


@given(
    status=st.sampled_from([200, 202, 206, 400, 404, 409, 500]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=8),
    length=st.integers(0, 2**40),
)
async def test_heads_of_known_length_are_those_of_uvicorn(
    status: int, headers: list[tuple[bytes, bytes]], length: int
) -> None:
    headers = [*headers, (b"content-length", b"%d" % length)]
    assert head_of(status, headers) == await as_uvicorn(status, headers)


@pytest.mark.parametrize(
    "more",
    [
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"13"),
        (b"x-request-id", b"one\r\nset-cookie: two"),
        (b"x-request-id", b"one\ntwo"),
        (b"x-request-id", b"one\rtwo"),
        (b"x-request-id", b"one\x00"),
        (b"x-request-id", b"one\x7f"),
        (b"x\r\nset-cookie", b"two"),
    ],
)
def test_what_is_not_plain_is_left_to_uvicorn(more: tuple[bytes, bytes]) -> None:
    assert head_of(200, PLAIN) is not None
    assert head_of(200, [*PLAIN, more]) is None


@pytest.mark.parametrize("length", [b"", b"-1", b"1 2", b"12 ", b"x", b"+3"])
def test_lengths_that_are_none(length: bytes) -> None:
    assert head_of(200, [(b"content-length", length)]) is None
    assert head_of(200, PLAIN[:2]) is None
