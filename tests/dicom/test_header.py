"""parse_instance on bytes written by hand: encodings, nesting, unknown VRs, bulkdata, and how files end."""

import base64
import json
import struct
from typing import Any

import orjson
import pytest

from app.dicom.deflated import inflate_data_set
from app.dicom.file_meta import read_file_meta
from app.dicom.header import ParseLimits, parse_instance
from app.dicom.instance import INSTANCE_URL_MARK, BulkdataItem, ParsedInstance
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, Family
from app.errors import DicomError, MalformedDicom
from tests.support.dicom_bytes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    element,
    element_header,
    item,
    make_instance,
    part10,
    pixel_data,
    sequence,
    sequence_delimiter,
)

DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
NATIVE = [IMPLICIT, EXPLICIT, BIG_ENDIAN]
# (0008,0016) to give every data set a first element that any reader recognises
START = {syntax: element(0x00080016, "UI", "1.2.3", syntax) for syntax in NATIVE}


def parse(dataset: bytes, syntax: str = EXPLICIT, **limits: Any) -> ParsedInstance:
    return parse_instance(part10(dataset, syntax), ParseLimits(**limits))


def json_of(parsed: ParsedInstance) -> dict[str, Any]:
    return orjson.loads(parsed.json.replace(INSTANCE_URL_MARK, b""))


def values_of(dataset: bytes, syntax: str = EXPLICIT) -> dict[str, Any]:
    read = json_of(parse(START[syntax] + dataset, syntax))
    del read["00080016"]
    return read


class TestWholeFiles:
    @pytest.mark.parametrize("uid", TRANSFER_SYNTAXES)
    def test_every_transfer_syntax(self, uid: str) -> None:
        data = make_instance(
            study="1.2", series="1.2.3", sop="1.2.3.4", transfer_syntax=uid, frames=3, PatientName="Doe^John"
        )
        parsed = parse_instance(data)
        assert parsed.transfer_syntax_uid == uid
        assert read_file_meta(data).media_storage_sop_instance_uid == "1.2.3.4"
        assert parsed.text("0020000D") == "1.2"
        assert json_of(parsed)["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]}
        assert (parsed.pixel_data is None) == (TRANSFER_SYNTAXES[uid].family is Family.JPIP)
        assert (parsed.frame_index == b"") == (TRANSFER_SYNTAXES[uid].family is Family.JPIP)

    @pytest.mark.parametrize("uid", [*NATIVE, DEFLATED])
    def test_no_group_0002_no_group_length_and_ascending_keys(self, uid: str) -> None:  # MET-002 to MET-005
        syntax = uid if uid in NATIVE else EXPLICIT
        dataset = b"".join(
            [
                element(0x00080000, "UL", [0], syntax),
                element(0x00080016, "UI", "1.2.3", syntax),
                element(0x00200010, "SH", "S", syntax),
                element(0x00100020, "LO", "late", syntax),  # not in order
                sequence(0x00400275, [element(0x00400000, "UL", [0], syntax)], syntax),
            ]
        )
        read = json_of(parse(dataset, uid))
        assert list(read) == ["00080016", "00100020", "00200010", "00400275"]
        assert read["00400275"] == {"vr": "SQ", "Value": [{}]}
        assert all("vr" in element for element in read.values())

    def test_offsets_of_native_pixel_data(self) -> None:
        data = make_instance(rows=2, columns=2, pixel_bytes=b"PIXL")
        parsed = parse_instance(data)
        assert parsed.pixel_data is not None
        assert data[parsed.pixel_data.offset :] == b"PIXL"
        assert (parsed.pixel_data.length, parsed.pixel_data.end) == (4, len(data))
        assert data[parsed.dataset_offset :][:4] == b"\x08\x00\x16\x00"
        assert json_of(parsed)["7FE00010"] == {"vr": "OB", "BulkDataURI": "/bulkdata/7FE00010"}

    def test_offsets_of_deflated_pixel_data_are_in_the_inflated_data_set(self) -> None:
        data = make_instance(transfer_syntax=DEFLATED, rows=2, columns=2, pixel_bytes=b"PIXL")
        parsed = parse_instance(data)
        assert parsed.pixel_data is not None
        assert inflate_data_set(data[parsed.dataset_offset :])[parsed.pixel_data.offset :] == b"PIXL"

    def test_encapsulated_pixel_data(self) -> None:
        data = make_instance(transfer_syntax=JPEG, pixel_bytes=b"\xff\xd8..\xff\xd9")
        parsed = parse_instance(data)
        assert parsed.pixel_data is not None
        assert parsed.pixel_data.length is None
        assert data[parsed.pixel_data.offset :][:4] == b"\xfe\xff\x00\xe0"
        assert parsed.pixel_data.end == len(data)
        assert parsed.bulkdata == (BulkdataItem("7FE00010", "OB", parsed.pixel_data.offset, -1),)

    @pytest.mark.parametrize(
        ("tag", "vr", "keyword"), [(0x7FE00008, "OF", "FloatPixelData"), (0x7FE00009, "OD", "DoubleFloatPixelData")]
    )
    @pytest.mark.parametrize("syntax", NATIVE)
    def test_float_pixel_data(self, tag: int, vr: str, keyword: str, syntax: str) -> None:
        parsed = parse(START[syntax] + element(tag, vr, [1.0, 2.0], syntax), syntax)
        assert parsed.pixel_data is not None
        assert (parsed.pixel_data.keyword, parsed.pixel_data.vr) == (keyword, vr)

    def test_empty_pixel_data_is_an_empty_attribute(self) -> None:
        parsed = parse(START[EXPLICIT] + pixel_data(b""))
        assert parsed.pixel_data is None
        assert json_of(parsed)["7FE00010"] == {"vr": "OW"}

    def test_elements_behind_the_pixel_data_are_read(self) -> None:
        signatures = sequence(0xFFFAFFFA, [element(0x04000005, "US", [1])])
        parsed = parse(START[EXPLICIT] + pixel_data(b"1234") + signatures + element(0xFFFCFFFC, "OB", bytes(6)))
        assert list(parsed.dataset) == ["00080016", "7FE00010", "FFFAFFFA", "FFFCFFFC"]
        assert parsed.dataset["FFFCFFFC"]["InlineBinary"] == base64.b64encode(bytes(6)).decode()

    @pytest.mark.parametrize("uid", [EXPLICIT, JPEG])
    def test_native_and_encapsulated_must_fit_the_syntax(self, uid: str) -> None:
        value: Any = b"native" if uid == JPEG else [b"fragment"]
        with pytest.raises(MalformedDicom, match="does not go with"):
            parse(START[EXPLICIT] + pixel_data(value), uid)


class TestTexts:
    def test_utf_8_whatever_the_file_has(self) -> None:  # MET-019, MET-020
        read = values_of(
            element(0x00080005, "CS", "\\ISO 2022 IR 87") + element(0x00100010, "PN", b"A=\x1b$B;3ED\x1b(B ")
        )
        assert read["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
        assert read["00100010"]["Value"] == [{"Alphabetic": "A", "Ideographic": "山田"}]

    @pytest.mark.parametrize("undefined", [True, False])
    def test_items_inherit_and_may_declare_their_own(self, undefined: bool) -> None:
        own = element(0x00080005, "CS", "ISO_IR 192") + element(0x00100020, "LO", "é", encoding="utf-8")
        inherited = element(0x00100020, "LO", "И", encoding="iso8859_5")
        dataset = element(0x00080005, "CS", "ISO_IR 144")
        dataset += sequence(0x00101002, [own, inherited], undefined=undefined)
        dataset += element(0x00104000, "LT", "Ж", encoding="iso8859_5")
        read = values_of(dataset)
        assert [one["00100020"]["Value"] for one in read["00101002"]["Value"]] == [["é"], ["И"]]
        assert read["00104000"]["Value"] == ["Ж"]

    def test_character_set_behind_texts(self) -> None:
        dataset = element(0x00100020, "LO", "И", encoding="iso8859_5") + element(0x00080005, "CS", "ISO_IR 144")
        assert values_of(dataset)["00100020"]["Value"] == ["И"]

    def test_lut_descriptor_and_signs_follow_pixel_representation(self) -> None:
        for representation, smallest, entries in ((0, 65535, 65535), (1, -1, 65535)):
            dataset = element(0x00280103, "US", [representation], IMPLICIT)
            dataset += element(0x00280106, "US", [0xFFFF], IMPLICIT)
            lut = element(0x00283002, "US", [0xFFFF, 0xFFFF, 16], IMPLICIT) + element(
                0x00283006, "US", [7, 8], IMPLICIT
            )
            dataset += sequence(0x00283000, [lut], IMPLICIT)
            read = values_of(dataset, IMPLICIT)
            vr = "SS" if representation else "US"
            assert read["00280106"] == {"vr": vr, "Value": [smallest]}
            table = read["00283000"]["Value"][0]
            assert table["00283002"] == {"vr": vr, "Value": [entries, smallest, 16]}
            assert table["00283006"]["vr"] == "OW"

    def test_lut_data_of_one_entry_is_us(self) -> None:
        lut = element(0x00283002, "US", [1, 0, 16], IMPLICIT) + element(0x00283006, "US", [7], IMPLICIT)
        read = values_of(sequence(0x00283000, [lut], IMPLICIT), IMPLICIT)
        assert read["00283000"]["Value"][0]["00283006"] == {"vr": "US", "Value": [7]}

    def test_explicit_lut_descriptor_in_ss(self) -> None:
        assert values_of(element(0x00281101, "SS", [-1, -5, 16]))["00281101"]["Value"] == [65535, -5, 16]


class TestSequences:
    @pytest.mark.parametrize("syntax", NATIVE)
    @pytest.mark.parametrize("undefined", [True, False])
    @pytest.mark.parametrize("undefined_items", [True, False])
    def test_all_kinds_of_length(self, syntax: str, undefined: bool, undefined_items: bool) -> None:  # MET-032
        def nested(items: list[bytes]) -> bytes:
            return sequence(0x0040A730, items, syntax, undefined=undefined, undefined_items=undefined_items)

        leaf = element(0x00080100, "SH", "leaf", syntax)
        read = values_of(nested([nested([leaf, b""]), leaf]) + element(0x00420010, "ST", "after", syntax), syntax)
        outer = read["0040A730"]["Value"]
        assert outer[0]["0040A730"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["leaf"]}}, {}]  # MET-008
        assert outer[1]["00080100"]["Value"] == ["leaf"]
        assert read["00420010"]["Value"] == ["after"]

    @pytest.mark.parametrize("undefined", [True, False])
    def test_empty_sequence_has_no_value(self, undefined: bool) -> None:
        assert values_of(sequence(0x0040A730, [], undefined=undefined)) == {"0040A730": {"vr": "SQ"}}

    def test_depth_is_bounded(self) -> None:
        for count, undefined in ((64, True), (64, False)):
            inner = b""
            for _ in range(count):
                inner = sequence(0x0040A730, [inner], undefined=undefined)
            assert parse(START[EXPLICIT] + inner)
            with pytest.raises(MalformedDicom, match="deeper"):
                parse(START[EXPLICIT] + sequence(0x0040A730, [inner], undefined=undefined))

    def test_hostile_depth_is_refused_at_once(self) -> None:
        level = element_header(0x0040A730, "SQ", UNDEFINED) + struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
        with pytest.raises(MalformedDicom):
            parse(START[EXPLICIT] + level * 100_000)
        odd = element_header(0x00080018, "??", 0)  # sends it to the slow reader
        with pytest.raises(DicomError):
            parse(START[EXPLICIT] + odd + level * 100_000)

    def test_elements_are_counted_everywhere(self) -> None:
        many = sequence(0x0040A730, [b""] * 100)
        with pytest.raises(MalformedDicom, match="more than 50 elements"):
            parse(START[EXPLICIT] + many, max_elements=50)

    def test_header_size_is_bounded(self) -> None:
        text = element(0x00100020, "LO", "x" * 2000)
        with pytest.raises(MalformedDicom, match="besides bulkdata"):
            parse(START[EXPLICIT] + text, max_header_bytes=1000)
        assert parse(START[EXPLICIT] + element(0x00104000, "OB", bytes(2000)), max_header_bytes=1000)

    def test_superfluous_delimiters_are_passed_over(self) -> None:
        dataset = sequence(0x0040A730, [b""]) + sequence_delimiter() + element(0x00420010, "ST", "after")
        assert values_of(dataset)["00420010"]["Value"] == ["after"]

    def test_items_in_implicit_vr_within_explicit(self) -> None:
        inner = element(0x00080100, "SH", "code", IMPLICIT)
        read = values_of(sequence(0x0040A730, [inner], undefined=True))
        assert read["0040A730"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["code"]}}]


class TestUnknown:
    """PS3.5 6.2.2: UN."""

    @pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
    def test_sequence_of_undefined_length_is_implicit_little_endian(self, syntax: str) -> None:
        inner = element(0x00080100, "SH", "code", IMPLICIT)
        value = item(inner, IMPLICIT, undefined=True) + sequence_delimiter(IMPLICIT)
        read = values_of(element_header(0x0040A730, "UN", UNDEFINED, syntax) + value, syntax)
        assert read["0040A730"] == {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["code"]}}]}

    def test_known_tags_are_read_by_the_dictionary(self) -> None:
        assert values_of(element(0x00280010, "UN", b"\x00\x02"))["00280010"] == {"vr": "US", "Value": [512]}
        inner = item(element(0x00080100, "SH", "code", IMPLICIT))
        read = values_of(element(0x0040A730, "UN", inner))
        assert read["0040A730"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["code"]}}]

    def test_what_does_not_fit_the_dictionary_stays_binary(self) -> None:
        assert values_of(element(0x0040A730, "UN", b"no sequence!"))["0040A730"]["vr"] == "UN"
        assert values_of(element(0x00080018, "UN", b"1.2.3.") + element(0x00280010, "UN", b"\1\2\3\4\5\6"))[
            "00280010"
        ] == {
            "vr": "US",
            "Value": [0x0201, 0x0403, 0x0605],
        }

    @pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
    def test_private_elements(self, syntax: str) -> None:  # MET-023
        dataset = element(0x00190010, "LO", "GEMS_ACQU_01", syntax)
        dataset += element(0x00191002, "UN" if syntax == EXPLICIT else "SL", struct.pack("<i", 912), syntax)
        dataset += element(0x001910FF, "UN", b"\1\2", syntax)
        dataset += element(0x00191102, "UN", b"\1\2", syntax)  # nobody reserved block 11
        read = values_of(dataset, syntax)
        assert read["00190010"] == {"vr": "LO", "Value": ["GEMS_ACQU_01"]}
        assert read["00191002"] == {"vr": "SL", "Value": [912]}
        assert read["001910FF"] == {"vr": "UN", "InlineBinary": "AQI="}
        assert read["00191102"] == {"vr": "UN", "InlineBinary": "AQI="}

    def test_private_sequence_in_implicit_vr(self) -> None:
        read = values_of(
            sequence(0x00191001, [element(0x00080100, "SH", "x", IMPLICIT)], IMPLICIT, undefined=True), IMPLICIT
        )
        assert read["00191001"]["vr"] == "SQ"


class TestBulkdata:
    def test_by_vr_and_length(self) -> None:  # MET-001, MET-017
        dataset = (
            element(0x00081160, "IS", "\\".join(["12"] * 400))
            + element(0x00100020, "LO", "x" * 1100)
            + element(0x00104000, "LT", "y" * 1026)
            + element(0x00189999, "UC", "z" * 65_536)
            + element(0x00281201, "OW", bytes(1024))
            + element(0x00281202, "OW", bytes(1026))
            + element(0x0040A160, "UT", "z" * 65_538)
        )
        parsed = parse(START[EXPLICIT] + dataset)
        assert {key for key, one in json_of(parsed).items() if "BulkDataURI" in one} == {
            "00081160",
            "00281202",
            "0040A160",
        }
        assert [(one.path, one.vr, one.length) for one in parsed.bulkdata] == [
            ("00081160", "IS", 1200),
            ("00281202", "OW", 1026),
            ("0040A160", "UT", 65_538),
        ]
        assert "InlineBinary" in json_of(parsed)["00281201"]

    def test_nested_paths_and_offsets(self) -> None:
        value = bytes(range(256)) * 8
        waveform = element(0x54001010, "OW", value)
        dataset = START[EXPLICIT] + sequence(0x54000100, [b"", waveform])
        data = part10(dataset)
        parsed = parse_instance(data)
        (found,) = parsed.bulkdata
        assert found.path == "54000100.2.54001010"
        assert data[found.offset : found.offset + found.length] == value
        assert json_of(parsed)["54000100"]["Value"][1]["54001010"]["BulkDataURI"] == f"/bulkdata/{found.path}"

    def test_encapsulated_icon_is_its_codestream(self) -> None:
        icon = pixel_data([b"\xff\xd8icon\xff\xd9"])
        data = part10(START[EXPLICIT] + sequence(0x00880200, [icon], undefined=True) + element(0x00880904, "LO", "t"))
        parsed = parse_instance(data)
        (found,) = parsed.bulkdata
        assert data[found.offset : found.offset + found.length] == b"\xff\xd8icon\xff\xd9"
        assert parsed.pixel_data is None

    def test_threshold_is_a_limit(self) -> None:
        assert parse(START[EXPLICIT] + element(0x00281201, "OW", bytes(12)), bulkdata_threshold=10).bulkdata
        assert not parse(START[EXPLICIT] + element(0x00281201, "OW", bytes(10)), bulkdata_threshold=10).bulkdata

    def test_json_is_the_dump_of_the_data_set(self) -> None:
        parsed = parse_instance(make_instance())
        assert orjson.dumps(parsed.dataset) == parsed.json
        with pytest.raises(ValueError, match="control character"):
            json.loads(parsed.json)  # the mark is there, raw
