"""Where instances are: the look-ups before bytes are read. One statement each; a second one only says why nothing was found."""

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NoReturn

from sqlalchemy import (
    ColumnElement,
    Integer,
    LargeBinary,
    Row,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal,
    null,
    or_,
    select,
)

from app.db.engine import Database, reading
from app.db.point_query import first_row
from app.db.tables import instances, series, studies, tombstones
from app.db.tombstones import tombstones_below
from app.dicom.frame_index import HEAD_SIZE, PartialIndex
from app.dicom.references import InstanceRef, Reference, SeriesRef, resource_path
from app.errors import Gone, NotFound

# A frame index up to this size is fetched whole; of a larger one only the runs of the wanted frames.
WHOLE_INDEX = 64 * 1024
_MAX_SLICES = 8
# How app.dicom.frame_index begins a table of one run per frame, the only form that grows large in practice: its entry for
# frame n can be named in the statement itself, before the index has been seen.
_ONE_RUN_PER_FRAME = struct.pack("<BBHI", 2, 1, 0, 1)
_ENTRY = 16
AnyRow = Row[*tuple[Any, ...]]
_MAX_ENTRIES = 2**30 // _ENTRY  # a value of PostgreSQL holds 1 GiB at most, and takes 32-bit positions


@dataclass(frozen=True, slots=True)
class InstanceLocation:
    """One stored instance.

    size        of the blob, in bytes
    digest      lower-case hexadecimal SHA-256 of the blob
    layout      app.dicom.layout.InstanceLayout as JSON text
    created_at  when this content was stored (UTC)
    """

    ref: InstanceRef
    id: int
    sop_class_uid: str
    transfer_syntax_uid: str
    blob_key: str
    size: int
    digest: str
    layout: bytes
    created_at: datetime


_COLUMNS = (
    studies.c.study_instance_uid,
    series.c.series_instance_uid,
    instances.c.sop_instance_uid,
    instances.c.id,
    instances.c.sop_class_uid,
    instances.c.transfer_syntax_uid,
    instances.c.blob_key,
    instances.c.size,
    instances.c.digest,
    instances.c.layout,
    instances.c.created_at,
)
# Stable, and the order in which people read images: NULL last on both databases.
READING_ORDER = (
    series.c.series_number.nulls_last(),
    series.c.series_instance_uid,
    instances.c.instance_number.nulls_last(),
    instances.c.sop_instance_uid,
)


async def locate_instance(db: Database, ref: InstanceRef) -> InstanceLocation:
    """Raises NotFound, Gone, DatabaseUnavailable."""
    return (await _one(db, ref, _INSTANCE))[0]


async def locate_instances(db: Database, ref: Reference) -> list[InstanceLocation]:
    """Every instance below `ref`, by series number, Series Instance UID, instance number, SOP Instance UID.

    Raises NotFound, Gone, DatabaseUnavailable.
    """
    statement = below(select_locations(), ref).order_by(*READING_ORDER)
    async with reading(db) as connection:
        rows = (await connection.execute(statement)).all()
    if not rows:
        await raise_missing(db, ref)
    return [location_of(row) for row in rows]


async def locate_frames(db: Database, ref: InstanceRef, numbers: Sequence[int]) -> tuple[InstanceLocation, bytes]:
    """The instance and its packed frame index (app.dicom.frame_index); b"" where it has no frames.

    Of a large index only the entries of the frames `numbers` are there (PartialIndex). Numbers that do not exist are not an error
    here. Raises NotFound, Gone, DatabaseUnavailable.
    """
    runs = _entry_runs(numbers)
    if len(runs) > _MAX_SLICES:
        location, (index,) = await _one(db, ref, _INSTANCE_AND_INDEX)
        return location, index
    values: dict[str, int] = {}
    for place, (first, count) in enumerate(runs):
        values[f"part_offset_{place}"] = HEAD_SIZE + first * _ENTRY + 1
        values[f"part_length_{place}"] = count * _ENTRY
    location, (whole, head, *parts) = await _one(db, ref, _frames_statement(len(runs)), values)
    return location, _partial_index(head, runs, parts) if whole is None else whole


async def locate_bulkdata(db: Database, ref: InstanceRef) -> tuple[InstanceLocation, bytes]:
    """The instance and its packed list of bulkdata (app.dicom.bulkdata). Raises NotFound, Gone, DatabaseUnavailable."""
    location, (bulkdata,) = await _one(db, ref, _INSTANCE_AND_BULKDATA)
    return location, bulkdata


def select_locations(extra: Iterable[ColumnElement[Any]] = ()) -> Select[Any]:
    """What `location_of` reads, and `extra` columns behind it, of all instances."""
    return (
        select(*_COLUMNS, *extra)
        .select_from(studies)
        .join(series, series.c.study_id == studies.c.id)
        .join(instances, instances.c.series_id == series.c.id)
    )


def below(statement: Select[Any], ref: Reference) -> Select[Any]:
    """Only what belongs to `ref`, of a statement over studies, series and instances."""
    statement = statement.where(studies.c.study_instance_uid == ref.study_instance_uid)
    if isinstance(ref, SeriesRef | InstanceRef):
        statement = statement.where(series.c.series_instance_uid == ref.series_instance_uid)
    if isinstance(ref, InstanceRef):
        statement = statement.where(instances.c.sop_instance_uid == ref.sop_instance_uid)
    return statement


def location_of(row: AnyRow | tuple[Any, ...]) -> InstanceLocation:
    """From a row of `select_locations`."""
    study, one, instance, *rest = row[: len(_COLUMNS)]
    return InstanceLocation(InstanceRef(study, one, instance), *rest)


async def raise_missing(db: Database, ref: Reference) -> NoReturn:
    """Say why nothing was found: Gone where something below `ref` was deleted and is still remembered, else NotFound."""
    statement = tombstones_below(select(tombstones.c.id), ref).where(tombstones.c.reason == "deleted")
    async with reading(db) as connection:
        deleted = (await connection.execute(statement.limit(1))).first()
    if deleted:
        raise Gone(f"{resource_path(ref)} has been deleted")
    raise NotFound(f"{resource_path(ref)} is not in the archive")


def _statement(*extra: ColumnElement[Any]) -> Select[Any]:
    """For one instance. Statements of the hot paths are built once, see app.db.point_query."""
    return select_locations(extra).where(
        studies.c.study_instance_uid == bindparam("study", type_=Text()),
        series.c.series_instance_uid == bindparam("series", type_=Text()),
        instances.c.sop_instance_uid == bindparam("instance", type_=Text()),
    )


_INSTANCE = _statement()
_INSTANCE_AND_INDEX = _statement(instances.c.frame_index)
_INSTANCE_AND_BULKDATA = _statement(instances.c.bulkdata)


@functools.cache
def _frames_statement(parts: int) -> Select[Any]:
    """The index if it is small or of another form, else NULL, its head, and `parts` parts of it."""
    index = instances.c.frame_index
    whole = or_(
        func.length(index) <= WHOLE_INDEX,
        func.substr(index, 1, len(_ONE_RUN_PER_FRAME), type_=LargeBinary()) != _ONE_RUN_PER_FRAME,
    )

    def part(offset: ColumnElement[int], length: ColumnElement[int]) -> ColumnElement[Any]:
        return case((whole, null()), else_=func.substr(index, offset, length, type_=LargeBinary()))

    return _statement(
        case((whole, index), else_=null()),
        part(literal(1), literal(HEAD_SIZE)),
        *(
            part(bindparam(f"part_offset_{place}", type_=Integer()), bindparam(f"part_length_{place}", type_=Integer()))
            for place in range(parts)
        ),
    )


async def _one(
    db: Database, ref: InstanceRef, statement: Select[Any], values: Mapping[str, int] = MappingProxyType({})
) -> tuple[InstanceLocation, tuple[Any, ...]]:
    """The location and the values of the extra columns. Raises NotFound, Gone, DatabaseUnavailable."""
    named = {"study": ref.study_instance_uid, "series": ref.series_instance_uid, "instance": ref.sop_instance_uid}
    row = await first_row(db, statement, {**named, **values})
    if row is None:
        await raise_missing(db, ref)
    *columns, created_at = row[: len(_COLUMNS)]
    return location_of((*columns, instant(created_at))), row[len(_COLUMNS) :]


def instant(stored: datetime | str) -> datetime:
    """A time as app.db.point_query gives it, aware: SQLite keeps naive texts."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC) if isinstance(stored, str) else stored


def _entry_runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(entries before, entries) of neighbouring frames together, ascending."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if not 1 <= number <= _MAX_ENTRIES:
            continue
        if runs and sum(runs[-1]) == number - 1:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number - 1, 1))
    return runs


def _partial_index(head: bytes, runs: Sequence[tuple[int, int]], parts: Sequence[bytes]) -> PartialIndex:
    # Empty parts are of frames that do not exist.
    index = PartialIndex(head)
    index.parts = [(HEAD_SIZE + first * _ENTRY, part) for (first, _), part in zip(runs, parts, strict=True)]
    return index
