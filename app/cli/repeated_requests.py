"""Requests that come again in the same bytes: they are answered before anything has read them (app.asgi_extensions)."""

from collections import OrderedDict

from app.asgi_extensions import RawHeaders, Repeat, Repeatable
from app.cli.answer_head import head_of, lines_of

MOST = 2000  # requests, of some 3 kB with what is kept for their answers
LONGEST = 2000  # bytes of a request that is kept

# Where it arrived, and its bytes: what is in an answer may depend on both.
Request = tuple[tuple[str, int | None] | None, bytes]


class RepeatedRequests:
    """Of one server, whose application answers all connections alike; for the event loop."""

    def __init__(self) -> None:
        # With the head of the answer: without the headers that differ, and the empty line.
        self._kept: OrderedDict[Request, tuple[bytes, Repeatable]] = OrderedDict()
        self._own: tuple[RawHeaders, bytes] = [], b""

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, request: Request, status: int, repeatable: Repeatable) -> None:
        found = head_of(status, repeatable.headers)
        if found is None:
            return
        self._kept[request] = found[0].removesuffix(b"\r\n"), repeatable
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def begin(self, request: Request, own: RawHeaders) -> tuple[bytes, Repeat] | None:
        """The head of the answer and what follows; None where the application has to be asked.

        own  headers of the server: the date, the same list for a second
        """
        kept = self._kept.get(request)
        if kept is None:
            return None
        self._kept.move_to_end(request)
        repeat = kept[1].begin()
        if repeat is None:
            return None
        if self._own[0] is not own:
            self._own = own, lines_of(own)
        return b"%b%b%b\r\n" % (kept[0], self._own[1], repeat.lines), repeat
