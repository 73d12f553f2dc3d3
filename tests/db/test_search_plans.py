"""Every indexed key is an index search on both databases, and the newest studies come without sorting all of them."""

from typing import Any

import pytest
from sqlalchemy import Engine, event

from app.db.engine import Database
from app.db.search import search
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, Rule, SearchQuery, SingleValue
from tests.support.matching_cases import any_of, between, date_times_between, empty, is_value, like, uids

# What the inner select of the page may search by, in SQLite's words.
_CASES: list[tuple[Level, list[tuple[str, Rule]], str]] = [
    (Level.STUDY, [], "ix_studies_study_date_id"),
    (Level.STUDY, [("StudyDate", is_value("20240101"))], "ix_studies_study_date_id (study_date=?)"),
    (
        Level.STUDY,
        [("StudyDate", between("20240101", None))],
        "ix_studies_study_date_id (study_date>? AND study_date<?)",
    ),
    (
        Level.STUDY,
        [("StudyDate", date_times_between("StudyTime", "20240101100000.000000", "20240102100000.000000"))],
        "ix_studies_study_date_id (study_date>? AND study_date<?)",
    ),
    (Level.STUDY, [("PatientID", is_value("P"))], "ix_studies_patient_id (patient_id=?)"),
    (Level.STUDY, [("PatientID", like("P*"))], "ix_studies_patient_id (patient_id>? AND patient_id<?)"),
    (Level.STUDY, [("AccessionNumber", is_value("A"))], "ix_studies_accession_number (accession_number=?)"),
    (Level.STUDY, [("StudyID", is_value("A"))], "ix_studies_study_id (study_id=?)"),
    (Level.STUDY, [("StudyInstanceUID", is_value("1"))], "sqlite_autoindex_studies_1 (study_instance_uid=?)"),
    (Level.STUDY, [("StudyInstanceUID", uids("1", "2"))], "sqlite_autoindex_studies_1 (study_instance_uid=?)"),
    (Level.STUDY, [("PatientName", like("doe*"))], "ix_studies_patient_name_alphabetic (patient_name_alphabetic>?"),
    (Level.STUDY, [("PatientName", is_value("doe"))], "ix_studies_patient_name_phonetic (patient_name_phonetic=?)"),
    (Level.STUDY, [("PatientName", like("doe*"))], "ix_studies_patient_name_ideographic (patient_name_ideographic>?"),
    (
        Level.STUDY,
        [("ReferringPhysicianName", is_value("doe"))],
        "ix_studies_referring_physician_name_alphabetic (referring_physician_name_alphabetic=?)",
    ),
    (
        Level.STUDY,
        [("ModalitiesInStudy", is_value("CT"))],
        "ix_study_modalities_modality_study_date_study_id (modality=?)",
    ),
    (
        Level.STUDY,
        [("ModalitiesInStudy", is_value("CT")), ("StudyDate", between("20240101", "20240102"))],
        "ix_study_modalities_modality_study_date_study_id (modality=? AND study_date>? AND study_date<?)",
    ),
    (Level.STUDY, [("ModalitiesInStudy", is_value("CT")), ("PatientID", is_value("P"))], "ix_studies_patient_id"),
    (Level.STUDY, [("ModalitiesInStudy", any_of("CT", "MR"))], "ix_study_modalities_modality_study_date_study_id"),
    (
        Level.STUDY,
        [("StudyDescription", is_value("Head")), ("StudyDate", between("20240101", None))],
        "ix_attribute_values_level_path_value (level=? AND path=? AND value=? AND study_date>? AND study_date<?)",
    ),
    (
        Level.STUDY,
        [("StudyDescription", like("He*"))],
        "ix_attribute_values_level_path_value (level=? AND path=? AND value>? AND value<?)",
    ),
    (
        Level.STUDY,
        [("PatientSex", is_value("M")), ("PatientID", is_value("P"))],
        "ix_attribute_values_level_path_value (level=? AND path=? AND value=? AND study_date=? AND owner_id=?)",
    ),
    (Level.SERIES, [], "ix_studies_study_date_id"),
    (
        Level.SERIES,
        [("Modality", is_value("CT"))],
        "ix_study_modalities_modality_study_date_study_id (modality=?)",
    ),
    (Level.SERIES, [("SeriesInstanceUID", is_value("1"))], "ix_series_series_instance_uid (series_instance_uid=?)"),
    (Level.SERIES, [("PatientID", is_value("P"))], "ix_studies_patient_id (patient_id=?)"),
    (
        Level.SERIES,
        [("RequestAttributesSequence.RequestedProcedureID", is_value("R"))],
        "ix_attribute_values_level_path_value (level=? AND path=? AND value=?)",
    ),
    (Level.INSTANCE, [], "ix_studies_study_date_id"),
    (Level.INSTANCE, [("SOPInstanceUID", is_value("1"))], "ix_instances_sop_instance_uid (sop_instance_uid=?)"),
    (Level.INSTANCE, [("SOPClassUID", is_value("1"))], "ix_instances_sop_class_uid (sop_class_uid=?)"),
]


async def _plan(db: Database, query: SearchQuery, *forbidden: str) -> str:
    """How the page is found. PostgreSQL sorts and reads whole tables when they are small, so that is forbidden: what is
    left in the plan has no other way."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await search(db, query)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    statement, parameters = sent[0]
    async with db.engine.begin() as connection:
        if db.dialect == "postgresql":
            for way in ("enable_seqscan", *forbidden):
                await connection.exec_driver_sql(f"SET LOCAL {way} = off")
        explain = "EXPLAIN QUERY PLAN " if db.dialect == "sqlite" else "EXPLAIN "
        rows = await connection.exec_driver_sql(explain + statement, parameters)
        return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize(("level", "keys", "index"), _CASES, ids=str)
async def test_keys_are_searched_by_index(db: Database, level: Level, keys: list[tuple[str, Rule]], index: str) -> None:
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in keys)
    plan = await _plan(db, SearchQuery(level, matches=matches))
    if db.dialect == "sqlite":
        assert index in plan
        page = plan[: plan.index("SCAN page")]
        assert "SCAN studies\n" not in page
        assert "SCAN series" not in page
        assert "SCAN instances" not in page
    else:
        assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [("PatientID", is_value("P"))],
        [("AccessionNumber", is_value("P"))],
        [("ModalitiesInStudy", is_value("CT"))],
        [("ModalitiesInStudy", is_value("CT")), ("StudyDate", between("20240101", None))],
        [("StudyDescription", is_value("Head"))],
        [("StudyDate", between("20240101", None))],
    ],
    ids=str,
)
async def test_the_page_is_found_without_sorting(db: Database, keys: list[tuple[str, Rule]]) -> None:
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in keys)
    query = SearchQuery(Level.STUDY, matches=matches, limit=10)
    plan = await _plan(db, query, "enable_sort", "enable_incremental_sort", "enable_bitmapscan")
    if db.dialect == "sqlite":
        assert "USE TEMP B-TREE" not in plan[: plan.index("SCAN page")]
    else:
        assert "Sort Key" not in plan[plan.index("Limit") : plan.index("SubPlan")], plan


async def test_a_study_scope_starts_from_the_study(db: Database) -> None:
    query = SearchQuery(Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1")
    plan = await _plan(db, query)
    if db.dialect == "sqlite":
        assert "studies_1 (study_instance_uid=?)" in plan
        assert "series_1 (study_id=? AND series_instance_uid=?)" in plan
        assert "instances_2 (series_id=?)" in plan or "instances_1 (series_id=?)" in plan
    else:
        assert "Seq Scan" not in plan


async def test_a_key_without_an_index_reads_the_newest_candidates_first(db: Database) -> None:
    matches = (AttributeMatch(standard_path("PatientComments"), SingleValue("x")),)
    plan = await _plan(db, SearchQuery(Level.STUDY, matches=matches))
    assert "ix_studies_study_date_id" in plan or "Sort Key: study_date" in plan.replace("studies.", "")
    empty_key = (AttributeMatch(standard_path("AccessionNumber"), empty()),)
    assert "ix_studies_accession_number" in await _plan(db, SearchQuery(Level.STUDY, matches=empty_key))
