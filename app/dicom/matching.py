"""A search in the words of PS3.4 C.2.2.2, free of any protocol: what QIDO-RS and C-FIND both turn their request into."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True)
class AttributePath:
    """A (possibly nested) attribute: tags as 8 upper-case hex digits from the outermost sequence inwards.

    vr        of the last element; "" where unknown (private attributes of unknown creators)
    creators  private creator of each tag, "" for standard ones; same length as `tags`
    A private tag is written with its block number as `00`: 0023xx01 of a creator is `00230001`; its creator says which
    block to look in.
    """

    tags: tuple[str, ...]
    vr: str
    creators: tuple[str, ...]

    @property
    def dotted(self) -> str:
        return ".".join(self.tags)


@dataclass(frozen=True, slots=True)
class SingleValue:
    """PS3.4 C.2.2.2.1. Case-sensitive except for PN."""

    value: str


@dataclass(frozen=True, slots=True)
class ListOfUid:
    """PS3.4 C.2.2.2.2."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Universal:
    """PS3.4 C.2.2.2.3: matches everything, and asks for the attribute to be returned."""


@dataclass(frozen=True, slots=True)
class Wildcard:
    """PS3.4 C.2.2.2.4: `*` any run, `?` one character."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    """PS3.4 C.2.2.2.5, both ends inclusive, None = open. Texts in DA, TM or DT form, already validated."""

    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class DateTimeRange:
    """PS3.4 C.2.2.2.5.4 and PS3.18 8.3.4.1.1: a DA and a TM attribute matched as one interval, ends inclusive.

    The match's `path` is the date's, `time_path` the time's; texts are `YYYYMMDDHHMMSS.FFFFFF`, the last end already
    filled up (10:00 means until 10:00:59.999999), None = open.
    """

    time_path: AttributePath
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class EmptyValue:
    """PS3.4 C.2.2.2.7: absent or empty."""


@dataclass(frozen=True, slots=True)
class AnyOfValues:
    """Our extension of PS3.4 C.2.2.2.8 to attributes of one value: any of the values, each a single value or a wildcard."""

    values: tuple["SingleValue | Wildcard", ...]


@dataclass(frozen=True, slots=True)
class AllOfValues:
    """PS3.4 C.2.2.2.8, of attributes of several values: each is matched by one of them, which may have others and any order."""

    values: tuple["SingleValue | Wildcard", ...]


@dataclass(frozen=True, slots=True)
class ByVr:
    """A key of an attribute whose VR only the data set knows: the rules for some VRs, and the one for all others."""

    rules: tuple[tuple[str, "SingleValue | ListOfUid | Range"], ...]
    otherwise: "SingleValue | Wildcard"


Rule = (
    SingleValue
    | ListOfUid
    | Universal
    | Wildcard
    | Range
    | DateTimeRange
    | EmptyValue
    | AnyOfValues
    | AllOfValues
    | ByVr
)


@dataclass(frozen=True, slots=True)
class AttributeMatch:
    path: AttributePath
    rule: Rule


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search.

    level, study_instance_uid, series_instance_uid   which of the six search resources (PS3.18 Table 10.6.1-1)
    includes                                          attributes to return besides the default ones
    limit None = the archive's maximum; fuzzy = PN semantic matching wanted (PS3.4 C.2.2.2.1.1)
    timezone                                          offset `&ZZXX` of the dates and times of the query; None = as stored
    """

    level: Level
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    matches: tuple[AttributeMatch, ...] = ()
    includes: tuple[AttributePath, ...] = ()
    include_all: bool = False
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    timezone: str | None = None
