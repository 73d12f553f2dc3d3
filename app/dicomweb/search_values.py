"""What the value of a matching key means, by the VR of its attribute (PS3.4 C.2.2.2, PS3.18 8.3.4.1)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from app.dicom.attributes import KEYWORDS, TAGS, VRS, keyword_path
from app.dicom.date_times import DAY, date_time_interval, is_valid, normalise_date, offset_minutes, time_interval
from app.dicom.dictionary import STANDARD
from app.dicom.matching import (
    AllOfValues,
    AnyOfValues,
    AttributeMatch,
    AttributePath,
    ByVr,
    DateTimeRange,
    EmptyValue,
    ListOfUid,
    Range,
    Rule,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicom.references import is_uid
from app.dicom.wildcards import WILDCARD_VRS
from app.errors import InvalidQuery

MAX_VALUE_LENGTH = 1_024
MAX_LIST_LENGTH = 65_536
MAX_LIST_ITEMS = 1_000

_RANGE_VRS = frozenset({"DA", "TM", "DT"})
# PS3.4 C.2.2.2.8: with these, and a Value Multiplicity above 1, several values ask for an attribute that has them all.
_MULTIPLE_VRS = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
_UNMATCHABLE_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

# PS3.5 6.2: the character repertoire of number-like VRs.
_NUMBERS = {
    **dict.fromkeys(("US", "UL", "UV"), re.compile(r"[0-9]{1,20}", re.ASCII)),
    **dict.fromkeys(("IS", "SS", "SL", "SV"), re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)),
    **dict.fromkeys(
        ("DS", "FL", "FD"),
        re.compile(r"[+-]?(?:[0-9]{1,40}+(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII),
    ),
    "AS": re.compile(r"[0-9]{3}[DWMY]", re.ASCII),
    "AT": re.compile(r"[0-9A-Fa-f]{8}", re.ASCII),
}
# PS3.5 6.2, DT: a UTC offset is -1200 to +1400.
_ZONE = re.compile(r"[+-](?:0[0-9]|1[0-4])[0-5][0-9]", re.ASCII)


def is_matchable(path: AttributePath) -> bool:
    """Whether single values can be compared at all: not binary ones."""
    return path.vr not in _UNMATCHABLE_VRS


def rule_of(path: AttributePath, value: str, *, empty_values: bool = False, multiple_values: bool = False) -> Rule:
    """The rule that a value stands for.

    empty_values, multiple_values  whether emptyvaluematching and multiplevaluematching were asked for
    Raises InvalidQuery for a value that the VR does not allow.
    """
    value = value.strip(" ")
    is_list = multiple_values and "\\" in value and path.vr not in _RANGE_VRS
    _refuse_long(path, value, MAX_LIST_LENGTH if is_list or path.vr == "UI" else MAX_VALUE_LENGTH)
    if not value.strip("*"):
        return Universal()
    if empty_values and value == '""':
        return EmptyValue()
    if path.vr == "SQ":
        raise InvalidQuery(f"{keyword_path(path)} is a sequence: name the attribute within it (PS3.18 8.3.1)")
    if path.vr == "UI":
        return _uids(path, value)
    if is_list:
        return _values(path, value)
    if path.vr == "CS" and "," in value:
        return _codes(path, value)
    if not path.vr:
        return _by_vr(path, value)
    if path.vr == "DA":
        return _range(path, value, _is_date)
    if path.vr == "TM":
        return _range(path, value, _is_time)
    if path.vr == "DT":
        return _date_time(path, value)
    return _text(path, value)


def combine(matches: Sequence[AttributeMatch]) -> tuple[AttributeMatch, ...]:
    """The matches with every pair of a date and its time made one interval (PS3.18 8.3.4.1.1, always on).

    A pair is two attributes of one data set or item, named alike but for Date and Time, both given as ranges of the same form:
    a-b, a- or -b (PS3.4 C.2.2.2.5.4). All others are matched each for itself.
    Raises InvalidQuery for an interval that ends before it begins, be it of a pair, of dates or of times.
    """
    by_path = {match.path: match for match in matches}
    combined: dict[AttributePath, AttributeMatch] = {}
    for match in matches:
        time = by_path.get(_time_of(match.path) or match.path)
        if time is None or time is match or not _are_of_one_form(match.rule, time.rule):
            continue
        combined[time.path] = match
        combined[match.path] = AttributeMatch(match.path, _date_time_range(match, time))
    result = []
    for match in matches:
        if (pair := combined.get(match.path)) is None:
            _refuse_reversed(match)
            result.append(match)
        elif pair.path == match.path:
            result.append(pair)
    return tuple(result)


def timezone_of(value: str) -> str | None:
    """The offset of Timezone Offset From UTC (0008,0201) in a query; None if empty or nothing but `*`. Raises InvalidQuery."""
    value = value.rstrip(" ")
    if not value.strip("*"):
        return None
    if value[0] == " ":  # form decoding makes a blank of a plus that was not percent-encoded
        value = "+" + value[1:]
    if offset_minutes(value) is None:
        raise InvalidQuery("TimezoneOffsetFromUTC is a sign, two digits of hours and two of minutes")
    return value


def _uids(path: AttributePath, value: str) -> Rule:
    # PS3.18 8.3.4.1 lists UIDs with commas; backslashes are how PS3.4 does, and some clients too.
    uids = tuple(dict.fromkeys(uid for item in re.split(r"[,\\]", value) if (uid := item.strip(" "))))
    if not uids or len(uids) > MAX_LIST_ITEMS:
        raise InvalidQuery(f"{keyword_path(path)} takes 1 to {MAX_LIST_ITEMS} UIDs")
    if not all(is_uid(uid) for uid in uids):
        raise InvalidQuery(f"{keyword_path(path)} takes UIDs, which are digits and dots")
    return SingleValue(uids[0]) if len(uids) == 1 else ListOfUid(uids)


def _values(path: AttributePath, value: str) -> Rule:
    items = [item.strip(" ") for item in value.split("\\")]
    if len(items) > MAX_LIST_ITEMS:
        raise InvalidQuery(f"{keyword_path(path)} takes at most {MAX_LIST_ITEMS} values")
    for item in items:
        _refuse_long(path, item, MAX_VALUE_LENGTH)
    is_all = _has_many(path)
    if not is_all and any(item and not item.strip("*") for item in items):
        return Universal()
    rules = [_text(path, item) for item in dict.fromkeys(items) if item.strip("*")]
    if not rules:
        return Universal()
    if len(rules) == 1:
        return rules[0]
    return AllOfValues(tuple(rules)) if is_all else AnyOfValues(tuple(rules))


def _codes(path: AttributePath, value: str) -> Rule:
    """Any of them: viewers ask so for several modalities, and no code has a comma (PS3.5 6.2). As a whole too, for what is no
    code and was stored all the same."""
    items = [item for part in value.split(",") if (item := part.strip(" "))]
    if any(not item.strip("*") for item in items):
        return Universal()
    rules = [_text(path, item) for item in dict.fromkeys((*items, value))]
    return AnyOfValues(tuple(rules)) if len(rules) > 1 else rules[0]


def _has_many(path: AttributePath) -> bool:
    """Whether PS3.4 C.2.2.2.8 applies. What has one value could never have all of several: there any of them will do."""
    entry = STANDARD.get(int(path.tags[-1], 16))  # none for a private attribute
    return path.vr in _MULTIPLE_VRS and entry is not None and entry[1] != "1"


def _refuse_long(path: AttributePath, value: str, most: int) -> None:
    if len(value) > most:
        raise InvalidQuery(f"the value for {keyword_path(path)} is too long")


def _by_vr(path: AttributePath, value: str) -> Rule:
    """For a private attribute of unknown VR: what is stored tells whether `20240101-` is a range or a text."""
    text = _text(path, value)
    others: list[tuple[str, SingleValue | ListOfUid | Range]] = []
    for vr in ("DA", "DT", "TM", "UI"):
        try:
            rule = rule_of(replace(path, vr=vr), value)
        except InvalidQuery:
            continue
        if isinstance(rule, SingleValue | ListOfUid | Range) and rule != text:
            others.append((vr, rule))
    return ByVr(tuple(others), text) if others else text


def _text(path: AttributePath, value: str) -> SingleValue | Wildcard:
    pattern = _NUMBERS.get(path.vr)
    if pattern is not None:
        if not pattern.fullmatch(value):
            raise InvalidQuery(f"{value[:40]!r} is no value for {keyword_path(path)} (VR {path.vr})")
        return SingleValue(value.upper() if path.vr in ("AS", "AT") else value)
    if path.vr in WILDCARD_VRS and ("*" in value or "?" in value):
        return Wildcard(value)
    return SingleValue(value)


def _is_date(text: str) -> bool:
    return is_valid(normalise_date(text))


def _is_time(text: str) -> bool:
    return time_interval(text) is not None


def _is_date_time(text: str) -> bool:
    return date_time_interval(text) is not None and (
        text[-5:-4] not in ("+", "-") or _ZONE.fullmatch(text[-5:]) is not None
    )


def _range(path: AttributePath, value: str, is_value: Callable[[str], bool]) -> SingleValue | Range:
    """PS3.4 C.2.2.2.5: `a`, `a-b`, `a-` or `-b`."""
    first, hyphen, last = (part.strip(" ") for part in value.partition("-"))
    if not hyphen and is_value(first):
        return SingleValue(first)
    if hyphen and (first or last) and all(is_value(end) for end in (first, last) if end):
        return Range(first or None, last or None)
    raise _no_value(path, value)


def _date_time(path: AttributePath, value: str) -> SingleValue | Range:
    """The same with UTC offsets, whose hyphen is no sign of a range: the first reading that makes sense counts."""
    # A plus that was not percent-encoded has become a blank.
    value = re.sub(r" (?=[0-9]{4}(?:-|$))", "+", value)
    if _is_date_time(value):
        return SingleValue(value)
    for hyphen in (at for at, character in enumerate(value[:80]) if character == "-"):
        first, last = value[:hyphen].strip(" "), value[hyphen + 1 :].strip(" ")
        if (first or last) and all(_is_date_time(end) for end in (first, last) if end):
            return Range(first or None, last or None)
    raise _no_value(path, value)


def _no_value(path: AttributePath, value: str) -> InvalidQuery:
    return InvalidQuery(f"{value[:80]!r} is no value or range of values for {keyword_path(path)} (VR {path.vr})")


def _time_of(path: AttributePath) -> AttributePath | None:
    """The path of the time that belongs to a date: StudyTime to StudyDate."""
    keyword = KEYWORDS.get(path.tags[-1], "")
    if path.vr != "DA" or "Date" not in keyword:
        return None
    before, _, after = keyword.rpartition("Date")
    tag = TAGS.get(f"{before}Time{after}", "")
    return AttributePath((*path.tags[:-1], tag), "TM", path.creators) if VRS.get(tag) == "TM" else None


def _are_of_one_form(date: Rule, time: Rule) -> bool:
    """A single value is no range: a minute of one day is asked for by both keys anyway."""
    if not isinstance(date, Range) or not isinstance(time, Range):
        return False
    return (date.first is None, date.last is None) == (time.first is None, time.last is None)


def _ends(rule: Rule) -> tuple[str | None, str | None]:
    return (rule.first, rule.last) if isinstance(rule, Range) else (None, None)


def _date_time_range(date: AttributeMatch, time: AttributeMatch) -> DateTimeRange:
    """From the first time on the first day to the last time on the last day."""
    (first_date, last_date), (first_time, last_time) = _ends(date.rule), _ends(time.rule)
    first = normalise_date(first_date) + _interval(first_time)[0] if first_date and first_time else None
    last = normalise_date(last_date) + _interval(last_time)[1] if last_date and last_time else None
    if first and last and last < first:
        raise InvalidQuery(
            f"the interval of {keyword_path(date.path)} and {keyword_path(time.path)} ends before it begins"
        )
    return DateTimeRange(time.path, first, last)


def _interval(time: str) -> tuple[str, str]:
    """First and last moment that a time names."""
    return time_interval(time) or ("000000.000000", "235959.999999")


def _refuse_reversed(match: AttributeMatch) -> None:
    """PS3.4 C.2.2.2.5.1 and .2 define ranges whose first end is not behind the last; a time range never crosses midnight."""
    first, last = _ends(match.rule)
    if first is None or last is None:
        return
    if match.path.vr == "DA":
        is_reversed = normalise_date(last) < normalise_date(first)
    elif match.path.vr == "TM":
        is_reversed = _interval(last)[1] < _interval(first)[0]
    else:
        begins, ends = date_time_interval(first), date_time_interval(last)
        # Offsets differ by a day and a bit at most: closer ends are left to the matching.
        is_reversed = begins is not None and ends is not None and ends[1] + 2 * DAY < begins[0]
    if is_reversed:
        raise InvalidQuery(f"the range of {keyword_path(match.path)} ends before it begins")
