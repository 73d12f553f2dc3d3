"""A page of a search, put together from rows and what was counted."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.db.engine import Database, Dialect
from app.db.projection import Returned, projection_of, returned_by
from app.db.search_reader import Row
from app.db.search_rows import RowReader
from app.dicom.matching import SearchQuery
from app.dicom.search_result import SearchResult

# Results of fewer rows are put together faster than a thread is reached.
ROWS_PER_TURN = 250


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of a search.

    results             without Retrieve URL: it depends on who asks
    total_known         number of all matches; None where it was not counted to the end
    remaining           matches behind this page, 0 if there are none
    remaining_is_exact  False: there are at least that many
    candidates_capped   the keys without an index were compared with the first candidates only, so matches may be missing
    """

    results: list[SearchResult]
    total_known: int | None
    remaining: int
    remaining_is_exact: bool
    candidates_capped: bool


def reader_of(query: SearchQuery, dialect: Dialect) -> RowReader:
    """What makes results of rows."""
    return _reader(returned_by(query), dialect)


@lru_cache(maxsize=256)
def _reader(returned: Returned, dialect: Dialect) -> RowReader:
    return RowReader(projection_of(returned), dialect)


async def results_of(db: Database, reader: RowReader, rows: Sequence[Row]) -> list[SearchResult]:
    """One each, in their order."""
    if rows:
        db.known_many.meet_study(rows[0][1])
    if len(rows) <= ROWS_PER_TURN:
        return reader.results(rows)
    return await asyncio.to_thread(reader.results, rows)


def counted(results: list[SearchResult], offset: int, remaining: int, count_cap: int, *, is_known: bool) -> SearchPage:
    """is_known: False behind the end of the matches, where nobody has counted how many there are."""
    is_exact = remaining <= count_cap
    total = offset + len(results) + remaining if is_exact and is_known else None
    return SearchPage(results, total, min(remaining, count_cap), is_exact, False)


async def page_of_found(
    db: Database, reader: RowReader, rows: Sequence[Row], found: int, is_whole: bool, offset: int, count_cap: int
) -> SearchPage:
    """found: studies that fit, all of them or (is_whole: False) those that were met. A row of no study only holds numbers."""
    page = await results_of(db, reader, studies_in(rows))
    remaining = max(0, found - offset - len(page))
    is_exact = is_whole and remaining <= count_cap
    total = found if is_exact and (remaining or page or not offset) else None
    return SearchPage(page, total, min(remaining, count_cap), is_exact, False)


def studies_in(rows: Sequence[Row]) -> list[Row]:
    """Without the row that only holds numbers."""
    return [row for row in rows if row[1] is not None]
