"""Specific Character Set (0008,0005): from the bytes of a text value to Unicode (PS3.5 section 6.1, PS3.3 C.12.1.1.2).

The tables and the codecs are pydicom's and Python's. The splitting at escape sequences is ours, because a value that cannot
be decoded must never warn or fail here: what is wrong becomes U+FFFD.
"""

import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, python_encoding

# Without a declared character set only ISO-IR 6 is allowed; what is met beyond it is nearly always Latin-1.
DEFAULT_ENCODINGS = ("latin-1",)

# Names that CPython decodes without asking its codec registry.
# ISO-IR 6 and ISO-IR 100 keep different names: only one of them has an upper half by right.
_FAST_NAMES = {"iso8859": "latin-1", "UTF8": "utf-8", "iso_ir_58": "gb2312"}
# Python's decoders of these want to see the escape sequences themselves.
_DECODE_WITH_ESCAPES = frozenset(("iso2022_jp", "iso2022_jp_2"))
_ESCAPES = {escape: _FAST_NAMES.get(name, name) for escape, name in CODES_TO_ENCODINGS.items()}
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
    if first not in STAND_ALONE_ENCODINGS:
        encodings += [_codec(term) for term in others if term not in STAND_ALONE_ENCODINGS]
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
    if term in python_encoding:
        return term
    if re.match(r"ISO.2022.IR.\d", term):
        return "ISO 2022 IR " + term[12:]
    if re.match(r"ISO.IR.\d", term):
        return "ISO_IR " + term[7:]
    return "ISO_IR 192" if term in ("UTF-8", "UTF8") else term


def _codec(term: str) -> str:
    # Any other Python codec that a file might name (utf_7, punycode, unicode_escape, ...) is not for strangers to choose.
    name = python_encoding.get(term, DEFAULT_ENCODINGS[0])
    return _FAST_NAMES.get(name, name)


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
