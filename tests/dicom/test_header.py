"""parse_instance on bytes written by hand: encodings, nesting, unknown VRs, bulkdata, and how files end."""

import base64
import json
import struct
from typing import Any

import orjson
import pytest

from app.dicom.header import ParseLimits, inflate_data_set, parse_instance, read_file_meta
from app.dicom.instance import INSTANCE_URL_MARK, BulkdataItem, ParsedInstance
from app.dicom.transfer_syntaxes import TRANSFER_SYNTAXES, Family
from app.errors import DicomError, MalformedDicom, NotDicom, TruncatedDicom, UnsupportedTransferSyntax
from tests.support.dicom_bytes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    deflate,
    element,
    element_header,
    encapsulated,
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
        assert parsed.media_storage_sop_instance_uid == "1.2.3.4"
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
            + element(0x00281201, "OW", bytes(1024))
            + element(0x00281202, "OW", bytes(1026))
        )
        parsed = parse(START[EXPLICIT] + dataset)
        assert {key for key, one in json_of(parsed).items() if "BulkDataURI" in one} == {
            "00081160",
            "00104000",
            "00281202",
        }
        assert [(one.path, one.vr, one.length) for one in parsed.bulkdata] == [
            ("00081160", "IS", 1200),
            ("00104000", "LT", 1026),
            ("00281202", "OW", 1026),
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


class TestHowFilesBegin:
    def test_without_preamble(self) -> None:
        data = make_instance()
        assert parse_instance(data[132:]).json == parse_instance(data).json

    @pytest.mark.parametrize("syntax", NATIVE)
    def test_bare_data_set(self, syntax: str) -> None:
        parsed = parse_instance(START[syntax] + element(0x00100020, "LO", "P", syntax))
        assert (parsed.transfer_syntax_uid, parsed.dataset_offset) == (syntax, 0)
        assert parsed.text("00100020") == "P"

    @pytest.mark.parametrize("syntax", NATIVE)
    def test_transfer_syntax_missing_or_empty(self, syntax: str) -> None:
        data = part10(START[syntax], syntax)
        named = element(0x00020010, "UI", syntax)
        for instead in (b"", element(0x00020010, "UI", "")):
            assert parse_instance(data.replace(named, instead)).transfer_syntax_uid == syntax

    @pytest.mark.parametrize(("stated", "written"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
    def test_the_data_set_is_right_when_it_contradicts_its_syntax(self, stated: str, written: str) -> None:
        parsed = parse(START[written] + element(0x00280010, "US", [7], written), stated)
        assert parsed.dataset["00280010"] == {"vr": "US", "Value": [7]}

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"x",
            b"\xff\xd8\xff\xe0 JFIF",
            b"%PDF-1.7 ......",
            b"--boundary\r\n" * 20,
            bytes(200),
            b"PK\3\4" * 50,
            bytes(range(256)) * 2,
        ],
    )
    def test_not_dicom(self, data: bytes) -> None:
        with pytest.raises(NotDicom):
            parse_instance(data)

    def test_preamble_alone(self) -> None:
        with pytest.raises(DicomError):
            parse_instance(bytes(128) + b"DICM")

    @pytest.mark.parametrize("uid", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.7.1", "1.2.3"])
    def test_unsupported_syntax_still_names_the_instance(self, uid: str) -> None:
        data = part10(START[EXPLICIT], uid, sop_instance="1.9", sop_class="1.8")
        with pytest.raises(UnsupportedTransferSyntax):
            parse_instance(data)
        meta = read_file_meta(data)
        assert (meta.media_storage_sop_instance_uid, meta.media_storage_sop_class_uid) == ("1.9", "1.8")

    def test_file_meta_never_raises(self) -> None:
        data = make_instance()
        for size in range(0, 400, 7):
            assert read_file_meta(data[:size]).dataset_offset <= max(size, 132)
        assert not read_file_meta(data[:180]).complete
        with pytest.raises(TruncatedDicom):
            parse_instance(data[:180])

    def test_group_length_of_the_meta_group_is_not_believed(self) -> None:
        data = bytearray(make_instance())
        data[140:144] = struct.pack("<I", 3)
        assert parse_instance(bytes(data)).text("00100020") == "P1"


class TestHowFilesEnd:
    @pytest.mark.parametrize("tail", [b"\0", b"\r\n", bytes(8), bytes(5000), b"\0\r\n"])
    @pytest.mark.parametrize("syntax", NATIVE)
    def test_padding(self, tail: bytes, syntax: str) -> None:
        without_pixels = make_instance(transfer_syntax=syntax, rows=0)
        for data in (make_instance(transfer_syntax=syntax), without_pixels):
            assert parse_instance(data + tail).json == parse_instance(data).json

    @pytest.mark.parametrize("tail", [b"garbage", b"garbage that is longer than a header", b"\r\n--boundary--\r\n"])
    @pytest.mark.parametrize("syntax", [*NATIVE, JPEG])
    def test_garbage_behind_pixel_data(self, tail: bytes, syntax: str) -> None:
        data = make_instance(transfer_syntax=syntax)
        assert parse_instance(data + tail).json == parse_instance(data).json

    @pytest.mark.parametrize("uid", [*NATIVE, DEFLATED, JPEG])
    def test_every_cut_is_seen_but_for_those_between_elements(self, uid: str) -> None:
        data = make_instance(transfer_syntax=uid, rows=40, columns=40)
        whole = parse_instance(data)
        assert whole.pixel_data is not None
        for size in range(whole.dataset_offset + 1, len(data), 13):
            try:
                parsed = parse_instance(data[:size])
            except DicomError:
                continue
            if parsed.json != whole.json:  # else only padding behind the deflated data set was cut
                assert parsed.pixel_data is None
                assert len(parsed.dataset) < len(whole.dataset)

    def test_native_pixel_data_shorter_than_its_frames(self) -> None:
        with pytest.raises(TruncatedDicom, match="too short"):
            parse_instance(make_instance(rows=4, columns=4, frames=2, pixel_bytes=bytes(29)))
        assert parse_instance(make_instance(rows=4, columns=4, pixel_bytes=bytes(40))).frame_index

    def test_encapsulated_pixel_data_without_end(self) -> None:
        dataset = START[EXPLICIT] + pixel_data([b"abcd"], end=False)
        with pytest.raises(TruncatedDicom):
            parse(dataset, JPEG)

    def test_deflated_without_end_or_beyond_the_limit(self) -> None:
        packed = deflate(START[EXPLICIT] + element(0x00104000, "OB", bytes(100_000)))
        assert len(inflate_data_set(packed)) > 100_000
        with pytest.raises(TruncatedDicom):
            inflate_data_set(packed[: len(packed) // 2])
        with pytest.raises(MalformedDicom, match="inflates to more"):
            inflate_data_set(packed, ParseLimits(max_inflated_bytes=1000))
        with pytest.raises(MalformedDicom):
            inflate_data_set(b"\xff\xff\xff\xff")


class TestOddFiles:
    """What only the slow reader follows."""

    def test_unknown_vr_counts_as_un(self) -> None:
        data = part10(
            START[EXPLICIT]
            + element(0x00080018, "ZZ", "1.2.3.4")
            + element(0x00091001, "ZZ", b"1234")
            + element(0x00281201, "OW", bytes(2000))
        )
        parsed = parse_instance(data)
        assert json_of(parsed)["00080018"] == {"vr": "UI", "Value": ["1.2.3.4"]}
        assert json_of(parsed)["00091001"] == {"vr": "UN", "InlineBinary": base64.b64encode(b"1234").decode()}
        (found,) = parsed.bulkdata
        assert data[found.offset : found.offset + found.length] == bytes(2000)

    @pytest.mark.parametrize("undefined", [True, False])
    def test_offsets_in_nested_items(self, undefined: bool) -> None:
        value = bytes(range(250)) * 8
        odd = element(0x00080018, "ZZ", b"odd!")
        inner = sequence(0x0040A730, [b"", element(0x00281201, "OW", value)], undefined=undefined)
        data = part10(START[EXPLICIT] + odd + sequence(0x0040A730, [inner], undefined=not undefined))
        (found,) = parse_instance(data).bulkdata
        assert found.path == "0040A730.1.0040A730.2.00281201"
        assert data[found.offset : found.offset + found.length] == value

    def test_duplicates_the_last_one_counts(self) -> None:
        for values in (("one", "two"), ("two", "one")):
            dataset = b"".join(element(0x00100020, "LO", value) for value in values)
            assert values_of(dataset)["00100020"]["Value"] == [values[1]]

    def test_pixel_data_and_frames(self) -> None:
        data = make_instance(transfer_syntax=JPEG, frames=3)
        odd = data.replace(element(0x00080060, "CS", "OT"), element(0x00080060, "ZZ", "OT"))
        assert odd != data
        whole, slow = parse_instance(data), parse_instance(odd)
        assert (slow.pixel_data, slow.frame_index) == (whole.pixel_data, whole.frame_index)

    def test_nothing_is_lost_silently(self) -> None:
        # An item delimiter with a length ends pydicom's reading; what comes behind it must not be missing unseen.
        dataset = START[EXPLICIT] + struct.pack("<HHI", 0xFFFE, 0xE00D, 2) + b"xx" + element(0x00100020, "LO", "lost")
        with pytest.raises(DicomError):
            parse(dataset)

    def test_large_odd_files_are_refused(self) -> None:
        text = element(0x00104000, "UT", "x" * 40_000)
        dataset = START[EXPLICIT] + element(0x00080018, "ZZ", b"odd!") + text
        assert parse(dataset)
        with pytest.raises(MalformedDicom, match="too large"):
            parse(dataset, max_fallback_bytes=10_000)
        wide = sequence(0x0040A730, [element(0x00104000, "UT", "x" * 4000)] * 50)
        with pytest.raises(MalformedDicom, match="too large"):
            parse(START[EXPLICIT] + element(0x00080018, "ZZ", b"odd!") + wide, max_fallback_bytes=100_000)


def test_fragments_of_a_broken_item_header_are_not_followed() -> None:
    broken = element_header(0x7FE00010, "OB", UNDEFINED) + encapsulated([b"abcd"]).replace(
        b"abcd\xfe\xff", b"abcd\xfe\xfe"
    )
    with pytest.raises(MalformedDicom):
        parse(START[EXPLICIT] + broken, JPEG)
