"""Keys that no index serves, and keys that nothing can match (PS3.18 8.3, PS3.4 C.2.2.2)."""

import pytest

from tests.conformance.corpus import Corpus
from tests.support.http import JSON, Peer, first


@pytest.mark.proves("QID-068")
def test_key_without_an_index(peer: Peer, corpus: Corpus) -> None:
    """Matched, or ignored with a warning: never silently nothing."""
    query = "PatientComments=one*"
    response = peer.get("/studies", JSON, f"{corpus.mine}&{query}")
    assert response.status_code == 200
    if "warning" in response.headers and "additional results" not in response.headers["warning"]:
        assert response.headers["warning"].startswith("299 ")
        assert len(response.json()) > 1
    else:
        assert [first(result, "0020000D") for result in response.json()] == [corpus["rich"].study]


@pytest.mark.proves("QID-068")
@pytest.mark.parametrize("key", ["NumberOfPatientRelatedStudies=1", "RetrieveURL=x", "00080053=CLASSIC"])
def test_key_of_what_no_study_holds(peer: Peer, corpus: Corpus, key: str) -> None:
    response = peer.get("/studies", JSON, f"{corpus.mine}&StudyDate=20240102&{key}")
    assert response.status_code in (200, 204, 400)
    if response.status_code == 200 and response.json():
        assert [first(result, "0020000D") for result in response.json()] == [corpus["beta"].study]
        assert response.headers["warning"].startswith("299 ")


@pytest.mark.proves("QID-068")
def test_character_set_is_never_matched(peer: Peer, corpus: Corpus) -> None:
    """PS3.4 C.2.2.2."""
    (result,) = peer.search("/studies", f"{corpus.mine}&StudyDate=20240102&SpecificCharacterSet=ISO_IR%20100")
    assert first(result, "0020000D") == corpus["beta"].study
