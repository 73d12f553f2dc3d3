"""From rows to search results in the DICOM JSON Model.

Attributes come from the prepared JSON of their level; what describes a study or a series as a whole is computed for the rows
of the page only. Bulkdata is left out: the metadata of an instance names it.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from sqlalchemy import ColumnElement, FromClause, func, select

from app.db.prepared_json import attributes_from_row, metadata_from_row
from app.db.projection import LevelProjection, Projection, Tree
from app.db.tables import instances, series, studies, study_modalities
from app.dicom.attributes import COMPUTED, private_creator_tag, real_tags, values_of, without_bulkdata
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributePath, Level

Element = dict[str, Any]
Plain = Sequence[tuple[str, bool]]

_CHARACTER_SET, _AVAILABILITY = "00080005", "00080056"
_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITIES, _SOP_CLASSES = "00080061", "00080062"
_STUDY_SERIES, _STUDY_INSTANCES, _SERIES_INSTANCES = "00201206", "00201208", "00201209"
_AVAILABLE_SYNTAXES = "00083002"
_SEPARATOR = "\\"


def row_columns(projection: Projection) -> list[ColumnElement[Any]]:
    """The columns that `results_of` needs, and no more: prepared JSON is wide."""
    columns: list[ColumnElement[Any]] = [studies.c.study_instance_uid]
    if not projection.of[Level.STUDY].is_empty:
        columns.append(_STUDY_ATTRIBUTES)
    if projection.returns(_MODALITIES):
        columns.append(_MODALITIES_OF_STUDY)
    if projection.returns(_SOP_CLASSES):
        columns.append(_SOP_CLASSES_OF_STUDY)
    if projection.returns(_STUDY_SERIES) or projection.returns(_STUDY_INSTANCES):
        columns += _COUNTS_OF_STUDY
    if projection.level is not Level.STUDY:
        columns += [series.c.series_instance_uid, series.c.number_of_instances]
        if not projection.of[Level.SERIES].is_empty:
            columns.append(_SERIES_ATTRIBUTES)
    if projection.level is Level.INSTANCE:
        columns += [instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.transfer_syntax_uid]
        columns.append(instances.c.metadata)
    return columns


def _distinct_texts(table: FromClause, column: str, label: str) -> ColumnElement[Any]:
    """The distinct values that the rows of a study have in a column, joined by backslashes, which no value holds."""
    members = table.alias()
    value = members.c[column]
    distinct = select(value.label("value")).where(members.c.study_id == studies.c.id, value != "").distinct()
    values = distinct.correlate(studies).subquery()
    return select(func.aggregate_strings(values.c.value, _SEPARATOR)).scalar_subquery().label(label)


def _counts_of_study() -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    counted = series.alias()
    of_study = counted.c.study_id == studies.c.id
    number = select(func.count()).select_from(counted).where(of_study)
    total = select(func.coalesce(func.sum(counted.c.number_of_instances), 0)).where(of_study)
    return (
        number.correlate(studies).scalar_subquery().label("study_series"),
        total.correlate(studies).scalar_subquery().label("study_instances"),
    )


# Built once: making these anew took half of the time of a search that finds one study.
_STUDY_ATTRIBUTES = studies.c.attributes.label("study_attributes")
_SERIES_ATTRIBUTES = series.c.attributes.label("series_attributes")
_MODALITIES_OF_STUDY = _distinct_texts(study_modalities, "modality", "modalities")
_SOP_CLASSES_OF_STUDY = _distinct_texts(instances, "sop_class_uid", "sop_classes")
_COUNTS_OF_STUDY = _counts_of_study()


def results_of(rows: Iterable[Mapping[str, Any]], projection: Projection) -> list[dict[str, Any]]:
    """One result a row: keys ascending, without Retrieve URL."""
    asked = _asked(projection)
    levels = [(level, wanted, _plain(wanted)) for level, wanted in projection.of.items() if not wanted.is_empty]
    return [_result(row, projection.level, asked, levels) for row in rows]


def _result(
    row: Mapping[str, Any], level: Level, asked: Set[str], levels: Sequence[tuple[Level, LevelProjection, Plain]]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    computed = _computed(row, level)
    for source, wanted, plain in levels:
        _add_level(result, _dataset(row, source), wanted, plain)
    for tag in COMPUTED & result.keys():
        # What the archive knows better than an instance says.
        if tag in computed:
            result[tag] = computed[tag]
        else:
            del result[tag]
    for tag in computed.keys() & asked:
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


def _plain(wanted: LevelProjection) -> Plain:
    """The attributes that are taken as they are, each with whether it is left out when it is empty."""
    required = wanted.required.keys() - wanted.nested.keys()
    return [(tag, False) for tag in required] + [(tag, True) for tag in wanted.known - required]


def _dataset(row: Mapping[str, Any], level: Level) -> DicomJson:
    if level is Level.STUDY:
        return attributes_from_row(row["study_attributes"])
    if level is Level.SERIES:
        return attributes_from_row(row["series_attributes"])
    return metadata_from_row(row["metadata"])


def _computed(row: Mapping[str, Any], level: Level) -> dict[str, Element]:
    """What the columns of the row say."""
    found = {
        _CHARACTER_SET: _UTF_8,
        _AVAILABILITY: _ONLINE,
        _STUDY_UID: _element("UI", row["study_instance_uid"]),
    }
    if "modalities" in row:
        found[_MODALITIES] = _element("CS", *_split(row["modalities"]))
    if "sop_classes" in row:
        found[_SOP_CLASSES] = _element("UI", *_split(row["sop_classes"]))
    if "study_series" in row:
        found[_STUDY_SERIES] = _element("IS", int(row["study_series"]))
        found[_STUDY_INSTANCES] = _element("IS", int(row["study_instances"]))
    if level is not Level.STUDY:
        found[_SERIES_UID] = _element("UI", row["series_instance_uid"])
        found[_SERIES_INSTANCES] = _element("IS", row["number_of_instances"])
    if level is Level.INSTANCE:
        found[_SOP_UID] = _element("UI", row["sop_instance_uid"])
        found[_SOP_CLASS] = _element("UI", *filter(None, [row["sop_class_uid"]]))
        found[_AVAILABLE_SYNTAXES] = _element("UI", *filter(None, [row["transfer_syntax_uid"]]))
    return found


def _split(joined: str | None) -> Iterable[str]:
    return sorted(joined.split(_SEPARATOR)) if joined else ()


def _element(vr: str, *values: Any) -> Element:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


_UTF_8, _ONLINE = _element("CS", "ISO_IR 192"), _element("CS", "ONLINE")


def _add_level(result: dict[str, Any], dataset: DicomJson, wanted: LevelProjection, plain: Plain) -> None:
    if wanted.everything:
        for tag, value in dataset.items():
            element = without_bulkdata(value)
            if element is not None:
                result[tag] = element
        _add_unknown(result, wanted)
        return
    for tag, needs_value in plain:
        if tag in dataset:
            element = without_bulkdata(dataset[tag])
            if element is not None and not (needs_value and not values_of(element)):
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
