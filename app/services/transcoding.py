"""Frames in another transfer syntax: decoded and encoded in codec threads, each one once at a time, kept for the next reader.

What a frame becomes follows from the stored bytes and the transfer syntax alone, so that (digest, frame, syntax) is its name.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from app import __version__
from app.dicom.frame_conversion import FrameConversion, convert_frame
from app.errors import CodecError
from app.services.archive import Archive

# Seconds. What takes less is not kept: reading it from the cache would not be faster.
WORTH_KEEPING = 0.005


def check_limits(archive: Archive, conversion: FrameConversion) -> None:
    """Raises CodecError for frames larger than the archive decodes."""
    limit = archive.limits.max_decoded_bytes
    if conversion.native.frame_bits // 8 > limit and not conversion.recompresses:
        raise CodecError(f"a decoded frame would be larger than {limit} bytes")


def conversion_key(digest: str, transfer_syntax_uid: str, frame: int | None = None) -> str:
    """Name of a converted frame, or of a converted instance, in the cache."""
    part = "instance" if frame is None else f"frame {frame}"
    return f"{part} of {digest} in {transfer_syntax_uid} by {__version__}"


class ConvertedFrames:
    """Frames of one instance, converted. `keep`: put them into the cache."""

    def __init__(self, archive: Archive, digest: str, conversion: FrameConversion, *, keep: bool) -> None:
        self._archive = archive
        self._digest = digest
        self._conversion = conversion
        self._keep = keep

    async def find(self, numbers: Sequence[int]) -> list[bytes | None]:
        """What the cache has of these frames."""
        return await self._archive.cache.get_many([self._key(number) for number in numbers])

    async def convert(
        self, numbers: Sequence[int], found: Sequence[bytes | None], sources: Sequence[bytes]
    ) -> AsyncIterator[bytes]:
        """All of `numbers` in order; `sources` are the stored frames of those that were not found.

        As many as there are threads are converted ahead of the one that is sent. Raises CodecError, Unavailable.
        """
        left = iter(sources)
        ahead: deque[asyncio.Task[bytes] | bytes] = deque()
        waiting = deque(zip(numbers, found, strict=True))
        try:
            while waiting or ahead:
                while waiting and len(ahead) <= self._archive.codec_threads.places:
                    number, frame = waiting.popleft()
                    ahead.append(asyncio.create_task(self._one(number, next(left))) if frame is None else frame)
                first = ahead.popleft()
                if isinstance(first, bytes):
                    yield first
                    continue
                try:
                    yield await first
                finally:
                    first.cancel()
        finally:
            for task in ahead:
                if not isinstance(task, bytes):
                    task.cancel()
            await asyncio.gather(*(task for task in ahead if not isinstance(task, bytes)), return_exceptions=True)

    async def _one(self, number: int, source: bytes) -> bytes:
        cache, key = self._archive.cache, self._key(number)

        async def work() -> bytes:
            began = time.monotonic()
            frame = await self._convert(source)
            if self._keep and time.monotonic() - began >= WORTH_KEEPING:
                await cache.put(key, frame)
            return frame

        return await cache.once(key, work)

    async def _convert(self, source: bytes) -> bytes:
        conversion = self._conversion
        return await self._archive.codec_threads.run(lambda: convert_frame(conversion, source))

    def _key(self, number: int) -> str:
        return conversion_key(self._digest, self._conversion.target_uid, number)
