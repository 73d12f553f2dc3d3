"""A blob store under test, and ways to what it stores behind its back."""

import asyncio
import contextlib
import gc
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from app.blobs import BlobStore
from app.blobs.keys import instance_key
from app.blobs.local import LocalBlobStore
from app.errors import GantryError

MIB = 1024 * 1024
SIZES = [0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB + 17]


def noise(size: int) -> bytes:
    return secrets.token_bytes(size)


def digest_of(data: bytes) -> str:
    return f"{blake3(data).hexdigest()}-blake3"


def new_key(data: bytes = b"", study: str = "1.2", series: str = "1.2.3", instance: str = "1.2.3.4") -> str:
    return instance_key(study, series, instance, digest_of(data))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_below(folder: Path) -> list[str]:
    """Files that this process has open below a folder; folders that are known to be durable stay open."""
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if not descriptor.is_dir():
                names.append(str(descriptor.readlink()))
    return [name for name in names if name.startswith(str(folder))]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens in another thread or task."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("waited in vain")


class Backend(ABC):
    """A store, and ways to what it stores behind its back, so that no symmetric fault can hide."""

    store: BlobStore
    folders: tuple[Path, ...] = ()  # local folders that the store may hold descriptors of
    spool: Path | None = None

    @abstractmethod
    def raw_get(self, key: str) -> bytes | None: ...

    @abstractmethod
    def raw_put(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def raw_keys(self) -> set[str]: ...

    def spool_files(self) -> list[str]:
        return names_in(self.spool) if self.spool else []

    def descriptors(self) -> list[str]:
        """What this process has open of the store's folders, besides what is kept open on purpose."""
        if isinstance(self.store, LocalBlobStore):
            self.store.close_idle_files()
        gc.collect()  # a cancelled task refers to what it was reading
        return [name for folder in self.folders for name in open_below(folder)]

    async def lets_go(self) -> bool:
        """Whether nothing is open, at the latest when what was on its way between threads and event loop has arrived."""
        for _ in range(100):
            if not self.descriptors():
                return True
            await asyncio.sleep(0.01)
        return False


async def write_blob(store: BlobStore, data: bytes, key: str | None = None) -> str:
    key = key or new_key(data)
    writer = await store.open_writer()
    await writer.write(data)
    await writer.commit(key)
    return key


async def read_blob(store: BlobStore, key: str, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.open(key, offset, length)])


async def list_keys(store: BlobStore, prefix: str = "") -> list[str]:
    return [stat.key async for stat in store.list(prefix)]


async def every_call(store: BlobStore, key: str) -> list[type[BaseException] | None]:
    """How each of the eight calls ends for a key that exists: with which error, or None."""
    outcomes: list[type[BaseException] | None] = []
    calls = [store.stat(key), store.get_range(key, 0, 1), store.get_ranges(key, [(0, 1)]), read_blob(store, key)]
    calls += [list_keys(store), store.delete(key), write_blob(store, b"abc"), write_blob(store, bytes(2 * MIB))]
    for call in calls:
        try:
            await call
        except GantryError as error:
            outcomes.append(type(error))
        else:
            outcomes.append(None)
    return outcomes
