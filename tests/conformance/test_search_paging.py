"""Paging (PS3.18 8.3.4.4): limit, offset, the warning about what remains, an order that does not change."""

import re
from collections.abc import Callable

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.instances import Maker
from tests.support.http import JSON, Peer, first, json_array

REMAINING = re.compile(r'299 \S+:? "?There are (\d+) additional results that can be requested\.?"?')


def remaining(peer: Peer, path: str, query: str) -> tuple[int, int]:
    """Number of results, and of those that the warning says remain (0 without one)."""
    response = peer.get(path, JSON, query)
    assert response.status_code in (200, 204), response.text
    warning = REMAINING.search(response.headers.get("warning", ""))
    return len(json_array(response)) if response.status_code == 200 else 0, int(warning[1]) if warning else 0


@pytest.mark.proves("QID-011", "QID-013", "QID-014")
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances"])
def test_limit_and_what_remains(peer: Peer, corpus: Corpus, path: str) -> None:
    total = len(peer.search(path, corpus.mine))
    assert total > 20
    for limit, offset in ((1, 0), (2, 0), (7, 3), (1, total - 1), (5, total - 2), (total, 0), (total + 5, 0)):
        expected = min(limit, total - offset)
        assert remaining(peer, path, f"{corpus.mine}&limit={limit}&offset={offset}") == (
            expected,
            total - offset - expected,
        )


@pytest.mark.proves("QID-010", "QID-012")
def test_nothing_left(peer: Peer, corpus: Corpus) -> None:
    total = len(peer.search("/studies", corpus.mine))
    assert remaining(peer, "/studies", f"{corpus.mine}&offset={total}") == (0, 0)
    assert remaining(peer, "/studies", f"{corpus.mine}&offset=4000000000") == (0, 0)
    assert remaining(peer, "/studies", f"{corpus.mine}&limit=0")[0] == 0


@pytest.mark.proves("QID-013")
def test_no_warning_when_all_is_told(peer: Peer, corpus: Corpus) -> None:
    response = peer.get("/studies", JSON, f"PatientID={corpus['beta'].patient_id}")
    assert "warning" not in response.headers


@pytest.mark.proves("QID-015")
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances"])
def test_pages_make_the_whole(peer: Peer, corpus: Corpus, path: str, size: int) -> None:
    def names(query: str) -> list[tuple[str, ...]]:
        return [
            tuple(first(result, tag) for tag in ("0020000D", "0020000E", "00080018") if tag in result)
            for result in peer.search(path, query)
        ]

    everything = names(corpus.mine)
    assert len(set(everything)) == len(everything)
    paged: list[tuple[str, ...]] = []
    while page := names(f"{corpus.mine}&limit={size}&offset={len(paged)}"):
        paged += page
    assert paged == everything


@pytest.mark.proves("QID-015")
@pytest.mark.parametrize("suffix", ["/series", "/instances"])
def test_order_below_a_study(peer: Peer, corpus: Corpus, suffix: str) -> None:
    path = corpus["ct1"].study_path + suffix
    tag = "0020000E" if suffix == "/series" else "00080018"
    everything = [first(result, tag) for result in peer.search(path)]
    one_by_one = [first(peer.search(path, f"limit=1&offset={n}")[0], tag) for n in range(len(everything))]
    assert one_by_one == everything


@pytest.mark.proves("QID-015")
def test_pages_while_data_arrives(peer: Peer, corpus: Corpus, maker: Maker) -> None:
    """What was there before is seen exactly once, when what arrives does not belong to the search."""
    before = [first(result, "0020000D") for result in peer.search("/studies", f"{corpus.mine}&StudyDate=20240201")]
    seen: list[str] = []
    while page := peer.search("/studies", f"{corpus.mine}&StudyDate=20240201&limit=10&offset={len(seen)}"):
        seen += [first(result, "0020000D") for result in page]
        assert peer.store([maker.single("arriving", StudyDate="20250101").data]).status_code == 200
    assert seen == before


@pytest.mark.proves("QID-016", "QID-064")
@pytest.mark.needs("settings")
def test_maximum_of_the_server(gantry: Callable[..., Peer], maker: Maker) -> None:
    small = gantry(search_max_results=5)
    items = [maker.single(f"capped-{number}") for number in range(8)]
    assert small.store([item.data for item in items]).status_code == 200
    for path in ("/studies", "/series", "/instances"):
        assert remaining(small, path, "") == (5, 3)
        assert remaining(small, path, "limit=100") == (5, 3)
        assert remaining(small, path, "limit=100&offset=5") == (3, 0)
        assert remaining(small, path, "limit=2") == (2, 6)


@pytest.mark.proves("QID-009")
@pytest.mark.needs("settings")
def test_no_content_for_strict_readers_of_2024e(gantry: Callable[..., Peer]) -> None:
    response = gantry(search_empty_status=204).get("/studies", JSON, "PatientID=nobody")
    assert (response.status_code, response.content) == (204, b"")
