"""Random archives and random searches: SQL must find what app.dicom.matching_values finds, in the documented order."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.db import known_many, wide_search
from app.db import search as search_module
from app.db.engine import Database
from app.db.matching_sql import several_of
from app.db.search import search
from app.db.wide_keys import WideKey
from app.dicom.attributes import standard_path
from app.dicom.date_times import normalise_date
from app.dicom.matching import (
    AllOfValues,
    AnyOfValues,
    AttributeMatch,
    EmptyValue,
    Level,
    ListOfUid,
    Range,
    Rule,
    SearchQuery,
    SingleValue,
    Universal,
    Wildcard,
)
from app.dicom.matching_values import documents_match
from tests.support.archive import dataset, instance, store
from tests.support.matching_cases import date_times_between

_UIDS = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.INSTANCE: "00080018"}
_WORDS = ["A", "a", "Ab", "B%", "b_1", "A*", "Å", "", "x\\y", "'"]
_NAMES = ["Doe^John", "DOE^JOHN^", "Doe", "Müller^Jörg=山田^太郎", "=山田", "muller^hans", "", "Meyer Jones^J", "Maier"]
_DATES = ["20240101", "20240102", "20240131", "2024", "", "garbage", "2024.01.02"]
_TIMES = ["10", "1030", "103000.5", "2359", "", "noon"]
_ZONES = ["+0100", "-0500", None]
_STEPS = ["S1", "S2", ""]


@dataclass(frozen=True)
class _Row:
    """One instance: what it is called, its data set with what is computed, where its study and series sort."""

    uids: dict[Level, str]
    data: dict[str, Any]
    order: tuple[Any, ...]


def _some(chance: random.Random, values: list[Any]) -> Any:
    return chance.choice(values) or None


def _study(chance: random.Random) -> dict[str, Any]:
    return {
        "PatientName": _some(chance, _NAMES),
        "ReferringPhysicianName": _some(chance, _NAMES),
        "PhysiciansOfRecord": [name for name in chance.sample(_NAMES, 2) if name],
        "PatientID": _some(chance, _WORDS),
        "AccessionNumber": _some(chance, _WORDS),
        "StudyDescription": _some(chance, _WORDS),
        "PatientComments": _some(chance, _WORDS),
        "OtherPatientIDs": [word for word in chance.sample(_WORDS, 3) if word],
        "StudyDate": _some(chance, _DATES),
        "StudyTime": _some(chance, _TIMES),
        "PatientBirthDate": _some(chance, _DATES),
        "TimezoneOffsetFromUTC": chance.choice(_ZONES),
    }


def _series(chance: random.Random) -> dict[str, Any]:
    items = [
        dataset(ScheduledProcedureStepID=_some(chance, _STEPS), RequestedProcedureID=_some(chance, _STEPS))
        for _ in range(chance.randrange(3))
    ]
    return {
        "Modality": chance.choice(["CT", "MR", "SR", None]),
        "SeriesNumber": chance.choice([1, 2, 2, None]),
        "SeriesDescription": _some(chance, _WORDS),
        "PerformedProcedureStepStartDate": _some(chance, _DATES),
        "PerformedProcedureStepStartTime": _some(chance, _TIMES),
        "RequestAttributesSequence": items,
    }


async def _archive(db: Database, chance: random.Random) -> list[_Row]:
    rows = []
    for study in range(chance.randrange(3, 12)):
        study_uid, of_study = f"1.{study}", _study(chance)
        series = [(f"{study_uid}.{number}", _series(chance)) for number in range(chance.randrange(1, 4))]
        modalities = sorted({attributes["Modality"] for _, attributes in series} - {None})
        records = []
        for series_uid, of_series in series:
            for number in range(chance.randrange(1, 3)):
                of_instance = {"InstanceNumber": chance.choice([1, 2, None]), "ContentDate": _some(chance, _DATES)}
                sop = f"{series_uid}.{number}"
                record = instance(study_uid, series_uid, sop, **of_study, **of_series, **of_instance)
                records.append(record)
                order = (
                    _descending(normalise_date(of_study["StudyDate"] or "")),
                    -study,
                    of_series["SeriesNumber"] is None,
                    of_series["SeriesNumber"] or 0,
                    series_uid,
                    of_instance["InstanceNumber"] is None,
                    of_instance["InstanceNumber"] or 0,
                    sop,
                )
                data = {**record.parsed.dataset, **dataset(ModalitiesInStudy=modalities or None)}
                data["00201206"] = {"vr": "IS", "Value": [len(series)]}
                rows.append(_Row({Level.STUDY: study_uid, Level.SERIES: series_uid, Level.INSTANCE: sop}, data, order))
        await store(db, records)
    return rows


def _descending(text: str) -> tuple[int, ...]:
    return (*(-ord(character) for character in text), 1)


def _text_rule(chance: random.Random) -> Rule:
    kind = chance.randrange(7)
    word = chance.choice([word for word in _WORDS if word])
    if kind == 0:
        return EmptyValue()
    if kind == 1:
        return AnyOfValues((SingleValue(word), Wildcard(chance.choice(["A*", "?", "*%"]))))
    if kind == 2:
        return Universal()
    if kind == 6:
        return AllOfValues((SingleValue(word), chance.choice([SingleValue("A"), SingleValue("Ab"), Wildcard("*")])))
    return Wildcard(chance.choice(["A*", "*b*", "?", "*%", "*_*", "??", "*'*"])) if kind == 3 else SingleValue(word)


def _name_rule(chance: random.Random) -> Rule:
    patterns = ["doe*", "*jo*", "m?ller^*", "=山*", "doe^*", "?oe", "山*", "mul*=山*", "j* *"]
    values = ["doe", "Doe^John", "muller^jorg", "山田", "=山田", "mayer", "jorg", "doe^john=x", "jones meier"]
    kind = chance.randrange(6)
    if kind == 0:
        return EmptyValue()
    if kind in (1, 5):
        both = (SingleValue(chance.choice(values)), Wildcard(chance.choice(patterns)))
        return AnyOfValues(both) if kind == 1 else AllOfValues(both)
    return SingleValue(chance.choice(values)) if kind < 4 else Wildcard(chance.choice(patterns))


def _range_rule(chance: random.Random, ends: list[str]) -> Rule:
    first, last = sorted(chance.choices(ends, k=2))
    return chance.choice(
        [
            Range(first, last),
            Range(first, None),
            Range(None, last),
            SingleValue(first),
            EmptyValue(),
            AnyOfValues((SingleValue(first), SingleValue(last))),
        ]
    )


def _dates(chance: random.Random) -> Rule:
    return _range_rule(chance, ["20231231", "20240101", "20240102", "20240131"])


def _times(chance: random.Random) -> Rule:
    return _range_rule(chance, ["09", "10", "1030", "103000.5", "2359"])


def _both(time: str) -> Callable[[random.Random], Rule]:
    moments = ["20231231000000.000000", "20240101103000.000000", "20240102100000.000000", "20240131235959.999999"]

    def rule(chance: random.Random) -> Rule:
        first, last = sorted(chance.choices(moments, k=2))
        return date_times_between(time, chance.choice([first, None]), last)

    return rule


def _steps(chance: random.Random) -> Rule:
    return chance.choice([SingleValue("S1"), SingleValue("S2"), EmptyValue(), Wildcard("S*")])


def _numbers(chance: random.Random) -> Rule:
    return chance.choice([SingleValue("1"), SingleValue("02"), EmptyValue(), AnyOfValues((SingleValue("2"),))])


def _modalities(chance: random.Random) -> Rule:
    return chance.choice(
        [
            SingleValue("CT"),
            SingleValue("SR"),
            Wildcard("?R"),
            EmptyValue(),
            AnyOfValues((SingleValue("CT"),)),
            AllOfValues((SingleValue("CT"), SingleValue("MR"))),
        ]
    )


def _study_uids(chance: random.Random) -> Rule:
    return ListOfUid(tuple(f"1.{chance.randrange(12)}" for _ in range(3)))


_KEYS: dict[Level, list[tuple[str, Callable[[random.Random], Rule]]]] = {
    Level.STUDY: [
        *((keyword, _text_rule) for keyword in ("PatientID", "AccessionNumber", "StudyDescription")),
        *((keyword, _text_rule) for keyword in ("PatientComments", "OtherPatientIDs")),
        *((keyword, _name_rule) for keyword in ("PatientName", "ReferringPhysicianName", "PhysiciansOfRecord")),
        ("StudyDate", _dates),
        ("StudyDate", _both("StudyTime")),
        ("StudyTime", _times),
        ("PatientBirthDate", _dates),
        ("ModalitiesInStudy", _modalities),
        ("NumberOfStudyRelatedSeries", _numbers),
        ("StudyInstanceUID", _study_uids),
    ],
    Level.SERIES: [
        ("Modality", _modalities),
        ("SeriesNumber", _numbers),
        ("SeriesDescription", _text_rule),
        ("PerformedProcedureStepStartDate", _dates),
        ("PerformedProcedureStepStartDate", _both("PerformedProcedureStepStartTime")),
        ("RequestAttributesSequence.ScheduledProcedureStepID", _steps),
        ("RequestAttributesSequence.RequestedProcedureID", _steps),
    ],
    Level.INSTANCE: [("InstanceNumber", _numbers), ("ContentDate", _dates)],
}


def _random_query(chance: random.Random) -> SearchQuery:
    level = chance.choice(list(Level))
    keys = {
        Level.STUDY: _KEYS[Level.STUDY],
        Level.SERIES: _KEYS[Level.STUDY] + _KEYS[Level.SERIES],
        Level.INSTANCE: _KEYS[Level.STUDY] + _KEYS[Level.SERIES] + _KEYS[Level.INSTANCE],
    }[level]
    chosen = {keyword: rule(chance) for keyword, rule in chance.sample(keys, chance.choice([0, 1, 1, 1, 2, 2, 3]))}
    study = series = None
    if level is not Level.STUDY and chance.random() < 0.3:
        study = f"1.{chance.randrange(12)}"
        if level is Level.INSTANCE and chance.random() < 0.5:
            series = f"{study}.{chance.randrange(3)}"
    return SearchQuery(
        level,
        study,
        series,
        tuple(AttributeMatch(standard_path(path), rule) for path, rule in chosen.items()),
        fuzzy=chance.random() < 0.3,
        timezone=chance.choice([None, None, None, "-0500", "+1200"]),
    )


def _expected(rows: list[_Row], query: SearchQuery) -> list[str]:
    found: dict[str, tuple[Any, ...]] = {}
    for row in rows:
        if query.study_instance_uid not in (None, row.uids[Level.STUDY]):
            continue
        if query.series_instance_uid not in (None, row.uids[Level.SERIES]):
            continue
        documents = dict.fromkeys(Level, row.data)
        if documents_match(documents, query.matches, fuzzy=query.fuzzy, timezone=query.timezone):
            length = {Level.STUDY: 2, Level.SERIES: 5, Level.INSTANCE: 8}[query.level]
            found[row.uids[query.level]] = row.order[:length]
    return sorted(found, key=lambda uid: found[uid])


@pytest.mark.parametrize("seed", range(4))
async def test_sql_finds_what_the_rules_say(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    rows = await _archive(db, chance)
    hits = 0
    for _ in range(150):
        query = _random_query(chance)
        page = await search(db, query)
        found = [result.dataset[_UIDS[query.level]]["Value"][0] for result in page.results]
        assert found == _expected(rows, query), query
        assert page.total_known == len(found)
        hits += bool(found)
    assert hits > 30


def _query_of_studies(chance: random.Random) -> SearchQuery:
    """By keys of studies, and of series their modality."""
    level = chance.choice(list(Level))
    keys = [*_KEYS[Level.STUDY], *([] if level is Level.STUDY else [("Modality", _modalities)] * 2)]
    chosen = {keyword: rule(chance) for keyword, rule in chance.sample(keys, chance.randrange(1, 4))}
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in chosen.items())
    return SearchQuery(level, matches=matches, fuzzy=chance.random() < 0.3, limit=chance.choice([1, 2, 5]))


@pytest.mark.parametrize("seed", range(10, 14))
async def test_ways_of_large_archives_find_the_same(db: Database, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Page by page, each found as it would be where there are very many studies, or where keys fit very many."""
    monkeypatch.setattr(known_many, "FEW_STUDIES", 0)
    chance = random.Random(seed)
    rows = await _archive(db, chance)
    hits = 0
    for number in range(150):
        query = _query_of_studies(chance)
        while number % 2 and several_of(query, db.dialect) is None:
            query = _query_of_studies(chance)
        expected = _expected(rows, query)
        db.known_many.meet_study(1)
        for offset in range(0, len(expected) + 1, query.limit or 1):
            monkeypatch.setattr(wide_search, "_SOON", chance.choice([0, 4, 1000]))
            monkeypatch.setattr(search_module, "_COUNT_CAP_OF_MANY", chance.choice([0, 1, 1000]))
            newest = chance.choice([0, 1, 4, 100])
            monkeypatch.setattr(WideKey, "worth_walking", lambda _key, _studies, _wanted, number=newest: number)
            page = await search(db, replace(query, offset=offset))
            found = [result.dataset[_UIDS[query.level]]["Value"][0] for result in page.results]
            behind = expected[offset:]
            assert found == behind[: query.limit], (query, offset)
            assert page.remaining <= len(behind) - len(found)
            assert not page.remaining_is_exact or page.remaining == len(behind) - len(found)
            assert page.total_known in (None, len(expected))
            hits += bool(found)
    assert hits > 20
