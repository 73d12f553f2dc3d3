"""Searches for studies by keys of which nobody knows how many they fit (app.db.wide_keys): the ways to a page, and which is taken.

One key: what it fits is counted and sorted. Where that is too much, the newest studies are looked at, and if they do not fill
the page everything is sorted after all.

Several keys, or a pattern and dates: how many studies each of them fits is asked first, up to a few thousand. If one fits fewer,
those are held against the others; else the newest studies are held against all keys, and in the end what one key fits against
the others. Series and instances are those of the studies that are found so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.db import search_statements as statements
from app.db.engine import Database
from app.db.matching_sql import Matching, Several
from app.db.search_page import SearchPage, counted, page_of_found, reader_of, results_of, studies_in
from app.db.search_reader import Row, rows_of
from app.db.search_rows import RowReader
from app.db.sql_text import Sql
from app.db.wide_keys import WideKey, dates_as_key
from app.dicom.matching import Level, SearchQuery

# For so long what one of several keys fits may be held against the others without further thought: in microseconds, about.
_SOON = 20_000
# The keys of several may seldom meet, and looking for where they do takes ten times as long as sorting what one fits.
_BREADTH = 10


async def search_wide(
    db: Database, query: SearchQuery, matching: Matching, wide: WideKey, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """By one key, and dates. What lies behind the page is counted up to `count_cap`. Raises DatabaseUnavailable."""
    reader = reader_of(query, db.dialect)
    newest_first = wide.scans and limit > 0 and await _has_many_studies(db)
    newest = wide.worth_walking(db.known_many.newest_study, offset + limit)
    if newest_first:
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
    if query.level is not Level.STUDY:
        return await _search_below(db, query.level, several, reader, limit, offset, count_cap)
    met = await _studies_met(db, several, reader.columns, limit, offset)
    return await page_of_found(db, reader, met.rows, met.number, met.is_whole, offset, count_cap)


async def _search_below(
    db: Database, level: Level, several: Several, reader: RowReader, limit: int, offset: int, count_cap: int
) -> SearchPage:
    """For series or instances. Each study that fits has one at least, and they come as their studies do."""
    met = await _studies_met(db, several, "studies.study_date, studies.id", offset + limit + 1, 0)
    ids = [row[1] for row in studies_in(met.rows)]
    numbers: dict[int, int] = dict(
        await rows_of(db, statements.numbers_below(db.dialect, level, ids, several.of_series))
    )
    chosen, total, skipped = [], 0, 0
    for study in ids:
        number = numbers.get(study, 0)
        if total + number <= offset:
            skipped += number
        elif total < offset + limit:
            chosen.append(study)
        total += number
    rows = await rows_of(
        db,
        statements.page_below(db.dialect, level, chosen, several.of_series, reader.columns, limit, offset - skipped),
    )
    return await page_of_found(db, reader, rows, total, met.is_whole and met.number <= len(ids), offset, count_cap)


@dataclass(frozen=True, slots=True)
class _Met:
    """rows: of a page, perhaps one of no study. number: studies that were met, all that fit if `is_whole`."""

    rows: Sequence[Row]
    number: int
    is_whole: bool


async def _studies_met(db: Database, several: Several, columns: str, limit: int, offset: int) -> _Met:
    keys, dates, wanted = several.keys, several.dates, offset + limit
    by_dates = dates_as_key(dates) if dates else None
    lead = await _shortest(db, keys, by_dates, dates)
    if lead is None:
        lead = next((key for key in keys if key.is_whole), None)  # several words: few have them all
    if limit and (lead is None or lead is by_dates):
        # The newest first, of all or of those dates: nothing is looked at behind a page, and one more to know that there is more.
        newest = _newest(db, keys, wanted) if lead is None else _SOON
        statement = statements.several_among_newest(db.dialect, keys, dates, columns, newest, limit, offset)
        rows = await rows_of(db, statement)
        found = rows[0][-1]
        is_whole = lead is not None and found < wanted + limit
        if is_whole or found > wanted:
            return _Met(rows, found, is_whole)
    if lead is None:
        # What would take long to be held against is fetched; rather what is in studies, which would have to be looked up, and
        # what nobody has counted: the others fit very many.
        lead = max(keys, key=lambda key: (key.cost, bool(key.columns), key.scans))
    others = [key for key in keys if key is not lead]
    statement = statements.page_of_several(db.dialect, lead, others, dates, columns, limit, offset)
    rows = await rows_of(db, statement)
    return _Met(rows, rows[0][-1], True)


async def _shortest(
    db: Database, keys: Sequence[WideKey], by_dates: WideKey | None, dates: Sequence[Sql]
) -> WideKey | None:
    """That of the keys, or the dates, of which what it fits is the soonest held against the others; None where that takes long for
    each, or where only reading all values could tell."""
    known = [key for key in (*keys, by_dates) if key is not None and not (key.scans or key.is_whole)]
    if not known:
        return None
    costs = [max(1, sum(other.cost for other in keys if other is not key)) for key in known]
    lists = [statements.rows_of_key(key, dates if key.is_dated else ()) for key in known]
    statement = statements.lengths(lists, [_SOON // cost for cost in costs])
    ((*lengths,),) = await rows_of(db, statement)
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
