"""The list of commands. Each is a module, `NAME_command` in it; only the one that is asked for is loaded."""

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from app import __version__

# Command -> module, in the order of `gantry --help`.
_COMMANDS = {
    "serve": "serve",
    "import": "import_command",
    "export": "export",
    "migrate": "maintenance",
    "verify": "maintenance",
    "sweep": "maintenance",
    "reindex": "maintenance",
    "restore": "maintenance",
    "doctor": "doctor",
    "openapi": "openapi",
}


def program(arguments: Sequence[str] = ()) -> typer.Typer:
    """With all commands, or with the one that comes first in `arguments`: a server has no use for an HTTP client."""
    app = typer.Typer(
        name="gantry",
        help="Gantry, a DICOMweb server. Settings come from GANTRY_* environment variables or from gantry.toml.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in [arguments[0]] if arguments and arguments[0] in _COMMANDS else _COMMANDS:
        module = import_module(f"app.cli.{_COMMANDS[name]}")
        epilog = getattr(module, f"{name.upper()}_EPILOG", None) or module.EPILOG
        command = getattr(module, f"{name}_command")
        app.command(name, epilog=epilog, help=_unwrapped(command.__doc__))(command)
    return app


def _unwrapped(text: str) -> str:
    """Without the line ends inside of paragraphs, which the help would keep beside those of the terminal's width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gantry {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options that stand before a command."""
