"""The `gantry` program. Each command is a module; this one only lists them."""

from typing import Annotated

import typer

from app import __version__
from app.cli import doctor, export, import_command, maintenance, openapi, serve

app = typer.Typer(
    name="gantry",
    help="Gantry, a DICOMweb server. Settings come from GANTRY_* environment variables or from gantry.toml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve", epilog=serve.EPILOG)(serve.serve_command)
app.command("import", epilog=import_command.EPILOG)(import_command.import_command)
app.command("export", epilog=export.EPILOG)(export.export_command)
app.command("migrate", epilog=maintenance.MIGRATE_EPILOG)(maintenance.migrate_command)
app.command("verify", epilog=maintenance.VERIFY_EPILOG)(maintenance.verify_command)
app.command("sweep", epilog=maintenance.SWEEP_EPILOG)(maintenance.sweep_command)
app.command("reindex", epilog=maintenance.REINDEX_EPILOG)(maintenance.reindex_command)
app.command("restore", epilog=maintenance.RESTORE_EPILOG)(maintenance.restore_command)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor_command)
app.command("openapi", epilog=openapi.EPILOG)(openapi.openapi_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gantry {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options that stand before a command."""


def main() -> None:
    app()
