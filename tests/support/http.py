"""What the black-box tests speak: HTTP by httpx, multipart messages and media types by code of their own.

Nothing here imports `app`: a mistake in app.dicomweb must not be able to hide behind the same mistake in its test.
"""

import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

CRLF = b"\r\n"
DICOM_MULTIPART = 'multipart/related; type="application/dicom"'
OCTET_MULTIPART = 'multipart/related; type="application/octet-stream"'
XML_MULTIPART = 'multipart/related; type="application/dicom+xml"'
JSON = "application/dicom+json"


class BadMessage(AssertionError):
    """A message that breaks its framing."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart message; header names in lower case."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return media_type(self.headers.get("content-type", ""))[0]

    @property
    def parameters(self) -> dict[str, str]:
        return media_type(self.headers.get("content-type", ""))[1]

    @property
    def location(self) -> str:
        return self.headers.get("content-location", "")


def media_type(text: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type, names in lower case, quotes removed (RFC 9110 8.3.1)."""
    pieces: list[str] = []
    piece, quoted, escaped = "", False, False
    for char in text:
        if escaped:
            piece, escaped = piece + char, False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == ";" and not quoted:
            pieces.append(piece)
            piece = ""
        else:
            piece += char
    if quoted:
        raise BadMessage(f"quote without end in {text!r}")
    pieces.append(piece)
    parameters = {}
    for item in pieces[1:]:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise BadMessage(f"parameter without value in {text!r}")
        parameters[name.strip().lower()] = value.strip()
    return pieces[0].strip().lower(), parameters


def parse_multipart(content_type: str, body: bytes) -> list[Part]:
    """The parts of a multipart/related body (RFC 2046 5.1, PS3.18 8.6.1.2). Raises BadMessage.

    Strict on purpose: it reads what a server may send, not what a server must bear.
    """
    kind, parameters = media_type(content_type)
    if kind != "multipart/related":
        raise BadMessage(f"{content_type!r} is not multipart/related")
    if not parameters.get("type"):
        raise BadMessage(f"{content_type!r} has no type parameter")
    boundary = parameters.get("boundary", "")
    if not 1 <= len(boundary) <= 70:
        raise BadMessage(f"boundary of {len(boundary)} characters")
    delimiter = b"--" + boundary.encode("ascii")
    if body.startswith(CRLF + delimiter):
        body = body[2:]
    if not body.startswith(delimiter):
        raise BadMessage(f"does not begin with its delimiter but with {body[:60]!r}")
    parts, position = [], len(delimiter)
    while body[position : position + 2] != b"--":
        if body[position : position + 2] != CRLF:
            raise BadMessage(f"{body[position : position + 20]!r} behind a delimiter")
        part, position = _part(body, position + 2, delimiter)
        parts.append(part)
    if body[position + 2 :].strip(CRLF):
        raise BadMessage(f"{body[position + 2 :][:40]!r} behind the closing delimiter")
    return parts


def _part(body: bytes, start: int, delimiter: bytes) -> tuple[Part, int]:
    """The part at `start` and the position behind the delimiter that ends it."""
    if body.startswith(CRLF, start):
        headers, start = {}, start + 2
    else:
        end = body.find(CRLF + CRLF, start)
        if end < 0:
            raise BadMessage("part without an end of its headers")
        headers = _headers(body[start:end])
        start = end + 4
    # The line break before a delimiter belongs to the delimiter; a part without headers and body has but one.
    end = start - 2 if body.startswith(delimiter, start) else body.find(CRLF + delimiter, start)
    if end < 0:
        raise BadMessage("closing delimiter is missing")
    content = body[start : max(start, end)]
    length = headers.get("content-length")
    if length is not None and int(length) != len(content):
        raise BadMessage(f"part says Content-Length {length} and has {len(content)} bytes")
    return Part(headers, content), end + 2 + len(delimiter)


def _headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.split(CRLF):
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise BadMessage(f"{line!r} is not a header line")
        if name.lower() in headers:
            raise BadMessage(f"part has {name} twice")
        headers[name.lower()] = value.strip()
    return headers


def build_multipart(
    parts: Iterable[bytes | tuple[str, bytes]], *, boundary: str | None = None, closing: bool = True
) -> tuple[str, bytes]:
    """Boundary and body; a part is its bytes, sent as application/dicom, or (Content-Type, bytes)."""
    boundary = boundary or f"gantry-test-{secrets.token_hex(12)}"
    lines: list[bytes] = []
    for part in parts:
        kind, content = part if isinstance(part, tuple) else ("application/dicom", part)
        lines += [b"--" + boundary.encode(), CRLF, b"Content-Type: " + kind.encode(), CRLF, CRLF, content, CRLF]
    if closing:
        lines += [b"--" + boundary.encode(), b"--", CRLF]
    return boundary, b"".join(lines)


def store_headers(boundary: str, kind: str = "application/dicom") -> dict[str, str]:
    return {"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}'}


@dataclass(slots=True)
class Peer:
    """A DICOMweb server at `base_url`. Sends the Accept it is told (None: none at all) and `identity` content coding."""

    base_url: str
    headers: dict[str, str] = field(default_factory=dict)
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        self._client = httpx.Client(timeout=120, trust_env=False, headers=self.headers)

    def close(self) -> None:
        self._client.close()

    def url(self, path: str, query: str = "") -> str:
        url = path if path.startswith(("http://", "https://")) else self.base_url + path
        return f"{url}?{query}" if query else url

    def request(
        self,
        method: str,
        path: str,
        *,
        accept: str | None = "*/*",
        query: str = "",
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
    ) -> httpx.Response:
        request = self._client.build_request(method, self.url(path, query), content=content)
        request.headers["Accept-Encoding"] = "identity"
        del request.headers["Accept"]
        if accept is not None:
            request.headers["Accept"] = accept
        request.headers.update(headers or {})
        return self._client.send(request)

    def get(self, path: str, accept: str | None = "*/*", query: str = "", **headers: str) -> httpx.Response:
        """GET; further headers as keywords, `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("GET", path, accept=accept, query=query, headers=named)

    def search(self, path: str, query: str = "") -> list[dict[str, Any]]:
        """The results of a search as JSON; a 204 is an empty list."""
        response = self.get(path, JSON, query)
        assert response.status_code in (200, 204), (
            f"{response.request.url}: {response.status_code} {response.text[:500]}"
        )
        return json_array(response) if response.status_code == 200 else []

    def parts(self, path: str, accept: str, query: str = "") -> list[Part]:
        response = self.get(path, accept, query)
        assert response.status_code == 200, f"{response.request.url}: {response.status_code} {response.text[:500]}"
        return parse_multipart(response.headers["content-type"], response.content)

    def metadata(self, path: str) -> list[dict[str, Any]]:
        response = self.get(path + "/metadata", JSON)
        assert response.status_code == 200, f"{response.request.url}: {response.status_code} {response.text[:500]}"
        return json_array(response)

    def store(
        self, files: Sequence[bytes | tuple[str, bytes]], path: str = "/studies", accept: str | None = JSON
    ) -> httpx.Response:
        boundary, body = build_multipart(files)
        return self.request("POST", path, accept=accept, headers=store_headers(boundary), content=body)

    def delete(self, path: str) -> httpx.Response:
        return self.request("DELETE", path)


def json_array(response: httpx.Response) -> list[dict[str, Any]]:
    assert media_type(response.headers["content-type"])[0] == JSON, response.headers["content-type"]
    value = response.json()
    assert isinstance(value, list), f"not an array: {response.text[:200]}"
    return value


def values(dataset: Mapping[str, Any], tag: str) -> list[Any]:
    """The Value of an attribute of a DICOM JSON data set; [] when the attribute is empty or absent."""
    result = dataset.get(tag, {}).get("Value", [])
    assert isinstance(result, list)
    return result


def first(dataset: Mapping[str, Any], tag: str) -> Any:
    found = values(dataset, tag)
    return found[0] if found else None


def integer(dataset: Mapping[str, Any], tag: str) -> int | None:
    """The first value of an IS, which JSON may write as number or as text (PS3.18 Table F.2.3-1)."""
    found = first(dataset, tag)
    return None if found is None else int(found)


def raw_exchange(base_url: str, message: bytes, *, timeout: float = 30) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send bytes as they are, read until the server closes: (status, headers in lower case, body as it came)."""
    address = urlsplit(base_url)
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=timeout) as connection:
        connection.sendall(message)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, separator, body = received.partition(CRLF + CRLF)
    if not separator:
        raise BadMessage(f"no end of headers in {received[:200]!r}")
    status_line, *lines = head.split(CRLF)
    headers = []
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name.lower(), value.strip()))
    return int(status_line.split()[1]), headers, body
