"""What is asked for again and again, in memory: the least recently used goes first, and the bytes together are bounded."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class HotEntry:
    """used  when its file was last marked as used"""

    data: bytes
    used: float


class HotEntries:
    """Of one thread.

    max_bytes  of all entries together
    largest    bytes of an entry that is taken
    """

    def __init__(self, max_bytes: int, largest: int) -> None:
        self._max_bytes = max_bytes
        self._largest = min(largest, max_bytes)
        self._entries: OrderedDict[str, HotEntry] = OrderedDict()
        self.total = 0

    def get(self, key: str) -> HotEntry | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: str, data: bytes, used: float) -> None:
        """Nothing happens with what is too large."""
        self.drop(key)
        if len(data) > self._largest:
            return
        self._entries[key] = HotEntry(data, used)
        self.total += len(data)
        while self.total > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.total -= len(oldest.data)

    def drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.total -= len(entry.data)
