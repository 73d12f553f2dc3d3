"""Metadata as JSON: what is read, what is left out, what is refused (PS3.18 Annex F, 10.5.1.4)."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.json_reader import read_json_instances, read_metadata
from app.dicom.metadata_elements import BulkReference, MetadataElement, references_of
from app.dicom.parse_limits import ParseLimits
from app.errors import MalformedDicom, MalformedMessage


def one(key: str, element: Any) -> MetadataElement:
    (found,) = read_metadata({key: element}).data_set.values()
    return found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("[]", 0),
        (" [ ] ", 0),
        ("[{}]", 1),
        ("\n[{} ,\t{}\r\n]\n", 2),
        ("{}", 1),
        (' {"00100010": {"vr": "PN"}} ', 1),
    ],
)
def test_instances_of_a_document(text: str, count: int) -> None:
    assert len(list(read_json_instances(text))) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[",
        "[{}",
        "[{},",
        "[{},]",
        "[{}{}]",
        "[{}]]",
        "[{}] x",
        "{} {}",
        "[1]",
        "[null]",
        "[[{}]]",
        "5",
        '"x"',
        "[{'a': 1}]",
        '[{"00080005": NaN}]',
        '[{"00080005": Infinity}]',
        '[{"a": ' + "9" * 5000 + "}]",
        "[" * 100_000,
        '[{"a":' * 50_000,
        "\ufeff[]",
    ],
)
def test_documents_that_are_not_json(text: str) -> None:
    with pytest.raises(MalformedMessage, match="metadata"):
        list(read_json_instances(text))


def test_what_comes_before_a_fault_is_read() -> None:
    instances = read_json_instances('[{"1": 2}, {"3": 4}, oops]')
    assert next(instances) == {"1": 2}
    assert next(instances) == {"3": 4}
    with pytest.raises(MalformedMessage, match="character 21"):
        next(instances)


@given(st.text(alphabet='[]{}",:0123 \\nultrefas', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = list(read_json_instances(text))
    except MalformedMessage:
        return
    assert found == (json.loads(text) if text.strip().startswith("[") else [json.loads(text)])


@pytest.mark.parametrize(
    ("key", "element", "vr", "value"),
    [
        ("00100020", {"vr": "LO", "Value": ["X"]}, "LO", b"X"),
        ("00100020", {"vr": "LO"}, "LO", b""),
        ("00100020", {"vr": "LO", "Value": []}, "LO", b""),
        ("00100020", {"vr": "LO", "Value": None}, "LO", b""),
        ("00100020", {"Value": ["X"]}, "LO", b"X"),  # the dictionary knows
        ("00280010", {"vr": "", "Value": [4]}, "US", b"\4\0"),
        ("00280106", {"Value": [4]}, "US", b"\4\0"),  # US or SS
        ("00283006", {"InlineBinary": "AAA="}, "OW", b"\0\0"),  # US or OW
        ("00090010", {"Value": ["ME"]}, "LO", b"ME"),
        ("7fe00010", {"vr": "OW", "InlineBinary": "AQI="}, "OW", b"\1\2"),
        ("7FE00010", {"vr": "OW", "BulkDataURI": "a/b"}, "OW", BulkReference("a/b")),
        ("00281101", {"vr": "SS", "Value": [65535, -5, 16]}, "SS", b"\xff\xff\xfb\xff\x10\0"),
        ("00081140", {"vr": "SQ"}, "SQ", ()),
        ("00081140", {"vr": "SQ", "Value": [{}, None]}, "SQ", ({}, {})),
        ("00100020", {"vr": "LO", "Value": ["X"], "keyword": "PatientID"}, "LO", b"X"),
    ],
)
def test_elements(key: str, element: Any, vr: str, value: Any) -> None:
    assert one(key, element) == MetadataElement(vr, value)


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ({"PatientID": {"vr": "LO"}}, "PatientID"),
        ({"0010002": {"vr": "LO"}}, "0010002"),
        ({"00100020": {"vr": "LO"}, "0010002 ": {"vr": "LO"}}, "0010002 "),
        ({"7fe00010": {"vr": "OW"}, "7FE00010": {"vr": "OW"}}, "7FE00010 appears twice"),
        ({"00100020": "X"}, "00100020"),
        ({"00100020": ["X"]}, "00100020"),
        ({"00100020": {"vr": "XX"}}, "'XX' is not a VR"),
        ({"00100020": {"vr": 5}}, "is not a VR"),
        ({"00100020": {"vr": "LO", "Value": "X"}}, "not an array"),
        ({"00100020": {"vr": "LO", "Value": {"a": 1}}}, "not an array"),
        ({"00100020": {"vr": "LO", "BulkDataURI": "x"}}, "BulkDataURI"),
        ({"00081140": {"vr": "SQ", "BulkDataURI": "x"}}, "BulkDataURI"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": ""}}, "not a URI"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": 5}}, "not a URI"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": "x" * 9000}}, "not a URI"),
        ({"7FE00010": {"vr": "OW", "BulkDataURI": "x", "InlineBinary": "AAAA"}}, "both"),
        ({"00100020": {"vr": "LO", "Value": ["x"], "InlineBinary": "AAAA"}}, "both"),
        ({"00081140": {"vr": "SQ", "Value": ["x"]}}, "00081140.1 is not an object"),
        ({"00081140": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": [1]}}]}}, "00081140.1.00100020: "),
    ],
)
def test_what_is_refused_is_named(dataset: Any, named: str) -> None:
    with pytest.raises(MalformedDicom) as caught:
        read_metadata(dataset)
    assert named in str(caught.value)


def test_what_is_no_part_of_a_data_set_is_left_out() -> None:
    read = read_metadata(
        {
            "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]},
            "00000002": {"vr": "UI"},
            "00080000": {"vr": "UL", "Value": [12]},
            "00081140": {"vr": "SQ", "Value": [{"00080000": {"vr": "UL"}, "00081155": {"vr": "UI", "Value": ["1.2"]}}]},
            "FFFEE000": "whatever",
            "00100020": {"vr": "LO", "Value": ["X"]},
        }
    )
    assert sorted(read.data_set) == [0x00081140, 0x00100020]
    assert set(read.discarded) == {"00020010", "00000002", "00080000", "00081140.1.00080000", "FFFEE000"}


@pytest.mark.parametrize(
    ("dataset", "is_ascii"),
    [
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}}, True),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Döe"}]}}, False),
        ({"00081140": {"vr": "SQ", "Value": [{"00104000": {"vr": "LT", "Value": ["é"]}}]}}, False),
        ({"7FE00010": {"vr": "OB", "InlineBinary": "/////w=="}}, True),
        ({"00280010": {"vr": "US", "Value": [65535]}}, True),
    ],
)
def test_whether_texts_are_ascii(dataset: Any, is_ascii: bool) -> None:
    assert read_metadata(dataset).ascii is is_ascii


def test_references_are_found_at_every_depth() -> None:
    icon = {"7FE00010": {"vr": "OB", "BulkDataURI": "icon"}}
    dataset = {
        "7FE00010": {"vr": "OW", "BulkDataURI": "pixels"},
        "00880200": {"vr": "SQ", "Value": [icon, {}, icon]},
        "00420011": {"vr": "OB", "InlineBinary": "AAAA"},
    }
    assert references_of(read_metadata(dataset).data_set) == ["icon", "icon", "pixels"]


def nested(depth: int) -> Any:
    dataset: Any = {}
    for _ in range(depth):
        dataset = {"00081140": {"vr": "SQ", "Value": [dataset]}}
    return dataset


def test_depth_is_bounded() -> None:
    read_metadata(nested(64))
    with pytest.raises(MalformedDicom, match="nested deeper than 64"):
        read_metadata(nested(65))


def test_counts_are_bounded() -> None:
    limits = ParseLimits(max_elements=100)
    many_items = {"00081140": {"vr": "SQ", "Value": [{}] * 100}}
    many_elements = {f"0009{number:04X}": {"vr": "LO"} for number in range(0x1000, 0x1064)}
    for dataset in (many_items, many_elements):
        with pytest.raises(MalformedDicom, match="more than 100"):
            read_metadata(dataset, limits)


def test_large_documents_are_read_in_time() -> None:
    element = '"00100020":{"vr":"LO","Value":["0123456789"]}'
    text = "[" + ",".join(["{" + element + "}"] * 100_000) + "]"
    began = time.process_time()
    assert sum(len(read_metadata(dataset).data_set) for dataset in read_json_instances(text)) == 100_000
    assert time.process_time() - began < 10


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "BulkDataURI", "InlineBinary", "00081140", "00100010", "7FE00010"]), inner
        )
    ),
    max_leaves=30,
)
VRS = st.sampled_from(["LO", "PN", "SQ", "US", "DS", "IS", "OB", "UN", "AT", "FD", "UI", "LT", "SV"])


@given(st.dictionaries(st.sampled_from(["00081140", "00100010", "7FE00010", "00280010"]), JSON_LIKE))
def test_anything_is_read_or_refused(dataset: Any) -> None:
    assert len(refusal_of(dataset)) < 400


@given(VRS, JSON_LIKE)
def test_any_value_is_read_or_refused(vr: str, value: Any) -> None:
    for name in ("Value", "InlineBinary", "BulkDataURI"):
        assert len(refusal_of({"00091001": {"vr": vr, name: value}})) < 400


def refusal_of(dataset: Any) -> str:
    try:
        read_metadata(dataset)
    except MalformedDicom as error:
        return str(error)
    return ""
