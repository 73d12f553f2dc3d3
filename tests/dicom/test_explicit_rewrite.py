"""Data sets rewritten element by element: VRs, byte order, sequences, limits."""

import io
import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.dicom.conversion_plan import Copy, Swap
from app.dicom.explicit_elements import Encoding, guess_encoding, implicit_vr, read_element, written_vr
from app.dicom.explicit_rewrite import MAX_DEPTH, Level, Rewriter
from app.errors import DicomError, MalformedDicom, TruncatedDicom
from tests.dicom.conversion import convert
from tests.support.dicom_bytes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    element,
    element_header,
    item,
    part10,
    pixel_data,
    sequence,
)

SOP = 0x00080018
ENCODINGS = {
    IMPLICIT: Encoding(implicit_vr=True, big_endian=False),
    EXPLICIT: Encoding(implicit_vr=False, big_endian=False),
    BIG_ENDIAN: Encoding(implicit_vr=False, big_endian=True),
}


def no_icons(values: Mapping[int, bytes], codestream: bytes) -> Mapping[int, bytes]:
    raise AssertionError("there is no icon")


def rewrite(dataset: bytes, syntax: str = IMPLICIT, **values: int) -> bytes:
    level = Level()
    for name, value in values.items():
        level.values[{"pixel_representation": 0x00280103}[name]] = struct.pack("<H", value)
    Rewriter(dataset, 0, no_icons).data_set(0, ENCODINGS[syntax], level)
    assert level.length == sum(len(p) if isinstance(p, bytes) else p.length for p in level.pieces)
    return b"".join(p if isinstance(p, bytes) else dataset[p.offset : p.offset + p.length] for p in level.pieces)


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


# VRs that Implicit VR leaves out


@pytest.mark.parametrize(("representation", "vr"), [(0, "US"), (1, "SS")])
def test_us_or_ss_follows_pixel_representation(representation: int, vr: str) -> None:
    tags = (0x00280106, 0x00280107, 0x00280120)
    described = element(0x00280103, "US", [representation], IMPLICIT)
    dataset = described + b"".join(element(tag, vr, b"\xfe\xff", IMPLICIT) for tag in tags)
    expected = element(0x00280103, "US", [representation])
    assert rewrite(dataset) == expected + b"".join(element(tag, vr, b"\xfe\xff") for tag in tags)
    # in items, the nearest data set that has the attribute decides
    nested = described + sequence(0x00283010, [element(0x00283002, vr, b"\1\0\2\0\3\0", IMPLICIT)], IMPLICIT)
    assert rewrite(nested) == expected + sequence(0x00283010, [element(0x00283002, vr, b"\1\0\2\0\3\0")])
    # and what the image is known to be counts for what stands in front of it
    assert rewrite(element(0x00189810, vr, b"\1\0", IMPLICIT), pixel_representation=representation) == element(
        0x00189810, vr, b"\1\0"
    )


def test_us_or_ss_is_us_where_nothing_is_known() -> None:
    assert rewrite(element(0x00280120, "US", [1], IMPLICIT)) == element(0x00280120, "US", [1])


@pytest.mark.parametrize(("entries", "vr"), [(1, "US"), (2, "OW"), (0, "OW")])
def test_lut_data_follows_its_descriptor(entries: int, vr: str) -> None:
    inside = element(0x00283002, "US", [entries, 0, 16], IMPLICIT) + element(0x00283006, vr, b"\1\0\2\0", IMPLICIT)
    expected = element(0x00283002, "US", [entries, 0, 16]) + element(0x00283006, vr, b"\1\0\2\0")
    assert rewrite(sequence(0x00283010, [inside], IMPLICIT)) == sequence(0x00283010, [expected])


@pytest.mark.parametrize("tag", [0x60003000, 0x60023000, 0x54001010, 0x54000110, 0x00281200])
def test_bytes_or_words_are_words(tag: int) -> None:
    assert rewrite(element(tag, "OW", b"\1\0\2\0", IMPLICIT)) == element(tag, "OW", b"\1\0\2\0")


def test_private_elements_have_the_vr_of_their_creator_or_un() -> None:
    creator = element(0x00290010, "LO", "SIEMENS CSA HEADER", IMPLICIT)
    unknown = element(0x00290011, "LO", "SOMEBODY ELSE", IMPLICIT)
    dataset = creator + unknown + element(0x00291008, "CS", "IMAGE NUM 4 ", IMPLICIT)
    dataset += element(0x00291108, "UN", b"\1\2", IMPLICIT) + element(0x00311008, "UN", b"\1\2", IMPLICIT)
    expected = element(0x00290010, "LO", "SIEMENS CSA HEADER") + element(0x00290011, "LO", "SOMEBODY ELSE")
    expected += element(0x00291008, "CS", "IMAGE NUM 4 ")
    expected += element(0x00291108, "UN", b"\1\2") + element(0x00311008, "UN", b"\1\2")
    assert rewrite(dataset) == expected


def test_creators_are_those_of_the_same_item() -> None:
    creator = element(0x00290010, "LO", "SIEMENS CSA HEADER", IMPLICIT)
    nested = sequence(0x00081140, [element(0x00291008, "CS", "AB", IMPLICIT)], IMPLICIT)
    expected = sequence(0x00081140, [element(0x00291008, "UN", b"AB")])
    assert rewrite(nested + creator) == expected + element(0x00290010, "LO", "SIEMENS CSA HEADER")


def test_values_whose_length_contradicts_the_dictionary_become_un() -> None:
    assert implicit_vr(0x00280010, "", 2) == "US"
    assert implicit_vr(0x00280010, "", 3) == "UN"
    assert implicit_vr(0x00081140, "", UNDEFINED) == "SQ"
    assert implicit_vr(0x00990001, "", 2) == "UN"
    assert rewrite(element(0x00280010, "UN", b"\1\2\3\4\5\6\7", IMPLICIT)[:-1] + b"\0") == element(
        0x00280010, "US", b"\1\2\3\4\5\6\7\0"
    )
    not_a_sequence = element(0x00081140, "UN", b"no items", IMPLICIT)
    assert rewrite(not_a_sequence) == element(0x00081140, "UN", b"no items")
    broken_items = item(element(0x00080060, "CS", "CT", IMPLICIT, length=60))
    assert rewrite(element(0x00081140, "UN", broken_items, IMPLICIT)) == element(0x00081140, "UN", broken_items)


# Text stays as it is


def test_text_is_not_decoded() -> None:
    for text in (b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B ", b"\xff\xfe\x80 ", b"trailing  ", b"\0\0"):
        for syntax in (IMPLICIT, BIG_ENDIAN):
            assert rewrite(element(0x00100010, "PN", text, syntax), syntax) == element(0x00100010, "PN", text)


def test_odd_values_are_padded() -> None:
    for tag, vr, pad in ((0x00100010, "PN", b" "), (SOP, "UI", b"\0")):
        odd = element_header(tag, vr, 3, BIG_ENDIAN) + b"1.2"
        assert rewrite(odd, BIG_ENDIAN) == element_header(tag, vr, 4) + b"1.2" + pad


@pytest.mark.parametrize("vr", ["LT", "DS", "US"])
def test_values_too_long_for_their_length_field_become_un(vr: str) -> None:
    tag = {"LT": 0x00104000, "DS": 0x00281050, "US": 0x00221401}[vr]
    for size in (65534, 65536, 70000):
        value = b"1\\" * (size // 2)
        result = rewrite(element(tag, vr, value, IMPLICIT))
        known = vr if implicit_vr(tag, "", size) == vr else "UN"
        assert result == element(tag, known if size == 65534 else "UN", value)
    assert (written_vr("LO", 65534), written_vr("LO", 65535), written_vr("UT", 10**6)) == ("LO", "UN", "UT")


def test_large_values_are_ranges_of_the_stored_file() -> None:
    value = bytes(range(256)) * 300
    for syntax, expected in ((IMPLICIT, Copy), (BIG_ENDIAN, Swap)):
        dataset = sequence(0x54000100, [element(0x54001010, "OW", value, syntax)], syntax)
        level = Level()
        Rewriter(dataset, 1000, no_icons).data_set(0, ENCODINGS[syntax], level)
        (piece,) = [p for p in level.pieces if not isinstance(p, bytes)]
        assert isinstance(piece, expected)
        assert (piece.offset, piece.length) == (1000 + dataset.index(value), len(value))


# Byte order


@pytest.mark.parametrize(
    ("tag", "vr", "values"),
    [
        (0x00280010, "US", [1, 0x0203]),
        (0x00280106, "SS", [-2, 3]),
        (0x00081161, "UL", [0x01020304]),
        (0x00186020, "SL", [-5]),
        (0x00189073, "FD", [1.5, -2.25]),
        (0x00186030, "FL", [0.5]),
        (0x00720050, "AT", [0x00100020, 0x7FE00010]),
        (0x00281201, "OW", [1, 2, 0xFF00]),
        (0x00660016, "OF", [1.0, 2.5]),
        (0x00701A07, "OD", [1.0, 2.5]),
        (0x00660040, "OL", [1, 0x01020304]),
        (0x7FE00001, "OV", [1, 2**40]),
        (0x00080053, "SV", [-(2**40)]),
        (0x00080054, "UV", [2**63]),
        (0x00203020, "OB", b"\1\2\3\4"),
        (0x00203020, "UN", b"\1\2\3\4"),
        (0x00100010, "PN", "Doe^Jane"),
    ],
)
def test_numbers_are_swapped_inside_and_outside_of_sequences(tag: int, vr: str, values: list[int]) -> None:
    big, little = element(tag, vr, values, BIG_ENDIAN), element(tag, vr, values)
    assert rewrite(big, BIG_ENDIAN) == little
    for undefined in (False, True):
        nested = sequence(0x00081140, [big, big], BIG_ENDIAN, undefined=undefined)
        assert rewrite(nested, BIG_ENDIAN) == sequence(0x00081140, [little, little], undefined=undefined)


@pytest.mark.parametrize(("bits", "stored"), [(16, b"\2\1\4\3"), (32, b"\4\3\2\1"), (8, b"\2\1\4\3")])
def test_native_icons_are_swapped_by_their_bits(bits: int, stored: bytes) -> None:
    inside = element(0x00280100, "US", [bits], BIG_ENDIAN) + pixel_data(stored, BIG_ENDIAN)
    expected = element(0x00280100, "US", [bits]) + pixel_data(b"\1\2\3\4")
    assert rewrite(sequence(0x00880200, [inside], BIG_ENDIAN), BIG_ENDIAN) == sequence(0x00880200, [expected])


# Sequences


@given(
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 4),
    st.sampled_from([IMPLICIT, BIG_ENDIAN, EXPLICIT]),
)
def test_sequences_keep_their_form(undefined: bool, inner: bool, items: int, depth: int, syntax: str) -> None:
    stored, expected = (
        element(0x00080060, "CS", "CT", one) + element(0x00280010, "US", [5], one) for one in (syntax, EXPLICIT)
    )
    for _ in range(depth):
        stored = sequence(0x00081140, [stored] * items, syntax, undefined=undefined, undefined_items=inner)
        expected = sequence(0x00081140, [expected] * items, undefined=undefined, undefined_items=inner)
    assert rewrite(stored, syntax) == expected


def test_un_of_undefined_length_is_a_sequence_in_implicit_vr() -> None:
    inside = element(0x00080060, "CS", "CT", IMPLICIT)
    for syntax in (EXPLICIT, BIG_ENDIAN):
        # The items of UN are little endian in every syntax (PS3.5 6.2.2).
        head = element_header(0x00290099, "UN", UNDEFINED, syntax)
        stored = head + item(inside) + b"\xfe\xff\xdd\xe0\0\0\0\0"
        expected = element_header(0x00290099, "SQ", UNDEFINED) + item(element(0x00080060, "CS", "CT"))
        assert rewrite(stored, syntax) == expected + b"\xfe\xff\xdd\xe0\0\0\0\0"


def test_un_of_defined_length_stays() -> None:
    stored = element(0x00290099, "UN", item(element(0x00080060, "CS", "CT", IMPLICIT)), EXPLICIT)
    assert rewrite(stored, EXPLICIT) == stored


def test_group_lengths_are_left_out() -> None:
    for syntax in (IMPLICIT, BIG_ENDIAN, EXPLICIT):
        counted = element(0x00080000, "UL", [10], syntax) + element(0x00080060, "CS", "CT", syntax)
        stored = counted + sequence(0x00081140, [counted], syntax)
        plain = element(0x00080060, "CS", "CT")
        assert rewrite(stored, syntax) == plain + sequence(0x00081140, [plain])


def test_items_written_in_the_other_form_are_read() -> None:
    stored = sequence(0x00081140, [element(0x00080060, "CS", "CT", EXPLICIT)], IMPLICIT)
    assert rewrite(stored, IMPLICIT) == sequence(0x00081140, [element(0x00080060, "CS", "CT")])
    stored = sequence(0x00081140, [element(0x00080060, "CS", "CT", IMPLICIT)], EXPLICIT)
    assert rewrite(stored, EXPLICIT) == sequence(0x00081140, [element(0x00080060, "CS", "CT")])


def test_a_data_set_labelled_wrongly_is_read_as_what_it_is() -> None:
    explicit, implicit = element(0x00080060, "CS", "CT"), element(0x00080060, "CS", "CT", IMPLICIT)
    assert rewrite(explicit, IMPLICIT) == rewrite(implicit, EXPLICIT) == explicit
    assert guess_encoding(b"", 0, ENCODINGS[IMPLICIT]) == ENCODINGS[IMPLICIT]
    assert guess_encoding(implicit, 0, ENCODINGS[BIG_ENDIAN]) == ENCODINGS[BIG_ENDIAN]


def test_zeros_behind_the_data_set_are_dropped() -> None:
    stored = element(0x00080060, "CS", "CT", IMPLICIT)
    assert rewrite(stored + bytes(500)) == element(0x00080060, "CS", "CT")


def test_unknown_vrs_become_un() -> None:
    odd = bytearray(element(0x00080060, "CS", "CT"))
    odd[4:6] = b"??"
    assert rewrite(b"".join([element(0x00080005, "CS", ""), bytes(odd)]), EXPLICIT) == element(
        0x00080005, "CS", ""
    ) + element(0x00080060, "UN", b"CT")


# Whole files, read by pydicom


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN])
def test_the_tail_behind_the_pixels_is_rewritten_too(syntax: str) -> None:
    dataset = element(SOP, "UI", "1.2", syntax) + element(0x00280010, "US", [1], syntax)
    dataset += element(0x00280011, "US", [2], syntax) + element(0x00280100, "US", [8], syntax)
    dataset += pixel_data(b"\1\2", syntax, vr="OB" if syntax == BIG_ENDIAN else "OW")
    result = read(convert(part10(dataset + element(0xFFFCFFFC, "OB", b"\0\0", syntax) + bytes(64), syntax)))
    assert result.PixelData == b"\1\2"
    assert result[0xFFFCFFFC].value == b"\0\0"


# Hostile


def test_depth_is_bounded() -> None:
    for syntax in (BIG_ENDIAN, EXPLICIT):
        for undefined in (True, False):
            stored = b""
            for _ in range(MAX_DEPTH):
                stored = sequence(0x00081140, [stored], syntax, undefined=undefined)
            assert rewrite(stored, syntax)
            with pytest.raises(MalformedDicom, match="deeper"):
                rewrite(sequence(0x00081140, [stored], syntax, undefined=undefined), syntax)


@pytest.mark.parametrize(
    "broken",
    [
        element(0x00080060, "CS", "CT", BIG_ENDIAN)[:7],
        element(0x00080060, "CS", "CT", BIG_ENDIAN)[:-1],
        element(0x00080060, "CS", "CT", BIG_ENDIAN, length=400),
        sequence(0x00081140, [b""], BIG_ENDIAN, undefined=True)[:-8],
        sequence(0x00081140, [b""], BIG_ENDIAN, undefined=True)[:-9],
        item(b"", BIG_ENDIAN),
        element_header(0x00081140, "SQ", 8, BIG_ENDIAN) + struct.pack(">HHI", 0xFFFE, 0xE000, 80),
        element_header(0x00081140, "SQ", UNDEFINED, BIG_ENDIAN) + element(0x00080060, "CS", "CT", BIG_ENDIAN),
        element_header(0x00081140, "SQ", 20, BIG_ENDIAN)
        + item(element(0x00080060, "CS", "CTCT", BIG_ENDIAN, length=6), BIG_ENDIAN)
        + element(0x00080060, "CS", "CT", BIG_ENDIAN),
        pixel_data([b"ab"]).replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe1"),
        element_header(0x7FE00010, "OB", UNDEFINED, BIG_ENDIAN),
    ],
)
def test_broken_data_sets_are_refused(broken: bytes) -> None:
    with pytest.raises((TruncatedDicom, MalformedDicom)):
        rewrite(broken, BIG_ENDIAN)


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN]))
def test_arbitrary_bytes_are_rewritten_or_refused(data: bytes, syntax: str) -> None:
    try:
        result = rewrite(data, syntax)
    except DicomError:
        return
    assert len(result) <= 3 * len(data) + 16


SAMPLE = {
    syntax: element(0x00080060, "CS", "CT", syntax)
    + sequence(0x00081140, [element(0x00280010, "US", [5], syntax)] * 2, syntax)
    + sequence(0x00081140, [element(0x00280010, "US", [5], syntax)] * 2, syntax, undefined=True)
    + element(0x00281201, "OW", b"\1\0\2\0", syntax)
    for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN)
}


@given(st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN]), st.lists(st.tuples(st.integers(0, 119), st.integers(0, 255))))
def test_mutated_data_sets_are_rewritten_or_refused(syntax: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLE[syntax])
    for position, value in changes:
        data[position % len(data)] = value
    try:
        result = rewrite(bytes(data), syntax)
    except DicomError:
        return
    assert len(result) <= 3 * len(data) + 16


@given(st.binary(max_size=16))
def test_element_headers_are_read_or_refused(data: bytes) -> None:
    for encoding in ENCODINGS.values():
        try:
            head = read_element(data, 0, encoding)
        except TruncatedDicom:
            assert len(data) < 12
            continue
        assert head.value in (8, 12)
        assert head.value <= max(len(data), 8)
