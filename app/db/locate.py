"""Where instances are: the look-ups before bytes are read. One statement each; a second one only says why nothing was found."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    select,
)

from app.db.engine import Database, reading
from app.db.point_query import as_text, first_row
from app.db.search_reader import rows_of
from app.db.tables import instances, series, studies, tombstones
from app.db.tombstones import tombstones_below
from app.dicom.references import InstanceRef, Reference, SeriesRef, StudyRef, resource_path
from app.errors import Gone, NotFound

AnyRow = Row[*tuple[Any, ...]]


class InstanceLocation(NamedTuple):
    """One stored instance. A tuple, for thousands are made for one answer.

    size        of the blob, in bytes
    digest      of the blob: hexadecimal digits and their kind (app.blobs.digests)
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
    return (await find_one(db, ref, _INSTANCE))[0]


async def locate_instances(db: Database, ref: Reference) -> list[InstanceLocation]:
    """Every instance below `ref`, by series number, Series Instance UID, instance number, SOP Instance UID.

    Raises NotFound, Gone, DatabaseUnavailable.
    """
    if isinstance(ref, InstanceRef):
        return [await locate_instance(db, ref)]
    rows = await rows_of(db, as_text(_BELOW[type(ref)], keys_of(ref), db.dialect), in_one_way=True)
    if not rows:
        await raise_missing(db, ref)
    return list(map(location_of, rows))


async def locate_bulkdata(db: Database, ref: InstanceRef) -> tuple[InstanceLocation, bytes]:
    """The instance and its packed list of bulkdata (app.dicom.bulkdata). Raises NotFound, Gone, DatabaseUnavailable."""
    location, (bulkdata,) = await find_one(db, ref, _INSTANCE_AND_BULKDATA)
    return location, bulkdata


def select_locations(extra: Iterable[ColumnElement[Any]] = ()) -> Select[Any]:
    """What `location_of` reads, and `extra` columns behind it, of all instances."""
    return select_instances(*_COLUMNS, *extra)


def select_instances(*columns: ColumnElement[Any]) -> Select[Any]:
    """Columns of all instances, their series and studies."""
    return (
        select(*columns)
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
    """From a row of `select_locations`, as SQLAlchemy or app.db.point_query gives it."""
    study, one, instance, *rest, created_at = row[: len(_COLUMNS)]
    return InstanceLocation._make((InstanceRef(study, one, instance), *rest, instant(created_at)))


async def raise_missing(db: Database, ref: Reference) -> NoReturn:
    """Say why nothing was found: Gone where something below `ref` was deleted and is still remembered, else NotFound."""
    statement = tombstones_below(select(tombstones.c.id), ref).where(tombstones.c.reason == "deleted")
    async with reading(db) as connection:
        deleted = (await connection.execute(statement.limit(1))).first()
    if deleted:
        raise Gone(f"{resource_path(ref)} has been deleted")
    raise NotFound(f"{resource_path(ref)} is not in the archive")


# Statements of the hot paths are built once, see app.db.point_query; their parameters are `keys_of` a reference.
KEYS: dict[str, ColumnElement[Any]] = {
    "study": studies.c.study_instance_uid,
    "series": series.c.series_instance_uid,
    "instance": instances.c.sop_instance_uid,
}


def below_keys(statement: Select[Any], kind: type[Reference]) -> Select[Any]:
    """As `below`, of a statement that is built once for all references of a kind."""
    names = list(KEYS)[: len(fields(kind))]
    return statement.where(*(KEYS[name] == bindparam(name, type_=Text()) for name in names))


def select_one(*extra: ColumnElement[Any]) -> Select[Any]:
    """One instance, and `extra` columns of it."""
    return below_keys(select_locations(extra), InstanceRef)


_INSTANCE = select_one()
_INSTANCE_AND_BULKDATA = select_one(instances.c.bulkdata)
KINDS: tuple[type[Reference], ...] = (StudyRef, SeriesRef, InstanceRef)
_BELOW = {kind: below_keys(select_locations().order_by(*READING_ORDER), kind) for kind in (StudyRef, SeriesRef)}


async def find_one(db: Database, ref: InstanceRef, statement: Select[Any]) -> tuple[InstanceLocation, tuple[Any, ...]]:
    """The location and the values of the extra columns. Raises NotFound, Gone, DatabaseUnavailable."""
    row = await first_row(db, statement, keys_of(ref))
    if row is None:
        await raise_missing(db, ref)
    return looked_up(row)


def keys_of(ref: Reference) -> dict[str, Any]:
    """The parameters of the statements for such a reference."""
    keys = {"study": ref.study_instance_uid}
    if isinstance(ref, SeriesRef | InstanceRef):
        keys["series"] = ref.series_instance_uid
    if isinstance(ref, InstanceRef):
        keys["instance"] = ref.sop_instance_uid
    return keys


def looked_up(row: tuple[Any, ...]) -> tuple[InstanceLocation, tuple[Any, ...]]:
    """The location and the values of the extra columns, from a row of `select_one` as app.db.point_query gives it."""
    return location_of(row), row[len(_COLUMNS) :]


def instant(stored: datetime | str) -> datetime:
    """A time as app.db.point_query gives it, aware: SQLite keeps naive texts."""
    return datetime.fromisoformat(f"{stored}+00:00") if isinstance(stored, str) else stored
