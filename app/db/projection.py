"""Which attributes the results of a search hold (PS3.18 section 10.6.3.3).

Returned are the default attributes of the level (and of the levels above that the resource does not name: `/series` adds the
study's, `/instances` the study's and series', `/studies/{s}/instances` the series'), the match keys and the includes, of the
level or above. Of type R, of match keys and of includes an unknown value is returned empty. Of a sequence that a match key leads
into, the items that match are returned (PS3.4 C.2.2.2.6), unless the whole sequence is asked for.
"""

from dataclasses import dataclass, field

from app.dicom.attributes import DEFAULT_RETURNED, LEVEL_NUMBER, level_of
from app.dicom.matching import AttributePath, DateTimeRange, EmptyValue, Level, SearchQuery, Universal
from app.dicom.matching_items import ItemKeys
from app.dicom.matching_values import simplified

# What is returned of a sequence's items: per tag its VR, or a tree of its own.
Tree = dict[str, "str | Tree"]


@dataclass(slots=True)
class LevelProjection:
    """What is returned of the data set of one level.

    everything  whatever there is
    required    returned even if unknown, with the VR
    known       returned if it has a value
    nested      sequences of whose items only a part is returned
    private     paths of private attributes, whose tags depend on the data set
    """

    everything: bool = False
    required: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    nested: dict[str, Tree] = field(default_factory=dict)
    private: list[AttributePath] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.everything or self.required or self.known or self.nested or self.private)


@dataclass(frozen=True, slots=True)
class Projection:
    """What the results of a search at `level` hold, per level that they draw from.

    item_keys  of `nested` sequences only the items that match are returned
    """

    level: Level
    of: dict[Level, LevelProjection]
    item_keys: ItemKeys | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """What of a search decides what its results hold: equal for all searches that return the same.

    paths      match keys and includes
    item_keys  those that choose among the items of sequences; None if there are none
    """

    level: Level
    in_study: bool
    in_series: bool
    everything: bool
    paths: tuple[AttributePath, ...]
    item_keys: ItemKeys | None = None


def returned_by(query: SearchQuery) -> Returned:
    paths = list(query.includes)
    nested = []
    for match in query.matches:
        paths.append(match.path)
        if len(match.path.tags) > 1 and not isinstance(simplified(match.rule), Universal | EmptyValue):
            nested.append(match)
        if isinstance(match.rule, DateTimeRange):
            paths.append(match.rule.time_path)
    in_study, in_series = query.study_instance_uid is not None, query.series_instance_uid is not None
    keys = ItemKeys(tuple(nested), query.fuzzy, query.timezone) if nested else None
    return Returned(query.level, in_study, in_series, query.include_all, tuple(paths), keys)


def _default_levels(returned: Returned) -> tuple[Level, ...]:
    """The levels whose default attributes are returned (PS3.18 sections 10.6.3.3.1 to 10.6.3.3.3)."""
    levels = [returned.level]
    if returned.level is Level.INSTANCE and not returned.in_series:
        levels.append(Level.SERIES)
    if returned.level is not Level.STUDY and not returned.in_study:
        levels.append(Level.STUDY)
    return tuple(levels)


def projection_of(returned: Returned) -> Projection:
    """What a search returns."""
    chosen = {level: LevelProjection() for level in Level if LEVEL_NUMBER[level] <= LEVEL_NUMBER[returned.level]}
    for level in _default_levels(returned):
        _add_defaults(chosen[level], level)
        chosen[level].everything = returned.everything
    for path in returned.paths:
        wanted = chosen.get(level_of(path.tags[0]))
        if wanted is not None:
            _add(wanted, path)
    for wanted in chosen.values():
        for tag in wanted.required.keys() & wanted.nested.keys():
            if wanted.required[tag] == "SQ" and any(path.tags == (tag,) for path in returned.paths):
                del wanted.nested[tag]
    return Projection(returned.level, chosen, returned.item_keys)


def _add_defaults(wanted: LevelProjection, level: Level) -> None:
    for attribute in DEFAULT_RETURNED[level]:
        path = attribute.path
        if len(path.tags) > 1:
            _add_nested(wanted.nested, path)
        elif path.vr != "SQ":  # of a sequence, the default attributes of its items are named one by one
            if attribute.type == "C":
                wanted.known.add(path.tags[0])
            else:
                wanted.required[path.tags[0]] = path.vr


def _add(wanted: LevelProjection, path: AttributePath) -> None:
    if any(path.creators):
        wanted.private.append(path)
        return
    if len(path.tags) > 1:
        _add_nested(wanted.nested, path)
        wanted.required[path.tags[0]] = "SQ"
    else:
        wanted.required[path.tags[0]] = path.vr


def _add_nested(sequences: dict[str, Tree], path: AttributePath) -> None:
    tree = sequences.setdefault(path.tags[0], {})
    for tag in path.tags[1:-1]:
        inner = tree.get(tag)
        if inner == "SQ":
            return  # all of it is asked for
        if not isinstance(inner, dict):
            inner = {}
            tree[tag] = inner
        tree = inner
    if path.vr == "SQ":
        tree[path.tags[-1]] = "SQ"
    else:
        tree.setdefault(path.tags[-1], path.vr)
