"""Conditions on what attribute_values holds of a study, series or instance, and on person names.

Two forms of "has a row that fits": a list of owners (`id IN (SELECT ..)`), whose cost is the number of rows that fit, and a
look-up per candidate, whose cost is the number of candidates. The second is taken where another key leaves few candidates;
it names every column of the index, the study date among them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select, union

from app.db.engine import Dialect
from app.db.tables import attribute_values, instances, series, studies
from app.db.value_conditions import (
    Names,
    any_condition,
    group_condition,
    name_condition,
    stored_value_condition,
    text_condition,
)
from app.dicom.attributes import LEVEL_NUMBER, level_of, spelling_path, stored_path, word_path
from app.dicom.matching import AttributePath, EmptyValue, Level, MultipleValues, Rule, SingleValue, Wildcard
from app.dicom.matching_values import fuzzy_words, name_keys
from app.dicom.person_names import spelling
from app.dicom.wildcards import is_literal, literal_prefix

Condition = ColumnElement[bool]

_OWNERS = {Level.STUDY: studies.c.id, Level.SERIES: series.c.id, Level.INSTANCE: instances.c.id}
# A shorter beginning of a name is shared by so many studies that they are found sooner by going through all of them.
_SELECTIVE_PREFIX = 2
# SQLite takes 500 selects in one UNION.
_MAX_UNION = 200


def _is_selective(pattern: str) -> bool:
    return is_literal(pattern) or len(literal_prefix(pattern)) >= _SELECTIVE_PREFIX


@dataclass(frozen=True, slots=True)
class StoredValues:
    """is_narrow: another key leaves few candidates. fuzzy: names are matched by words as well (PS3.4 C.2.2.2.1.1)."""

    dialect: Dialect
    is_narrow: bool
    fuzzy: bool

    def condition(self, path: AttributePath, rule: Rule) -> Condition:
        """The condition of an attribute that is kept in attribute_values."""
        level, stored = level_of(path.tags[0]), stored_path(path)
        if isinstance(rule, EmptyValue):
            return not_(self._one_of(level, self._owners(level, stored, lambda value: value != "")))

        def fits(value: ColumnElement[str]) -> Condition:
            return stored_value_condition(value, rule, path.vr, self.dialect)

        if path.vr == "PN" and self.fuzzy:
            return self._one_of(level, self._owners(level, stored, fits), *self._by_words(path, rule))
        if self.is_narrow and isinstance(rule, SingleValue):
            return self._looked_up(level, stored, fits)
        return self._one_of(level, self._owners(level, stored, fits))

    def name_condition(self, path: AttributePath, columns: Names, rule: Rule) -> Condition:
        """The condition of a person name that has columns."""
        by_words = list(self._by_words(path, rule)) if self.fuzzy else []
        by_group = list(self._by_group(columns, rule))
        if by_group and (by_words or self.dialect == "sqlite"):
            # SQLite would go through all studies rather than use three indexes for one key.
            return self._one_of(Level.STUDY, *by_group, *by_words)
        literal = name_condition(columns, rule, self.dialect)
        return or_(literal, self._one_of(Level.STUDY, *by_words)) if by_words else literal

    def _by_group(self, columns: Names, rule: Rule) -> Iterator[Select[Any]]:
        """Per value and component group the studies whose group fits; nothing where that would be most of them, or where a
        value names several groups."""
        singles = rule.values if isinstance(rule, MultipleValues) else (rule,)
        keys = [name_keys(single) for single in singles if isinstance(single, SingleValue | Wildcard)]
        if not all(len(groups) == 1 and groups[0] and all(_is_selective(key) for key in groups[0]) for groups in keys):
            return
        for (patterns,) in keys:
            for column in columns:
                # The select must not take the table of the statement around it for its own.
                named = studies.alias()
                condition = group_condition(named.c[column.key or ""], patterns, self.dialect)
                yield select(named.c.id).where(condition)

    def _by_words(self, path: AttributePath, rule: Rule) -> Iterator[Select[Any]]:
        """The owners of names that hold every word of the key, or one spelled alike, in any order."""
        for single in rule.values if isinstance(rule, MultipleValues) else (rule,):
            words = fuzzy_words(single)
            if not words:
                continue
            first, *others = (list(self._with_word(path, word)) for word in words)
            for owners in first:
                column = owners.selected_columns[0]
                yield owners.where(*(column.in_(union(*other)) for other in others))

    def _with_word(self, path: AttributePath, word: str) -> Iterator[Select[Any]]:
        level = level_of(path.tags[0])
        begins, sounds = Wildcard(f"{word}*"), SingleValue(spelling(word))
        yield self._owners(level, word_path(path), lambda value: text_condition(value, begins, "LO", self.dialect))
        yield self._owners(level, spelling_path(path), lambda value: text_condition(value, sounds, "LO", self.dialect))

    def _owners(self, level: Level, stored: str, fits: Callable[[ColumnElement[str]], Condition]) -> Select[Any]:
        rows = attribute_values.alias().c
        return select(rows.owner_id).where(rows.level == LEVEL_NUMBER[level], rows.path == stored, fits(rows.value))

    def _one_of(self, level: Level, *owners: Select[Any]) -> Condition:
        parts = (owners[first : first + _MAX_UNION] for first in range(0, len(owners), _MAX_UNION))
        return any_condition(_OWNERS[level].in_(union(*part) if len(part) > 1 else part[0]) for part in parts)

    def _looked_up(self, level: Level, stored: str, fits: Callable[[ColumnElement[str]], Condition]) -> Condition:
        rows = attribute_values.alias()
        owner = _OWNERS[level]
        condition = and_(
            rows.c.level == LEVEL_NUMBER[level],
            rows.c.path == stored,
            fits(rows.c.value),
            rows.c.study_date == studies.c.study_date,
            rows.c.owner_id == owner,
        )
        return select(rows.c.id).where(condition).correlate_except(rows).exists()
