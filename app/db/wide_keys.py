"""Patterns and fuzzy names: keys that may fit a handful of studies or half of the archive, and nobody knows which.

So three ways are kept ready. `arms` are selects of what fits, each along an index: counted and sorted at once while there are not
too many. Where there are, the newest studies are held against `filter`, so many as are `worth_walking`: half of the archive
fills a page there. What does not is fetched along the index after all and sorted, however much it is: it cannot be very much, or it
is old, as what began with last year's Accession Numbers.

A part of a text has to be looked for in all values: what `scans` so is looked for among the newest studies first.
"""

# ruff: noqa: S608 - every name in these statements is of app.db; values are bound

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

from app.db.engine import Dialect
from app.db.sql_text import Sql, all_of, joined, none_of, one_of, sql
from app.db.stored_value_conditions import fence, fuzzy_arms, fuzzy_filter, held_by_study, looked_up
from app.db.tables import newest_studies
from app.db.value_conditions import (
    group_condition,
    has_modality,
    name_condition,
    pattern_condition,
    stored_value_condition,
    text_condition,
)
from app.dicom.attributes import LEVEL_NUMBER, stored_path
from app.dicom.matching import AttributeMatch, AttributePath, Level, Rule, SingleValue, Wildcard
from app.dicom.matching_values import fuzzy_words, name_keys
from app.dicom.wildcards import literal_prefix, prepare

# Of studies: one column per component group.
NAME_COLUMNS = {
    "00100010": ("patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic"),
    "00080090": (
        "referring_physician_name_alphabetic",
        "referring_physician_name_ideographic",
        "referring_physician_name_phonetic",
    ),
}
# Of studies, with an index.
PATTERN_COLUMNS = {"00080050": "accession_number", "00200010": "study_id", "00100020": "patient_id"}
# To look at a study that is in another table than the index takes 2 to 17 us; to sort what an index gives, 0.15 each.
_DEARER = 25


@dataclass(frozen=True, slots=True)
class WideKey:
    """arms         selects of id and study_date, to be completed by conditions on study_date
    distinct     no study is in two of them, or in one twice
    filter       the same of a row of studies that has these `columns`
    scans        an arm goes through all values
    is_by_index  the index of the newest studies is all that the filter needs
    is_dated     along the index of an arm the studies come by date
    is_whole     how many it fits is known when all of them are found, and not sooner
    cost         of holding one study, whose id and date are known, against the filter: in microseconds, about
    counted      the arms without columns, where going along an index twice, to count and to fetch, takes less time than keeping
                 what is met; PostgreSQL would plan it for too long
    """

    arms: tuple[Sql, ...]
    distinct: bool
    filter: Sql
    columns: tuple[str, ...]
    scans: bool
    is_by_index: bool = False
    is_dated: bool = False
    is_whole: bool = False
    cost: int = 5
    counted: tuple[Sql, ...] = ()

    def worth_walking(self, studies: int, wanted: int) -> int:
        """Of so many studies, how many of the newest are looked at for a page that ends with the match `wanted`: as many as take
        about as long as sorting what fits, if it is spread so thin that they do not fill the page."""
        return max(wanted, isqrt(studies * wanted // (1 if self.is_by_index else _DEARER)))


def dates_as_key(dates: Sequence[Sql]) -> WideKey:
    """Conditions on the study date: a key among several."""
    fits = all_of(dates)
    return WideKey(_arms([fits]), True, fits, (), False)


def of_modalities(rule: Rule, dialect: Dialect) -> WideKey:
    """Modalities in Study."""
    fits = text_condition("known.modality", rule, "CS", dialect)
    arm = joined(["SELECT known.study_id AS id, known.study_date FROM study_modalities known WHERE", fits])
    held, is_one = has_modality(joined([fits, fence(dialect)])), isinstance(rule, SingleValue)
    return WideKey((arm,), is_one, held, (), _scans(rule), is_dated=is_one, cost=1)


def of_column(column: str, rule: Wildcard, dialect: Dialect) -> WideKey:
    """A pattern of a text column of studies."""
    prepared = prepare(rule.pattern)
    fits = [pattern_condition(column, prepared, dialect)]
    walked = pattern_condition(_walked(column, dialect), prepared, dialect)
    scans = not literal_prefix(prepared)
    return WideKey(_arms(fits), True, walked, (column,), scans, counted=_counted(fits, dialect, scans=scans))


def of_name(
    path: AttributePath, columns: Sequence[str], rule: SingleValue | Wildcard, dialect: Dialect, *, fuzzy: bool
) -> WideKey | None:
    """A person name that has columns; None where it names its groups one by one."""
    keys = name_keys(rule)
    words = fuzzy_words(rule) if fuzzy else ()
    if len(keys) != 1 or not keys[0]:
        return None
    fits = [all_of(one) for one in _disjoint([group_condition(column, keys[0], dialect) for column in columns])]
    walked = name_condition([_walked(column, dialect) for column in columns], rule, dialect)
    scans = not all(map(literal_prefix, keys[0]))
    if not words:
        counted = _counted(fits, dialect, scans=scans)
        return WideKey(_arms(fits), True, walked, tuple(columns), scans, _is_in_index(columns), counted=counted)
    arms = (*_arms(fits), *fuzzy_arms(path, words, dialect))
    fuzzily = one_of([walked, fuzzy_filter(path, words, dialect)])
    return WideKey(arms, False, fuzzily, tuple(columns), scans, is_whole=len(words) > 1, cost=20)


def of_stored_value(match: AttributeMatch, dialect: Dialect) -> WideKey | None:
    """A study's attribute that is kept in attribute_values; None of person names, whose groups lie there one by one."""
    path, rule = match.path, match.rule
    if path.vr == "PN":
        return None
    stored = stored_path(path)
    fits = stored_value_condition("value", rule, path.vr, dialect)
    of_level = f"SELECT owner_id AS id, study_date FROM attribute_values WHERE level = {LEVEL_NUMBER[Level.STUDY]}"
    arm = joined([sql(f"{of_level} AND path = ? AND", stored), fits])
    if isinstance(rule, SingleValue):
        # A time may stand in several rows of a study.
        held = looked_up(Level.STUDY, stored, fits, dialect)
        return WideKey((arm,), path.vr != "TM", held, (), False, is_dated=True, cost=3)
    held = held_by_study(all_of([sql("path = ?", stored), fits]), dialect)
    return WideKey((arm,), False, held, (), _scans(rule))


def _scans(rule: Rule) -> bool:
    return isinstance(rule, Wildcard) and not literal_prefix(prepare(rule.pattern))


def _is_in_index(columns: Sequence[str]) -> bool:
    return set(columns) <= set(newest_studies.columns.keys())


def _arms(conditions: Sequence[Sql]) -> tuple[Sql, ...]:
    return tuple(joined(["SELECT id, study_date FROM studies WHERE", one]) for one in conditions)


def _counted(conditions: Sequence[Sql], dialect: Dialect, *, scans: bool) -> tuple[Sql, ...]:
    """A column takes SQLite as long as the step along the index."""
    if scans or dialect != "sqlite":
        return ()
    return tuple(joined(["SELECT 1 FROM studies WHERE", one]) for one in conditions)


def _walked(column: str, dialect: Dialect) -> str:
    """The column where it must not tempt SQLite away from the index of dates (sqlite.org/optoverview.html, section 3.1)."""
    return f"+studies.{column}" if dialect == "sqlite" else f"studies.{column}"


def _disjoint(conditions: Sequence[Sql]) -> Iterator[list[Sql]]:
    """Each condition without those before it."""
    for place, condition in enumerate(conditions):
        yield [condition, *map(none_of, conditions[:place])]
