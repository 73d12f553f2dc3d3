"""Headers, patience and the words for what went wrong."""

from datetime import UTC, datetime

import httpx
import pytest

from app.cli.http import (
    MAX_DELAY,
    MAX_RETRY_AFTER,
    Patience,
    parse_headers,
    retry_after,
    service_root,
    status_text,
    transport_text,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_headers_are_split_at_the_first_colon() -> None:
    assert parse_headers(["Authorization: Bearer a:b", "X-Empty:"]) == [
        ("Authorization", "Bearer a:b"),
        ("X-Empty", ""),
    ]


@pytest.mark.parametrize("text", ["no colon", ": no name", "A: b\r\nInjected: c", ""])
def test_what_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a header"):
        parse_headers([text])


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://127.0.0.1:8080/dicomweb", "http://127.0.0.1:8080/dicomweb"),
        ("https://pacs.example.org/dicom-web//", "https://pacs.example.org/dicom-web"),
        (" http://[::1]:80/x/ ", "http://[::1]/x"),
        ("http://host", "http://host"),
    ],
)
def test_service_roots(url: str, root: str) -> None:
    assert service_root(url) == root


@pytest.mark.parametrize("url", ["", "pacs.example.org", "ftp://host/x", "http://", "http://host:port/", "/dicomweb"])
def test_what_is_no_service_root_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        service_root(url)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("99999999999999999999", MAX_RETRY_AFTER),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0),
        ("Fri, 02 Jan 2027 03:00:00 GMT", MAX_RETRY_AFTER),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(httpx.Response(503, headers={"Retry-After": value}), NOW) == seconds


def test_no_retry_after() -> None:
    assert retry_after(httpx.Response(503)) is None


async def test_pauses_double_up_to_a_bound_and_heed_the_server() -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    patience = Patience(retries=20, first_delay=1, sleep=note)
    for attempt in range(1, 10):
        await patience.wait(attempt)
    for attempt, pause in enumerate(pauses, 1):
        full = min(2 ** (attempt - 1), MAX_DELAY)
        assert full / 2 <= pause <= full
    await patience.wait(1, 30)
    assert pauses[-1] == 30
    await patience.wait(6, 0)
    assert pauses[-1] >= 16


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ""),
        (b"no room\nleft", "no room left"),
        (b'{"detail": "no room"}', "no room"),
        (b'{"message": "no room", "detail": 17}', "no room"),
        (b'{"code": 17}', ""),
        (b"[1, 2]", ""),
        (b"<html><body>Bad Gateway</body></html>", ""),
        (b"x" * 1000, "x" * 300),
    ],
)
def test_statuses_in_words(content: bytes, said: str) -> None:
    text = status_text(httpx.Response(507), content)
    assert text == (f"507 Insufficient Storage: {said}" if said else "507 Insufficient Storage")


def test_transport_errors_have_words_even_when_httpx_has_none() -> None:
    assert transport_text(httpx.ConnectError("refused")) == "cannot connect (refused)"
    assert transport_text(httpx.ConnectTimeout("")) == "cannot connect (no answer)"
    assert transport_text(httpx.ReadTimeout("")) == "no answer in time"
    assert transport_text(httpx.ReadError("")) == "the connection broke (ReadError)"
