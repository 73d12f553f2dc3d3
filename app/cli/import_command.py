"""`gantry import`: stores folders, files and zip archives of DICOM in any server that speaks STOW-RS."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.dicom_files import DicomFile, Found, Skip, SkippedFile, find_files
from app.cli.http import Patience, Stopped, open_client, parse_headers, service_root
from app.cli.store_answer import Verdict
from app.cli.stow import StowClient
from app.cli.terminal import TransferProgress, line
from app.cli.text import counted, size_text

DEFAULT_URL = "http://127.0.0.1:8080/dicomweb"
FILES_AHEAD = 20_000  # files found before they are sent: enough for a good guess of the whole, bounded for the memory
INTERRUPTED = 130

EPILOG = """
Examples:

gantry import scans/ more.zip single.dcm

gantry import scans/ --url https://pacs.example.org/dicomweb --header "Authorization: Bearer $TOKEN" --jobs 8
"""


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """jobs: requests at a time. A request holds at most `batch_files` files and, unless one file is larger, `batch_bytes`."""

    paths: tuple[Path, ...]
    url: str
    jobs: int = 4
    batch_files: int = 50
    batch_bytes: int = 64_000_000
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 600.0
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class ImportTally:
    """What became of everything that was found. `stopped` says why the import ended early."""

    found: int = 0
    stored: int = 0
    stored_bytes: int = 0
    refused: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)
    stopped: str = ""

    @property
    def failed(self) -> int:
        return self.refused + self.skipped[Skip.UNREADABLE] + self.unsent

    @property
    def unsent(self) -> int:
        return self.found - self.stored - self.refused

    @property
    def exit_code(self) -> int:
        return 1 if self.failed or self.stopped else 0


class _Importer:
    """One run: a reader that looks for files, ahead of `jobs` senders."""

    def __init__(self, plan: ImportPlan, tally: ImportTally, progress: TransferProgress, stow: StowClient) -> None:
        self.plan, self.tally, self.progress, self.stow = plan, tally, progress, stow
        self._queue: asyncio.Queue[DicomFile | None] = asyncio.Queue(FILES_AHEAD)
        self._taking = asyncio.Lock()
        self._pending: DicomFile | None = None
        self._ended = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._find())
            for _ in range(self.plan.jobs):
                group.create_task(self._send())

    async def _find(self) -> None:
        files = find_files(self.plan.paths)
        while page := await asyncio.to_thread(_page, files):
            for found in page:
                if isinstance(found, SkippedFile):
                    self._skip(found)
                else:
                    self.tally.found += 1
                    self.progress.add(found.size)
                    await self._queue.put(found)
        await self._queue.put(None)

    async def _send(self) -> None:
        while batch := await self._next_batch():
            for verdict in await self.stow.store(batch):
                self._record(verdict)

    async def _next_batch(self) -> list[DicomFile]:
        """Files in the order in which they were found, so that a request holds neighbours; [] at the end."""
        batch: list[DicomFile] = []
        size = 0
        async with self._taking:
            while not self._ended and len(batch) < self.plan.batch_files:
                file = self._pending or await self._queue.get()
                self._pending = None
                if file is None:
                    self._ended = True
                elif batch and size + file.size > self.plan.batch_bytes:
                    self._pending = file
                    break
                else:
                    batch.append(file)
                    size += file.size
        return batch

    def _skip(self, found: SkippedFile) -> None:
        self.tally.skipped[found.skip] += 1
        if found.skip is Skip.UNREADABLE:
            line(self.progress.console, f"{found.name}: {found.detail}", "red")

    def _record(self, verdict: Verdict[DicomFile]) -> None:
        file, text = verdict.file, verdict.text
        if verdict.code is not None:
            text = f"{text} ({verdict.code:04X}H)"
        if verdict.stored:
            self.tally.stored += 1
            self.tally.stored_bytes += file.size
            if text:
                self.tally.warnings[text] += 1
        else:
            self.tally.refused += 1
            self.tally.reasons[text] += 1
            line(self.progress.console, f"{file.name}: refused: {text}", "red")
        self.progress.advance(files=1, size=file.size)


def _page(files: Iterator[Found]) -> list[Found]:
    return list(islice(files, 100))


async def import_files(plan: ImportPlan, console: Console, tally: ImportTally) -> None:
    """Store what the plan names and fill `tally`, which is right at any time, also after a cancellation."""
    with TransferProgress(console, "Storing") as progress:
        async with open_client(plan.headers, connections=plan.jobs, timeout=plan.timeout) as client:
            stow = StowClient(client, plan.url, plan.patience, lambda size: progress.advance(size=size))
            try:
                await _Importer(plan, tally, progress, stow).run()
            except* Stopped as errors:
                tally.stopped = str(errors.exceptions[0])
        report(tally, console, progress.seconds)


def report(tally: ImportTally, console: Console, seconds: float) -> None:
    rate = size_text(tally.stored_bytes / max(seconds, 0.001))
    line(
        console,
        f"Stored {counted(tally.stored, 'file')} ({size_text(tally.stored_bytes)}) in {seconds:.1f} s, {rate}/s",
        "green" if not tally.exit_code else "",
    )
    _reasons(console, tally.warnings, "stored with a warning")
    _reasons(console, tally.reasons, "refused")
    skipped = sum(tally.skipped.values()) - tally.skipped[Skip.UNREADABLE]
    if skipped:
        directories = tally.skipped[Skip.DICOMDIR]
        note = f", {counted(directories, 'DICOMDIR')} among them" if directories else ""
        line(console, f"Skipped {counted(skipped, 'file')}: not DICOM{note}")
    if tally.skipped[Skip.UNREADABLE]:
        line(
            console,
            f"Could not read {counted(tally.skipped[Skip.UNREADABLE], 'file or folder', 'files or folders')}",
            "red",
        )
    if not tally.found:
        line(console, "No DICOM files were found", "yellow")
    if tally.unsent:
        line(console, f"Not sent: {counted(tally.unsent, 'file')}", "red")
    if tally.stopped:
        line(console, f"Stopped: {tally.stopped}", "red")


def _reasons(console: Console, reasons: Counter[str], what: str) -> None:
    for text, count in reasons.most_common():
        line(console, f"{counted(count, 'file')} {what}: {text}", "yellow")


def run(plan: ImportPlan, console: Console) -> int:
    """The exit code: 0 when nothing failed, 1 otherwise, 130 after Ctrl-C."""
    tally = ImportTally()
    try:
        asyncio.run(import_files(plan, console, tally))
    except KeyboardInterrupt:
        line(console, f"Interrupted: {counted(tally.stored, 'file')} stored. It is safe to run the same command again.")
        return INTERRUPTED
    return tally.exit_code


def import_command(
    paths: Annotated[
        list[Path], typer.Argument(exists=True, help="Folders (with all their subfolders), files and zip archives.")
    ],
    url: Annotated[str, typer.Option(help="Root of the DICOMweb service.", envvar="GANTRY_IMPORT_URL")] = DEFAULT_URL,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Requests at a time.")] = 4,
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Most files in one request.")] = 50,
    batch_bytes: Annotated[
        int, typer.Option(min=1, help="Most bytes in one request; a larger file goes alone.")
    ] = 64_000_000,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header for every request, 'Name: value'; repeatable.")
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Further attempts when the server is busy or the connection breaks.")
    ] = 5,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds without any progress before an attempt is given up.")
    ] = 600.0,
) -> None:
    """Store DICOM files in a DICOMweb server (STOW-RS).

    Sends folders, files and zip archives as they are. Files that are not DICOM are skipped and counted. Safe to run twice: what
    is stored already is not stored again. Exits with 0 only when nothing failed.
    """
    try:
        plan = ImportPlan(
            tuple(paths),
            service_root(url),
            jobs,
            batch_size,
            batch_bytes,
            tuple(parse_headers(header or ())),
            timeout,
            Patience(retries),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(run(plan, Console(soft_wrap=True, highlight=False)))
