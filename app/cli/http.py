"""How the client commands speak to a DICOMweb server: headers, patience, and the words for what went wrong."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_DELAY = 60.0  # seconds between two attempts, when the server does not ask for more
MAX_RETRY_AFTER = 600.0
# Statuses that every further request would get too.
FINAL_STATUSES = frozenset({401, 403, 404, 405, 407, 501, 505})
# The server has no time for anyone; when that does not end, going on is useless.
BUSY_STATUSES = frozenset({408, 425, 429, 502, 503, 504})
TRANSIENT_STATUSES = BUSY_STATUSES | {500}


class Stopped(Exception):
    """Going on is useless: the server cannot be reached or takes no request like ours, or nothing can be written."""


@dataclass(frozen=True, slots=True)
class Patience:
    """retries: further attempts after the first; first_delay in seconds, doubled with each attempt."""

    retries: int = 5
    first_delay: float = 0.5
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def wait(self, attempt: int, asked: float | None = None) -> None:
        """Before attempt number `attempt` (from 1). Jitter keeps parallel requests from coming back all at once."""
        delay = min(self.first_delay * 2 ** (attempt - 1), MAX_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311
        await self.sleep(delay if asked is None else max(delay, asked))


def parse_headers(texts: Iterable[str]) -> list[tuple[str, str]]:
    """`Name: value` texts. Raises ValueError."""
    headers = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or any(char in text for char in "\r\n"):
            raise ValueError(f"{text!r} is not a header: write 'Name: value'")
        headers.append((name.strip(), value.strip()))
    return headers


def service_root(url: str) -> str:
    """The URL of a DICOMweb service without a slash at its end. Raises ValueError."""
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not the URL of a DICOMweb service: it begins with http:// or https://")
    return str(parsed).rstrip("/")


def open_client(headers: Iterable[tuple[str, str]], *, connections: int, timeout: float) -> httpx.AsyncClient:
    """`timeout` in seconds, for each read and write. Answers come unencoded: stored bytes are written as they are sent."""
    return httpx.AsyncClient(
        headers=[("Accept-Encoding", "identity"), ("User-Agent", "gantry"), *headers],
        timeout=httpx.Timeout(timeout, connect=min(timeout, 15.0), pool=None),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )


async def read_answer(response: httpx.Response) -> bytes:
    """The body, up to MAX_ANSWER_BYTES; the rest is left."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            break
    return bytes(content)


def retry_after(response: httpx.Response, now: datetime | None = None) -> float | None:
    """Seconds that Retry-After asks for (RFC 9110 10.2.3), at most MAX_RETRY_AFTER; None without a usable header."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), MAX_RETRY_AFTER)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((when - (now or datetime.now(UTC))).total_seconds(), 0.0), MAX_RETRY_AFTER)


def status_text(response: httpx.Response, content: bytes) -> str:
    """`413 Content Too Large: what the server says about it`, on one line."""
    said = _said(content)
    status = f"{response.status_code} {response.reason_phrase}".strip()
    return f"{status}: {said}" if said else status


def _said(content: bytes) -> str:
    """The gist of an error's body: the member of a JSON object that holds a sentence, or short plain text."""
    text = content[:20_000].decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.startswith("<") else " ".join(text.split())[:300]
    if isinstance(value, dict):
        for name in ("detail", "message", "errorMessage", "title", "error"):
            if isinstance(value.get(name), str):
                return " ".join(value[name].split())[:300]
    return ""


def transport_text(error: httpx.TransportError) -> str:
    """What happened, for people: httpx leaves some of its errors without a word."""
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return f"cannot connect ({str(error) or 'no answer'})"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return f"the connection broke ({str(error) or type(error).__name__})"
