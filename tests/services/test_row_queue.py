"""Requests that come together share a transaction, and nothing else."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.db.engine import Database
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, ingest
from app.db.inventory import counts
from app.dicom.instance import InstanceRecord
from app.errors import DatabaseUnavailable
from app.services import row_queue
from app.services.row_queue import RowQueue
from tests.support.consistency import assert_consistent
from tests.support.records import make_record

MONTH = timedelta(days=30)
REPLACE, KEEP = DuplicatePolicy.REPLACE, DuplicatePolicy.KEEP


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each transaction had."""
    sizes: list[int] = []

    async def counted(db: Database, records: Sequence[InstanceRecord], **manner: Any) -> list[IngestResult]:
        sizes.append(len(records))
        return await ingest(db, records, **manner)

    monkeypatch.setattr(row_queue, "ingest", counted)
    return sizes


async def write(queue: RowQueue, db: Database, *records: InstanceRecord, duplicates: DuplicatePolicy = REPLACE) -> Any:
    return await queue.ingest(db, records, duplicates=duplicates, retention=MONTH)


async def test_one_after_the_other_waits_for_nobody(db: Database, groups: list[int]) -> None:
    queue = RowQueue()
    for _ in range(3):
        (result,) = await write(queue, db, make_record())
        assert result.outcome is Outcome.CREATED
    assert groups == [1, 1, 1]


async def test_those_who_come_together_share(db: Database, groups: list[int]) -> None:
    queue = RowQueue()
    requests = [[make_record("1.2", f"1.2.{number % 3}") for _ in range(number + 1)] for number in range(10)]
    answers = await asyncio.gather(*(write(queue, db, *records) for records in requests))
    for records, results in zip(requests, answers, strict=True):
        assert [result.ref for result in results] == [record.ref for record in records]
    # All ten had come before the first transaction began.
    assert groups == [55]
    assert sum(result.study_created for results in answers for result in results) == 1
    assert await counts(db) == (1, 3, 55)
    await assert_consistent(db)


async def test_a_group_is_bounded(db: Database, groups: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_queue, "GROUP_RECORDS", 5)
    queue = RowQueue()
    requests = [[make_record("1.2", "1.2.1") for _ in range(number)] for number in (3, 2, 1, 7, 4)]
    await asyncio.gather(*(write(queue, db, *records) for records in requests))
    assert groups == [5, 1, 7, 4]


async def test_what_is_written_otherwise_is_written_apart(db: Database, groups: list[int]) -> None:
    queue = RowQueue()
    first = make_record("1.2", "1.2.1", "1.2.1.1", PatientName="A")
    second = make_record("1.2", "1.2.1", "1.2.1.1", PatientName="B")
    (stored,), (kept,) = await asyncio.gather(write(queue, db, first), write(queue, db, second, duplicates=KEEP))
    assert (stored.outcome, kept.outcome) == (Outcome.CREATED, Outcome.REFUSED)
    assert groups == [1, 1]


async def test_one_that_cannot_be_written_does_not_harm_the_others(db: Database, groups: list[int]) -> None:
    queue = RowQueue()
    taken = make_record()
    await write(queue, db, taken)
    bad = replace(make_record(), blob_key=taken.blob_key)
    good = [make_record() for _ in range(3)]
    answers = await asyncio.gather(
        *(write(queue, db, record) for record in (good[0], bad, *good[1:])), return_exceptions=True
    )
    assert isinstance(answers.pop(1), IntegrityError)
    assert [result.outcome for (result,) in answers] == [Outcome.CREATED] * 3
    assert groups == [1, 4, 1, 1, 1, 1]
    await assert_consistent(db)


async def test_a_database_that_is_away_is_told_to_all_and_tried_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    async def away(*_: Any, **__: Any) -> list[IngestResult]:
        nonlocal tried
        tried += 1
        raise DatabaseUnavailable("away")

    queue = RowQueue()
    with monkeypatch.context() as patch:
        patch.setattr(row_queue, "ingest", away)
        answers = await asyncio.gather(*(write(queue, db, make_record()) for _ in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 4
    assert tried == 1
    (result,) = await write(queue, db, make_record())
    assert result.outcome is Outcome.CREATED


async def test_one_who_leaves_does_not_stop_the_others(db: Database) -> None:
    queue = RowQueue()
    records = [make_record() for _ in range(3)]
    tasks = [asyncio.create_task(write(queue, db, record)) for record in records]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answers[place][0].outcome for place in (0, 2)] == [Outcome.CREATED] * 2
    assert (await counts(db))[2] == 3
