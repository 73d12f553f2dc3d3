"""openapi/conformance.md is what the code says, and every requirement is proven by a test or explained."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.report import requirements
from tests.conformance.statement.document import statement
from tests.conformance.statement.markdown import table
from tests.conformance.statement.proofs import (
    STUDIES_SERVICE,
    Proofs,
    collected_proofs,
    gaps,
    is_required,
    reasons,
    results,
)
from tests.support.server import PROJECT

COMMITTED = PROJECT / "openapi" / "conformance.md"
# It is Gantry's statement: it proves nothing of another server.
pytestmark = pytest.mark.needs("settings")


@pytest.fixture(scope="module")
def proofs() -> Proofs:
    return collected_proofs()


def test_every_requirement_has_a_test_or_a_reason(proofs: Proofs) -> None:
    assert list(gaps(proofs, reasons())) == []


def test_gaps_are_found() -> None:
    ids = [id_ for id_, row in requirements().items() if row.area in STUDIES_SERVICE]
    proven = {id_: ["test_x::test_y"] for id_ in ids[3:]}
    found = list(gaps(proven, {ids[0]: "because", ids[1]: "", ids[3]: "because", "XYZ-001": "because"}))
    assert [text.split()[0] for text in found] == ["XYZ-001", ids[1], ids[3], ids[2]]


def test_proofs_are_tests_that_exist(proofs: Proofs) -> None:
    assert proofs["NEG-042"] == ["test_negotiation::test_vary", "test_negotiation::test_vary_of_a_search"]
    assert "[" not in "".join(test for tests in proofs.values() for test in tests)


def test_committed_statement_is_the_codes_own(proofs: Proofs) -> None:
    committed = COMMITTED.read_text(encoding="utf-8").partition("## Results of one run")[0].rstrip()
    assert committed == statement(proofs, reasons()).rstrip(), "run `make conformance-statement`"


@pytest.mark.proves("SVC-018")
def test_statement_has_what_chapter_6_asks_for(proofs: Proofs) -> None:
    text = statement(proofs, reasons())
    for heading in ("Overview", "Operations", "Media types", "Transfer syntaxes", "Store", "Search", "Character sets"):
        assert f"\n## {heading}\n" in text
    for fact in ("real-world activity", "SOP Classes:", "`GET /studies/{study}/metadata`", "`1.2.840.10008.1.2.4.90`"):
        assert fact in text
    security, settings = text.index("\n## Security\n"), text.index("\n## Settings\n")
    assert "no authentication" in text[security:settings]
    assert "`GANTRY_SEARCH_MAX_RESULTS` | `1000`" in text[settings:]


@pytest.mark.proves("SVC-017")
def test_statement_says_which_services_are_not_there(proofs: Proofs) -> None:
    text = statement(proofs, reasons())
    assert "notifications (8.10.2)" in text[text.index("\n## Not there\n") :]


@pytest.mark.proves("STO-050")
def test_statement_says_when_a_store_fails_as_a_whole(proofs: Proofs) -> None:
    text = statement(proofs, reasons())
    statuses = text[text.index("\n### Statuses\n") : text.index("\n## Media types\n")]
    assert "`409` of a store" in statuses
    assert "`501` is not used" in statuses
    failures = text[text.index("\n## Store\n") : text.index("\n## Search\n")]
    assert "| 0110H (272) |" in failures
    assert "| 0122H (290) |" in failures


@pytest.mark.proves("QID-049")
def test_statement_says_how_names_are_matched(proofs: Proofs) -> None:
    text = statement(proofs, reasons())
    matching = text[text.index("\n### Matching\n") : text.index("\n## Character sets\n")]
    for word in ("case and accents", "Components", "phonetic", "fuzzymatching=true"):
        assert word in matching


def test_every_requirement_is_listed_once(proofs: Proofs) -> None:
    text = statement(proofs, reasons())
    for row in requirements().values():
        if row.area in STUDIES_SERVICE:
            assert text.count(f"\n| {row.id} | {row.level} |") == 1
    assert "UPS-001" not in text


def test_levels() -> None:
    levels = {row.level for row in requirements().values() if is_required(row)}
    assert levels == {"shall", "shall if claimed", "shall if known", "shall if supported", "shall if ranges"} | (
        levels & {"shall if R5", "shall if service", "shall if service (2025e)"}
    )


def test_results_of_a_run() -> None:
    rows = {
        "NEG-001": {"area": "NEG", "state": "proven"},
        "NEG-002": {"area": "NEG", "state": "failed"},
        "RET-001": {"area": "RET", "state": "not covered"},
    }
    text = results({"base_url": "http://127.0.0.1/x", "features": ["delete", "xml"], "requirements": rows})
    assert "| negotiation | 1 | 1 | 0 | 0 |" in text
    assert "retrieve" not in text
    assert "Failed: NEG-002." in text
    assert "Features: delete, xml." in text


def test_a_bar_does_not_break_a_table() -> None:
    assert table(("a", "b"), [("x|y", "1\n2")]) == "| a | b |\n|---|---|\n| x\\|y | 1 2 |"


def test_check_tells_what_differs(tmp_path: Path) -> None:
    stale = tmp_path / "conformance.md"
    stale.write_text(COMMITTED.read_text(encoding="utf-8").replace("# Conformance statement", "# Another title", 1))
    command = [sys.executable, "-m", "tests.conformance.statement", "--check", "-o", str(stale)]
    finished = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=250)
    assert finished.returncode == 1
    assert "-# Another title" in finished.stderr
    assert "+# Conformance statement" in finished.stderr
