"""A small blob beside each deleted or replaced one, so that a database rebuilt from the blob store knows what was live.

The database decides; these follow it. One that could not be written is written by the next sweep.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import orjson

from app.blobs.base import BlobStore
from app.blobs.keys import tombstone_key


async def record_tombstones(blobs: BlobStore, blob_keys: Iterable[str], reason: str) -> None:
    """Mark blobs as `deleted` or `replaced`. Raises Unavailable."""
    text = orjson.dumps({"reason": reason, "at": datetime.now(UTC).isoformat()})
    for key in blob_keys:
        writer = await blobs.open_writer()
        try:
            await writer.write(text)
            await writer.commit(tombstone_key(key))
        except BaseException:
            await writer.cancel()
            raise


async def erase_tombstones(blobs: BlobStore, blob_keys: Iterable[str]) -> None:
    """The blobs are live again, or gone for good. Raises Unavailable."""
    for key in blob_keys:
        await blobs.delete(tombstone_key(key))
