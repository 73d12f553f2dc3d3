"""One rule of PS3.4 C.2.2.2 on one column, as SQL. Values are always bound, never written into the statement.

Comparisons rely on columns that compare byte by byte (app.db.tables.Code; BINARY in SQLite), where the order of UTF-8 is the
order of code points: a prefix is then a range, which an index serves on both databases.
"""

from collections.abc import Sequence

from app.db.engine import Dialect
from app.db.sql_text import FALSE, Sql, all_of, is_any, one_of, sql
from app.db.tables import studies
from app.dicom import date_times
from app.dicom.comparable_text import NUMBER_VRS, bounded, number_text, whole_number
from app.dicom.matching import (
    AnyOfValues,
    DateTimeRange,
    EmptyValue,
    ListOfUid,
    Range,
    Rule,
    SingleValue,
    Wildcard,
)
from app.dicom.matching_values import name_keys, rule_interval
from app.dicom.wildcards import ANY, WILDCARD_VRS, is_literal, literal_prefix, prepare, to_glob, to_like

_PARTLY_INDEXED = {
    index.columns[0].name for index in studies.indexes if index.dialect_options["sqlite"]["where"] is not None
}
_LAST_CHARACTER, _BEFORE_SURROGATES, _BEHIND_SURROGATES = "\U0010ffff", "\ud7ff", "\ue000"


def pattern_condition(column: str, prepared: str, dialect: Dialect) -> Sql:
    """A pattern prepared by app.dicom.wildcards. Never true of an empty value."""
    if is_literal(prepared):
        return sql(f"{column} = ?", prepared) if prepared else FALSE
    prefix = literal_prefix(prepared)
    conditions = [sql(f"{column} >= ?", prefix) if prefix else sql(f"{column} <> ''")]
    end = _behind(prefix)
    if end is not None:
        conditions.append(sql(f"{column} < ?", end))
        if prepared == prefix + ANY:
            return all_of(conditions)
    if dialect == "sqlite":
        # LIKE of SQLite ignores case unless a pragma says otherwise; GLOB never does.
        conditions.append(sql(f"{column} GLOB ?", to_glob(prepared)))
    else:
        conditions.append(sql(f"{column} LIKE ? ESCAPE '!'", to_like(prepared)))
    return all_of(conditions)


def _behind(prefix: str) -> str | None:
    """The smallest text behind every text that begins with `prefix`; None if there is none."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return None
    last = stem[-1]
    return stem[:-1] + (_BEHIND_SURROGATES if last == _BEFORE_SURROGATES else chr(ord(last) + 1))


def text_condition(column: str, rule: Rule, vr: str, dialect: Dialect) -> Sql:
    """A rule on text that is kept by app.dicom.comparable_text.bounded."""
    if isinstance(rule, SingleValue):
        value = bounded(rule.value)
        return sql(f"{column} = ?", value) if value else FALSE  # "" is what stands for an absent value
    if isinstance(rule, ListOfUid):
        return is_any(dialect, column, [uid for uid in map(bounded, rule.uids) if uid])
    if isinstance(rule, Wildcard) and vr in WILDCARD_VRS:
        return pattern_condition(column, prepare(rule.pattern), dialect)
    if isinstance(rule, EmptyValue):
        return sql(f"{column} = ''")
    if isinstance(rule, AnyOfValues):
        singles = [text for value in rule.values if isinstance(value, SingleValue) and (text := bounded(value.value))]
        patterns = [value for value in rule.values if isinstance(value, Wildcard)]
        some = [is_any(dialect, column, singles)] if singles else []
        return one_of([*some, *(text_condition(column, value, vr, dialect) for value in patterns)])
    return FALSE


def has_modality(condition: Sql) -> Sql:
    """That the study at hand has a modality of which the condition on `known.modality` holds."""
    of_study = "EXISTS (SELECT 1 FROM study_modalities known WHERE known.study_id = studies.id AND"
    return Sql(f"{of_study} {condition.text})", condition.values)


def number_condition(column: str, rule: Rule, dialect: Dialect) -> Sql:
    """A rule on an integer column: NULL where the attribute is absent, empty or not a number."""
    if isinstance(rule, EmptyValue):
        return sql(f"{column} IS NULL")
    singles = rule.values if isinstance(rule, AnyOfValues) else (rule,)
    numbers = [whole_number(single.value) for single in singles if isinstance(single, SingleValue)]
    return is_any(dialect, column, [number for number in numbers if number is not None])


def date_condition(column: str, rule: Rule, vr: str) -> Sql:
    """A rule on a normalised date (DA) or time (TM)."""
    if isinstance(rule, EmptyValue):
        return sql(f"{column} = ''")
    if isinstance(rule, AnyOfValues):
        return one_of(date_condition(column, value, vr) for value in rule.values)
    interval = rule_interval(vr, rule)
    if interval is None:
        return FALSE
    if interval[0] == interval[1]:
        return sql(f"{column} = ?", interval[0])
    return sql(f"({column} >= ? AND {column} <= ?)", *interval)


def date_time_condition(day: str, time: str, rule: DateTimeRange) -> Sql:
    """PS3.4 C.2.2.2.5.4: both as one interval. Whose time is unknown is found by its date alone."""
    unknown = date_times.FIRST_DATE
    conditions = [sql(f"{day} >= ?", date_times.FIRST_DATE)]
    if rule.first is not None:
        first_day, first_time = rule.first[:8], rule.first[8:]
        conditions.append(sql(f"{day} >= ?", first_day))
        conditions.append(sql(f"({day} > ? OR {time} >= ? OR {time} < ?)", first_day, first_time, unknown))
    if rule.last is not None:
        last_day, last_time = rule.last[:8], rule.last[8:]
        conditions.append(sql(f"{day} <= ?", last_day))
        conditions.append(sql(f"({day} < ? OR {time} <= ? OR {time} < ?)", last_day, last_time, unknown))
    return all_of(conditions)


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


def name_condition(columns: Sequence[str], rule: Rule, dialect: Dialect) -> Sql:
    """A rule on the three folded component groups of a person name (see app.dicom.person_names)."""
    if isinstance(rule, EmptyValue):
        return all_of(sql(f"{column} = ''") for column in columns)
    if isinstance(rule, AnyOfValues):
        return one_of(name_condition(columns, value, dialect) for value in rule.values)
    if not isinstance(rule, SingleValue | Wildcard):
        return FALSE
    keys = name_keys(rule)
    if len(keys) == 1 and (keys[0] or isinstance(rule, SingleValue)):
        # Never just "or": the indexes of the rarer groups are partial, and need to hear that the value is not empty.
        return one_of(group_condition(column, keys[0], dialect) for column in columns)
    chosen = [(column, key) for column, key in zip(columns, keys, strict=False) if key]
    if not chosen:
        return one_of(sql(f"{column} <> ''") for column in columns)
    return all_of(group_condition(column, key, dialect) for column, key in chosen)


def group_condition(column: str, patterns: tuple[str, ...], dialect: Dialect) -> Sql:
    """That one component group matches one of the prepared patterns of app.dicom.matching_values.name_keys."""
    fits = one_of(pattern_condition(column, one, dialect) for one in patterns)
    if column.rpartition(".")[2] not in _PARTLY_INDEXED or column.startswith("+"):
        return fits
    # SQLite has to hear in so many words that the value is not empty before it uses a partial index. Elsewhere it would only
    # be one more comparison, of every row that is counted or walked by.
    return all_of([sql(f"{column} <> ''"), fits])


def stored_value_condition(column: str, rule: Rule, vr: str, dialect: Dialect) -> Sql:
    """A rule on attribute_values.value, which holds app.dicom.comparable_text.comparable of each value.

    Of a person name it holds the groups one by one: a key that names groups finds too much, never too little.
    """
    if vr in NUMBER_VRS:
        singles = rule.values if isinstance(rule, AnyOfValues) else (rule,)
        return is_any(dialect, column, [number_text(one.value) for one in singles if isinstance(one, SingleValue)])
    if isinstance(rule, AnyOfValues) and vr in ("PN", "DA", "TM"):
        return one_of(stored_value_condition(column, value, vr, dialect) for value in rule.values)
    if vr == "PN" and isinstance(rule, SingleValue | Wildcard):
        keys = name_keys(rule)
        if chosen := [patterns for patterns in keys if patterns]:
            return group_condition(column, chosen[0], dialect)
        return FALSE if len(keys) == 1 and isinstance(rule, SingleValue) else sql(f"{column} <> ''")
    if vr in ("DA", "TM"):
        return date_condition(column, rule, vr)
    return text_condition(column, rule, vr, dialect)
