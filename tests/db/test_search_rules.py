"""The same matching rules as in tests/dicom/test_matching_values.py, through SQL, at every level."""

from collections.abc import Sequence

import orjson
import pytest

from app.db.engine import Database, close_database, open_database
from app.db.matching_sql import MAX_PATTERNS
from app.db.search import search
from app.dicom.attributes import LEVEL_NUMBER, level_of, standard_path
from app.dicom.matching import AttributeMatch, Level, SearchQuery
from app.errors import InvalidQuery
from tests.support.archive import dataset, instance, store
from tests.support.matching_cases import (
    CASES,
    DATE_TIME_CASES,
    FUZZY_CASES,
    SEQUENCE_CASES,
    ZONE_CASES,
    Case,
    all_of,
    any_of,
    between,
    date_times_between,
    empty,
    is_value,
    like,
    uids,
)


async def _stored(db: Database, cases: Sequence[Case]) -> dict[bytes, str]:
    """One study per data set that the cases speak of."""
    found: dict[bytes, str] = {}
    records = []
    for case in cases:
        key = orjson.dumps(case.stored)
        if key not in found:
            uid = found[key] = f"1.2.{len(found)}"
            unique = {} if "IssuerOfPatientID" in case.stored else {"IssuerOfPatientID": f"issuer {uid}"}
            attributes = {"AccessionNumber": f"A{uid}", **unique, **case.stored}
            records.append(instance(uid, f"{uid}.1", f"{uid}.1.1", Modality="CT", **attributes))
    await store(db, records)
    return found


async def _found(db: Database, query: SearchQuery) -> set[str]:
    page = await search(db, query, max_results=5000)
    assert not page.candidates_capped
    assert page.remaining == 0
    return {result.dataset["0020000D"]["Value"][0] for result in page.results}


def _query(case: Case, level: Level = Level.STUDY, *, fuzzy: bool = False, timezone: str | None = None) -> SearchQuery:
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in case.keys)
    return SearchQuery(level, matches=matches, fuzzy=fuzzy, timezone=timezone)


async def _check(
    db: Database, cases: Sequence[Case], *, fuzzy: bool = False, timezones: Sequence[str | None] = ()
) -> None:
    studies = await _stored(db, cases)
    wrong = []
    for number, case in enumerate(cases):
        uid = studies[orjson.dumps(case.stored)]
        timezone = timezones[number] if timezones else None
        query = _query(case, list(Level)[number % 3], fuzzy=fuzzy, timezone=timezone)
        alone = await _found(db, query) if query.level is not Level.STUDY else set()
        study = _query(case, fuzzy=fuzzy, timezone=timezone)
        among_all = await _found(db, study)
        if query.level is not Level.STUDY and alone != among_all:
            wrong.append(f"{query.level}: {case}")
        if (uid in among_all) is not case.found:
            wrong.append(f"among all: {case}")
        accession = AttributeMatch(standard_path("AccessionNumber"), is_value(f"A{uid}"))
        issuer = AttributeMatch(standard_path("IssuerOfPatientID"), like(f"issuer {uid}"))
        for more in ((accession,), (issuer,)):
            together = SearchQuery(Level.STUDY, matches=(*study.matches, *more), fuzzy=fuzzy, timezone=timezone)
            if await _found(db, together) != ({uid} if case.found else set()):
                wrong.append(f"with {more[0].path}: {case}")
    assert not wrong, "\n".join(wrong)


async def test_rules(db: Database) -> None:
    await _check(db, CASES)


async def test_combined_dates_and_times_and_sequences(db: Database) -> None:
    await _check(db, DATE_TIME_CASES + SEQUENCE_CASES)


async def test_fuzzy_matching(db: Database) -> None:
    await _check(db, FUZZY_CASES, fuzzy=True)


async def test_dates_in_the_zone_of_the_query(db: Database) -> None:
    await _check(db, [case for _, case in ZONE_CASES], timezones=[zone for zone, _ in ZONE_CASES])


async def _archive(db: Database) -> None:
    request = {
        "00400009": {"vr": "SH", "Value": ["SPS1"]},
        "00401001": {"vr": "SH", "Value": ["RP1"]},
    }
    await store(
        db,
        [
            instance("1.1", "1.1.1", "1.1.1.1", Modality="CT", SeriesNumber=1, InstanceNumber=1, StudyDate="20240101"),
            instance("1.1", "1.1.1", "1.1.1.2", Modality="CT", SeriesNumber=1, InstanceNumber=2, StudyDate="20240101"),
            instance(
                "1.1",
                "1.1.2",
                "1.1.2.1",
                Modality="SR",
                SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
                transfer_syntax="1.2.840.10008.1.2",
                StudyDate="20240101",
                RequestAttributesSequence=[request],
                ConceptNameCodeSequence=[{"00080100": {"vr": "SH", "Value": ["113000"]}}],
            ),
            instance(
                "1.2",
                "1.2.1",
                "1.1.1.1",  # the same SOP Instance UID in another study
                Modality="MR",
                SeriesNumber=3,
                PerformedProcedureStepStartDate="20240105",
                PerformedProcedureStepStartTime="1015",
                StudyDate="20240102",
                ContentDate="20240106",
                ContentTime="0700",
            ),
            instance("1.3", "1.3.1", "1.3.1.1", StudyDate=None),
        ],
    )


async def test_keys_of_every_level(db: Database) -> None:
    await _archive(db)
    study, series, one = Level.STUDY, Level.SERIES, Level.INSTANCE
    uid = {study: "0020000D", series: "0020000E", one: "00080018"}
    for level, path, rule, expected in [
        (study, "ModalitiesInStudy", is_value("SR"), ["1.1"]),
        (study, "ModalitiesInStudy", is_value("sr"), []),
        (study, "ModalitiesInStudy", like("?R"), ["1.2", "1.1"]),
        (study, "ModalitiesInStudy", any_of("CT", "SR"), ["1.1"]),
        (study, "ModalitiesInStudy", any_of("MR", "S*"), ["1.2", "1.1"]),
        (study, "ModalitiesInStudy", all_of("SR", "CT"), ["1.1"]),  # QID-060
        (study, "ModalitiesInStudy", all_of("CT", "MR"), []),
        (study, "ModalitiesInStudy", all_of("?R", "C*"), ["1.1"]),
        (series, "ModalitiesInStudy", all_of("SR", "CT"), ["1.1.1", "1.1.2"]),
        (study, "ModalitiesInStudy", empty(), ["1.3"]),
        (study, "SOPClassesInStudy", uids("1.2.840.10008.5.1.4.1.1.88.11"), ["1.1"]),
        (study, "SOPClassesInStudy", empty(), []),
        (study, "StudyInstanceUID", uids("1.1", "1.3", "9"), ["1.1", "1.3"]),
        (study, "StudyInstanceUID", is_value("1.2"), ["1.2"]),
        (study, "StudyInstanceUID", uids(), []),
        (study, "NumberOfStudyRelatedSeries", is_value("2"), ["1.1"]),
        (study, "NumberOfStudyRelatedInstances", is_value("3"), ["1.1"]),
        (study, "InstanceAvailability", is_value("ONLINE"), ["1.2", "1.1", "1.3"]),
        (study, "InstanceAvailability", any_of("NEARLINE", "ONLINE"), ["1.2", "1.1", "1.3"]),
        (study, "InstanceAvailability", is_value("OFFLINE"), []),
        (study, "InstanceAvailability", like("ON*"), ["1.2", "1.1", "1.3"]),
        (study, "InstanceAvailability", like("O?LINE"), ["1.2", "1.1", "1.3"]),
        (study, "InstanceAvailability", like("OFF*"), []),
        (study, "InstanceAvailability", any_of("NEARLINE", "ON*"), ["1.2", "1.1", "1.3"]),
        (study, "InstanceAvailability", empty(), []),
        (series, "Modality", is_value("CT"), ["1.1.1"]),
        (series, "Modality", empty(), ["1.3.1"]),
        (series, "Modality", any_of("CT", "MR"), ["1.2.1", "1.1.1"]),
        (series, "ModalitiesInStudy", is_value("SR"), ["1.1.1", "1.1.2"]),
        (series, "SeriesNumber", is_value("3"), ["1.2.1"]),
        (series, "SeriesNumber", empty(), ["1.1.2", "1.3.1"]),
        (series, "SeriesInstanceUID", uids("1.1.2", "1.3.1"), ["1.1.2", "1.3.1"]),
        (series, "NumberOfSeriesRelatedInstances", is_value("2"), ["1.1.1"]),
        (series, "RequestAttributesSequence.RequestedProcedureID", is_value("RP1"), ["1.1.2"]),
        (series, "RequestAttributesSequence.ScheduledProcedureStepID", like("SPS?"), ["1.1.2"]),
        (series, "PerformedProcedureStepStartDate", between("20240101", "20240105"), ["1.2.1"]),
        (series, "PerformedProcedureStepStartTime", is_value("10"), ["1.2.1"]),
        (
            series,
            "PerformedProcedureStepStartDate",
            date_times_between("PerformedProcedureStepStartTime", "20240105101500.000000", None),
            ["1.2.1"],
        ),
        (
            series,
            "PerformedProcedureStepStartDate",
            date_times_between("PerformedProcedureStepStartTime", "20240105101600.000000", None),
            [],
        ),
        (one, "SOPInstanceUID", uids("1.1.1.1"), ["1.1.1.1", "1.1.1.1"]),
        (one, "SOPClassUID", is_value("1.2.840.10008.5.1.4.1.1.88.11"), ["1.1.2.1"]),
        (one, "InstanceNumber", is_value("2"), ["1.1.1.2"]),
        (one, "AvailableTransferSyntaxUID", is_value("1.2.840.10008.1.2"), ["1.1.2.1"]),
        (one, "ConceptNameCodeSequence.CodeValue", is_value("113000"), ["1.1.2.1"]),
        (one, "ContentDate", is_value("20240106"), ["1.1.1.1"]),
        (
            one,
            "ContentDate",
            date_times_between("ContentTime", "20240106060000.000000", "20240106080000.000000"),
            ["1.1.1.1"],
        ),
        (one, "ContentDate", date_times_between("ContentTime", "20240106080000.000000", None), []),
        (one, "Modality", is_value("MR"), ["1.1.1.1"]),
        (one, "StudyDate", is_value("20240102"), ["1.1.1.1"]),
        (one, "RequestAttributesSequence.RequestedProcedureID", is_value("RP1"), ["1.1.2.1"]),
    ]:
        query = SearchQuery(level, matches=(AttributeMatch(standard_path(path), rule),))
        page = await search(db, query)
        assert [result.dataset[uid[level]]["Value"][0] for result in page.results] == expected, (path, rule)
        assert LEVEL_NUMBER[level_of(standard_path(path).tags[0])] <= LEVEL_NUMBER[level]


async def test_two_keys_of_a_sequence_match_in_one_item(db: Database) -> None:
    items = [
        {"00400009": {"vr": "SH", "Value": [step]}, "00401001": {"vr": "SH", "Value": [procedure]}}
        for step, procedure in (("S1", "P1"), ("S2", "P2"))
    ]
    await store(db, [instance("1", "1.1", "1.1.1", RequestAttributesSequence=items)])
    for step, procedure, number in (("S1", "P1", 1), ("S1", "P2", 0), ("S2", "P2", 1)):
        keys = (
            AttributeMatch(standard_path("RequestAttributesSequence.ScheduledProcedureStepID"), is_value(step)),
            AttributeMatch(standard_path("RequestAttributesSequence.RequestedProcedureID"), is_value(procedure)),
        )
        assert len((await search(db, SearchQuery(Level.SERIES, matches=keys))).results) == number


async def test_all_values_within_a_sequence_that_is_searchable(database_url: str) -> None:
    """QID-060: the rows of the index do not tell of which item a value is."""
    path = standard_path("ReferringPhysicianIdentificationSequence.PersonTelephoneNumbers")
    db = await open_database(database_url, searchable=[path])
    for study, items in (("1", (["1", "2"],)), ("2", (["1"], ["2"])), ("3", (["2"],))):
        numbers = [dataset(PersonTelephoneNumbers=values) for values in items]
        attributes = {"ReferringPhysicianIdentificationSequence": numbers}
        await store(db, [instance(study, f"{study}.1", f"{study}.1.1", **attributes)])
    for rule, studies in ((all_of("2", "1"), {"1"}), (any_of("1", "9"), {"1", "2"})):
        assert await _found(db, SearchQuery(Level.STUDY, matches=(AttributeMatch(path, rule),))) == studies
    await close_database(db)


@pytest.mark.parametrize("path", ["OtherPatientIDs", "PhysiciansOfRecord", "MedicalAlerts", "ModalitiesInStudy"])
async def test_as_many_values_as_may_have_to_match(db: Database, path: str) -> None:
    texts = [f"V{number}" for number in range(MAX_PATTERNS)]
    series = [
        instance("1", f"1.{n}", f"1.{n}.1", Modality=text, **({path: texts} if path != "ModalitiesInStudy" else {}))
        for n, text in enumerate(texts)
    ]
    await store(db, series)
    assert await _found(db, _query(Case({}, ((path, all_of(*texts)),)))) == {"1"}
    assert await _found(db, _query(Case({}, ((path, all_of(*texts[1:], "W")),)))) == set()
    with pytest.raises(InvalidQuery, match="at most 32"):
        await _found(db, _query(Case({}, ((path, all_of(*texts, "W")),))))


async def test_scope(db: Database) -> None:
    await _archive(db)
    for level, study, series, number in [
        (Level.SERIES, "1.1", None, 2),
        (Level.SERIES, "1.9", None, 0),
        (Level.INSTANCE, "1.1", None, 3),
        (Level.INSTANCE, "1.1", "1.1.1", 2),
        (Level.INSTANCE, "1.2", "1.1.1", 0),
        (Level.INSTANCE, "1.9", "1.1.1", 0),
    ]:
        page = await search(db, SearchQuery(level, study_instance_uid=study, series_instance_uid=series))
        assert len(page.results) == number
        assert page.total_known == number
        assert page.remaining == 0


async def test_a_change_of_the_study_reaches_every_index(db: Database) -> None:
    first = {"StudyDescription": "Head", "PatientID": "A", "Modality": "CT"}
    await store(db, [instance("1", "1.1", "1.1.1", StudyDate="20240101", **first)])
    await store(db, [instance("1", "1.1", "1.1.2", StudyDate="20240202", **{**first, "StudyDescription": "Neck"})])
    date = AttributeMatch(standard_path("StudyDate"), is_value("20240202"))
    for path, rule, number in [
        ("ModalitiesInStudy", is_value("CT"), 1),
        ("StudyDescription", is_value("Neck"), 1),
        ("StudyDescription", is_value("Head"), 0),
        ("PatientID", is_value("A"), 1),
    ]:
        match = AttributeMatch(standard_path(path), rule)
        patient = AttributeMatch(standard_path("PatientID"), is_value("A"))
        for keys in ((match,), (match, date), (match, patient)):
            assert len(await _found(db, SearchQuery(Level.STUDY, matches=keys))) == number
