"""DELETE of studies, series and instances: no transaction of PS3.18 (it is an extension), but its traces are (410, 8.5)."""

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.instances import Item, Maker
from tests.support.http import DICOM_MULTIPART, JSON, OCTET_MULTIPART, Peer, first, integer

pytestmark = pytest.mark.needs("delete")


@pytest.fixture
def study(peer: Peer, maker: Maker) -> list[Item]:
    """Two series: two instances in the first, one in the second."""
    uid, first_series, second_series = maker.uids.new(), maker.uids.new(), maker.uids.new()
    items = [
        maker.item(f"deleted-{number}", maker.dataset("deleted", uid, series, Modality=modality) | maker.image(2, 2))
        for number, (series, modality) in enumerate([(first_series, "CT"), (first_series, "CT"), (second_series, "MR")])
    ]
    assert peer.store([item.data for item in items]).status_code == 200
    return items


def counts(peer: Peer, study: str) -> tuple[int | None, int | None, list[str]] | None:
    found = peer.search("/studies", f"StudyInstanceUID={study}")
    if not found:
        return None
    return integer(found[0], "00201206"), integer(found[0], "00201208"), sorted(found[0]["00080061"]["Value"])


@pytest.mark.proves("COM-022")
def test_instance(peer: Peer, study: list[Item]) -> None:
    item = study[0]
    assert counts(peer, item.study) == (2, 3, ["CT", "MR"])
    assert peer.delete(item.path).status_code == 204
    for suffix, accept in (
        ("", DICOM_MULTIPART),
        ("", "application/dicom"),
        ("", OCTET_MULTIPART),
        ("/metadata", JSON),
        ("/frames/1", OCTET_MULTIPART),
        ("/bulkdata/7FE00010", OCTET_MULTIPART),
        ("/rendered", "*/*"),
        ("/frames/1/rendered", "*/*"),
    ):
        assert peer.get(item.path + suffix, accept).status_code == 410
    assert counts(peer, item.study) == (2, 2, ["CT", "MR"])
    assert [first(one, "00080018") for one in peer.search(item.series_path + "/instances")] == [study[1].instance]
    assert len(peer.metadata(item.study_path)) == 2
    assert len(peer.parts(item.study_path, DICOM_MULTIPART)) == 2


@pytest.mark.proves("COM-022")
def test_last_instance_takes_its_series_and_its_study_along(peer: Peer, study: list[Item]) -> None:
    assert peer.delete(study[2].path).status_code == 204
    assert counts(peer, study[0].study) == (1, 2, ["CT"])
    assert peer.get(study[2].series_path).status_code == 410
    assert len(peer.search(study[0].study_path + "/series")) == 1
    for item in study[:2]:
        assert peer.delete(item.path).status_code == 204
    assert counts(peer, study[0].study) is None
    assert peer.get(study[0].study_path).status_code == 410


@pytest.mark.proves("COM-022")
@pytest.mark.parametrize("level", ["series_path", "study_path"])
def test_whole_levels(peer: Peer, study: list[Item], level: str) -> None:
    path = getattr(study[0], level)
    assert peer.delete(path).status_code == 204
    assert peer.get(path, DICOM_MULTIPART).status_code == 410
    assert peer.get(path + "/metadata", JSON).status_code == 410
    assert peer.get(path + "/rendered").status_code == 410
    assert peer.get(study[1].path).status_code == 410
    assert peer.request("HEAD", path).status_code == 410
    assert counts(peer, study[0].study) == (None if level == "study_path" else (1, 1, ["MR"]))
    assert peer.search("/instances", f"SeriesInstanceUID={study[0].series}") == []


def test_what_is_not_there(peer: Peer, study: list[Item]) -> None:
    assert peer.delete("/studies/2.25.1").status_code == 404
    assert peer.delete(f"{study[0].study_path}/series/2.25.1").status_code == 404
    assert peer.delete(f"{study[0].series_path}/instances/{study[2].instance}").status_code == 404
    assert peer.delete("/studies/abc").status_code == 400
    assert peer.delete(study[0].path).status_code == 204
    assert peer.delete(study[0].path).status_code == 410
    assert counts(peer, study[0].study) == (2, 2, ["CT", "MR"])


def test_stored_again_it_is_back(peer: Peer, study: list[Item]) -> None:
    assert peer.delete(study[0].study_path).status_code == 204
    assert peer.store([study[0].data]).status_code == 200
    (part,) = peer.parts(study[0].study_path, DICOM_MULTIPART + "; transfer-syntax=*")
    assert part.body == study[0].data
    assert peer.get(study[1].path).status_code == 410
    assert counts(peer, study[0].study) == (1, 1, ["CT"])


def test_collections_cannot_be_deleted(peer: Peer, corpus: Corpus) -> None:
    for path in (
        "/studies",
        "/series",
        "/instances",
        corpus["ct1"].path + "/metadata",
        corpus["ct1"].path + "/frames/1",
    ):
        assert peer.delete(path).status_code == 405
    assert peer.get(corpus["ct1"].path).status_code == 200


@pytest.mark.needs("conditional")
def test_tags_of_the_parents_change(peer: Peer, study: list[Item]) -> None:
    etags = {path: peer.get(path + "/metadata").headers["etag"] for path in (study[0].study_path, study[0].series_path)}
    assert peer.delete(study[0].path).status_code == 204
    for path, etag in etags.items():
        response = peer.get(path + "/metadata", if_none_match=etag)
        assert response.status_code == 200
        assert response.headers["etag"] != etag
