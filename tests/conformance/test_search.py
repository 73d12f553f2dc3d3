"""Search (QIDO-RS, PS3.18 10.6): the six resources and the attributes that their results carry (Tables 10.6.3-3 to -5)."""

import csv
from typing import Any
from urllib.parse import quote

import pytest

from tests.conformance.corpus import PRIVATE_CREATOR, Corpus
from tests.conformance.encoder import attributes
from tests.conformance.instances import Maker
from tests.conformance.native_model import comparable, read_native_model
from tests.support.http import JSON, XML_MULTIPART, Peer, first, integer, media_type, parse_multipart, values

# Types R and U of the tables: there is always a key, also where the object knows no value.
STUDY_KEYS = {
    "00080020": "DA",
    "00080030": "TM",
    "00080050": "SH",
    "00080061": "CS",
    "00080090": "PN",
    "00081190": "UR",
    "00100010": "PN",
    "00100020": "LO",
    "00100030": "DA",
    "00100040": "CS",
    "0020000D": "UI",
    "00200010": "SH",
    "00201206": "IS",
    "00201208": "IS",
}
SERIES_KEYS = {"00080060": "CS", "00081190": "UR", "0020000E": "UI", "00200011": "IS", "00201209": "IS"}
INSTANCE_KEYS = {"00080016": "UI", "00080018": "UI", "00081190": "UR", "00200013": "IS"}


def vrs(result: dict[str, Any], keys: dict[str, str]) -> dict[str, str]:
    return {key: result[key]["vr"] for key in keys if key in result}


@pytest.mark.proves("QID-001", "QID-002", "QID-003", "QID-004", "QID-005", "QID-006")
def test_six_resources(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    study, series = f"StudyInstanceUID={item.study}", f"SeriesInstanceUID={item.series}"
    assert len(peer.search("/studies", study)) == 1
    assert len(peer.search("/series", study)) == 3
    assert len(peer.search("/series", f"{study}&{series}")) == 1
    assert len(peer.search("/instances", study)) == 5
    assert len(peer.search("/instances", f"{study}&{series}")) == 3
    assert len(peer.search(f"{item.study_path}/series")) == 3
    assert len(peer.search(f"{item.study_path}/instances")) == 5
    assert len(peer.search(f"{item.series_path}/instances")) == 3


@pytest.mark.proves("QID-007", "NEG-027", "MET-024")
def test_answer_is_an_array_of_ordered_objects(peer: Peer, corpus: Corpus) -> None:
    for path in ("/studies", "/series", "/instances"):
        response = peer.get(path, "*/*", corpus.mine)
        assert media_type(response.headers["content-type"])[0] == JSON
        results = response.json()
        assert isinstance(results, list)
        for result in results:
            assert list(result) == sorted(result)
            for tag, element in result.items():
                assert len(tag) == 8
                assert tag == tag.upper()
                assert element.keys() <= {"vr", "Value", "BulkDataURI", "InlineBinary"}
                assert element.get("Value") not in ([], [""], [None])


@pytest.mark.proves("QID-008", "NEG-037")
@pytest.mark.needs("xml")
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances"])
def test_answer_as_xml(peer: Peer, corpus: Corpus, path: str) -> None:
    query = f"PatientID={corpus['ct1'].patient_id}&includefield=all"
    response = peer.get(path, XML_MULTIPART, query)
    assert response.status_code == 200
    parts = parse_multipart(response.headers["content-type"], response.content)
    assert {part.media_type for part in parts} == {"application/dicom+xml"}
    assert [read_native_model(part.body) for part in parts] == [
        comparable(result) for result in peer.search(path, query)
    ]


@pytest.mark.proves("QID-008", "QID-009")
@pytest.mark.needs("xml")
def test_no_results_as_xml(peer: Peer, corpus: Corpus) -> None:
    response = peer.get("/studies", XML_MULTIPART, f"PatientID={corpus.token}-nobody")
    assert response.status_code in (200, 204)
    if response.content:
        assert parse_multipart(response.headers["content-type"], response.content) == []


@pytest.mark.proves("QID-009", "QID-010", "QID-012")
@pytest.mark.parametrize(
    "query", ["{mine}-nobody", "{mine}&offset=999999", "{mine}&limit=0", "StudyInstanceUID=2.25.1"]
)
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances"])
def test_no_results(peer: Peer, corpus: Corpus, path: str, query: str) -> None:
    mine = corpus.mine.rstrip("*") if "nobody" in query else corpus.mine
    response = peer.get(path, JSON, query.format(mine=mine))
    assert response.status_code in (200, 204)
    assert response.content == (b"[]" if response.status_code == 200 else b"")


@pytest.mark.proves("QID-067")
@pytest.mark.parametrize(
    "path", ["/studies/2.25.1/series", "/studies/2.25.1/instances", "/studies/2.25.1/series/2.25.2/instances"]
)
def test_unknown_study_in_the_path(peer: Peer, path: str) -> None:
    assert peer.search(path) == []


@pytest.mark.proves("QID-020")
@pytest.mark.parametrize("name", ["ct1", "beta", "empty", "lacking", "japanese", "pdf", "MR_small.dcm", "reportsi.dcm"])
def test_study_attributes(peer: Peer, corpus: Corpus, name: str) -> None:
    (result,) = peer.search("/studies", f"StudyInstanceUID={corpus[name].study}")
    assert vrs(result, STUDY_KEYS) == STUDY_KEYS
    if name in ("empty", "lacking"):
        assert [result[tag] for tag in ("00080020", "00080030", "00200010")] == [
            {"vr": "DA"},
            {"vr": "TM"},
            {"vr": "SH"},
        ]


@pytest.mark.proves("QID-020", "QID-021", "QID-022", "QID-023", "QID-024")
def test_study_values(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    (result,) = peer.search("/studies", f"StudyInstanceUID={item.study}")
    assert sorted(result.pop("00080061")["Value"]) == ["CT", "SR"]
    known = {
        "00080020": {"vr": "DA", "Value": ["20240101"]},
        "00080030": {"vr": "TM", "Value": ["1000"]},
        "00080050": {"vr": "SH", "Value": [f"{corpus.token}A"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Smith^Anna^^Dr"}]},
        "00081190": {"vr": "UR", "Value": [peer.url(item.study_path)]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]},
        "00100020": {"vr": "LO", "Value": [item.patient_id]},
        "00100030": {"vr": "DA", "Value": ["19700131"]},
        "00100040": {"vr": "CS", "Value": ["M"]},
        "0020000D": {"vr": "UI", "Value": [item.study]},
        "00200010": {"vr": "SH", "Value": ["ALPHA"]},
    }
    for tag, element in known.items():
        assert result[tag] == element
    assert (integer(result, "00201206"), integer(result, "00201208")) == (3, 5)
    assert len(peer.parts(first(result, "00081190"), "*/*")) == 5


@pytest.mark.proves("QID-021")
def test_counts_follow_the_corpus(peer: Peer, corpus: Corpus) -> None:
    for result in peer.search("/studies", corpus.mine):
        items = [item for item in corpus.items.values() if item.study == first(result, "0020000D")]
        if items:
            assert integer(result, "00201208") == len(items)
            assert integer(result, "00201206") == len({item.series for item in items})


@pytest.mark.proves("QID-025")
def test_timezone_is_returned(peer: Peer, corpus: Corpus) -> None:
    zone = {"vr": "SH", "Value": ["+0900"]}
    for path in ("/studies", "/series", "/instances", corpus["zone"].study_path + "/series"):
        (result,) = peer.search(path, f"StudyInstanceUID={corpus['zone'].study}")
        assert result["00080201"] == zone
    (other,) = peer.search("/studies", f"StudyInstanceUID={corpus['beta'].study}")
    assert "00080201" not in other


@pytest.mark.proves("QID-026", "QID-027")
def test_series_attributes(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    results = peer.search(item.study_path + "/series")
    for result in results:
        assert vrs(result, SERIES_KEYS) == SERIES_KEYS
    (result,) = [one for one in results if first(one, "0020000E") == item.series]
    assert first(result, "00080060") == "CT"
    assert first(result, "0008103E") == "Lung"
    assert first(result, "00081190") == peer.url(item.series_path)
    assert integer(result, "00200011") == 7
    assert integer(result, "00201209") == 3
    assert first(result, "00400244") == "20240101"
    assert first(result, "00400245") == "101530"
    (request,) = values(result, "00400275")
    assert request["00400009"] == {"vr": "SH", "Value": ["SPS-1"]}
    assert request["00401001"] == {"vr": "SH", "Value": ["RP-1"]}
    assert "00400275" not in next(one for one in results if first(one, "00080060") == "SR")


@pytest.mark.proves("QID-027")
def test_request_attributes_that_are_not_known(peer: Peer, corpus: Corpus, maker: Maker) -> None:
    """Table 10.6.3-4: both are of type R in the items, so there is a key for what an item does not say."""
    items = [attributes(ScheduledProcedureStepID="SPS-9"), attributes(RequestedProcedureID="RP-9")]
    item = maker.single("requested", RequestAttributesSequence=items)
    assert peer.store([item.data]).status_code == 200
    expected = [
        {"00400009": {"vr": "SH", "Value": ["SPS-9"]}, "00401001": {"vr": "SH"}},
        {"00400009": {"vr": "SH"}, "00401001": {"vr": "SH", "Value": ["RP-9"]}},
    ]
    for path in (f"{item.study_path}/series", "/series"):
        (result,) = peer.search(path, f"SeriesInstanceUID={item.series}")
        assert values(result, "00400275") == expected


@pytest.mark.proves("QID-024", "QID-028", "QID-029")
def test_instance_attributes(peer: Peer, corpus: Corpus) -> None:
    item = corpus["frames"]
    (result,) = peer.search(item.series_path + "/instances")
    assert vrs(result, INSTANCE_KEYS) == INSTANCE_KEYS
    assert first(result, "00080016") == item.sop_class
    assert first(result, "00080018") == item.instance
    assert first(result, "00081190") == peer.url(item.path)
    assert result["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert integer(result, "00200013") == 1
    assert integer(result, "00280008") == 5
    assert (first(result, "00280010"), first(result, "00280011"), first(result, "00280100")) == (3, 5, 8)
    for name in ("MR_small_jp2klossless.dcm", "implicit", "pdf"):
        (result,) = peer.search(corpus[name].series_path + "/instances")
        if "00083002" in result:
            assert corpus[name].syntax in values(result, "00083002") or name == "implicit"
            assert result["00083002"]["vr"] == "UI"
    (result,) = peer.search(corpus["no-pixels"].series_path + "/instances")
    assert not {"00280008", "00280010", "00280011", "00280100"} & result.keys()


@pytest.mark.proves("QID-030", "QID-031", "QID-032")
def test_relational_results_carry_the_levels_above(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    expected = {
        "/series": STUDY_KEYS | SERIES_KEYS,
        "/instances": STUDY_KEYS | SERIES_KEYS | INSTANCE_KEYS,
    }
    for path, keys in expected.items():
        for name in ("ct1", "empty"):
            for result in peer.search(path, f"StudyInstanceUID={corpus[name].study}"):
                assert vrs(result, keys) == keys
    for result in peer.search(item.study_path + "/instances"):
        assert vrs(result, SERIES_KEYS | INSTANCE_KEYS) == SERIES_KEYS | INSTANCE_KEYS
    urls = {first(result, "00081190") for result in peer.search("/instances", f"StudyInstanceUID={item.study}")}
    assert urls == {peer.url(one.path) for one in corpus.study("ct1")}


@pytest.mark.proves("QID-033")
def test_includefield_of_a_lower_level(peer: Peer, corpus: Corpus) -> None:
    for field in ("Modality", "SOPInstanceUID", "00200013", "Rows"):
        (result,) = peer.search("/studies", f"StudyInstanceUID={corpus['ct1'].study}&includefield={field}")
        assert not {"00080060", "00080018", "00200013", "00280010"} & result.keys()
    for result in peer.search(corpus["ct1"].study_path + "/series", "includefield=InstanceNumber"):
        assert "00200013" not in result


@pytest.mark.proves("QID-034")
def test_includefield_of_a_higher_level(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    query = "includefield=PatientName&includefield=SeriesDescription"
    for result in peer.search(item.series_path + "/instances", query):
        assert first(result, "00100010") == {"Alphabetic": "Doe^John"}
        assert first(result, "0008103E") == "Lung"
    for result in peer.search(item.study_path + "/series", "includefield=StudyDescription"):
        assert first(result, "00081030") == f"{corpus.token} Thorax"


@pytest.mark.proves("QID-035", "QID-036", "QID-039", "QID-040")
@pytest.mark.parametrize(
    "query",
    [
        "includefield=StudyDescription&includefield=PatientAge",
        "includefield=StudyDescription,PatientAge",
        "includefield=00081030,00101010",
        "includefield=00081030&includefield=PatientAge",
        "includefield=StudyDescription%2CPatientAge",
        "includefield=PatientAge&includefield=StudyDescription,StudyID",
    ],
)
def test_ways_to_include(peer: Peer, corpus: Corpus, query: str) -> None:
    (result,) = peer.search("/studies", f"StudyInstanceUID={corpus['ct1'].study}&{query}")
    assert result["00081030"] == {"vr": "LO", "Value": [f"{corpus.token} Thorax"]}
    (plain,) = peer.search("/studies", f"StudyInstanceUID={corpus['ct1'].study}")
    assert plain.keys() <= result.keys()


@pytest.mark.proves("QID-035", "QID-036")
@pytest.mark.parametrize("joint", [",", "%2C", "&includefield="])
def test_every_attribute_of_a_list_is_included(peer: Peer, maker: Maker, joint: str) -> None:
    """None of them is returned by itself, so that none can be missed."""
    expected = {
        "00081030": {"vr": "LO", "Value": ["Knee"]},
        "00101010": {"vr": "AS", "Value": ["030Y"]},
        "00104000": {"vr": "LT", "Value": ["said so"]},
    }
    item = maker.single("listed", StudyDescription="Knee", PatientAge="030Y", PatientComments="said so")
    assert peer.store([item.data]).status_code == 200
    (plain,) = peer.search("/studies", f"StudyInstanceUID={item.study}")
    assert not expected.keys() & plain.keys()
    for names in (["StudyDescription", "PatientAge", "PatientComments"], ["00104000", "00081030", "PatientAge"]):
        (result,) = peer.search("/studies", f"StudyInstanceUID={item.study}&includefield={joint.join(names)}")
        assert {tag: result.get(tag) for tag in expected} == expected


@pytest.mark.proves("QID-040")
@pytest.mark.parametrize("path", ["RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009"])
def test_include_a_sequence_path(peer: Peer, corpus: Corpus, path: str) -> None:
    item = corpus["ct1"]
    (result,) = peer.search("/series", f"SeriesInstanceUID={item.series}&includefield={path}")
    assert first(values(result, "00400275")[0], "00400009") == "SPS-1"
    (result,) = peer.search(
        "/studies", f"StudyInstanceUID={corpus['other-ids'].study}&includefield=OtherPatientIDsSequence"
    )
    assert first(values(result, "00101002")[0], "00100020") == f"{corpus.token}-OTHER"
    # One that is in no result by itself.
    (plain,) = peer.search("/studies", f"StudyInstanceUID={corpus['other-ids'].study}")
    assert "00101002" not in plain
    for named in ("OtherPatientIDsSequence.PatientID", "00101002.00100020", "00101002.PatientID"):
        (result,) = peer.search("/studies", f"StudyInstanceUID={corpus['other-ids'].study}&includefield={named}")
        assert first(values(result, "00101002")[0], "00100020") == f"{corpus.token}-OTHER"


@pytest.mark.proves("QID-063")
def test_include_a_private_attribute(peer: Peer, corpus: Corpus) -> None:
    """10.6.3.3: with its Private Creator Element, which is named as a key (8.3.4.3)."""
    path, creator = corpus["private"].series_path + "/instances", quote(PRIVATE_CREATOR)
    (plain,) = peer.search(path)
    assert not {"00230010", "00231001"} & plain.keys()
    (result,) = peer.search(path, f"00230010={creator}&includefield=00231001")
    assert result["00231001"] == {"vr": "LO", "Value": ["hidden value"]}
    assert result["00230010"] == {"vr": "LO", "Value": [PRIVATE_CREATOR]}
    (result,) = peer.search(path, "00230010=NOBODY&includefield=00231001")
    assert first(result, "00231001") is None


@pytest.mark.proves("QID-037", "QID-038")
def test_include_all(peer: Peer, corpus: Corpus) -> None:
    item = corpus["rich"]
    for path, known in (
        ("/studies", {"00100010", "00104000"}),
        (item.study_path + "/series", {"00080060"}),
        (item.series_path + "/instances", {"00080008", "00180050", "00280010"}),
    ):
        query = f"StudyInstanceUID={item.study}&" if path == "/studies" else ""
        (plain,) = peer.search(path, query.rstrip("&"))
        (everything,) = peer.search(path, query + "includefield=all")
        assert plain.items() <= everything.items()
        assert known <= everything.keys()
        both = peer.get(path, JSON, query + "includefield=all&includefield=PatientName")
        assert both.status_code == 400 or both.json()[0].keys() >= everything.keys()


@pytest.mark.proves("COM-008")
@pytest.mark.parametrize("value", ["PatientName.", "0010001", "Patient%20Name%00", "PatientID,,", "nonsense%3Cx%3E"])
def test_includefield_that_is_no_attribute(peer: Peer, value: str) -> None:
    assert peer.get("/studies", JSON, f"includefield={value}&limit=1").status_code in (200, 204, 400)


@pytest.mark.proves("QID-041")
def test_match_attributes_are_returned(peer: Peer, corpus: Corpus) -> None:
    (result,) = peer.search("/studies", f"{corpus.mine}&StudyDescription={corpus.token}*")
    assert first(result, "00081030") == f"{corpus.token} Thorax"
    (result,) = peer.search(corpus["ct1"].study_path + "/series", "SeriesDescription=Lung")
    assert first(result, "0008103E") == "Lung"
    for result in peer.search("/studies", f"{corpus.mine}&StudyDescription="):  # universal: it asks for the attribute
        assert "00081030" in result


@pytest.mark.proves("QID-066", "MET-019", "MET-020")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("umlaut", {"Alphabetic": "Äpfel^Öse"}),
        ("latin1", {"Alphabetic": "Müller^José"}),
        ("greek", {"Alphabetic": "Διονυσιος"}),
        ("arabic", {"Alphabetic": "قباني^لنزار"}),
        ("japanese", {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}),
    ],
)
def test_names_are_unicode(peer: Peer, corpus: Corpus, name: str, expected: dict[str, str]) -> None:
    item = corpus[name]
    response = peer.get("/studies", JSON, f"StudyInstanceUID={item.study}")
    (result,) = response.json()
    assert first(result, "00100010") == expected
    assert next(iter(expected.values())) in response.content.decode("utf-8") or "\\u" in response.text
    (dataset,) = peer.metadata(item.path)
    assert first(dataset, "00100010") == expected
    assert values(dataset, "00080005") == ["ISO_IR 192"]
    assert values(result, "00080005") in ([], ["ISO_IR 192"])


def test_table_of_keys_is_that_of_the_standard(request: pytest.FixtureRequest) -> None:
    """The ids of the report are those that the tests name; this one guards the copy of the list."""
    with (request.path.parent / "acceptance_ids.csv").open(newline="") as lines:
        ids = [row["id"] for row in csv.DictReader(lines)]
    assert len(ids) == len(set(ids)) == 412
