"""Keys that no index serves: the prepared data sets of the candidates that the other keys leave are compared with them."""

import asyncio
from collections.abc import Sequence

from app.db.engine import Database
from app.db.prepared_json import attributes_from_row, metadata_from_row
from app.db.search_reader import Row, rows_of
from app.db.search_statements import Candidate, chosen
from app.dicom.attributes import level_of
from app.dicom.instance import DicomJson
from app.dicom.matching import AttributeMatch, Level, SearchQuery
from app.dicom.matching_values import documents_match

_BATCH = 200
_OWN = {Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances"}
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
    columns = ", ".join([*(_PREPARED[level] for level in levels), f"{_OWN[query.level]}.id"])
    matching: set[Candidate] = set()
    for first in range(0, len(candidates), _BATCH):
        statement = chosen(db.dialect, query.level, candidates[first : first + _BATCH], columns)
        rows = await rows_of(db, statement)
        matching |= await asyncio.to_thread(_matching, rows, levels, keys, query)
    return [candidate for candidate in candidates if candidate in matching]


def _matching(
    rows: Sequence[Row], levels: Sequence[Level], keys: Sequence[AttributeMatch], query: SearchQuery
) -> set[Candidate]:
    found = set()
    for row in rows:
        documents = {level: _document(stored, level) for level, stored in zip(levels, row, strict=False)}
        if documents_match(documents, keys, fuzzy=query.fuzzy, timezone=query.timezone):
            found.add(row[len(levels) :])
    return found


def _document(stored: bytes, level: Level) -> DicomJson:
    return metadata_from_row(stored) if level is Level.INSTANCE else attributes_from_row(stored)
