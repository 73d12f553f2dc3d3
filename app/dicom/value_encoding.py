"""Values of the DICOM JSON Model as the bytes of a value field in Explicit VR Little Endian (PS3.18 F.2, PS3.5 6.2).

The reverse of app.dicom.json_model. Texts become UTF-8. What cannot be written without becoming something else is refused, never
repaired: numbers that do not fit their VR, backslashes within one value of several, characters outside the repertoire of a VR.
"""

import binascii
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

from app.dicom.json_model import BINARY_VRS
from app.errors import MalformedDicom

MAX_VALUES = 1_000_000  # of one attribute
_NUMBER_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_CODE_VRS = ("AE", "AS", "CS", "DA", "DT", "TM", "UI")
_SEVERAL_TEXT_VRS = ("LO", "SH", "UC")
_SINGLE_TEXT_VRS = ("LT", "ST", "UR", "UT")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_AT = re.compile("[0-9A-Fa-f]{8}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}(?:\.0*)?", re.ASCII)
_BLANKS = re.compile(r"[ \t\r\n]+")
_MAX_DS = 16  # characters (PS3.5 Table 6.2-1)
_MAX_NUMBER = 64  # characters of a number given as text

Encoder = Callable[[Sequence[Any]], bytes]


def encode_values(vr: str, values: Sequence[Any]) -> bytes:
    """The value field of `values`, without padding; b"" for none. Raises MalformedDicom; `vr` is any but SQ."""
    if len(values) > MAX_VALUES:
        raise MalformedDicom(f"more than {MAX_VALUES} values")
    if all(value is None or value == "" for value in values) and len(values) < 2:
        return b""
    encode = _ENCODERS.get(vr)
    if encode is None:
        raise MalformedDicom(f"a value of VR {vr} is given as InlineBinary or by URI, not as Value")
    return encode(values)


def decode_inline_binary(vr: str, text: Any) -> bytes:
    """The bytes of an InlineBinary (F.2.7): base64, in which line breaks are let through. Raises MalformedDicom."""
    if vr not in BINARY_VRS:
        raise MalformedDicom(f"VR {vr} is not given as InlineBinary")
    if not isinstance(text, str):
        raise MalformedDicom("InlineBinary is not a text")
    try:
        return binascii.a2b_base64(_BLANKS.sub("", text), strict_mode=True)
    except (binascii.Error, ValueError):
        raise MalformedDicom("InlineBinary is not base64") from None


def _codes(values: Sequence[Any]) -> bytes:
    return _joined([_ascii(_text(value).strip(" ")) for value in values])


def _texts(values: Sequence[Any]) -> bytes:
    return _joined([_text(value) for value in values])


def _single_text(values: Sequence[Any]) -> bytes:
    if len(values) > 1:
        raise MalformedDicom("several values of a VR that has one")
    return _encoded(_text(values[0]))


def _single_plain_text(values: Sequence[Any]) -> bytes:
    """UR knows the default repertoire only (PS3.5 6.1.2.2)."""
    return _ascii(_single_text(values).decode("utf-8")).encode("ascii")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedDicom(f"{str(value)[:40]!r} is not a text")
    if "\0" in value:
        raise MalformedDicom("a text holds NUL")
    return value


def _joined(values: Sequence[str]) -> bytes:
    if any("\\" in value for value in values):
        raise MalformedDicom("a backslash within one value would make two of it")
    return _encoded("\\".join(values))


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedDicom("a text holds half of a surrogate pair") from None


def _ascii(text: str) -> str:
    if not text.isascii():
        raise MalformedDicom(f"{text[:40]!r} is not of the default character repertoire, as its VR asks")
    return text


def _person_names(values: Sequence[Any]) -> bytes:
    return _joined([_person_name(value) for value in values])


def _person_name(value: Any) -> str:
    if value is None or isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict) or value.keys() - set(_GROUPS):
        raise MalformedDicom("a person name is an object of Alphabetic, Ideographic and Phonetic")
    groups = [_text(value.get(group)) for group in _GROUPS]
    if any("=" in group for group in groups):
        raise MalformedDicom("a component group of a person name holds an equals sign")
    return "=".join(groups).rstrip("=")


def _decimals(values: Sequence[Any]) -> bytes:
    return _ascii(_joined([_decimal(value) for value in values]).decode("utf-8")).encode("ascii")


def _decimal(value: Any) -> str:
    """DS: texts as they are; numbers in at most 16 characters, which is what the VR can hold."""
    if value is None or isinstance(value, str):
        return _text(value).strip(" ")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedDicom("a DS value is neither a number nor a text")
    if isinstance(value, int) and abs(value) >= 10**_MAX_DS:
        try:
            value = float(value)
        except OverflowError:
            raise MalformedDicom("a DS value is out of range") from None
    text = repr(value)
    if len(text) <= _MAX_DS and text[-1].isdecimal():
        return text
    # For the rare number that needs rounding: importing pydicom takes 0.4 s and 25 MB.
    from pydicom.valuerep import format_number_as_ds

    try:
        return format_number_as_ds(value)
    except (ValueError, TypeError, OverflowError):
        raise MalformedDicom("a DS value is not a finite number") from None


def _integers(values: Sequence[Any]) -> bytes:
    return _ascii(_joined([_integer_text(value) for value in values]).decode("utf-8")).encode("ascii")


def _integer_text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return _text(value).strip(" ")
    number = _integer(value)
    if not -(2**31) <= number < 2**31:
        raise MalformedDicom(f"{number} is beyond what IS holds")
    return str(number)


def _integer(value: Any) -> int:
    """An integer given as number, as `12.0`, or as text."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value.strip(" ")):
            raise MalformedDicom(f"{value[:40]!r} is not an integer")
        return int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedDicom(f"{str(value)[:40]!r} is not an integer")
    return value


def _real(value: Any) -> float:
    """Texts as json_model writes them: "NaN", "Infinity", "-Infinity"; numbers of the XML model."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MalformedDicom(f"{str(value)[:40]!r} is not a number")
    if isinstance(value, str) and (len(value) > _MAX_NUMBER or "_" in value):
        raise MalformedDicom(f"{value[:40]!r} is not a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise MalformedDicom(f"{str(value)[:40]!r} is not a number") from None


def _number_encoder(vr: str) -> Encoder:
    form = _NUMBER_FORMATS[vr]
    convert: Callable[[Any], Any] = _real if vr in ("FL", "FD") else _integer

    def encode(values: Sequence[Any]) -> bytes:
        try:
            return struct.pack(f"<{len(values)}{form}", *map(convert, values))
        except (struct.error, OverflowError):
            raise MalformedDicom(f"a value is beyond what {vr} holds") from None

    return encode


def _tags(values: Sequence[Any]) -> bytes:
    parts = []
    for value in values:
        if not isinstance(value, str) or not _AT.fullmatch(value):
            raise MalformedDicom(f"{str(value)[:40]!r} is not a tag of 8 hexadecimal digits")
        parts.append(struct.pack("<HH", int(value[:4], 16), int(value[4:], 16)))
    return b"".join(parts)


_ENCODERS: dict[str, Encoder] = {
    **dict.fromkeys(_CODE_VRS, _codes),
    **dict.fromkeys(_SEVERAL_TEXT_VRS, _texts),
    **dict.fromkeys(_SINGLE_TEXT_VRS, _single_text),
    **{vr: _number_encoder(vr) for vr in _NUMBER_FORMATS},
    "UR": _single_plain_text,
    "PN": _person_names,
    "DS": _decimals,
    "IS": _integers,
    "AT": _tags,
}
