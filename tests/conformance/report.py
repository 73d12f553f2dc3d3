"""What the suite proves, requirement by requirement.

A test names the requirements it proves: `@pytest.mark.proves("NEG-005")`. Requirements are the rows of acceptance_ids.csv;
one is proven when every test that names it passes. `@pytest.mark.needs("delete")` names features that a server need not
have: such a test is deselected, and its requirements are reported as switched off, unless `--features` lists them.
"""

import csv
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Features that PS3.18 leaves open, or that need more than a base URL. All are on unless --features names some.
FEATURES = {
    "delete": "DELETE of studies, series and instances, and 410 afterwards",
    "xml": "application/dicom+xml wherever application/dicom+json is",
    "ranges": "Range on single-part answers",
    "conditional": "ETag and If-None-Match",
    "gzip": "content coding of requests and answers",
    "cors": "cross-origin requests",
    "head": "HEAD on all resources",
    "single-part": "single-part answers for one instance, one frame and one bulkdata item",
    "transcoding": "frames, bulkdata and instances in compressed transfer syntaxes that they are not stored in",
    "bulk-resources": "/bulkdata and /pixeldata of studies, series and instances",
    "optional-matching": "fuzzy, empty value and multiple value matching",
    "replace": "the same SOP Instance UID stored again replaces the instance",
    "thumbnails": "/thumbnail of studies, series, instances and frames",
    "uri-service": "WADO-URI at /wado below the base URL",
    "shared-uids": "one Series or SOP Instance UID in two studies",
    "own-syntax": "Implicit VR LE and Explicit VR BE returned when asked by their UID",
    "settings": "a Gantry that the suite starts itself with settings of its own",
}
AREAS = {
    "COM": "common rules",
    "NEG": "negotiation",
    "RET": "retrieve",
    "MET": "metadata",
    "STO": "store",
    "QID": "search",
    "REN": "rendered",
    "URI": "URI service",
    "UPS": "worklist",
    "SVC": "other services",
    "SEC": "security",
    "FHR": "FHIR",
}
PROVEN, FAILED, OFF, OPEN = "proven", "failed", "switched off", "not covered"


@dataclass(frozen=True, slots=True)
class Requirement:
    id: str
    section: str
    level: str
    area: str
    requirement: str


def requirements() -> dict[str, Requirement]:
    with (Path(__file__).parent / "acceptance_ids.csv").open(newline="") as lines:
        return {row["id"]: Requirement(**row) for row in csv.DictReader(lines)}


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "DICOMweb conformance")
    group.addoption("--base-url", help="DICOMweb service to test; without it the suite starts a Gantry of its own")
    group.addoption("--features", help=f"comma-separated, the optional features of the server: {', '.join(FEATURES)}")
    group.addoption("--conformance-report", metavar="FILE", help="write what was proven as JSON")
    group.addoption(
        "--gantry-database", help="database of the Gantry that the suite starts: sqlite, postgresql or a URL"
    )
    group.addoption("--gantry-blobs", help="blobs of the Gantry that the suite starts: local, s3 or a URL")
    group.addoption("--corpus-seed", type=int, help="make the corpus of an earlier run again")


class Coverage:
    """The plugin: one per test process; under xdist only the controller's reports."""

    def __init__(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "proves(*ids): requirements of acceptance_ids.csv that the test proves")
        config.addinivalue_line("markers", "needs(*features): optional features without which the test means nothing")
        self.config = config
        self.requirements = requirements()
        self.outcomes: dict[str, dict[str, str]] = defaultdict(dict)
        self.off: set[str] = set()
        self.features = chosen_features(config)
        self.seed = _seed(config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Under xdist: the workers' corpora follow from the controller's seed."""
        node.workerinput["corpus_seed"] = self.seed

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept, dropped = [], []
        for item in items:
            ids = named(item, "proves")
            if unknown := [id_ for id_ in ids if id_ not in self.requirements]:
                raise pytest.UsageError(f"{item.nodeid} proves {', '.join(unknown)}: not in acceptance_ids.csv")
            needs = set(named(item, "needs"))
            if unknown := sorted(needs - FEATURES.keys()):
                raise pytest.UsageError(f"{item.nodeid} needs {', '.join(unknown)}: not a feature")
            if ids:
                item.user_properties.append(("proves", ",".join(ids)))
            if needs <= self.features:
                kept.append(item)
            else:
                dropped.append(item)
                self.off.update(ids)
        if dropped:
            config.hook.pytest_deselected(items=dropped)
            items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, ids in report.user_properties:
            if name != "proves":
                continue
            for id_ in str(ids).split(","):
                tests = self.outcomes[id_]
                if report.failed or report.skipped:
                    tests[report.nodeid] = FAILED
                elif report.when == "call":
                    tests.setdefault(report.nodeid, PROVEN)

    def state(self, id_: str) -> str:
        tests = self.outcomes.get(id_, {}).values()
        if FAILED in tests:
            return FAILED
        if PROVEN in tests:
            return PROVEN
        return OFF if id_ in self.off else OPEN

    def table(self) -> list[str]:
        """The summary, one line per area that has any result, the failures by name below."""
        lines = [f"{'area':16}{'rows':>6}{'proven':>9}{'failed':>9}{'off':>6}{'open':>7}  open, of them required"]
        for area, title in AREAS.items():
            rows = [row for row in self.requirements.values() if row.area == area]
            counts = Counter(self.state(row.id) for row in rows)
            if counts[OPEN] == len(rows):
                continue
            required = [row.id for row in rows if row.level == "shall" and self.state(row.id) == OPEN]
            lines.append(
                f"{title:16}{len(rows):>6}{counts[PROVEN]:>9}{counts[FAILED]:>9}{counts[OFF]:>6}{counts[OPEN]:>7}"
                f"  {' '.join(required)}".rstrip()
            )
        if failed := [id_ for id_ in self.requirements if self.state(id_) == FAILED]:
            lines.append(f"failed: {' '.join(failed)}")
        return lines

    def document(self) -> dict[str, object]:
        return {
            "base_url": self.config.getoption("base_url", default=None) or "gantry, started by the suite",
            "features": sorted(self.features),
            "counts": Counter(self.state(id_) for id_ in self.requirements),
            "requirements": {
                row.id: {
                    "section": row.section,
                    "level": row.level,
                    "area": row.area,
                    "state": self.state(row.id),
                    "tests": dict(sorted(self.outcomes.get(row.id, {}).items())),
                }
                for row in self.requirements.values()
            },
        }

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.outcomes:
            terminalreporter.section(f"conformance with PS3.18, --corpus-seed {self.seed}")
            for line in self.table():
                terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        file = self.config.getoption("conformance_report", default=None)
        if file and not hasattr(self.config, "workerinput"):
            Path(file).write_text(json.dumps(self.document(), indent=1) + "\n")


def _seed(config: pytest.Config) -> int:
    """A seed per session; each xdist worker has its own, so that their corpora never meet in one server."""
    worker = getattr(config, "workerinput", {})
    seed = worker.get("corpus_seed", config.getoption("corpus_seed", default=None))
    if seed is None:
        return secrets.randbits(32)
    return int(seed) * 1000 + int(worker["workerid"].removeprefix("gw")) if worker else int(seed)


def chosen_features(config: pytest.Config) -> set[str]:
    """Everything for our own server; for another one everything that a base URL is enough for, or what --features says."""
    listed = config.getoption("features", default=None)
    base_url = config.getoption("base_url", default=None)
    if listed is None:
        return set(FEATURES) - ({"settings"} if base_url else set())
    features = {name.strip() for name in listed.split(",") if name.strip()}
    if unknown := sorted(features - FEATURES.keys()):
        raise pytest.UsageError(f"--features: {', '.join(unknown)} unknown; known are {', '.join(FEATURES)}")
    return features


def named(item: pytest.Item, marker: str) -> list[str]:
    """All names that the markers of a test, its class and its module give, once each."""
    found: Iterable[str] = (str(name) for mark in item.iter_markers(marker) for name in mark.args)
    return list(dict.fromkeys(found))
