"""Verify: every row's blob is there, with the size and the digest that were acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from app.blobs.base import BlobStore
from app.db.inventory import iterate_instances
from app.db.locate import InstanceLocation
from app.services.archive import Archive
from app.services.blob_damage import damage_of_blob

CONCURRENT = 4


@dataclass(frozen=True, slots=True)
class Damage:
    """One instance whose blob is not what was stored."""

    blob_key: str
    sop_instance_uid: str
    problem: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    instances: int
    size: int
    damaged: tuple[Damage, ...]


async def verify(archive: Archive, on_progress: Callable[[int], None] = lambda _: None) -> VerifyReport:
    """Read every blob once. `on_progress` gets the number of instances done. Raises Unavailable."""
    damaged: list[Damage] = []
    done = size = 0
    running: set[asyncio.Task[Damage | None]] = set()

    async def end_some() -> None:
        nonlocal done, running
        finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        damaged.extend(damage for task in finished if (damage := task.result()))
        done += len(finished)
        on_progress(done)

    try:
        async for location in iterate_instances(archive.db):
            running.add(asyncio.create_task(_check(archive.blobs, location)))
            size += location.size
            if len(running) >= CONCURRENT:
                await end_some()
        while running:
            await end_some()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return VerifyReport(done, size, tuple(damaged))


async def _check(blobs: BlobStore, location: InstanceLocation) -> Damage | None:
    problem = await damage_of_blob(blobs, location.blob_key, location.size, location.digest)
    return Damage(location.blob_key, location.ref.sop_instance_uid, problem) if problem else None
