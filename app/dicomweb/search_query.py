"""The query string of a search, read into a SearchQuery (PS3.18 8.3.1, 8.3.4, 10.6.1.2).

Names and values are case-sensitive. A supported parameter with a value that we cannot use is an error; what we do not know
or do not match here is left out and told in a warning (8.3).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from app.dicom.attribute_levels import UNMATCHED_KEYWORDS
from app.dicom.attributes import LEVEL_NUMBER, TAGS, VRS, level_of
from app.dicom.matching import AttributeMatch, AttributePath, Level, SearchQuery
from app.dicomweb.attribute_paths import Creators, creator_tags, is_creator, is_private, resolve, tags_of
from app.dicomweb.search_values import combine, is_matchable, rule_of, timezone_of
from app.errors import InvalidQuery

__all__ = ["Level", "ParsedSearch", "parse_search_query"]

MAX_PARAMETERS = 512
MAX_QUERY_LENGTH = 131_072
MAX_MATCHES = 64
MAX_INCLUDES = 512
MAX_COUNT = 2**31 - 1  # larger limits and offsets mean the same
_MAX_NAMED = 20  # how many parameters a warning names

_TIMEZONE, _RETRIEVE_URL = (TAGS["TimezoneOffsetFromUTC"],), (TAGS["RetrieveURL"],)
_CHARACTER_SET, _TRANSFER_SYNTAX = TAGS["SpecificCharacterSet"], (TAGS["TransferSyntaxUID"],)
_TRANSFER_SYNTAX_NAMES = frozenset({"TransferSyntaxUID", *_TRANSFER_SYNTAX})
_UNMATCHED = frozenset(TAGS[keyword] for keyword in UNMATCHED_KEYWORDS)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
# 8.3.4.4: an unsigned integer.
_COUNT = re.compile(r"[0-9]{1,20}", re.ASCII)
# Common parameters of 8.3.3, read elsewhere.
_OTHERS = frozenset({"accept", "charset"})

# 10.6.1.2.1: at which levels the keys of a resource may be, by its own level and how much of the path is given.
_STUDY, _SERIES, _INSTANCE = Level.STUDY, Level.SERIES, Level.INSTANCE
_KEY_LEVELS = {
    (_STUDY, 0): {_STUDY},
    (_SERIES, 0): {_STUDY, _SERIES},
    (_SERIES, 1): {_SERIES},
    (_INSTANCE, 0): {_STUDY, _SERIES, _INSTANCE},
    (_INSTANCE, 1): {_SERIES, _INSTANCE},
    (_INSTANCE, 2): {_INSTANCE},
}


@dataclass(frozen=True, slots=True)
class ParsedSearch:
    """`warnings` are texts for app.dicomweb.warning_headers."""

    query: SearchQuery
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Parameters:
    """The parameters of a query by their kind, not yet interpreted."""

    settings: dict[str, str] = field(default_factory=dict)
    keys: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)  # tags -> name and value
    includes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def creators(self) -> Creators:
        return {tags: value.strip(" ") for tags, (_, value) in self.keys.items() if is_creator(tags[-1])}


def parse_search_query(
    query_string: str | Sequence[tuple[str, str]],
    *,
    level: Level,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
) -> ParsedSearch:
    """Read a search.

    query_string  as it stands behind `?`, still percent-encoded, or decoded name and value pairs
    level         of the results; the UIDs are those of the path, already checked
    A plus sign means a blank, as forms and most clients' libraries write it.
    Raises InvalidQuery with the reason.
    """
    pairs = _decoded(query_string) if isinstance(query_string, str) else _checked(query_string)
    parameters = _sorted_out(pairs)
    settings, creators = parameters.settings, parameters.creators
    above = (study_instance_uid is not None) + (series_instance_uid is not None)
    misplaced: list[str] = []
    matches, timezone = _matches(parameters, creators, _KEY_LEVELS[level, above], misplaced)
    includes, include_all = _includes(parameters, creators, level, misplaced)
    query = SearchQuery(
        level=level,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        matches=combine(matches),
        includes=includes,
        include_all=include_all,
        limit=_count(settings, "limit"),
        offset=_count(settings, "offset") or 0,
        fuzzy=_boolean(settings, "fuzzymatching"),
        timezone=timezone,
    )
    return ParsedSearch(query, tuple(_warnings(parameters.unknown, misplaced)))


def _matches(
    parameters: _Parameters, creators: Creators, levels: set[Level], misplaced: list[str]
) -> tuple[list[AttributeMatch], str | None]:
    """The keys that are matched, and the time zone of the query; keys that are not are added to `unknown` and `misplaced`."""
    empty_values = _boolean(parameters.settings, "emptyvaluematching")
    multiple_values = _boolean(parameters.settings, "multiplevaluematching")
    needed = _creators_needed(parameters)
    matches: list[AttributeMatch] = []
    timezone = None
    for tags, (name, value) in parameters.keys.items():
        if is_creator(tags[-1]):
            if tags not in needed:
                parameters.unknown.append(name)
            continue
        if tags == _TIMEZONE:
            timezone = timezone_of(value)
            continue
        path = resolve(tags, creators)
        if path is None:
            parameters.unknown.append(name)
            continue
        if tags[-1] == _CHARACTER_SET or (tags == _RETRIEVE_URL and not value.strip(" *")):
            continue  # always returned; PS3.4 C.2.2.2: Specific Character Set is never matched
        if tags[0] in _UNMATCHED:
            parameters.unknown.append(name)
        elif level_of(path.tags[0]) not in levels:
            misplaced.append(name)
        elif not is_matchable(path):
            parameters.unknown.append(name)
        else:
            rule = rule_of(path, value, empty_values=empty_values, multiple_values=multiple_values)
            matches.append(AttributeMatch(path, rule))
    return matches, timezone


def _decoded(query_string: str) -> list[tuple[str, str]]:
    if len(query_string) > MAX_QUERY_LENGTH:
        raise InvalidQuery(f"a query string has at most {MAX_QUERY_LENGTH} characters")
    fields = [piece.partition("=") for piece in query_string.split("&", MAX_PARAMETERS + 1) if piece]
    return _checked([(_unquoted(name), _unquoted(value)) for name, _, value in fields])


def _unquoted(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeError:
        raise InvalidQuery("the query string is not percent-encoded UTF-8 (PS3.18 8.3)") from None


def _checked(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(pairs) > MAX_PARAMETERS:
        raise InvalidQuery(f"a query has at most {MAX_PARAMETERS} parameters")
    if any(_CONTROLS.search(name) or _CONTROLS.search(value) for name, value in pairs):
        raise InvalidQuery("a query holds no control characters (PS3.18 8.3)")
    return list(pairs)


def _sorted_out(pairs: Iterable[tuple[str, str]]) -> _Parameters:
    result = _Parameters()
    for name, value in pairs:
        if name == "includefield":
            result.includes += [item for item in value.replace(" ", "").split(",") if item]
        elif name in ("limit", "offset", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"):
            if name in result.settings:
                raise InvalidQuery(f"{name} is given more than once")
            result.settings[name] = value
        elif (tags := tags_of(name)) is not None:
            if tags in result.keys:
                # Editions before 2019 listed UIDs so ("each value will be an element of the UID List"); wsidicom still does.
                if VRS.get(tags[-1]) != "UI":
                    raise InvalidQuery(f"{name[:80]} is given more than once (PS3.18 8.3.4.1)")
                value = f"{result.keys[tags][1]},{value}"
            result.keys[tags] = (name, value)
        elif name not in _OTHERS:
            result.unknown.append(name)
    if len(result.keys) > MAX_MATCHES:
        raise InvalidQuery(f"a search has at most {MAX_MATCHES} matching keys")
    if len(result.includes) > MAX_INCLUDES:
        raise InvalidQuery(f"a search names at most {MAX_INCLUDES} attributes to include")
    return result


def _creators_needed(parameters: _Parameters) -> set[tuple[str, ...]]:
    """The creator elements of every private attribute that a parameter names or leads through."""
    paths = [*parameters.keys, *(tags for name in parameters.includes if (tags := tags_of(name)) is not None)]
    prefixes = (tags[:depth] for tags in paths for depth in range(1, len(tags) + 1))
    return {creator_tags(prefix) for prefix in prefixes if is_private(prefix[-1]) and not is_creator(prefix[-1])}


def _includes(
    parameters: _Parameters, creators: Creators, level: Level, misplaced: list[str]
) -> tuple[tuple[AttributePath, ...], bool]:
    """The attributes to return, and whether `all` was asked for (then others named beside it change nothing).

    Attributes of a level above the results may be asked for, those below never are returned (10.6.3.3).
    """
    found: dict[AttributePath, None] = {}
    for name in parameters.includes:
        if name == "all":
            continue
        # Of File Meta Information (PS3.10 7.1), which is no part of a data set, this alone: ez-wsi-dicomweb reads no other.
        tags = _TRANSFER_SYNTAX if name in _TRANSFER_SYNTAX_NAMES else tags_of(name)
        path = resolve(tags, creators) if tags is not None else None
        if path is None:
            parameters.unknown.append(f"includefield={name}")
        elif LEVEL_NUMBER[level_of(path.tags[0])] > LEVEL_NUMBER[level]:
            misplaced.append(f"includefield={name}")
        else:
            found[path] = None
    return tuple(found), "all" in parameters.includes


def _count(settings: dict[str, str], name: str) -> int | None:
    if name not in settings:
        return None
    if not _COUNT.fullmatch(settings[name]):
        raise InvalidQuery(f"{name} is an unsigned integer (PS3.18 8.3.4.4)")
    return min(int(settings[name]), MAX_COUNT)


def _boolean(settings: dict[str, str], name: str) -> bool:
    value = settings.get(name, "false")
    if value not in ("true", "false"):
        raise InvalidQuery(f"{name} is true or false (PS3.18 8.3.4)")
    return value == "true"


def _warnings(unknown: list[str], misplaced: list[str]) -> list[str]:
    texts = []
    if unknown:
        texts.append(f"The following parameters are not supported and have been ignored: {_list(unknown)}")
    if misplaced:
        texts.append(
            f"The following attributes are not of a level that can be used here and have been ignored: {_list(misplaced)}"
        )
    return texts


def _list(names: list[str]) -> str:
    distinct = list(dict.fromkeys(name[:64] for name in names))
    more = f" and {len(distinct) - _MAX_NAMED} more" if len(distinct) > _MAX_NAMED else ""
    return ", ".join(distinct[:_MAX_NAMED]) + more
