"""Values into the DICOM JSON Model (PS3.18 Annex F), and its text.

An emitter turns the bytes of one value field into its JSON object: `{"vr": "US", "Value": [512]}`. No value can make one
fail: what does not follow its VR becomes a string, or binary with VR UN.

Choices that Annex F leaves open:
    DS, IS        numbers when the number is exactly what the text says, else the text (F.2.3)
    SV, UV        strings beyond +-2^53, where JavaScript loses digits
    FL, FD        "NaN", "Infinity" and "-Infinity" as strings: JSON has no such numbers
    NUL           is padding wherever it stands in a text: neither PostgreSQL nor XML can hold it
"""

import functools
import re
import struct
from array import array
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import isfinite, isinf
from typing import Any

import orjson

from app.dicom.character_sets import decode_text
from app.dicom.instance import INSTANCE_URL_MARK, DicomJson

Element = dict[str, Any]
Emitter = Callable[[bytes, Sequence[str]], Element]

# F.2.2: only these may be replaced by a URI.
BULKDATA_VRS = frozenset(
    ("DS", "FL", "FD", "IS", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SS", "ST", "SV", "UC", "UL", "UN", "US", "UT", "UV")
)  # fmt: skip
# Of those, the ones whose bytes depend on the character set.
LONG_TEXT_VRS = frozenset(("LT", "ST", "UC", "UT"))
BINARY_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
# Bytes that a byte order applies to (PS3.5 section 7.3).
WORD_SIZES = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}

_REMEMBERED = 1024  # values of each VR
_SAFE_INTEGER = 2**53
_PADDING = " \0"
# Exponents of more digits are beyond what Decimal compares, and beyond any float.
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?", re.ASCII)
_NUMBER_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_ARRAY_CODES = {2: "H", 4: "I", 8: "Q"}


def to_json_text(dataset: DicomJson) -> bytes:
    """The UTF-8 text of a data set; BulkDataURIs made by `bulkdata_uri` keep their mark."""
    return orjson.dumps(dataset)


def in_tag_order(dataset: dict[str, Any]) -> dict[str, Any]:
    """F.2.2: keys ascend. They nearly always do in the file (PS3.5 section 7.1)."""
    keys = list(dataset)
    return dataset if keys == sorted(keys) else dict(sorted(dataset.items()))


def first_value(element: Element | None) -> Any:
    """None where there is none."""
    values = element.get("Value") if element else None
    return values[0] if values else None


def unsign_first(element: Element) -> None:
    """The first value of a LUT Descriptor is unsigned whatever the VR (PS3.3 C.11.1.1.1)."""
    values = element.get("Value")
    if values and values[0] < 0:
        values[0] += 65536


def bulkdata_uri(path: str) -> orjson.Fragment:
    """The BulkDataURI of an item of the instance itself, to be completed when the document is sent.

    A fragment, because a string would have the mark escaped.
    """
    return orjson.Fragment(b'"' + INSTANCE_URL_MARK + b"/bulkdata/" + path.encode("ascii") + b'"')


def inline_binary(raw: bytes, vr: str, *, big_endian: bool = False) -> Element:
    """F.2.7: one base64 text of the whole value field, in little-endian byte order."""
    if not raw:
        return {"vr": vr}
    if big_endian:
        raw = to_little_endian(raw, vr)
    return {"vr": vr, "InlineBinary": b2a_base64(raw, newline=False).decode("ascii")}


def to_little_endian(raw: bytes, vr: str) -> bytes:
    """The value field of a big-endian data set as a little-endian one would hold it; odd bytes at the end stay."""
    size = WORD_SIZES.get(vr, 1)
    if size == 1:
        return raw
    whole = len(raw) - len(raw) % size
    words = array(_ARRAY_CODES[size], raw[:whole])
    words.byteswap()
    return words.tobytes() + raw[whole:]


def decimal_value(text: str) -> int | float | str:
    """A DS value: a number when that loses nothing, else the text."""
    if len(text) <= 16 and text.isdecimal():
        number = int(text)
        return number if number <= _SAFE_INTEGER else text
    try:
        real = float(text)
    except ValueError:
        return text
    plain = text
    if text[-1] == "0" and "." in text and "e" not in text and "E" not in text:
        plain = text.rstrip("0")
        plain = plain + "0" if plain[-1] == "." else plain
    if repr(real) == plain and plain[-1].isdecimal():
        return real
    if len(text) > 64 or isinf(real) or _DECIMAL.fullmatch(text) is None:
        return text
    return real if Decimal(text) == Decimal(repr(real)) else text


def integer_value(text: str) -> int | str:
    """An IS value: an integer when the text is one, also as `12.0`; else the text."""
    if len(text) <= 12 and text.isdecimal():
        return int(text)
    number = decimal_value(text.removeprefix("+") if text[1:].isdecimal() else text)
    if isinstance(number, float):
        return int(number) if number.is_integer() and abs(number) <= _SAFE_INTEGER else text
    return text if isinstance(number, str) else number


def real_value(value: float) -> float | str:
    """An FL or FD value."""
    if isfinite(value):
        return value
    if isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return "NaN"


def _long_integer(value: int) -> int | str:
    return value if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else str(value)


def _code_emitter(vr: str) -> Emitter:
    """AE AS CS DA DT TM UI: neither leading nor trailing padding means anything."""

    def emit(raw: bytes, _encodings: Sequence[str]) -> Element:
        text = raw.decode("latin-1").strip(_PADDING)
        if "\\" in text or "\0" in text:
            return _several(vr, [part.strip(_PADDING) for part in text.replace("\0", "").split("\\")])
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return emit


def _number_text_emitter(vr: str, convert: Callable[[str], int | float | str]) -> Emitter:
    """DS IS."""

    def emit(raw: bytes, _encodings: Sequence[str]) -> Element:
        text = raw.decode("latin-1").strip(_PADDING)
        if "\\" in text or "\0" in text:
            parts = [part.strip(_PADDING) for part in text.replace("\0", "").split("\\")]
            return _several(vr, [convert(part) if part else None for part in parts])
        return {"vr": vr, "Value": [convert(text)]} if text else {"vr": vr}

    return emit


def _text_emitter(vr: str) -> Emitter:
    """LO SH UC: several values, leading spaces kept."""

    def emit(raw: bytes, encodings: Sequence[str]) -> Element:
        text = decode_text(raw, encodings).rstrip(_PADDING)
        if "\\" in text or "\0" in text:
            return _several(vr, [part.rstrip(_PADDING) for part in text.replace("\0", "").split("\\")])
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return emit


def _single_text_emitter(vr: str) -> Emitter:
    """LT ST UT UR: a backslash is a character."""
    plain = ("latin-1",) if vr == "UR" else None  # UR knows the default repertoire only (PS3.5 6.1.2.2)

    def emit(raw: bytes, encodings: Sequence[str]) -> Element:
        text = decode_text(raw, plain or encodings).rstrip(_PADDING).replace("\0", "")
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return emit


def _emit_person_name(raw: bytes, encodings: Sequence[str]) -> Element:
    text = decode_text(raw, encodings, person_name=True).rstrip(_PADDING).replace("\0", "")
    if not text:
        return {"vr": "PN"}
    if "\\" in text or "=" in text:
        return _several("PN", [_person_name(name) for name in text.split("\\")])
    return {"vr": "PN", "Value": [{"Alphabetic": text}]}


def _person_name(text: str) -> dict[str, str] | None:
    """F.2.2: component groups that are there; None where the value is empty."""
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("="), strict=False)
    return {name: group for name, part in groups if (group := part.rstrip(_PADDING))} or None


def _several(vr: str, values: list[Any]) -> Element:
    """F.2.5: empty values among others are null; a single empty one is no Value at all."""
    values = [None if value == "" else value for value in values]
    return {"vr": vr} if values in ([None], []) else {"vr": vr, "Value": values}


def _tag_emitter(order: str) -> Emitter:
    unpack = struct.Struct(order + "HH").iter_unpack

    def emit(raw: bytes, _encodings: Sequence[str]) -> Element:
        if len(raw) % 4:
            return inline_binary(raw, "UN")
        values = [f"{group:04X}{element:04X}" for group, element in unpack(raw)]
        return {"vr": "AT", "Value": values} if values else {"vr": "AT"}

    return emit


def _number_emitter(vr: str, order: str) -> Emitter:
    one = struct.Struct(order + _NUMBER_FORMATS[vr])
    width, unpack, unpack_all = one.size, one.unpack, one.iter_unpack
    convert: Callable[[Any], Any] | None = None
    if vr in ("FL", "FD"):
        convert = real_value
    elif vr in ("SV", "UV"):
        convert = _long_integer

    def emit(raw: bytes, _encodings: Sequence[str]) -> Element:
        if len(raw) == width:
            values = list(unpack(raw))
        elif len(raw) % width:
            return inline_binary(raw, "UN")
        elif raw:
            values = [value for (value,) in unpack_all(raw)]
        else:
            return {"vr": vr}
        return {"vr": vr, "Value": values if convert is None else [convert(value) for value in values]}

    return emit


def _binary_emitter(vr: str, *, big_endian: bool) -> Emitter:
    def emit(raw: bytes, _encodings: Sequence[str]) -> Element:
        return inline_binary(raw, vr, big_endian=big_endian)

    return emit


def _emitters(*, big_endian: bool) -> dict[str, Emitter]:
    order = ">" if big_endian else "<"
    table: dict[str, Emitter] = {vr: _code_emitter(vr) for vr in ("AE", "AS", "CS", "DA", "DT", "TM", "UI")}
    table |= {"DS": _number_text_emitter("DS", decimal_value), "IS": _number_text_emitter("IS", integer_value)}
    table |= {vr: _text_emitter(vr) for vr in ("LO", "SH", "UC")}
    table |= {vr: _single_text_emitter(vr) for vr in ("LT", "ST", "UR", "UT")}
    table |= {"PN": _emit_person_name, "AT": _tag_emitter(order)}
    table |= {vr: _number_emitter(vr, order) for vr in _NUMBER_FORMATS}
    return table | {vr: _binary_emitter(vr, big_endian=big_endian) for vr in BINARY_VRS}


def remembering(emitters: Mapping[str, Emitter]) -> dict[str, Emitter]:
    """The same emitters for short values; equal values share one object, which nobody may change.

    Instances of a series differ in a few of their values: looking one up takes a tenth of the time of working it out.
    """
    return {vr: functools.lru_cache(_REMEMBERED)(emit) for vr, emit in emitters.items()}


# One for every VR but SQ.
EMITTERS = _emitters(big_endian=False)
EMITTERS_BIG_ENDIAN = _emitters(big_endian=True)
