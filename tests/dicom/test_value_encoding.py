"""Values of the JSON Model as value fields: the reverse of the emitters, and what is refused."""

import base64
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.json_model import EMITTERS
from app.dicom.value_encoding import MAX_VALUES, decode_inline_binary, encode_values
from app.errors import MalformedDicom

UTF_8 = ("utf-8",)


@pytest.mark.parametrize(
    ("vr", "values", "encoded"),
    [
        ("LO", ["a", None, " b"], b"a\\\\ b"),
        ("LO", [], b""),
        ("LO", [None], b""),
        ("LO", [""], b""),
        ("CS", ["ORIGINAL", "PRIMARY"], b"ORIGINAL\\PRIMARY"),
        ("UI", ["1.2.3"], b"1.2.3"),
        ("LT", ["a\\b\r\nc"], b"a\\b\r\nc"),
        ("UR", ["http://x/y?z=1"], b"http://x/y?z=1"),
        ("UT", ["Größe"], "Größe".encode()),
        ("PN", [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}], "Yamada^Tarou=山田^太郎".encode()),
        ("PN", [{"Phonetic": "x"}], b"==x"),
        ("PN", ["Doe^Jane"], b"Doe^Jane"),
        ("PN", [None, {"Alphabetic": "B"}], b"\\B"),
        ("DS", [1.5, "2.50", None, 3], b"1.5\\2.50\\\\3"),
        ("DS", [0.1 + 0.2], b"0.30000000000000"),
        ("DS", [1e300], b"1e+300"),
        ("DS", [10**17], b"1e+17"),
        ("IS", [1, "2", -3.0], b"1\\2\\-3"),
        ("US", [1, "65535", 2.0], b"\1\0\xff\xff\2\0"),
        ("SS", [-1], b"\xff\xff"),
        ("UL", [2**32 - 1], b"\xff" * 4),
        ("SL", ["-1"], b"\xff" * 4),
        ("UV", ["18446744073709551615"], b"\xff" * 8),
        ("SV", [-1], b"\xff" * 8),
        ("FL", [1.5, "1.5"], struct.pack("<2f", 1.5, 1.5)),
        ("FD", ["Infinity", "-Infinity"], struct.pack("<2d", math.inf, -math.inf)),
        ("AT", ["0018001a"], b"\x18\0\x1a\0"),
    ],
)
def test_encoded(vr: str, values: list[Any], encoded: bytes) -> None:
    assert encode_values(vr, values) == encoded


def test_not_a_number_is_a_number_of_the_vr() -> None:
    assert math.isnan(struct.unpack("<d", encode_values("FD", ["NaN"]))[0])


@pytest.mark.parametrize(
    ("vr", "values"),
    [
        ("LO", [5]),
        ("LO", [True]),
        ("LO", ["a\\b"]),
        ("LO", ["a\0b"]),
        ("LO", ["\ud800"]),
        ("CS", ["Ä"]),
        ("UI", [{"x": 1}]),
        ("UR", ["http://ü"]),
        ("LT", ["a", "b"]),
        ("PN", [{"Alphabetic": "a=b"}]),
        ("PN", [{"Alphabetic": "a\\b"}]),
        ("PN", [{"Alpha": "a"}]),
        ("PN", [{"Alphabetic": 5}]),
        ("PN", [["a"]]),
        ("DS", [True]),
        ("DS", [[1]]),
        ("DS", [math.inf]),
        ("DS", [10**400]),
        ("DS", ["1\\2"]),
        ("DS", ["½"]),
        ("IS", [1.5]),
        ("IS", [2**31]),
        ("IS", [-(2**31) - 1]),
        ("US", [-1]),
        ("US", [65536]),
        ("US", [None]),
        ("US", [1, None]),
        ("US", ["1_0"]),
        ("US", ["0x10"]),
        ("US", [True]),
        ("US", ["9" * 5000]),
        ("FL", [1e300]),
        ("FL", [None, 1.0]),
        ("FD", ["1_0"]),
        ("FD", ["9" * 100]),
        ("FD", [10**400]),
        ("AT", ["0018"]),
        ("AT", [1]),
        ("OB", ["AAAA"]),
        ("UN", ["x"]),
    ],
)
def test_refused(vr: str, values: list[Any]) -> None:
    if values == [None]:
        assert encode_values(vr, values) == b""  # an empty attribute, as [null] is often written
        return
    with pytest.raises(MalformedDicom):
        encode_values(vr, values)


def test_too_many_values() -> None:
    with pytest.raises(MalformedDicom, match="more than"):
        encode_values("US", [1] * (MAX_VALUES + 1))


TEXT = st.text(st.characters(exclude_characters="\\\0", exclude_categories=("Cs",)), min_size=1).map(str.strip)
NAMES = st.text(st.characters(exclude_characters="\\=\0", exclude_categories=("Cs",))).map(str.strip)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "LO": TEXT,
    "UC": TEXT,
    "US": st.integers(0, 2**16 - 1),
    "SS": st.integers(-(2**15), 2**15 - 1),
    "UL": st.integers(0, 2**32 - 1),
    "SL": st.integers(-(2**31), 2**31 - 1),
    "SV": st.integers(-(2**63), 2**63 - 1),
    "UV": st.integers(0, 2**64 - 1),
    "FL": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FD": st.floats(allow_nan=False, allow_infinity=False),
    "IS": st.integers(-(2**31), 2**31 - 1),
    "AT": st.integers(0, 2**32 - 1).map(lambda tag: f"{tag:08X}"),
}


@given(st.sampled_from(sorted(VALUES)).flatmap(lambda vr: st.tuples(st.just(vr), st.lists(VALUES[vr], min_size=1))))
def test_emitters_give_the_values_back(drawn: tuple[str, list[Any]]) -> None:
    vr, values = drawn
    values = [value for value in values if value != ""] or [7 if vr not in ("LO", "UC", "AT") else "0000000A"]
    emitted = EMITTERS[vr](encode_values(vr, values), UTF_8)["Value"]
    expected = [str(value) if vr in ("SV", "UV") and abs(value) > 2**53 else value for value in values]
    assert emitted == expected


@given(st.lists(st.fixed_dictionaries({"Alphabetic": NAMES, "Ideographic": NAMES, "Phonetic": NAMES}), min_size=1))
def test_person_names_come_back(names: list[dict[str, str]]) -> None:
    emitted = EMITTERS["PN"](encode_values("PN", names), UTF_8).get("Value", [])
    expected = [{group: text for group, text in name.items() if text} or None for name in names]
    assert emitted == ([] if expected == [None] else expected)


@given(st.floats(-1e300, 1e300))
def test_decimal_strings_keep_what_sixteen_characters_can(number: float) -> None:
    text = encode_values("DS", [number]).decode()
    assert len(text) <= 16
    assert float(text) == pytest.approx(number, rel=1e-8)
    if len(repr(number)) <= 16:
        assert float(text) == number


@given(st.binary())
def test_inline_binary_comes_back(raw: bytes) -> None:
    text = base64.encodebytes(raw).decode()  # with line breaks, as XML writers have them
    assert decode_inline_binary("OB", text) == raw


@pytest.mark.parametrize("text", ["A", "AAA", "AA=A", "!!!!", 5, None, ["AAAA"]])
def test_inline_binary_that_is_not_base64(text: Any) -> None:
    with pytest.raises(MalformedDicom):
        decode_inline_binary("OB", text)


@pytest.mark.parametrize("vr", ["LO", "SQ", "US", "UI"])
def test_inline_binary_of_a_vr_that_has_none(vr: str) -> None:
    with pytest.raises(MalformedDicom):
        decode_inline_binary(vr, "AAAA")
