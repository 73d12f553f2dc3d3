"""The matching rules of PS3.4 C.2.2.2 evaluated against data sets in the DICOM JSON Model.

app.db.matching_sql says the same in SQL; tests compare the two. What is left open by the Standard and decided here:

- A key matches an attribute of several values when it matches any of them; a key of several values, when each does so.
- Keys within one sequence must match in the same item (C.2.2.2.6). An empty value key of a path matches when no item holds
  a value.
- A date or time that is none never matches a key, and is not empty either. A stored value of less precision counts as its
  beginning, a key of less precision as the interval it names.
- Combined date and time: an object whose time is unknown matches on its date alone.
- Where the zone of the query and of the object, Timezone Offset From UTC (0008,0201), are both known, a date and the time
  that belongs to it are moved to the zone of the query together; a date without a time is not moved.
- Person names: see app.dicom.person_names; patterns apply to the whole folded component group.
- Numbers are compared as numbers. Where a VR takes no wildcards, a wildcard matches nothing.
"""

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.dicom import date_times
from app.dicom.attributes import KEYWORDS, TAGS, elements_at, level_of, real_tags, values_of
from app.dicom.comparable_text import NUMBER_VRS, comparable, number_text
from app.dicom.instance import DicomJson
from app.dicom.matching import (
    AllOfValues,
    AnyOfValues,
    AttributeMatch,
    AttributePath,
    ByVr,
    DateTimeRange,
    EmptyValue,
    Level,
    ListOfUid,
    Range,
    Rule,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicom.person_names import fold_name, folded_groups, name_words, spelling
from app.dicom.plain_text import clean_text
from app.dicom.wildcards import ANY, ONE, WILDCARD_VRS, matches_pattern, prepare, prepare_name

_MAX_UNKNOWN = 4096  # bytes of a UN value that are looked at as text
_TIMEZONE = TAGS["TimezoneOffsetFromUTC"]


@dataclass(frozen=True, slots=True)
class Zones:
    """Of a query and of an object: offsets in minutes, None where unknown."""

    query: int | None
    object: int | None

    @property
    def shift(self) -> int:
        """Microseconds to add to a date and time of the object."""
        if self.query is None or self.object is None:
            return 0
        return (self.query - self.object) * 60_000_000


def documents_match(
    documents: Mapping[Level, DicomJson],
    matches: Iterable[AttributeMatch],
    *,
    fuzzy: bool = False,
    timezone: str | None = None,
) -> bool:
    """Whether all keys match. `documents` holds, per level, the data set that knows the attributes of that level."""
    by_level: dict[Level, list[AttributeMatch]] = defaultdict(list)
    for match in matches:
        by_level[level_of(match.path.tags[0])].append(match)
    return all(
        dataset_matches(documents.get(level, {}), keys, fuzzy=fuzzy, timezone=timezone)
        for level, keys in by_level.items()
    )


def dataset_matches(
    dataset: DicomJson, matches: Sequence[AttributeMatch], *, fuzzy: bool = False, timezone: str | None = None
) -> bool:
    """Whether all keys match in one data set."""
    zones = zones_of(dataset, timezone)
    keys = []
    for match in matches:
        if isinstance(match.rule, EmptyValue):
            if not is_empty_at(dataset, match.path):
                return False
        elif not isinstance(simplified(match.rule), Universal):
            keys.append((0, match))
    return item_matches(dataset, keys, zones, fuzzy)


def zones_of(dataset: DicomJson, timezone: str | None) -> Zones:
    """The zones of a data set and of a query that gives `timezone`."""
    offsets = [_text(value) for element in elements_at(dataset, _path(_TIMEZONE)) for value in values_of(element)]
    return Zones(date_times.offset_minutes(timezone), date_times.offset_minutes(offsets[0] if offsets else None))


def simplified(rule: Rule) -> Rule:
    """A pattern of nothing but `*` is universal matching (PS3.4 C.2.2.2.3)."""
    if isinstance(rule, Wildcard) and not rule.pattern.strip("*"):
        return Universal()
    if isinstance(rule, AnyOfValues) and any(isinstance(simplified(value), Universal) for value in rule.values):
        return Universal()
    if isinstance(rule, AllOfValues):
        values = tuple(value for value in rule.values if not isinstance(simplified(value), Universal))
        return AllOfValues(values) if len(values) > 1 else values[0] if values else Universal()
    return rule


def _path(tag: str) -> AttributePath:
    return AttributePath((tag,), "", ("",))


def is_empty_at(dataset: DicomJson, path: AttributePath) -> bool:
    """PS3.4 C.2.2.2.7: absent, or present without a value, wherever the path leads."""
    return all(_is_empty(element) for element in elements_at(dataset, path))


def _is_empty(element: Mapping[str, Any]) -> bool:
    if element.get("BulkDataURI") or element.get("InlineBinary"):
        return False
    for value in values_of(dict(element)):
        if isinstance(value, dict):
            if element.get("vr") == "SQ" or any(folded_groups(value)):
                return False
        elif value is not None and _text(value):
            return False
    return True


def item_matches(item: DicomJson, keys: Sequence[tuple[int, AttributeMatch]], zones: Zones, fuzzy: bool) -> bool:
    """Whether all keys match in an item. Each comes with the depth of its path at which `item` is."""
    nested: dict[tuple[str, str], list[tuple[int, AttributeMatch]]] = defaultdict(list)
    for depth, match in keys:
        if depth + 1 < len(match.path.tags):
            nested[match.path.tags[depth], match.path.creators[depth]].append((depth + 1, match))
        elif not _leaf_matches(item, match, zones, fuzzy):
            return False
    for (tag, creator), inner in nested.items():
        elements = elements_at(item, AttributePath((tag,), "SQ", (creator,)))
        items = (value for element in elements for value in values_of(element) if isinstance(value, dict))
        if not any(item_matches(value, inner, zones, fuzzy) for value in items):
            return False
    return True


def _leaf_matches(item: DicomJson, match: AttributeMatch, zones: Zones, fuzzy: bool) -> bool:
    path, rule = match.path, match.rule
    if isinstance(rule, DateTimeRange):
        return _in_date_time_range(item, path.tags[-1], rule, zones)
    if isinstance(rule, AllOfValues):
        return all(_leaf_matches(item, AttributeMatch(path, value), zones, fuzzy) for value in rule.values)
    for tag in real_tags(item, path.tags[-1], path.creators[-1]):
        element = item.get(tag)
        if not isinstance(element, dict):
            continue
        vr = str(element.get("vr") or path.vr)
        if vr == "UN":
            element, vr = _unknown(element), path.vr
        values = [value for value in values_of(element) if value is not None]
        if vr in ("DA", "TM"):
            values = [_in_query_zone(item, tag, vr, value, zones) for value in values]
        if any(value_matches(value, vr, rule, zones=zones, fuzzy=fuzzy) for value in values):
            return True
    return False


def value_matches(value: Any, vr: str, rule: Rule, *, zones: Zones = Zones(None, None), fuzzy: bool = False) -> bool:
    """One value of an attribute against one rule; empty values never match. Dates are in the zone of the query already."""
    if isinstance(rule, ByVr):
        rule = dict(rule.rules).get(vr, rule.otherwise)
    if isinstance(rule, AnyOfValues):
        return any(value_matches(value, vr, single, zones=zones, fuzzy=fuzzy) for single in rule.values)
    if vr == "PN":
        return isinstance(rule, SingleValue | Wildcard) and _name_matches(folded_groups(value), rule, fuzzy)
    text = _text(value)
    if not text:
        return False
    if vr == "DT":
        return _date_time_matches(text, rule, zones)
    if vr in ("DA", "TM"):
        return _date_or_time_matches(comparable(vr, text), vr, rule)
    if isinstance(rule, ListOfUid):
        return clean_text(text) in rule.uids
    if isinstance(rule, Wildcard):
        return vr in WILDCARD_VRS and matches_pattern(prepare(rule.pattern), clean_text(text))
    if isinstance(rule, SingleValue):
        if vr in NUMBER_VRS:
            return number_text(text) == number_text(rule.value)
        return clean_text(text) == clean_text(rule.value)
    return isinstance(rule, Universal)


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value)


def _unknown(element: dict[str, Any]) -> dict[str, Any]:
    """An element of VR UN with its bytes as text: what a private attribute of Implicit VR LE looks like."""
    inline = element.get("InlineBinary")
    if not isinstance(inline, str) or len(inline) > _MAX_UNKNOWN:
        return {}
    try:
        text = base64.b64decode(inline, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return {}
    return {"Value": [part.strip(" \0") for part in text.split("\\")]}


# Person names


def fuzzy_words(rule: Rule) -> tuple[str, ...]:
    """The words that fuzzy matching looks for; () where the key cannot be taken apart into words.

    A `*` may end a word: every word is a beginning anyway. Any other wildcard means that the pattern is meant literally.
    """
    if isinstance(rule, SingleValue):
        return name_words(rule.value)
    if not isinstance(rule, Wildcard) or "?" in rule.pattern:
        return ()
    for part in rule.pattern.replace("^", " ").replace("=", " ").split():
        stem = part.rstrip("*")
        if not stem or "*" in stem:
            return ()
    return name_words(rule.pattern)


def name_keys(rule: SingleValue | Wildcard) -> tuple[tuple[str, ...], ...]:
    """What component groups are compared with: per group the prepared patterns of which one must match.

    One entry: any of the three groups may match. Three entries: group by group, an empty entry matches all.
    """
    if isinstance(rule, SingleValue):
        groups = rule.value.replace(ANY, "").replace(ONE, "").split("=")[:3]
        prepared: list[tuple[str, ...]] = [(name,) if (name := fold_name(group)) else () for group in groups]
    else:
        groups = rule.pattern.split("=")[:3]
        prepared = [_patterns_of(group) for group in groups]
    if len(prepared) > 1:
        prepared += [()] * (3 - len(prepared))
    return tuple(prepared)


def _patterns_of(group: str) -> tuple[str, ...]:
    """() for a group that asks for nothing: empty, or a pattern that every name fits, like `*^*`. None fits an empty group."""
    patterns = tuple(filter(None, prepare_name(group)))
    return () if ANY in patterns else patterns


def _name_matches(groups: tuple[str, str, str], rule: SingleValue | Wildcard, fuzzy: bool) -> bool:
    if not any(groups):
        return False
    literal = isinstance(rule, SingleValue)
    keys = name_keys(rule)

    def fits(group: str, patterns: tuple[str, ...]) -> bool:
        if literal:
            return group in patterns
        return any(matches_pattern(pattern, group) for pattern in patterns)

    if len(keys) == 1:
        if not keys[0] and not literal:
            return True
        found = any(group and fits(group, keys[0]) for group in groups)
    else:
        found = all(not patterns or fits(group, patterns) for group, patterns in zip(groups, keys, strict=True))
    return found or (fuzzy and _fuzzy_match(groups, rule))


def _fuzzy_match(groups: tuple[str, str, str], rule: SingleValue | Wildcard) -> bool:
    sought = fuzzy_words(rule)
    words = [word for group in groups for word in name_words(group)]
    spellings = {spelling(word) for word in words}
    return bool(sought) and all(
        spelling(key) in spellings or any(word.startswith(key) for word in words) for key in sought
    )


# Dates and times


def _date_or_time_matches(value: str, vr: str, rule: Rule) -> bool:
    if not date_times.is_valid(value):
        return False
    interval = rule_interval(vr, rule)
    return interval is not None and interval[0] <= value <= interval[1]


def rule_interval(vr: str, rule: Rule) -> tuple[str, str] | None:
    """First and last normalised value, both inclusive, that a key of VR DA or TM asks for; None if it can match nothing."""
    if isinstance(rule, SingleValue):
        first, last = rule.value, rule.value
    elif isinstance(rule, Range):
        first, last = rule.first or "", rule.last or ""
    else:
        return None
    low, high = date_times.FIRST_DATE, date_times.LAST_DATE
    if first:
        bounds = _bounds(vr, first)
        if bounds is None:
            return None
        low = bounds[0]
    if last:
        bounds = _bounds(vr, last)
        if bounds is None:
            return None
        high = bounds[1]
    return low, high


def _bounds(vr: str, text: str) -> tuple[str, str] | None:
    if vr == "TM":
        return date_times.time_interval(text)
    day = date_times.normalise_date(text)
    return (day, day) if date_times.is_valid(day) else None


def partner_tag(tag: str) -> str | None:
    """The time that belongs to a date, or the date to a time: Study Date and Study Time; None if there is none."""
    keyword = KEYWORDS.get(tag, "")
    for ours, theirs in (("Date", "Time"), ("Time", "Date")):
        if ours in keyword and (partner := TAGS.get(keyword.replace(ours, theirs))) not in (None, tag):
            return partner
    return None


def _in_query_zone(item: DicomJson, tag: str, vr: str, value: Any, zones: Zones) -> str:
    """A DA or TM value as it reads in the zone of the query."""
    own = comparable(vr, _text(value))
    if not zones.shift or not date_times.is_valid(own):
        return own
    partner = partner_tag(tag)
    other = _first_comparable(item, partner, "TM" if vr == "DA" else "DA") if partner else ""
    if vr == "TM":
        day = other if date_times.is_valid(other) else "20000101"
        return date_times.date_and_time(date_times.moment(day, own) + zones.shift)[1]
    if not date_times.is_valid(other):
        return own
    return date_times.date_and_time(date_times.moment(own, other) + zones.shift)[0]


def _first_comparable(item: DicomJson, tag: str, vr: str) -> str:
    for element in elements_at(item, _path(tag)):
        for value in values_of(element):
            return comparable(vr, _text(value))
    return ""


def _in_date_time_range(item: DicomJson, tag: str, rule: DateTimeRange, zones: Zones) -> bool:
    day = _first_comparable(item, tag, "DA")
    time = _first_comparable(item, rule.time_path.tags[-1], "TM")
    if not date_times.is_valid(day):
        return False
    if not date_times.is_valid(time):
        return (rule.first is None or rule.first[:8] <= day) and (rule.last is None or day <= rule.last[:8])
    if zones.shift:
        day, time = date_times.date_and_time(date_times.moment(day, time) + zones.shift)
    text = day + time
    return (rule.first is None or rule.first <= text) and (rule.last is None or text <= rule.last)


def _date_time_matches(text: str, rule: Rule, zones: Zones) -> bool:
    stored = date_times.date_time_interval(text)
    if stored is None:
        return False
    value, _, own = stored
    offset = own if own is not None else zones.object
    if isinstance(rule, SingleValue):
        first, last = rule.value, rule.value
    elif isinstance(rule, Range):
        first, last = rule.first or "", rule.last or ""
    else:
        return False
    for end, is_first in ((first, True), (last, False)):
        if not end:
            continue
        bounds = date_times.date_time_interval(end)
        if bounds is None:
            return False
        theirs = bounds[2] if bounds[2] is not None else zones.query
        # Without both offsets the two are compared as they are written.
        shift = (theirs - offset) * 60_000_000 if theirs is not None and offset is not None else 0
        if (value + shift < bounds[0]) if is_first else (value + shift > bounds[1]):
            return False
    return True
