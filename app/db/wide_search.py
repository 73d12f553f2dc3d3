"""Searches for studies by keys of which nobody knows how many they fit (app.db.wide_keys): the ways to a page, and which is taken.

One key: what it fits is counted and sorted. Where that is too much, the newest studies are looked at, and if they do not fill
the page everything is sorted after all.

Several keys, or a pattern and dates: how many studies each of them fits is asked first, up to a few thousand. If one fits fewer,
those are held against the others; else the newest studies are held against all keys, and in the end what one key fits against
the others.
"""

from collections.abc import Sequence

from app.db import search_statements as statements
from app.db.engine import Database
from app.db.matching_sql import Matching, Several
from app.db.search_page import SearchPage, counted, page_of_found, reader_of, results_of, studies_in
from app.db.search_reader import Row, rows_of
from app.db.search_rows import RowReader
from app.db.sql_text import Sql
from app.db.wide_keys import WideKey, dates_as_key
from app.dicom.matching import SearchQuery

# For so long what one of several keys fits may be held against the others without further thought: in microseconds, about.
_SOON = 20_000
# The keys of several may seldom meet, and looking for where they do takes ten times as long as sorting what one fits.
_BREADTH = 10


async def search_wide(
    db: Database, query: SearchQuery, matching: Matching, wide: WideKey, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """By one key, and dates. What lies behind the page is counted up to `count_cap`. Raises DatabaseUnavailable."""
    reader = reader_of(query, db.dialect)
    newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
    if wide.scans and limit and await _has_many_studies(db):
        newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
        statement = statements.page_of_newest(wide, matching.dates, reader.columns, newest, limit, offset)
        rows = await rows_of(db, statement)
        looked_at, found = rows[0][-2:]
        if looked_at < newest or found > offset + limit:
            return await page_of_found(db, reader, rows, found, looked_at < newest, offset, count_cap)
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
        return await page_of_found(db, reader, [], found, is_whole, offset, count_cap)
    if not is_whole:
        rows = studies_in(rows)
        if len(rows) < limit:
            rows = await page_of_many(db, matching, wide, reader, limit, offset, newest=0 if beside else newest)
        if len(rows) < limit:
            return counted(await results_of(db, reader, rows), offset, 0, count_cap, is_known=bool(rows))
    return await page_of_found(db, reader, rows, found, is_whole, offset, count_cap)


async def page_of_many(
    db: Database,
    matching: Matching,
    wide: WideKey,
    reader: RowReader,
    limit: int,
    offset: int,
    *,
    newest: int | None = None,
) -> Sequence[Row]:
    """The page of a key that fits very many: of so many of the newest studies if they fill it, else of all that it fits."""
    if newest is None:
        newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
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


async def search_several(
    db: Database, query: SearchQuery, several: Several, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """By several keys. The same. Raises DatabaseUnavailable."""
    reader = reader_of(query, db.dialect)
    keys, dates, wanted = several.keys, several.dates, offset + limit
    by_dates = dates_as_key(dates) if dates else None
    lead = await _shortest(db, keys, by_dates, dates)
    if lead is None:
        lead = next((key for key in keys if key.is_whole), None)  # several words: few have them all
    if lead is by_dates and limit:
        # The newest first, of all or of those dates: nothing is looked at behind a page, and one more to know that there is more.
        newest = _newest(db, keys, wanted) if lead is None else _SOON
        statement = statements.several_among_newest(db.dialect, keys, dates, reader.columns, newest, limit, offset)
        rows = await rows_of(db, statement)
        found = rows[0][-1]
        is_whole = lead is not None and found < wanted + limit
        if is_whole or found > wanted:
            return await page_of_found(db, reader, rows, found, is_whole, offset, count_cap)
    if lead is None:
        # What would take long to be held against is fetched; rather what is in studies, which would have to be looked up, and
        # what nobody has counted: the others fit very many.
        lead = max(keys, key=lambda key: (key.cost, bool(key.columns), key.scans))
    others = [key for key in keys if key is not lead]
    statement = statements.page_of_several(db.dialect, lead, others, dates, reader.columns, limit, offset)
    rows = await rows_of(db, statement)
    return await page_of_found(db, reader, rows, rows[0][-1], True, offset, count_cap)


async def _shortest(
    db: Database, keys: Sequence[WideKey], by_dates: WideKey | None, dates: Sequence[Sql]
) -> WideKey | None:
    """That of the keys, or the dates, of which what it fits is the soonest held against the others; None where that takes long for
    each, or where only reading all values could tell."""
    known = [key for key in (*keys, by_dates) if key is not None and not (key.scans or key.is_whole)]
    if not known:
        return None
    costs = [max(1, sum(other.cost for other in keys if other is not key)) for key in known]
    lists = [statements.rows_of_key(key, dates if key.is_dated and key is not by_dates else ()) for key in known]
    statement = statements.lengths(lists, [_SOON // cost for cost in costs])
    ((*lengths,),) = await rows_of(db, statement, in_one_way=True)
    _, place = min((length * costs[place], place) for place, length in enumerate(lengths))
    return known[place] if lengths[place] < _SOON // costs[place] else None


def _newest(db: Database, keys: Sequence[WideKey], wanted: int) -> int:
    """How many of the newest studies may be held against all keys."""
    # Filters that need columns come before those that need look-ups: the dearest column says what a step costs.
    is_by_index = all(key.is_by_index or not key.columns for key in keys)
    worth = [key.worth_walking(db.known_many.newest_study, wanted) for key in keys]
    step = 1 if is_by_index else max(key.cost for key in keys) / 5
    return max(wanted, int(_BREADTH / step * (max(worth) if is_by_index else min(worth))))


async def _has_many_studies(db: Database) -> bool:
    if not db.known_many.are_many_studies:
        rows = await rows_of(db, Sql("SELECT max(id) FROM studies"))
        db.known_many.meet_study(rows[0][0] or 0)
    return db.known_many.are_many_studies
