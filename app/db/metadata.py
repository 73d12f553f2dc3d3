"""Prepared metadata: its versions, and the text of each instance as it was prepared when stored."""

import functools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, func, select

from app.db.any_of import any_of_parameter, listed
from app.db.engine import Database, Dialect
from app.db.locate import KEYS, KINDS, READING_ORDER, below_keys, instant, keys_of, raise_missing, select_instances
from app.db.point_query import as_text, few_rows, first_row
from app.db.prepared_json import unpacked
from app.db.search_reader import Row, rows_of
from app.db.tables import instances, series, studies
from app.dicom.references import InstanceRef, Reference
from app.errors import NotFound

PAGE_INSTANCES = 256
PAGE_BYTES = 1024 * 1024  # compressed
SMALL_BYTES = 64 * 1024  # compressed


@dataclass(frozen=True, slots=True)
class SeriesVersion:
    """version grows with every change of the series or of an instance in it; updated_at is the time of the last (UTC)."""

    series_instance_uid: str
    version: int
    updated_at: datetime
    number_of_instances: int


async def series_versions(db: Database, ref: Reference) -> tuple[SeriesVersion, ...]:
    """Versions of the series that `ref` is, is in, or has, in the order of locate_instances.

    Raises NotFound, Gone, DatabaseUnavailable.
    """
    rows = await few_rows(db, _VERSIONS[type(ref)], keys_of(ref))
    if not rows:
        await raise_missing(db, ref)
    return tuple(SeriesVersion(uid, version, instant(updated), count) for uid, version, updated, count in rows)


def _versions(kind: type[Reference]) -> Select[tuple[str, int, datetime, int]]:
    statement = (
        select(series.c.series_instance_uid, series.c.version, series.c.updated_at, series.c.number_of_instances)
        .select_from(studies)
        .join(series, series.c.study_id == studies.c.id)
        .order_by(*READING_ORDER[:2])
    )
    if kind is InstanceRef:
        statement = statement.join(instances, instances.c.series_id == series.c.id)
    return below_keys(statement, kind)


_SIZE = func.length(instances.c.metadata)
_VERSIONS = {kind: _versions(kind) for kind in KINDS}
_SIZES = {kind: below_keys(select_instances(instances.c.id, _SIZE).order_by(*READING_ORDER), kind) for kind in KINDS}
# NULL for what is too large to be read between two other requests (see app.db.point_query).
_INSTANCE_METADATA = below_keys(select_instances(case((_SIZE <= SMALL_BYTES, instances.c.metadata))), InstanceRef)


@functools.cache
def _chosen(dialect: Dialect) -> Select[Any]:
    columns = (*KEYS.values(), instances.c.id, instances.c.metadata)
    return select_instances(*columns).where(any_of_parameter(dialect, instances.c.id, "ids"))


async def stream_metadata(db: Database, ref: Reference) -> AsyncIterator[tuple[InstanceRef, bytes]]:
    """Prepared JSON text of each instance below `ref`, in the order of locate_instances.

    BulkDataURIs still begin with INSTANCE_URL_MARK. Memory is bounded by a page, no connection is held between items,
    and an instance deleted meanwhile is left out. Raises NotFound, Gone (before the first item), DatabaseUnavailable.
    """
    is_there = False
    async for page in metadata_pages(db, ref):
        for instance, packed in page:
            is_there = True
            yield instance, unpacked(packed)
    if not is_there:
        await raise_missing(db, ref)


async def instance_metadata(db: Database, ref: InstanceRef) -> bytes:
    """Prepared JSON text of one instance, as `stream_metadata` gives it. Raises NotFound, Gone, DatabaseUnavailable."""
    async for _, text in stream_metadata(db, ref):
        return text
    raise NotFound(f"{ref.sop_instance_uid} is not in the archive any more")


async def metadata_pages(db: Database, ref: Reference) -> AsyncIterator[list[tuple[InstanceRef, bytes]]]:
    """The same by pages of bounded number and size; each text still as app.db.prepared_json's `unpacked` takes it."""
    if isinstance(ref, InstanceRef):
        row = await first_row(db, _INSTANCE_METADATA, keys_of(ref))
        if row is not None and row[0] is not None:
            yield [(ref, row[0])]
            return
    keys = tuple(keys_of(ref).values())
    # Ids and sizes first: pages are then fetched by id, without sorting the whole series again for each.
    rows = await rows_of(db, as_text(_SIZES[type(ref)], keys_of(ref), db.dialect), in_one_way=True)
    if not rows:
        await raise_missing(db, ref)
    for page in _pages(rows):
        found = await _fetch(db, page)
        # SQLite gives the ids of deleted rows to the next ones, which may be of other patients.
        yield [
            (InstanceRef(*row[:3]), row[4])
            for row in (found[row_id] for row_id in page if row_id in found)
            if tuple(row[: len(keys)]) == keys
        ]


def _pages(rows: Sequence[Row]) -> list[list[int]]:
    """Ids in groups of bounded number and size; never an empty group."""
    pages: list[list[int]] = [[]]
    size = 0
    for row_id, length in rows:
        if pages[-1] and (size + length > PAGE_BYTES or len(pages[-1]) == PAGE_INSTANCES):
            pages.append([])
            size = 0
        pages[-1].append(row_id)
        size += length
    return pages


async def _fetch(db: Database, ids: Sequence[int]) -> dict[int, Row]:
    """Rows of `_chosen` by their id."""
    statement = as_text(_chosen(db.dialect), {"ids": listed(db.dialect, ids)}, db.dialect)
    return {row[3]: row for row in await rows_of(db, statement)}
