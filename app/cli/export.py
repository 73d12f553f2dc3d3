"""`gantry export`: writes studies of any DICOMweb server to a folder, byte for byte as they are stored there."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.configuration import output
from app.cli.http import Patience, Stopped, open_client, parse_headers, service_root
from app.cli.import_command import DEFAULT_URL, INTERRUPTED
from app.cli.terminal import TransferProgress, line
from app.cli.text import counted, size_text
from app.cli.wado import FoundInstance, Received, RetrieveFailed, WadoClient, instance_path
from app.dicom.references import InstanceRef, SeriesRef, StudyRef, resource_path, validate_uid
from app.errors import InvalidUid

EPILOG = """
Examples:

gantry export 1.2.840.1 -o copies/

gantry export 1.2.840.1 --series 1.2.840.1.5 -o copies/ --url https://pacs.example.org/dicomweb
"""


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """`series` confines the export to one series of the only study."""

    studies: tuple[str, ...]
    folder: Path
    url: str
    series: str = ""
    jobs: int = 4
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 600.0
    patience: Patience = field(default_factory=Patience)

    @property
    def resources(self) -> list[StudyRef | SeriesRef]:
        if self.series:
            return [SeriesRef(self.studies[0], self.series)]
        return [StudyRef(study) for study in dict.fromkeys(self.studies)]


@dataclass(slots=True)
class ExportTally:
    """found: instances that the search promised. unchanged: those whose file was there already."""

    found: int = 0
    written: int = 0
    unchanged: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    stopped: str = ""

    @property
    def missing(self) -> int:
        return self.found - self.written - self.unchanged

    @property
    def exit_code(self) -> int:
        return 1 if self.missing > 0 or self.problems or self.stopped else 0


class _Exporter:
    def __init__(self, plan: ExportPlan, tally: ExportTally, progress: TransferProgress, wado: WadoClient) -> None:
        self.plan, self.tally, self.progress, self.wado = plan, tally, progress, wado
        self._turns = asyncio.Semaphore(plan.jobs)

    async def run(self) -> None:
        for resource in self.plan.resources:
            try:
                instances = await self.wado.find_instances(resource)
            except RetrieveFailed as error:
                self._problem(f"{resource_path(resource)}: {error}")
                continue
            if not instances:
                self._problem(f"{resource_path(resource)}: nothing is stored there")
                continue
            self.tally.found += len(instances)
            for _ in instances:
                self.progress.add(0)
            async with asyncio.TaskGroup() as group:
                for series, members in _by_series(instances):
                    group.create_task(self._export_series(series, members))

    async def _export_series(self, series: SeriesRef, members: Sequence[FoundInstance]) -> None:
        """A series that is new is one request; what is left of it, or of an earlier run, is one request an instance."""
        missing = {member.ref: member for member in members}
        is_new = not any(instance_path(self.plan.folder, instance).exists() for instance in missing)
        if is_new and len(members) > 1 and all(member.comes_as_stored_with_others for member in members):
            async with self._turns:
                try:
                    await self._fetch(series, missing)
                except RetrieveFailed as error:
                    if len(missing) < len(members):
                        line(self.progress.console, f"{resource_path(series)}: {error}; going on one by one", "yellow")
        async with asyncio.TaskGroup() as group:
            for instance in list(missing):
                group.create_task(self._export_instance(instance, missing))

    async def _export_instance(self, instance: InstanceRef, missing: dict[InstanceRef, FoundInstance]) -> None:
        problem = "did not come, or not as it is stored"
        async with self._turns:
            for attempt in range(self.plan.patience.retries + 1):
                try:
                    await self._fetch(instance, missing)
                    break
                except RetrieveFailed as error:
                    problem = str(error)
                    if not error.may_pass or attempt == self.plan.patience.retries:
                        break
                    await self.plan.patience.wait(attempt + 1)
        if instance in missing:
            self._problem(f"{resource_path(instance)}: {problem}")

    async def _fetch(self, ref: SeriesRef | InstanceRef, missing: dict[InstanceRef, FoundInstance]) -> None:
        """Takes what is in place, in the syntax in which it is stored, out of `missing`."""
        async for event in self.wado.fetch(ref):
            if isinstance(event, Received):
                self.tally.size += event.size
                self.progress.advance(size=event.size)
                continue
            wanted = missing.get(event.instance)
            if wanted is not None and wanted.is_stored_as(event.transfer_syntax_uid):
                del missing[event.instance]
                self.progress.advance(files=1)
                self.tally.unchanged += event.unchanged
                self.tally.written += not event.unchanged

    def _problem(self, text: str) -> None:
        self.tally.problems.append(text)
        line(self.progress.console, text, "red")


def _by_series(instances: Iterable[FoundInstance]) -> list[tuple[SeriesRef, list[FoundInstance]]]:
    ordered = sorted(instances, key=lambda found: found.ref)
    return [(series, list(members)) for series, members in groupby(ordered, key=lambda found: found.ref.series)]


async def export_studies(plan: ExportPlan, console: Console, tally: ExportTally) -> None:
    """Write what the plan names and fill `tally`, which is right at any time."""
    with TransferProgress(console, "Exporting") as progress:
        async with open_client(plan.headers, connections=plan.jobs, timeout=plan.timeout) as client:
            wado = WadoClient(client, plan.url, plan.folder, plan.patience)
            try:
                await _Exporter(plan, tally, progress, wado).run()
            except* Stopped as errors:
                tally.stopped = _first_text(errors)
    rate = size_text(tally.size / max(progress.seconds, 0.001))
    style = "green" if not tally.exit_code else ""
    written = (
        f"Wrote {counted(tally.written, 'instance')} ({size_text(tally.size)}) in {progress.seconds:.1f} s, {rate}/s"
    )
    line(console, f"{written}; {tally.unchanged:,} were there already", style)
    if tally.missing > 0:
        line(console, f"Missing: {counted(tally.missing, 'instance')}", "red")
    if tally.stopped:
        line(console, f"Stopped: {tally.stopped}", "red")


def _first_text(group: BaseExceptionGroup[BaseException]) -> str:
    first = group.exceptions[0]
    return _first_text(first) if isinstance(first, BaseExceptionGroup) else str(first)


def run(plan: ExportPlan, console: Console) -> int:
    """The exit code: 0 when every instance is there, 1 otherwise, 130 after Ctrl-C."""
    tally = ExportTally()
    try:
        asyncio.run(export_studies(plan, console, tally))
    except KeyboardInterrupt:
        line(
            console, f"Interrupted: {counted(tally.written, 'instance')} written. The same command goes on from there."
        )
        return INTERRUPTED
    return tally.exit_code


def export_command(
    studies: Annotated[list[str], typer.Argument(help="Study Instance UIDs.")],
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for {study}/{series}/{instance}.dcm.")],
    series: Annotated[str, typer.Option(help="Only this series of the study.")] = "",
    url: Annotated[str, typer.Option(help="Root of the DICOMweb service.")] = DEFAULT_URL,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Requests at a time.")] = 4,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header for every request, 'Name: value'; repeatable.")
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Further attempts when something goes wrong in transit.")
    ] = 5,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds without any progress before an attempt is given up.")
    ] = 600.0,
) -> None:
    """Write studies to a folder, as they are stored (WADO-RS).

    A file appears under its name when it is whole. Running the same command again fetches what is missing or has changed. Exits
    with 0 only when every instance that a search finds is there.
    """
    if series and len(studies) != 1:
        raise typer.BadParameter("--series needs exactly one study")
    try:
        for uid in (*studies, *((series,) if series else ())):
            validate_uid(uid)
        plan = ExportPlan(
            tuple(studies),
            folder,
            service_root(url),
            series,
            jobs,
            tuple(parse_headers(header or ())),
            timeout,
            Patience(retries),
        )
    except (ValueError, InvalidUid) as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(run(plan, output()))
