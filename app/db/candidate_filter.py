"""Keys that no index serves: the prepared data sets of the candidates that the other keys leave are compared with them."""

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from app.db.engine import Database
from app.db.prepared_json import attributes_from_row, metadata_from_row
from app.db.search_reader import Row, rows_of
from app.db.search_statements import IDENTITY, chosen
from app.dicom.attributes import level_of
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributeMatch, Level, SearchQuery
from app.dicom.matching_values import documents_match

Candidate: TypeAlias = Row  # of IDENTITY

_BATCH = 200
_PREPARED = {
    Level.STUDY: "studies.attributes",
    Level.SERIES: "series.attributes",
    Level.INSTANCE: "instances.metadata",
}


async def filter_candidates(
    db: Database, query: SearchQuery, candidates: Sequence[Candidate], keys: Sequence[AttributeMatch]
) -> list[Candidate]:
    """Those candidates, in their order, whose data sets match all keys.

    Reads in batches, holding no connection while comparing; the comparing is done in a thread.
    """
    levels = sorted({level_of(key.path.tags[0]) for key in keys})
    columns = ", ".join(_PREPARED[level] for level in levels)
    matching: set[Candidate] = set()
    for first in range(0, len(candidates), _BATCH):
        rows = await rows_of_candidates(db, query.level, candidates[first : first + _BATCH], columns)
        matching |= await asyncio.to_thread(_matching, rows, levels, keys, query)
    return [candidate for candidate in candidates if candidate in matching]


async def rows_of_candidates(
    db: Database, level: Level, candidates: Sequence[Candidate], columns: str
) -> list[tuple[Candidate, Row]]:
    """Those of at least one candidate that are still there, in order, each with its `columns`. Raises DatabaseUnavailable."""
    wanted, width = set(candidates), len(candidates[0])
    ids = [candidate[0] for candidate in candidates]
    rows = await rows_of(db, chosen(db.dialect, level, ids, f"{IDENTITY[level]}, {columns}"))
    return [(row[:width], row[width:]) for row in rows if row[:width] in wanted]


def _matching(
    rows: Sequence[tuple[Candidate, Row]], levels: Sequence[Level], keys: Sequence[AttributeMatch], query: SearchQuery
) -> set[Candidate]:
    found = set()
    for candidate, row in rows:
        documents = {level: _document(stored, level) for level, stored in zip(levels, row, strict=True)}
        if documents_match(documents, keys, fuzzy=query.fuzzy, timezone=query.timezone):
            found.add(candidate)
    return found


def _document(stored: bytes, level: Level) -> DicomJson:
    return metadata_from_row(stored) if level is Level.INSTANCE else attributes_from_row(stored)
