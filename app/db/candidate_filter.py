"""Keys that no index serves: the prepared data sets of the candidates that the other keys leave are compared with them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select

from app.db.any_of import any_of
from app.db.engine import Database, reading
from app.db.prepared_json import attributes_from_row, metadata_from_row
from app.db.tables import instances, series, studies
from app.dicom.attributes import level_of
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributeMatch, Level, SearchQuery
from app.dicom.matching_values import documents_match

_BATCH = 200


async def filter_candidates(
    db: Database, query: SearchQuery, candidates: Sequence[int], keys: Sequence[AttributeMatch]
) -> list[int]:
    """The row ids of those candidates, in their order, whose data sets match all keys.

    Reads in batches, holding no connection while comparing; the comparing is done in a thread.
    """
    levels = {level_of(key.path.tags[0]) for key in keys}
    matching: set[int] = set()
    for first in range(0, len(candidates), _BATCH):
        statement = _documents(db, query.level, levels, candidates[first : first + _BATCH])
        async with reading(db) as connection:
            rows = (await connection.execute(statement)).mappings().all()
        matching |= await asyncio.to_thread(_matching, rows, levels, keys, query)
    return [candidate for candidate in candidates if candidate in matching]


def _documents(db: Database, level: Level, levels: set[Level], ids: Sequence[int]) -> Select[Any]:
    """Rows of the id and, per level that is asked, its prepared JSON."""
    columns: list[Any] = []
    if Level.STUDY in levels:
        columns.append(studies.c.attributes.label(Level.STUDY.value))
    if Level.SERIES in levels:
        columns.append(series.c.attributes.label(Level.SERIES.value))
    if Level.INSTANCE in levels:
        columns.append(instances.c.metadata.label(Level.INSTANCE.value))
    if level is Level.STUDY:
        return select(studies.c.id, *columns).where(any_of(db.dialect, studies.c.id, ids))
    if level is Level.SERIES:
        joined = series.join(studies, studies.c.id == series.c.study_id)
        return select(series.c.id, *columns).select_from(joined).where(any_of(db.dialect, series.c.id, ids))
    joined = instances.join(series, series.c.id == instances.c.series_id)
    joined = joined.join(studies, studies.c.id == series.c.study_id)
    return select(instances.c.id, *columns).select_from(joined).where(any_of(db.dialect, instances.c.id, ids))


def _matching(rows: Sequence[Any], levels: set[Level], keys: Sequence[AttributeMatch], query: SearchQuery) -> set[int]:
    found = set()
    for row in rows:
        documents = {level: _document(row, level) for level in levels}
        if documents_match(documents, keys, fuzzy=query.fuzzy, timezone=query.timezone):
            found.add(row["id"])
    return found


def _document(row: Mapping[str, Any], level: Level) -> DicomJson:
    return metadata_from_row(row[level.value]) if level is Level.INSTANCE else attributes_from_row(row[level.value])
