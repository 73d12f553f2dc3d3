"""The contract of the blob store: the only interface in Gantry with several implementations.

Blobs are immutable. Bytes written are invisible until `commit` returns, and durable from then on. Keys come from
`app.blobs.keys` and are never used twice, so a key that was swept can never come back to life.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.blobs.files import FileSlice

# The digest of a blob -> its key.
KeyOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class BlobStat:
    """key, size in bytes, time of the commit (aware, UTC)."""

    key: str
    size: int
    modified: datetime


class BlobWriter(ABC):
    """Takes the bytes of one blob. Exactly one of `commit` and `cancel` ends it; both are safe to call after an error."""

    size: int  # bytes written so far

    @abstractmethod
    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Memory held is bounded (about 1 MiB). Raises OutOfSpace, BlobStoreUnavailable."""

    @abstractmethod
    async def digest(self, like: str = "") -> str:
        """The digest of all bytes written so far, of the kind of `like` (app.blobs.digests). Raises OutOfSpace,
        BlobStoreUnavailable."""

    def head(self, length: int) -> bytes | None:
        """The first `length` bytes, or all if there are fewer; None where they are not in memory."""
        return None

    @abstractmethod
    async def contents(self) -> "bytes | memoryview":
        """A read-only view of all bytes written so far (in memory, or a mapped file), valid until commit or cancel."""

    def forget_contents(self) -> None:
        """Let go of the memory that looking at `contents` took; the view stays valid. From any thread. Never raises."""
        return

    @abstractmethod
    async def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` of what was written so far; fewer where that ends. Unlike a mapped file, what was read
        does not stay in memory. Raises BlobStoreUnavailable.
        """

    @abstractmethod
    async def commit(self, key: str | KeyOf) -> None:
        """Make the blob visible and durable under `key`, or under what `key` makes of the digest, perhaps in a thread: whoever does
        not need the digest before saves a pass over the bytes. Raises OutOfSpace, BlobStoreUnavailable."""

    @abstractmethod
    async def cancel(self) -> None:
        """Drop what was written. Never raises."""


class BlobStore(ABC):
    """What is abstract every store has to do; for the rest there is a way here, and some know a better one.

    Ranges are (offset, length) with length > 0; a range that crosses the end is an error.

    passes_files     `pieces` gives parts of files, which cost nothing to read
    keeps_checksums  a blob that is there, with its size, is what was written: the store looks after that itself
    """

    passes_files = False
    keeps_checksums = False

    @abstractmethod
    async def open_writer(self) -> BlobWriter:
        """A writer for a new blob. Raises OutOfSpace, BlobStoreUnavailable."""

    @abstractmethod
    def open(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Stream the blob, or a range of it, in chunks of about 256 KiB to 1 MiB. Raises BlobNotFound before the first chunk."""

    async def pieces(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes | FileSlice]:
        """As `open`, for those who pass the bytes on unseen: parts of a file may come in place of its bytes."""
        async for chunk in self.open(key, offset, length):
            yield chunk

    async def slices(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[FileSlice] | None:
        """Parts of the file that the blob is, one for each range; None of a store without files. Raises BlobNotFound,
        BlobStoreUnavailable."""
        return None

    def at_hand(self, key: str, offset: int, length: int, *, as_file: bool) -> bytes | FileSlice | None:
        """What `slices` or `get_range` would give, if it can be given at once; None if not, for whatever reason."""
        return None

    async def open_each(self, blobs: Sequence[tuple[str, int]]) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """A stream, as of `open`, of each of `blobs` (key and size), in their order; each is read to its end before the next is
        asked for.

        A store whose requests take their time fetches the next ones meanwhile, within bounds; here each begins when its turn
        comes. What is wrong with a blob is raised by its own stream. Must be closed.
        """
        for key, _ in blobs:
            stream = self.open(key)
            try:
                yield stream
            finally:
                if isinstance(stream, AsyncGenerator):
                    await stream.aclose()

    async def pieces_each(
        self, blobs: Sequence[tuple[str, int]]
    ) -> AsyncGenerator[AsyncIterator[bytes] | list[FileSlice], None]:
        """As `open_each`, for those who pass the bytes on unseen: files may come in place of their bytes, several at once."""
        async with aclosing(self.open_each(blobs)) as streams:
            async for stream in streams:
                yield stream

    @abstractmethod
    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes. Raises BlobNotFound, BlobStoreUnavailable (short reads among them)."""

    @abstractmethod
    async def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """As get_range for each, in the order asked; neighbouring ranges are fetched together."""

    @abstractmethod
    async def stat(self, key: str) -> BlobStat:
        """Raises BlobNotFound."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove; missing is fine."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[BlobStat]:
        """Every committed blob whose key starts with `prefix`, in any order; never a spool file."""

    async def remove_stale_spool(self, older_than: timedelta) -> int:
        """Remove what dead processes left of unfinished uploads, last touched before `older_than` ago; how many."""
        return 0

    async def close_unused_files(self) -> None:
        """Let go of files that were not read since the last call, and of those that were removed: as long as one is open, its room
        on the disk is not free. To be called every minute or so. Does nothing in a store without files."""
        return

    async def close(self) -> None:
        """Release what is held. Does nothing by default."""
        return
