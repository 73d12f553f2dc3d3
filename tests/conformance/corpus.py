"""The instances that the suite stores: small, made from a seed, with UIDs and PatientIDs of this session."""

from tests.conformance.encoder import (
    BIG_ENDIAN,
    DEFLATED,
    IMPLICIT,
    JPEG_2000_LOSSLESS,
    MPEG4,
    Fragments,
    attributes,
)
from tests.conformance.instances import (
    BASIC_TEXT_SR,
    CT_IMAGE,
    ENCAPSULATED_PDF,
    ENHANCED_CT,
    MR_IMAGE,
    MULTIFRAME_BYTE_SC,
    PARAMETRIC_MAP,
    RAW_DATA,
    SECONDARY_CAPTURE,
    SEGMENTATION,
    VIDEO_ENDOSCOPIC,
    Item,
    Maker,
    Uids,
)
from tests.conformance.packaged import packaged, read

PRIVATE_CREATOR = "GANTRY CONFORMANCE"
# A file of each compression of the package, all of the same MR image but for the last four.
PACKAGED = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-lossy.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm",
    "reportsi.dcm",
)
# 0x7F800001: read as it is, and not a number; converting it raises the flag "invalid" (IEEE 754).
SIGNALLING_NAN = b"\x01\x00\x80\x7f"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


class Corpus:
    """Items by name; `stored` and `refused` are filled by whoever stores them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.uids = Uids(seed)
        self.maker = Maker(self.uids)
        self.token = self.uids.token
        self.items: dict[str, Item] = {}
        self.refused: dict[str, str] = {}
        self.mr_pixels = b""
        self.mr_codestream = b""
        for build in (_packaged, _alpha, _days, _texts, _pixels, _compressed, _without_pixels, _rich):
            for item in build(self):
                assert item.name not in self.items, item.name
                self.items[item.name] = item

    def __getitem__(self, name: str) -> Item:
        assert name not in self.refused, f"the server did not store {name}: {self.refused[name]}"
        return self.items[name]

    def study(self, name: str) -> list[Item]:
        """All items of the study that an item is in."""
        return [item for item in self.items.values() if item.study == self[name].study]

    def studies(self) -> list[str]:
        return list(dict.fromkeys(item.study for item in self.items.values()))

    @property
    def mine(self) -> str:
        """A match that leaves the studies of this corpus only."""
        return f"PatientID={self.token}*"


def _packaged(corpus: Corpus) -> list[Item]:
    items = [packaged(name, corpus.uids) for name in PACKAGED]
    corpus.mr_pixels = read(items[0].data).PixelData
    value = read(items[4].data).PixelData
    # One item holds the empty Basic Offset Table, one the only fragment.
    table = int.from_bytes(value[4:8], "little")
    length = int.from_bytes(value[12 + table : 16 + table], "little")
    corpus.mr_codestream = value[16 + table : 16 + table + length]
    return items


def _alpha(corpus: Corpus) -> list[Item]:
    """A study of two modalities and three series: three CT, one SR, one CT."""
    maker, study = corpus.maker, corpus.uids.new()
    ct, sr, second = corpus.uids.new(), corpus.uids.new(), corpus.uids.new()
    shared = {
        "StudyDate": "20240101",
        "StudyTime": "1000",
        "AccessionNumber": f"{corpus.token}A",
        "StudyID": "ALPHA",
        "StudyDescription": f"{corpus.token} Thorax",
        "ReferringPhysicianName": "Smith^Anna^^Dr",
        "PatientName": "Doe^John",
        "PatientBirthDate": "19700131",
        "PatientSex": "M",
    }
    request = attributes(ScheduledProcedureStepID="SPS-1", RequestedProcedureID="RP-1")
    items = []
    for number in (1, 2, 3):
        dataset = maker.dataset(
            "alpha",
            study,
            ct,
            SOPClassUID=CT_IMAGE,
            Modality="CT",
            SeriesNumber="7",
            InstanceNumber=str(number),
            SeriesDescription="Lung",
            PerformedProcedureStepStartDate="20240101",
            PerformedProcedureStepStartTime="101530",
            RequestAttributesSequence=[request],
            **shared,
        )
        items.append(maker.item(f"ct{number}", dataset | maker.image(4, 6, bits=16)))
    dataset = maker.dataset(
        "alpha", study, sr, SOPClassUID=BASIC_TEXT_SR, Modality="SR", SeriesNumber="2", InstanceNumber="11", **shared
    )
    items.append(maker.item("sr1", dataset | attributes(ValueType="CONTAINER", ContentSequence=_content_tree())))
    dataset = maker.dataset(
        "alpha", study, second, SOPClassUID=CT_IMAGE, Modality="CT", SeriesNumber="3", InstanceNumber="1", **shared
    )
    items.append(maker.item("ct-second", dataset | maker.image(2, 2, bits=16)))
    return items


def _content_tree() -> list[dict[int, tuple[str, object]]]:
    deepest = attributes(ValueType="TEXT", TextValue="nothing\\split here")
    code = attributes(CodeValue="121071", CodingSchemeDesignator="DCM", CodeMeaning="Finding")
    inner = attributes(ValueType="CONTAINER", ConceptNameCodeSequence=[code], ContentSequence=[deepest, deepest])
    return [attributes(ValueType="CONTAINER", ContentSequence=[inner])]


def _days(corpus: Corpus) -> list[Item]:
    """Studies that differ by date and time, for ranges."""
    single = corpus.maker.single
    return [
        single("beta", PatientName="DOE^JANE", StudyDate="20240102", StudyTime="180000.5", Modality="MR"),
        single("gamma", StudyDate="20240103", StudyTime="055959.999999"),
        single("delta", StudyDate="20240103", StudyTime="060101"),
        single("epsilon", StudyDate="20231231", StudyTime="235959"),
        single("zeta", StudyDate="20240101", StudyTime="100000.000000"),
        # 01:00 at +09:00 is 11:00 of the day before at -05:00.
        single("zone", StudyDate="20240605", StudyTime="010000", TimezoneOffsetFromUTC="+0900"),
        single("empty", StudyDate="", StudyTime="", StudyID="", PatientName="", SeriesNumber="", InstanceNumber=""),
        single("lacking", StudyDate=None, StudyTime=None, StudyID=None, AccessionNumber=None, PatientSex=None),
    ]


def _texts(corpus: Corpus) -> list[Item]:
    """Studies that differ by text: case, SQL wildcards, separators, scripts, sequences and private attributes."""
    single, token = corpus.maker.single, corpus.token
    japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    return [
        single("lower", PatientID=f"{token}-case-abc"),
        single("upper", PatientID=f"{token}-case-ABC"),
        single("percent", PatientID=f"{token}-100%"),
        single("underscore", PatientID=f"{token}-1_2"),
        single("decoy", PatientID=f"{token}-1x2"),
        single("separators", PatientName="A&B^Jim", StudyDescription="a&b,c#d[e]=f"),
        single("comma", PatientID=f"{token}-one,two"),
        single("umlaut", SpecificCharacterSet="ISO_IR 192", PatientName="Äpfel^Öse", StudyDescription="Grüße"),
        single("latin1", charset="latin-1", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^José"),
        single("greek", charset="iso8859-7", SpecificCharacterSet="ISO_IR 126", PatientName="Διονυσιος"),
        single("arabic", charset="iso8859-6", SpecificCharacterSet="ISO_IR 127", PatientName="قباني^لنزار"),
        single("japanese", SpecificCharacterSet="\\ISO 2022 IR 87", PatientName=japanese),
        single("yen", charset="latin-1", SpecificCharacterSet="ISO_IR 13", MedicalAlerts="A\\B"),
        single("other-ids", OtherPatientIDsSequence=[attributes(PatientID=f"{token}-OTHER", IssuerOfPatientID="X")]),
        single("private", {0x00230010: ("LO", PRIVATE_CREATOR), 0x00231001: ("LO", "hidden value")}),
    ]


def _pixels(corpus: Corpus) -> list[Item]:
    """Native images: depths, colours, frames, and the three other uncompressed transfer syntaxes."""
    single, image = corpus.maker.single, corpus.maker.image
    codes = attributes(BitsStored=(1,), HighBit=(0,))
    icon = attributes(IconImageSequence=[image(2, 2, pixels=b"ICON")])
    floats = {**image(2, 3, frames=2, bits=32), 0x7FE00008: ("OF", SIGNALLING_NAN + corpus.uids.bytes(44))}
    doubles = {**image(2, 3, bits=64), 0x7FE00009: ("OD", corpus.uids.bytes(48))}
    for module in (floats, doubles):
        for tag in (0x7FE00010, 0x00280101, 0x00280102, 0x00280103):
            del module[tag]
    lut = attributes(
        PhotometricInterpretation="PALETTE COLOR",
        RedPaletteColorLookupTableDescriptor=(4, 0, 16),
        RedPaletteColorLookupTableData=(0, 1, 256, 65535),
    )
    multiframe = {"SOPClassUID": MULTIFRAME_BYTE_SC, "NumberOfFrames": "5", "FrameIncrementPointer": (0x00181063,)}
    return [
        single("gray", image(4, 6)),
        single("odd-size", image(3, 5)),
        single("color", image(3, 5, samples=3)),
        single("frames", image(3, 5, frames=5), **multiframe),
        single("frames16", image(4, 4, bits=16, frames=3), SOPClassUID=ENHANCED_CT, Modality="CT"),
        single("bits", image(5, 3, bits=1, frames=3) | codes, SOPClassUID=SEGMENTATION, Modality="SEG"),
        single("icon", image(4, 4) | icon),
        single("float", floats, SOPClassUID=PARAMETRIC_MAP),
        single("double", doubles, SOPClassUID=PARAMETRIC_MAP),
        single("palette", image(2, 2) | lut),
        single("implicit", image(4, 6, bits=16), IMPLICIT),
        single("big-endian", image(4, 6, bits=16), BIG_ENDIAN),
        single("big-endian-frames", image(2, 3, bits=16, frames=3), BIG_ENDIAN, SOPClassUID=ENHANCED_CT),
        single("deflated", image(4, 6), DEFLATED),
        single("dual", image(2, 2), preamble=b"II*\0" + bytes(range(124))),
    ]


def _compressed(corpus: Corpus) -> list[Item]:
    """Encapsulated pixel data whose frames take several fragments, with and without offset tables; a video."""
    single, stream = corpus.maker.single, corpus.mr_codestream
    middle = len(stream) // 4 * 2
    halves = (stream[:middle], stream[middle:] + bytes(len(stream) % 2))
    second_frame = sum(8 + len(half) for half in halves)
    table = b"".join(offset.to_bytes(4, "little") for offset in (0, second_frame))
    module = corpus.maker.image(64, 64, bits=16, pixels=b"")
    signed = attributes(PixelRepresentation=(1,))

    def fragmented(name: str, pixels: Fragments, frames: int) -> Item:
        pixel_data = {0x7FE00010: ("OB", pixels), **attributes(NumberOfFrames=str(frames))}
        return single(name, module | signed | pixel_data, JPEG_2000_LOSSLESS, SOPClassUID=MR_IMAGE, Modality="MR")

    third = len(stream) // 6 * 2
    thirds = (stream[:third], stream[third : 2 * third], stream[2 * third :])
    movie = (b"\0\0\0\x18ftypmp42" + corpus.uids.bytes(700), corpus.uids.bytes(300))
    video = corpus.maker.image(16, 16, samples=3, frames=25, pixels=Fragments(movie))
    return [
        fragmented("three-fragments", Fragments(thirds), 1),
        fragmented("fragmented-frames", Fragments(halves + halves, table), 2),
        single("video", video, MPEG4, SOPClassUID=VIDEO_ENDOSCOPIC, Modality="ES"),
    ]


def _without_pixels(corpus: Corpus) -> list[Item]:
    document = attributes(EncapsulatedDocument=PDF, MIMETypeOfEncapsulatedDocument="application/pdf")
    return [
        corpus.maker.single("pdf", document, SOPClassUID=ENCAPSULATED_PDF, Modality="DOC"),
        corpus.maker.single("no-pixels", SOPClassUID=RAW_DATA),
    ]


def _rich(corpus: Corpus) -> list[Item]:
    """One instance with every kind of value that a metadata document has to show; see test_metadata."""
    rich = attributes(
        SpecificCharacterSet="ISO_IR 192",
        ImageType="ORIGINAL\\\\AXIAL",
        InstitutionAddress="",  # ST
        AdditionalPatientHistory="",  # LT
        LongCodeValue="",  # UC
        TextValue="a\\b",  # UT
        PatientComments="one\\two\r\nthree\x0cfour",  # LT
        OtherPatientNames="Yamada^Tarou=山田^太郎=やまだ^たろう\\\\Only^Alphabetic",
        OperatorsName="",
        ReferencedStudySequence=[],
        ReferencedImageSequence=[{}, attributes(ReferencedSOPInstanceUID="1.2.3")],
        SliceThickness="0.1000000000000001",  # DS
        PatientWeight="abc",  # DS
        ReferencedFrameNumber="1\\2\\-3",  # IS
        FrameIncrementPointer=(0x00181063, 0x00181065),
        SelectorUVValue=(2**63 - 1, 5),
        SelectorSVValue=(-(2**53) - 1,),
        RecommendedDisplayFrameRateInFloat=(1.5,),
        DopplerCorrectionAngle=(-0.25,),
        PixelIntensityRelationshipSign=(-1,),
        SelectorSLValue=(-70000, 70000),
        SelectorULValue=(4_000_000_000,),
        RealWorldValueIntercept=(float("nan"),),
        RealWorldValueSlope=(float("inf"),),
        RetrieveURI="http://example.org/a\\b?c=d",  # UR
    )
    private = {
        0x00230010: ("LO", PRIVATE_CREATOR),
        0x00231001: ("DS", "1.50"),
        0x00231002: ("UN", b"\x01\x02\x03\x04"),
        0x00231003: ("SQ", [{0x00230010: ("LO", PRIVATE_CREATOR), 0x00231004: ("SH", "inner")}]),
    }
    table = {0x00281201: ("OW", b"\x00\x01\x02\x03\xff\xfe"), 0x00091010: ("OB", corpus.uids.bytes(5000))}
    creator = {0x00090010: ("LO", "GANTRY LARGE")}
    waveform = attributes(WaveformSequence=[attributes(WaveformData=corpus.uids.bytes(4000))])
    return [
        corpus.maker.single(
            "rich",
            rich | private | table | creator | waveform | corpus.maker.image(4, 4),
            SOPClassUID=SECONDARY_CAPTURE,
        )
    ]
