"""The head of an answer as it goes out. uvicorn's own way of writing one takes a tenth of the time that a frame takes in all."""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.asgi_extensions import RawHeaders

# RFC 9110 5.5: what a field value may hold.
_ALLOWED = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_DECISIVE = frozenset((b"connection", b"transfer-encoding"))


def head_of(status: int, headers: RawHeaders) -> tuple[bytes, int] | None:
    """The head, and the length in bytes that it announces; names are in lower case, as ASGI has them.

    None where the length is not known, where the connection is spoken of, and where something is wrong: uvicorn knows what then.
    """
    length: bytes | None = None
    lines = []
    for name, value in headers:
        if name == b"content-length":
            if length is not None:
                return None
            length = value
        elif name in _DECISIVE:
            return None
        lines.append(b"%b: %b\r\n" % (name, value))
    text = b"".join(lines)
    if length is None or not length.isdigit() or text.translate(None, _ALLOWED) != b"\r\n" * len(lines):
        return None
    return b"%b%b\r\n" % (STATUS_LINE[status], text), int(length)


def lines_of(headers: RawHeaders) -> bytes:
    """Headers as they go out. What they hold must be known to be harmless."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])
