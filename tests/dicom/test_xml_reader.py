"""Metadata as Native DICOM Model XML: what is read, and what a hostile document may not do (PS3.19 A.1)."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.parse_limits import ParseLimits
from app.dicom.xml_reader import read_native_xml
from app.errors import MalformedDicom

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


def model(content: str, declaration: str = '<?xml version="1.0" encoding="UTF-8"?>', doctype: str = "") -> bytes:
    return f'{declaration}{doctype}<NativeDicomModel xmlns="{NAMESPACE}">{content}</NativeDicomModel>'.encode()


def attribute(content: str, tag: str = "00100020", vr: str = "LO", more: str = "") -> str:
    return f'<DicomAttribute tag="{tag}" vr="{vr}" keyword="x"{more}>{content}</DicomAttribute>'


def only(content: str, tag: str = "00100020", vr: str = "LO") -> Any:
    read = read_native_xml(model(attribute(content, tag, vr)))
    assert list(read) == [tag.upper()]
    return read[tag.upper()]


@pytest.mark.parametrize(
    ("content", "vr", "element"),
    [
        ("", "LO", {"vr": "LO"}),
        ('<Value number="1">X</Value>', "LO", {"vr": "LO", "Value": ["X"]}),
        ("<Value>X</Value>", "LO", {"vr": "LO", "Value": ["X"]}),
        ('<Value number="1"> a </Value><Value number="2"/>', "LO", {"vr": "LO", "Value": [" a ", None]}),
        ('<Value number="2">b</Value><Value number="1">a</Value>', "LO", {"vr": "LO", "Value": ["a", "b"]}),
        ('\n  <Value number="1">&lt;&amp;&#233;&#13;</Value>\n', "LO", {"vr": "LO", "Value": ["<&é\r"]}),
        ('<Value number="1"><![CDATA[<x>]]></Value>', "LO", {"vr": "LO", "Value": ["<x>"]}),
        ('<BulkData uri="http://x/y"/>', "OB", {"vr": "OB", "BulkDataURI": "http://x/y"}),
        ('<BulkData uuid="1234-5678"/>', "OB", {"vr": "OB", "BulkDataURI": "1234-5678"}),
        ('<BulkData URI="a"></BulkData>', "OB", {"vr": "OB", "BulkDataURI": "a"}),
        ("<InlineBinary>AQID</InlineBinary>", "OB", {"vr": "OB", "InlineBinary": "AQID"}),
        ("<InlineBinary/>", "OB", {"vr": "OB", "InlineBinary": ""}),
        ('<Item number="1"/>', "SQ", {"vr": "SQ", "Value": [{}]}),
        ('<Item number="1">' + attribute("") + "</Item>", "SQ", {"vr": "SQ", "Value": [{"00100020": {"vr": "LO"}}]}),
        (
            '<PersonName number="1"><Alphabetic><FamilyName>Doe</FamilyName><NamePrefix>Dr</NamePrefix></Alphabetic>'
            "<Ideographic><FamilyName>山田</FamilyName></Ideographic></PersonName>",
            "PN",
            {"vr": "PN", "Value": [{"Alphabetic": "Doe^^^Dr", "Ideographic": "山田"}]},
        ),
        ("<PersonName><Alphabetic>Doe^J</Alphabetic></PersonName>", "PN", {"vr": "PN", "Value": [{"Alphabetic": "Doe^J"}]}),
        ('<PersonName number="1"/>', "PN", {"vr": "PN", "Value": [None]}),
    ],
)  # fmt: skip
def test_attributes(content: str, vr: str, element: Any) -> None:
    assert only(content, vr=vr) == element


def test_capital_attributes_of_the_example_are_understood() -> None:
    document = model(
        '<DicomAttribute Tag="0020000d" VR="UI" Keyword="x"><Value Number="1">1.2</Value></DicomAttribute>'
    )
    assert read_native_xml(document) == {"0020000D": {"vr": "UI", "Value": ["1.2"]}}


def test_missing_vr_is_left_to_the_dictionary() -> None:
    document = model(
        '<DicomAttribute tag="00081140"><Item number="1"/></DicomAttribute><DicomAttribute tag="00100020"/>'
    )
    assert read_native_xml(document) == {"00081140": {"vr": "SQ", "Value": [{}]}, "00100020": {}}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings_of_xml(encoding: str) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding}"?><NativeDicomModel>{attribute("<Value>é</Value>")}</NativeDicomModel>'
    assert read_native_xml(declared.encode(encoding))["00100020"]["Value"] == ["é"]


def test_other_namespaces_and_none() -> None:
    for start in ("<NativeDicomModel>", '<d:NativeDicomModel xmlns:d="urn:other">'):
        end = start.split(" ")[0].rstrip(">").replace("<", "</") + ">"
        assert read_native_xml(f"{start}{end}".encode()) == {}


def test_private_attributes_get_their_creators_block() -> None:
    content = "".join(
        (
            attribute("<Value>US</Value>", "00090001", more=' privateCreator="NEW"'),
            attribute("<Value>1</Value>", "00090012", "LO"),  # reserves block 12
            attribute("<Value>2</Value>", "00090007", more=' privateCreator="1"'),
            attribute("<Value>3</Value>", "00091109", more=' privateCreator="OLD"'),
        )
    )
    assert read_native_xml(model(content)) == {
        "00090010": {"vr": "LO", "Value": ["NEW"]},
        "00090011": {"vr": "LO", "Value": ["OLD"]},
        "00090012": {"vr": "LO", "Value": ["1"]},
        "00091001": {"vr": "LO", "Value": ["US"]},
        "00091109": {"vr": "LO", "Value": ["3"]},
        "00091207": {"vr": "LO", "Value": ["2"]},
    }


def test_private_blocks_run_out() -> None:
    content = "".join(attribute("", "00090001", more=f' privateCreator="C{number}"') for number in range(241))
    with pytest.raises(MalformedDicom, match="no block left"):
        read_native_xml(model(content))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<a/>",
        b"<NativeDicomModel>",
        b"<NativeDicomModel></NativeDicomModel><NativeDicomModel/>",
        b'<?xml version="1.0" encoding="klingon"?><NativeDicomModel/>',
        b"<NativeDicomModel>\x01</NativeDicomModel>",
        b"<NativeDicomModel>\xff</NativeDicomModel>",
        model("<Value/>"),
        model("<Item/>"),
        model('<DicomAttribute vr="LO"/>'),
        model(attribute("", tag="0010002")),
        model(attribute("", tag="PatientID")),
        model(attribute("") + attribute("")),
        model(attribute("<DicomAttribute/>")),
        model(attribute("<value/>")),
        model(attribute("<Value><b/></Value>")),
        model(attribute("<Value/><InlineBinary/>")),
        model(attribute("<BulkData/><BulkData/>", vr="OB")),
        model(attribute('<Value number="0"/>')),
        model(attribute('<Value number="2"/>')),
        model(attribute('<Value number="1"/><Value number="1"/>')),
        model(attribute('<Value number="1"/><Value/>')),
        model(attribute('<Value number="x"/>')),
        model(attribute("<PersonName><Alphabetic><FamilyName/><FamilyName/></Alphabetic></PersonName>", vr="PN")),
        model(attribute("", "00090001", more=' privateCreator="A"') + attribute("", "00090001", more=' privateCreator="A"')),
    ],
)  # fmt: skip
def test_documents_that_are_refused(document: bytes) -> None:
    with pytest.raises(MalformedDicom):
        read_native_xml(document)


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY c SYSTEM "file:///etc/passwd">]>'
REMOTE = '<!DOCTYPE NativeDicomModel SYSTEM "http://127.0.0.1:9/model.dtd">'
PARAMETER = '<!DOCTYPE x [<!ENTITY % d SYSTEM "http://127.0.0.1:9/d"> %d;]>'


@pytest.mark.parametrize("doctype", [BOMB, EXTERNAL, REMOTE, PARAMETER, "<!DOCTYPE NativeDicomModel>"])
def test_declarations_are_refused(doctype: str) -> None:
    with pytest.raises(MalformedDicom, match="document type declaration"):
        read_native_xml(model(attribute("<Value>&c;</Value>"), doctype=doctype))


def test_entities_without_declaration_are_refused() -> None:
    with pytest.raises(MalformedDicom):
        read_native_xml(model(attribute("<Value>&c;</Value>")))


def nested(depth: int) -> bytes:
    start = '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">'
    return model(start * depth + "</Item></DicomAttribute>" * depth)


def test_depth_is_bounded() -> None:
    read_native_xml(nested(64))
    for depth in (70, 10_000):
        with pytest.raises(MalformedDicom, match="nested deeper than 64"):
            read_native_xml(nested(depth))


def test_counts_are_bounded() -> None:
    limits = ParseLimits(max_elements=1000)
    with pytest.raises(MalformedDicom, match="more than 1000"):
        read_native_xml(model(attribute("<Value/>" * 1000)), limits)


def test_large_documents_are_read_in_time() -> None:
    values = "".join(f'<Value number="{number}">{number}</Value>' for number in range(1, 200_001))
    private = "".join(
        attribute("", f"{group:04X}0001", more=f' privateCreator="C{number}"')
        for group in range(0x0009, 0x0209, 2)
        for number in range(100)
    )
    began = time.process_time()
    read = read_native_xml(model(attribute(values) + private))
    assert len(read["00100020"]["Value"]) == 200_000
    assert len(read) == 1 + 2 * 100 * 256
    assert time.process_time() - began < 10


PIECES = [
    "<NativeDicomModel>", "</NativeDicomModel>", '<DicomAttribute tag="00100010" vr="PN">', "</DicomAttribute>",
    '<DicomAttribute tag="00090001" privateCreator="A"/>', '<Item number="1">', "</Item>", "<Value>", "</Value>", "x", "&amp;",
    '<PersonName number="1">', "</PersonName>", "<Alphabetic>", "</Alphabetic>", "<FamilyName>", "</FamilyName>", "<!--", "-->",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_anything_is_read_or_refused(document: str) -> None:
    try:
        read = read_native_xml(document.encode())
    except MalformedDicom:
        return
    assert isinstance(read, dict)
