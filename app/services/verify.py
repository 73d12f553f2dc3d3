"""Verify: every row's blob is there, with the size and the digest that were acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from app.blobs.base import BlobStore
from app.blobs.digests import BlobHash
from app.db.inventory import iterate_instances
from app.db.locate import InstanceLocation
from app.errors import BlobNotFound, BlobStoreUnavailable
from app.services.archive import Archive

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
    async for location in iterate_instances(archive.db):
        running.add(asyncio.create_task(_check(archive.blobs, location)))
        size += location.size
        if len(running) >= CONCURRENT:
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            damaged += [damage for task in finished if (damage := task.result())]
            done += len(finished)
            on_progress(done)
    for task in asyncio.as_completed(running):
        if damage := await task:
            damaged.append(damage)
        done += 1
        on_progress(done)
    return VerifyReport(done, size, tuple(damaged))


async def _check(blobs: BlobStore, location: InstanceLocation) -> Damage | None:
    found = BlobHash(like=location.digest)
    size = 0
    try:
        async for chunk in blobs.open(location.blob_key):
            size += len(chunk)
            found.update(chunk)
    except BlobNotFound:
        return _damage(location, "the blob is missing")
    except BlobStoreUnavailable as error:
        return _damage(location, f"the blob cannot be read: {error}")
    if size != location.size:
        return _damage(location, f"the blob has {size} bytes, stored were {location.size}")
    if found.digest != location.digest:
        return _damage(location, "the blob's digest is not that of what was stored")
    return None


def _damage(location: InstanceLocation, problem: str) -> Damage:
    return Damage(location.blob_key, location.ref.sop_instance_uid, problem)
