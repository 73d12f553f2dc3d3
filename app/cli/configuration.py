"""Settings for the commands that work on the archive itself, and the one-line errors when it cannot be opened."""

import asyncio
import os
import re
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer
from pydantic import ValidationError

from app.errors import BlobNotFound, GantryError, Unavailable
from app.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from app.services.archive import Archive

T = TypeVar("T")
PREFIX = "GANTRY_"
_LONGEST_REASON = 500


def output() -> "Console":
    """Standard output of a command: nothing is cut or wrapped when it goes to a file."""
    # A server prints one plain line: rich would be 4 MB of it for good.
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)


def errors() -> "Console":
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def fail(problem: str) -> typer.Exit:
    """Prints one line; raise what it returns."""
    complain(f"gantry: {problem}")
    return typer.Exit(1)


def complain(text: str, style: str = "red") -> None:
    """One line on standard error."""
    from app.cli.terminal import line

    line(errors(), text, style)


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of this process and of those it starts. `overrides` (by field name, None is unset) win over everything.

    They are put into the environment: server processes read it anew. Ends the program with 2 when a setting is unusable, or
    gantry.toml has one that there is not. The environment may have been made by others (Kubernetes makes GANTRY_SERVICE_HOST
    for a service of that name): what it has too many is only told.
    """
    for name, value in (overrides or {}).items():
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value)
    try:
        settings = Settings()
        unknown, in_file = Settings.unknown(os.environ)
        for name in in_file:
            complain(f"gantry: gantry.toml: there is no setting {name!r}{_meant(name)}")
        if in_file:
            raise typer.Exit(2)
        if unknown:
            complain(f"gantry: not used, for want of such settings: {unknown_in_words(unknown)}", "yellow")
        return settings
    except ValidationError as error:
        for detail in error.errors():
            name = "_".join(str(part) for part in detail["loc"])
            complain(f"gantry: {PREFIX}{name.upper()}: {detail['msg']} (it is {detail['input']!r})")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        complain(f"gantry: gantry.toml cannot be read: {error}")
    raise typer.Exit(2)


def unknown_in_words(names: Sequence[str]) -> str:
    """Variables of the environment, each with the setting that may have been meant."""
    return ", ".join(name + _meant(name, PREFIX) for name in names)


def _meant(name: str, prefix: str = "") -> str:
    from difflib import get_close_matches

    near = get_close_matches(name.upper().removeprefix(PREFIX).lower(), Settings.model_fields.keys(), 1, 0.75)
    return f" (is it {prefix}{near[0].upper() if prefix else near[0]}?)" if near else ""


def with_archive(
    settings: Settings, work: "Callable[[Archive], Awaitable[T]]", *, migrated: bool = True, alone: bool = False
) -> T:
    """Open the archive, do `work`, close it. What is wrong with its parts ends the program with one line and status 1.

    alone  while no server and no other command has it open
    """
    # Only commands that need the archive pay for loading the codecs, the database and the web framework.
    from app.main import open_archive
    from app.observability import configure_logging

    configure_logging(as_json=settings.log_format.value == "json", level=settings.log_level)

    async def run() -> T:
        async with open_archive(settings, migrated=migrated, alone=alone) as archive:
            return await work(archive)

    try:
        return asyncio.run(run())
    except (Unavailable, BlobNotFound, ValueError) as error:
        raise fail(f"{with_reason(error)} ({locations(settings)})") from error
    except GantryError as error:
        raise fail(str(error)) from error
    except OSError as error:
        raise fail(f"{error.strerror or error}: {error.filename or settings.data_dir}") from error
    except KeyboardInterrupt:
        complain("gantry: interrupted", "yellow")
        raise typer.Exit(130) from None


def with_reason(error: Exception) -> str:
    """`error`, and what the database or the store said itself: it names the role, the database or the permission that is missing.

    Of several lines the first; without the query of a URL, where object stores have keys.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    said = str(cause).strip().partition("\n")[0]
    if cause is error or not said:
        return str(error)
    return f"{error}: {re.sub(r'[?][^ ]*', '?...', said)[:_LONGEST_REASON]}"


def locations(settings: Settings) -> str:
    """Where database and blobs are, without passwords and keys."""
    return f"database {database_location(settings)}, blobs {blob_location(settings)}"


def blob_location(settings: Settings) -> str:
    # Options of an object store follow the question mark, secrets among them.
    return settings.effective_blob_url.partition("?")[0]


def database_location(settings: Settings) -> str:
    from app.db.engine import normalised_url

    try:
        url = normalised_url(settings.effective_database_url)
    except ValueError:
        return "at a URL that cannot be read"
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)
