"""The matching rules of PS3.4 C.2.2.2 as SQL: what a search asks of the tables, key by key.

app.dicom.matching_values says the same for data sets and names what the Standard leaves open. A key that SQL cannot decide
alone (no column, no rows in attribute_values; several keys within one sequence; dates in the zone of the query) comes back in
`Matching.filter_keys`, with a condition that leaves no match out where there is one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, FromClause, false, func, not_, select, true

from app.db.engine import Dialect
from app.db.stored_value_conditions import StoredValues
from app.db.tables import attribute_values, instances, series, studies, study_modalities
from app.db.value_conditions import (
    date_condition,
    date_time_condition,
    number_condition,
    stored_value_condition,
    text_condition,
    widened,
)
from app.dicom.attributes import LEVEL_NUMBER, SEARCHABLE, is_indexable, keyword_path, level_of, stored_path
from app.dicom.date_times import offset_minutes
from app.dicom.matching import (
    AttributeMatch,
    AttributePath,
    DateTimeRange,
    EmptyValue,
    Level,
    MultipleValues,
    Rule,
    SearchQuery,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicom.matching_values import partner_tag, simplified
from app.errors import InvalidQuery

Condition = ColumnElement[bool]
MAX_PATTERNS = 32
Keys = Sequence[AttributeMatch]

STUDY_DATE, MODALITIES_IN_STUDY, MODALITY = ("00080020",), ("00080061",), ("00080060",)
_SOP_CLASSES_IN_STUDY, _STUDY_SERIES, _STUDY_INSTANCES = "00080062", "00201206", "00201208"
_AVAILABILITY = "00080056"

_TEXT_COLUMNS = {
    "0020000D": studies.c.study_instance_uid,
    "00080050": studies.c.accession_number,
    "00200010": studies.c.study_id,
    "00100020": studies.c.patient_id,
    "00080201": studies.c.timezone_offset,
    "0020000E": series.c.series_instance_uid,
    "00080060": series.c.modality,
    "00080018": instances.c.sop_instance_uid,
    "00080016": instances.c.sop_class_uid,
    "00083002": instances.c.transfer_syntax_uid,
}
_NUMBER_COLUMNS = {
    "00200011": series.c.series_number,
    "00200013": instances.c.instance_number,
    "00201209": series.c.number_of_instances,
}
_DATE_COLUMNS = {
    "00080020": studies.c.study_date,
    "00080030": studies.c.study_time,
    "00400244": series.c.performed_procedure_step_start_date,
    "00400245": series.c.performed_procedure_step_start_time,
}
_NAME_COLUMNS = {
    "00100010": (
        studies.c.patient_name_alphabetic,
        studies.c.patient_name_ideographic,
        studies.c.patient_name_phonetic,
    ),
    "00080090": (
        studies.c.referring_physician_name_alphabetic,
        studies.c.referring_physician_name_ideographic,
        studies.c.referring_physician_name_phonetic,
    ),
}
# Keys that few studies, series or instances share.
_SELECTIVE_OF_STUDY = frozenset({"0020000D", "00080050", "00200010", "00100020", "00100010", "00080090"})
_SELECTIVE_BELOW_STUDY = frozenset({"0020000E", "00080018", "00080016"})


@dataclass(frozen=True, slots=True)
class Lead:
    """A side table from whose index the studies come in the order of the results, each once."""

    table: FromClause
    study_id: ColumnElement[int]
    study_date: ColumnElement[str]


_BY_MODALITY = Lead(study_modalities, study_modalities.c.study_id, study_modalities.c.study_date)
_BY_VALUE = Lead(attribute_values, attribute_values.c.owner_id, attribute_values.c.study_date)


@dataclass(slots=True)
class Matching:
    """What a search asks.

    conditions   to be joined by AND
    filter_keys  to be evaluated against the candidates' data sets
    lead         the side table that the conditions name and that has to be joined; None mostly
    from_studies whether to look at the studies first, then at their series and instances: no key below is selective
    """

    conditions: list[Condition] = field(default_factory=list)
    filter_keys: list[AttributeMatch] = field(default_factory=list)
    lead: Lead | None = None
    from_studies: bool = True


def matching_of(query: SearchQuery, dialect: Dialect, searchable: Sequence[AttributePath] = ()) -> Matching:
    """Everything that the keys and the scope of a search say.

    searchable: paths that attribute_values holds besides the default ones.
    Raises InvalidQuery for a key of more than MAX_PATTERNS names or patterns.
    """
    indexed = {stored_path(path) for paths in SEARCHABLE.values() for path in paths}
    indexed |= {stored_path(path) for path in searchable if is_indexable(path)}
    keys = [AttributeMatch(match.path, simplified(match.rule)) for match in query.matches]
    keys = [match for match in keys if not isinstance(match.rule, Universal)]
    for match in keys:
        _refuse_too_many(match)
    valued = [match for match in keys if not isinstance(match.rule, EmptyValue)]
    in_sequence = Counter(match.path.tags[0] for match in valued if len(match.path.tags) > 1)
    is_zoned = offset_minutes(query.timezone) is not None
    lead = _lead(query, keys, indexed)
    is_narrow = query.study_instance_uid is not None or any(key.path.tags[0] in _SELECTIVE_OF_STUDY for key in valued)
    compiler = _Compiler(dialect, indexed, lead, len(keys) == 1, StoredValues(dialect, is_narrow, query.fuzzy))
    matching = Matching(lead=lead, from_studies=not any(_is_selective_below(key, indexed) for key in valued))
    for match in keys:
        is_moved = is_zoned and match.path.vr in ("DA", "TM") and not isinstance(match.rule, EmptyValue)
        condition, is_exact = compiler.condition(match, is_moved=is_moved)
        if condition is not None:
            matching.conditions.append(condition)
        if not is_exact or (in_sequence[match.path.tags[0]] > 1 and match in valued):
            matching.filter_keys.append(match)
    matching.conditions += _scope(query)
    return matching


def _refuse_too_many(match: AttributeMatch) -> None:
    """Each name and pattern is a search of its own; other values are looked up all at once."""
    rule = match.rule
    if isinstance(rule, MultipleValues):
        patterns = sum(
            match.path.vr in ("PN", "DA", "TM", "DT") or isinstance(value, Wildcard) for value in rule.values
        )
        if patterns > MAX_PATTERNS:
            raise InvalidQuery(f"{keyword_path(match.path)} takes at most {MAX_PATTERNS} names or patterns")


def _scope(query: SearchQuery) -> Iterable[Condition]:
    if query.study_instance_uid is not None:
        yield studies.c.study_instance_uid == query.study_instance_uid
    if query.series_instance_uid is not None:
        yield series.c.series_instance_uid == query.series_instance_uid


def _is_selective_below(match: AttributeMatch, indexed: set[str]) -> bool:
    tag = match.path.tags[0]
    return tag in _SELECTIVE_BELOW_STUDY or (level_of(tag) is not Level.STUDY and stored_path(match.path) in indexed)


def _lead(query: SearchQuery, keys: Keys, indexed: set[str]) -> Lead | None:
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


@dataclass(frozen=True, slots=True)
class _Compiler:
    dialect: Dialect
    indexed: set[str]
    lead: Lead | None
    single_key: bool
    stored: StoredValues

    def condition(self, match: AttributeMatch, *, is_moved: bool) -> tuple[Condition | None, bool]:
        """The condition of a key and whether it says all. is_moved: the key is in another zone than the objects."""
        path, rule = match.path, match.rule
        if is_moved:
            wide = widened(rule, path.vr)
            return (self.condition(AttributeMatch(path, wide), is_moved=False)[0] if wide else None), False
        if len(path.tags) == 1 and (condition := self._column(match)) is not None:
            return condition, True
        if isinstance(rule, DateTimeRange):
            wide = widened(rule, "DA", days=0)
            is_stored = wide is not None and stored_path(path) in self.indexed
            return (self.stored.condition(path, wide) if wide and is_stored else None), False
        if stored_path(path) not in self.indexed:
            return None, False
        if self.lead is _BY_VALUE:
            rows = attribute_values.c
            value = stored_value_condition(rows.value, rule, path.vr, self.dialect)
            return (rows.level == LEVEL_NUMBER[Level.STUDY]) & (rows.path == stored_path(path)) & value, True
        return self.stored.condition(path, rule), not (path.vr == "PN" and _names_groups(rule))

    def _column(self, match: AttributeMatch) -> Condition | None:
        """The condition of an attribute that has columns."""
        tag, rule, vr = match.path.tags[0], match.rule, match.path.vr
        if tag in _TEXT_COLUMNS:
            condition = text_condition(_TEXT_COLUMNS[tag], rule, vr, self.dialect)
            if self.lead is _BY_MODALITY and match.path.tags == MODALITY:
                condition &= text_condition(study_modalities.c.modality, rule, vr, self.dialect)
            return condition
        if tag in _NUMBER_COLUMNS:
            return number_condition(_NUMBER_COLUMNS[tag], rule, self.dialect)
        if isinstance(rule, DateTimeRange):
            if tag in _DATE_COLUMNS and rule.time_path.tags == (partner_tag(tag),):
                return date_time_condition(self._date_column(tag), _DATE_COLUMNS[rule.time_path.tags[0]], rule)
            return None
        if tag in _DATE_COLUMNS:
            return date_condition(self._date_column(tag), rule, vr)
        if tag in _NAME_COLUMNS:
            return self.stored.name_condition(match.path, _NAME_COLUMNS[tag], rule)
        return self._of_the_study(tag, rule, vr)

    def _date_column(self, tag: str) -> ColumnElement[str]:
        """The study date is kept beside the leading value, too, where the index has it."""
        return self.lead.study_date if self.lead and (tag,) == STUDY_DATE else _DATE_COLUMNS[tag]

    def _of_the_study(self, tag: str, rule: Rule, vr: str) -> Condition | None:
        """What is known of a study by its series and instances."""
        if (tag,) == MODALITIES_IN_STUDY:
            return self._modalities(rule, vr)
        if tag == _SOP_CLASSES_IN_STUDY:
            if isinstance(rule, EmptyValue):
                return false()  # there is no study without instances
            members = instances.alias()
            condition = text_condition(members.c.sop_class_uid, rule, vr, self.dialect)
            return studies.c.id.in_(select(members.c.study_id).where(condition))
        if tag in (_STUDY_SERIES, _STUDY_INSTANCES):
            members = series.alias()
            total: ColumnElement[Any] = func.coalesce(func.sum(members.c.number_of_instances), 0)
            number = select(func.count() if tag == _STUDY_SERIES else total).select_from(members)
            number = number.where(members.c.study_id == studies.c.id).correlate(studies)
            return number_condition(number.scalar_subquery(), rule, self.dialect)
        if tag == _AVAILABILITY:
            singles = rule.values if isinstance(rule, MultipleValues) else (rule,)
            return true() if SingleValue("ONLINE") in singles else false()
        return None

    def _modalities(self, rule: Rule, vr: str) -> Condition:
        if self.lead is _BY_MODALITY:
            return text_condition(study_modalities.c.modality, rule, vr, self.dialect)
        rows = study_modalities.alias()
        of_study = rows.c.study_id == studies.c.id
        if isinstance(rule, EmptyValue):
            return not_(select(rows.c.study_id).where(of_study, rows.c.modality != "").correlate(studies).exists())
        condition = text_condition(rows.c.modality, rule, vr, self.dialect)
        if self.single_key:
            return studies.c.id.in_(select(rows.c.study_id).where(condition))
        return select(rows.c.study_id).where(of_study, condition).correlate(studies).exists()


def _names_groups(rule: Rule) -> bool:
    """Whether a key of a person name tells its component groups apart."""
    singles = rule.values if isinstance(rule, MultipleValues) else (rule,)
    texts = [
        single.value if isinstance(single, SingleValue) else single.pattern
        for single in singles
        if isinstance(single, SingleValue | Wildcard)
    ]
    return any("=" in text for text in texts)
