"""What the door and the server say to each other beyond ASGI. A server that knows it has SEND_FILES in `extensions`.

Parts of files
    A message SEND_FILES comes in the place of a `http.response.body` that is not the last. "files" are parts of files, which
    need not pass through this process; "count" is the number of their bytes, heads included.

Answers that the server gives again by itself
    A message `http.response.start` may hold AGAIN. When the very bytes of the request come again, on whatever connection, the
    server begins the answer anew with what it finds there and passes nothing through the application: parsing a request and
    going through the layers around an endpoint costs several times what a small frame costs. An endpoint offers a function,
    which must know at once whether its answer is still right. The outermost layer, which counts and logs what goes out, makes
    a `Repeatable` of it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from app.blobs.files import FileSlice

SEND_FILES = "gantry.files"
AGAIN = "gantry.again"

Pieces = Sequence[bytes | FileSlice]
# What an endpoint offers: the body, as long as before; None if it must be asked. Waits for nothing.
Again = Callable[[], Pieces | None]
RawHeaders = Iterable[tuple[bytes, bytes]]


class Repeat(Protocol):
    """An answer that is about to be given again.

    lines  of the head, as they go out: the headers that differ from answer to answer
    """

    lines: bytes
    pieces: Pieces

    def end(self) -> None:
        """To be called when all of it was sent, or nobody takes it any more."""


class Repeatable(Protocol):
    """headers  that are the same each time, with the length"""

    headers: RawHeaders

    def begin(self) -> Repeat | None:
        """None where the application has to be asked. Raises nothing."""
