"""One rule of PS3.4 C.2.2.2 on one column, as SQL. Values are always bound, never written into the statement.

Comparisons rely on columns that compare byte by byte (app.db.tables.Code; BINARY in SQLite), where the order of UTF-8 is the
order of code points: a prefix is then a range, which an index serves on both databases.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, and_, false, or_, type_coerce
from sqlalchemy.sql.elements import Grouping

from app.db.any_of import any_of
from app.db.engine import Dialect
from app.dicom import date_times
from app.dicom.comparable_text import NUMBER_VRS, bounded, number_text, whole_number
from app.dicom.matching import (
    DateTimeRange,
    EmptyValue,
    ListOfUid,
    MultipleValues,
    Range,
    Rule,
    SingleValue,
    Wildcard,
)
from app.dicom.matching_values import name_keys, rule_interval
from app.dicom.wildcards import ANY, WILDCARD_VRS, is_literal, literal_prefix, prepare, to_glob, to_like

Condition = ColumnElement[bool]
Names = tuple[ColumnElement[str], ColumnElement[str], ColumnElement[str]]

_MAX_FLAT = 16  # alternatives written side by side
_LAST_CHARACTER, _BEFORE_SURROGATES, _BEHIND_SURROGATES = "\U0010ffff", "\ud7ff", "\ue000"


def any_condition(conditions: Iterable[Condition]) -> Condition:
    """That any of many conditions is true; false if there is none.

    Halved again and again: SQLite follows `a OR b OR c ..` to a depth of 1,000 only.
    """
    listed = list(conditions)
    if len(listed) < _MAX_FLAT:
        return or_(false(), *listed)
    middle = len(listed) // 2
    halves = (any_condition(listed[:middle]), any_condition(listed[middle:]))
    # The coercion keeps SQLAlchemy from melting the halves into one list again.
    return or_(*(type_coerce(Grouping(half), Boolean()) for half in halves))


def pattern_condition(column: ColumnElement[str], prepared: str, dialect: Dialect) -> Condition:
    """A pattern prepared by app.dicom.wildcards. Never true of an empty value."""
    if is_literal(prepared):
        return and_(column == prepared, column != "")
    prefix = literal_prefix(prepared)
    conditions: list[Condition] = [column >= prefix if prefix else column != ""]
    end = _behind(prefix)
    if end is not None:
        conditions.append(column < end)
        if prepared == prefix + ANY:
            return and_(*conditions)
    if dialect == "sqlite":
        # LIKE of SQLite ignores case unless a pragma says otherwise; GLOB never does.
        conditions.append(column.op("GLOB", is_comparison=True)(to_glob(prepared)))
    else:
        conditions.append(column.like(to_like(prepared), escape="!"))
    return and_(*conditions)


def _behind(prefix: str) -> str | None:
    """The smallest text behind every text that begins with `prefix`; None if there is none."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return None
    last = stem[-1]
    return stem[:-1] + (_BEHIND_SURROGATES if last == _BEFORE_SURROGATES else chr(ord(last) + 1))


def text_condition(column: ColumnElement[str], rule: Rule, vr: str, dialect: Dialect) -> Condition:
    """A rule on text that is kept by app.dicom.comparable_text.bounded."""
    if isinstance(rule, SingleValue):
        value = bounded(rule.value)
        return column == value if value else false()  # "" is what stands for an absent value
    if isinstance(rule, ListOfUid):
        return any_of(dialect, column, [uid for uid in map(bounded, rule.uids) if uid])
    if isinstance(rule, Wildcard) and vr in WILDCARD_VRS:
        return pattern_condition(column, prepare(rule.pattern), dialect)
    if isinstance(rule, EmptyValue):
        return column == ""
    if isinstance(rule, MultipleValues):
        singles = [text for value in rule.values if isinstance(value, SingleValue) and (text := bounded(value.value))]
        patterns = [value for value in rule.values if isinstance(value, Wildcard)]
        some = [any_of(dialect, column, singles)] if singles else []
        return any_condition([*some, *(text_condition(column, value, vr, dialect) for value in patterns)])
    return false()


def number_condition(column: ColumnElement[Any], rule: Rule, dialect: Dialect) -> Condition:
    """A rule on an integer column: NULL where the attribute is absent, empty or not a number."""
    if isinstance(rule, EmptyValue):
        return column.is_(None)
    singles = rule.values if isinstance(rule, MultipleValues) else (rule,)
    numbers = [whole_number(single.value) for single in singles if isinstance(single, SingleValue)]
    known = [number for number in numbers if number is not None]
    return any_of(dialect, column, known) if known else false()


def date_condition(column: ColumnElement[str], rule: Rule, vr: str) -> Condition:
    """A rule on a normalised date (DA) or time (TM)."""
    if isinstance(rule, EmptyValue):
        return column == ""
    if isinstance(rule, MultipleValues):
        return any_condition(date_condition(column, value, vr) for value in rule.values)
    interval = rule_interval(vr, rule)
    if interval is None:
        return false()
    if interval[0] == interval[1]:
        return column == interval[0]
    return and_(column >= interval[0], column <= interval[1])


def date_time_condition(day: ColumnElement[str], time: ColumnElement[str], rule: DateTimeRange) -> Condition:
    """PS3.4 C.2.2.2.5.4: both as one interval. Whose time is unknown is found by its date alone."""
    unknown = time < date_times.FIRST_DATE
    conditions: list[Condition] = [day >= date_times.FIRST_DATE]
    if rule.first is not None:
        first_day, first_time = rule.first[:8], rule.first[8:]
        conditions += [day >= first_day, or_(day > first_day, time >= first_time, unknown)]
    if rule.last is not None:
        last_day, last_time = rule.last[:8], rule.last[8:]
        conditions += [day <= last_day, or_(day < last_day, time <= last_time, unknown)]
    return and_(*conditions)


def widened(rule: Rule, vr: str, *, days: int = 2) -> Rule | None:
    """A rule on a date that finds all that the given one could in any two zones (26 hours apart at most); None if there is
    none, as for times."""
    if isinstance(rule, DateTimeRange):
        first = rule.first[:8] if rule.first else None
        last = rule.last[:8] if rule.last else None
    elif vr == "DA" and isinstance(rule, SingleValue | Range):
        interval = rule_interval("DA", rule)
        if interval is None:
            return rule
        first, last = (end if date_times.is_valid(end) and len(end) == 8 else None for end in interval)
    else:
        return None
    return Range(_moved(first, -days), _moved(last, days))


def _moved(day: str | None, days: int) -> str | None:
    if day is None or not date_times.is_valid(date_times.normalise_date(day)):
        return None
    return date_times.date_and_time(date_times.moment(day) + days * date_times.DAY)[0]


def name_condition(columns: Names, rule: Rule, dialect: Dialect) -> Condition:
    """A rule on the three folded component groups of a person name (see app.dicom.person_names)."""
    if isinstance(rule, EmptyValue):
        return and_(*(column == "" for column in columns))
    if isinstance(rule, MultipleValues):
        return any_condition(name_condition(columns, value, dialect) for value in rule.values)
    if not isinstance(rule, SingleValue | Wildcard):
        return false()
    keys = name_keys(rule)
    if len(keys) == 1:
        # Never just "or": the indexes of the rarer groups are partial, and need to hear that the value is not empty.
        return or_(*(group_condition(column, keys[0], dialect) for column in columns))
    chosen = [(column, key) for column, key in zip(columns, keys, strict=True) if key]
    if not chosen:
        return or_(*(column != "" for column in columns))
    return and_(*(group_condition(column, key, dialect) for column, key in chosen))


def group_condition(column: ColumnElement[str], patterns: tuple[str, ...], dialect: Dialect) -> Condition:
    """That one component group matches one of the prepared patterns of app.dicom.matching_values.name_keys."""
    # SQLite has to hear in so many words that the value is not empty before it uses a partial index.
    return and_(column != "", any_condition(pattern_condition(column, pattern, dialect) for pattern in patterns))


def stored_value_condition(column: ColumnElement[str], rule: Rule, vr: str, dialect: Dialect) -> Condition:
    """A rule on attribute_values.value, which holds app.dicom.comparable_text.comparable of each value.

    Of a person name it holds the groups one by one: a key that names groups finds too much, never too little.
    """
    if vr in NUMBER_VRS:
        singles = rule.values if isinstance(rule, MultipleValues) else (rule,)
        return any_of(dialect, column, [number_text(one.value) for one in singles if isinstance(one, SingleValue)])
    if isinstance(rule, MultipleValues) and vr in ("PN", "DA", "TM"):
        return any_condition(stored_value_condition(column, value, vr, dialect) for value in rule.values)
    if vr == "PN" and isinstance(rule, SingleValue | Wildcard):
        keys = [patterns for patterns in name_keys(rule) if patterns]
        return group_condition(column, keys[0], dialect) if keys else column != ""
    if vr in ("DA", "TM"):
        return date_condition(column, rule, vr)
    return text_condition(column, rule, vr, dialect)
