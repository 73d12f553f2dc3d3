"""Where frames are: native, by tables, by counts, by markers (PS3.5 A.4 and 8.1.1); RET-027 to RET-032."""

import struct
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.fragments import TooManyFragments, walk_fragments
from app.dicom.frame_index import (
    HEAD_SIZE,
    FrameRuns,
    build_frame_index,
    frame_count,
    locate_frames,
    runs_in_slice,
    slice_of,
)
from app.dicom.header import parse_instance
from app.dicom.instance import PixelData
from app.dicom.layout import ImagePixel
from app.dicom.transfer_syntaxes import transfer_syntax
from app.errors import MalformedDicom, NotFound, TruncatedDicom
from tests.support.dicom_bytes import (
    element,
    encapsulated,
    extended_offset_table,
    fragment_offsets,
    item,
    make_instance,
    part10,
    pixel_data,
    sequence_delimiter,
)

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"
RLE = "1.2.840.10008.1.2.5"
ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.1.98"
MPEG2 = "1.2.840.10008.1.2.4.100"
JPIP = "1.2.840.10008.1.2.4.94"

JPEG_HEAD, JPEG_MIDDLE, JPEG_TAIL = b"\xff\xd8\xff\xe0head", b"middle", b"tail\xff\xd9"
J2K_HEAD, J2K_TAIL = b"\xff\x4f\xff\x51head", b"tail\xff\xd9"


def image(frames: int = 1, rows: int = 2, columns: int = 2, bits: int = 8, **others: Any) -> ImagePixel:
    values = {
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "planar_configuration": 0,
        "bits_stored": bits,
        "high_bit": bits - 1,
        "pixel_representation": 0,
    } | others
    return ImagePixel(rows=rows, columns=columns, bits_allocated=bits, number_of_frames=frames, **values)


def native(length: int, img: ImagePixel, keyword: str = "PixelData", offset: int = 100) -> list[FrameRuns]:
    packed = build_frame_index(
        b"", PixelData(keyword, "OW", offset, length, offset + length), img, transfer_syntax(EXPLICIT)
    )
    return locate_frames(packed, range(1, frame_count(packed) + 1))


def frames_of(
    fragments: list[bytes],
    frames: int,
    uid: str = JPEG,
    offsets: list[int] | None = None,
    extended: tuple[bytes, bytes] = (b"", b""),
) -> list[list[bytes]]:
    """The fragments of each frame as they are found, without the padding that the encoding adds."""
    data = b"before" + encapsulated(fragments, offsets)
    packed = build_frame_index(
        data,
        PixelData("PixelData", "OB", 6, None, len(data)),
        image(frames),
        transfer_syntax(uid),
        extended_offsets=extended[0],
        extended_lengths=extended[1],
    )
    found = locate_frames(packed, range(1, frame_count(packed) + 1))
    return [[data[offset : offset + length] for offset, length in one.runs] for one in found]


class TestNative:
    def test_frames_of_whole_bytes(self) -> None:  # RET-027
        first, second = native(8, image(2))
        assert first == FrameRuns(((100, 4),), 0, 32)
        assert second == FrameRuns(((104, 4),), 0, 32)
        assert second.whole_bytes
        assert second.length == 4

    def test_one_bit_frames_need_not_begin_at_a_byte(self) -> None:  # RET-028
        frames = native(4, image(3, rows=3, columns=3, bits=1))
        assert frames == [FrameRuns(((100, 2),), 0, 9), FrameRuns(((101, 2),), 1, 9), FrameRuns(((102, 2),), 2, 9)]
        assert not any(one.whole_bytes for one in frames)

    @given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 8, 16, 32]), st.integers(1, 9))
    def test_frames_cover_the_pixel_data_without_gaps(self, rows: int, columns: int, bits: int, count: int) -> None:
        img = image(count, rows, columns, bits)
        total = (img.frame_bits * count + 7) // 8
        position = 0
        for one in native(total + total % 2, img, offset=0):
            ((offset, length),) = one.runs
            assert offset * 8 + one.first_bit == position
            assert length == (one.first_bit + one.bit_length + 7) // 8
            position += one.bit_length
        assert position == img.frame_bits * count

    def test_number_of_frames_beyond_the_data(self) -> None:
        with pytest.raises(TruncatedDicom):
            native(7, image(2))
        with pytest.raises(TruncatedDicom):
            native(8, image(2**31 - 1))
        assert len(native(1000, image(2))) == 2

    def test_float_samples_have_their_own_size(self) -> None:
        assert native(16, image(bits=8), "FloatPixelData")[0].length == 16
        assert native(32, image(bits=16), "DoubleFloatPixelData")[0].length == 32

    def test_ybr_422_subsampled_or_only_said_to_be(self) -> None:
        colour = image(2, samples_per_pixel=3, photometric_interpretation="YBR_FULL_422")
        assert [one.runs[0][1] for one in native(16, colour)] == [8, 8]
        assert [one.runs[0][1] for one in native(24, colour)] == [12, 12]

    def test_no_frames_without_an_image(self) -> None:
        assert build_frame_index(b"", PixelData("PixelData", "OW", 0, 8, 8), None, transfer_syntax(EXPLICIT)) == b""
        assert frame_count(b"") == 0


class TestEncapsulated:
    def test_one_fragment_per_frame(self) -> None:  # RET-029
        assert frames_of([b"aa", b"bbbb", b"cc"], 3) == [[b"aa"], [b"bbbb"], [b"cc"]]

    def test_one_frame_of_many_fragments(self) -> None:  # RET-030
        assert frames_of([JPEG_HEAD, JPEG_MIDDLE, JPEG_TAIL], 1) == [[JPEG_HEAD, JPEG_MIDDLE, JPEG_TAIL]]

    def test_basic_offset_table(self) -> None:
        fragments = [b"aa", b"bb", b"cccc", b"dd", b"ee"]
        starts = fragment_offsets(fragments)
        table = [starts[0], starts[2], starts[3]]
        assert frames_of(fragments, 3, offsets=table) == [[b"aa", b"bb"], [b"cccc"], [b"dd", b"ee"]]

    @pytest.mark.parametrize(
        "table",
        [[0, 999_999], [0, 3], [10, 20], [0, 0], [20, 0], [0], [0, 18, 36], [0xFFFFFFFF, 0]],
    )
    def test_a_table_that_does_not_fit_is_not_believed(self, table: list[int]) -> None:
        fragments = [JPEG_HEAD, JPEG_TAIL, JPEG_HEAD, JPEG_MIDDLE, JPEG_TAIL]
        assert frames_of(fragments, 2, offsets=table) == [fragments[:2], fragments[2:]]

    def test_extended_offset_table_gives_exact_lengths(self) -> None:
        fragments = [b"aaa", b"bb", b"ccccc"]
        offsets = struct.pack("<3Q", *fragment_offsets(fragments))
        lengths = struct.pack("<3Q", 3, 2, 5)
        assert frames_of(fragments, 3, extended=(offsets, lengths)) == [[b"aaa"], [b"bb"], [b"ccccc"]]
        # Without it, padding cannot be told from data.
        assert frames_of(fragments, 3) == [[b"aaa\0"], [b"bb"], [b"ccccc\0"]]

    @pytest.mark.parametrize("broken", ["offsets", "lengths", "short"])
    def test_an_extended_table_that_does_not_fit_is_not_believed(self, broken: str) -> None:
        fragments = [b"aaa", b"bb"]
        offsets = struct.pack("<2Q", *(fragment_offsets(fragments) if broken != "offsets" else (0, 2**40)))
        lengths = struct.pack("<2Q", *((3, 2) if broken != "lengths" else (3, 2**40)))
        if broken == "short":
            lengths = lengths[:-1]
        assert frames_of(fragments, 2, extended=(offsets, lengths)) == [[b"aaa\0"], [b"bb"]]

    def test_extended_table_of_a_whole_file(self) -> None:
        fragments = [b"\xff\xd8\xff\xd9a", b"\xff\xd8\xff\xd9"]
        rows = element(0x00280008, "IS", "2") + element(0x00280010, "US", [2]) + element(0x00280011, "US", [2])
        data = part10(rows + extended_offset_table(fragments) + pixel_data(fragments), JPEG)
        parsed = parse_instance(data)
        found = locate_frames(parsed.frame_index, [1, 2])
        assert [data[one.runs[0][0] :][: one.length] for one in found] == fragments

    @pytest.mark.parametrize(
        ("uid", "head", "middle", "tail"),
        [
            (JPEG, JPEG_HEAD, JPEG_MIDDLE, JPEG_TAIL),
            (JPEG, JPEG_HEAD, JPEG_MIDDLE, JPEG_TAIL + b"\0\0\0"),
            (JPEG_2000, J2K_HEAD, b"SOD", J2K_TAIL),
            (JPEG_2000, b"\x00\x00\x00\x0cjP  rest", b"boxes.", J2K_TAIL),
            (JPEG_XL, b"\xff\x0arest", b"more", b"last"),
            (RLE, struct.pack("<2I", 3, 64) + bytes(56), b"segm", b"ents"),
        ],
    )
    def test_markers(self, uid: str, head: bytes, middle: bytes, tail: bytes) -> None:
        def padded(*fragments: bytes) -> list[bytes]:
            return [one + b"\0" * (len(one) % 2) for one in fragments]

        fragments = padded(head, tail, head, middle, tail, head, middle, middle, tail)
        assert frames_of(fragments, 3, uid) == [fragments[:2], fragments[2:5], fragments[5:]]

    def test_a_start_marker_inside_a_frame_is_no_new_frame(self) -> None:
        fragments = [JPEG_HEAD, JPEG_HEAD, JPEG_TAIL, JPEG_HEAD, JPEG_TAIL]
        assert frames_of(fragments, 2) == [fragments[:3], fragments[3:]]

    def test_markers_overrule_a_wrong_number_of_frames(self) -> None:
        whole = b"\xff\xd8\xff..\xff\xd9\0"
        assert len(frames_of([whole] * 4, 1)) == 4
        assert len(frames_of([whole] * 4, 3)) == 4
        assert len(frames_of([whole] * 4, 99)) == 4
        assert len(frames_of([b"unmarked"] * 4, 99)) == 4

    def test_frames_that_nothing_tells_apart(self) -> None:
        assert frames_of([b"a ", b"b ", b"c "], 2) == []
        assert frames_of([], 3) == []

    def test_video_is_one_stream(self) -> None:  # RET-031
        assert frames_of([b"aa", b"bb"], 300, MPEG2) == [[b"aa", b"bb"]]

    def test_encapsulated_uncompressed(self) -> None:
        assert frames_of([b"aaaa", b"bbbb"], 2, ENCAPSULATED_NATIVE) == [[b"aaaa"], [b"bbbb"]]

    def test_jpip_has_no_frames_here(self) -> None:
        assert frames_of([b"aa"], 1, JPIP) == []

    def test_empty_fragments(self) -> None:
        """A frame without a byte has nothing that could be read."""
        assert frames_of([b"", b"aa"], 2) == [[], [b"aa"]]
        assert frames_of([b"aa", b"", b"bb"], 1) == [[b"aa", b"bb"]]


class TestFragments:
    def test_walk(self) -> None:
        data = encapsulated([b"abcd", b"ef"], [0, 12])
        found = walk_fragments(memoryview(data), 0)
        assert [data[o : o + n] for o, n in zip(found.offsets, found.lengths, strict=True)] == [b"abcd", b"ef"]
        assert data[found.table_offset :][: found.table_length] == struct.pack("<2I", 0, 12)
        assert (found.stop, found.end) == (len(data) - 8, len(data))

    @pytest.mark.parametrize("size", range(0, 42, 3))
    def test_cut(self, size: int) -> None:
        data = encapsulated([b"abcd", b"ef"])
        assert len(data) == 42 - 4
        if size < len(data):
            with pytest.raises(TruncatedDicom):
                walk_fragments(memoryview(data[:size]), 0)

    def test_something_else_than_items(self) -> None:
        for data in (sequence_delimiter(), item(b"") + b"12345678", b"\xfe\xff\x0d\xe0" + bytes(4)):
            with pytest.raises(MalformedDicom):
                walk_fragments(memoryview(data), 0)

    def test_more_than_are_to_be_read(self) -> None:
        data = encapsulated([b"ab"] * 5)
        assert len(walk_fragments(memoryview(data), 0, most=6)) == 5  # and the offset table
        with pytest.raises(TooManyFragments):
            walk_fragments(memoryview(data), 0, most=5)

    def test_undefined_length_leads_beyond_the_end(self) -> None:
        data = item(b"") + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + sequence_delimiter()
        with pytest.raises(TruncatedDicom):
            walk_fragments(memoryview(data), 0)


class TestSlices:
    """What a database fetches of a packed index."""

    @pytest.mark.parametrize(
        "shape",
        [[1] * 5, [3, 1, 2], [1, 1, 1, 1, 500]],
        ids=["one fragment each", "padded table", "ragged"],
    )
    def test_head_and_slice_are_enough(self, shape: list[int]) -> None:
        fragments, starts = [], []
        for count in shape:
            starts.append(len(fragments))
            fragments += [bytes([65 + len(starts)]) * 2] * count
        offsets = fragment_offsets(fragments)
        data = encapsulated(fragments, [offsets[start] for start in starts])
        packed = build_frame_index(
            data, PixelData("PixelData", "OB", 0, None, len(data)), image(len(shape)), transfer_syntax(JPEG)
        )
        head = packed[:HEAD_SIZE]
        assert frame_count(head) == len(shape)
        whole = locate_frames(packed, range(1, len(shape) + 1))
        for number, expected in enumerate(shape, start=1):
            offset, length = slice_of(head, number)
            assert runs_in_slice(head, number, packed[offset : offset + length]) == whole[number - 1]
            assert len(whole[number - 1].runs) == expected

    def test_native_needs_only_the_head(self) -> None:
        parsed = parse_instance(make_instance(rows=8, columns=8, frames=1000))
        assert len(parsed.frame_index) == HEAD_SIZE
        assert slice_of(parsed.frame_index, 1000) == (HEAD_SIZE, 0)

    @pytest.mark.parametrize("number", [0, -1, 4, 2**40])
    def test_beyond_the_count(self, number: int) -> None:
        for packed in (
            parse_instance(make_instance(frames=3)).frame_index,
            parse_instance(make_instance(frames=3, transfer_syntax=JPEG)).frame_index,
            b"",
        ):
            with pytest.raises(NotFound):
                locate_frames(packed, [number])

    def test_order_and_repetition_are_kept(self) -> None:
        packed = parse_instance(make_instance(frames=3)).frame_index
        one, three = locate_frames(packed, [1, 3])
        assert locate_frames(packed, [3, 1, 3]) == [three, one, three]


def test_a_hundred_thousand_frames() -> None:
    count = 100_000
    fragments = [b"\xff\xd8\xff\xd9"] * count
    data = make_instance(transfer_syntax=JPEG, frames=count, pixel_bytes=fragments)
    for stored in (data, data.replace(struct.pack("<II", 0, 12), struct.pack("<II", 8, 12), 1)):
        began = time.process_time()
        parsed = parse_instance(stored)
        assert time.process_time() - began < 1.5
        assert frame_count(parsed.frame_index) == count
        began = time.process_time()
        (last,) = locate_frames(parsed.frame_index, [count])
        assert time.process_time() - began < 0.01
        ((offset, length),) = last.runs
        assert (stored[offset : offset + length], offset + length + 8) == (b"\xff\xd8\xff\xd9", len(stored))
