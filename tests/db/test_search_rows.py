"""Results of rows that are met again and again are kept; what has changed is another row."""

from typing import Any

import pytest

from app.db import search_rows
from app.db.engine import Database
from app.db.search import search
from app.db.search_rows import RowReader
from app.dicom.attributes import TAGS, standard_path
from app.dicom.instance import DicomJson
from app.dicom.matching import Level, SearchQuery
from tests.support.archive import instance, store


async def _fill(db: Database) -> None:
    for number in range(1, 4):
        study, series = f"{number}", f"{number}.1"
        await store(db, [instance(study, series, f"{series}.{n}", Modality="CT", EthnicGroup="x") for n in (1, 2)])


async def _results(db: Database, level: Level, **query: Any) -> list[DicomJson]:
    page = await search(db, SearchQuery(level, **query))
    return [result.dataset for result in page.results]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Rows that results were made of, since nothing was kept."""
    rows: list[tuple[Any, ...]] = []
    make = RowReader.make

    def noting(reader: RowReader, row: tuple[Any, ...]) -> Any:
        rows.append(row)
        return make(reader, row)

    monkeypatch.setattr(RowReader, "make", noting)
    search_rows._kept.cache_clear()
    return rows


@pytest.mark.parametrize("level", Level)
async def test_results_of_rows_that_are_met_again_are_kept(
    db: Database, made: list[tuple[Any, ...]], level: Level
) -> None:
    await _fill(db)
    first = await _results(db, level, limit=2)
    again = await _results(db, level, limit=3)
    assert again[:2] == first
    assert len(made) == len(again), "those of the first page were not made anew"
    assert await _results(db, level, limit=2, includes=(standard_path("EthnicGroup"),)) != first
    assert len(made) == len(again) + 2, "another selection of attributes is another result"


async def test_a_row_that_has_changed_has_another_result(db: Database, made: list[tuple[Any, ...]]) -> None:
    await _fill(db)
    before = await _results(db, Level.STUDY)
    await store(db, [instance("1", "1.9", "1.9.1", Modality="PT")])
    after = await _results(db, Level.STUDY)
    (old,) = [one for one in before if one[TAGS["StudyInstanceUID"]]["Value"] == ["1"]]
    (new,) = [one for one in after if one[TAGS["StudyInstanceUID"]]["Value"] == ["1"]]
    counts = TAGS["NumberOfStudyRelatedSeries"], TAGS["NumberOfStudyRelatedInstances"]
    assert [new[tag]["Value"][0] for tag in counts] == [old[tag]["Value"][0] + 1 for tag in counts]
    assert "PT" in new[TAGS["ModalitiesInStudy"]]["Value"]
    assert len(made) == len(before) + 1


async def test_results_of_large_rows_are_not_kept(db: Database, made: list[tuple[Any, ...]]) -> None:
    await store(db, [instance("1", "1.1", "1.1.1", StudyDescription="x" * 60, PatientComments="y" * 5000)])
    query: dict[str, Any] = {"includes": (standard_path("PatientComments"),)}
    assert await _results(db, Level.STUDY, **query) == await _results(db, Level.STUDY, **query)
    assert len(made) == 2


async def test_results_of_whole_metadata_are_not_kept(db: Database, made: list[tuple[Any, ...]]) -> None:
    """They are packed in the row, and many times as large as it is."""
    await _fill(db)
    query = SearchQuery(Level.INSTANCE, include_all=True)
    for count in (6, 12):
        assert len((await search(db, query)).results) == 6
        assert len(made) == count
