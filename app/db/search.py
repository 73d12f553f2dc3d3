"""Search: from a SearchQuery to one page of results (PS3.18 section 10.6, PS3.4 C.4.1.3.1.1)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.db import search_statements as statements
from app.db.candidate_filter import filter_candidates, rows_of_candidates
from app.db.engine import Database, Dialect
from app.db.known_many import Key
from app.db.matching_sql import Matching, matching_of
from app.db.projection import Returned, projection_of, returned_by
from app.db.search_reader import Row, rows_of
from app.db.search_rows import RowReader
from app.db.sql_text import Sql, all_of
from app.db.wide_keys import WideKey
from app.dicom.attributes import standard_path
from app.dicom.matching import Level, SearchQuery, SingleValue
from app.dicom.search_result import SearchResult

_MAX_OFFSET = 2**62
# So far into its matches a wide key is counted to its end.
_MAX_WIDE = 50_000
# What lies behind the page is counted up to here: sorting twice as much would take as long as all the rest.
_WIDE_COUNT_CAP = 5_000
# The same where there are more than a few studies (ids tell, about): counting on would take longer than the page.
_COUNT_CAP_OF_MANY = 1_000
_FEW_STUDIES = 50_000
# Of a longer list of owners, some are soon met among the newest studies.
_LONG_LIST = 5_000
# Results of fewer rows are put together faster than a thread is reached.
_ROWS_PER_TURN = 250
_STUDY_INSTANCE_UID = standard_path("StudyInstanceUID").tags
_UIDS = {_STUDY_INSTANCE_UID, standard_path("SeriesInstanceUID").tags, standard_path("SOPInstanceUID").tags}


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
    count_cap      up to here `remaining` is counted at most; in archives of many studies not so far
    Of Database.searchable, what instances of before have no values of is matched as keys without an index are.
    Raises InvalidQuery for a key of too many names or patterns, DatabaseUnavailable.
    """
    limit = max_results if query.limit is None else min(query.limit, max_results)
    offset = min(query.offset, _MAX_OFFSET)
    matching = matching_of(query, db.dialect, db.indexed)
    if matching.lists:
        broad = await _broad(db, matching.lists)
        matching = matching_of(query, db.dialect, db.indexed, broad) if broad else matching
    if matching.filter_keys:
        return await _filtered(db, query, matching, limit, offset, candidate_cap)
    wide = matching.wide if offset <= _MAX_WIDE else None
    cap = _count_cap(db, query, count_cap, wide)
    if (known := await _known_many(db, query, matching, limit, offset, cap)) is not None:
        return known
    if wide:
        found = await _wide(db, query, matching, wide, limit, offset, cap)
    elif limit and db.dialect == "postgresql" and (offset <= cap or query.level is not Level.STUDY):
        found = await _at_once(db, query, matching, limit, offset, cap)
    else:
        found = await _one_by_one(db, query, matching, limit, offset, cap)
    if not found.remaining_is_exact and _is_much(found.remaining, cap):
        db.known_many.note(_key(query, matching), offset + len(found.results) + found.remaining)
    return found


def _count_cap(db: Database, query: SearchQuery, most: int, wide: WideKey | None) -> int:
    """How far what lies behind the page is counted: the work for a page must not grow with the archive."""
    if wide is not None and not wide.distinct:  # of several words the first match is found as late as the last
        return min(most, _WIDE_COUNT_CAP)
    if db.known_many.newest_study > _FEW_STUDIES and not _is_by_unique_keys(query):
        return min(most, _COUNT_CAP_OF_MANY)
    return most if wide is None else min(most, _WIDE_COUNT_CAP)


def _key(query: SearchQuery, matching: Matching) -> Key:
    return query.level, *all_of(matching.conditions)


def _is_much(remaining: int, count_cap: int) -> bool:
    """Whether a lower bound says about as much as counting to the cap would."""
    return remaining >= max(1, count_cap / 2)


async def _known_many(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, count_cap: int
) -> SearchPage | None:
    """The page of a search that was seen to fit more than is counted, which is not counted again; None where that is not known,
    or too little of it lies behind the page."""
    at_least = db.known_many.number(_key(query, matching)) - offset - limit
    if not limit or not _is_much(at_least, count_cap):
        return None
    reader = _reader_of(returned_by(query), db.dialect)
    if wide := matching.wide:
        newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
        rows = await _page_of_many(db, matching, wide, reader, limit, offset, newest)
    else:
        rows = await rows_of(db, statements.page(db.dialect, query.level, matching, reader.columns, limit, offset))
    if len(rows) < limit:
        return None  # much was deleted
    return SearchPage(await _results(db, reader, rows), None, min(at_least, count_cap), False, False)


async def _at_once(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """Page and count in one statement: a trip to a server less."""
    reader = _reader_of(returned_by(query), db.dialect)
    statement = statements.page_and_rest(query.level, matching, reader.columns, limit, offset, count_cap + 1)
    rows = await rows_of(db, statement, in_one_way=_is_by_unique_keys(query))
    results = await _results(db, reader, rows)
    remaining = rows[0][-1] if rows else None
    return _counted(results, offset, remaining or 0, count_cap, is_known=bool(rows) or not offset)


def _is_by_unique_keys(query: SearchQuery) -> bool:
    """Whether it asks for one study, or what is below it, and for nothing else."""
    keys = {match.path.tags for match in query.matches if isinstance(match.rule, SingleValue)}
    above = query.study_instance_uid is not None or _STUDY_INSTANCE_UID in keys
    return above and len(query.matches) == len(keys) and keys <= _UIDS


async def _one_by_one(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """The page, then the count."""
    reader = _reader_of(returned_by(query), db.dialect)
    place: tuple[str, int] | int = offset
    found: Sequence[Row] = []
    if limit:
        found = await rows_of(db, statements.page(db.dialect, query.level, matching, reader.columns, limit + 1, offset))
        if len(found) <= limit:
            return _counted(await _results(db, reader, found), offset, 0, count_cap, is_known=bool(found) or not offset)
        place = offset + limit
        if query.level is Level.STUDY and offset > count_cap:
            place = (found[limit - 1][0], found[limit - 1][1])
    rows = await rows_of(db, statements.count(db.dialect, query.level, matching, count_cap + 1, behind=place))
    remaining = int(rows[0][0])
    results = await _results(db, reader, found[:limit])
    return _counted(results, offset, remaining, count_cap, is_known=bool(remaining) or not offset)


def _counted(results: list[SearchResult], offset: int, remaining: int, count_cap: int, *, is_known: bool) -> SearchPage:
    """is_known: False behind the end of the matches, where nobody has counted how many there are."""
    is_exact = remaining <= count_cap
    total = offset + len(results) + remaining if is_exact and is_known else None
    return SearchPage(results, total, min(remaining, count_cap), is_exact, False)


async def _broad(db: Database, lists: Mapping[str, Sql]) -> frozenset[str]:
    """The paths of those lists that are long."""
    ((*lengths,),) = await rows_of(db, statements.lengths(list(lists.values()), _LONG_LIST))
    return frozenset(path for path, length in zip(lists, lengths, strict=True) if length >= _LONG_LIST)


async def _wide(
    db: Database, query: SearchQuery, matching: Matching, wide: WideKey, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """A search for studies by one key that may fit few or very many."""
    reader = _reader_of(returned_by(query), db.dialect)
    newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
    if wide.scans and limit and await _has_many_studies(db):
        newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
        statement = statements.page_of_newest(wide, matching.dates, reader.columns, newest, limit, offset)
        rows = await rows_of(db, statement)
        looked_at, found = rows[0][-2:]
        if looked_at < newest or found > offset + limit:
            return await _wide_page(db, reader, rows, found, looked_at < newest, offset, count_cap)
        newest = 0
    most = offset + limit + count_cap + 1
    # On PostgreSQL a trip to the server costs more than a longer statement.
    beside = newest if db.dialect == "postgresql" else 0
    if limit:
        statement = statements.wide_page(wide, matching.dates, reader.columns, most, limit, offset, newest=beside)
    else:
        statement = statements.wide_count(wide, matching.dates, most)
    rows = await rows_of(db, statement)
    fits, found = rows[0][-2:]
    is_whole = (found if fits is None else fits) < most
    if not limit:
        return await _wide_page(db, reader, [], found, is_whole, offset, count_cap)
    if not is_whole:
        rows = _studies_in(rows)
        if len(rows) < limit:
            rows = await _page_of_many(db, matching, wide, reader, limit, offset, 0 if beside else newest)
        if len(rows) < limit:
            return _counted(await _results(db, reader, rows), offset, 0, count_cap, is_known=bool(rows))
    return await _wide_page(db, reader, rows, found, is_whole, offset, count_cap)


async def _page_of_many(
    db: Database, matching: Matching, wide: WideKey, reader: RowReader, limit: int, offset: int, newest: int
) -> Sequence[Row]:
    """The page of a key that fits very many: of the newest studies if they fill it, else of all that it fits."""
    rows: Sequence[Row] = []
    if newest:
        statement = statements.page_among_newest(
            db.dialect, wide, matching.dates, reader.columns, newest, limit, offset
        )
        rows = await rows_of(db, statement)
    if len(rows) < limit:
        statement = statements.page_of_all(db.dialect, wide, matching.dates, reader.columns, limit, offset)
        rows = await rows_of(db, statement)
    return rows


def _studies_in(rows: Sequence[Row]) -> list[Row]:
    """Without the row that only holds the numbers."""
    return [row for row in rows if row[1] is not None]


async def _has_many_studies(db: Database) -> bool:
    if db.known_many.newest_study <= _FEW_STUDIES:
        rows = await rows_of(db, Sql("SELECT max(id) FROM studies"))
        db.known_many.meet_study(rows[0][0] or 0)
    return db.known_many.newest_study > _FEW_STUDIES


async def _wide_page(
    db: Database, reader: RowReader, rows: Sequence[Row], found: int, is_whole: bool, offset: int, count_cap: int
) -> SearchPage:
    """found: studies that fit, all of them or (is_whole: False) those that were met."""
    page = await _results(db, reader, _studies_in(rows))
    remaining = max(0, found - offset - len(page))
    is_exact = is_whole and remaining <= count_cap
    total = found if is_exact and (remaining or page or not offset) else None
    return SearchPage(page, total, min(remaining, count_cap), is_exact, False)


async def _filtered(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, candidate_cap: int
) -> SearchPage:
    """A search whose indexed keys leave candidates, each to be compared with the other keys."""
    rows = await rows_of(db, statements.candidates(db.dialect, query.level, matching, candidate_cap + 1))
    is_capped = len(rows) > candidate_cap
    found = await filter_candidates(db, query, rows[:candidate_cap], matching.filter_keys)
    wanted = found[offset : offset + limit]
    reader = _reader_of(returned_by(query), db.dialect)
    results: list[SearchResult] = []
    for first in range(0, len(wanted), _ROWS_PER_TURN):
        part = wanted[first : first + _ROWS_PER_TURN]
        full = await rows_of_candidates(db, query.level, part, reader.columns)
        results += await _results(db, reader, [row for _, row in full])
    remaining = max(0, len(found) - offset - len(wanted))
    return SearchPage(results, None if is_capped else len(found), remaining, not is_capped, is_capped)


@lru_cache(maxsize=256)
def _reader_of(returned: Returned, dialect: Dialect) -> RowReader:
    return RowReader(projection_of(returned), dialect)


async def _results(db: Database, reader: RowReader, rows: Sequence[Row]) -> list[SearchResult]:
    if rows:
        db.known_many.meet_study(rows[0][1])
    if len(rows) <= _ROWS_PER_TURN:
        return reader.results(rows)
    return await asyncio.to_thread(reader.results, rows)
