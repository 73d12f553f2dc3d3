"""Many writers at once, in one process and in several: nothing lost, nothing twice, no deadlock seen by anyone."""

import asyncio
import contextlib
import random
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from app.db.deletion import delete
from app.db.engine import Database, close_database, open_database
from app.db.ingest import DuplicatePolicy, IngestResult, Outcome, ingest
from app.db.inventory import counts
from app.db.locate import locate_instances
from app.dicom.instance import InstanceRecord
from app.dicom.references import SeriesRef, StudyRef
from app.errors import NotFound
from tests.support.consistency import assert_consistent, list_tombstones
from tests.support.dicom_bytes import make_instance
from tests.support.records import make_record, record_of

MONTH = timedelta(days=30)
WRITERS = 16


def contents(study: str, *, versions: int = 2) -> list[bytes]:
    """30 instances in 3 series, each with so many contents that differ."""
    return [
        make_instance(
            study,
            f"{study}.{number % 3}",
            f"{study}.{number % 3}.{number}",
            rows=0,
            PatientName=f"Name^{version}",
            StudyDate=f"2024010{1 + version}",
            Modality="CT" if number % 3 else "MR",
            InstanceNumber=str(number),
        )
        for number in range(30)
        for version in range(versions)
    ]


async def write(
    db: Database, records: list[InstanceRecord], duplicates: DuplicatePolicy, *, size: int = 7
) -> list[IngestResult]:
    results: list[IngestResult] = []
    for first in range(0, len(records), size):
        results += await ingest(db, records[first : first + size], duplicates=duplicates, retention=MONTH)
        await asyncio.sleep(0)
    return results


@pytest.mark.parametrize("duplicates", DuplicatePolicy)
async def test_writers_of_one_study(db: Database, duplicates: DuplicatePolicy) -> None:
    files = contents("1.2")
    shuffled = random.Random(1)

    async def writer(_number: int) -> list[tuple[InstanceRecord, IngestResult]]:
        records = [record_of(data) for data in files]
        shuffled.shuffle(records)
        return list(zip(records, await write(db, records, duplicates), strict=True))

    done = [pair for pairs in await asyncio.gather(*map(writer, range(WRITERS))) for pair in pairs]
    assert await counts(db) == (1, 3, 30)
    await assert_consistent(db)
    assert Counter(result.outcome for _, result in done)[Outcome.CREATED] == 30
    assert sum(result.study_created for _, result in done) == 1
    assert sum(result.series_created for _, result in done) == 3
    # Every blob is live, or reported as surplus, or remembered by a tombstone: exactly one of them.
    live = {location.blob_key for location in await locate_instances(db, StudyRef("1.2"))}
    dead = {tombstone.blob_key for tombstone in await list_tombstones(db)}
    surplus = {result.surplus_blob_key for _, result in done if result.surplus_blob_key}
    every = [record.blob_key for record, _ in done]
    assert len(live) + len(dead) + len(surplus) == len(every)
    assert live | dead | surplus == set(every)
    assert dead == {result.replaced_blob_key for _, result in done if result.replaced_blob_key}
    assert bool(dead) == (duplicates is DuplicatePolicy.REPLACE)


async def test_writers_of_many_studies_in_opposite_orders(db: Database) -> None:
    async def writer(number: int) -> None:
        records = [make_record(f"1.{study}", f"1.{study}.{study % 2}", rows=0) for study in range(12)]
        await write(db, records if number % 2 else records[::-1], DuplicatePolicy.REPLACE, size=12)

    await asyncio.gather(*map(writer, range(WRITERS)))
    assert await counts(db) == (12, 12, 12 * WRITERS)
    await assert_consistent(db)


async def test_deleting_while_storing(db: Database) -> None:
    files = contents("1.2")
    stored: list[str] = []
    deleted: list[str] = []
    running = True

    async def writer(seed: int) -> None:
        records = [record_of(data) for data in files]
        random.Random(seed).shuffle(records)
        for record, result in zip(records, await write(db, records, DuplicatePolicy.REPLACE, size=3), strict=True):
            if result.surplus_blob_key is None:
                stored.append(record.blob_key)

    async def deletes() -> None:
        chosen = random.Random(9)
        while running:
            with contextlib.suppress(NotFound):
                found = [one.ref for one in await locate_instances(db, StudyRef("1.2"))]
                ref = chosen.choice([StudyRef("1.2"), SeriesRef("1.2", "1.2.1"), chosen.choice(found)])
                deleted.extend(await delete(db, ref, retention=MONTH))
            await asyncio.sleep(0.01)

    deleting = asyncio.create_task(deletes())
    await asyncio.gather(*map(writer, range(6)))
    running = False
    await deleting
    await assert_consistent(db)
    assert deleted
    try:
        live = [location.blob_key for location in await locate_instances(db, StudyRef("1.2"))]
    except NotFound:
        live = []
    dead = [tombstone.blob_key for tombstone in await list_tombstones(db)]
    assert sorted(live + dead) == sorted(stored)  # nothing that was acknowledged is forgotten
    assert set(deleted) <= set(dead)


PROCESS = """
import asyncio, random, sys
from datetime import timedelta
from app.db.engine import close_database, open_database
from app.db.ingest import DuplicatePolicy, ingest
from app.db.migrate import migrate
from tests.db.test_ingest_concurrency import contents
from tests.support.records import record_of

async def main(url, seed):
    db = await open_database(url)
    await migrate(db)
    records = [record_of(data) for data in contents("1.2") + contents("1.3", versions=1)]
    random.Random(seed).shuffle(records)
    created = 0
    for first in range(0, len(records), 5):
        results = await ingest(
            db, records[first:first + 5], duplicates=DuplicatePolicy.REPLACE, retention=timedelta(days=1)
        )
        created += sum(result.outcome == "created" for result in results)
    await close_database(db)
    print(created)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_several_processes(database_url: str) -> None:
    root = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(  # noqa: ASYNC220 - starting takes no time, and they must all run at once
            [sys.executable, "-c", PROCESS, database_url, str(seed)],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    created = 0
    for process in processes:
        out, err = await asyncio.to_thread(process.communicate, None, 120)
        assert process.returncode == 0, err
        created += int(out)
    db = await open_database(database_url)
    assert created == 60
    assert await counts(db) == (2, 6, 60)
    await assert_consistent(db)
    await close_database(db)
