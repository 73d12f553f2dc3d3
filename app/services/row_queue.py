"""Rows of several requests in one transaction: while one is being committed, what comes gathers for the next.

A commit costs about the same for one instance as for many: the statements, the round trips, forcing it to disk. Requests that
arrive one by one wait for nobody; requests that arrive together share. Each is answered only when its own rows are committed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.db.engine import Database
from app.db.ingest import DuplicatePolicy, IngestResult, ingest
from app.dicom.instance import InstanceRecord
from app.errors import Unavailable
from app.observability import log

GROUP_RECORDS = 256  # of a transaction, unless one request alone has more: it holds its locks for some 100 ms


@dataclass(frozen=True, slots=True)
class _Manner:
    """Only what is to be written in the same manner shares a transaction."""

    db: Database
    duplicates: DuplicatePolicy
    retention: timedelta


@dataclass(frozen=True, slots=True)
class _Waiting:
    manner: _Manner
    records: Sequence[InstanceRecord]
    results: asyncio.Future[list[IngestResult]]


class RowQueue:
    """One for each archive and process."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def ingest(
        self, db: Database, records: Sequence[InstanceRecord], *, duplicates: DuplicatePolicy, retention: timedelta
    ) -> list[IngestResult]:
        """As `app.db.ingest.ingest`. What is under way goes on when the caller is cancelled."""
        manner = _Manner(db, duplicates, retention)
        waiting = _Waiting(manner, records, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await waiting.results

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write(self._next_group())
        finally:
            self._writing = None

    def _next_group(self) -> list[_Waiting]:
        count = size = 0
        for waiting in self._waiting:
            size += len(waiting.records)
            if count and (size > GROUP_RECORDS or waiting.manner != self._waiting[0].manner):
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _write(self, group: Sequence[_Waiting]) -> None:
        """Never raises: every one of the group gets its results or the error."""
        records = [record for waiting in group for record in waiting.records]
        manner = group[0].manner
        try:
            found = await ingest(manner.db, records, duplicates=manner.duplicates, retention=manner.retention)
        except BaseException as error:
            if len(group) > 1 and isinstance(error, Exception) and not isinstance(error, Unavailable):
                # What one request brought cannot be written: the others are not to suffer for it.
                log.warning("store.group_split", requests=len(group), error=str(error))
                for waiting in group:
                    await self._write([waiting])
                return
            for waiting in group:
                if not waiting.results.done():
                    waiting.results.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        at = 0
        for waiting in group:
            if not waiting.results.done():
                waiting.results.set_result(found[at : at + len(waiting.records)])
            at += len(waiting.records)
