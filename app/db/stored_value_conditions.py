"""Conditions on what attribute_values holds of a study, series or instance, and on person names.

Two forms of "has a row that fits": a list of owners (`id IN (SELECT ..)`), whose cost is the number of rows that fit, and a
look-up per candidate, whose cost is the number of candidates. The second is taken where another key leaves few candidates;
it names every column of the index, the study date among them.
"""

# ruff: noqa: S608 - every name in these statements is of app.db; values are bound

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.db.engine import Dialect
from app.db.sql_text import Sql, all_of, joined, none_of, one_of, sql
from app.db.value_conditions import group_condition, name_condition, stored_value_condition, text_condition
from app.dicom.attributes import LEVEL_NUMBER, level_of, spelling_path, stored_path, word_path
from app.dicom.matching import AnyOfValues, AttributePath, EmptyValue, Level, Rule, SingleValue, Wildcard
from app.dicom.matching_values import fuzzy_words, name_keys
from app.dicom.person_names import spelling
from app.dicom.wildcards import is_literal, literal_prefix

_OWNERS = {Level.STUDY: "studies.id", Level.SERIES: "series.id", Level.INSTANCE: "instances.id"}
# A shorter beginning of a name is shared by so many studies that they are found sooner by going through all of them.
_SELECTIVE_PREFIX = 2
# SQLite takes 500 selects in one UNION.
_MAX_UNION = 200


def _is_selective(pattern: str) -> bool:
    return is_literal(pattern) or len(literal_prefix(pattern)) >= _SELECTIVE_PREFIX


@dataclass(frozen=True, slots=True)
class StoredValues:
    """is_narrow: another key leaves few candidates. broad: paths of which many rows fit. fuzzy: names are matched by words as
    well (PS3.4 C.2.2.2.1.1)."""

    dialect: Dialect
    is_narrow: bool
    fuzzy: bool
    broad: frozenset[str] = frozenset()

    def condition(self, path: AttributePath, rule: Rule) -> Sql:
        """The condition of an attribute that is kept in attribute_values."""
        level, stored = level_of(path.tags[0]), stored_path(path)
        if isinstance(rule, EmptyValue):
            return none_of(self._one_of(level, [_owners(level, stored, sql("value <> ''"))]))
        fits = stored_value_condition("value", rule, path.vr, self.dialect)
        if path.vr == "PN" and self.fuzzy:
            return self._one_of(level, [_owners(level, stored, fits), *self._by_words(path, rule)])
        if (self.is_narrow or stored in self.broad) and isinstance(rule, SingleValue):
            return looked_up(level, stored, fits, self.dialect)
        return self._one_of(level, [_owners(level, stored, fits)])

    def listed(self, path: AttributePath, rule: Rule) -> Sql | None:
        """The select of owners that the condition lists; None where it is no plain value or is looked up."""
        if not isinstance(rule, SingleValue) or self.is_narrow or path.vr == "PN":
            return None
        fits = stored_value_condition("value", rule, path.vr, self.dialect)
        return _owners(level_of(path.tags[0]), stored_path(path), fits)

    def name_condition(self, path: AttributePath, columns: Sequence[str], rule: Rule) -> Sql:
        """The condition of a person name that has columns of studies."""
        by_words = list(self._by_words(path, rule)) if self.fuzzy else []
        by_group = list(self._by_group(columns, rule))
        if by_group and (by_words or self.dialect == "sqlite"):
            # SQLite would go through all studies rather than use three indexes for one key.
            return self._one_of(Level.STUDY, [*by_group, *by_words])
        literal = name_condition([f"studies.{column}" for column in columns], rule, self.dialect)
        return one_of([literal, self._one_of(Level.STUDY, by_words)]) if by_words else literal

    def _by_group(self, columns: Sequence[str], rule: Rule) -> Iterator[Sql]:
        """Per value and component group the studies whose group fits; nothing where that would be most of them, or where a
        value names several groups."""
        singles = rule.values if isinstance(rule, AnyOfValues) else (rule,)
        keys = [name_keys(single) for single in singles if isinstance(single, SingleValue | Wildcard)]
        if not all(len(groups) == 1 and groups[0] and all(_is_selective(key) for key in groups[0]) for groups in keys):
            return
        for (patterns,) in keys:
            for column in columns:
                condition = group_condition(f"named.{column}", patterns, self.dialect)
                yield joined(["SELECT named.id FROM studies named WHERE", condition])

    def _by_words(self, path: AttributePath, rule: Rule) -> Iterator[Sql]:
        """The owners of names that hold every word of the key, or one spelled alike, in any order."""
        for single in rule.values if isinstance(rule, AnyOfValues) else (rule,):
            if words := fuzzy_words(single):
                yield from _with_words(path, words, self.dialect, "owner_id")

    def _one_of(self, level: Level, owners: Sequence[Sql]) -> Sql:
        parts = (owners[first : first + _MAX_UNION] for first in range(0, len(owners), _MAX_UNION))
        return one_of(joined([f"{_OWNERS[level]} IN (", joined(part, " UNION "), ")"]) for part in parts)


def fuzzy_arms(path: AttributePath, words: Sequence[str], dialect: Dialect) -> list[Sql]:
    """Selects of id and study_date of the studies whose name holds every word, or one spelled alike, in any order."""
    return list(_with_words(path, words, dialect, "owner_id AS id, study_date"))


def fuzzy_filter(path: AttributePath, words: Sequence[str], dialect: Dialect) -> Sql:
    """The same as a condition on a row of studies."""
    conditions = []
    for word in words:
        fits = [
            all_of([sql("path = ?", stored), condition])
            for stored, condition in (
                (word_path(path), _begins(word, dialect)),
                (spelling_path(path), _sounds(word, dialect)),
            )
        ]
        conditions.append(held_by_study(one_of(fits), dialect))
    return all_of(conditions)


def held_by_study(condition: Sql, dialect: Dialect) -> Sql:
    """That one of the rows that are kept of the study at hand fits: a look-up for each study."""
    # Left alone, SQLite goes through the values of all studies, for their index holds every column that is asked for.
    index = " INDEXED BY ix_attribute_values_level_owner_id" if dialect == "sqlite" else ""
    of_study = f"level = {LEVEL_NUMBER[Level.STUDY]} AND owner_id = studies.id"
    return joined(
        [f"EXISTS (SELECT 1 FROM attribute_values{index} WHERE {of_study} AND", condition, fence(dialect), ")"]
    )


def _with_words(path: AttributePath, words: Sequence[str], dialect: Dialect, columns: str) -> Iterator[Sql]:
    for start in _with_word(path, words[0], dialect, columns):
        also = [
            joined(["owner_id IN (", joined(_with_word(path, word, dialect), " UNION ALL "), ")"]) for word in words[1:]
        ]
        yield joined([start, *also], " AND ")


def _with_word(path: AttributePath, word: str, dialect: Dialect, columns: str = "owner_id") -> Iterator[Sql]:
    level = level_of(path.tags[0])
    yield _owners(level, word_path(path), _begins(word, dialect), columns)
    yield _owners(level, spelling_path(path), _sounds(word, dialect), columns)


def _begins(word: str, dialect: Dialect) -> Sql:
    return text_condition("value", Wildcard(f"{word}*"), "LO", dialect)


def _sounds(word: str, dialect: Dialect) -> Sql:
    return text_condition("value", SingleValue(spelling(word)), "LO", dialect)


def _owners(level: Level, stored: str, fits: Sql, columns: str = "owner_id") -> Sql:
    """A select of owners; further conditions may be added behind it."""
    of_level = f"SELECT {columns} FROM attribute_values WHERE level = {LEVEL_NUMBER[level]} AND path = ? AND"
    return joined([sql(of_level, stored), fits])


def looked_up(level: Level, stored: str, fits: Sql, dialect: Dialect) -> Sql:
    """That the owner at hand has a row that fits: a look-up along the index, which the study date is a part of."""
    owner = f"study_date = studies.study_date AND owner_id = {_OWNERS[level]}"
    return joined(["EXISTS (", _owners(level, stored, fits), "AND", owner, fence(dialect), ")"])


def fence(dialect: Dialect) -> str:
    """Keeps PostgreSQL from gathering all rows that fit before it looks at the first candidate."""
    return "OFFSET 0" if dialect == "postgresql" else ""
