"""From rows to search results in the DICOM JSON Model.

Attributes come from the prepared JSON of their level; what describes a study or a series as a whole is computed for the rows
of the page only. Bulkdata is left out: the metadata of an instance names it.

What becomes of a row depends on nothing but the row: of those that are met again and again, as the newest studies are, the
results are kept.
"""

# ruff: noqa: S608 - every name in these statements is of app.db

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from app.db.engine import Dialect
from app.db.prepared_json import attributes_from_row, instance_from_row, is_packed
from app.db.projection import LevelProjection, Projection, Tree
from app.dicom.attributes import (
    COMPUTED,
    INSTANCE_ATTRIBUTES,
    private_creator_tag,
    real_tags,
    values_of,
    without_bulkdata,
)
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributePath, Level
from app.dicom.matching_items import ItemFilter
from app.dicom.search_result import SearchResult, result_of

Element = dict[str, Any]
Row = tuple[Any, ...]

_KEPT = 4096  # results, and the rows that they were made of: some 8 MB
_SMALL_ROW = 2048  # bytes: larger ones are made anew each time

_CHARACTER_SET, _AVAILABILITY = "00080005", "00080056"
_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITIES, _SOP_CLASSES = "00080061", "00080062"
_STUDY_SERIES, _STUDY_INSTANCES, _SERIES_INSTANCES = "00201206", "00201208", "00201209"
_AVAILABLE_SYNTAXES, _SYNTAX, _TIMEZONE = "00083002", "00020010", "00080201"
# Returned whether asked for or not.
_ALWAYS = frozenset({_CHARACTER_SET, _STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS})
_SEPARATOR = "\\"  # no value of a CS or UI holds it


def _element(vr: str, *values: Any) -> Element:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


_UTF_8, _ONLINE = _element("CS", "ISO_IR 192"), _element("CS", "ONLINE")
# What columns of the rows say: tag, column, VR, and the highest level that has it.
_COLUMNS = (
    (_STUDY_UID, "studies.study_instance_uid", "UI", Level.STUDY),
    (_SERIES_UID, "series.series_instance_uid", "UI", Level.SERIES),
    (_SERIES_INSTANCES, "series.number_of_instances", "IS", Level.SERIES),
    (_SOP_UID, "instances.sop_instance_uid", "UI", Level.INSTANCE),
    (_SOP_CLASS, "instances.sop_class_uid", "UI", Level.INSTANCE),
    (_AVAILABLE_SYNTAXES, "instances.transfer_syntax_uid", "UI", Level.INSTANCE),
    (_SYNTAX, "instances.transfer_syntax_uid", "UI", Level.INSTANCE),
)


def _concatenated(dialect: Dialect, column: str) -> str:
    return f"{'group_concat' if dialect == 'sqlite' else 'string_agg'}({column}, '{_SEPARATOR}')"


def _summary(dialect: Dialect) -> str:
    """Series, instances and modalities of a study as one text, looked up all at once."""
    counts = f"count(*) || '{_SEPARATOR}' || coalesce(sum(known.number_of_instances), 0)"
    modalities = _concatenated(dialect, "known.modality")
    return f"(SELECT {counts} || '{_SEPARATOR}' || {modalities} FROM series known WHERE known.study_id = studies.id)"


def _sop_classes(dialect: Dialect) -> str:
    distinct = "SELECT DISTINCT sop_class_uid FROM instances known WHERE known.study_id = studies.id"
    return f"(SELECT {_concatenated(dialect, 'sop_class_uid')} FROM ({distinct} AND known.sop_class_uid <> '') each)"


class RowReader:
    """Makes results of rows of `columns`; made once for all searches that return the same.

    A row begins with the date and the id of its study.
    """

    def __init__(self, projection: Projection, dialect: Dialect) -> None:
        self._columns = ["studies.study_date", "studies.id"]
        self._constants = {_CHARACTER_SET: _UTF_8}
        self._values: list[tuple[str, str, int]] = []  # tag, VR, place in the row
        asked = _asked(projection)
        if _AVAILABILITY in asked:
            self._constants[_AVAILABILITY] = _ONLINE
        levels = list(projection.of)
        for tag, column, vr, level in _COLUMNS:
            if level in levels and tag in asked:
                self._values.append((tag, vr, self._place(column)))
        self._summary = self._sop_classes = 0
        self._summarised = asked & {_STUDY_SERIES, _STUDY_INSTANCES, _MODALITIES}
        if self._summarised:
            self._summary = self._place(_summary(dialect))
        if _SOP_CLASSES in asked:
            self._sop_classes = self._place(_sop_classes(dialect))
        self._of, self._item_keys = projection.of, projection.item_keys
        self._datasets = [
            (level, self._place(_prepared(level, wanted)))
            for level, wanted in projection.of.items()
            if not wanted.is_empty
        ]
        self._of_instance = next((n for n, (level, _) in enumerate(self._datasets, 1) if level is Level.INSTANCE), -1)
        self._is_plain = not any(wanted.everything or wanted.private for wanted in projection.of.values())
        self._steps = self._plan(asked)
        self.columns = ", ".join(self._columns)

    def _place(self, column: str) -> int:
        self._columns.append(column)
        return len(self._columns) - 1

    def results(self, rows: Iterable[Row]) -> list[SearchResult]:
        """One result a row; what a row holds behind `columns` is not looked at. Safe in threads."""
        return [self._result(row[: len(self._columns)]) for row in rows]

    def _result(self, row: Row) -> SearchResult:
        is_small = sum([len(value) for value in row if isinstance(value, str | bytes)]) <= _SMALL_ROW
        is_kept = is_small and not any(is_packed(row[place]) for _, place in self._datasets)
        return _kept(self, row) if is_kept else self.make(row)

    def make(self, row: Row) -> SearchResult:
        """The result of a row, made anew."""
        return result_of(self._planned(row) if self._is_plain else self._any(row))

    def _plan(self, asked: set[str]) -> list[tuple[str, int, Element | None, bool, Tree | None]]:
        """What is taken from where, by ascending tag: tag, data set (0 for what is computed), what stands for an unknown value,
        whether it is left out when it is empty, and what of the items of a sequence."""
        steps: list[tuple[str, int, Element | None, bool, Tree | None]] = []
        known = {*self._constants, *(tag for tag, _, _ in self._values), *self._summarised}
        if self._sop_classes:
            known.add(_SOP_CLASSES)
        steps += [(tag, 0, None, False, None) for tag in known]
        for source, (level, _) in enumerate(self._datasets, 1):
            wanted = self._of[level]
            for tag in (wanted.required.keys() | wanted.known | wanted.nested.keys()) - COMPUTED - known:
                vr = wanted.required.get(tag)
                tree = wanted.nested.get(tag)
                steps.append((tag, source, {"vr": vr} if vr else None, vr is None or tree is not None, tree))
        return sorted(steps, key=lambda step: step[:2])

    def _planned(self, row: Row) -> dict[str, Any]:
        datasets = [self._computed(row), *(_dataset(level, row[place]) for level, place in self._datasets)]
        result: dict[str, Any] = {}
        for tag, source, missing, needs_value, tree in self._steps:
            element = datasets[source].get(tag)
            if source == self._of_instance:
                element = without_bulkdata(element)
            if element is not None and not (needs_value and not values_of(element)):
                result[tag] = element if tree is None else self._part(datasets[source], tag, element, tree)
            elif missing is not None and tag not in result:
                result[tag] = missing
        return result

    def _part(self, dataset: DicomJson, tag: str, element: Element, tree: Tree) -> Element:
        """What is asked of a sequence of the data set."""
        return _pruned(element, tree, self._item_keys.of(dataset).within(tag) if self._item_keys else None)

    def _any(self, row: Row) -> dict[str, Any]:
        """The same where what is returned depends on what the data sets hold.

        An instance may differ from what was decided of its study and series, by which they are found: theirs goes last.
        """
        result: dict[str, Any] = {}
        computed = self._computed(row)
        found = [(self._of[level], _dataset(level, row[place])) for level, place in self._datasets]
        named = [one for one in found if not one[0].everything]
        whole = [one for one in found if one[0].everything]
        for wanted, dataset in (*named, *reversed(whole)):
            self._add_level(result, dataset, wanted)
        if zones := [dataset[_TIMEZONE] for _, dataset in whole if values_of(dataset.get(_TIMEZONE, {}))]:
            result[_TIMEZONE] = zones[-1]  # each level has one of its own
        for tag in COMPUTED & result.keys():
            del result[tag]  # the archive knows better than an instance says
        result.update(computed)
        return dict(sorted(result.items()))

    def _add_level(self, result: dict[str, Any], dataset: DicomJson, wanted: LevelProjection) -> None:
        if wanted.everything:
            for tag, value in dataset.items():
                element = without_bulkdata(value)
                if element is not None:
                    result[tag] = element
        else:
            self._add_named(result, dataset, wanted)
        for tag, vr in wanted.required.items():
            if tag not in result and vr:
                result[tag] = {"vr": vr}

    def _add_named(self, result: dict[str, Any], dataset: DicomJson, wanted: LevelProjection) -> None:
        for tag in (wanted.required.keys() | wanted.known) - wanted.nested.keys():
            element = without_bulkdata(dataset.get(tag))
            if element is not None and (tag in wanted.required or values_of(element)):
                result[tag] = element
        for tag, tree in wanted.nested.items():
            element = without_bulkdata(dataset.get(tag))
            if element is not None and values_of(element):
                result[tag] = self._part(dataset, tag, element, tree)
        for path in wanted.private:
            _add_private(result, dataset, path)

    def _computed(self, row: Row) -> dict[str, Element]:
        found = dict(self._constants)
        for tag, vr, place in self._values:
            value = row[place]
            found[tag] = {"vr": vr} if value == "" else {"vr": vr, "Value": [value]}
        if self._summary:
            series, instances, *modalities = (row[self._summary] or f"0{_SEPARATOR}0").split(_SEPARATOR)
            summary = {
                _STUDY_SERIES: _element("IS", int(series)),
                _STUDY_INSTANCES: _element("IS", int(instances)),
                _MODALITIES: _element("CS", *sorted(set(filter(None, modalities)))),
            }
            found.update(
                summary if len(self._summarised) == len(summary) else {t: summary[t] for t in self._summarised}
            )
        if self._sop_classes:
            joined = row[self._sop_classes]
            found[_SOP_CLASSES] = _element("UI", *(sorted(joined.split(_SEPARATOR)) if joined else ()))
        return found


@lru_cache(maxsize=_KEPT)
def _kept(reader: RowReader, row: Row) -> SearchResult:
    return reader.make(row)


def _asked(projection: Projection) -> set[str]:
    asked = set(_ALWAYS)
    for wanted in projection.of.values():
        asked |= wanted.required.keys() | wanted.known
    if projection.of[projection.level].everything and projection.level is Level.INSTANCE:
        asked.add(_AVAILABLE_SYNTAXES)
    return asked


def _prepared(level: Level, wanted: LevelProjection) -> str:
    """The column with the data set of a level, the small one of an instance where that is enough."""
    if level is not Level.INSTANCE:
        return "studies.attributes" if level is Level.STUDY else "series.attributes"
    if wanted.everything or wanted.private or wanted.nested or not wanted.required.keys() | wanted.known <= _SMALL:
        return "instances.metadata"
    return "coalesce(instances.attributes, instances.metadata)"


_SMALL = INSTANCE_ATTRIBUTES | COMPUTED | {_SOP_UID, _SOP_CLASS, _AVAILABLE_SYNTAXES, _SYNTAX}


def _dataset(level: Level, stored: bytes) -> DicomJson:
    return instance_from_row(stored) if level is Level.INSTANCE else attributes_from_row(stored)


def _pruned(element: Element, tree: Tree, chosen: ItemFilter | None) -> Element:
    """A sequence with what is asked of its items: an attribute that an item lacks is empty."""
    items = []
    for item in values_of(element):
        if chosen is not None and not chosen.lets_pass(item):
            continue
        kept: dict[str, Any] = {}
        for tag, inner in sorted(tree.items()):
            value = item.get(tag)
            if isinstance(inner, dict):
                is_there = isinstance(value, dict) and values_of(value)
                kept[tag] = _pruned(value, inner, chosen and chosen.within(tag)) if is_there else {"vr": "SQ"}
            elif value is not None or inner:
                kept[tag] = value if value is not None else {"vr": inner}
        items.append(kept)
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _add_private(result: dict[str, Any], dataset: DicomJson, path: AttributePath) -> None:
    """A private attribute with the elements that name its creators; of a path into a sequence, the whole sequence."""
    tag, creator = path.tags[0], path.creators[0]
    for found in real_tags(dataset, tag, creator):
        element = without_bulkdata(dataset.get(found))
        if element is None:
            continue
        result[found] = element
        if creator:
            holder = private_creator_tag(found)
            result[holder] = dataset[holder]
