"""Files that are open for reading, and parts of them that can be sent without passing through this process."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

CHUNK = 512 * 1024
_PROBE_STEP = 128 * 1024  # what the kernel reads ahead at least
_MARK = ""  # is no key: what lies before it was not used since it was put there
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux


class OpenFile:
    """A regular file, open until nobody refers to it any more. `size` in bytes, which never changes."""

    __slots__ = ("__weakref__", "descriptor", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    def __del__(self) -> None:
        os.close(self.descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Blocking; fewer bytes where the file ends. Raises OSError."""
        return os.pread(self.descriptor, length, offset)

    def read_from_memory(self, offset: int, length: int) -> bytes | None:
        """The same of few bytes, in one call; None where it might wait for a disk, or there are fewer."""
        if _NOWAIT is None:
            return None
        found = bytearray(length)
        try:
            return bytes(found) if os.preadv(self.descriptor, [found], offset, _NOWAIT) == length else None
        except OSError:  # EAGAIN: it would wait; or the file system cannot tell
            return None

    def is_in_memory(self, offset: int, length: int) -> bool:
        return is_in_memory(self.descriptor, offset, length)


def is_in_memory(descriptor: int, offset: int, length: int) -> bool:
    """Whether reading these bytes of an open file will most likely not wait for a disk."""
    last = offset + length - 1
    return _are_in_memory(descriptor, (*range(offset, last, _PROBE_STEP), last))


def are_ends_in_memory(descriptor: int, size: int, *, in_a_row: bool = False) -> bool:
    """The same of a small file, in fewer calls: what was written or read as a whole lies there, or goes, as a whole.

    in_a_row  the file before it in its series lies there: then its end tells, which what was read for its header lacks
    """
    return _are_in_memory(descriptor, (size - 1,) if in_a_row else (0, size - 1))


def _are_in_memory(descriptor: int, places: Iterable[int]) -> bool:
    if _NOWAIT is None:
        return False
    byte = bytearray(1)
    try:
        for place in places:
            if os.preadv(descriptor, [byte], place, _NOWAIT) != 1:
                return False
    except OSError:  # EAGAIN: it would wait; or the file system cannot tell
        return False
    return True


@dataclass(slots=True)
class FileSlice:
    """`length` bytes from `offset` on, which lie within the file.

    in_memory  a moment ago, reading them waited for no disk
    head       bytes that are sent in front of them
    """

    file: OpenFile
    offset: int
    length: int
    in_memory: bool = False
    head: bytes = b""

    async def read(self) -> AsyncIterator[bytes]:
        """All of it in chunks, for those who cannot be given the file itself. Raises OSError."""
        if self.head:
            yield self.head
        offset, end = self.offset, self.offset + self.length
        while offset < end:
            chunk = await asyncio.to_thread(self.file.read, offset, min(CHUNK, end - offset))
            if not chunk:
                raise OSError("a file that is being sent ends too early")
            offset += len(chunk)
            yield chunk


class OpenFiles:
    """The files that were read last, kept open: a viewer that asks for frame after frame opens its object once.

    Not for several threads at a time. A file that was removed or damaged meanwhile is not given out, unless nobody `looks`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # In the order of their last use; None is the mark.
        self._files: OrderedDict[str, OpenFile | None] = OrderedDict()

    def get(self, key: str, *, looks: bool = True) -> OpenFile | None:
        file = self._files.get(key)
        if file is None:
            return None
        if looks:
            status = os.fstat(file.descriptor)
            if status.st_nlink == 0 or status.st_size != file.size:
                del self._files[key]
                return None
        self._files.move_to_end(key)
        return file

    def keep(self, key: str, file: OpenFile) -> None:
        self._files[key] = file
        self._files.move_to_end(key)
        if len(self._files) > self._most:
            self._files.popitem(last=False)

    def take_unused(self) -> list[OpenFile]:
        """Those that were not used since the last call, and those that were removed: open until the caller lets go of them."""
        taken: list[OpenFile | None] = []
        if _MARK in self._files:  # if not, many others have been used since
            while (file := self._files.popitem(last=False)[1]) is not None:
                taken.append(file)
        for key, file in list(self._files.items()):
            if file is not None and os.fstat(file.descriptor).st_nlink == 0:
                taken.append(self._files.pop(key))
        self._files[_MARK] = None
        return [file for file in taken if file is not None]

    def clear(self) -> None:
        self._files.clear()
