"""Which representations a client accepts, best first (PS3.18 8.7.8, 10.4.4; RFC 9110 12.5.1).

An Accept header is a set of ranges; each range, seen from one offer of app.dicomweb.resources, covers some of its transfer
syntaxes. Every (offer, transfer syntax) belongs to the most specific range that covers it and takes that range's q. What a
range is left with becomes one Representation per offer.

The service takes the first representation that it can produce from what is stored. Within ranges that the client ranks the
same, representations that only pass on what is stored come before those that convert, and lossless ones before lossy ones:
a list of ten syntaxes without q never makes the archive re-compress an image that it holds in one of the ten.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from app.dicom.references import is_uid
from app.dicom.transfer_syntaxes import (
    AS_STORED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TRANSFER_SYNTAXES,
)
from app.dicomweb.media_types import MediaRange, MediaType, canonical_name, parse_accept, split_list
from app.dicomweb.resources import (
    COMPRESSED,
    DICOM,
    DICOM_JSON,
    DICOM_TYPES,
    JSON,
    OFFERS,
    RENDERED_RESOURCES,
    RENDERED_TYPES,
    Offer,
    Resource,
)
from app.errors import InvalidParameter, NotAcceptable

__all__ = ["Representation", "Resource", "negotiate"]

# Of what a request says; those of viewers name every media type and transfer syntax they know.
_REMEMBERED_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Representation:
    """One acceptable answer.

    media_type         of the body, or of each part when `multipart`
    transfer_syntaxes  acceptable ones, best first; AS_STORED among them = whatever is stored; () where the notion does
                       not apply. What is stored in one of them is passed on, anything else converted to the first that
                       can be
    converts           False: only what is stored in one of the transfer syntaxes; a converting twin follows further on
    fallback           only for stored data that cannot be had in Explicit VR LE, such as video (PS3.18 8.7.3.4)
    allows_loss        the client named the transfer syntax: nothing is compressed with loss for one who left it open
    charset            named by the client for this type, None where it named none
    """

    media_type: str
    multipart: bool
    transfer_syntaxes: tuple[str, ...] = ()
    converts: bool = True
    fallback: bool = False
    charset: str | None = None
    allows_loss: bool = False


@dataclass(frozen=True, slots=True)
class _Range:
    """A media range as one resource sees it: what its container, its type and its transfer-syntax parameter ask for."""

    name: str  # "application/dicom", "image/*", "*/*"
    container: bool | None  # multipart, single part, or either (None)
    specificity: int
    transfer_syntax: str | None
    charset: str | None
    q: float

    def covers(self, offer: Offer) -> bool:
        if self.container is not None and self.container != offer.multipart:
            return False
        if self.name == offer.media_type:
            return True
        wildcard = self.name == "*/*" or self.name == offer.media_type.partition("/")[0] + "/*"
        return wildcard and not offer.by_name_only

    @property
    def means_default(self) -> bool:
        """`*/*` is the default media type of the resource (PS3.18 8.7.7), not whichever suits the archive."""
        return self.name == "*/*" and self.transfer_syntax is None

    def syntaxes_of(self, offer: Offer) -> tuple[str, ...]:
        """The transfer syntaxes of the offer that this range accepts; ("",) where an offer has none."""
        if not offer.transfer_syntaxes:
            return ("",)
        if self.transfer_syntax is None:
            # `image/*` leaves the syntax as open as the type; and nobody converts videos to the default of their type.
            is_open = self.name == "image/*" or offer.media_type.startswith("video/")
            return offer.transfer_syntaxes if is_open and not self.means_default else offer.transfer_syntaxes[:1]
        if self.transfer_syntax == AS_STORED:
            return (AS_STORED,) if AS_STORED in offer.transfer_syntaxes else offer.transfer_syntaxes
        if self.transfer_syntax in offer.transfer_syntaxes:
            return (self.transfer_syntax,)
        if AS_STORED in offer.transfer_syntaxes and self.transfer_syntax in TRANSFER_SYNTAXES:
            return (self.transfer_syntax,)
        return ()


def negotiate(
    resource: Resource,
    accept: str | None,
    accept_parameter: str | None = None,
    *,
    strict: bool = False,
    item_count: int | None = None,
) -> tuple[Representation, ...]:
    """The acceptable representations of a resource, best first, never none.

    accept            the Accept header; without one everything is acceptable, unless `strict` (PS3.18 8.7.5)
    accept_parameter  the decoded `accept=` query parameter (8.3.3.1): what it names comes first, as far as the header
                      allows its type
    item_count        how many response items the resource is: single parts of frames and bulkdata need exactly 1
    Raises NotAcceptable, InvalidParameter (`accept=` holds a wildcard or is unreadable; DICOM and rendered media types
    are mixed: both 400).
    """
    if accept is None or not accept.strip():
        if strict:
            raise NotAcceptable("the request has no Accept header (PS3.18 8.7.5)")
        accept = "*/*"
    is_short = len(accept) + len(accept_parameter or "") <= _REMEMBERED_LENGTH
    found = _remembered if is_short else _negotiated
    return found(resource, accept, accept_parameter, item_count == 1)


def _negotiated(
    resource: Resource, accept: str, accept_parameter: str | None, is_one_item: bool
) -> tuple[Representation, ...]:
    offers = [offer for offer in OFFERS[resource] if is_one_item or not offer.one_item]
    entries = parse_accept(accept)
    _refuse_mixture(resource, entries)
    ranges = _ranges(entries)
    chosen: list[Representation] = []
    if accept_parameter is not None:
        named = _parameter_ranges(resource, accept_parameter)
        allowed = [offer for offer in offers if _media_type_q(offer, ranges) > 0]
        chosen += _representations(allowed, named)
    chosen += _representations(offers, ranges)
    # PS3.18 8.7.3.4: what is stored is for those who do not say which transfer syntax, if Explicit VR LE is impossible.
    chosen = sorted(_without_json_alias(chosen), key=lambda item: item.fallback)
    if not chosen:
        raise NotAcceptable(f"none of the acceptable media types can be produced here; there are: {_names(offers)}")
    return tuple(chosen)


_remembered = lru_cache(maxsize=256)(_negotiated)  # a viewer asks for thousands of frames with one and the same header


def _names(offers: list[Offer]) -> str:
    names = (
        f'multipart/related; type="{o.media_type}"' if o.multipart else o.media_type
        for o in offers
        if o.media_type != JSON
    )
    return ", ".join(dict.fromkeys(names))


def _ranges(entries: tuple[MediaRange, ...]) -> list[_Range]:
    return [found for entry in entries if (found := _range(entry)) is not None]


def _range(entry: MediaRange) -> _Range | None:
    """None for a range that must be ignored: its transfer-syntax parameter is repeated or is no UID (PS3.18 8.7.7)."""
    media_type = entry.media_type
    container: bool | None = media_type.type == "multipart"
    if not container:
        name = canonical_name(media_type.essence)
        specificity = 4
        if name == "*/*":
            container, specificity = None, 0
        elif media_type.subtype == "*":
            specificity = 1
    elif media_type.subtype in ("related", "*"):
        name = canonical_name(media_type.get("type") or "*/*")
        specificity = 1 if media_type.subtype == "*" else 2 if name == "*/*" else 3 if name.endswith("/*") else 4
    else:
        return None
    syntaxes = [value.strip() for value in media_type.get_all("transfer-syntax")]
    if len(syntaxes) > 1 or any(value != AS_STORED and not is_uid(value) for value in syntaxes):
        return None
    return _Range(name, container, specificity, syntaxes[0] if syntaxes else None, media_type.get("charset"), entry.q)


def _parameter_ranges(resource: Resource, text: str) -> list[_Range]:
    # A client that leaves `+` as it is sends what form decoding turns into a blank.
    text = text.replace("dicom json", "dicom+json").replace("dicom xml", "dicom+xml")
    entries = parse_accept(text)
    ranges = _ranges(entries)
    if not ranges or not len(ranges) == len(entries) == len(split_list(text)):
        raise InvalidParameter("the accept parameter is not a list of media types (PS3.18 8.3.3.1)")
    if any("*" in found.name for found in ranges):
        raise InvalidParameter("the accept parameter must not hold wildcards (PS3.18 8.3.3.1)")
    _refuse_mixture(resource, entries)
    return ranges


def _refuse_mixture(resource: Resource, entries: tuple[MediaRange, ...]) -> None:
    """PS3.18 8.7.5: a request names DICOM media types or rendered ones. Wildcards, and types of neither kind, do not count."""
    dicom = rendered = False
    own = {offer.media_type for offer in OFFERS[resource]}
    for entry in entries:
        name = _bare_name(entry.media_type)
        if name == JSON:
            continue
        if resource in RENDERED_RESOURCES:
            # Here the images are rendered ones (8.7.3.3 and 8.7.4 share names), inside of multipart too.
            dicom |= name in DICOM_TYPES
            rendered |= name in RENDERED_TYPES
        elif name in own or name in (DICOM, DICOM_JSON):
            dicom = True
        elif name in RENDERED_TYPES and entry.media_type.type != "multipart":
            rendered = True
    if dicom and rendered:
        raise InvalidParameter("DICOM media types and rendered media types must not be mixed (PS3.18 8.7.5)")


def _bare_name(media_type: MediaType) -> str:
    if media_type.type == "multipart":
        return canonical_name(media_type.get("type") or "*/*")
    return canonical_name(media_type.essence)


def _media_type_q(offer: Offer, ranges: list[_Range]) -> float:
    """The q of an offer whatever its transfer syntax: 0 where no range allows its type.

    The `accept` parameter named it, so here a wildcard of the header leads to any offer (8.3.3.1).
    """
    named = replace(offer, by_name_only=False)
    covering = [found for found in ranges if found.covers(named)]
    most_specific = max((found.specificity for found in covering), default=-1)
    return max((found.q for found in covering if found.specificity == most_specific), default=0.0)


def _representations(offers: list[Offer], ranges: list[_Range]) -> list[Representation]:
    """What the ranges leave of the offers, ordered by q, then specificity, then as described at the top."""
    groups: dict[tuple[float, int], list[Representation]] = {}
    fallbacks: list[Representation] = []
    owned = _owned(offers, ranges)
    refused = {offer for (index, offer), uids in owned.items() if ranges[index].q == 0 and uids}
    for offer in offers:
        for index, entry in enumerate(ranges):
            uids = owned.get((index, offer))
            if uids is None or entry.q == 0:
                continue
            named = entry.transfer_syntax not in (None, AS_STORED)
            found = Representation(offer.media_type, offer.multipart, uids, charset=entry.charset, allows_loss=named)
            if entry.means_default and offer.transfer_syntaxes and offer.media_type in COMPRESSED:
                fallbacks.append(
                    replace(found, transfer_syntaxes=offer.transfer_syntaxes, converts=False, fallback=True)
                )
                continue
            groups.setdefault((entry.q, entry.specificity), []).append(found)
            if entry.transfer_syntax is None and len(uids) == 1 and offer not in refused:
                others = (AS_STORED,) if AS_STORED in offer.transfer_syntaxes else offer.transfer_syntaxes
                fallbacks.append(replace(found, transfer_syntaxes=others, converts=AS_STORED in others, fallback=True))
    ranked = [item for rank in sorted(groups, reverse=True) for item in _passing_first(groups[rank])]
    return [*ranked, *sorted(fallbacks, key=lambda item: item.converts)]


def _owned(offers: list[Offer], ranges: list[_Range]) -> dict[tuple[int, Offer], tuple[str, ...]]:
    """By index of a range and offer: the transfer syntaxes that no more specific range claims."""
    owner: dict[tuple[Offer, str], tuple[tuple[int, int, float], int]] = {}
    for index, entry in enumerate(ranges):
        # A named syntax is more specific than the default of a type, and that than any syntax at all.
        exactness = 1 if entry.transfer_syntax is None else 0 if entry.transfer_syntax == AS_STORED else 2
        rank = (entry.specificity, exactness, entry.q)
        for offer in offers:
            for uid in entry.syntaxes_of(offer) if entry.covers(offer) else ():
                if (offer, uid) not in owner or rank > owner[offer, uid][0]:
                    owner[offer, uid] = (rank, index)
    result: dict[tuple[int, Offer], tuple[str, ...]] = {}
    excluded: dict[Offer, set[str]] = {}
    for (offer, uid), (_, index) in owner.items():
        if ranges[index].q == 0:
            excluded.setdefault(offer, set()).add(uid)
        result[index, offer] = (*result.get((index, offer), ()), *((uid,) if uid else ()))
    for (index, offer), uids in result.items():
        if AS_STORED in uids and offer in excluded:
            result[index, offer] = _spelt_out(excluded[offer])
    return result


def _spelt_out(excluded: set[str]) -> tuple[str, ...]:
    """Any transfer syntax, as a list that lacks those with q=0."""
    never = excluded | {IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN}
    allowed = [uid for uid in (EXPLICIT_VR_LITTLE_ENDIAN, *TRANSFER_SYNTAXES) if uid not in never]
    return tuple(dict.fromkeys(allowed))


def _passing_first(group: list[Representation]) -> list[Representation]:
    """Representations of one rank: pass on what is stored, else convert without loss, else with loss."""
    if len({item.transfer_syntaxes for item in group}) < 2:
        return group
    passing = [replace(item, converts=False) for item in group if item.transfer_syntaxes]
    # What is stored goes out under its own media type if that is accepted, rather than as octets.
    passing.sort(key=lambda item: AS_STORED in item.transfer_syntaxes)
    converting = [_without_loss(item) for item in group]
    return [*passing, *sorted(converting, key=lambda item: not _is_lossless(item.transfer_syntaxes))]


def _without_loss(item: Representation) -> Representation:
    """The same with its lossless syntaxes only, if it has both kinds: a choice left open is no wish for loss."""
    uids = tuple(uid for uid in item.transfer_syntaxes if _is_lossless((uid,)))
    return replace(item, transfer_syntaxes=uids) if uids and item.converts else item


def _is_lossless(uids: tuple[str, ...]) -> bool:
    return not uids or any(uid == AS_STORED or TRANSFER_SYNTAXES[uid].lossless for uid in uids)


def _without_json_alias(chosen: list[Representation]) -> list[Representation]:
    """PS3.18 8.7.5: application/json is answered so only to a client that does not accept application/dicom+json."""
    names = {item.media_type for item in chosen}
    if {JSON, DICOM_JSON} <= names:
        chosen = [replace(item, media_type=DICOM_JSON) if item.media_type == JSON else item for item in chosen]
    return list(dict.fromkeys(chosen))
