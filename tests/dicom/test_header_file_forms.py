"""parse_instance on files without preamble, with something behind their end, cut, deflated, or odd."""

import base64
import random
import struct

import pytest

from app.dicom.deflated import DataSetInflater, inflate_data_set
from app.dicom.header import ParseLimits, parse_instance, read_file_meta
from app.errors import DicomError, MalformedDicom, NotDicom, TruncatedDicom, UnsupportedTransferSyntax
from tests.dicom.test_header import DEFLATED, JPEG, NATIVE, START, json_of, parse, values_of
from tests.support.dicom_bytes import (
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    deflate,
    element,
    element_header,
    encapsulated,
    make_instance,
    part10,
    pixel_data,
    sequence,
)


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

    @pytest.mark.parametrize("step", [1, 7, 100_000])
    @pytest.mark.parametrize("size", [0, 1000, 3_000_000])
    def test_inflating_piece_by_piece_is_inflating(self, size: int, step: int) -> None:
        data = bytes(size) + random.Random(size).randbytes(1000)
        packed = deflate(data)
        inflater = DataSetInflater()
        pieces = [
            piece for start in range(0, len(packed), step) for piece in inflater.feed(packed[start : start + step])
        ]
        pieces.append(inflater.end())
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= 1 << 20

    def test_inflating_piece_by_piece_is_bounded(self) -> None:
        packed = deflate(bytes(100_000))
        with pytest.raises(MalformedDicom, match="inflates to more"):
            list(DataSetInflater(ParseLimits(max_inflated_bytes=99_999)).feed(packed))
        with pytest.raises(MalformedDicom):
            list(DataSetInflater().feed(b"\xff\xff\xff\xff"))
        cut = DataSetInflater()
        list(cut.feed(packed[:-3]))
        with pytest.raises(TruncatedDicom):
            cut.end()


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
