"""How a query parameter names an attribute (PS3.18 8.3.1).

    attribute  element, ("." element)*      each but the last a sequence
    element    keyword of PS3.6, or 8 hexadecimal digits
A private element needs its creator, which is a parameter of its own: `00230010=Acme&00231001=1`. Keywords are
case-sensitive, digits are not; both may be mixed in one path.
"""

import re
from collections.abc import Mapping

from app.dicom.attributes import TAGS, VRS, private_creator_tag
from app.dicom.dictionary import private_dictionary_vr
from app.dicom.matching import AttributePath
from app.errors import InvalidQuery

MAX_DEPTH = 8
_MAX_LENGTH = 64 * MAX_DEPTH

# 8.3.1: eight hexadecimal digits.
_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
# PS3.6: keywords begin with a capital (a few with a digit's name) and hold letters and digits only.
_ELEMENT = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)

Creators = Mapping[tuple[str, ...], str]


def tags_of(text: str) -> tuple[str, ...] | None:
    """The tags that a path names, private ones with the block they were written with; None if it names no attribute.

    Raises InvalidQuery for a path deeper than MAX_DEPTH.
    """
    if len(text) > _MAX_LENGTH:
        return None
    elements = text.split(".")
    if not all(_ELEMENT.fullmatch(element) for element in elements):
        return None
    if len(elements) > MAX_DEPTH:
        raise InvalidQuery(f"an attribute path has at most {MAX_DEPTH} elements")
    tags = []
    for element in elements:
        tag = element.upper() if _TAG.fullmatch(element) else TAGS.get(element)
        if tag is None or tag.startswith(("0000", "0002", "FFFE")) or tag.endswith("0000"):
            return None
        tags.append(tag)
    return tuple(tags)


def is_private(tag: str) -> bool:
    """PS3.5 7.8: groups of odd number."""
    return int(tag[:4], 16) % 2 == 1


def is_creator(tag: str) -> bool:
    """Whether the tag is a private creator element, (gggg,0010) to (gggg,00FF)."""
    return is_private(tag) and tag[4:6] == "00" and tag[6:] >= "10"


def creator_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The path of the creator element of a private path's last tag."""
    return (*tags[:-1], private_creator_tag(tags[-1]))


def resolve(tags: tuple[str, ...], creators: Creators) -> AttributePath | None:
    """The attribute, its private blocks replaced by `00`; None if PS3.6 does not know it or a creator is missing.

    Raises InvalidQuery where an element on the way is no sequence.
    """
    resolved, owners, vr = [], [], ""
    for depth, tag in enumerate(tags):
        owner = ""
        if is_private(tag):
            owner = creators.get(creator_tags(tags[: depth + 1]), "")
            if is_creator(tag) or not owner:
                return None
            vr = _private_vr(tag, owner)
            tag = f"{tag[:4]}00{tag[6:]}"
        elif (known := VRS.get(tag)) is not None:
            vr = known
        else:
            return None
        if depth < len(tags) - 1 and vr not in ("SQ", ""):
            raise InvalidQuery(f"{tag} is no sequence: an attribute path cannot lead through it (PS3.18 8.3.1)")
        resolved.append(tag)
        owners.append(owner)
    return AttributePath(tuple(resolved), vr, tuple(owners))


def _private_vr(tag: str, creator: str) -> str:
    try:
        return private_dictionary_vr(int(tag, 16), creator)[:2]
    except KeyError:
        return ""
