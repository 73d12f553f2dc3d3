"""Search: from a SearchQuery to one page of results (PS3.18 section 10.6, PS3.4 C.4.1.3.1.1).

Order of the results, total and unchanged while the content is:

    studies    Study Date, newest first, then the latest stored first
    series     as their studies; within a study by Series Number (unknown last), then Series Instance UID
    instances  as their series; within a series by Instance Number (unknown last), then SOP Instance UID

The index on (study_date desc, id desc) gives that order without sorting; so does every index of studies behind its key.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Join, Select, func, literal, select

from app.db.any_of import any_of
from app.db.candidate_filter import filter_candidates
from app.db.engine import Database
from app.db.join_order import InOrder
from app.db.matching_sql import Lead, Matching, matching_of
from app.db.projection import projection_of
from app.db.search_reader import mappings_of
from app.db.search_rows import results_of, row_columns
from app.db.tables import instances, series, studies
from app.dicom.matching import Level, SearchQuery

_MAX_OFFSET = 2**62
# Results of fewer rows are put together faster than a thread is reached.
_ROWS_PER_TURN = 50


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of a search.

    results             DICOM JSON objects, keys ascending, without Retrieve URL (it depends on who asks)
    total_known         number of all matches; None where it was not counted to the end
    remaining           matches behind this page, 0 if there are none
    remaining_is_exact  False: there are at least that many
    candidates_capped   the keys without an index were compared with the first candidates only, so matches may be missing
    """

    results: list[dict[str, Any]]
    total_known: int | None
    remaining: int
    remaining_is_exact: bool
    candidates_capped: bool


async def search(
    db: Database,
    query: SearchQuery,
    *,
    max_results: int = 1000,
    candidate_cap: int = 10_000,
    count_cap: int = 10_000,
) -> SearchPage:
    """The page that a query asks for; an unknown study or series has no matches.

    max_results    results at most, whatever the query's limit
    candidate_cap  candidates at most whose data sets are read for keys that have no index
    count_cap      up to here `remaining` is counted
    Of Database.searchable, rows of what was stored before are completed by a background job; until then they are not found.
    Raises InvalidQuery for a key of too many names or patterns, DatabaseUnavailable.
    """
    limit = max_results if query.limit is None else min(query.limit, max_results)
    offset = min(query.offset, _MAX_OFFSET)
    matching = matching_of(query, db.dialect, db.searchable)
    if matching.filter_keys:
        return await _filtered(db, query, matching, limit, offset, candidate_cap)
    wanted = _ids(query.level, matching).limit(limit + 1).offset(offset)
    results = await _results(db, query, wanted) if limit else []
    if limit and len(results) <= limit:
        total = offset + len(results) if results or not offset else None
        return SearchPage(results, total, 0, True, False)
    page = results[:limit]
    remaining = await _count_behind(db, query.level, matching, offset + len(page), count_cap)
    is_exact = remaining <= count_cap
    # Behind the end of the matches nobody has counted how many there are.
    total = offset + len(page) + remaining if is_exact and (remaining or not offset) else None
    return SearchPage(page, total, min(remaining, count_cap), is_exact, False)


async def _filtered(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, candidate_cap: int
) -> SearchPage:
    """A search whose indexed keys leave candidates, each to be compared with the other keys."""
    rows = await mappings_of(db, _ids(query.level, matching).limit(candidate_cap + 1))
    candidates = [row["id"] for row in rows]
    is_capped = len(candidates) > candidate_cap
    found = await filter_candidates(db, query, candidates[:candidate_cap], matching.filter_keys)
    chosen = found[offset : offset + limit]
    results: list[dict[str, Any]] = []
    for first in range(0, len(chosen), _ROWS_PER_TURN * 10):
        part = chosen[first : first + _ROWS_PER_TURN * 10]
        results += await _results(db, query, _chosen_ids(db, query.level, part))
    remaining = max(0, len(found) - offset - len(chosen))
    return SearchPage(results, None if is_capped else len(found), remaining, not is_capped, is_capped)


# What is searched, and in which order


def _table(level: Level) -> Any:
    return {Level.STUDY: studies, Level.SERIES: series, Level.INSTANCE: instances}[level]


def _joined(level: Level, matching: Matching | None = None) -> FromClause:
    """The table of the level with those above it, and with the table that leads the search."""
    lead = matching.lead if matching else None
    join = InOrder if matching and (matching.from_studies or lead) else Join
    tables: FromClause = studies if lead is None else join(lead.table, studies, studies.c.id == lead.study_id)
    if level is Level.STUDY:
        return tables
    tables = join(tables, series, series.c.study_id == studies.c.id)
    if level is Level.SERIES:
        return tables
    return join(tables, instances, instances.c.series_id == series.c.id)


def _order(level: Level, lead: Lead | None = None) -> list[ColumnElement[Any]]:
    study = (studies.c.study_date, studies.c.id) if lead is None else (lead.study_date, lead.study_id)
    order: list[ColumnElement[Any]] = [column.desc() for column in study]
    if level is not Level.STUDY:
        order += [series.c.series_number.is_(None), series.c.series_number, series.c.series_instance_uid]
    if level is Level.INSTANCE:
        order += [instances.c.instance_number.is_(None), instances.c.instance_number, instances.c.sop_instance_uid]
    return order


def _ids(level: Level, matching: Matching) -> Select[Any]:
    """The row ids of all matches, in order."""
    return (
        select(_table(level).c.id)
        .select_from(_joined(level, matching))
        .where(*matching.conditions)
        .order_by(*_order(level, matching.lead))
    )


def _chosen_ids(db: Database, level: Level, ids: Sequence[int]) -> Select[Any]:
    column = _table(level).c.id
    return select(column).where(any_of(db.dialect, column, ids))


async def _count_behind(db: Database, level: Level, matching: Matching, position: int, cap: int) -> int:
    """Number of matches behind a position, counted up to cap + 1."""
    rows = (
        select(literal(1).label("one"))
        .select_from(_joined(level, matching))
        .where(*matching.conditions)
        .offset(position)
        .limit(cap + 1)
        .subquery()
    )
    (counted,) = await mappings_of(db, select(func.count().label("rows")).select_from(rows))
    return int(counted["rows"])


async def _results(db: Database, query: SearchQuery, ids: Select[Any]) -> list[dict[str, Any]]:
    """The results of the rows that `ids` selects, in one statement: the ids first, then only their rows in full width."""
    projection = projection_of(query)
    page = ids.subquery("page")
    statement = (
        select(*row_columns(projection))
        .select_from(_joined(query.level).join(page, page.c.id == _table(query.level).c.id))
        .order_by(*_order(query.level))
    )
    rows = await mappings_of(db, statement)
    if query.level is not Level.INSTANCE or len(rows) <= _ROWS_PER_TURN:
        return results_of(rows, projection)
    return await asyncio.to_thread(results_of, rows, projection)
