"""Person names (PS3.5 section 6.2.1) as far as comparing them goes: folding, words, spelling tolerance.

PS3.4 C.2.2.2.1 leaves the case, accents and component rules of PN matching to the implementation, which documents them:

- A name has up to three component groups (alphabetic, ideographic, phonetic); each is folded by `fold_name` and compared
  as a whole. Trailing empty components do not count, so `Doe` equals `Doe^^^^` and not `Doe^John`.
- A key without `=` may match any of the groups; a key with `=` is compared group by group, an empty group matching all.
- With fuzzy matching, every word of the key must begin a word of the name, or be spelled alike, in any order.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from app.dicom.plain_text import clean_text

GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
# PS3.5 allows 64 characters a group; what is longer is compared by its beginning, so that an index row stays small.
MAX_FOLDED = 256
_MAX_WORDS = 32

# Combining marks of Latin, Greek, Cyrillic, Hebrew and Arabic. Kana voicing marks (U+3099, U+309A) and the vowel signs of
# Indic and Thai scripts are letters to their readers and stay.
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
# Letters that Unicode does not decompose.
_LETTERS = str.maketrans(
    {"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ı": "i"}
)
_WORD_BREAK = re.compile(r"[\s^=,.;:'’`\-_/()*?]+")
_SPELLINGS = (
    (re.compile("sch|sh"), "s"),
    (re.compile("ph"), "f"),
    (re.compile("th|dt"), "t"),
    (re.compile("ck|c|q"), "k"),
    (re.compile("x"), "ks"),
    (re.compile("z"), "s"),
    (re.compile("w"), "v"),
    (re.compile("ae|oe|ue"), lambda match: match[0][0]),
    (re.compile("[jy]"), "i"),
    (re.compile("ei"), "ai"),
    (re.compile("(?<=.)h"), ""),
    (re.compile(r"(.)\1+"), r"\1"),
)


def _unmarked(text: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFKD", text))


def fold_name(text: str) -> str:
    """One component group without case, accents, compatibility forms, needless spaces and trailing empty components.

    `Müller`, `MULLER ^` and `muller` become `muller`. At most MAX_FOLDED characters.
    """
    folded = _unmarked(_unmarked(clean_text(text[:MAX_FOLDED])).casefold()).translate(_LETTERS)
    folded = unicodedata.normalize("NFC", folded)
    components = [" ".join(component.split()) for component in folded.split("^")]
    return "^".join(components).rstrip("^ ")[:MAX_FOLDED].rstrip("^ ")


def name_groups(value: Any) -> tuple[str, str, str]:
    """The three component groups of a PN value of the DICOM JSON Model (Annex F.2.2), "" where absent.

    Takes the text form `alphabetic=ideographic=phonetic` as well.
    """
    if isinstance(value, Mapping):
        alphabetic, ideographic, phonetic = (value.get(group) for group in GROUPS)
        return (_text(alphabetic), _text(ideographic), _text(phonetic))
    parts = _text(value).split("=", 2)
    parts += [""] * (3 - len(parts))
    return (parts[0], parts[1], parts[2])


def folded_groups(value: Any) -> tuple[str, str, str]:
    """`name_groups`, folded."""
    alphabetic, ideographic, phonetic = name_groups(value)
    return (fold_name(alphabetic), fold_name(ideographic), fold_name(phonetic))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def name_words(text: str) -> tuple[str, ...]:
    """The distinct folded words of a name or of a key, whatever component they stand in; at most 32."""
    folded = (word for group in text.split("=") for word in _WORD_BREAK.split(fold_name(group)))
    return tuple(dict.fromkeys(word for word in folded if word))[:_MAX_WORDS]


def spelling(word: str) -> str:
    """A folded word without common differences of spelling: Meyer, Maier and Mayer are the same; so are Jon and John.

    Words of one or two characters and of scripts other than Latin are returned as they are.
    """
    if len(word) < 3 or not word.isascii():
        return word
    for pattern, replacement in _SPELLINGS:
        word = pattern.sub(replacement, word)
    return word
