"""The cache of derived bytes: whatever happens to its files, a reader gets whole content or a miss."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from app.services.derived_cache import DerivedCache
from app.services.derived_files import DerivedWriter
from tests.architecture.source import PROJECT


@pytest.fixture
def cache(tmp_path: Path) -> DerivedCache:
    return DerivedCache(tmp_path / "cache", 1 << 20)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_what_is_put_is_got(cache: DerivedCache) -> None:
    for data in (b"", b"x", bytes(100_000), os.urandom(300_000)):
        await cache.put(f"key {len(data)}", data)
        assert await cache.get(f"key {len(data)}") == data
    assert await cache.get("another") is None
    assert await cache.get_many(["key 1", "another", "key 0"]) == [b"x", None, b""]
    await cache.put("key 1", b"y")
    assert await cache.get("key 1") == b"y"


async def test_files_are_read_in_ranges(cache: DerivedCache) -> None:
    data = os.urandom(200_000)
    await cache.put("a", data)
    file = await cache.open("a")
    assert file is not None
    assert file.size == len(data)
    for offset, length in ((0, None), (5, 10), (199_990, 100), (200_000, None)):
        end = len(data) if length is None else offset + length
        assert b"".join([piece async for piece in file.read(offset, length)]) == data[offset:end]
    assert await cache.open("b") is None


async def test_an_open_file_survives_its_removal(cache: DerivedCache, tmp_path: Path) -> None:
    await cache.put("a", b"content" * 1000)
    file = await cache.open("a")
    assert file is not None
    for path in files_in(tmp_path):
        path.unlink()
    assert b"".join([piece async for piece in file.read()]) == b"content" * 1000
    assert await cache.get("a") is None
    assert await cache.open("a") is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "longer", "empty", "trailer"])
async def test_damaged_files_are_misses(cache: DerivedCache, tmp_path: Path, damage: str) -> None:
    await cache.put("a", bytes(range(256)) * 10)
    (path,) = files_in(tmp_path)
    raw = path.read_bytes()
    changed = {
        "truncated": raw[:-5],
        "flipped": b"\xff" + raw[1:],
        "longer": raw + b"\0",
        "empty": b"",
        "trailer": raw[-16:],
    }[damage]
    path.write_bytes(changed)
    if damage == "trailer":  # a trailer alone says that its content has another length
        assert len(changed) == 16
    assert await cache.get("a") is None
    assert await cache.open("a") is None
    await cache.put("a", b"new")
    assert await cache.get("a") == b"new"


async def test_without_a_folder_nothing_is_kept_but_all_works(tmp_path: Path) -> None:
    for cache in (DerivedCache(), DerivedCache(tmp_path, 0)):
        await cache.put("a", b"data")
        assert await cache.get("a") is None
        assert await cache.open("a") is None
        assert await cache.get_many(["a", "b"]) == [None, None]

        async def write(writer: DerivedWriter) -> None:
            await writer.write(b"one", b"two")

        file = await cache.open_or_make("a", write)
        assert b"".join([piece async for piece in file.read()]) == b"onetwo"
    assert files_in(tmp_path) == []


async def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 100_000)
    for number in range(9):
        await cache.put(f"{number}", bytes(10_000))
    old = time.time() - 3600
    for path in files_in(tmp_path):
        os.utime(path, (old, old))
    assert await cache.get("0") is not None  # used just now
    for number in range(9, 14):
        await cache.put(f"{number}", bytes(10_000))
    total = sum(path.stat().st_size for path in files_in(tmp_path))
    assert total <= 106_250
    assert await cache.get("0") is not None
    assert await cache.get("13") is not None
    gone = [number for number in range(1, 9) if await cache.get(f"{number}") is None]
    assert gone


async def test_one_large_file_does_not_drive_out_the_others(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 100_000)
    await cache.put("small", b"s")
    await cache.put("large", bytes(60_000))
    assert await cache.get("large") is None
    assert await cache.get("small") == b"s"

    async def write(writer: DerivedWriter) -> None:
        await writer.write(bytes(60_000))

    file = await cache.open_or_make("large", write)
    assert file.size == 60_000
    assert len(b"".join([piece async for piece in file.read()])) == 60_000
    assert await cache.open("large") is None
    assert len(files_in(tmp_path)) == 1


async def test_made_once_for_all_who_wait(cache: DerivedCache) -> None:
    made = []

    async def make() -> bytes:
        made.append(1)
        await asyncio.sleep(0.02)
        return b"made"

    assert set(await asyncio.gather(*(cache.get_or_make("a", make) for _ in range(30)))) == {b"made"}
    assert await cache.get_or_make("a", make) == b"made"
    assert len(made) == 1


async def test_files_are_made_once_for_all_who_wait(cache: DerivedCache) -> None:
    made = []

    async def write(writer: DerivedWriter) -> None:
        made.append(1)
        for _ in range(5):
            await writer.write(b"12345")

    files = await asyncio.gather(*(cache.open_or_make("a", write) for _ in range(10)))
    assert {file.size for file in files} == {25}
    assert made == [1]
    assert (await cache.open_or_make("a", write)).size == 25
    assert made == [1]


async def test_what_fails_is_not_kept_and_leaves_nothing(cache: DerivedCache, tmp_path: Path) -> None:
    async def write(writer: DerivedWriter) -> None:
        await writer.write(b"half")
        raise ValueError("no more")

    async def make() -> bytes:
        raise ValueError("nothing")

    for _ in range(2):
        with pytest.raises(ValueError, match="no more"):
            await cache.open_or_make("a", write)
        with pytest.raises(ValueError, match="nothing"):
            await cache.get_or_make("b", make)
    assert files_in(tmp_path) == []


async def test_a_cancelled_writer_leaves_nothing(cache: DerivedCache, tmp_path: Path) -> None:
    async def write(writer: DerivedWriter) -> None:
        await writer.write(b"half")
        await asyncio.sleep(30)

    task = asyncio.create_task(cache.open_or_make("a", write))
    await asyncio.sleep(0.05)
    assert len(files_in(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if not files_in(tmp_path):
            break
        await asyncio.sleep(0.01)
    assert files_in(tmp_path) == []


async def test_writers_end_once(cache: DerivedCache) -> None:
    writer = await cache.create()
    await writer.write(b"x")
    await writer.finish("a")
    await writer.cancel()
    assert await cache.get("a") == b"x"
    for action in (writer.write(b"y"), writer.finish("a")):
        with pytest.raises(OSError, match="finished or dropped"):
            await action
    dropped = await cache.create()
    await dropped.cancel()
    await dropped.cancel()
    with pytest.raises(OSError, match="finished or dropped"):
        await dropped.finish("b")


async def test_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    cache = DerivedCache(tmp_path, 1000)
    fresh = await cache.create()
    stale = tmp_path / "unfinished" / "tmpstale"
    stale.write_bytes(bytes(50))
    os.utime(stale, (1, 1))
    for number in range(4):
        await cache.put(f"{number}", bytes(100))
    assert not stale.exists()
    await fresh.write(b"still there")
    file = await fresh.finish("fresh")
    assert b"".join([piece async for piece in file.read()]) == b"still there"


async def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"not a folder")
    cache = DerivedCache(blocked / "cache", 1000)
    await cache.put("a", b"data")
    assert await cache.get("a") is None

    async def make() -> bytes:
        return b"made"

    assert await cache.get_or_make("a", make) == b"made"


def test_processes_that_share_the_folder_never_see_half_a_file(tmp_path: Path) -> None:
    """Each writes and reads the same few keys, with a bound that makes them evict all the time."""
    program = """
import asyncio, random, sys
from pathlib import Path
from app.services.derived_cache import DerivedCache

async def main(folder, seed):
    cache, chance = DerivedCache(Path(folder), 200_000), random.Random(seed)
    hits = 0
    for _ in range(400):
        number = chance.randrange(8)
        data = bytes([number]) * (number * 9_000 + 1)
        found = await cache.get(str(number))
        if found is None:
            await cache.put(str(number), data)
        else:
            assert found == data
            hits += 1
    print(hits)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        for seed in range(3)
    ]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert int(out) > 0
    assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 3 * 200_000


@pytest.mark.parametrize("kept", [True, False])
async def test_a_writer_that_nobody_waits_for_any_more_leaves_nothing(tmp_path: Path, kept: bool) -> None:
    """The request that asked for it is cancelled when a thread has begun to make it."""

    class Slow(DerivedCache):
        def _create(self) -> DerivedWriter:
            begun.set()
            assert go_on.wait(10)
            made.append(super()._create())
            return made[-1]

    begun, go_on = Event(), Event()
    made: list[DerivedWriter] = []
    cache = Slow(tmp_path / "cache", 1 << 20) if kept else Slow()
    asking = asyncio.create_task(cache.create())
    assert await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    await asyncio.sleep(0)
    asking.cancel()  # twice: nobody waits for the end of it either
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert files_in(tmp_path) == []
    with pytest.raises(OSError, match="finished or dropped"):
        made[0].append(b"x")
