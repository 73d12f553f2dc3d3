"""The table that people read, and the JSON that programs do."""

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cases.case import Case
from benchmarks.measurement import Measurement

_COLUMNS = ("server", "rate/s", "p50 ms", "p95 ms", "CPU ms", "MB/s", "peak MB", "x peer", "x limit", "load", "note")
_WIDTHS = (34, 9, 9, 9, 9, 8, 8, 7, 8, 11, 0)


def ratios(found: Sequence[Measurement]) -> dict[str, tuple[float | None, float | None]]:
    """Per server of a case: its rate over the peer's of the same database, and over nginx'."""
    rates = {one.server: one.rate for one in found if one.rate}
    limit = rates.get("nginx")
    result = {}
    for one in found:
        peer = rates.get(one.server.replace("gantry", "orthanc")) if one.server.startswith("gantry") else None
        result[one.server] = (
            one.rate / peer if peer else None,
            one.rate / limit if limit and one.server != "nginx" else None,
        )
    return result


def lines_of(case: Case, found: Sequence[Measurement]) -> list[str]:
    """The part of the table for one case. Measurements of several questions keep their own name."""
    lines = [f"{case.title}  [{case.bar}]"]
    for name in dict.fromkeys(one.case for one in found):
        group = [one for one in found if one.case == name]
        by_server = ratios(group)
        for one in group:
            label = one.server if name == case.name else f"{one.server}: {name.partition('-')[2]}"
            peer, limit = by_server[one.server]
            cells = (
                label,
                _number(one.rate),
                _number(one.p50_ms),
                _number(one.p95_ms),
                _number(one.cpu_ms),
                _number(one.mb_per_s),
                _number(one.peak_mb),
                _number(peer),
                _number(limit),
                f"{one.load_before:.1f}-{one.load_after:.1f}",
                f"{one.errors} errors! {one.note}" if one.errors else one.note,
            )
            lines.append(_row(cells))
    return lines


def heading() -> str:
    return _row(_COLUMNS)


def _row(cells: Sequence[str]) -> str:
    first, *others = zip(cells, _WIDTHS, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return "  " + " ".join(padded[:-1]) + ("  " + cells[-1] if cells[-1] else "")


def _number(value: float | None) -> str:
    if value is None or value == 0:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def write_json(
    path: Path,
    cases: Sequence[tuple[Case, Sequence[Measurement]]],
    versions: Mapping[str, str],
    options: Mapping[str, Any],
) -> None:
    document = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"processors": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "versions": dict(versions),
        "options": dict(options),
        "cases": [
            {
                "name": case.name,
                "title": case.title,
                "bar": case.bar,
                "measurements": [_entry(one, found) for one in found],
            }
            for case, found in cases
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")


def _entry(one: Measurement, found: Sequence[Measurement]) -> dict[str, Any]:
    peer, limit = ratios([other for other in found if other.case == one.case])[one.server]
    return asdict(one) | {"ratio_to_peer": peer, "ratio_to_limit": limit}
