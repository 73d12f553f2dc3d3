"""Requests that come together share a piece of work, and nothing else."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from app.db.engine import Database
from app.db.group_queue import GroupQueue
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, ingest
from app.db.inventory import counts
from app.dicom.instance import InstanceRecord
from app.errors import DatabaseUnavailable
from tests.support.consistency import assert_consistent
from tests.support.records import make_record

MONTH = timedelta(days=30)
REPLACE, KEEP = DuplicatePolicy.REPLACE, DuplicatePolicy.KEEP


class Rows:
    """Transactions of records through a queue. groups: how many records each had."""

    def __init__(self, db: Database, group_items: int = 256) -> None:
        self.queue = GroupQueue(group_items)
        self.groups: list[int] = []
        self._db = db

    async def write(self, *records: InstanceRecord, duplicates: DuplicatePolicy = REPLACE) -> list[IngestResult]:
        return await self.queue.put(self._ingest, duplicates, records)

    async def _ingest(self, duplicates: DuplicatePolicy, records: Sequence[InstanceRecord]) -> list[IngestResult]:
        self.groups.append(len(records))
        return await ingest(self._db, records, duplicates=duplicates, retention=MONTH)


@pytest.fixture
def rows(db: Database) -> Rows:
    return Rows(db)


async def test_one_after_the_other_waits_for_nobody(rows: Rows) -> None:
    for _ in range(3):
        (result,) = await rows.write(make_record())
        assert result.outcome is Outcome.CREATED
    assert rows.groups == [1, 1, 1]


async def test_those_who_come_together_share(rows: Rows, db: Database) -> None:
    requests = [[make_record("1.2", f"1.2.{number % 3}") for _ in range(number + 1)] for number in range(10)]
    answers = await asyncio.gather(*(rows.write(*records) for records in requests))
    for records, results in zip(requests, answers, strict=True):
        assert [result.ref for result in results] == [record.ref for record in records]
    # All ten had come before the first transaction began.
    assert rows.groups == [55]
    assert sum(result.study_created for results in answers for result in results) == 1
    assert await counts(db) == (1, 3, 55)
    await assert_consistent(db)


async def test_a_group_is_bounded(db: Database) -> None:
    rows = Rows(db, group_items=5)
    requests = [[make_record("1.2", "1.2.1") for _ in range(number)] for number in (3, 2, 1, 7, 4)]
    await asyncio.gather(*(rows.write(*records) for records in requests))
    assert rows.groups == [5, 1, 7, 4]


async def test_what_is_done_otherwise_is_done_apart(rows: Rows) -> None:
    first = make_record("1.2", "1.2.1", "1.2.1.1", PatientName="A")
    second = make_record("1.2", "1.2.1", "1.2.1.1", PatientName="B")
    (stored,), (kept,) = await asyncio.gather(rows.write(first), rows.write(second, duplicates=KEEP))
    assert (stored.outcome, kept.outcome) == (Outcome.CREATED, Outcome.REFUSED)
    assert rows.groups == [1, 1]


async def test_one_that_cannot_be_done_does_not_harm_the_others(rows: Rows, db: Database) -> None:
    taken = make_record()
    await rows.write(taken)
    bad = replace(make_record(), blob_key=taken.blob_key)
    good = [make_record() for _ in range(3)]
    answers = await asyncio.gather(
        *(rows.write(record) for record in (good[0], bad, *good[1:])), return_exceptions=True
    )
    assert isinstance(answers.pop(1), IntegrityError)
    assert [answer[0].outcome for answer in answers if isinstance(answer, list)] == [Outcome.CREATED] * 3
    assert rows.groups == [1, 4, 1, 1, 1, 1]
    await assert_consistent(db)


async def away(_manner: None, _items: Sequence[int]) -> list[int]:
    raise DatabaseUnavailable("away")


async def doubled(_manner: None, items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


async def test_what_is_away_is_told_to_all_and_tried_once() -> None:
    tried = 0

    async def counted(manner: None, items: Sequence[int]) -> list[int]:
        nonlocal tried
        tried += 1
        return await away(manner, items)

    queue = GroupQueue(10)
    answers = await asyncio.gather(*(queue.put(counted, None, [number]) for number in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 4
    assert tried == 1
    assert await queue.put(doubled, None, [4]) == [8]


async def test_one_who_leaves_does_not_stop_the_others(rows: Rows, db: Database) -> None:
    records = [make_record() for _ in range(3)]
    tasks = [asyncio.create_task(rows.write(record)) for record in records]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
    assert [answers[place][0].outcome for place in (0, 2)] == [Outcome.CREATED] * 2
    assert (await counts(db))[2] == 3


@pytest.mark.parametrize(("at_once", "groups"), [(1, [[0], [1, 2, 3, 4]]), (2, [[0], [1], [2, 3, 4]])])
async def test_what_comes_meanwhile_gathers(at_once: int, groups: list[list[int]]) -> None:
    gate, found = asyncio.Event(), []

    async def held_up(_manner: None, items: Sequence[int]) -> list[int]:
        found.append(list(items))
        await gate.wait()
        return list(items)

    queue = GroupQueue(10, at_once)
    waiting = []
    for number in range(5):
        waiting.append(queue.put(held_up, None, [number]))
        await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting) == [[number] for number in range(5)]
    assert found == groups


class HeldUp:
    """Work that takes until it is let go. begun: the items of each group."""

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.news: asyncio.Queue[None] = asyncio.Queue()
        self.gate = asyncio.Event()

    async def work(self, _manner: None, items: Sequence[int]) -> list[int]:
        self.begun.append(list(items))
        self.news.put_nowait(None)
        await self.gate.wait()
        return list(items)


async def test_who_has_patience_begins_nothing_beside_what_is_under_way() -> None:
    held_up = HeldUp()
    queue = GroupQueue(10, 4, patience=3600)
    waiting = []
    for number in range(5):
        waiting.append(queue.put(held_up.work, None, [number]))
        await asyncio.sleep(0)
    assert held_up.begun == [[0]]
    held_up.gate.set()
    assert await asyncio.gather(*waiting) == [[number] for number in range(5)]
    assert held_up.begun == [[0], [1, 2, 3, 4]]


async def test_what_takes_long_is_not_waited_for() -> None:
    held_up = HeldUp()
    queue = GroupQueue(10, 3, patience=0.001)
    waiting = []
    async with asyncio.timeout(30):
        for number in range(3):
            waiting.append(queue.put(held_up.work, None, [number]))
            await held_up.news.get()
        waiting += [queue.put(held_up.work, None, [number]) for number in (3, 4)]
        await asyncio.sleep(0.05)
        assert held_up.begun == [[0], [1], [2]]  # no more than three at once
        held_up.gate.set()
        assert await asyncio.gather(*waiting) == [[number] for number in range(5)]
    assert held_up.begun == [[0], [1], [2], [3, 4]]
    assert await queue.put(doubled, None, [4]) == [8]


async def test_who_waits_too_long_is_told() -> None:
    held_up = HeldUp()
    queue = GroupQueue(10, 1, patience=0.001, longest_wait=0.02)
    first = queue.put(held_up.work, None, [0])
    await asyncio.sleep(0)
    second, left = queue.put(held_up.work, None, [1]), queue.put(held_up.work, None, [2])
    left.cancel()
    with pytest.raises(TimeoutError):
        await second
    held_up.gate.set()
    assert await first == [0]
    assert not any(1 in group for group in held_up.begun)
    assert await queue.put(doubled, None, [4]) == [8]


async def test_a_queue_that_has_just_become_empty_takes_more() -> None:
    queue = GroupQueue(10)
    answers = []

    async def again(number: int) -> None:
        for turn in range(20):
            answers.extend(await queue.put(doubled, None, [number * 100 + turn]))

    async with asyncio.timeout(10):
        await asyncio.gather(*(again(number) for number in range(3)))
    assert len(answers) == 60
