"""The Native DICOM Model (PS3.19 A.1): MET-027 to MET-031."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from app.dicom.header import parse_instance
from app.dicom.instance import INSTANCE_URL_MARK
from app.dicom.xml_model import to_native_xml

NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def attributes(dataset: dict[str, Any]) -> list[ET.Element]:
    root = ET.fromstring(to_native_xml(dataset))  # noqa: S314 (our own document)
    assert root.tag == NAMESPACE + "NativeDicomModel"
    return list(root)


def only(dataset: dict[str, Any]) -> ET.Element:
    (found,) = attributes(dataset)
    return found


def names(parent: ET.Element) -> list[str]:
    return [child.tag.removeprefix(NAMESPACE) for child in parent]


def test_root() -> None:  # MET-027
    text = to_native_xml({})
    assert text.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    root = ET.fromstring(text)  # noqa: S314
    assert root.get("{http://www.w3.org/XML/1998/namespace}space") == "preserve"


def test_attribute() -> None:
    found = only({"00100020": {"vr": "LO", "Value": ["P1"]}})
    assert found.attrib == {"tag": "00100020", "vr": "LO", "keyword": "PatientID"}
    (value,) = found
    assert (value.tag, value.attrib, value.text) == (NAMESPACE + "Value", {"number": "1"}, "P1")


def test_numbers_rise_and_null_is_an_empty_element() -> None:  # MET-028
    found = only({"00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]}})
    assert [(one.get("number"), one.text) for one in found] == [("1", "ORIGINAL"), ("2", None), ("3", "AXIAL")]


def test_empty_attribute_has_no_children() -> None:
    for vr in ("LO", "SQ", "PN", "OB"):
        assert list(only({"00100020": {"vr": vr}})) == []


def test_numbers() -> None:
    found = only({"00280030": {"vr": "DS", "Value": [0.5, 40, "1e400"]}})
    assert [one.text for one in found] == ["0.5", "40", "1e400"]


def test_sequences() -> None:
    inner = {"00080100": {"vr": "SH", "Value": ["code"]}}
    found = only({"00081140": {"vr": "SQ", "Value": [inner, {}, None]}})
    assert [(one.tag.removeprefix(NAMESPACE), one.get("number")) for one in found] == [
        ("Item", "1"),
        ("Item", "2"),
        ("Item", "3"),
    ]
    assert [len(one) for one in found] == [1, 0, 0]
    assert found[0][0].get("keyword") == "CodeValue"


def test_person_names() -> None:  # MET-030
    name = {"Alphabetic": "Doe^John^^Dr.^Jr.", "Ideographic": "山田^太郎"}
    found = only({"00100010": {"vr": "PN", "Value": [name, None, {"Phonetic": "a^b^c^d^e^f"}]}})
    first, second, third = found
    assert [one.get("number") for one in found] == ["1", "2", "3"]
    assert names(first) == ["Alphabetic", "Ideographic"]
    assert {one.tag.removeprefix(NAMESPACE): one.text for one in first[0]} == {
        "FamilyName": "Doe",
        "GivenName": "John",
        "NamePrefix": "Dr.",
        "NameSuffix": "Jr.",
    }
    assert list(second) == []
    assert third[0][4].text == "e^f"


def test_private_attributes() -> None:  # MET-029
    creator, value, stray = attributes(
        {
            "00190010": {"vr": "LO", "Value": ["ACME <1>"]},
            "00191002": {"vr": "SL", "Value": [1]},
            "00191103": {"vr": "UN", "InlineBinary": "AQI="},
        }
    )
    assert creator.attrib == {"tag": "00190010", "vr": "LO"}
    assert value.attrib == {"tag": "00190002", "vr": "SL", "privateCreator": "ACME <1>"}
    assert stray.attrib == {"tag": "00191103", "vr": "UN"}
    assert names(stray) == ["InlineBinary"]


@pytest.mark.parametrize("uri", ["https://a/b?x=1&y=2", 'http://a/"b"'])
def test_bulkdata(uri: str) -> None:
    found = only({"7FE00010": {"vr": "OW", "BulkDataURI": uri}})
    assert [(one.tag, one.attrib) for one in found] == [(NAMESPACE + "BulkData", {"uri": uri})]


def test_marked_uris_are_completed() -> None:
    parsed = parse_instance(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    served = orjson.loads(parsed.json.replace(INSTANCE_URL_MARK, b"http://h/i"))
    assert b'uri="http://h/i/bulkdata/7FE00010"' in to_native_xml(served)


def test_control_characters() -> None:  # MET-031
    found = only({"00104000": {"vr": "LT", "Value": ["page\x0cpage\x00\x1b\x07\r\n\tend\ufffe <&>"]}})
    assert found[0].text == "page\npage\r\n\tend <&>"


@given(st.text(), st.text(min_size=1))
def test_any_text_gives_a_document_that_parses(text: str, name: str) -> None:
    dataset = {
        "00104000": {"vr": "LT", "Value": [text]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]},
        "00190010": {"vr": "LO", "Value": [text]},
        "00191001": {"vr": text, "BulkDataURI": name},
    }
    assert len(attributes(dataset)) == 4


@pytest.mark.parametrize("name", ["CT_small.dcm", "test-SR.dcm", "rtplan.dcm", "MR_small_bigendian.dcm"])
def test_real_files(name: str) -> None:
    parsed = parse_instance(Path(get_testdata_file(name)).read_bytes())
    assert len(attributes(dict(parsed.dataset))) == len(parsed.dataset)
