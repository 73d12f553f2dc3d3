"""Entity tags, HTTP dates and the conditions that save a transfer (RFC 9110 sections 8.8 and 13; PS3.18 8.9.3)."""

import re
from calendar import timegm
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

MAX_TAGS = 100
_MAX_HEADER = 8_192

# RFC 9110 8.8.3: an optional `W/`, then quotation marks around visible characters other than the quotation mark.
_ENTITY_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[!#-~\x80-\xff]*+)"')
_SEPARATOR = re.compile(r"[ \t]*+(?:,[ \t]*+|$)")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# RFC 9110 5.6.7: the fixed-length form, and the two obsolete ones (RFC 850, asctime) that recipients still must read.
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DATES = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>[0-9]{{2}}) (?P<month>[A-Z][a-z]{{2}}) (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>[0-9]{{2}})-(?P<month>[A-Z][a-z]{{2}})-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


@dataclass(frozen=True, slots=True)
class ETag:
    """`opaque` is the text between the quotation marks. Weak: the same content, not the same bytes."""

    opaque: str
    weak: bool = False

    def __str__(self) -> str:
        return f'W/"{self.opaque}"' if self.weak else f'"{self.opaque}"'

    def matches_weakly(self, other: "ETag") -> bool:
        """RFC 9110 8.8.3.2, the comparison of If-None-Match."""
        return self.opaque == other.opaque


def strong_etag(*parts: object) -> ETag:
    """A tag made of what the bytes depend on: a digest, a media type, parameters. Its own characters are ASCII."""
    return ETag(_opaque(parts))


def weak_etag(*parts: object) -> ETag:
    return ETag(_opaque(parts), weak=True)


def _opaque(parts: Iterable[object]) -> str:
    return "-".join(re.sub(r"[^!#-~]", "_", str(part)) for part in parts)


def parse_entity_tag(text: str) -> ETag | None:
    """One entity tag; None if it is none."""
    found = _ENTITY_TAG.fullmatch(text.strip(" \t"))
    return ETag(found["opaque"], weak=found["weak"] is not None) if found else None


def parse_entity_tags(header: str) -> tuple[ETag, ...]:
    """The tags of a list, up to the first that is malformed."""
    tags: list[ETag] = []
    text = header[:_MAX_HEADER].strip(" \t")
    position = 0
    while position < len(text) and len(tags) < MAX_TAGS:
        found = _ENTITY_TAG.match(text, position)
        if found is None:
            break
        tags.append(ETag(found["opaque"], weak=found["weak"] is not None))
        separator = _SEPARATOR.match(text, found.end())
        if separator is None:
            break
        position = separator.end()
    return tuple(tags)


def http_date(seconds: float) -> str:
    """The fixed-length form of a moment in seconds since 1970, in every locale."""
    return _http_date(int(seconds))


@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} {moment.year:04} "
        f"{moment.hour:02}:{moment.minute:02}:{moment.second:02} GMT"
    )


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970 of an HTTP date in any of its three forms; None if it is none."""
    found = next((match for form in _DATES if (match := form.fullmatch(text.strip(" \t")))), None)
    if found is None or found["month"] not in _MONTHS:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        # RFC 9110 5.6.7 has two digits mean at most 50 years ahead. No representation here is older than 1970.
        year += 2000 if year < 70 else 1900
    try:
        moment = datetime(
            year,
            _MONTHS.index(found["month"]) + 1,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            min(int(found["second"]), 59),  # 60 is a leap second
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return timegm(moment.timetuple())


def not_modified(
    *, if_none_match: str | None, if_modified_since: str | None, etag: ETag | None, last_modified: float | None = None
) -> bool:
    """Whether a GET or HEAD is answered 304 (RFC 9110 13.2.2).

    If-None-Match decides alone when it is there; `*` matches whatever exists. A malformed condition is as if not sent.
    last_modified  seconds since 1970
    """
    if if_none_match is not None:
        if if_none_match.strip(" \t") == "*":
            return True
        return etag is not None and any(etag.matches_weakly(tag) for tag in parse_entity_tags(if_none_match))
    if if_modified_since is None or last_modified is None:
        return False
    since = parse_http_date(if_modified_since)
    return since is not None and int(last_modified) <= since


def precondition_failed(
    *, if_match: str | None, if_unmodified_since: str | None, etag: ETag | None, last_modified: float | None
) -> bool:
    """Whether a request is answered 412 (RFC 9110 13.1.1, 13.1.4): there is something else than the client wants.

    If-Match decides alone when it is there, by strong comparison; a date that is none is as if not sent.
    last_modified  seconds since 1970; None where it says nothing
    """
    if if_match is not None:
        if if_match.strip(" \t") == "*":
            return False
        return etag is None or etag.weak or etag not in parse_entity_tags(if_match)
    if if_unmodified_since is None or last_modified is None:
        return False
    until = parse_http_date(if_unmodified_since)
    return until is not None and int(last_modified) > until
