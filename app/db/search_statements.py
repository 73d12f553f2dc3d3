"""The statements of a search: a page of results, a count, the candidates. Ids first, then only their rows in full width.

Order of the results, total and unchanged while the content is:

    studies    Study Date, newest first, then the latest stored first
    series     as their studies; within a study by Series Number (unknown last), then Series Instance UID
    instances  as their series; within a series by Instance Number (unknown last), then SOP Instance UID

The index on (study_date desc, id desc) gives that order without sorting; so does every index of studies behind its key.
"""

# ruff: noqa: S608 - every name in these statements is of app.db; values are bound

from collections.abc import Sequence

from app.db.engine import Dialect
from app.db.matching_sql import Lead, Matching
from app.db.sql_text import Sql, all_of, is_any, joined, sql, with_numbers
from app.db.wide_keys import WideKey
from app.dicom.matching import Level

_TABLE = {Level.STUDY: "studies", Level.SERIES: "series", Level.INSTANCE: "instances"}
# What a row is the row of, and its id: SQLite gives that of a deleted row to the next one.
IDENTITY = {
    Level.STUDY: "studies.id, studies.study_instance_uid",
    Level.SERIES: "series.id, studies.study_instance_uid, series.series_instance_uid",
    Level.INSTANCE: "instances.id, studies.study_instance_uid, series.series_instance_uid, instances.sop_instance_uid",
}
_BELOW_STUDY = {
    Level.STUDY: "",
    Level.SERIES: ", series.series_number IS NULL, series.series_number, series.series_instance_uid",
}
_BELOW_STUDY[Level.INSTANCE] = (
    f"{_BELOW_STUDY[Level.SERIES]},"
    " instances.instance_number IS NULL, instances.instance_number, instances.sop_instance_uid"
)


def page(dialect: Dialect, level: Level, matching: Matching, columns: str, limit: int, offset: int) -> Sql:
    """Rows of `columns`, in order."""
    window = sql("LIMIT ? OFFSET ?", limit, offset) if offset else sql("LIMIT ?", limit)
    return _in_full(dialect, level, columns, joined([_ids(dialect, level, matching), window]))


def page_and_rest(level: Level, matching: Matching, columns: str, limit: int, offset: int, most: int) -> Sql:
    """The same of PostgreSQL, and in each row the number of matches behind the page, counted up to `most`; NULL where the page is
    the last."""
    found = joined([_ids("postgresql", level, matching), sql("LIMIT ? OFFSET ?", limit + 1, offset)])
    behind = count("postgresql", level, matching, most, behind=offset + limit)
    # What a CASE does not come to is not executed.
    is_last = sql("SELECT CASE WHEN (SELECT count(*) FROM found) > ? THEN (", limit)
    counted = joined(
        ["WITH found AS MATERIALIZED (", found, "), rest AS MATERIALIZED (", is_last, behind, ") END AS number)"]
    )
    full = _in_full("postgresql", level, f"{columns}, (SELECT number FROM rest)", Sql("SELECT id FROM found"))
    whole = joined([counted, full, sql("LIMIT ?", limit)])
    is_first_of_all = level is Level.STUDY and not (offset or matching.conditions)  # what work lists begin with
    return with_numbers(whole) if is_first_of_all else whole


def wide_page(
    wide: WideKey, dates: Sequence[Sql], columns: str, most: int, limit: int, offset: int, *, newest: int = 0
) -> Sql:
    """Rows of `columns` of studies, in order, and behind them the numbers of `wide_count`; NULL in place of the columns where
    there are none or too many.

    newest  of PostgreSQL: so many of the newest studies the page is filled from where there are too many
    """
    if wide.counted:
        counted = joined(["WITH counted AS (", _few_counted(wide, dates, most), ")"])
        # A condition would be asked of each row, after sorting; of what has no limit left nothing is looked at.
        window = sql("LIMIT CASE WHEN (SELECT number FROM counted) < ? THEN ? ELSE 0 END OFFSET ?", most, limit, offset)
        ids = joined(["SELECT id FROM (", rows_of_key(wide, dates), ") studies_found", _NEWEST_FIRST, window])
        return joined([counted, _beside(columns, "NULL, (SELECT number FROM counted)", ids)])
    number = "(SELECT coalesce(fits, studies) FROM counted)"
    window = sql("LIMIT ? OFFSET ?", limit, offset)
    ids = joined(["SELECT id FROM studies_found WHERE", sql(f"{number} < ?", most), _NEWEST_FIRST, window])
    if newest:
        # Of two arms one is never executed: that condition names no row.
        many = _among_newest("postgresql", [wide], [sql(f"{number} >= ?", most), *dates], newest, limit, offset)
        ids = joined(["(", ids, ") UNION ALL (SELECT id FROM (", many, ") many)"])
    return joined([_found(wide, dates, most), _beside(columns, _COUNTS, ids)])


def wide_count(wide: WideKey, dates: Sequence[Sql], most: int) -> Sql:
    """How many rows the wide key fits, and how many studies. Where the former (the latter, if the former is NULL) are `most` or
    more, not all was looked at."""
    if wide.counted:
        return joined(["SELECT NULL, number FROM (", _few_counted(wide, dates, most), ") counted"])
    return joined([_found(wide, dates, most), f"SELECT {_COUNTS}"])


def page_among_newest(
    dialect: Dialect, wide: WideKey, dates: Sequence[Sql], columns: str, newest: int, limit: int, offset: int
) -> Sql:
    """Rows of `columns` of the newest studies only, in order."""
    return _in_full(dialect, Level.STUDY, columns, _among_newest(dialect, [wide], dates, newest, limit, offset))


def page_of_all(dialect: Dialect, wide: WideKey, dates: Sequence[Sql], columns: str, limit: int, offset: int) -> Sql:
    """The same of everything that the wide key fits, which is fetched and sorted."""
    window = sql("LIMIT ? OFFSET ?", limit, offset)
    ids = joined(["SELECT id FROM (", _listed(wide, dates), ") found", _NEWEST_FIRST, window])
    return _in_full(dialect, Level.STUDY, columns, ids)


def _listed(wide: WideKey, dates: Sequence[Sql]) -> Sql:
    """Id and study_date of each study that a wide key fits, in no order."""
    fitting = rows_of_key(wide, dates)
    return fitting if wide.distinct else joined(["SELECT DISTINCT id, study_date FROM (", fitting, ") repeated"])


def rows_of_key(wide: WideKey, dates: Sequence[Sql]) -> Sql:
    """The same, some of them perhaps more than once: sooner to be counted, for counting ends where there are enough."""
    return joined(_dated(wide.arms, dates), " UNION ALL ")


def several_among_newest(
    dialect: Dialect, keys: Sequence[WideKey], dates: Sequence[Sql], columns: str, newest: int, limit: int, offset: int
) -> Sql:
    """Rows of `columns` of those of the newest studies that all keys fit, in order, and how many were met: one page more at most.
    One of NULL where there is none."""
    met = _among_newest(dialect, keys, dates, newest, offset + 2 * limit, 0)
    return _page_of_met(met, columns, limit, offset)


def page_of_several(
    dialect: Dialect,
    lead: WideKey,
    others: Sequence[WideKey],
    dates: Sequence[Sql],
    columns: str,
    limit: int,
    offset: int,
) -> Sql:
    """The same of all studies that the leading key fits."""
    led, filters = _listed(lead, dates), _filter(others)
    tables = joined(["(", led, ") studies"])
    if any(other.columns for other in others):
        join = "CROSS JOIN" if dialect == "sqlite" else "JOIN"
        tables = joined(["(", led, f") led {join} studies ON studies.id = led.id"])
    met = joined(["SELECT studies.id, studies.study_date FROM", tables, "WHERE", filters])
    return _page_of_met(met, columns, limit, offset)


def numbers_below(dialect: Dialect, level: Level, studies: Sequence[int], of_series: Sequence[Sql]) -> Sql:
    """Of each of the studies its id, and how many series that fit it has, or instances of them."""
    number = "count(*)" if level is Level.SERIES else "CAST(sum(series.number_of_instances) AS bigint)"
    fits = all_of([is_any(dialect, "series.study_id", studies), *of_series])
    return joined([f"SELECT series.study_id, {number} FROM series WHERE", fits, "GROUP BY series.study_id"])


def page_below(
    dialect: Dialect,
    level: Level,
    studies: Sequence[int],
    of_series: Sequence[Sql],
    columns: str,
    limit: int,
    offset: int,
) -> Sql:
    """Rows of `columns` of the series of the studies that fit, or of instances of them, in order."""
    fits = all_of([is_any(dialect, "studies.id", studies), *of_series])
    tables = _tables(dialect, level, Matching())
    ids = joined([f"SELECT {_TABLE[level]}.id FROM {tables} WHERE", fits, _order(level)])
    return _in_full(dialect, level, columns, joined([ids, sql("LIMIT ? OFFSET ?", limit, offset)]))


def _page_of_met(met: Sql, columns: str, limit: int, offset: int) -> Sql:
    ids = joined([f"SELECT id FROM met {_NEWEST_FIRST}", sql("LIMIT ? OFFSET ?", limit, offset)])
    page = _beside(columns, "(SELECT count(*) FROM met)", ids)
    return joined(["WITH met AS MATERIALIZED (", met, ")", page])


def _filter(keys: Sequence[WideKey]) -> Sql:
    """Of all keys. What is cheap comes first: where it does not hold, SQLite looks no further."""
    return all_of(key.filter for key in sorted(keys, key=lambda key: key.cost))


def _among_newest(
    dialect: Dialect, keys: Sequence[WideKey], conditions: Sequence[Sql], newest: int, limit: int, offset: int
) -> Sql:
    """Id and study_date, in order. Nothing is looked at behind the last of them."""
    walked = _newest_studies(keys, conditions, newest)
    # SQLite would sort once more what comes in order: rows of a subquery with a limit are taken one by one.
    order = "" if dialect == "sqlite" else _NEWEST_FIRST
    fits = _filter(keys)
    window = sql("LIMIT ? OFFSET ?", limit, offset)
    return joined(["SELECT id, study_date FROM (", walked, ") studies WHERE", fits, order, window])


def _newest_studies(keys: Sequence[WideKey], conditions: Sequence[Sql], newest: int) -> Sql:
    """So many, with the columns that the filters of the keys need."""
    looked_at = ", ".join(dict.fromkeys(("id", "study_date", *(column for key in keys for column in key.columns))))
    return joined([f"SELECT {looked_at} FROM studies WHERE", all_of(conditions), _NEWEST_FIRST, sql("LIMIT ?", newest)])


def page_of_newest(wide: WideKey, dates: Sequence[Sql], columns: str, newest: int, limit: int, offset: int) -> Sql:
    """As `wide_page` of the newest studies only: rows of `columns`, how many studies were looked at, how many of them fit."""
    walked = joined(["WITH newest AS MATERIALIZED (", _newest_studies([wide], dates, newest), "),"])
    found = joined(["studies_found AS MATERIALIZED (SELECT id, study_date FROM newest studies WHERE", wide.filter, ")"])
    ids = joined(["SELECT id FROM studies_found", _NEWEST_FIRST, sql("LIMIT ? OFFSET ?", limit, offset)])
    counts = "(SELECT count(*) FROM newest), (SELECT count(*) FROM studies_found)"
    return joined([walked, found, _beside(columns, counts, ids)])


_COUNTS = "(SELECT fits FROM counted), (SELECT studies FROM counted)"
_NEWEST_FIRST = "ORDER BY study_date DESC, id DESC"


def _beside(columns: str, counts: str, ids: Sql) -> Sql:
    """Rows of studies, one of NULL if there are none, and in each the counts."""
    studies = f"LEFT JOIN studies ON studies.id = page.id {_order(Level.STUDY)}"
    return joined([f"SELECT {columns}, {counts} FROM (SELECT 1) always LEFT JOIN (", ids, f") page ON TRUE {studies}"])


def _dated(arms: Sequence[Sql], dates: Sequence[Sql]) -> list[Sql]:
    return [joined([arm, *dates], " AND ") for arm in arms]


def _few_counted(wide: WideKey, dates: Sequence[Sql], most: int) -> Sql:
    """Counting along an index takes an eighth of the time of keeping what is met."""
    rows = joined(_dated(wide.counted, dates), " UNION ALL ")
    return joined(["SELECT count(*) AS number FROM (", rows, sql("LIMIT ?) few", most)])


def _found(wide: WideKey, dates: Sequence[Sql], most: int) -> Sql:
    """What the wide key fits, in no order, and how much that is: counted once, for it is asked for in several places."""
    studies = "(SELECT count(*) FROM studies_found) AS studies"
    arms = _dated(wide.arms, dates)
    if wide.distinct:
        counted = f"counted AS MATERIALIZED (SELECT CAST(NULL AS bigint) AS fits, {studies})"
        listed = joined([joined(arms, " UNION ALL "), sql("LIMIT ?", most)])
        return joined(["WITH studies_found AS MATERIALIZED (", listed, "),", counted])
    # Each by itself, or whatever comes first would take the place of the others.
    few = [sql(f"SELECT * FROM ({arm.text} LIMIT ?) arm_{place}", *arm.values, most) for place, arm in enumerate(arms)]
    studies_found = "studies_found AS MATERIALIZED (SELECT DISTINCT id, study_date FROM found)"
    counted = f"counted AS MATERIALIZED (SELECT (SELECT count(*) FROM found) AS fits, {studies})"
    return joined(["WITH found AS MATERIALIZED (", joined(few, " UNION ALL "), f"), {studies_found}, {counted}"])


def candidates(dialect: Dialect, level: Level, matching: Matching, limit: int) -> Sql:
    """Rows of IDENTITY, in order."""
    return _in_full(dialect, level, IDENTITY[level], joined([_ids(dialect, level, matching), sql("LIMIT ?", limit)]))


def chosen(dialect: Dialect, level: Level, ids: Sequence[int], columns: str) -> Sql:
    """Rows of `columns` of the given ids, in order."""
    table = _TABLE[level]
    return _in_full(dialect, level, columns, joined([f"SELECT id FROM {table} WHERE", is_any(dialect, "id", ids)]))


def count(dialect: Dialect, level: Level, matching: Matching, most: int, *, behind: tuple[str, int] | int = 0) -> Sql:
    """The number of matches, counted up to `most`.

    behind  as many are left out; or, of studies, those up to this date and id are: then an index leads to the place
    """
    conditions = list(matching.conditions)
    window = sql("LIMIT ?", most)
    if isinstance(behind, tuple):
        lead = matching.lead
        place = f"{lead.study_date}, {lead.study_id}" if lead else "studies.study_date, studies.id"
        conditions.append(sql(f"({place}) < (?, ?)", *behind))
    elif behind:
        window = sql("LIMIT ? OFFSET ?", most, behind)
    inner: list[Sql | str] = ["SELECT 1 FROM", _tables(dialect, level, matching), "WHERE", all_of(conditions), window]
    return joined(["SELECT count(*) FROM (", *inner, ") counted"])


def lengths(lists: Sequence[Sql], most: Sequence[int]) -> Sql:
    """One row: how long each list is, counted up to its `most`."""
    counted = [
        sql(f"(SELECT count(*) FROM ({one.text} LIMIT ?) list_{n})", *one.values, end)
        for n, (one, end) in enumerate(zip(lists, most, strict=True))
    ]
    return joined(["SELECT", joined(counted, ", ")])


def _in_full(dialect: Dialect, level: Level, columns: str, ids: Sql) -> Sql:
    """The rows of the ids: everything that is wide or computed is looked at for these alone."""
    join = "CROSS JOIN" if dialect == "sqlite" else "JOIN"
    tables = f"{join} {_TABLE[level]} ON {_TABLE[level]}.id = page.id"
    if level is Level.INSTANCE:
        tables += f" {join} series ON series.id = instances.series_id"
    if level is not Level.STUDY:
        tables += f" {join} studies ON studies.id = series.study_id"
    return joined([f"SELECT {columns} FROM (", ids, f") page {tables} {_order(level)}"])


def _ids(dialect: Dialect, level: Level, matching: Matching) -> Sql:
    """The row ids of all matches, in order."""
    lead = matching.lead
    own = f"{_TABLE[level]}.id" if level is not Level.STUDY or lead is None else f"{lead.study_id} AS id"
    tables = _tables(dialect, level, matching)
    where: list[Sql | str] = ["WHERE", all_of(matching.conditions)] if matching.conditions else []
    return joined([f"SELECT {own} FROM", tables, *where, _order(level, lead)])


def _tables(dialect: Dialect, level: Level, matching: Matching) -> str:
    """The table of the level with those above it that matter, and with the table that leads the search."""
    lead = matching.lead
    # SQLite keeps no statistics here, and prefers to read a whole table of series to walking the newest studies; of CROSS
    # JOIN it takes the order as written (sqlite.org/optoverview.html, section 9). PostgreSQL knows better.
    join = "CROSS JOIN" if dialect == "sqlite" and (matching.from_studies or lead) else "JOIN"
    tables, study_id = "studies", "studies.id"
    if lead is not None:
        tables, study_id = lead.table, lead.study_id
        if any("studies." in condition.text for condition in matching.conditions):
            tables += f" {join} studies ON studies.id = {study_id}"
    if level is not Level.STUDY:
        tables += f" {join} series ON series.study_id = {study_id}"
    if level is Level.INSTANCE:
        tables += f" {join} instances ON instances.series_id = series.id"
    return tables


def _order(level: Level, lead: Lead | None = None) -> str:
    study_date, study_id = (lead.study_date, lead.study_id) if lead else ("studies.study_date", "studies.id")
    return f"ORDER BY {study_date} DESC, {study_id} DESC{_BELOW_STUDY[level]}"
