"""In which transfer syntax a stored instance can be delivered, given what the receiver takes.

A receiver's wish is an ordered list of alternatives, best first. The same list serves an Accept header and a presentation
context.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.dicom.codecs import can_decode
from app.dicom.transfer_syntaxes import AS_STORED, EXPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES, wire_syntax


@dataclass(frozen=True, slots=True)
class Alternative:
    """transfer_syntaxes  acceptable ones, best first; AS_STORED may stand among them
    converts              False: only what is stored in one of them
    fallback              AS_STORED is for what cannot be had in Explicit VR LE (PS3.18 8.7.3.4): everything else comes in that
    """

    transfer_syntaxes: tuple[str, ...]
    converts: bool = True
    fallback: bool = False


def deliverable(stored: str, alternative: Alternative) -> str | None:
    """The syntax to deliver an instance stored in `stored` in; None when the alternative cannot be produced.

    Passing through comes first, wherever the stored syntax stands in the tuple: it costs nothing and alters nothing.
    """
    acceptable = alternative.transfer_syntaxes
    if stored in acceptable:
        return stored
    if alternative.fallback:
        if AS_STORED not in acceptable:
            return None
        return EXPLICIT_VR_LITTLE_ENDIAN if convertible(stored, EXPLICIT_VR_LITTLE_ENDIAN) else stored
    if AS_STORED in acceptable and wire_syntax(stored) == stored:
        return stored
    for uid in acceptable:
        target = wire_syntax(stored) if uid == AS_STORED else uid
        # Two syntaxes never go on the wire (8.7.3): rewriting those is part of passing on what is stored.
        if (alternative.converts or uid == AS_STORED) and convertible(stored, target):
            return target
    return None


def convertible(stored: str, target: str) -> bool:
    """Whether pixel data stored in `stored` can be made into `target`."""
    if target != EXPLICIT_VR_LITTLE_ENDIAN:
        return False
    syntax = TRANSFER_SYNTAXES.get(stored)
    return syntax is not None and (not syntax.encapsulated or can_decode(stored))


def choose(stored: Sequence[str], alternatives: Sequence[Alternative]) -> tuple[int, list[str]] | None:
    """The first alternative that serves all of `stored`: its index, and the syntax for each. None when none does."""
    distinct = set(stored)
    for index, alternative in enumerate(alternatives):
        chosen = {uid: deliverable(uid, alternative) for uid in distinct}
        if all(chosen.values()):
            return index, [chosen[uid] or "" for uid in stored]
    return None
