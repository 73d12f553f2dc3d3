"""Prepared metadata: its versions, and the text of each instance as it was prepared when stored."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import zstandard
from sqlalchemy import Select, Text, bindparam, case, func, select

from app.db.any_of import any_of
from app.db.engine import Database, reading
from app.db.locate import READING_ORDER, AnyRow, below, instant, raise_missing
from app.db.point_query import few_rows
from app.db.tables import instances, series, studies
from app.dicom.references import InstanceRef, Reference, SeriesRef, StudyRef
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
    values = {"study": ref.study_instance_uid}
    if isinstance(ref, SeriesRef | InstanceRef):
        values["series"] = ref.series_instance_uid
    if isinstance(ref, InstanceRef):
        values["instance"] = ref.sop_instance_uid
    rows = await few_rows(db, _VERSIONS[type(ref)], values)
    if not rows:
        await raise_missing(db, ref)
    return tuple(SeriesVersion(uid, version, instant(updated), count) for uid, version, updated, count in rows)


def _versions(*levels: str) -> Select[tuple[str, int, datetime, int]]:
    uids = {
        "study": studies.c.study_instance_uid,
        "series": series.c.series_instance_uid,
        "instance": instances.c.sop_instance_uid,
    }
    statement = (
        select(series.c.series_instance_uid, series.c.version, series.c.updated_at, series.c.number_of_instances)
        .select_from(studies)
        .join(series, series.c.study_id == studies.c.id)
        .order_by(*READING_ORDER[:2])
    )
    if "instance" in levels:
        statement = statement.join(instances, instances.c.series_id == series.c.id)
    return statement.where(*(uids[level] == bindparam(level, type_=Text()) for level in levels))


_VERSIONS: dict[type[Reference], Select[tuple[str, int, datetime, int]]] = {
    StudyRef: _versions("study"),
    SeriesRef: _versions("study", "series"),
    InstanceRef: _versions("study", "series", "instance"),
}


# NULL for what is too large to be read between two other requests (see app.db.point_query).
_INSTANCE_METADATA = (
    select(case((func.length(instances.c.metadata) <= SMALL_BYTES, instances.c.metadata)))
    .select_from(studies)
    .join(series, series.c.study_id == studies.c.id)
    .join(instances, instances.c.series_id == series.c.id)
    .where(studies.c.study_instance_uid == bindparam("study", type_=Text()))
    .where(series.c.series_instance_uid == bindparam("series", type_=Text()))
    .where(instances.c.sop_instance_uid == bindparam("instance", type_=Text()))
)


async def stream_metadata(db: Database, ref: Reference) -> AsyncIterator[tuple[InstanceRef, bytes]]:
    """Prepared JSON text of each instance below `ref`, in the order of locate_instances.

    BulkDataURIs still begin with INSTANCE_URL_MARK. Memory is bounded by a page, no connection is held between items,
    and an instance deleted meanwhile is left out. Raises NotFound, Gone (before the first item), DatabaseUnavailable.
    """
    async for page in metadata_pages(db, ref):
        for instance, packed in page:
            yield instance, unpacked(packed)


async def instance_metadata(db: Database, ref: InstanceRef) -> bytes:
    """Prepared JSON text of one instance, as `stream_metadata` gives it. Raises NotFound, Gone, DatabaseUnavailable."""
    values = {"study": ref.study_instance_uid, "series": ref.series_instance_uid, "instance": ref.sop_instance_uid}
    rows = await few_rows(db, _INSTANCE_METADATA, values)
    if rows and rows[0][0] is not None:
        return unpacked(rows[0][0])
    async for _, text in stream_metadata(db, ref):
        return text
    raise NotFound(f"{ref.sop_instance_uid} is not in the archive any more")


async def metadata_pages(db: Database, ref: Reference) -> AsyncIterator[list[tuple[InstanceRef, bytes]]]:
    """The same by pages of bounded number and size; each text still as `unpacked` takes it."""
    # Ids and sizes first: pages are then fetched by id, without sorting the whole series again for each.
    statement = (
        select(instances.c.id, func.length(instances.c.metadata))
        .select_from(studies)
        .join(series, series.c.study_id == studies.c.id)
        .join(instances, instances.c.series_id == series.c.id)
        .order_by(*READING_ORDER)
    )
    async with reading(db) as connection:
        rows = (await connection.execute(below(statement, ref))).all()
    if not rows:
        await raise_missing(db, ref)
    for page in _pages(rows):
        found = await _fetch(db, page)
        yield [
            (InstanceRef(study, one, instance), packed)
            for study, one, instance, _, packed in (found[row_id] for row_id in page if row_id in found)
        ]


def unpacked(packed: bytes) -> bytes:
    """The text of `instances.metadata`. Safe in threads."""
    return zstandard.ZstdDecompressor().decompress(packed)


def _pages(rows: Sequence[AnyRow]) -> list[list[int]]:
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


async def _fetch(db: Database, ids: Sequence[int]) -> dict[int, AnyRow]:
    statement = (
        select(
            studies.c.study_instance_uid,
            series.c.series_instance_uid,
            instances.c.sop_instance_uid,
            instances.c.id,
            instances.c.metadata,
        )
        .select_from(instances)
        .join(series, series.c.id == instances.c.series_id)
        .join(studies, studies.c.id == instances.c.study_id)
        .where(any_of(db.dialect, instances.c.id, ids))
    )
    async with reading(db) as connection:
        return {row.id: row for row in await connection.execute(statement)}
