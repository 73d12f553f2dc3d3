"""Whether a blob still is what was stored."""

import asyncio

from app.blobs.base import BlobStore
from app.blobs.digests import BlobHash
from app.errors import BlobNotFound, BlobStoreUnavailable


async def damage_of_blob(blobs: BlobStore, key: str, size: int, digest: str) -> str:
    """What is wrong with it, in words; "" where all of its bytes, which are read once, are those of `digest`."""
    found = BlobHash(like=digest)
    count = 0
    try:
        async for chunk in blobs.open(key):
            count += len(chunk)
            await asyncio.to_thread(found.update, chunk)
    except BlobNotFound:
        return "the blob is missing"
    except BlobStoreUnavailable as error:
        return f"the blob cannot be read: {error}"
    if count != size:
        return f"the blob has {count} bytes, stored were {size}"
    if found.digest != digest:
        return "the blob's digest is not that of what was stored"
    return ""
