"""`gantry doctor`: looks at everything a server needs and says, line by line, whether it is there and works."""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app import __version__
from app.cli.configuration import (
    blob_location,
    database_location,
    load_settings,
    output,
    unknown_in_words,
    with_reason,
)
from app.cli.text import printable, size_text
from app.errors import GantryError
from app.settings import Settings

if TYPE_CHECKING:
    from app.blobs.base import BlobStore

EPILOG = """
Examples:

gantry doctor

GANTRY_BLOB_URL=s3://images gantry doctor
"""

# Modules that fail to import where a wheel does not fit the machine: compiled ones.
COMPILED = ("asyncpg", "httptools", "imagecodecs", "numpy", "obstore", "orjson", "uvloop", "zstandard", "rle")
PROBE_SIZE = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. `remedy` says what to do when it is not `well`."""

    subject: str
    well: bool
    detail: str
    remedy: str = ""


def doctor_command() -> None:
    """Check packages, codecs, data folder, database and blob store. Exits with 1 when something is wrong.

    Changes nothing: what it writes to try the folders and the blob store is deleted again.
    """
    settings = load_settings()
    with _leaving_no_folders(settings):
        findings = [*examine(settings)]
    print_findings(findings, output())
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)


def examine(settings: Settings) -> Iterator[Finding]:
    yield _python()
    yield _packages()
    yield _codecs()
    yield _settings(settings)
    yield _folder("Data folder", settings.data_dir, "GANTRY_DATA_DIR")
    if settings.cache_dir and settings.cache_bytes:
        yield _folder("Cache", settings.effective_cache_dir, "GANTRY_CACHE_DIR")
    if settings.metrics_dir and settings.workers > 1:
        yield _folder("Metrics", Path(settings.metrics_dir), "GANTRY_METRICS_DIR")
    yield _free_space(settings)
    yield asyncio.run(_database(settings))
    yield asyncio.run(_blob_store(settings))


@contextmanager
def _leaving_no_folders(settings: Settings) -> Iterator[None]:
    """Folders that are made to be tried go again: an administrator's would not belong to the user that the server runs as."""
    from app.blobs.urls import folder_of

    folders = [settings.data_dir.absolute(), settings.spool_dir.absolute()]
    folders += [Path(folder).absolute() for folder in (settings.cache_dir, settings.metrics_dir) if folder]
    with suppress(ValueError):  # _blob_store tells what is wrong with the URL
        if (blobs := folder_of(settings.effective_blob_url)) is not None:
            folders += [blobs.absolute(), blobs.absolute() / ".spool"]
    missing = {place for folder in folders for place in (folder, *folder.parents) if not place.exists()}
    try:
        yield
    finally:
        for place in sorted(missing, reverse=True):  # what lies in a folder before it
            with suppress(OSError):
                place.rmdir()


def print_findings(findings: list[Finding], console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark = Text("ok", style="green") if finding.well else Text("FAIL", style="bold red")
        detail = finding.detail if finding.well or not finding.remedy else f"{finding.detail}. {finding.remedy}"
        table.add_row(mark, Text(finding.subject), Text(printable(detail)))
    console.print(table, soft_wrap=False)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", sys.version_info >= (3, 11), version, "Gantry needs Python 3.11 or later")


def _packages() -> Finding:
    missing = []
    for name in COMPILED:
        try:
            import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        return Finding("Packages", False, "cannot import " + ", ".join(missing), "Install requirements.lock")
    return Finding("Packages", True, f"Gantry {__version__}, {len(COMPILED)} compiled packages load")


def _codecs() -> Finding:
    """A lossless trip of a small image of 16 bits through each codec."""
    import imagecodecs
    import numpy
    from rle.utils import encode_pixel_data

    image = (numpy.arange(64 * 64, dtype="<u2") * 7 % 4096).reshape(64, 64)

    def rle_encode() -> bytes:
        return encode_pixel_data(
            image.tobytes(), None, "<", rows=64, columns=64, samples_per_pixel=1, bits_allocated=16, number_of_frames=1
        )

    trips: dict[str, Callable[[], object]] = {
        "JPEG lossless": lambda: imagecodecs.ljpeg_decode(imagecodecs.ljpeg_encode(image, bitspersample=16)),
        "JPEG-LS": lambda: imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(image)),
        "JPEG 2000": lambda: imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(image, level=0, reversible=True)),
        "HTJ2K": lambda: imagecodecs.htj2k_decode(imagecodecs.htj2k_encode(image, tlm=True)),
        "JPEG XL": lambda: imagecodecs.jpegxl_decode(imagecodecs.jpegxl_encode(image, lossless=True)),
        "RLE": lambda: numpy.frombuffer(imagecodecs.dicomrle_decode(rle_encode(), "<u2", out=bytearray(8192)), "<u2"),
    }
    broken = []
    for name, trip in trips.items():
        try:
            problem = "" if numpy.array_equal(numpy.asarray(trip()).reshape(64, 64), image) else "alters the image"
        except Exception as error:  # noqa: BLE001 - whatever a codec raises is the finding
            problem = str(error) or type(error).__name__
        if problem:
            broken.append(f"{name} ({problem})")
    if broken:
        return Finding("Codecs", False, "do not work: " + ", ".join(broken), "Reinstall imagecodecs and pylibjpeg-rle")
    return Finding("Codecs", True, ", ".join(trips))


def _settings(settings: Settings) -> Finding:
    """What is not known when they are read: names that none has, and attributes that cannot be searched."""
    from app.dicomweb.searchable_attributes import parse_searchable_attributes

    unknown, _ = Settings.unknown(os.environ)
    if unknown:
        return Finding("Settings", False, f"not used, for want of such settings: {unknown_in_words(unknown)}")
    try:
        parse_searchable_attributes(settings.searchable_attributes)
    except ValueError as error:
        return Finding("Settings", False, str(error), "Check GANTRY_SEARCHABLE_ATTRIBUTES")
    return Finding("Settings", True, "can be used")


def _folder(subject: str, folder: Path, setting: str) -> Finding:
    """Whether files can be made, forced to disk and removed in the folder, or where it would be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".doctor-", dir=folder)
        try:
            os.write(descriptor, b"probe")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            os.unlink(name)  # noqa: PTH108
    except OSError as error:
        remedy = f"Set {setting} to a folder that this user may write to"
        return Finding(subject, False, f"{folder}: {error.strerror or error}", remedy)
    return Finding(subject, True, str(folder.resolve()))


def _free_space(settings: Settings) -> Finding:
    try:
        usage = shutil.disk_usage(settings.data_dir)
    except OSError as error:
        return Finding("Free space", False, f"{settings.data_dir}: {error.strerror or error}")
    detail = f"{size_text(usage.free)} of {size_text(usage.total)}"
    remedy = f"Uploads are refused below {size_text(settings.min_free_bytes)} (GANTRY_MIN_FREE_BYTES)"
    return Finding("Free space", usage.free > settings.min_free_bytes, detail, remedy)


async def _database(settings: Settings) -> Finding:
    from app.db.engine import close_database, open_database
    from app.db.inventory import is_reindexing
    from app.db.migrate import pending_revisions

    where = database_location(settings)
    if _lacks_database_file(settings):
        remedy = (
            "`gantry serve` makes one; if there should be one, look at GANTRY_DATA_DIR, and whether its disk is mounted"
        )
        return Finding("Database", False, f"{where}: there is none yet", remedy)
    try:
        database = await open_database(settings.effective_database_url, pool_size=1)
        try:
            pending = await pending_revisions(database)
            broken_off = not pending and await is_reindexing(database)
        finally:
            await close_database(database)
    except (GantryError, ValueError, OSError) as error:
        return Finding(
            "Database", False, f"{where}: {with_reason(error)}", "Check GANTRY_DATABASE_URL, and that the server runs"
        )
    if pending:
        return Finding("Database", False, f"{where}: {len(pending)} migrations to apply", "Run `gantry migrate`")
    if broken_off:
        return Finding("Database", False, f"{where}: a reindex has not come to its end", "Run `gantry reindex` again")
    return Finding("Database", True, f"{where}, up to date")


def _lacks_database_file(settings: Settings) -> bool:
    """A SQLite database would be made by opening it."""
    from app.db.engine import normalised_url

    try:
        url = normalised_url(settings.effective_database_url)
    except ValueError:
        return False
    return url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists()


async def _blob_store(settings: Settings) -> Finding:
    from app.blobs import open_blob_store

    where = blob_location(settings)
    remedy = "Check GANTRY_BLOB_URL, that its disk is mounted, and the credentials of an object store"
    try:
        store = open_blob_store(
            settings.effective_blob_url,
            spool_dir=settings.spool_dir,
            sync=settings.sync,
            min_free_bytes=settings.min_free_bytes,
            create=not await _names_blobs(settings),
        )
        try:
            problem = await _probe(store)
        finally:
            await store.close()
    except (GantryError, ValueError, OSError) as error:
        return Finding("Blob store", False, f"{where}: {with_reason(error)}", remedy)
    return Finding(
        "Blob store", not problem, f"{where}{f': {problem}' if problem else ', writes, reads and deletes'}", remedy
    )


async def _names_blobs(settings: Settings) -> bool:
    """Of a database that does not answer nobody knows: no blob store is made then."""
    from app.db.engine import close_database, open_database
    from app.db.inventory import names_blobs

    if _lacks_database_file(settings):
        return False
    try:
        database = await open_database(settings.effective_database_url, pool_size=1)
        try:
            return await names_blobs(database)
        finally:
            await close_database(database)
    except (GantryError, ValueError, OSError):
        return True


async def _probe(store: "BlobStore") -> str:
    """Write, read and delete one blob; what went wrong, or ""."""
    key, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(PROBE_SIZE)
    writer = await store.open_writer()
    try:
        await writer.write(content)
        await writer.commit(key)
    except BaseException:
        await writer.cancel()
        raise
    try:
        if await store.get_range(key, 1000, 2000) != content[1000:3000]:
            return "a range came back altered"
        if b"".join([chunk async for chunk in store.open(key)]) != content:
            return "the content came back altered"
    finally:
        await store.delete(key)
    return ""
