"""Wildcard patterns (PS3.4 C.2.2.2.4): `*` is any run of characters, also an empty one, `?` exactly one.

There is no escape for a literal `*` or `?`. A pattern is prepared once into a text in which ANY and ONE stand for the wildcards,
so that folding a name cannot turn a full-width asterisk into one. `%`, `_`, `[` and backslash are ordinary characters.
"""

import re
from functools import lru_cache

from app.dicom.person_names import fold_name
from app.dicom.plain_text import clean_text

# Noncharacters: no text that was decoded from a file or a URL has a use for them.
ANY, ONE = "\ufdd0", "\ufdd1"
_MAX_PATTERN = 1024
_MAX_FORMS = 5  # a name has five components (PS3.5 section 6.2.1)
_RUNS = re.compile(f"{ANY}+")

# PS3.4 C.2.2.2.4: the VRs that wildcard matching applies to. "" is a private attribute of unknown VR.
WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", ""})


def prepare(pattern: str) -> str:
    """The prepared form of a pattern of any VR but PN."""
    return _RUNS.sub(ANY, clean_text(_marked(pattern)))


def prepare_name(pattern: str) -> tuple[str, ...]:
    """The prepared forms of a pattern for one component group of a folded name; a name that matches any of them matches.

    Trailing empty components do not count in names, so `Doe^*` matches `Doe` as well: it has two forms.
    """
    folded = _RUNS.sub(ANY, fold_name(_marked(pattern)))
    forms = [folded]
    while forms[-1].endswith(f"^{ANY}") and len(forms) < _MAX_FORMS:
        forms.append(forms[-1][: -len(ANY) - 1].rstrip("^ "))
    return tuple(forms)


def _marked(pattern: str) -> str:
    pattern = pattern[:_MAX_PATTERN].replace(ANY, "\ufffd").replace(ONE, "\ufffd")
    return pattern.replace("*", ANY).replace("?", ONE)


def literal_prefix(prepared: str) -> str:
    """The characters before the first wildcard."""
    return prepared[: min(_position(prepared, ANY), _position(prepared, ONE))]


def _position(text: str, character: str) -> int:
    found = text.find(character)
    return len(text) if found < 0 else found


def is_literal(prepared: str) -> bool:
    """Whether the pattern holds no wildcard."""
    return ANY not in prepared and ONE not in prepared


def to_like(prepared: str) -> str:
    """For SQL `LIKE .. ESCAPE '!'`."""
    escaped = prepared.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return escaped.replace(ANY, "%").replace(ONE, "_")


def to_glob(prepared: str) -> str:
    """For GLOB of SQLite."""
    escaped = re.sub(r"[*?\[]", lambda match: f"[{match[0]}]", prepared)
    return escaped.replace(ANY, "*").replace(ONE, "?")


def matches_pattern(prepared: str, text: str) -> bool:
    """Whether the whole text matches. Time is bounded by the product of both lengths, whatever the pattern."""
    first, *rest = _segments(prepared)
    found = first.match(text)
    if found is None:
        return False
    if not rest:
        return found.end() == len(text)
    *middle, last = rest
    position = found.end()
    for segment in middle:
        # The leftmost place is the best one: it leaves most of the text to the segments behind.
        found = segment.search(text, position)
        if found is None:
            return False
        position = found.end()
    return last.fullmatch(text, max(position, len(text) - _length(last))) is not None


@lru_cache(maxsize=256)
def _segments(prepared: str) -> tuple[re.Pattern[str], ...]:
    """The stretches between the runs, each of a fixed length."""
    return tuple(
        re.compile("".join("." if character == ONE else re.escape(character) for character in segment), re.DOTALL)
        for segment in prepared.split(ANY)
    )


def _length(segment: re.Pattern[str]) -> int:
    return len(re.sub(r"\\(.)", r"\1", segment.pattern, flags=re.DOTALL))
