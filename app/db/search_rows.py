"""From rows to search results in the DICOM JSON Model.

Attributes come from the prepared JSON of their level; what describes a study or a series as a whole is computed for the rows
of the page only. Bulkdata is left out: the metadata of an instance names it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, func, select

from app.db.prepared_json import attributes_from_row, metadata_from_row
from app.db.projection import LevelProjection, Projection, Tree
from app.db.tables import instances, series, studies, study_modalities
from app.dicom.attributes import COMPUTED, private_creator_tag, real_tags, values_of, without_bulkdata
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributePath, Level

Element = dict[str, Any]

_CHARACTER_SET, _AVAILABILITY = "00080005", "00080056"
_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITIES, _SOP_CLASSES = "00080061", "00080062"
_STUDY_SERIES, _STUDY_INSTANCES, _SERIES_INSTANCES = "00201206", "00201208", "00201209"
_AVAILABLE_SYNTAXES = "00083002"
_SEPARATOR = "\\"


def row_columns(projection: Projection) -> list[ColumnElement[Any]]:
    """The columns that `result_of` needs, and no more: prepared JSON is wide."""
    columns: list[ColumnElement[Any]] = [studies.c.study_instance_uid]
    if not projection.of[Level.STUDY].is_empty:
        columns.append(studies.c.attributes.label("study_attributes"))
    if projection.returns(_MODALITIES):
        modalities = study_modalities.alias()
        columns.append(_distinct_texts(modalities, modalities.c.modality, "modalities"))
    if projection.returns(_SOP_CLASSES):
        members = instances.alias()
        columns.append(_distinct_texts(members, members.c.sop_class_uid, "sop_classes"))
    if projection.returns(_STUDY_SERIES) or projection.returns(_STUDY_INSTANCES):
        counted = series.alias()
        of_study = counted.c.study_id == studies.c.id
        number = select(func.count()).select_from(counted).where(of_study)
        total = select(func.coalesce(func.sum(counted.c.number_of_instances), 0)).where(of_study)
        columns.append(number.correlate(studies).scalar_subquery().label("study_series"))
        columns.append(total.correlate(studies).scalar_subquery().label("study_instances"))
    if projection.level is not Level.STUDY:
        columns += [series.c.series_instance_uid, series.c.number_of_instances]
        if not projection.of[Level.SERIES].is_empty:
            columns.append(series.c.attributes.label("series_attributes"))
    if projection.level is Level.INSTANCE:
        columns += [instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.transfer_syntax_uid]
        columns.append(instances.c.metadata)
    return columns


def _distinct_texts(table: FromClause, column: ColumnElement[str], label: str) -> ColumnElement[Any]:
    """The distinct values that the rows of a study have in a column, joined by backslashes, which no value holds."""
    distinct = select(column.label("value")).where(table.c.study_id == studies.c.id, column != "").distinct()
    values = distinct.correlate(studies).subquery()
    return select(func.aggregate_strings(values.c.value, _SEPARATOR)).scalar_subquery().label(label)


def result_of(row: Mapping[str, Any], projection: Projection) -> dict[str, Any]:
    """One result: keys ascending, without Retrieve URL."""
    result: dict[str, Any] = {}
    computed = _computed(row, projection)
    for level, wanted in projection.of.items():
        if not wanted.is_empty:
            _add_level(result, _dataset(row, level), wanted)
    for tag in COMPUTED & result.keys():
        # What the archive knows better than an instance says.
        if tag in computed:
            result[tag] = computed[tag]
        else:
            del result[tag]
    for tag in computed.keys() & _asked(projection):
        result[tag] = computed[tag]
    for tag in (_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS, _CHARACTER_SET):
        if tag in computed:
            result[tag] = computed[tag]
    return dict(sorted(result.items()))


def _asked(projection: Projection) -> set[str]:
    asked: set[str] = set()
    for wanted in projection.of.values():
        asked |= wanted.required.keys() | wanted.known
    if projection.of[projection.level].everything and projection.level is Level.INSTANCE:
        asked.add(_AVAILABLE_SYNTAXES)
    return asked


def _dataset(row: Mapping[str, Any], level: Level) -> DicomJson:
    if level is Level.STUDY:
        return attributes_from_row(row["study_attributes"])
    if level is Level.SERIES:
        return attributes_from_row(row["series_attributes"])
    return metadata_from_row(row["metadata"])


def _computed(row: Mapping[str, Any], projection: Projection) -> dict[str, Element]:
    """What the columns of the row say."""
    found = {
        _CHARACTER_SET: _element("CS", "ISO_IR 192"),
        _AVAILABILITY: _element("CS", "ONLINE"),
        _STUDY_UID: _element("UI", row["study_instance_uid"]),
    }
    if "modalities" in row:
        found[_MODALITIES] = _element("CS", *_split(row["modalities"]))
    if "sop_classes" in row:
        found[_SOP_CLASSES] = _element("UI", *_split(row["sop_classes"]))
    if "study_series" in row:
        found[_STUDY_SERIES] = _element("IS", int(row["study_series"]))
        found[_STUDY_INSTANCES] = _element("IS", int(row["study_instances"]))
    if projection.level is not Level.STUDY:
        found[_SERIES_UID] = _element("UI", row["series_instance_uid"])
        found[_SERIES_INSTANCES] = _element("IS", row["number_of_instances"])
    if projection.level is Level.INSTANCE:
        found[_SOP_UID] = _element("UI", row["sop_instance_uid"])
        found[_SOP_CLASS] = _element("UI", *filter(None, [row["sop_class_uid"]]))
        found[_AVAILABLE_SYNTAXES] = _element("UI", *filter(None, [row["transfer_syntax_uid"]]))
    return found


def _split(joined: str | None) -> Iterable[str]:
    return sorted(joined.split(_SEPARATOR)) if joined else ()


def _element(vr: str, *values: Any) -> Element:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def _add_level(result: dict[str, Any], dataset: DicomJson, wanted: LevelProjection) -> None:
    if wanted.everything:
        for tag, value in dataset.items():
            element = without_bulkdata(value)
            if element is not None:
                result[tag] = element
        _add_unknown(result, wanted)
        return
    for tag in wanted.known:
        element = without_bulkdata(dataset.get(tag))
        if element is not None and values_of(element):
            result[tag] = element
    for tag in wanted.required.keys() - wanted.nested.keys():
        element = without_bulkdata(dataset.get(tag))
        if element is not None:
            result[tag] = element
    for tag, tree in wanted.nested.items():
        element = without_bulkdata(dataset.get(tag))
        if element is not None and values_of(element):
            result[tag] = _pruned(element, tree)
    for path in wanted.private:
        _add_private(result, dataset, path)
    _add_unknown(result, wanted)


def _add_unknown(result: dict[str, Any], wanted: LevelProjection) -> None:
    for tag, vr in wanted.required.items():
        if tag not in result and vr:
            result[tag] = {"vr": vr}


def _pruned(element: Element, tree: Tree) -> Element:
    """A sequence with what is asked of its items: an attribute that an item lacks is empty."""
    items = []
    for item in values_of(element):
        kept: dict[str, Any] = {}
        for tag, inner in sorted(tree.items()):
            value = item.get(tag)
            if isinstance(inner, dict):
                kept[tag] = _pruned(value, inner) if isinstance(value, dict) and values_of(value) else {"vr": "SQ"}
            elif value is not None or inner:
                kept[tag] = value if value is not None else {"vr": inner}
        items.append(kept)
    return {"vr": "SQ", "Value": items}


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
