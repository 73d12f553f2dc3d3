"""The `gantry` program. Importing it imports nothing: every process that the server starts does so (see app.cli.serve)."""

import sys


def main() -> None:
    from app.cli.program import program

    program(sys.argv[1:])()
