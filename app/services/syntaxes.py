"""In which transfer syntax a stored instance can be delivered, given what the receiver takes.

A receiver's wish is an ordered list of alternatives, best first. The same list serves an Accept header and a presentation
context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.dicom.codecs import can_decode
from app.dicom.codecs.recompression import can_recompress
from app.dicom.frame_conversion import plan_frame_conversion
from app.dicom.layout import InstanceLayout
from app.dicom.transfer_syntaxes import (
    AS_STORED,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
    transfer_syntax,
    wire_syntax,
)
from app.errors import CodecError, TooLarge, UnsupportedTransferSyntax

_MAX_NATIVE_BYTES = 2**32 - 2  # of a value whose length is written (PS3.5 7.1.1)


@dataclass(frozen=True, slots=True)
class Alternative:
    """transfer_syntaxes  acceptable ones, best first; AS_STORED may stand among them
    converts              False: only what is stored in one of them
    fallback              AS_STORED is for what cannot be had in Explicit VR LE (PS3.18 8.7.3.4): everything else comes in that
    allows_loss           the receiver named its transfer syntaxes: nothing is made worse for one who left the choice open
    """

    transfer_syntaxes: tuple[str, ...]
    converts: bool = True
    fallback: bool = False
    allows_loss: bool = False


class Stored(NamedTuple):
    """What decides in which syntaxes an instance, or frames of it, can be had.

    layout        app.dicom.layout.InstanceLayout as JSON text
    only_frames   frames are wanted, not a whole instance
    """

    transfer_syntax_uid: str
    layout: bytes
    only_frames: bool = False


def choose(stored: Sequence[Stored], alternatives: Sequence[Alternative]) -> tuple[int, list[str]] | None:
    """For each of `stored` its syntax by the first alternative that serves it, since each part of an answer is selected on its
    own (PS3.18 8.7.8); and the index of the alternative of the first. None when one of them cannot be served.
    """
    served: dict[Stored, tuple[int, str]] = {}
    for one in set(stored):  # of a series, most are alike
        first = _first_served(one, alternatives)
        if first is None:
            return None
        served[one] = first
    found = [served[one] for one in stored]
    return (found[0][0], [uid for _, uid in found]) if found else None


def _first_served(stored: Stored, alternatives: Sequence[Alternative]) -> tuple[int, str] | None:
    for index, alternative in enumerate(alternatives):
        uid = deliverable(stored, alternative)
        if uid is not None:
            return index, uid
    return None


def choose_untouched(stored: Stored, alternatives: Sequence[Alternative]) -> tuple[int, str] | None:
    """The first alternative that takes the pixels as they are stored, and its syntax: what is left where a codec fails."""
    uid = stored.transfer_syntax_uid
    untouched = [uid, *([] if transfer_syntax(uid).encapsulated else [EXPLICIT_VR_LITTLE_ENDIAN])]
    for index, alternative in enumerate(alternatives):
        for target in untouched:
            if target in alternative.transfer_syntaxes:
                return index, target
        if AS_STORED in alternative.transfer_syntaxes:
            return index, wire_syntax(uid)
    return None


def deliverable(stored: Stored, alternative: Alternative) -> str | None:
    """The syntax to deliver an instance in; None when the alternative cannot be produced.

    Passing through comes first, wherever the stored syntax stands in the tuple: it costs nothing and alters nothing. What
    need not be decoded comes next.
    """
    acceptable, uid = alternative.transfer_syntaxes, stored.transfer_syntax_uid
    if uid in acceptable:
        return uid
    if alternative.fallback:
        if AS_STORED not in acceptable:
            return None
        return EXPLICIT_VR_LITTLE_ENDIAN if refusal(stored, EXPLICIT_VR_LITTLE_ENDIAN) is None else uid
    if AS_STORED in acceptable and wire_syntax(uid) == uid:
        return uid
    # Two syntaxes never go on the wire (8.7.3): rewriting those is part of passing on what is stored.
    wanted = [one for one in acceptable if alternative.converts or one == AS_STORED]
    targets = [wire_syntax(uid) if one == AS_STORED else one for one in wanted]
    for target in sorted(targets, key=lambda target: not can_recompress(uid, target)):
        lossless = target in TRANSFER_SYNTAXES and TRANSFER_SYNTAXES[target].lossless
        if (lossless or alternative.allows_loss or can_recompress(uid, target)) and refusal(stored, target) is None:
            return target
    return None


def refusal(stored: Stored, target: str) -> str | None:
    """Why an instance cannot be made into `target`, fit to be told; None when it can."""
    try:
        syntax = transfer_syntax(stored.transfer_syntax_uid)
        layout = InstanceLayout.from_json(stored.layout)
        if target == EXPLICIT_VR_LITTLE_ENDIAN or (
            target == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN and not stored.only_frames
        ):
            _check_native(stored, layout, encapsulated=syntax.encapsulated)
        else:
            plan_frame_conversion(layout, syntax.uid, target)
    except (CodecError, TooLarge, UnsupportedTransferSyntax) as error:
        return str(error)
    return None


def _check_native(stored: Stored, layout: InstanceLayout, *, encapsulated: bool) -> None:
    """Raises CodecError, TooLarge, UnsupportedTransferSyntax."""
    uid = stored.transfer_syntax_uid
    if not encapsulated:
        return
    if not can_decode(uid):
        raise UnsupportedTransferSyntax(f"{transfer_syntax(uid).name} cannot be decoded")
    if layout.pixel_data is None and not stored.only_frames:
        return
    native = plan_frame_conversion(layout, uid, EXPLICIT_VR_LITTLE_ENDIAN).native
    if not stored.only_frames and native.frame_bits * native.number_of_frames // 8 > _MAX_NATIVE_BYTES:
        raise TooLarge("the decoded pixel data is too long for Explicit VR Little Endian (PS3.18 8.7.8)")
