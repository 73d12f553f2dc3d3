"""Values into the DICOM JSON Model (PS3.18 Annex F): MET-006 to MET-026."""

import base64
import json
import math
import struct
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, decode_bytes, encode_string

from app.dicom.character_sets import DEFAULT_ENCODINGS, decode_text, encodings_of
from app.dicom.instance import INSTANCE_URL_MARK
from app.dicom.json_model import (
    EMITTERS,
    EMITTERS_BIG_ENDIAN,
    bulkdata_uri,
    decimal_value,
    integer_value,
    to_json_text,
    to_little_endian,
)

ASCII = DEFAULT_ENCODINGS
ALL_VRS = sorted(EMITTERS)


def emit(vr: str, raw: bytes, encodings: tuple[str, ...] = ASCII) -> dict:
    return EMITTERS[vr](raw, encodings)


@pytest.mark.parametrize("vr", ALL_VRS)
def test_empty_value_has_no_value_key(vr: str) -> None:  # MET-006
    assert emit(vr, b"") == {"vr": vr}


@pytest.mark.parametrize("vr", ["CS", "LO", "PN", "LT", "UI", "DS", "IS", "DA", "UT", "UR"])
@pytest.mark.parametrize("padding", [b" ", b"\0", b"  \0"])
def test_padding_alone_is_empty(vr: str, padding: bytes) -> None:
    assert emit(vr, padding) == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("CS", b"ORIGINAL\\\\AXIAL", ["ORIGINAL", None, "AXIAL"]),  # MET-007
        ("CS", b"A\\", ["A", None]),
        ("LO", b"\\\\", [None, None, None]),
        ("CS", b" ORIGINAL \\PRIMARY ", ["ORIGINAL", "PRIMARY"]),
        ("LO", b" indented ", [" indented"]),
        ("UI", b"1.2.840\0", ["1.2.840"]),
        ("LT", b"a\\b ", ["a\\b"]),  # MET-021
        ("ST", b"a\\b", ["a\\b"]),
        ("UT", b" a\\b\x0cc", [" a\\b\x0cc"]),
        ("UR", b"http://x/y\\z ", ["http://x/y\\z"]),
        ("SH", b"a\0b", ["ab"]),
        ("DS", b"1\\\\2", [1, None, 2]),
        ("IS", b"1\\abc\\3 ", [1, "abc", 3]),  # MET-025
        ("AT", bytes.fromhex("1800631028001000"), ["00181063", "00280010"]),  # MET-014
        ("US", b"\x00\x02\xff\xff", [512, 65535]),
        ("SS", b"\xff\xff", [-1]),
        ("UV", struct.pack("<2Q", 2**53, 2**63 - 1), [2**53, str(2**63 - 1)]),  # MET-013
        ("SV", struct.pack("<2q", -(2**53), -(2**53) - 1), [-(2**53), str(-(2**53) - 1)]),
        ("FL", struct.pack("<f", 0.5), [0.5]),
        ("FD", struct.pack("<3d", math.nan, math.inf, -math.inf), ["NaN", "Infinity", "-Infinity"]),  # MET-026
    ],
)
def test_values(vr: str, raw: bytes, values: list) -> None:
    assert emit(vr, raw) == {"vr": vr, "Value": values}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("40", 40),
        ("007", 7),
        ("+1.5", 1.5),
        ("100.000000", 100.0),
        ("-0.50", -0.5),
        ("1.0E+02", 100.0),
        ("0.1000000000000001", 0.1000000000000001),  # MET-012
        ("0.12345678901234567", "0.12345678901234567"),
        ("9007199254740993", "9007199254740993"),
        ("1e400", "1e400"),
        ("1e-400", "1e-400"),
        ("0e99999999999999999999", "0e99999999999999999999"),
        ("1e-99999999999999999999", "1e-99999999999999999999"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("-Infinity", "-Infinity"),
        ("1_0", "1_0"),
        ("1,5", "1,5"),
        ("\xb2", "\xb2"),
        ("abc", "abc"),
        ("1" * 5000, "1" * 5000),
        ("0." + "0" * 100, 0.0),
    ],
)
def test_decimal_strings(text: str, value: float | str) -> None:
    got = decimal_value(text)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("+5", 5), ("-5", -5), ("12.0", 12), ("3.7", "3.7"), ("1A", "1A"), ("99999999999999999999", "99999999999999999999")],
)  # fmt: skip
def test_integer_strings(text: str, value: int | str) -> None:
    got = integer_value(text)
    assert (got, type(got)) == (value, type(value))


@given(
    st.text(alphabet="0123456789.+-eE", min_size=1, max_size=20)
    | st.from_regex(r"[+-]?\d{1,9}[eE.][+-]?\d{1,25}", fullmatch=True)
)
def test_a_number_is_exactly_what_the_text_says(text: str) -> None:
    for convert in (decimal_value, integer_value):
        value = convert(text)
        if isinstance(value, str):
            assert value == text
        else:
            assert Decimal(repr(value)) == Decimal(text)


@given(st.sampled_from(ALL_VRS), st.binary(max_size=64), st.booleans())
def test_nothing_fails_and_everything_is_json(vr: str, raw: bytes, big_endian: bool) -> None:
    table = EMITTERS_BIG_ENDIAN if big_endian else EMITTERS
    for encodings in (ASCII, ("shift_jis", "iso2022_jp"), ("utf-8",), ("GB18030",), ("latin-1", "euc_kr")):
        element = table[vr](raw, encodings)
        assert element["vr"] in (vr, "UN")
        assert set(element) <= {"vr", "Value", "InlineBinary"}
        assert len(element) <= 2
        assert element.get("Value") not in ([], [None], [""])
        json.loads(to_json_text({"00100010": element}), parse_constant=pytest.fail)


def test_wrong_length_of_a_number_becomes_binary() -> None:
    assert emit("US", b"\1\2\3") == {"vr": "UN", "InlineBinary": "AQID"}
    assert emit("AT", b"\1\2") == {"vr": "UN", "InlineBinary": "AQI="}


def test_inline_binary_is_one_little_endian_text() -> None:  # MET-015
    words = struct.pack(">3H", 1, 2, 3)
    element = EMITTERS_BIG_ENDIAN["OW"](words, ASCII)
    assert base64.b64decode(element["InlineBinary"]) == struct.pack("<3H", 1, 2, 3)
    assert EMITTERS_BIG_ENDIAN["OB"](words, ASCII) == EMITTERS["OB"](words, ASCII)


@pytest.mark.parametrize(
    ("vr", "size"), [("OW", 2), ("OF", 4), ("OL", 4), ("OD", 8), ("OV", 8), ("AT", 2), ("FD", 8), ("UN", 1)]
)
def test_byte_order_of_each_vr(vr: str, size: int) -> None:
    raw = bytes(range(16)) + b"x"
    words = [raw[start : start + size][::-1] for start in range(0, 16, size)]
    assert to_little_endian(raw, vr) == b"".join(words) + b"x" if size > 1 else raw


class TestPersonNames:  # MET-009, MET-010
    def test_groups(self) -> None:
        raw = "Yamada^Tarou=山田^太郎=やまだ^たろう".encode()
        assert emit("PN", raw, ("utf-8",))["Value"] == [
            {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
        ]

    def test_absent_groups_are_absent(self) -> None:
        assert emit("PN", "=山田^太郎".encode(), ("utf-8",))["Value"] == [{"Ideographic": "山田^太郎"}]
        assert emit("PN", b"Doe^John==")["Value"] == [{"Alphabetic": "Doe^John"}]

    def test_several_and_empty_ones(self) -> None:
        assert emit("PN", b"A^B\\\\C ")["Value"] == [{"Alphabetic": "A^B"}, None, {"Alphabetic": "C"}]
        assert emit("PN", b"==") == {"vr": "PN"}


class TestCharacterSets:
    @pytest.mark.parametrize(
        ("terms", "raw", "text"),
        [
            # Examples of PS3.5 Annexes H, I, J, K
            (["", "ISO 2022 IR 87"], b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
            (
                ["ISO 2022 IR 13", "ISO 2022 IR 87"],
                b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
                "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
            ),
            (["", "ISO 2022 IR 149"], b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
            (
                ["", "ISO 2022 IR 58"],
                b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
                "Zhang^XiaoDong=张^小东",
            ),
            (["ISO_IR 192"], "Wang=王^小東".encode(), "Wang=王^小東"),
            (["GB18030"], "Wang=王^小东".encode("gb18030"), "Wang=王^小东"),
            (["ISO_IR 144"], "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
            ([], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ],
    )
    def test_examples_of_the_standard(self, terms: list[str], raw: bytes, text: str) -> None:
        assert decode_text(raw, encodings_of(terms), person_name=True) == text

    def test_first_set_is_back_behind_a_delimiter(self) -> None:
        encodings = encodings_of(["ISO 2022 IR 100", "ISO 2022 IR 144"])
        raw = b"\x1b-L" + "Иван".encode("iso8859_5") + "\\é".encode("latin-1")
        assert decode_text(raw, encodings) == "Иван\\é"
        name = b"\x1b-L" + "Иван".encode("iso8859_5") + "^é".encode("latin-1")
        assert decode_text(name, encodings, person_name=True) == "Иван^é"

    def test_backslash_as_half_of_a_character_does_not_split(self) -> None:
        text = "ソ"  # 83 5C in Shift JIS; GB18030 has such pairs too
        assert emit("LO", text.encode("shift_jis"), ("shift_jis",))["Value"] == [text]
        pair = b"\x81\x5c".decode("gb18030")
        assert emit("LO", pair.encode("gb18030"), encodings_of(["GB18030"]))["Value"] == [pair]

    def test_yen_sign_splits(self) -> None:  # MET-022
        assert emit("LO", b"\xb1\x5c\xb2", encodings_of(["ISO_IR 13"]))["Value"] == ["ｱ", "ｲ"]

    @pytest.mark.parametrize(
        ("terms", "encodings"),
        [
            (["ISO-IR 100"], ("latin_1",)),
            (["iso_ir 192 "], ("utf-8",)),
            (["UTF-8"], ("utf-8",)),
            (["ISO 2022-IR 87"], ("iso2022_jp",)),
            (["ISO_IR 192", "ISO 2022 IR 87"], ("utf-8",)),
            (["", "GB18030"], ("latin-1",)),
            (["unicode_escape"], ("latin-1",)),
            (["punycode"], ("latin-1",)),
            ([""], ("latin-1",)),
        ],
    )
    def test_terms(self, terms: list[str], encodings: tuple[str, ...]) -> None:
        assert encodings_of(terms) == encodings

    def test_undecodable_bytes_are_replaced(self) -> None:
        assert decode_text(b"a\xff", ("utf-8",)) == "a�"
        assert decode_text(b"\x1b%G\xff\x1b$B\xff", ("utf-8", "iso2022_jp")).startswith("\x1b%G�")

    @given(
        st.sampled_from(
            [
                ["ISO_IR 100"],
                ["ISO_IR 192"],
                ["GB18030"],
                ["", "ISO 2022 IR 149"],
                ["ISO 2022 IR 100", "ISO 2022 IR 144"],
                ["", "ISO 2022 IR 87", "ISO 2022 IR 159"],
                ["ISO_IR 166"],
            ]
        ),
        st.text(alphabet="abcZ 09éüßЖИпр山田洪吉한글กข", max_size=12),
    )
    def test_what_pydicom_encodes_comes_back(self, terms: list[str], text: str) -> None:
        codecs = convert_encodings(list(terms))
        try:
            for codec in codecs:
                text.encode(codec)
        except UnicodeError:
            text = text.encode("ascii", "ignore").decode()
        raw = encode_string(text, codecs)
        assert decode_text(raw, encodings_of(terms)) == decode_bytes(raw, codecs, {0x0D, 0x0A, 0x09, 0x0C}) == text


def test_bulkdata_uri_keeps_its_mark_raw() -> None:
    text = to_json_text({"7FE00010": {"vr": "OW", "BulkDataURI": bulkdata_uri("7FE00010")}})
    assert text == b'{"7FE00010":{"vr":"OW","BulkDataURI":"' + INSTANCE_URL_MARK + b'/bulkdata/7FE00010"}}'
    # A value cannot forge it: control characters in strings are escaped.
    assert INSTANCE_URL_MARK not in to_json_text({"00100020": emit("LO", b"\x01/bulkdata")})
    assert orjson.loads(text.replace(INSTANCE_URL_MARK, b"u")) == {
        "7FE00010": {"vr": "OW", "BulkDataURI": "u/bulkdata/7FE00010"}
    }
