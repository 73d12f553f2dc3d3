"""Specific Character Set (0008,0005): from the bytes of a text value to Unicode (PS3.5 section 6.1, PS3.3 C.12.1.1.2).

The codecs are Python's. The splitting at escape sequences is ours, because a value that cannot be decoded must never warn or
fail here: what is wrong becomes U+FFFD. A test compares the tables with pydicom's, which cannot be had without all of it.
"""

import re
from collections.abc import Sequence

# Without a declared character set only ISO-IR 6 is allowed; what is met beyond it is nearly always Latin-1.
DEFAULT_ENCODINGS = ("latin-1",)

# Python's names of the defined terms (PS3.3 Tables C.12-2 to C.12-5); a few terms are frequent misspellings.
# ISO-IR 6 and ISO-IR 100 keep different names: only one of them has an upper half by right.
_CODECS = {
    "": "latin-1",
    "ISO_IR 6": "latin-1",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso_ir_126",
    "ISO_IR 127": "iso_ir_127",
    "ISO_IR 138": "iso_ir_138",
    "ISO_IR 144": "iso_ir_144",
    "ISO_IR 148": "iso_ir_148",
    "ISO_IR 166": "iso_ir_166",
    "ISO 2022 IR 6": "latin-1",
    "ISO 2022 IR 13": "shift_jis",
    "ISO 2022 IR 58": "gb2312",
    "ISO 2022 IR 87": "iso2022_jp",
    "ISO 2022 IR 100": "latin_1",
    "ISO 2022 IR 101": "iso8859_2",
    "ISO 2022 IR 109": "iso8859_3",
    "ISO 2022 IR 110": "iso8859_4",
    "ISO 2022 IR 126": "iso_ir_126",
    "ISO 2022 IR 127": "iso_ir_127",
    "ISO 2022 IR 138": "iso_ir_138",
    "ISO 2022 IR 144": "iso_ir_144",
    "ISO 2022 IR 148": "iso_ir_148",
    "ISO 2022 IR 149": "euc_kr",
    "ISO 2022 IR 159": "iso2022_jp_2",
    "ISO 2022 IR 166": "iso_ir_166",
    "ISO_IR 192": "utf-8",
    "GB18030": "GB18030",
    "GBK": "GBK",
    "ISO 2022 GBK": "GBK",
    "ISO 2022 58": "GB2312",
}
_STAND_ALONE = ("ISO_IR 192", "GBK", "GB18030")
# Python's decoders of these want to see the escape sequences themselves.
_DECODE_WITH_ESCAPES = frozenset(("iso2022_jp", "iso2022_jp_2"))
_ESCAPES = {
    b"\x1b(B": "latin-1",
    b"\x1b-A": "latin_1",
    b"\x1b)I": "shift_jis",  # ISO-IR 13
    b"\x1b(J": "shift_jis",  # ISO-IR 14
    b"\x1b$B": "iso2022_jp",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso_ir_126",
    b"\x1b-G": "iso_ir_127",
    b"\x1b-H": "iso_ir_138",
    b"\x1b-L": "iso_ir_144",
    b"\x1b-M": "iso_ir_148",
    b"\x1b-T": "iso_ir_166",
    b"\x1b$)C": "euc_kr",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "gb2312",
}
_FRAGMENTS = re.compile(b"^[^\x1b]+|\x1b[^\x1b]*")
# Where a single- or double-byte set in G1 falls back to the first one (PS3.5 6.1.2.5.3).
_DELIMITERS = re.compile(rb"[\t\n\f\r\\]")
_NAME_DELIMITERS = re.compile(rb"[\t\n\f\r\\^=]")


def encodings_of(terms: Sequence[str]) -> tuple[str, ...]:
    """Python codecs of the values of (0008,0005), in their order; never empty.

    Common misspellings (ISO-IR 100, ISO IR 100, UTF-8) are understood; what is not a defined term counts as the default
    repertoire. A term that forbids code extensions stands alone (PS3.3 C.12.1.1.2).
    """
    if not terms:
        return DEFAULT_ENCODINGS
    first, *others = (_normalised(term) for term in terms)
    encodings = [_codec(first)]
    if first not in _STAND_ALONE:
        encodings += [_codec(term) for term in others if term not in _STAND_ALONE]
    return tuple(encodings)


def decode_text(raw: bytes, encodings: Sequence[str], *, person_name: bool = False) -> str:
    """All values of a text attribute as one string, backslashes between them.

    Decoding comes before splitting: in GB18030, GBK and the JIS sets 5CH may be half of a character.
    """
    if b"\x1b" in raw:
        delimiters = _NAME_DELIMITERS if person_name else _DELIMITERS
        return "".join(_decode_fragment(part, encodings, delimiters) for part in _FRAGMENTS.findall(raw))
    try:
        return raw.decode(encodings[0])
    except UnicodeDecodeError:
        return raw.decode(encodings[0], "replace")


def _normalised(term: str) -> str:
    term = term.strip().upper()
    if term in _CODECS:
        return term
    if re.match(r"ISO.2022.IR.\d", term):
        return "ISO 2022 IR " + term[12:]
    if re.match(r"ISO.IR.\d", term):
        return "ISO_IR " + term[7:]
    return "ISO_IR 192" if term in ("UTF-8", "UTF8") else term


def _codec(term: str) -> str:
    # Any other Python codec that a file might name (utf_7, punycode, unicode_escape, ...) is not for strangers to choose.
    return _CODECS.get(term, DEFAULT_ENCODINGS[0])


def _decode_fragment(part: bytes, encodings: Sequence[str], delimiters: re.Pattern[bytes]) -> str:
    first = encodings[0]
    if not part.startswith(b"\x1b"):
        return part.decode(first, "replace")
    size = 4 if part[1:3] in (b"$(", b"$)") else 3
    encoding = _ESCAPES.get(part[:size])
    if encoding is None:
        return part.decode(first, "replace")
    if encoding in _DECODE_WITH_ESCAPES:
        return part.decode(encoding, "replace")
    text = part[size:]
    delimiter = delimiters.search(text)
    # With the default repertoire first, bytes of the upper half behind a delimiter can only be a forgotten escape sequence.
    if delimiter is None or first == DEFAULT_ENCODINGS[0]:
        return text.decode(encoding, "replace")
    split = delimiter.start()
    return text[:split].decode(encoding, "replace") + text[split:].decode(first, "replace")
