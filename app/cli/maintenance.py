"""Commands that look after the archive: migrate, verify, sweep, reindex, restore. They only speak; the services do the work."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from app.cli.configuration import fail, load_settings, output, with_archive
from app.cli.terminal import CountProgress, line
from app.cli.text import counted, size_text
from app.dicom.references import reference_of
from app.errors import InvalidUid

if TYPE_CHECKING:
    from app.services.archive import Archive

T = TypeVar("T")
SHOWN = 20  # entries of a list that are printed without --all

MIGRATE_EPILOG = """
Examples:

gantry migrate

GANTRY_DATABASE_URL=postgresql://gantry@db/gantry gantry migrate
"""
VERIFY_EPILOG = """
Example, every night:

gantry verify || mail -s "archive damaged" root
"""
SWEEP_EPILOG = """
Examples:

gantry sweep

gantry sweep --delete
"""
REINDEX_EPILOG = """
Example, with the server stopped:

gantry reindex
"""
RESTORE_EPILOG = """
Examples:

gantry restore 1.2.840.1

gantry restore 1.2.840.1 --series 1.2.840.1.5 --instance 1.2.840.1.5.77
"""


def migrate_command() -> None:
    """Bring the database up to date with this version.

    `gantry serve` does the same when it starts.
    """

    async def work(archive: "Archive") -> tuple[str, ...]:
        from app.db.migrate import migrate, pending_revisions

        pending = await pending_revisions(archive.db)
        await migrate(archive.db)
        return pending

    pending = with_archive(load_settings(), work, migrated=False)
    line(
        output(), f"Applied {counted(len(pending), 'migration')}" if pending else "The database is up to date", "green"
    )


def verify_command() -> None:
    """Read every stored instance and compare it with the size and digest of the day it came.

    Exits with 1 when anything is missing or damaged.
    """
    from app.services.verify import verify

    console = output()
    report = _with_progress(console, "Verifying", verify)
    for damage in report.damaged:
        line(console, f"{damage.sop_instance_uid}: {damage.problem} ({damage.blob_key})", "red")
    checked = f"Verified {counted(report.instances, 'instance')}, {size_text(report.size)}"
    line(console, f"{checked}: {len(report.damaged) or 'none'} damaged", "red" if report.damaged else "green")
    raise typer.Exit(1 if report.damaged else 0)


def sweep_command(
    delete: Annotated[bool, typer.Option("--delete", help="Remove them. Without it nothing is changed.")] = False,
    grace_hours: Annotated[
        float, typer.Option(min=0, max=876_000, help="Leave alone what is younger: an upload may be under way.")
    ] = 1.0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Remove stray blobs however many there are. Think of `gantry reindex` first."),
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help=f"Name all of them, not only the first {SHOWN}.")] = False,
) -> None:
    """Find blobs that nothing refers to, and deleted instances whose retention time is over.

    Removes nothing, and exits with 1, when the database seems to know less than was stored: when a reindex did not run to its
    end, when the database is empty, or when there are more stray blobs than interrupted uploads leave behind.
    """
    from app.services.sweep import sweep

    console = output()
    grace = timedelta(hours=grace_hours)
    report = _with_progress(
        console,
        "Sweeping",
        lambda archive, tell: sweep(archive, delete=delete, grace=grace, force=force, on_progress=tell),
    )
    _entries(console, report.keys, everything)
    done = "Removed" if report.deleted else "Would remove"
    strays = f"{counted(report.strays, 'stray blob')} ({size_text(report.stray_bytes)})"
    expired = f"{counted(report.expired, 'expired instance')} ({size_text(report.expired_bytes)})"
    line(
        console, f"{done} {strays} and {expired}, of {counted(report.blobs, 'blob')}", "green" if report.deleted else ""
    )
    if report.tombstones_repaired:
        done = "Repaired" if report.deleted else "Would repair"
        line(console, f"{done} {counted(report.tombstones_repaired, 'tombstone')}")
    if report.refusal:
        line(console, f"They would be left alone: {report.refusal}", "yellow")
    elif not report.deleted and report.keys:
        line(console, "Nothing was changed: run `gantry sweep --delete`")


def reindex_command(
    everything: Annotated[bool, typer.Option("--all", help=f"Name all problems, not only the first {SHOWN}.")] = False,
) -> None:
    """Build the database anew from the stored instances. Stop the server first.

    When the database or the blob store does not answer, it waits for about a minute. `gantry sweep` removes nothing until a
    reindex has run to its end. Exits with 1 when some instances could not be read: they are named, and no sweep removes them.
    It does not start while a server uses the same database.
    """
    from app.services.reindex import reindex

    console = output()
    report = _with_progress(console, "Reindexing", reindex, alone=True)
    _entries(console, [f"{key}: {problem}" for key, problem in report.problems], everything, "red")
    found = f"Indexed {counted(report.instances, 'instance')} and {counted(report.tombstones, 'deleted instance')}"
    line(console, f"{found}, {counted(len(report.problems), 'problem')}", "red" if report.problems else "green")
    raise typer.Exit(1 if report.problems else 0)


def restore_command(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    series: Annotated[str | None, typer.Option(help="Only this series.")] = None,
    instance: Annotated[str | None, typer.Option(help="Only this instance; needs --series.")] = None,
) -> None:
    """Bring back what was deleted, or what was replaced by a later upload, within its retention time."""
    if instance is not None and series is None:
        raise typer.BadParameter("--instance needs --series")
    try:
        ref = reference_of(study, series, instance)
    except InvalidUid as error:
        raise typer.BadParameter(str(error)) from error

    async def work(archive: "Archive") -> int:
        from app.services.deletion import restore

        return len(await restore(archive, ref))

    restored = with_archive(load_settings(), work)
    if not restored:
        raise fail("nothing could be restored")
    line(output(), f"Restored {counted(restored, 'instance')}", "green")


def _with_progress(
    console: Console,
    verb: str,
    work: "Callable[[Archive, Callable[[int], None]], Awaitable[T]]",
    *,
    alone: bool = False,
) -> T:
    with CountProgress(console, verb) as progress:
        return with_archive(load_settings(), lambda archive: work(archive, progress.tell), alone=alone)


def _entries(console: Console, entries: Sequence[str], everything: bool, style: str = "") -> None:
    shown = entries if everything else entries[:SHOWN]
    for entry in shown:
        line(console, entry, style)
    if len(entries) > len(shown):
        line(console, f"... and {len(entries) - len(shown):,} more: --all names them")
