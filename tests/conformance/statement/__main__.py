"""Write or check the conformance statement."""

import argparse
import difflib
import json
import sys
from pathlib import Path

from tests.conformance.statement.document import RESULTS_HEADING, statement
from tests.conformance.statement.proofs import collected_proofs, reasons, results
from tests.support.server import PROJECT

COMMITTED = PROJECT / "openapi" / "conformance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.statement", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=COMMITTED, help="file to write")
    parser.add_argument("--report", type=Path, help="file of pytest --conformance-report: its results become a section")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    arguments = parser.parse_args()
    text = statement(collected_proofs(), reasons())
    if arguments.check:
        committed = arguments.output.read_text(encoding="utf-8").partition(RESULTS_HEADING)[0].rstrip() + "\n"
        difference = list(
            difflib.unified_diff(committed.splitlines(), text.splitlines(), "committed", "made", lineterm="")
        )
        sys.stderr.write("\n".join(difference[:60]) + "\n" if difference else "")
        return 1 if difference else 0
    if arguments.report:
        text += f"\n{RESULTS_HEADING}\n\n{results(json.loads(arguments.report.read_text()))}\n"
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
