"""What is proven: the requirements, the tests that name them, and the reasons for those that none names."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.report import AREAS, FAILED, OFF, OPEN, PROVEN, Requirement, requirements
from tests.conformance.statement.collecting import PROOFS_FILE
from tests.conformance.statement.markdown import table
from tests.support.server import PROJECT

UNCOVERED = Path(__file__).parents[1] / "uncovered.csv"
# The areas of the Studies Service and of what is around it; the others are other services.
STUDIES_SERVICE = ("COM", "NEG", "RET", "MET", "STO", "QID", "REN", "URI", "SEC")

Proofs = Mapping[str, list[str]]


def collected_proofs() -> Proofs:
    """Requirement -> tests that name it, as `module::function`. Collects in a process of its own; nothing is run."""
    # What a surrounding run has set must not change what is collected.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "proofs.json"
        finished = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "tests/conformance",
                "--collect-only",
                "-q",
                "-p",
                "no:cacheprovider",
                "-p",
                "tests.conformance.statement.collecting",
            ],
            cwd=PROJECT,
            env={**inherited, "PYTHONPATH": str(PROJECT), PROOFS_FILE: str(file)},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        if finished.returncode != 0:
            raise RuntimeError(
                f"the conformance tests cannot be collected:\n{finished.stdout[-3000:]}{finished.stderr}"
            )
        found: dict[str, list[str]] = json.loads(file.read_text())
    return {id_: sorted(tests) for id_, tests in found.items()}


def reasons() -> dict[str, str]:
    """Requirement -> why no test proves it. Raises ValueError for a row twice."""
    with UNCOVERED.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    found = {row["id"]: row["reason"].strip() for row in rows}
    if len(found) != len(rows):
        raise ValueError(f"{UNCOVERED.name} names a requirement twice")
    return found


def is_required(row: Requirement) -> bool:
    """`shall`, be it only of those who claim the feature."""
    return row.level.startswith("shall")


def counts_table(proofs: Proofs, explained: Mapping[str, str]) -> str:
    """Per area: how many requirements are named by tests, and how many are explained."""
    rows: list[tuple[object, ...]] = []
    for area in STUDIES_SERVICE:
        ids = [row for row in requirements().values() if row.area == area]
        shall = [row.id for row in ids if is_required(row)]
        rows.append(
            (
                AREAS[area],
                len(ids),
                sum(row.id in proofs for row in ids),
                sum(row.id in explained for row in ids),
                len(shall),
                sum(id_ in proofs for id_ in shall),
            )
        )
    rows.append(("all", *(sum(int(str(row[column])) for row in rows) for column in range(1, 6))))
    return table(("area", "requirements", "with tests", "explained", "`shall`", "`shall` with tests"), rows)


def requirement_tables(proofs: Proofs, explained: Mapping[str, str]) -> str:
    """One table per area; of the areas outside the Studies Service only what is proven or explained."""
    pieces = []
    for area, title in AREAS.items():
        rows = [row for row in requirements().values() if row.area == area]
        if area not in STUDIES_SERVICE:
            rows = [row for row in rows if row.id in proofs or row.id in explained]
        if rows:
            lines = (
                (row.id, row.level, row.requirement, row.section, _state(row.id, proofs, explained)) for row in rows
            )
            heads = ("id", "level", "requirement", "section", "tests, or why there is none")
            pieces.append(f"### {title.capitalize() if title.islower() else title}\n\n{table(heads, lines)}")
    return "\n\n".join(pieces)


def _state(id_: str, proofs: Proofs, explained: Mapping[str, str]) -> str:
    if id_ in proofs:
        return ", ".join(f"`{test}`" for test in proofs[id_])
    return f"Not covered: {explained[id_]}" if id_ in explained else "**Open**"


def results(report: Mapping[str, Any]) -> str:
    """One run of the suite, from the file of `--conformance-report`."""
    rows = report["requirements"]
    lines = []
    for area, title in AREAS.items():
        states = [row["state"] for row in rows.values() if row["area"] == area]
        if any(state != OPEN for state in states):
            lines.append((title, *(states.count(state) for state in (PROVEN, FAILED, OFF, OPEN))))
    failed = [id_ for id_, row in rows.items() if row["state"] == FAILED]
    text = [
        f"Server: {report['base_url']}. Features: {', '.join(report['features'])}.",
        table(("area", PROVEN, FAILED, OFF, OPEN), lines),
        f"Failed: {', '.join(failed)}." if failed else "Nothing failed.",
    ]
    return "\n\n".join(text)


def gaps(proofs: Proofs, explained: Mapping[str, str]) -> Iterable[str]:
    """What is wrong with the two lists, in words."""
    known = requirements()
    yield from (f"{id_} is not a requirement" for id_ in explained if id_ not in known)
    yield from (f"{id_} has no reason" for id_, reason in explained.items() if not reason)
    yield from (f"{id_} is proven and explained" for id_ in explained if id_ in proofs)
    for row in known.values():
        if row.area in STUDIES_SERVICE and row.id not in proofs and row.id not in explained:
            yield f"{row.id} ({row.level}: {row.requirement}) has neither a test nor a reason"
