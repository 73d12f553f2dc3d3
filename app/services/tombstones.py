"""A small blob beside each deleted or replaced one, so that a database rebuilt from the blob store knows what was live.

The database decides; these follow it. One that could not be written is written by the next sweep.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import orjson

from app.blobs.base import BlobStore
from app.blobs.keys import tombstone_key

AT_ONCE = 16  # each takes a turn of the disk or of the network, and they share it


async def record_tombstones(blobs: BlobStore, blob_keys: Iterable[str], reason: str) -> None:
    """Mark blobs as `deleted` or `replaced`. Raises Unavailable; others may be marked then."""
    text = orjson.dumps({"reason": reason, "at": datetime.now(UTC).isoformat()})

    async def record(key: str) -> None:
        writer = await blobs.open_writer()
        try:
            await writer.write(text)
            await writer.commit(tombstone_key(key))
        except BaseException:
            await writer.cancel()
            raise

    await _each(blob_keys, record)


async def erase_tombstones(blobs: BlobStore, blob_keys: Iterable[str]) -> None:
    """The blobs are live again, or gone for good. Raises Unavailable; others may be erased then."""
    await _each(blob_keys, lambda key: blobs.delete(tombstone_key(key)))


async def _each(keys: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
    """AT_ONCE of them at a time. The first error ends them all, and is raised when they have ended."""
    keys = list(keys)
    waiting = iter(keys)

    async def one_after_another() -> None:
        for key in waiting:
            await work(key)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(keys))):
                group.create_task(one_after_another())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
