"""Store (STOW-RS, PS3.18 10.5): statuses and the Store Instances Response (Annex I)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import EXPLICIT, part10
from tests.conformance.instances import SECONDARY_CAPTURE, Item, Maker
from tests.conformance.native_model import read_native_model
from tests.support.http import (
    DICOM_MULTIPART,
    JSON,
    XML_MULTIPART,
    Peer,
    build_multipart,
    first,
    integer,
    media_type,
    store_headers,
    values,
)

RETRIEVE_URL, FAILED, REFERENCED, OTHER_FAILURES = "00081190", "00081198", "00081199", "0008119A"
CLASS_UID, INSTANCE_UID, FAILURE_REASON = "00081150", "00081155", "00081197"
GARBAGE = b"this is not DICOM, " * 20


def reasons(answer: dict[str, Any]) -> list[int]:
    """Every Failure Reason of the answer."""
    return [first(failure, FAILURE_REASON) for tag in (FAILED, OTHER_FAILURES) for failure in values(answer, tag)]


def stored(answer: dict[str, Any]) -> set[str]:
    return {first(reference, INSTANCE_UID) for reference in values(answer, REFERENCED)}


def is_cannot_understand(reason: int) -> bool:
    return 0xC000 <= reason <= 0xCFFF


@pytest.mark.proves("STO-001", "STO-003", "STO-014", "STO-028")
def test_two_studies_in_one_request(peer: Peer, maker: Maker) -> None:
    items = [maker.single("one"), maker.single("two")]
    response = peer.store([item.data for item in items])
    assert response.status_code == 200
    assert media_type(response.headers["content-type"])[0] == JSON
    answer = response.json()
    assert isinstance(answer, dict)
    assert stored(answer) == {item.instance for item in items}
    assert not {FAILED, OTHER_FAILURES} & answer.keys()
    for item in items:
        (part,) = peer.parts(item.study_path, DICOM_MULTIPART + "; transfer-syntax=*")
        assert part.body == item.data


@pytest.mark.proves("STO-009", "STO-010", "STO-011", "STO-015")
def test_answer_names_what_was_stored(peer: Peer, maker: Maker) -> None:
    item = maker.single("named")
    answer = peer.store([item.data], item.study_path).json()
    assert answer[RETRIEVE_URL] == {"vr": "UR", "Value": [peer.url(item.study_path)]}
    (reference,) = values(answer, REFERENCED)
    assert answer[REFERENCED]["vr"] == "SQ"
    assert reference[CLASS_UID] == {"vr": "UI", "Value": [SECONDARY_CAPTURE]}
    assert reference[INSTANCE_UID] == {"vr": "UI", "Value": [item.instance]}
    assert reference[RETRIEVE_URL] == {"vr": "UR", "Value": [peer.url(item.path)]}
    assert not [key for key in [*answer, *reference] if key.startswith("0000")]
    assert sorted(answer) == list(answer)
    assert peer.get(reference[RETRIEVE_URL]["Value"][0]).status_code == 200


@pytest.mark.proves("STO-009")
def test_retrieve_url_is_there_for_many_studies_too(peer: Peer, maker: Maker) -> None:
    answer = peer.store([maker.single("many-1").data, maker.single("many-2").data]).json()
    assert answer[RETRIEVE_URL]["vr"] == "UR"  # Type 2: it may be empty when there is no one study


@pytest.mark.proves("STO-002", "STO-012")
def test_other_study_than_the_one_in_the_path(peer: Peer, maker: Maker, corpus: Corpus) -> None:
    item = maker.single("elsewhere")
    response = peer.store([item.data], f"/studies/{corpus.uids.new()}")
    assert response.status_code == 409
    (failure,) = values(response.json(), FAILED)
    assert first(failure, CLASS_UID) == item.sop_class
    assert first(failure, INSTANCE_UID) == item.instance
    assert isinstance(first(failure, FAILURE_REASON), int)
    assert REFERENCED not in response.json()
    assert peer.get(item.path).status_code == 404


@pytest.mark.proves("STO-004", "STO-012", "STO-013")
def test_some_stored(peer: Peer, maker: Maker, corpus: Corpus) -> None:
    good, other = maker.single("good"), maker.single("other-study")
    later = maker.item("later", maker.dataset("good", good.study, corpus.uids.new()))
    response = peer.store([good.data, GARBAGE, other.data, later.data], good.study_path)
    assert response.status_code == 202
    answer = response.json()
    assert stored(answer) == {good.instance, later.instance}
    assert [first(failure, INSTANCE_UID) for failure in values(answer, FAILED)] == [other.instance]
    (unknown,) = values(answer, OTHER_FAILURES)
    assert unknown.keys() <= {FAILURE_REASON}
    assert is_cannot_understand(first(unknown, FAILURE_REASON))
    assert peer.get(later.path).status_code == 200


@pytest.mark.proves("STO-005", "STO-009", "STO-013", "STO-014", "STO-020")
def test_none_stored(peer: Peer) -> None:
    response = peer.store([GARBAGE, b"", b"\0" * 200])
    assert response.status_code == 409
    answer = response.json()
    assert not {REFERENCED, FAILED} & answer.keys()
    assert answer[RETRIEVE_URL] == {"vr": "UR"}  # Type 2: there is nothing to be retrieved
    assert len(values(answer, OTHER_FAILURES)) == 3
    assert all(is_cannot_understand(reason) for reason in reasons(answer))


@pytest.mark.proves("STO-006")
@pytest.mark.parametrize(
    ("parameter", "statuses"),
    [
        ("", (400,)),
        ("; boundary=", (400, 415)),
        ('; boundary="', (400, 415)),
        ("; boundary=" + "x" * 71, (400, 200)),  # one character too long (RFC 2046 5.1.1): a reader need not mind
    ],
)
def test_without_a_usable_boundary(peer: Peer, maker: Maker, parameter: str, statuses: tuple[int, ...]) -> None:
    _, body = build_multipart([maker.single("unbound").data], boundary="x" * 71)
    headers = {"Content-Type": f'multipart/related; type="application/dicom"{parameter}'}
    assert peer.request("POST", "/studies", headers=headers, content=body).status_code in statuses


@pytest.mark.proves("STO-006")
def test_boundary_that_never_comes(peer: Peer, maker: Maker) -> None:
    _, body = build_multipart([maker.single("unbound").data])
    response = peer.request("POST", "/studies", headers=store_headers("another"), content=body)
    assert response.status_code == 400


@pytest.mark.proves("STO-006")
def test_cut_off_message(peer: Peer, maker: Maker) -> None:
    """Without the closing delimiter nobody knows what is missing: the complete parts may be kept, the last may not."""
    whole, cut = maker.single("whole"), maker.single("cut")
    boundary, body = build_multipart([whole.data, cut.data])
    response = peer.request("POST", "/studies", headers=store_headers(boundary), content=body[:-300])
    assert response.status_code in (202, 400)
    assert peer.get(cut.path).status_code == 404
    if response.status_code == 202:
        assert stored(response.json()) == {whole.instance}


@pytest.mark.proves("STO-007")
@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/json",
        "image/png",
        'multipart/form-data; boundary="b"',
        'multipart/related; type="image/tiff"; boundary=b',
        "nonsense",
    ],
)
def test_unsupported_content_type(peer: Peer, content_type: str) -> None:
    response = peer.request("POST", "/studies", headers={"Content-Type": content_type}, content=b"--b--\r\n")
    assert response.status_code == 415


@pytest.mark.proves("STO-007")
def test_without_content_type(peer: Peer, maker: Maker) -> None:
    assert peer.request("POST", "/studies", content=maker.single("untyped").data).status_code in (400, 415)


@pytest.mark.proves("STO-008")
@pytest.mark.parametrize("body", [b"--b--\r\n", b"", b"\r\n--b--", b"only a preamble"])
def test_no_parts(peer: Peer, body: bytes) -> None:
    response = peer.request("POST", "/studies", headers=store_headers("b"), content=body)
    assert response.status_code == 400


@pytest.mark.proves("STO-016")
def test_sop_class_that_is_not_stored(peer: Peer, maker: Maker) -> None:
    """A DICOMDIR is a file, but no composite instance (PS3.4 B.5)."""
    item = maker.single("directory", SOPClassUID="1.2.840.10008.1.3.10")
    response = peer.store([item.data])
    assert response.status_code == 409
    assert reasons(response.json()) == [0x0122]


@pytest.mark.proves("STO-017")
@pytest.mark.parametrize("syntax", ["1.2.3.4.5", "1.2.840.10008.1.2.7.1"])
def test_transfer_syntax_that_is_not_supported(peer: Peer, maker: Maker, syntax: str) -> None:
    dataset = maker.dataset("syntax", maker.uids.new(), maker.uids.new())
    response = peer.store([part10(dataset, EXPLICIT, meta={"TransferSyntaxUID": syntax})])
    assert response.status_code == 409
    assert reasons(response.json()) == [0xC122]
    (failure,) = values(response.json(), FAILED)
    assert first(failure, INSTANCE_UID) == dataset[0x00080018][1]


@pytest.mark.proves("STO-019")
@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "not.a.uid", "1.2\\1.3"])
def test_uids_that_are_missing(peer: Peer, maker: Maker, keyword: str, value: str | None) -> None:
    named = {"SOPClassUID": SECONDARY_CAPTURE, "SOPInstanceUID": maker.uids.new(), keyword: value}
    named |= {"StudyInstanceUID": maker.uids.new(), "SeriesInstanceUID": maker.uids.new()} | {keyword: value}
    study, series = named.pop("StudyInstanceUID"), named.pop("SeriesInstanceUID")
    dataset = maker.dataset("uids", study or "", series or "", **named)
    for tag, kept in ((0x0020000D, study), (0x0020000E, series)):
        if kept is None:
            del dataset[tag]
    response = peer.store([part10(dataset, meta={"MediaStorageSOPInstanceUID": maker.uids.new()})])
    assert response.status_code == 409
    assert all(0xA900 <= reason <= 0xA9FF or is_cannot_understand(reason) for reason in reasons(response.json()))
    assert len(reasons(response.json())) == 1


@pytest.mark.proves("STO-020")
@pytest.mark.parametrize("kept", [131, 135, 200, 400, -1, -2])
def test_truncated_file(peer: Peer, maker: Maker, kept: int) -> None:
    item = maker.single("truncated", maker.image(8, 8))
    response = peer.store([item.data[:kept]])
    assert response.status_code == 409
    assert all(is_cannot_understand(reason) for reason in reasons(response.json()))
    assert len(reasons(response.json())) == 1
    assert peer.get(item.path).status_code == 404


@pytest.mark.proves("STO-021")
@pytest.mark.needs("settings")
def test_no_room(gantry: Callable[..., Peer], maker: Maker) -> None:
    full = gantry(min_free_bytes=10**18)
    item = maker.single("no-room")
    response = full.store([item.data, maker.single("no-room-either").data])
    assert response.status_code == 409
    assert [reason & 0xFF00 for reason in reasons(response.json())] == [0xA700] * 2
    assert full.get(item.path).status_code == 404
    assert full.search("/studies") == []


@pytest.mark.proves("STO-026")
def test_stored_means_retrievable(peer: Peer, maker: Maker) -> None:
    item = maker.single("at-once", maker.image(8, 8))
    response = peer.store([item.data], item.study_path)
    assert response.status_code == 200
    assert peer.parts(item.path, DICOM_MULTIPART + "; transfer-syntax=*")[0].body == item.data
    assert len(peer.search("/instances", f"SOPInstanceUID={item.instance}")) == 1
    assert len(peer.metadata(item.path)) == 1
    assert peer.parts(item.path + "/frames/1", "*/*")[0].body == item.pixels


@pytest.mark.proves("STO-027")
def test_location_of_what_was_created(peer: Peer, maker: Maker) -> None:
    """Both header fields shall be there whenever a new resource was created, in a study that is known as well."""
    first_one = maker.single("created")
    study, series = first_one.study, first_one.series
    names = iter(("second", "third", "fourth", "fifth", "sixth"))

    def another(series: str) -> Item:
        return maker.item(next(names), maker.dataset("created", study, series))

    uploads = (
        ([first_one], "/studies", first_one.path),
        ([known := another(series)], "/studies", known.path),
        ([another(series), another(series)], first_one.study_path, first_one.series_path),
        ([another(maker.uids.new()), another(maker.uids.new())], first_one.study_path, first_one.study_path),
        ([maker.single("created-1"), maker.single("created-2")], "/studies", "/studies"),
    )
    for items, path, created in uploads:
        response = peer.store([item.data for item in items], path)
        assert response.status_code == 200
        location = response.headers["location"]
        # The Standard does not say how much more than the new instances the resource may hold.
        assert location.startswith(peer.url("/studies"))
        assert f"{peer.url(created)}/".startswith(f"{location}/")
        assert response.headers["content-location"] == location


@pytest.mark.proves("STO-029")
@pytest.mark.needs("xml")
@pytest.mark.parametrize("accept", ["application/dicom+xml", XML_MULTIPART, f"{JSON};q=0.1, application/dicom+xml"])
def test_answer_as_xml(peer: Peer, maker: Maker, accept: str) -> None:
    item = maker.single("xml-answer")
    response = peer.store([item.data, GARBAGE], accept=accept)
    assert response.status_code == 202
    document = response.content
    if media_type(response.headers["content-type"])[0] == "multipart/related":
        document = document[document.index(b"<?xml") : document.rindex(b">") + 1]
    else:
        assert media_type(response.headers["content-type"])[0] == "application/dicom+xml"
    answer = read_native_model(document)
    assert stored(answer) == {item.instance}
    assert answer[RETRIEVE_URL]["vr"] == "UR"
    assert is_cannot_understand(int(reasons(answer)[0]))


@pytest.mark.proves("STO-028")
def test_answer_nobody_can_give(peer: Peer, maker: Maker) -> None:
    """Refused before anything is stored: an upload must not succeed behind a 406."""
    item = maker.single("unanswerable")
    response = peer.store([item.data], accept="image/png")
    assert response.status_code == 406
    assert peer.get(item.path).status_code == 404
    assert peer.store([item.data], accept=None).status_code in (200, 406)


@pytest.mark.proves("STO-045")
def test_same_bytes_again(peer: Peer, maker: Maker) -> None:
    item = maker.single("again")
    assert peer.store([item.data]).status_code == 200
    response = peer.store([item.data, item.data])
    assert response.status_code == 200
    assert len(values(response.json(), REFERENCED)) == 2
    assert len(peer.search(item.study_path + "/instances")) == 1
    (study,) = peer.search("/studies", f"StudyInstanceUID={item.study}")
    assert integer(study, "00201208") == 1


@pytest.mark.proves("STO-045")
@pytest.mark.needs("replace")
def test_other_bytes_replace(peer: Peer, maker: Maker) -> None:
    old = maker.single("version", StudyDescription="old")
    new = maker.item("version", {**old.dataset, 0x00081030: ("LO", "new")})
    assert peer.store([old.data]).status_code == 200
    etag = peer.get(old.path + "/metadata").headers.get("etag")
    assert peer.store([new.data]).status_code == 200
    assert peer.parts(old.path, DICOM_MULTIPART + "; transfer-syntax=*")[0].body == new.data
    assert first(peer.metadata(old.path)[0], "00081030") == "new"
    assert etag is None or peer.get(old.path + "/metadata").headers["etag"] != etag
    (study,) = peer.search("/studies", f"StudyInstanceUID={old.study}&includefield=StudyDescription")
    assert (first(study, "00081030"), integer(study, "00201208")) == ("new", 1)


@pytest.mark.needs("shared-uids")
@pytest.mark.parametrize("shared", ["series", "instance"])
def test_uids_shared_by_two_studies(peer: Peer, maker: Maker, shared: str) -> None:
    """The Standard forbids it, archives meet it: each study keeps its own."""
    one = maker.single("shared-1")
    series = one.series if shared == "series" else maker.uids.new()
    instance = maker.uids.new() if shared == "series" else one.instance
    two = maker.item("two", maker.dataset("shared-2", maker.uids.new(), series, SOPInstanceUID=instance))
    assert peer.store([one.data]).status_code == 200
    assert peer.store([two.data]).status_code == 200
    for item in (one, two):
        assert [part.body for part in peer.parts(item.path, DICOM_MULTIPART + "; transfer-syntax=*")] == [item.data]
        assert len(peer.search(item.study_path + "/instances")) == 1
        assert first(peer.metadata(item.study_path)[0], "00100020") == item.patient_id
        (series_found,) = peer.search(item.study_path + "/series")
        assert integer(series_found, "00201209") == 1
