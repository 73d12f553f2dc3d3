r"""Multipart bodies as they arrive: bytes in, events out, nothing kept but the tail that may be a delimiter (PS3.18 8.6.1.2).

The grammar of RFC 2046 5.1.1, in our words. A body is parts with delimiters before, between and behind them:

    body       preamble, delimiter line, part, (delimiter line, part)*, closing delimiter, epilogue
    delimiter  line break, "--", boundary            the line break belongs to the delimiter, not to the part before it
    ... line   delimiter, blanks, line break         ("blanks" are the transport padding that gateways may add)
    closing    delimiter, "--"                       whatever follows is epilogue
    part       header lines, empty line, octets      a part without octets may also lack the empty line

Preamble and epilogue are skipped. The first delimiter has no line break when it opens the body. When the first delimiter
line ends in a bare LF the sender writes LF and that is what is taken off a part; otherwise CR LF is, so that no octet of a
binary part is ever lost. Header lines may end either way. Scripts mix the two: CR LF is also taken off before a delimiter
line that itself ends in CR LF, or with the message; before one that ends in LF a CR belongs to the part.

python_multipart.MultipartParser reads form data and follows that grammar less far: it rejects or misreads a preamble,
padding behind the first boundary, LF line ends, folded headers and parts without octets, and one bad header line ends the
whole message, where PS3.18 10.5.3 wants the other instances stored. On the messages both read, the tests compare them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from app.dicomweb.media_types import MediaType, parse_media_type
from app.errors import InvalidMediaType, MalformedMessage, TooLarge

MAX_PARTS = 100_000
MAX_HEADER_BYTES = 16_384
MAX_BOUNDARY_LENGTH = 200  # RFC 2046 says 70; longer ones are seen and do no harm
# RFC 2046 5.1.1: digits, letters, '()+_,-./:=? and inner spaces. Other visible ASCII occurs and is let through.
_BOUNDARY = re.compile(r"[ -~]*[!-~]")
_MAX_PADDING = 128
_REMEMBERED_LENGTH = 200
_FEW = 100
# The rest of a delimiter line (two hyphens, or at most 128 blanks and a line break), and what may yet become it.
_REST_OF_LINE = re.compile(rb"--|[ \t]{0,128}+\r?\n")
_REST_UNDECIDED = re.compile(rb"[ \t]{0,128}+\r?|-")


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part's header is complete.

    headers     by lower-case name; of a repeated name the first
    media_type  of its Content-Type; None where that is missing or unreadable
    """

    headers: Mapping[str, str]
    media_type: MediaType | None


@dataclass(frozen=True, slots=True)
class PartData:
    """More octets of the part: `bytes`, or a view of the chunk just fed."""

    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is over. `problem` is empty, or says why the part must be refused (it was cut off, its header is unusable)."""

    problem: str = ""


Event = PartBegin | PartData | PartEnd


class _State(Enum):
    PREAMBLE = auto()
    HEADER = auto()
    BODY = auto()
    SKIP = auto()  # the octets of a part whose header is unusable
    EPILOGUE = auto()


def boundary_of(content_type: MediaType) -> str:
    """The boundary of a multipart media type. Raises MalformedMessage where there is none or it is not usable."""
    boundary = content_type.get("boundary")
    if boundary is None:
        raise MalformedMessage(f"{content_type.essence} without a boundary parameter")
    if len(boundary) > MAX_BOUNDARY_LENGTH or not _BOUNDARY.fullmatch(boundary):
        raise MalformedMessage("the boundary parameter is not one to 70 characters of RFC 2046")
    return boundary


class MultipartReader:
    """Feed it chunks of any size, then `finish`; it does no I/O and keeps no more than one header block.

    Raises MalformedMessage for a message without any part, TooLarge above `max_parts`. Faults of one part are told by
    its PartEnd, so that the other parts of the message can be stored.
    """

    def __init__(
        self,
        content_type: MediaType | str,
        *,
        max_parts: int = MAX_PARTS,
        max_header_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        """`content_type` is the multipart media type of the message, or just its boundary."""
        if isinstance(content_type, str):
            content_type = MediaType("multipart", "related", (("boundary", content_type),))
        self._dashed = b"--" + boundary_of(content_type).encode("ascii")
        self._set_line_break(b"\r\n")
        self._max_parts = max_parts
        self._max_header_bytes = max_header_bytes
        self._state = _State.PREAMBLE
        self._tail = b"\n"  # as if a line had just ended: the first line of the body may be a delimiter
        self._break = 0  # how many leading octets of what is unread are the end of the header, not data
        self._parts = 0
        self._lines: list[bytes] = []
        self._header_bytes = 0

    def _set_line_break(self, line_break: bytes) -> None:
        self._line_break = line_break
        self._delimiter = line_break + self._dashed

    def feed(self, chunk: bytes) -> list[Event]:
        """What the chunk completes. Raises TooLarge."""
        data = self._tail + chunk if self._tail else chunk
        self._tail = b""
        events: list[Event] = []
        position = 0
        while position < len(data) and self._state is not _State.EPILOGUE:
            if self._state is _State.PREAMBLE:
                position = self._skip_preamble(data)
            elif self._state is _State.HEADER:
                position = self._read_line(data, position, events)
            else:
                position = self._read_octets(data, position, events)
        return events

    def finish(self) -> list[Event]:
        """What the end of the message completes.

        A part that is cut off ends with a problem; a message that stops behind a delimiter is taken as whole (the
        examples of PS3.18 Annex B lack the last two hyphens). Raises MalformedMessage when there was no part.
        """
        events: list[Event] = []
        tail, self._tail = self._tail, b""
        if self._state is _State.HEADER and tail.startswith(self._dashed):
            self._begin(events)
            events.append(PartEnd())
        elif self._state is _State.HEADER and (tail or self._lines):
            self._begin(events)
            events.append(PartEnd("the message ends within the header of this part"))
        elif self._state in (_State.BODY, _State.SKIP):
            whole = tail.removeprefix(b"\r").startswith(b"\n" + self._dashed)
            if not whole and self._state is _State.BODY and len(tail) > self._break:
                events.append(PartData(tail[self._break :]))
            events.append(self._end(whole=whole))
        self._state = _State.EPILOGUE
        if self._parts == 0:
            raise MalformedMessage("the multipart message holds no part")
        return events

    def _skip_preamble(self, data: bytes) -> int:
        if line := _find_line(data, b"\n" + self._dashed, 0):
            rest = line[1]
            if rest[0].endswith(b"\n") and not rest[0].endswith(b"\r\n"):
                self._set_line_break(b"\n")
            return self._next_part(rest)
        return self._keep(data, _undecided(data, 0, b"\n" + self._dashed))

    def _read_line(self, data: bytes, position: int, events: list[Event]) -> int:
        """One line of a header, which may also be the delimiter of a part that has nothing but header lines."""
        if data.startswith(self._dashed, position):
            rest = position + len(self._dashed)
            if match := _REST_OF_LINE.match(data, rest):
                self._begin(events)
                events.append(PartEnd())
                return self._next_part(match)
            if _REST_UNDECIDED.fullmatch(data, rest):
                return self._keep(data, position)
        end = data.find(b"\n", position)
        length = (len(data) if end < 0 else end + 1) - position
        if self._header_bytes + length > self._max_header_bytes:
            self._lines = []
            self._begin(events)
            self._state = _State.SKIP
            return position
        if end < 0:
            return self._keep(data, position)
        self._header_bytes += length
        line = data[position:end].removesuffix(b"\r")
        if line:
            self._lines.append(line)
            return end + 1
        self._begin(events)
        self._state = _State.BODY
        # A delimiter may follow at once, and then this line break is its own: read it again, but not as data.
        if not data.endswith(self._line_break, position, end + 1):
            return end + 1
        self._break = len(self._line_break)
        return end + 1 - self._break

    def _read_octets(self, data: bytes, position: int, events: list[Event]) -> int:
        if line := _find_line(data, self._delimiter, position):
            start, rest = line
            if self._may_end_in_cr(data, position, start):
                line_end = data[rest.end() - 2 : rest.end()] if rest[0] != b"--" else data[rest.end() : rest.end() + 2]
                if line_end in (b"", b"\r"):  # of the closing delimiter, and not here yet
                    self._emit(data, position, start - 1, events)
                    return self._keep(data, start - 1)
                start -= line_end == b"\r\n"
            self._emit(data, position, start, events)
            events.append(self._end(whole=True))
            return self._next_part(rest)
        end = _undecided(data, position, self._delimiter)
        end -= self._may_end_in_cr(data, position, end)
        self._emit(data, position, end, events)
        return self._keep(data, end)

    def _may_end_in_cr(self, data: bytes, position: int, end: int) -> bool:
        """Whether the octets up to `end` end in a CR that may be half a line break, where LF is the rule."""
        return self._line_break == b"\n" and end > position + self._break and data[end - 1] == ord("\r")

    def _emit(self, data: bytes, position: int, end: int, events: list[Event]) -> None:
        start = position + self._break
        if end > position:
            self._break = 0
        if self._state is _State.SKIP or end <= start:
            return
        events.append(PartData(data if end - start == len(data) else memoryview(data)[start:end]))

    def _keep(self, data: bytes, start: int) -> int:
        self._tail = data[start:]
        return len(data)

    def _next_part(self, rest: re.Match[bytes]) -> int:
        """Behind the rest of a delimiter line."""
        self._state = _State.HEADER if rest[0].endswith(b"\n") else _State.EPILOGUE
        self._lines, self._header_bytes, self._break = [], 0, 0
        return rest.end()

    def _begin(self, events: list[Event]) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise TooLarge(f"more than {self._max_parts} parts in one message")
        headers = _headers(self._lines)
        events.append(PartBegin(headers, _media_type(headers.get("content-type"))))

    def _end(self, *, whole: bool) -> PartEnd:
        if self._state is _State.SKIP:
            return PartEnd(f"the header of this part is longer than {self._max_header_bytes} bytes")
        return PartEnd() if whole else PartEnd("the message ends within this part")


def _find_line(data: bytes, delimiter: bytes, position: int) -> tuple[int, re.Match[bytes]] | None:
    """Where the next delimiter line begins, and what follows the delimiter in it. No pattern is made of the boundary: that takes
    longer than all else, and most senders have a new one for each message."""
    for _ in range(_FEW):
        found = data.find(delimiter, position)
        if found < 0:
            return None
        if rest := _REST_OF_LINE.match(data, found + len(delimiter)):
            return found, rest
        position = found + 1
    # Data that is full of the boundary: a pattern goes through it faster.
    line = re.compile(re.escape(delimiter) + b"(?=" + _REST_OF_LINE.pattern + b")").search(data, position)
    if line is None:
        return None
    rest = _REST_OF_LINE.match(data, line.end())
    return (line.start(), rest) if rest else None


def _undecided(data: bytes, start: int, delimiter: bytes) -> int:
    """From where on `data` may be the beginning of a delimiter line; the length of `data` if it is not."""
    found = data.rfind(delimiter, max(start, len(data) - len(delimiter) - _MAX_PADDING - 1))
    if found >= 0 and _REST_UNDECIDED.fullmatch(data, found + len(delimiter)):
        return found
    # A delimiter begins with a line break and has none further on: only the last one can be its beginning.
    found = data.rfind(delimiter[:1], max(start, len(data) - len(delimiter) + 1))
    return found if found >= 0 and delimiter.startswith(data[found:]) else len(data)


def _headers(lines: list[bytes]) -> dict[str, str]:
    """RFC 5322 2.2: name, colon, value; a line that begins with a blank goes on with the value before it.

    Lines that are neither are passed over: what they meant to say is missing, and that is judged by whoever needs it.
    """
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        text = line.decode("utf-8") if line.isascii() or _is_utf8(line) else line.decode("latin-1")
        if text[0] in " \t":
            if name:
                headers[name] += " " + text.strip()
            continue
        key, colon, value = text.partition(":")
        name = key.strip().lower() if colon else ""
        if name in headers:
            name = ""
        elif name:
            headers[name] = value.strip()
    return headers


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _media_type(text: str | None) -> MediaType | None:
    if text is None:
        return None
    return _parsed(text) if len(text) <= _REMEMBERED_LENGTH else _parsed.__wrapped__(text)


@lru_cache(maxsize=64)  # the parts of a message mostly have the same
def _parsed(text: str) -> MediaType | None:
    try:
        return parse_media_type(text)
    except InvalidMediaType:
        return None
