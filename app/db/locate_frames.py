"""Where frames are: one statement gives the instance and, of its frame index, what the wanted frames need.

An object of 100,000 frames has an index of 1.6 MB, of which a request needs 16 bytes. PostgreSQL cuts them out of the stored
value. SQLite would load the whole value for each substr() in a statement (0.1 ms): there the value is opened and read in place.
"""

import functools
import sqlite3
import struct
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Integer, LargeBinary, Select, bindparam, case, func, literal, null, or_

from app.db.engine import Database
from app.db.locate import InstanceLocation, keys_of, looked_up, raise_missing, select_one
from app.db.point_query import Locked, Moment, at_one_moment, first_row, row_at_once
from app.db.tables import instances
from app.dicom.frame_index import HEAD_SIZE, PartialIndex
from app.dicom.references import InstanceRef

# A frame index up to this size is fetched whole; of a larger one only the runs of the wanted frames.
WHOLE_INDEX = 64 * 1024
# The first time that SQLite meets one, it is loaded up to this size, which takes a millisecond: one statement does.
INDEX_ONCE = 4 * 1024 * 1024
_MAX_SLICES = 8
# How app.dicom.frame_index begins a table of one run per frame, the only form that grows large in practice: its entry for
# frame n can be named in the statement itself, before the index has been seen.
_ONE_RUN_PER_FRAME = struct.pack("<BBHI", 2, 1, 0, 1)
_ENTRY = 16
_MAX_ENTRIES = 2**30 // _ENTRY  # a value of PostgreSQL holds 1 GiB at most, and takes 32-bit positions

_REMEMBERED = 1000
_with_large_index: set[InstanceRef] = set()  # as it was when they were last looked up: what is true is read each time

EntryRun = tuple[int, int]  # (entries before, entries)
Located = tuple[InstanceLocation, bytes]


async def locate_frames(db: Database, ref: InstanceRef, numbers: Sequence[int]) -> tuple[InstanceLocation, bytes]:
    """The instance and its packed frame index (app.dicom.frame_index); b"" where it has no frames.

    Of a large index only the entries of the frames `numbers` are there (PartialIndex). Numbers that do not exist are not an error
    here. Raises NotFound, Gone, DatabaseUnavailable.
    """
    runs = _entry_runs(numbers)
    try:
        located = _read_in_place(db, ref, runs) if db.dialect == "sqlite" else await _cut_out(db, ref, runs)
    except Locked:
        located = await _cut_out(db, ref, runs)
    if located is None:
        await raise_missing(db, ref)
    return located


def _read_in_place(db: Database, ref: InstanceRef, runs: Sequence[EntryRun]) -> Located | None:
    """Of SQLite, without waiting. Raises Locked, DatabaseUnavailable."""
    if ref in _with_large_index:
        return _read_parts_in_place(db, ref, runs)
    row = row_at_once(db, _INSTANCE_AND_INDEX_ONCE, keys_of(ref))
    if row is None:
        return None
    location, (index,) = looked_up(row)
    if index is not None and len(index) <= WHOLE_INDEX:
        return location, index
    if len(_with_large_index) >= _REMEMBERED:
        _with_large_index.clear()
    _with_large_index.add(ref)
    return (location, index) if index is not None else _read_parts_in_place(db, ref, runs)


def _read_parts_in_place(db: Database, ref: InstanceRef, runs: Sequence[EntryRun]) -> Located | None:
    """The same by parts of the value, row and value in one state of the database."""

    def look(moment: Moment) -> Located | None:
        row = moment.first_row(_INSTANCE_AND_SMALL_INDEX, keys_of(ref))
        if row is None:
            return None
        location, (index,) = looked_up(row)
        if index is None:
            with moment.open_value(instances.c.frame_index, location.id) as value:
                index = _read_parts(value, runs)
        return location, index

    return at_one_moment(db, look)


async def _cut_out(db: Database, ref: InstanceRef, runs: Sequence[EntryRun]) -> Located | None:
    """In the statement itself. Raises DatabaseUnavailable."""
    if len(runs) > _MAX_SLICES:
        runs, statement = (), _INSTANCE_AND_INDEX
    else:
        statement = _cutting_statement(len(runs))
    values = keys_of(ref)
    for place, (first, count) in enumerate(runs):
        values[f"part_offset_{place}"] = HEAD_SIZE + first * _ENTRY + 1
        values[f"part_length_{place}"] = count * _ENTRY
    row = await first_row(db, statement, values)
    if row is None:
        return None
    location, (whole, *cut) = looked_up(row)
    return location, _partial_index(cut[0], runs, cut[1:]) if whole is None else whole


def _read_parts(value: sqlite3.Blob, runs: Sequence[EntryRun]) -> bytes:
    if len(runs) > _MAX_SLICES or _part(value, 0, len(_ONE_RUN_PER_FRAME)) != _ONE_RUN_PER_FRAME:
        return _part(value, 0, len(value))
    parts = [_part(value, HEAD_SIZE + first * _ENTRY, count * _ENTRY) for first, count in runs]
    return _partial_index(_part(value, 0, HEAD_SIZE), runs, parts)


def _part(value: sqlite3.Blob, offset: int, length: int) -> bytes:
    """As much of it as there is."""
    value.seek(min(offset, len(value)))
    return value.read(length)


_SIZE = func.length(instances.c.frame_index)
_INSTANCE_AND_INDEX = select_one(instances.c.frame_index)
_INSTANCE_AND_INDEX_ONCE = select_one(case((_SIZE <= INDEX_ONCE, instances.c.frame_index), else_=null()))
_INSTANCE_AND_SMALL_INDEX = select_one(case((_SIZE <= WHOLE_INDEX, instances.c.frame_index), else_=null()))


@functools.cache
def _cutting_statement(parts: int) -> Select[Any]:
    """The index if it is small or of another form, else NULL, its head, and `parts` parts of it."""
    index = instances.c.frame_index
    whole = or_(
        _SIZE <= WHOLE_INDEX,
        func.substr(index, 1, len(_ONE_RUN_PER_FRAME), type_=LargeBinary()) != _ONE_RUN_PER_FRAME,
    )

    def part(offset: ColumnElement[int], length: ColumnElement[int]) -> ColumnElement[Any]:
        return case((whole, null()), else_=func.substr(index, offset, length, type_=LargeBinary()))

    return select_one(
        case((whole, index), else_=null()),
        part(literal(1), literal(HEAD_SIZE)),
        *(
            part(bindparam(f"part_offset_{place}", type_=Integer()), bindparam(f"part_length_{place}", type_=Integer()))
            for place in range(parts)
        ),
    )


def _entry_runs(numbers: Sequence[int]) -> list[EntryRun]:
    """Neighbouring frames together, ascending."""
    if isinstance(numbers, range) and numbers.step == 1 and 1 <= numbers.start < numbers.stop <= _MAX_ENTRIES:
        return [(numbers.start - 1, len(numbers))]  # all frames of an object are very many
    runs: list[EntryRun] = []
    for number in sorted(set(numbers)):
        if not 1 <= number <= _MAX_ENTRIES:
            continue
        if runs and sum(runs[-1]) == number - 1:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number - 1, 1))
    return runs


def _partial_index(head: bytes, runs: Sequence[EntryRun], parts: Sequence[bytes]) -> PartialIndex:
    # Empty parts are of frames that do not exist.
    index = PartialIndex(head)
    index.parts = [(HEAD_SIZE + first * _ENTRY, part) for (first, _), part in zip(runs, parts, strict=True)]
    return index
