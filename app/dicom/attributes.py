"""The attribute table: level, keyword, tag and VR of standard attributes, what searching matches and returns, and what of a
data set goes to the columns of `studies`, `series` and `instances`.

Tags are 8 upper-case hexadecimal digits, data sets are in the DICOM JSON Model (PS3.18 Annex F). Nothing here fails on a
value that is not what its VR says: such a value is kept as text that no range and no key of its VR can match.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson

from app.dicom import attribute_levels as data
from app.dicom.comparable_text import INDEXABLE_VRS, MAX_COMPARABLE, bounded, comparable, whole_number
from app.dicom.date_times import normalise_date, normalise_time, offset_minutes
from app.dicom.dictionary import STANDARD
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributePath, Level
from app.dicom.person_names import folded_groups, name_groups, name_words, spelling

__all__ = [
    "COMPUTED",
    "DEFAULT_RETURNED",
    "INSTANCE_ATTRIBUTES",
    "KEYWORDS",
    "LEVEL_NUMBER",
    "REQUIRED_KEYS",
    "SEARCHABLE",
    "TAGS",
    "VRS",
    "ReturnedAttribute",
    "elements_at",
    "instance_columns",
    "is_indexable",
    "keyword_path",
    "level_of",
    "level_tags",
    "private_creator_tag",
    "real_tags",
    "searchable_values",
    "series_attributes",
    "series_columns",
    "spelling_path",
    "standard_path",
    "stored_path",
    "study_attributes",
    "study_columns",
    "values_of",
    "without_bulkdata",
    "word_path",
]

MAX_VALUES_PER_PATH = 1_000  # one slide may hold hundreds of specimens
MAX_NAMES_PER_PATH = 64  # each has rows for its words as well
# A study or series row is read by every search that finds it: sequences and texts beyond this are left to the metadata.
MAX_ATTRIBUTE_BYTES = 65_536
_FEW_TAGS = 1_000  # data sets of more are not remembered

# Standard attributes by tag, from the data dictionary of PS3.6. "US or SS" counts as its first.
VRS: MappingProxyType[str, str] = MappingProxyType({f"{tag:08X}": entry[0][:2] for tag, entry in STANDARD.items()})
KEYWORDS: MappingProxyType[str, str] = MappingProxyType(
    {f"{tag:08X}": entry[4] for tag, entry in STANDARD.items() if entry[4]}
)
TAGS: MappingProxyType[str, str] = MappingProxyType({keyword: tag for tag, keyword in KEYWORDS.items()})

LEVEL_NUMBER: MappingProxyType[Level, int] = MappingProxyType({Level.STUDY: 0, Level.SERIES: 1, Level.INSTANCE: 2})

_SERIES = frozenset(TAGS[keyword] for keyword in (*data.SERIES_KEYWORDS, *data.SERIES_WITHIN_STUDY_GROUPS))
_STUDY = frozenset(TAGS[keyword] for keyword in data.STUDY_KEYWORDS)
_INSTANCE = frozenset(TAGS[keyword] for keyword in data.INSTANCE_WITHIN_STUDY_GROUPS)
COMPUTED: frozenset[str] = frozenset(TAGS[keyword] for keyword in data.COMPUTED_KEYWORDS)
_TIMEZONE = TAGS["TimezoneOffsetFromUTC"]


@lru_cache(maxsize=8192)
def level_of(tag: str) -> Level:
    """The level of an attribute; of a nested one, ask for its outermost sequence. Private ones are of the instance."""
    if tag in _SERIES:
        return Level.SERIES
    if tag in _STUDY:
        return Level.STUDY
    if tag[:4] in data.STUDY_GROUPS and tag not in _INSTANCE:
        return Level.STUDY
    return Level.INSTANCE


def standard_path(keywords: str) -> AttributePath:
    """The path of dot-joined keywords. Raises KeyError for what PS3.6 does not have."""
    tags = tuple(TAGS[keyword] for keyword in keywords.split("."))
    return AttributePath(tags, VRS[tags[-1]], ("",) * len(tags))


def keyword_path(path: AttributePath) -> str:
    """The path in keywords joined by dots, tags where there is no keyword."""
    return ".".join(KEYWORDS.get(tag, tag) for tag in path.tags)


def _paths(keywords: Iterable[str]) -> tuple[AttributePath, ...]:
    return tuple(standard_path(path) for path in keywords)


@dataclass(frozen=True, slots=True)
class ReturnedAttribute:
    """An attribute of a search result: type U and R are always there (empty if unknown), C only if known."""

    path: AttributePath
    type: str


def _returned(rows: Iterable[tuple[str, str]]) -> tuple[ReturnedAttribute, ...]:
    return tuple(ReturnedAttribute(standard_path(keywords), kind) for keywords, kind in rows)


REQUIRED_KEYS: MappingProxyType[Level, tuple[AttributePath, ...]] = MappingProxyType(
    {
        Level.STUDY: _paths(data.REQUIRED_STUDY_KEYS),
        Level.SERIES: _paths(data.REQUIRED_SERIES_KEYS),
        Level.INSTANCE: _paths(data.REQUIRED_INSTANCE_KEYS),
    }
)
DEFAULT_RETURNED: MappingProxyType[Level, tuple[ReturnedAttribute, ...]] = MappingProxyType(
    {
        Level.STUDY: _returned(data.RETURNED_STUDY_ATTRIBUTES),
        Level.SERIES: _returned(data.RETURNED_SERIES_ATTRIBUTES),
        Level.INSTANCE: _returned(data.RETURNED_INSTANCE_ATTRIBUTES),
    }
)
SEARCHABLE: MappingProxyType[Level, tuple[AttributePath, ...]] = MappingProxyType(
    {
        Level.STUDY: _paths(data.SEARCHABLE_STUDY_PATHS),
        Level.SERIES: _paths(data.SEARCHABLE_SERIES_PATHS),
        Level.INSTANCE: _paths(data.SEARCHABLE_INSTANCE_PATHS),
    }
)
# What a search for instances returns by default of what their own columns do not hold.
INSTANCE_ATTRIBUTES: frozenset[str] = (
    frozenset(one.path.tags[0] for one in DEFAULT_RETURNED[Level.INSTANCE] if one.path.vr != "UI") - COMPUTED
)
_INSTANCE_TAGS = sorted(INSTANCE_ATTRIBUTES)
_NAME_COLUMNS = (standard_path("PatientName"), standard_path("ReferringPhysicianName"))


def is_indexable(path: AttributePath) -> bool:
    """Whether attribute_values can hold the values: not unlimited text, not DT, not binary, no unknown VR."""
    return path.vr in INDEXABLE_VRS


def stored_path(path: AttributePath) -> str:
    """How attribute_values names the path: tags joined by dots, a private tag as `creator|gggg00ee`."""
    owned = zip(path.tags, path.creators, strict=True)
    return ".".join(f"{creator}|{tag}" if creator else tag for tag, creator in owned)


def word_path(path: AttributePath) -> str:
    """Under which attribute_values keeps the single words of a person name, for fuzzy matching."""
    return f"{stored_path(path)}~word"


def spelling_path(path: AttributePath) -> str:
    """The same for app.dicom.person_names.spelling of the words."""
    return f"{stored_path(path)}~spelling"


def elements_at(dataset: DicomJson, path: AttributePath) -> Iterator[dict[str, Any]]:
    """Every element that the path leads to: one per item of the sequences on the way.

    A private tag leads to the blocks whose creator element (gggg,00xx) holds its creator (PS3.5 section 7.8.1).
    """
    yield from _elements(dataset, path.tags, path.creators)


def _elements(dataset: DicomJson, tags: tuple[str, ...], creators: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for tag in real_tags(dataset, tags[0], creators[0]):
        element = dataset.get(tag)
        if not isinstance(element, dict):
            continue
        if len(tags) == 1:
            yield element
            continue
        for item in _items(element):
            yield from _elements(item, tags[1:], creators[1:])


def _items(element: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in values_of(element) if isinstance(item, dict)] if element.get("vr") == "SQ" else []


def values_of(element: dict[str, Any]) -> list[Any]:
    """The values of an element; [] where it is empty, or bulkdata."""
    values = element.get("Value")
    return values if isinstance(values, list) else []


def real_tags(dataset: DicomJson, tag: str, creator: str) -> list[str]:
    """The tags that a path's tag stands for in this data set: a private one once per block of its creator."""
    if not creator:
        return [tag]
    group, element = tag[:4], tag[6:]
    return [
        f"{group}{block:02X}{element}"
        for block in range(0x10, 0x100)
        if _first_text(dataset, f"{group}00{block:02X}").strip(" \0") == creator
    ]


def private_creator_tag(tag: str) -> str:
    """The element that names the creator of a private attribute's block: (gggg,00xx) of (gggg,xxee)."""
    return f"{tag[:4]}00{tag[4:6]}"


def _first(dataset: DicomJson, tag: str) -> Any:
    element = dataset.get(tag)
    values = values_of(element) if isinstance(element, dict) else []
    return values[0] if values else None


def _first_text(dataset: DicomJson, tag: str) -> str:
    value = _first(dataset, tag)
    return "" if value is None or isinstance(value, dict | list) else str(value)


def study_attributes(dataset: DicomJson) -> dict[str, Any]:
    """Every patient- and study-level attribute of the data set, keys ascending, without bulkdata and computed attributes."""
    return _attributes(dataset, Level.STUDY)


def series_attributes(dataset: DicomJson) -> dict[str, Any]:
    """Every series-level attribute, keys ascending, with Timezone Offset From UTC: its dates are in that zone."""
    return _attributes(dataset, Level.SERIES)


def _attributes(dataset: DicomJson, level: Level) -> dict[str, Any]:
    chosen = {}
    for tag in level_tags(dataset, level):
        element = dataset[tag]
        if not _is_plain(element):
            element = without_bulkdata(element)
            if element is None or _is_large(element):
                continue
        chosen[tag] = element
    return chosen


def _is_plain(element: Any) -> bool:
    """One short text or number, as nearly all are: nothing to leave out, and not large."""
    if type(element) is not dict:
        return False
    values = element.get("Value")
    if type(values) is not list or len(values) != 1:
        return False
    value = values[0]
    return type(value) is int or (type(value) is str and len(value) < 100)


def level_tags(dataset: DicomJson, level: Level) -> tuple[str, ...]:
    """The tags of attributes that are kept of a study or series, ascending."""
    tags = tuple(dataset)
    return (_level_tags if len(tags) <= _FEW_TAGS else _level_tags.__wrapped__)(tags, level)


@lru_cache(maxsize=128)  # the instances of a series have the same tags
def _level_tags(tags: tuple[str, ...], level: Level) -> tuple[str, ...]:
    return tuple(sorted(t for t in tags if (level_of(t) is level or t == _TIMEZONE) and t not in COMPUTED))


def without_bulkdata(element: Any) -> dict[str, Any] | None:
    """The element, less what it only names by URI: None when nothing is left. The original is not changed."""
    if not isinstance(element, dict) or "BulkDataURI" in element:
        return None
    if element.get("vr") != "SQ" or "Value" not in element:
        return element
    items = []
    for item in _items(element):
        kept = {tag: without_bulkdata(value) for tag, value in item.items()}
        items.append({tag: value for tag, value in kept.items() if value is not None})
    return {**element, "Value": items}


def _is_large(element: dict[str, Any]) -> bool:
    values = values_of(element)
    if "InlineBinary" not in element and len(values) < 100 and all(_is_short(value) for value in values):
        return False  # nothing to be written out for that
    return len(orjson.dumps(element)) > MAX_ATTRIBUTE_BYTES


def _is_short(value: Any) -> bool:
    return len(value) < 100 if isinstance(value, str) else value is None or isinstance(value, int | float)


def study_columns(dataset: DicomJson) -> dict[str, object]:
    """Values for the matching columns of `studies`, all text, "" where absent (study_instance_uid is the caller's)."""
    patient = folded_groups(_first(dataset, "00100010"))
    referrer = folded_groups(_first(dataset, "00080090"))
    timezone = _first_text(dataset, _TIMEZONE).strip(" \0")
    return {
        "study_date": normalise_date(_first_text(dataset, "00080020")),
        "study_time": normalise_time(_first_text(dataset, "00080030")),
        "accession_number": bounded(_first_text(dataset, "00080050")),
        "study_id": bounded(_first_text(dataset, "00200010")),
        "patient_id": bounded(_first_text(dataset, "00100020")),
        "patient_name_alphabetic": patient[0],
        "patient_name_ideographic": patient[1],
        "patient_name_phonetic": patient[2],
        "referring_physician_name_alphabetic": referrer[0],
        "referring_physician_name_ideographic": referrer[1],
        "referring_physician_name_phonetic": referrer[2],
        "timezone_offset": timezone if offset_minutes(timezone) is not None else "",
    }


def series_columns(dataset: DicomJson) -> dict[str, object]:
    """Values for the matching columns of `series`; series_number is an integer or None."""
    return {
        "modality": bounded(_first_text(dataset, "00080060")),
        "series_number": whole_number(_first_text(dataset, "00200011")),
        "performed_procedure_step_start_date": normalise_date(_first_text(dataset, "00400244")),
        "performed_procedure_step_start_time": normalise_time(_first_text(dataset, "00400245")),
    }


def instance_columns(dataset: DicomJson) -> dict[str, object]:
    """Values for the matching columns of `instances` besides its UIDs; instance_number is an integer or None, attributes the
    JSON text of INSTANCE_ATTRIBUTES, None where one of them is of no sensible size."""
    return {
        "instance_number": whole_number(_first_text(dataset, "00200013")),
        "attributes": _instance_attributes(dataset),
    }


def _instance_attributes(dataset: DicomJson) -> bytes | None:
    chosen = {tag: element for tag in _INSTANCE_TAGS if (element := without_bulkdata(dataset.get(tag)))}
    try:
        is_large = any(not _is_plain(element) and _is_large(element) for element in chosen.values())
        return None if is_large else orjson.dumps(chosen)
    except orjson.JSONEncodeError:
        return None


def searchable_values(
    dataset: DicomJson, extra: Sequence[AttributePath] = (), levels: Collection[Level] = tuple(Level)
) -> list[tuple[int, str, str]]:
    """The rows of attribute_values that the data set gives: (level, path, value), distinct, never an empty value.

    Levels are LEVEL_NUMBER. `extra` are the paths of the setting GANTRY_SEARCHABLE_ATTRIBUTES; those whose VR cannot be
    indexed are left out. Rows of `levels` only; at most MAX_VALUES_PER_PATH values (of names MAX_NAMES_PER_PATH) of each path.
    """
    rows: dict[tuple[int, str, str], None] = {}
    for level in levels:
        for path in SEARCHABLE[level]:
            if path.tags[0] in dataset:
                rows.update(_value_rows(dataset, level, path))
    for path in extra:
        if is_indexable(path) and (level := level_of(path.tags[0])) in levels:
            rows.update(_value_rows(dataset, level, path))
    for path in _NAME_COLUMNS if Level.STUDY in levels else ():
        rows.update(_word_rows(dataset, Level.STUDY, path))
    return list(rows)


def _value_rows(dataset: DicomJson, level: Level, path: AttributePath) -> dict[tuple[int, str, str], None]:
    rows: dict[tuple[int, str, str], None] = {}
    number, stored = LEVEL_NUMBER[level], stored_path(path)
    for value in _bounded_values(dataset, path):
        texts = name_groups(value) if path.vr == "PN" else ("" if isinstance(value, dict) else str(value),)
        for text in texts:
            compared = comparable(path.vr, text)
            if compared:
                rows[number, stored, compared] = None
    if path.vr == "PN":
        rows.update(_word_rows(dataset, level, path))
    return rows


def _word_rows(dataset: DicomJson, level: Level, path: AttributePath) -> dict[tuple[int, str, str], None]:
    rows: dict[tuple[int, str, str], None] = {}
    number = LEVEL_NUMBER[level]
    for value in _bounded_values(dataset, path):
        for group in name_groups(value):
            for word in name_words(group):
                rows[number, word_path(path), word] = None
                rows[number, spelling_path(path), spelling(word)] = None
    return rows


def _bounded_values(dataset: DicomJson, path: AttributePath) -> list[Any]:
    most = MAX_NAMES_PER_PATH if path.vr == "PN" else MAX_VALUES_PER_PATH
    found: list[Any] = []
    for element in elements_at(dataset, path):
        found += [value for value in values_of(element) if value is not None]
        if len(found) >= most:
            break
    return found[:most]


assert MAX_COMPARABLE * 4 < 2_600  # noqa: S101 - an index row must hold a value, see app.dicom.comparable_text
