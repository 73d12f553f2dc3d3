"""Every indexed key is an index search on both databases, and the newest studies come without sorting all of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.db import search as search_module
from app.db import wide_search
from app.db.engine import Database
from app.db.matching_sql import Matching, matching_of
from app.db.search import search
from app.db.search_reader import rows_of
from app.db.search_statements import count, page_among_newest, page_of_all
from app.db.sql_text import Sql, numbered
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, Level, Rule, SearchQuery, SingleValue
from tests.support.matching_cases import all_of, any_of, between, date_times_between, empty, is_value, like, uids

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
    (Level.STUDY, [("ModalitiesInStudy", all_of("CT", "PT"))], "ix_study_modalities_modality_study_date_study_id"),
    (
        Level.STUDY,
        [("OtherPatientIDs", all_of("A", "B"))],
        "ix_attribute_values_level_path_value",
    ),
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


# How long lists of owners are is asked first.
_LENGTHS = "SELECT (SELECT count(*)"
Plan = Callable[..., Awaitable[str]]


async def _explained(db: Database, statement: str, values: Sequence[Any], *forbidden: str) -> str:
    """PostgreSQL sorts and reads whole tables when they are small, so that is forbidden: what is left in the plan has no
    other way."""
    async with db.engine.begin() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if db.dialect == "sqlite":
            rows = await driver.execute_fetchall(f"EXPLAIN QUERY PLAN {statement}", values)
        else:
            for way in ("enable_seqscan", *forbidden):
                await connection.exec_driver_sql(f"SET LOCAL {way} = off")
            rows = await driver.fetch(f"EXPLAIN {numbered(statement)}", *values)
    return "\n".join(str(row[-1]) for row in rows)


@pytest.fixture
def plan_of(db: Database, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """How the page is found, or the candidates are."""

    async def plan(query: SearchQuery, *forbidden: str) -> str:
        sent: list[Sql] = []

        async def noted(db: Database, statement: Sql, **how: Any) -> Any:
            sent.append(statement)
            return await rows_of(db, statement, **how)

        for module in (search_module, wide_search):
            monkeypatch.setattr(module, "rows_of", noted)
        await search(db, query)
        page = next(one for one in sent if not one.text.startswith(_LENGTHS))
        return await _explained(db, page.text, page.values, *forbidden)

    return plan


@pytest.mark.parametrize(("level", "keys", "index"), _CASES, ids=str)
async def test_keys_are_searched_by_index(
    db: Database, plan_of: Plan, level: Level, keys: list[tuple[str, Rule]], index: str
) -> None:
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in keys)
    plan = await plan_of(SearchQuery(level, matches=matches))
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
async def test_the_page_is_found_without_sorting(db: Database, plan_of: Plan, keys: list[tuple[str, Rule]]) -> None:
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in keys)
    query = SearchQuery(Level.STUDY, matches=matches, limit=10)
    plan = await plan_of(query, "enable_sort", "enable_incremental_sort", "enable_bitmapscan")
    if db.dialect == "sqlite":
        assert "USE TEMP B-TREE" not in plan[: plan.index("SCAN page")]
    else:
        assert "Sort Key" not in plan[plan.index("Limit") : plan.index("SubPlan")], plan


_WALKS = [
    (("PatientName", like("doe*")), False),
    (("PatientName", like("*doe*")), False),
    (("PatientName", is_value("john doe")), True),
    (("PatientID", like("P*")), False),
    (("StudyDescription", like("He*")), False),
]


@pytest.mark.parametrize(("key", "fuzzy"), _WALKS, ids=str)
async def test_keys_that_fit_many_are_held_against_the_newest_studies(
    db: Database, plan_of: Plan, monkeypatch: pytest.MonkeyPatch, key: tuple[str, Rule], fuzzy: bool
) -> None:
    monkeypatch.setattr(search_module, "_MAX_WIDE", -1)
    query = SearchQuery(Level.STUDY, matches=(AttributeMatch(standard_path(key[0]), key[1]),), limit=10, fuzzy=fuzzy)
    plan = await plan_of(query, "enable_sort", "enable_bitmapscan")
    assert "ix_studies_study_date_id" in plan
    if db.dialect == "sqlite":
        assert "USE TEMP B-TREE" not in plan[: plan.index("SCAN page")]
    if fuzzy or key[0] == "StudyDescription":
        # Of PostgreSQL any index that begins with the owner's level will do here: there are no rows to tell them apart.
        assert "ix_attribute_values_level_owner_id" in plan or db.dialect == "postgresql"


@pytest.mark.parametrize(("key", "fuzzy"), _WALKS, ids=str)
async def test_keys_that_fit_many(db: Database, key: tuple[str, Rule], fuzzy: bool) -> None:
    """A page of the newest studies ends with its last result; everything is fetched along indexes that hold the order."""
    matches = (AttributeMatch(standard_path(key[0]), key[1]),)
    wide = matching_of(SearchQuery(Level.STUDY, matches=matches, fuzzy=fuzzy), db.dialect).wide
    assert wide is not None
    newest = page_among_newest(db.dialect, wide, [], "studies.id", 100, 10, 0)
    plan = await _explained(db, newest.text, newest.values, "enable_sort", "enable_bitmapscan")
    assert "ix_studies_study_date_id" in plan
    if db.dialect == "sqlite":
        assert "CO-ROUTINE studies" in plan
        assert "USE TEMP B-TREE" not in plan[: plan.index("SCAN page")]
    else:
        assert "Sort Key" not in plan[plan.index("Limit") :], plan
    everything = page_of_all(db.dialect, wide, [], "studies.id", 10, 0)
    plan = await _explained(db, everything.text, everything.values, "enable_seqscan")
    if db.dialect == "sqlite":
        assert "SCAN studies\n" not in plan[: plan.index("SCAN page")]
        assert "USING COVERING INDEX" in plan
    else:
        assert "Seq Scan" not in plan, plan


async def test_keys_that_fit_few_are_found_along_their_index_alone(
    db: Database, plan_of: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no(_db: Database) -> bool:
        return False

    monkeypatch.setattr(wide_search, "_has_many_studies", no)
    for keyword, rule in (("PatientName", like("doe*")), ("PatientName", like("*doe*")), ("PatientID", like("P*"))):
        plan = await plan_of(SearchQuery(Level.STUDY, matches=(AttributeMatch(standard_path(keyword), rule),)))
        index = "ix_studies_patient_id" if keyword == "PatientID" else "ix_studies_patient_name_alphabetic"
        if db.dialect == "sqlite":
            assert f"USING COVERING INDEX {index}" in plan
        else:
            # All values of a name are in two indexes; with no rows the planner has no reason to prefer one.
            assert index in plan or (rule == like("*doe*") and "ix_studies_study_date_id" in plan)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDescription"])
@pytest.mark.parametrize("dates", [[], [("StudyDate", between("20240101", None))]], ids=["all", "dates"])
async def test_parts_of_texts_are_looked_for_among_the_newest_studies_first(
    db: Database, plan_of: Plan, monkeypatch: pytest.MonkeyPatch, keyword: str, dates: list[tuple[str, Rule]]
) -> None:
    async def yes(_db: Database) -> bool:
        return True

    monkeypatch.setattr(wide_search, "_has_many_studies", yes)
    keys = [(keyword, like("*doe*")), *dates]
    matches = tuple(AttributeMatch(standard_path(path), rule) for path, rule in keys)
    plan = await plan_of(SearchQuery(Level.STUDY, matches=matches, limit=10), "enable_sort", "enable_bitmapscan")
    assert "ix_studies_study_date_id" in plan
    if db.dialect == "sqlite":
        newest = plan[plan.index("MATERIALIZE newest") :].splitlines()
        assert "ix_studies_study_date_id" in newest[1]
        assert "TEMP B-TREE" not in newest[2]
    else:
        assert "Sort Key" not in plan[plan.index("CTE newest") : plan.index("CTE studies_found")]
    assert "ix_studies_patient_name_alphabetic" not in plan


async def test_what_lies_behind_a_deep_page_is_counted_from_there(db: Database) -> None:
    statement = count(db.dialect, Level.STUDY, Matching(), 100, behind=("20240101", 7))
    plan = await _explained(db, statement.text, statement.values, "enable_bitmapscan")
    if db.dialect == "sqlite":
        assert "COVERING INDEX ix_studies_study_date_id (study_date<?)" in plan
    else:
        assert "Index Cond: (ROW(study_date, id) < ROW(" in plan


async def test_a_study_scope_starts_from_the_study(db: Database, plan_of: Plan) -> None:
    query = SearchQuery(Level.INSTANCE, study_instance_uid="1", series_instance_uid="1.1")
    plan = await plan_of(query)
    if db.dialect == "sqlite":
        assert "studies_1 (study_instance_uid=?)" in plan
        assert "series_1 (study_id=? AND series_instance_uid=?)" in plan
        assert "instances_2 (series_id=?)" in plan or "instances_1 (series_id=?)" in plan
    else:
        assert "Seq Scan" not in plan


async def test_a_key_without_an_index_reads_the_newest_candidates_first(db: Database, plan_of: Plan) -> None:
    matches = (AttributeMatch(standard_path("PatientComments"), SingleValue("x")),)
    plan = await plan_of(SearchQuery(Level.STUDY, matches=matches))
    assert "ix_studies_study_date_id" in plan or "Sort Key: study_date" in plan.replace("studies.", "")
    empty_key = (AttributeMatch(standard_path("AccessionNumber"), empty()),)
    assert "ix_studies_accession_number" in await plan_of(SearchQuery(Level.STUDY, matches=empty_key))
