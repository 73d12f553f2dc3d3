"""Answers with one frame, kept as planned: who asks for a frame in the same words gets it without planning it once more.

Choosing the representation, finding the frame and preparing the heads takes as long as all else that is done for a frame. What
is kept, once a frame has been asked for twice, are heads and places, and of small frames the answer itself: what a blob holds
never changes. An answer is given again only if the instance is still stored as it was: on SQLite the database says whether
anything has changed, by whatever process; where something has, and on PostgreSQL, the instance is looked up.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from starlette.responses import Response
from starlette.types import Scope

from app.api.responses import PiecesBody
from app.asgi_extensions import Pieces
from app.db.engine import Database
from app.db.locate import InstanceLocation, locate_instance
from app.db.point_query import change_number
from app.dicomweb.urls import HEADERS_OF_THE_BASE
from app.services.archive import Archive
from app.services.frames import FrameDelivery, single_range

MOST = 2000  # answers, of some 3 kB and a small frame
SMALL = 8 * 1024  # bytes of a frame: reading it takes longer than keeping it takes room
_LONGEST = 2000  # characters of what was asked
_ASKED = 4096  # requests of which it is remembered that they were made
# Conditions and ranges are not among them: a message of several parts knows none.
_DECIDING = frozenset(name.encode() for name in ("accept", *HEADERS_OF_THE_BASE))

Words = tuple[str | bytes | int | tuple[bytes, bytes] | None, ...]


@dataclass(slots=True)
class _Kept:
    """answer         all of it, or what goes out before and behind the frame
    passes_file    the frame goes out as a part of its file
    change_number  of the database when the instance was last seen in it
    """

    answer: PiecesBody
    location: InstanceLocation
    place: tuple[int, int]
    passes_file: bool
    change_number: int | None = None

    @property
    def is_whole(self) -> bool:
        """There is nothing to be read."""
        return len(self.answer.pieces) == 1


class FrameAnswers:
    """Of one process, one archive and one set of settings; for the event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Words, _Kept] = OrderedDict()
        self._asked = [0] * _ASKED  # hashes of words, each in its place
        # Requests are read while the event loop polls, and planned in its next turn: a number that was asked for in between says
        # nothing about what is read behind it.
        self._planning, self._reading = _Turn(), _Turn()

    def __len__(self) -> int:
        return len(self._kept)

    async def again(self, words: Words, archive: Archive) -> PiecesBody | None:
        """The answer that was given to the same words, if it is still right. Raises NotFound, Gone, BlobNotFound, Unavailable."""
        kept = self._kept.get(words)
        if kept is None:
            return None
        self._kept.move_to_end(words)
        # First: what changes during the look-up is seen the next time.
        number = self._planning.change_number(archive.db)
        if number is None or number != kept.change_number:
            if await locate_instance(archive.db, kept.location.ref) != kept.location:
                return None  # what is planned now takes its place
            kept.change_number = number
        again = None if number is None else partial(self._at_once, kept, archive)
        return kept.answer.with_pieces(await _pieces(archive, kept), again)

    def keep(self, words: Words, delivery: FrameDelivery, answer: Response) -> None:
        """Nothing happens the first time, and with answers of other kinds."""
        asked = hash(words)
        if self._asked[asked % _ASKED] != asked:
            self._asked[asked % _ASKED] = asked
            return
        place = single_range(delivery)
        if place is None or not isinstance(answer, PiecesBody) or len(answer.pieces) != 3 or len(str(words)) > _LONGEST:
            return
        texts = [piece for piece in answer.pieces if isinstance(piece, bytes)]  # a part of a file would keep it open
        is_small = len(texts) == 3 and len(texts[1]) <= SMALL
        kept = answer.with_pieces([b"".join(texts)] if is_small else [texts[0], texts[-1]])
        self._kept[words] = _Kept(kept, delivery.location, place, passes_file=len(texts) == 2)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def _at_once(self, kept: _Kept, archive: Archive) -> Pieces | None:
        """The same answer once more, where that can be known and the frame be had without waiting. Raises Unavailable."""
        number = self._reading.change_number(archive.db)
        if number is None or number != kept.change_number:
            return None
        if kept.is_whole:
            return kept.answer.pieces
        frame = archive.blobs.at_hand(kept.location.blob_key, *kept.place, as_file=kept.passes_file)
        if frame is None:
            return None
        before, behind = kept.answer.pieces
        return [before, frame, behind]


class _Turn:
    """Of the event loop: all requests that it meets were there before it began, so that the database is asked for all at once.

    But uvloop, where over a thousand connections have something for it, goes on with what has arrived since; its clock, which
    counts milliseconds, tells of that.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._asked: float | None = None  # by the loop's clock

    def change_number(self, db: Database) -> int | None:
        """None where there is none. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._asked != now:
            if self._asked is None:
                loop.call_soon(self._end)
            self._number = change_number(db)
            self._asked = now
        return self._number

    def _end(self) -> None:
        self._asked = None


def words_of(scope: Scope) -> Words:
    """All that an answer with a frame depends on, but for the archive and the settings."""
    deciding = [(name, value) for name, value in scope["headers"] if name in _DECIDING]
    return scope["path"], scope["query_string"], scope["scheme"], *(scope.get("server") or ()), *deciding


async def _pieces(archive: Archive, kept: _Kept) -> Pieces:
    if kept.is_whole:
        return kept.answer.pieces
    before, behind = kept.answer.pieces
    key = kept.location.blob_key
    if kept.passes_file and (slices := await archive.blobs.slices(key, [kept.place])):
        return [before, slices[0], behind]
    return [before, await archive.blobs.get_range(key, *kept.place), behind]
