"""Search: from a SearchQuery to one page of results (PS3.18 section 10.6, PS3.4 C.4.1.3.1.1)."""

from collections.abc import Mapping, Sequence

from app.db import search_statements as statements
from app.db.candidate_filter import filter_candidates, rows_of_candidates
from app.db.engine import Database
from app.db.known_many import Key
from app.db.matching_sql import Matching, matching_of, several_of
from app.db.search_page import ROWS_PER_TURN, SearchPage, counted, reader_of, results_of
from app.db.search_reader import Row, rows_of
from app.db.sql_text import Sql, all_of
from app.db.wide_keys import WideKey
from app.db.wide_search import page_of_many, search_several, search_wide
from app.dicom.attributes import standard_path
from app.dicom.matching import Level, SearchQuery, SingleValue
from app.dicom.search_result import SearchResult

_MAX_OFFSET = 2**62
# So far into its matches a wide key is counted to its end.
_MAX_WIDE = 50_000
# So far series and instances are looked for by way of their studies: all those before the page are met.
_MAX_BELOW = 5_000
# What lies behind the page is counted up to here: sorting twice as much would take as long as all the rest.
_WIDE_COUNT_CAP = 5_000
# The same where there are more than a few studies (ids tell, about): counting on would take longer than the page.
_COUNT_CAP_OF_MANY = 1_000
# Of a longer list of owners, some are soon met among the newest studies.
_LONG_LIST = 5_000
_STUDY_INSTANCE_UID = standard_path("StudyInstanceUID").tags
_UIDS = {_STUDY_INSTANCE_UID, standard_path("SeriesInstanceUID").tags, standard_path("SOPInstanceUID").tags}


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
    if db.known_many.are_many_studies and offset <= _MAX_WIDE:
        several = several_of(query, db.dialect, db.indexed)
        if several is not None and (query.level is Level.STUDY or 0 < limit <= offset + limit <= _MAX_BELOW):
            return await search_several(db, query, several, limit, offset, min(count_cap, _COUNT_CAP_OF_MANY))
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
        found = await search_wide(db, query, matching, wide, limit, offset, cap)
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
    if db.known_many.are_many_studies and not _is_by_unique_keys(query):
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
    reader = reader_of(query, db.dialect)
    if wide := matching.wide:
        rows = await page_of_many(db, matching, wide, reader, limit, offset)
    else:
        rows = await rows_of(db, statements.page(db.dialect, query.level, matching, reader.columns, limit, offset))
    if len(rows) < limit:
        return None  # much was deleted
    return SearchPage(await results_of(db, reader, rows), None, min(at_least, count_cap), False, False)


async def _at_once(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """Page and count in one statement: a trip to a server less."""
    reader = reader_of(query, db.dialect)
    statement = statements.page_and_rest(query.level, matching, reader.columns, limit, offset, count_cap + 1)
    rows = await rows_of(db, statement, in_one_way=_is_by_unique_keys(query))
    results = await results_of(db, reader, rows)
    remaining = rows[0][-1] if rows else None
    return counted(results, offset, remaining or 0, count_cap, is_known=bool(rows) or not offset)


def _is_by_unique_keys(query: SearchQuery) -> bool:
    """Whether it asks for one study, or what is below it, and for nothing else."""
    keys = {match.path.tags for match in query.matches if isinstance(match.rule, SingleValue)}
    above = query.study_instance_uid is not None or _STUDY_INSTANCE_UID in keys
    return above and len(query.matches) == len(keys) and keys <= _UIDS


async def _one_by_one(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """The page, then the count."""
    reader = reader_of(query, db.dialect)
    place: tuple[str, int] | int = offset
    found: Sequence[Row] = []
    if limit:
        found = await rows_of(db, statements.page(db.dialect, query.level, matching, reader.columns, limit + 1, offset))
        if len(found) <= limit:
            return counted(
                await results_of(db, reader, found), offset, 0, count_cap, is_known=bool(found) or not offset
            )
        place = offset + limit
        if query.level is Level.STUDY and offset > count_cap:
            place = (found[limit - 1][0], found[limit - 1][1])
    rows = await rows_of(db, statements.count(db.dialect, query.level, matching, count_cap + 1, behind=place))
    remaining = int(rows[0][0])
    results = await results_of(db, reader, found[:limit])
    return counted(results, offset, remaining, count_cap, is_known=bool(remaining) or not offset)


async def _broad(db: Database, lists: Mapping[str, Sql]) -> frozenset[str]:
    """The paths of those lists that are long."""
    ((*lengths,),) = await rows_of(db, statements.lengths(list(lists.values()), [_LONG_LIST] * len(lists)))
    return frozenset(path for path, length in zip(lists, lengths, strict=True) if length >= _LONG_LIST)


async def _filtered(
    db: Database, query: SearchQuery, matching: Matching, limit: int, offset: int, candidate_cap: int
) -> SearchPage:
    """A search whose indexed keys leave candidates, each to be compared with the other keys."""
    rows = await rows_of(db, statements.candidates(db.dialect, query.level, matching, candidate_cap + 1))
    is_capped = len(rows) > candidate_cap
    found = await filter_candidates(db, query, rows[:candidate_cap], matching.filter_keys)
    wanted = found[offset : offset + limit]
    reader = reader_of(query, db.dialect)
    results: list[SearchResult] = []
    for first in range(0, len(wanted), ROWS_PER_TURN):
        part = wanted[first : first + ROWS_PER_TURN]
        full = await rows_of_candidates(db, query.level, part, reader.columns)
        results += await results_of(db, reader, [row for _, row in full])
    remaining = max(0, len(found) - offset - len(wanted))
    return SearchPage(results, None if is_capped else len(found), remaining, not is_capped, is_capped)
