"""In which transfer syntax a stored instance can be delivered, given what the receiver takes.

A receiver's wish is an ordered list of alternatives; each is a tuple of transfer syntax UIDs, best first, in which AS_STORED
may stand. The same list serves an Accept header and a presentation context.
"""

from collections.abc import Sequence

from app.dicom.codecs import can_decode
from app.dicom.transfer_syntaxes import (
    AS_STORED,
    EXPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    wire_syntax,
)

Acceptable = tuple[str, ...]


def deliverable(stored: str, acceptable: Acceptable) -> str | None:
    """The syntax of `acceptable` to deliver an instance stored in `stored` in; None when none can be produced.

    Passing through comes first, wherever the stored syntax stands in the tuple: it costs nothing and alters nothing.
    """
    if stored in acceptable:
        return stored
    for uid in acceptable:
        if uid == AS_STORED:
            uid = wire_syntax(stored)
            if uid == stored:
                return stored
        if convertible(stored, uid):
            return uid
    return None


def convertible(stored: str, target: str) -> bool:
    """Whether pixel data stored in `stored` can be made into `target`."""
    if target != EXPLICIT_VR_LITTLE_ENDIAN:
        return False
    syntax = TRANSFER_SYNTAXES.get(stored)
    return syntax is not None and (not syntax.encapsulated or can_decode(stored))


def choose(stored: Sequence[str], alternatives: Sequence[Acceptable]) -> tuple[int, list[str]] | None:
    """The first alternative that serves all of `stored`: its index, and the syntax for each. None when none does."""
    distinct = set(stored)
    for index, acceptable in enumerate(alternatives):
        chosen = {uid: deliverable(uid, acceptable) for uid in distinct}
        if all(chosen.values()):
            return index, [chosen[uid] or "" for uid in stored]
    return None
