"""Metadata (PS3.18 10.4.1.1.2) in the DICOM JSON Model (Annex F) and the Native DICOM Model (PS3.19 A.1)."""

import base64
import json
import math
import re
from typing import Any

import pytest

from tests.conformance.corpus import PRIVATE_CREATOR, Corpus
from tests.conformance.instances import Item
from tests.conformance.native_model import comparable, read_native_model
from tests.conformance.packaged import read
from tests.support.http import JSON, XML_MULTIPART, Peer, first, json_array, media_type, parse_multipart, values

TEXT_VRS = frozenset(["AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
BINARY_VRS = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
BULKDATA_VRS = BINARY_VRS | {"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"}
NAMES = (
    "rich",
    "ct1",
    "sr1",
    "japanese",
    "frames",
    "bits",
    "icon",
    "float",
    "double",
    "palette",
    "implicit",
    "big-endian",
    "deflated",
    "video",
    "pdf",
    "no-pixels",
    "private",
    "three-fragments",
    "reportsi.dcm",
    "MR_small.dcm",
    "JPEG-lossy.dcm",
    "SC_rgb_rle_2frame.dcm",
)


def metadata_of(peer: Peer, item: Item) -> dict[str, Any]:
    (dataset,) = peer.metadata(item.path)
    return dataset


def check_element(tag: str, element: dict[str, Any], base_url: str) -> None:
    """One attribute by the rules of Annex F, nested data sets too."""
    vr = element["vr"]
    assert re.fullmatch("[A-Z]{2}", vr), tag
    assert element.keys() <= {"vr", "Value", "BulkDataURI", "InlineBinary"}
    assert len(element) <= 2, f"{tag} has {sorted(element)}"
    if "BulkDataURI" in element:
        assert vr in BULKDATA_VRS, f"{tag} {vr} by URI"
        assert element["BulkDataURI"].startswith(base_url + "/studies/"), tag
    if "InlineBinary" in element:
        assert vr in BINARY_VRS, f"{tag} {vr} inline"
        assert base64.b64decode(element["InlineBinary"], validate=True)
    found = element.get("Value", [None, None])
    assert found, f"{tag} has an empty Value"
    assert found not in ([None], [""]), f"{tag} is empty and has a Value"
    for value in element.get("Value", []):
        check_value(tag, vr, value, base_url)


def check_value(tag: str, vr: str, value: Any, base_url: str) -> None:
    if vr == "SQ":
        check_dataset(value, base_url)
    elif value is None:
        return
    elif vr == "PN":
        assert value, tag
        assert value.keys() <= {"Alphabetic", "Ideographic", "Phonetic"}, tag
        assert all(isinstance(group, str) and group for group in value.values()), tag
    elif vr in TEXT_VRS:
        assert isinstance(value, str), f"{tag} {vr} is {value!r}"
        assert value, f"{tag} has an empty value that is not null"
        assert vr in ("LT", "ST", "UT", "UR", "UC") or value == value.strip(" \0"), f"{tag} is padded: {value!r}"
    elif vr == "AT":
        assert re.fullmatch("[0-9A-F]{8}", value), tag
    elif vr in ("FL", "FD", "SL", "SS", "UL", "US"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        assert number or str(value).lower().lstrip("-") in ("nan", "inf", "infinity"), tag
    else:
        assert vr in ("DS", "IS", "SV", "UV"), f"{tag} {vr} has a Value"
        assert isinstance(value, int | float | str), tag


def check_dataset(dataset: dict[str, Any], base_url: str) -> None:
    assert list(dataset) == sorted(dataset)
    for tag, element in dataset.items():
        assert re.fullmatch("[0-9A-F]{8}", tag)
        assert not tag.startswith("0002")
        assert not tag.endswith("0000")
        check_element(tag, element, base_url)


@pytest.mark.proves("MET-002", "MET-003", "MET-004", "MET-005", "MET-017", "MET-011")
@pytest.mark.parametrize("name", NAMES)
def test_form(peer: Peer, corpus: Corpus, name: str) -> None:
    check_dataset(metadata_of(peer, corpus[name]), peer.base_url)


@pytest.mark.proves("MET-001", "MET-032")
@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_is_there(peer: Peer, corpus: Corpus, name: str) -> None:
    """Compared with pydicom's reading of the file, tag by tag through all sequences."""

    def compare(sent: dict[str, Any], stored: Any) -> None:
        expected = {f"{element.tag:08X}" for element in stored if element.tag.element != 0}
        assert sent.keys() == expected
        for element in stored:
            if element.tag.element and element.VR == "SQ":
                items = values(sent, f"{element.tag:08X}")
                assert len(items) == len(element.value)
                for item, nested in zip(items, element.value, strict=True):
                    compare(item, nested)
            elif element.tag.element:
                has_value = sent[f"{element.tag:08X}"].keys() - {"vr"}
                assert bool(has_value) == bool(element.VM or (element.VR == "OB" and element.value)), element

    compare(metadata_of(peer, corpus[name]), read(corpus[name].data))


@pytest.mark.proves("RET-002", "RET-009", "RET-016", "MET-024")
def test_one_array_per_resource(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    for path, count in ((item.study_path, 5), (item.series_path, 3), (item.path, 1)):
        datasets = peer.metadata(path)
        assert len(datasets) == count
        expected = {one.instance for one in corpus.study("ct1") if one.path.startswith(path + "/") or one.path == path}
        assert {first(dataset, "00080018") for dataset in datasets} == expected
    by_instance = {first(one, "00080018"): one for one in peer.metadata(item.study_path)}
    assert by_instance[item.instance] == metadata_of(peer, item)


@pytest.mark.proves("RET-003", "RET-010", "RET-017", "MET-027", "MET-028", "MET-029", "MET-030")
@pytest.mark.needs("xml")
@pytest.mark.parametrize("level", ["path", "series_path", "study_path"])
@pytest.mark.parametrize("name", NAMES)
def test_xml_says_the_same(peer: Peer, corpus: Corpus, name: str, level: str) -> None:
    path = getattr(corpus[name], level)
    response = peer.get(path + "/metadata", XML_MULTIPART)
    assert response.status_code == 200
    parts = parse_multipart(response.headers["content-type"], response.content)
    for part in parts:
        assert part.media_type == "application/dicom+xml"
    read_parts = {first(dataset, "00080018"): dataset for dataset in (read_native_model(part.body) for part in parts)}
    assert len(read_parts) == len(parts)
    expected = {first(dataset, "00080018"): comparable(dataset) for dataset in peer.metadata(path)}
    for dataset in (*read_parts.values(), *expected.values()):
        dataset.pop("00104000", None)  # its form feed has no XML form: see test_control_characters
    assert read_parts == expected


@pytest.mark.proves("MET-031")
@pytest.mark.needs("xml")
def test_control_characters(peer: Peer, corpus: Corpus) -> None:
    (part,) = peer.parts(corpus["rich"].path + "/metadata", XML_MULTIPART)
    (text,) = read_native_model(part.body)["00104000"]["Value"]
    # A parser makes one line feed of both; written as a reference, the carriage return stays (XML 2.11).
    assert text.startswith("one\\two\r\nthree")
    assert text.endswith("four")
    assert not set(part.body) & (set(range(32)) - set(b"\t\n\r"))
    (dataset,) = peer.metadata(corpus["rich"].path)
    assert first(dataset, "00104000") == "one\\two\r\nthree\x0cfour"


@pytest.mark.proves("MET-006", "MET-007", "MET-008")
def test_empty(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    for tag, vr in {
        "00080050": "SH",
        "00080081": "ST",
        "00080119": "UC",
        "00081070": "PN",
        "00081110": "SQ",
        "00100030": "DA",
        "001021B0": "LT",
    }.items():
        assert dataset[tag] == {"vr": vr}
    assert values(dataset, "00080008") == ["ORIGINAL", None, "AXIAL"]
    assert values(dataset, "00081140")[0] == {}
    assert first(values(dataset, "00081140")[1], "00081155") == "1.2.3"


@pytest.mark.proves("MET-009", "MET-010")
def test_person_names(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    assert values(dataset, "00101001") == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"},
        None,
        {"Alphabetic": "Only^Alphabetic"},
    ]


@pytest.mark.proves("MET-011", "MET-014")
def test_numbers(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    for tag, expected in {
        "00089459": {"vr": "FL", "Value": [1.5]},
        "00186034": {"vr": "FD", "Value": [-0.25]},
        "00281041": {"vr": "SS", "Value": [-1]},
        "00280010": {"vr": "US", "Value": [4]},
        "0072007C": {"vr": "SL", "Value": [-70000, 70000]},
        "00720078": {"vr": "UL", "Value": [4_000_000_000]},
        "00280009": {"vr": "AT", "Value": ["00181063", "00181065"]},
    }.items():
        assert dataset[tag] == expected


@pytest.mark.proves("MET-012", "MET-025")
def test_decimal_and_integer_strings(peer: Peer, corpus: Corpus) -> None:
    response = peer.get(corpus["rich"].path + "/metadata", JSON)
    dataset = json.loads(response.content, parse_float=str)[0]
    assert dataset["00180050"] == {"vr": "DS", "Value": ["0.1000000000000001"]}
    assert [int(value) for value in values(dataset, "00081160")] == [1, 2, -3]
    assert dataset["00101030"] == {"vr": "DS", "Value": ["abc"]}
    assert values(dataset, "00231001") in (["1.50"], ["1.5"])


@pytest.mark.proves("MET-013")
def test_integers_beyond_what_javascript_holds(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    big, small = values(dataset, "00720083")
    assert big == "9223372036854775807"
    assert int(small) == 5
    assert values(dataset, "00720082") == ["-9007199254740993"]


@pytest.mark.proves("MET-026")
def test_not_a_number(peer: Peer, corpus: Corpus) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    response = peer.get(corpus["rich"].path + "/metadata", JSON)
    (dataset,) = json.loads(response.content, parse_constant=refuse)
    for tag, accepted in (("00409224", math.isnan), ("00409225", math.isinf)):
        if "Value" in dataset[tag]:
            assert accepted(float(dataset[tag]["Value"][0]))
        else:
            assert {"BulkDataURI", "InlineBinary"} & dataset[tag].keys()


@pytest.mark.proves("MET-015", "MET-001")
def test_binary(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    if "InlineBinary" in dataset["00281201"]:
        assert dataset["00281201"] == {"vr": "OW", "InlineBinary": base64.b64encode(b"\0\1\2\3\xff\xfe").decode()}
    else:
        assert peer.get(dataset["00281201"]["BulkDataURI"], "application/octet-stream").content == b"\0\1\2\3\xff\xfe"
    if "InlineBinary" in dataset["00231002"]:
        assert dataset["00231002"] == {"vr": "UN", "InlineBinary": base64.b64encode(b"\1\2\3\4").decode()}


@pytest.mark.proves("MET-015")
def test_binary_of_big_endian_is_little_endian(peer: Peer, corpus: Corpus, maker: Any) -> None:
    table = {0x00281201: ("OW", bytes(range(8)))}
    item = maker.single("big-endian-table", table, "1.2.840.10008.1.2.2")
    assert peer.store([item.data]).status_code == 200
    element = metadata_of(peer, item)["00281201"]
    assert base64.b64decode(element["InlineBinary"]) == bytes(range(8))


@pytest.mark.proves("MET-021", "MET-022")
def test_backslashes(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    assert values(dataset, "0040A160") == ["a\\b"]
    assert values(dataset, "0040E010") == ["http://example.org/a\\b?c=d"]
    assert values(dataset, "00104000")[0].startswith("one\\two")
    # 5CH shows as a yen sign in ISO-IR 13 and separates values all the same (PS3.5 6.1.2.3).
    assert values(metadata_of(peer, corpus["yen"]), "00102000") == ["A", "B"]


@pytest.mark.proves("MET-023")
def test_private_attributes(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["rich"])
    assert dataset["00230010"] == {"vr": "LO", "Value": [PRIVATE_CREATOR]}
    assert dataset["00231001"]["vr"] == "DS"
    (nested,) = values(dataset, "00231003")
    assert nested == {
        "00230010": {"vr": "LO", "Value": [PRIVATE_CREATOR]},
        "00231004": {"vr": "SH", "Value": ["inner"]},
    }


@pytest.mark.proves("MET-032")
def test_nested_content(peer: Peer, corpus: Corpus) -> None:
    dataset = metadata_of(peer, corpus["sr1"])
    (outer,) = values(dataset, "0040A730")
    (inner,) = values(outer, "0040A730")
    assert first(values(inner, "0040A043")[0], "00080104") == "Finding"
    leaves = values(inner, "0040A730")
    assert [first(leaf, "0040A160") for leaf in leaves] == ["nothing\\split here"] * 2


@pytest.mark.proves("MET-019", "MET-020")
def test_text_is_utf_8(peer: Peer, corpus: Corpus) -> None:
    for name in ("japanese", "greek", "arabic", "latin1"):
        response = peer.get(corpus[name].path + "/metadata", JSON)
        assert media_type(response.headers["content-type"])[1].get("charset", "utf-8").lower() == "utf-8"
        response.content.decode("utf-8")
        assert "\\u001b" not in response.text.lower()
        assert values(response.json()[0], "00080005") == ["ISO_IR 192"]
    assert "00080005" not in metadata_of(peer, corpus["gray"])


@pytest.mark.proves("RET-043")
@pytest.mark.needs("conditional")
def test_not_modified(peer: Peer, corpus: Corpus, maker: Any) -> None:
    item = maker.single("conditional")
    assert peer.store([item.data]).status_code == 200
    for path in (item.path, item.series_path, item.study_path):
        url = path + "/metadata"
        etag = peer.get(url, JSON).headers["etag"]
        assert re.fullmatch(r'(W/)?"[^"]+"', etag)
        for match in (etag, f'"other", {etag}', f"W/{etag.removeprefix('W/')}", "*"):
            response = peer.get(url, JSON, if_none_match=match)
            assert (response.status_code, response.content) == (304, b"")
        assert peer.get(url, JSON, if_none_match='"other"').status_code == 200
    etag = peer.get(item.study_path + "/metadata", JSON).headers["etag"]
    xml = peer.get(item.study_path + "/metadata", XML_MULTIPART, if_none_match=etag)
    assert xml.status_code in (200, 406)  # another representation: not the one the client has
    more = maker.item("more", maker.dataset("conditional", item.study, maker.uids.new()))
    assert peer.store([more.data]).status_code == 200
    response = peer.get(item.study_path + "/metadata", JSON, if_none_match=etag)
    assert response.status_code == 200
    assert len(json_array(response)) == 2
