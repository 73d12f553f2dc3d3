"""The matching rules of PS3.4 C.2.2.2 as SQL: what a search asks of the tables, key by key.

app.dicom.matching_values says the same for data sets and names what the Standard leaves open. A key that SQL cannot decide
alone (no column, no rows in attribute_values; several keys within one sequence; dates in the zone of the query; several words of
one of many names) comes back in `Matching.filter_keys`, with a condition that leaves no match out where there is one.
"""

# ruff: noqa: S608 - every name in these statements is of app.db; values are bound

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from app.db import wide_keys
from app.db.engine import Dialect
from app.db.sql_text import FALSE, TRUE, Sql, all_of, joined, none_of, sql
from app.db.stored_value_conditions import StoredValues
from app.db.value_conditions import (
    date_condition,
    date_time_condition,
    has_modality,
    number_condition,
    stored_value_condition,
    text_condition,
    widened,
)
from app.db.wide_keys import NAME_COLUMNS, PATTERN_COLUMNS, WideKey
from app.dicom.attributes import LEVEL_NUMBER, SEARCHABLE, is_indexable, keyword_path, level_of, stored_path
from app.dicom.date_times import offset_minutes
from app.dicom.matching import (
    AllOfValues,
    AnyOfValues,
    AttributeMatch,
    AttributePath,
    DateTimeRange,
    EmptyValue,
    Level,
    Range,
    Rule,
    SearchQuery,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicom.matching_values import fuzzy_words, partner_tag, simplified, value_matches
from app.dicom.wildcards import WILDCARD_VRS
from app.errors import InvalidQuery

MAX_PATTERNS = 32
Keys = Sequence[AttributeMatch]

STUDY_DATE, MODALITIES_IN_STUDY, MODALITY = ("00080020",), ("00080061",), ("00080060",)
_SOP_CLASSES_IN_STUDY, _STUDY_SERIES, _STUDY_INSTANCES = "00080062", "00201206", "00201208"
_AVAILABILITY = "00080056"

_TEXT_COLUMNS = {
    "0020000D": "studies.study_instance_uid",
    "00080050": "studies.accession_number",
    "00200010": "studies.study_id",
    "00100020": "studies.patient_id",
    "00080201": "studies.timezone_offset",
    "0020000E": "series.series_instance_uid",
    "00080060": "series.modality",
    "00080018": "instances.sop_instance_uid",
    "00080016": "instances.sop_class_uid",
    "00083002": "instances.transfer_syntax_uid",
}
_NUMBER_COLUMNS = {
    "00200011": "series.series_number",
    "00200013": "instances.instance_number",
    "00201209": "series.number_of_instances",
}
_DATE_COLUMNS = {
    "00080020": "studies.study_date",
    "00080030": "studies.study_time",
    "00400244": "series.performed_procedure_step_start_date",
    "00400245": "series.performed_procedure_step_start_time",
}
# Keys that few studies, series or instances share.
_SELECTIVE_OF_STUDY = frozenset({"0020000D", "00080050", "00200010", "00100020", "00100010", "00080090"})
_SELECTIVE_BELOW_STUDY = frozenset({"0020000E", "00080018", "00080016"})


@dataclass(frozen=True, slots=True)
class Lead:
    """A side table from whose index the studies come in the order of the results, each once: its name and columns."""

    table: str
    study_id: str

    @property
    def study_date(self) -> str:
        return f"{self.table}.study_date"


_BY_MODALITY = Lead("study_modalities", "study_modalities.study_id")
_BY_VALUE = Lead("attribute_values", "attribute_values.owner_id")


@dataclass(slots=True)
class Matching:
    """What a search asks.

    conditions   to be joined by AND
    filter_keys  to be evaluated against the candidates' data sets
    lead         the side table that the conditions name and that has to be joined; None mostly
    wide         the key that conditions hold only by its `filter`; none but the dates of studies stands beside it
    dates        those dates, as conditions on study_date
    lists        selects of owners that conditions go through, by path: better looked up one by one if they are long
    from_studies whether to look at the studies first, then at their series and instances: no key below is selective
    """

    conditions: list[Sql] = field(default_factory=list)
    filter_keys: list[AttributeMatch] = field(default_factory=list)
    lead: Lead | None = None
    wide: WideKey | None = None
    dates: list[Sql] = field(default_factory=list)
    lists: dict[str, Sql] = field(default_factory=dict)
    from_studies: bool = True


@dataclass(frozen=True, slots=True)
class Several:
    """keys: of studies, to be joined by AND. dates: conditions on study_date. of_series: conditions on series; each study that the
    keys fit has one that they fit."""

    keys: Sequence[WideKey]
    dates: Sequence[Sql]
    of_series: Sequence[Sql] = ()


def matching_of(
    query: SearchQuery,
    dialect: Dialect,
    searchable: Sequence[AttributePath] = (),
    broad: frozenset[str] = frozenset(),
) -> Matching:
    """Everything that the keys and the scope of a search say.

    searchable  paths that attribute_values holds besides the default ones
    broad       those of `lists` that are long
    Raises InvalidQuery for a key of more than MAX_PATTERNS names, patterns or values that all have to match.
    """
    indexed, keys = _indexed(tuple(searchable)), _keys_of(query)
    valued = [match for match in keys if not isinstance(match.rule, EmptyValue)]
    in_sequence = Counter(match.path.tags[0] for match in valued if len(match.path.tags) > 1)
    is_zoned = offset_minutes(query.timezone) is not None
    if (wide := _wide(query, keys, indexed, dialect)) is not None:
        dates = _dates_in(keys)
        walked = [date_condition("studies.study_date", key.rule, "DA") for key in keys if key.path.tags == STUDY_DATE]
        return Matching([*walked, wide.filter], wide=wide, dates=dates)
    lead = _lead(query, keys, indexed)
    is_narrow = query.study_instance_uid is not None or any(key.path.tags[0] in _SELECTIVE_OF_STUDY for key in valued)
    compiler = _Compiler(dialect, indexed, lead, len(keys) == 1, StoredValues(dialect, is_narrow, query.fuzzy, broad))
    matching = Matching(lead=lead, from_studies=not any(_is_selective_below(key, indexed) for key in valued))
    for match in keys:
        is_moved = is_zoned and match.path.vr in ("DA", "TM") and not isinstance(match.rule, EmptyValue)
        condition, is_exact = compiler.condition(match, is_moved=is_moved)
        if condition is not None:
            matching.conditions.append(condition)
        stored = stored_path(match.path)
        if lead is None and stored in indexed - broad and (owners := compiler.stored.listed(match.path, match.rule)):
            matching.lists[stored] = owners
        if not is_exact or (in_sequence[match.path.tags[0]] > 1 and match in valued):
            matching.filter_keys.append(match)
    matching.conditions += _scope(query)
    return matching


def several_of(query: SearchQuery, dialect: Dialect, searchable: Sequence[AttributePath] = ()) -> Several | None:
    """The same of a search by two or more keys of studies, none of which is known to fit few, and by nothing else but their dates;
    or by a pattern and dates; or, of series and instances, by one such key. None of any other. Raises InvalidQuery."""
    if query.timezone is not None or query.study_instance_uid is not None or not query.matches:
        return None
    keys, is_below = _keys_of(query), query.level is not Level.STUDY
    others = [match for match in keys if not _is_date(match)]
    if len(others) < 2 and not (others and (is_below or isinstance(others[0].rule, Wildcard) or query.fuzzy)):
        return None
    indexed = _indexed(tuple(searchable))
    found: list[WideKey] = []
    of_series = []
    for match in others:
        is_modality = is_below and match.path.tags == MODALITY
        if (key := _key_among_several(match, indexed, dialect, fuzzy=query.fuzzy, is_modality=is_modality)) is None:
            return None
        found.append(key)
        if is_modality:
            of_series.append(text_condition("series.modality", match.rule, "CS", dialect))
    dates = _dates_in(keys)
    return Several(found, dates, of_series) if is_below or len(found) + len(dates) > 1 else None


def _key_among_several(
    match: AttributeMatch, indexed: frozenset[str], dialect: Dialect, *, fuzzy: bool, is_modality: bool
) -> WideKey | None:
    rule = match.rule
    if len(match.path.tags) > 1 or not isinstance(rule, SingleValue | Wildcard | AnyOfValues | Range):
        return None
    if is_modality or match.path.tags == MODALITIES_IN_STUDY:
        return wide_keys.of_modalities(rule, dialect)
    return _wide_key(match, indexed, dialect, fuzzy=fuzzy)


def _keys_of(query: SearchQuery) -> list[AttributeMatch]:
    """Those that say anything."""
    keys = [AttributeMatch(match.path, simplified(match.rule)) for match in query.matches]
    keys = [match for match in keys if not isinstance(match.rule, Universal)]
    for match in keys:
        _refuse_too_many(match)
    return keys


def _dates_in(keys: Keys) -> list[Sql]:
    return [date_condition("study_date", key.rule, "DA") for key in keys if key.path.tags == STUDY_DATE]


def _is_date(match: AttributeMatch) -> bool:
    return match.path.tags == STUDY_DATE and isinstance(match.rule, SingleValue | Range)


@lru_cache(maxsize=8)
def _indexed(searchable: tuple[AttributePath, ...]) -> frozenset[str]:
    """How attribute_values names what it holds."""
    paths = [path for paths in SEARCHABLE.values() for path in paths]
    return frozenset(map(stored_path, [*paths, *filter(is_indexable, searchable)]))


def _refuse_too_many(match: AttributeMatch) -> None:
    """Each name and pattern is a search of its own, as is each of the values that all have to match; others are looked up all at
    once."""
    rule = match.rule
    if isinstance(rule, AllOfValues) and len(rule.values) > MAX_PATTERNS:
        raise InvalidQuery(f"{keyword_path(match.path)} takes at most {MAX_PATTERNS} values")
    if isinstance(rule, AnyOfValues):
        patterns = sum(
            match.path.vr in ("PN", "DA", "TM", "DT") or isinstance(value, Wildcard) for value in rule.values
        )
        if patterns > MAX_PATTERNS:
            raise InvalidQuery(f"{keyword_path(match.path)} takes at most {MAX_PATTERNS} names or patterns")


def _scope(query: SearchQuery) -> Iterable[Sql]:
    if query.study_instance_uid is not None:
        yield sql("studies.study_instance_uid = ?", query.study_instance_uid)
    if query.series_instance_uid is not None:
        yield sql("series.series_instance_uid = ?", query.series_instance_uid)


def _is_selective_below(match: AttributeMatch, indexed: frozenset[str]) -> bool:
    tag = match.path.tags[0]
    return tag in _SELECTIVE_BELOW_STUDY or (level_of(tag) is not Level.STUDY and stored_path(match.path) in indexed)


def _lead(query: SearchQuery, keys: Keys, indexed: frozenset[str]) -> Lead | None:
    """The side table that gives the results in their order: for one modality or one other value that is all a search asks,
    apart from a study date. Whoever asks for more is served by the index of that more."""
    others = [match for match in keys if match.path.tags != STUDY_DATE or isinstance(match.rule, EmptyValue)]
    if query.study_instance_uid is not None or len(others) != 1 or not isinstance(others[0].rule, SingleValue):
        return None
    path = others[0].path
    if path.tags == {Level.STUDY: MODALITIES_IN_STUDY, Level.SERIES: MODALITY}.get(query.level):
        return _BY_MODALITY
    # One value of a name or a time may fit several rows of a study.
    is_single = path.vr not in ("PN", "TM") and stored_path(path) in indexed and level_of(path.tags[0]) is Level.STUDY
    return _BY_VALUE if is_single and query.level is Level.STUDY else None


def _wide(query: SearchQuery, keys: Keys, indexed: frozenset[str], dialect: Dialect) -> WideKey | None:
    """The only key of a search for studies, apart from a study date, if nobody can know how many it fits."""
    others = [match for match in keys if not _is_date(match)]
    if query.level is not Level.STUDY or query.timezone is not None or len(others) != 1 or len(others[0].path.tags) > 1:
        return None
    (match,), tag = others, others[0].path.tags[0]
    # Of one value the index has the studies in order, unless it is one of a name.
    is_wide = isinstance(match.rule, Wildcard) or (isinstance(match.rule, SingleValue) and tag in NAME_COLUMNS)
    is_pattern = tag in NAME_COLUMNS or match.path.vr in WILDCARD_VRS
    return _wide_key(match, indexed, dialect, fuzzy=query.fuzzy) if is_wide and is_pattern else None


def _wide_key(match: AttributeMatch, indexed: frozenset[str], dialect: Dialect, *, fuzzy: bool) -> WideKey | None:
    """Of an attribute of studies that is kept in columns of texts or in attribute_values."""
    tag, rule = match.path.tags[0], match.rule
    if tag in NAME_COLUMNS:
        if not isinstance(rule, SingleValue | Wildcard):
            return None
        return wide_keys.of_name(match.path, NAME_COLUMNS[tag], rule, dialect, fuzzy=fuzzy)
    if tag in PATTERN_COLUMNS:
        return wide_keys.of_column(PATTERN_COLUMNS[tag], rule, dialect) if isinstance(rule, Wildcard) else None
    is_stored = stored_path(match.path) in indexed and level_of(tag) is Level.STUDY and tag not in _TEXT_COLUMNS
    return wide_keys.of_stored_value(match, dialect) if is_stored else None


@dataclass(frozen=True, slots=True)
class _Compiler:
    dialect: Dialect
    indexed: frozenset[str]
    lead: Lead | None
    single_key: bool
    stored: StoredValues

    def condition(self, match: AttributeMatch, *, is_moved: bool) -> tuple[Sql | None, bool]:
        """The condition of a key and whether it says all. is_moved: the key is in another zone than the objects."""
        path, rule = match.path, match.rule
        if is_moved:
            wide = widened(rule, path.vr)
            return (self.condition(AttributeMatch(path, wide), is_moved=False)[0] if wide else None), False
        if isinstance(rule, AllOfValues):
            return self._all_of(path, rule)
        if len(path.tags) == 1 and (condition := self._column(match)) is not None:
            return condition, True
        if isinstance(rule, DateTimeRange):
            wide = widened(rule, "DA", days=0)
            is_stored = wide is not None and stored_path(path) in self.indexed
            return (self.stored.condition(path, wide) if wide and is_stored else None), False
        if stored_path(path) not in self.indexed:
            return None, False
        if self.lead is _BY_VALUE:
            value = stored_value_condition("attribute_values.value", rule, path.vr, self.dialect)
            level = f"attribute_values.level = {LEVEL_NUMBER[Level.STUDY]}"
            return all_of([sql(f"{level} AND attribute_values.path = ?", stored_path(path)), value]), True
        is_mixed = path.vr == "PN" and (_names_groups(rule) or (self.stored.fuzzy and _has_words(rule)))
        return self.stored.condition(path, rule), not is_mixed

    def _all_of(self, path: AttributePath, rule: AllOfValues) -> tuple[Sql | None, bool]:
        """Each value by itself. That one item of a sequence holds them all cannot be told by rows of values."""
        found = [self.condition(AttributeMatch(path, value), is_moved=False) for value in rule.values]
        conditions = [condition for condition, _ in found if condition is not None]
        is_exact = len(path.tags) == 1 and all(is_exact for _, is_exact in found)
        return (all_of(conditions) if conditions else None), is_exact

    def _column(self, match: AttributeMatch) -> Sql | None:
        """The condition of an attribute that has columns."""
        tag, rule, vr = match.path.tags[0], match.rule, match.path.vr
        if tag in _TEXT_COLUMNS:
            condition = text_condition(_TEXT_COLUMNS[tag], rule, vr, self.dialect)
            if self.lead is _BY_MODALITY and match.path.tags == MODALITY:
                condition = all_of([condition, text_condition("study_modalities.modality", rule, vr, self.dialect)])
            return condition
        if tag in _NUMBER_COLUMNS:
            return number_condition(_NUMBER_COLUMNS[tag], rule, self.dialect)
        if isinstance(rule, DateTimeRange):
            if tag in _DATE_COLUMNS and rule.time_path.tags == (partner_tag(tag),):
                return date_time_condition(self._date_column(tag), _DATE_COLUMNS[rule.time_path.tags[0]], rule)
            return None
        if tag in _DATE_COLUMNS:
            return date_condition(self._date_column(tag), rule, vr)
        if tag in NAME_COLUMNS:
            return self.stored.name_condition(match.path, NAME_COLUMNS[tag], rule)
        return self._of_the_study(tag, rule, vr)

    def _date_column(self, tag: str) -> str:
        """The study date is kept beside the leading value, too, where the index has it."""
        return self.lead.study_date if self.lead and (tag,) == STUDY_DATE else _DATE_COLUMNS[tag]

    def _of_the_study(self, tag: str, rule: Rule, vr: str) -> Sql | None:
        """What is known of a study by its series and instances."""
        if (tag,) == MODALITIES_IN_STUDY:
            return self._modalities(rule, vr)
        if tag == _SOP_CLASSES_IN_STUDY:
            if isinstance(rule, EmptyValue):
                return FALSE  # there is no study without instances
            condition = text_condition("sop_class_uid", rule, vr, self.dialect)
            return joined(["studies.id IN (SELECT study_id FROM instances WHERE", condition, ")"])
        if tag in (_STUDY_SERIES, _STUDY_INSTANCES):
            total = "CAST(coalesce(sum(counted.number_of_instances), 0) AS bigint)"
            number = "count(*)" if tag == _STUDY_SERIES else total
            column = f"(SELECT {number} FROM series counted WHERE counted.study_id = studies.id)"
            return number_condition(column, rule, self.dialect)
        if tag == _AVAILABILITY:
            return TRUE if value_matches("ONLINE", vr, rule) else FALSE
        return None

    def _modalities(self, rule: Rule, vr: str) -> Sql:
        if self.lead is _BY_MODALITY:
            return text_condition("study_modalities.modality", rule, vr, self.dialect)
        if isinstance(rule, EmptyValue):
            return none_of(has_modality(sql("known.modality <> ''")))
        condition = text_condition("known.modality", rule, vr, self.dialect)
        if self.single_key:
            return joined(["studies.id IN (SELECT known.study_id FROM study_modalities known WHERE", condition, ")"])
        return has_modality(condition)


def _names_groups(rule: Rule) -> bool:
    """Whether a key of a person name tells its component groups apart."""
    return any("=" in (one.value if isinstance(one, SingleValue) else one.pattern) for one in _singles(rule))


def _has_words(rule: Rule) -> bool:
    """Whether a fuzzy key has several words: rows of words do not tell which of several names a word is of."""
    return any(len(fuzzy_words(one)) > 1 for one in _singles(rule))


def _singles(rule: Rule) -> list[SingleValue | Wildcard]:
    values = rule.values if isinstance(rule, AnyOfValues) else (rule,)
    return [one for one in values if isinstance(one, SingleValue | Wildcard)]
