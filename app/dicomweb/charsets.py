"""Character sets by their names on the web, in DICOM and in Python (PS3.18 8.8 and Annex D)."""

import re
from dataclasses import dataclass

from app.dicomweb.media_types import quote_if_needed

_MAX_HEADER = 1_024
# RFC 9110 12.5.2: a character set or `*`, perhaps with a weight.
_ENTRY = re.compile(
    r'\s*+"?(?P<name>[!#-+\--:<-~][!#-+\--:<-~ ]{0,60})"?\s*+(?:;\s*+q\s*+=\s*+(?P<q>[01](?:\.[0-9]{0,3})?|\.[0-9]{1,3})\s*+)?'
)


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """`name` of IANA, the values of Specific Character Set (0008,0005) joined by backslashes, Python's codec."""

    name: str
    specific_character_set: str
    codec: str

    @property
    def parameter(self) -> str:
        """As a media type parameter."""
        return f"charset={quote_if_needed(self.name)}"


UTF_8 = CharacterSet("UTF-8", "ISO_IR 192", "utf-8")

# PS3.18 Table D-1.
CHARACTER_SETS: tuple[CharacterSet, ...] = (
    UTF_8,
    CharacterSet("US-ASCII", "ISO_IR 6", "ascii"),
    CharacterSet("ISO-8859-1", "ISO_IR 100", "iso8859-1"),
    CharacterSet("ISO-8859-2", "ISO_IR 101", "iso8859-2"),
    CharacterSet("ISO-8859-3", "ISO_IR 109", "iso8859-3"),
    CharacterSet("ISO-8859-4", "ISO_IR 110", "iso8859-4"),
    CharacterSet("ISO-8859-5", "ISO_IR 144", "iso8859-5"),
    CharacterSet("ISO-8859-6", "ISO_IR 127", "iso8859-6"),
    CharacterSet("ISO-8859-7", "ISO_IR 126", "iso8859-7"),
    CharacterSet("ISO-8859-8", "ISO_IR 138", "iso8859-8"),
    CharacterSet("ISO-8859-9", "ISO_IR 148", "iso8859-9"),
    CharacterSet("ISO-8859-15", "ISO_IR 203", "iso8859-15"),
    CharacterSet("TIS-620", "ISO_IR 166", "tis-620"),
    CharacterSet("ISO-2022-JP", "ISO 2022 IR 13\\ISO 2022 IR 87", "iso2022-jp"),
    CharacterSet("ISO-2022-KR", "ISO 2022 IR 6\\ISO 2022 IR 149", "iso2022-kr"),
    CharacterSet("GB18030", "GB18030", "gb18030"),
    CharacterSet("GBK", "GBK", "gbk"),
)
_BY_NAME = {entry.name.lower(): entry for entry in CHARACTER_SETS} | {
    entry.specific_character_set.lower(): entry for entry in CHARACTER_SETS
}


def character_set(name: str) -> CharacterSet | None:
    """By IANA name or Defined Term, in any case; None for what this archive cannot produce."""
    return _BY_NAME.get(name.strip().lower())


def negotiate_charset(
    media_type_charset: str | None = None, charset_parameter: str | None = None, accept_charset: str | None = None
) -> CharacterSet:
    """The character set of a text answer.

    Looked for in the charset parameter of the selected media type, the query parameter and Accept-Charset, in this order
    (PS3.18 8.8.1). What is unsupported or malformed is ignored; UTF-8 when nothing is left.
    """
    for source in (media_type_charset, charset_parameter, accept_charset):
        for name, _ in _preferences(source or ""):
            if name == "*":
                return UTF_8
            if (found := character_set(name)) is not None:
                return found
    return UTF_8


def _preferences(text: str) -> list[tuple[str, float]]:
    """Names with their weights, best first, in the order given where they are equal; without those of weight 0."""
    entries = []
    for piece in text[:_MAX_HEADER].split(","):
        found = _ENTRY.fullmatch(piece)
        if found is None:
            continue
        weight = float(found["q"]) if found["q"] else 1.0
        if weight > 0:
            entries.append((found["name"].strip(), weight))
    return sorted(entries, key=lambda entry: -entry[1])
