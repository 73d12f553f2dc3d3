"""`gantry openapi`: the description of the HTTP interface, as openapi/openapi.json holds it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.configuration import fail

EPILOG = """
Examples:

gantry openapi

gantry openapi --output openapi/openapi.json
"""


def openapi_text() -> str:
    """JSON, indented, in the order of the routes, with a line end: made for reading and for comparing."""
    from app.main import create_app
    from app.settings import Settings

    return json.dumps(create_app(Settings.model_construct()).openapi(), indent=2, ensure_ascii=False) + "\n"


def openapi_command(
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of standard output.")
    ] = None,
) -> None:
    """Write the OpenAPI description of this server. Needs no database and no data folder."""
    text = openapi_text()
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise fail(f"{out}: {error.strerror or error}") from error
