"""The corpus and its encoder, read back with pydicom; nothing here needs a server."""

import pytest

from tests.conformance.corpus import PACKAGED, Corpus
from tests.conformance.encoder import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, attributes, encode, part10
from tests.conformance.native_model import comparable, read_native_model
from tests.conformance.packaged import package_files, read, with_fresh_uids

ELEMENTS = {
    **attributes(PatientID="odd", Rows=(258,), SelectorATValue=(0x00181063,), SelectorFDValue=(1.5, -2.0)),
    **attributes(OtherPatientIDsSequence=[attributes(PatientID="inner"), {}]),
    0x7FE00010: ("OW", b"\1\2\3\4"),
}


def test_bytes_by_hand() -> None:
    assert encode(attributes(PatientID="odd")) == b"\x10\0\x20\0LO\4\0odd "
    assert encode(attributes(PatientID="odd"), IMPLICIT) == b"\x10\0\x20\0\4\0\0\0odd "
    assert encode(attributes(Rows=(258,)), BIG_ENDIAN) == b"\0\x28\0\x10US\0\2\1\2"
    assert encode({0x7FE00010: ("OW", b"\1\2\3")}, BIG_ENDIAN) == b"\x7f\xe0\0\x10OW\0\0\0\0\0\4\2\1\0\3"
    assert encode({0x00080018: ("UI", "1.2")}) == b"\x08\0\x18\0UI\4\x001.2\0"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_encoder_against_pydicom(syntax: str) -> None:
    dataset = read(part10({**ELEMENTS, **attributes(SOPInstanceUID="1.2.3", SOPClassUID="1.2")}, syntax))
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert (dataset.PatientID, dataset.Rows, dataset.SelectorATValue) == ("odd", 258, 0x00181063)
    assert list(dataset.SelectorFDValue) == [1.5, -2.0]
    assert [len(item) for item in dataset.OtherPatientIDsSequence] == [1, 0]
    assert dataset.PixelData == (b"\2\1\4\3" if syntax == BIG_ENDIAN else b"\1\2\3\4")


def test_every_item_is_what_it_says() -> None:
    corpus = Corpus(7)
    assert len({item.instance for item in corpus.items.values()}) == len(corpus.items)
    for item in corpus.items.values():
        dataset = read(item.data)
        assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == (item.study, item.series)
        assert (dataset.SOPInstanceUID, dataset.SOPClassUID) == (item.instance, item.sop_class)
        assert dataset.file_meta.TransferSyntaxUID == item.syntax
        assert item.name in PACKAGED or dataset.PatientID.startswith(corpus.token)
        assert sum(1 for _ in dataset.iterall()) >= len(item.dataset)


def test_a_seed_makes_the_same_corpus_again() -> None:
    assert [item.data for item in Corpus(3).items.values()] == [item.data for item in Corpus(3).items.values()]
    assert not {item.instance for item in Corpus(3).items.values()} & {
        item.instance for item in Corpus(4).items.values()
    }


def test_fresh_uids_change_nothing_else() -> None:
    corpus = Corpus(5)
    path = next(path for path in package_files() if path.name == "CT_small.dcm")
    old = path.read_bytes()
    item = with_fresh_uids("CT_small.dcm", old, corpus.uids)
    before, after = read(old), read(item.data)
    assert len(item.data) == len(old)
    assert [element.keyword for element in after if element != before[element.tag]] == [
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    ]
    assert after.file_meta.MediaStorageSOPInstanceUID == item.instance


XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">
%s
</NativeDicomModel>"""


def test_reader_of_the_native_model() -> None:
    document = XML % (
        b'<DicomAttribute tag="00080008" vr="CS" keyword="ImageType"><Value number="1">A</Value><Value number="2"/>'
        b"</DicomAttribute>"
        b'<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"><Alphabetic>'
        b"<FamilyName>Doe</FamilyName><NamePrefix>Dr</NamePrefix></Alphabetic></PersonName></DicomAttribute>"
        b'<DicomAttribute tag="00230001" vr="SH" privateCreator="ACME"><Value number="1">x</Value></DicomAttribute>'
        b'<DicomAttribute tag="00280010" vr="US" keyword="Rows"><Value number="1">4</Value></DicomAttribute>'
        b'<DicomAttribute tag="00400275" vr="SQ" keyword="RequestAttributesSequence"><Item number="1"/></DicomAttribute>'
        b'<DicomAttribute tag="7FE00010" vr="OW" keyword="PixelData"><BulkData uri="http://x"/></DicomAttribute>'
    )
    assert read_native_model(document) == comparable(
        {
            "00080008": {"vr": "CS", "Value": ["A", None]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^^^Dr^"}]},
            "00230010": {"vr": "LO", "Value": ["ACME"]},
            "00231001": {"vr": "SH", "Value": ["x"]},
            "00280010": {"vr": "US", "Value": [4]},
            "00400275": {"vr": "SQ", "Value": [{}]},
            "7FE00010": {"vr": "OW", "BulkDataURI": "http://x"},
        }
    )


@pytest.mark.parametrize(
    "attribute",
    [
        b'<DicomAttribute tag="0010001" vr="PN"/>',
        b'<DicomAttribute tag="0010001a" vr="PN"/>',
        b'<DicomAttribute tag="00231001" vr="SH" privateCreator="ACME"/>',
        b'<DicomAttribute tag="00100020" vr="LO" privateCreator="ACME"/>',
        b'<DicomAttribute tag="00100020" vr="LO"><Value number="0">x</Value></DicomAttribute>',
        b'<DicomAttribute tag="00100020" vr="LO"><Value>x</Value></DicomAttribute>',
        b'<DicomAttribute tag="00100020" vr="LO"><Item number="1"/></DicomAttribute>',
        b'<dicomAttribute tag="00100020" vr="LO"/>',
    ],
)
def test_what_the_native_model_forbids(attribute: bytes) -> None:
    with pytest.raises(AssertionError):
        read_native_model(XML % attribute)
