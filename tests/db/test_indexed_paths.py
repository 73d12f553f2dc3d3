"""An attribute that is made searchable later is found in what was stored before; one that no longer was, is not trusted again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.db.engine import Database, close_database, open_database
from app.db.indexed_paths import settle_indexed_paths
from app.db.inventory import begin_reindexing, end_reindexing
from app.db.search import search
from app.dicom.attributes import standard_path
from app.dicom.matching import AttributeMatch, AttributePath, Level, SearchQuery
from tests.support.archive import instance, store
from tests.support.matching_cases import is_value

DATE, RANK = standard_path("ContentDate"), standard_path("MilitaryRank")
BEFORE = instance("1", "1.1", "1.1.1", ContentDate="20240506", MilitaryRank="Major")
LATER = instance("2", "2.1", "2.1.1", ContentDate="20240506", MilitaryRank="Major")


@asynccontextmanager
async def started(
    url: str, searchable: Sequence[AttributePath], incomplete: Sequence[AttributePath] = ()
) -> AsyncIterator[Database]:
    db = await open_database(url, searchable=searchable)
    assert await settle_indexed_paths(db) == tuple(incomplete)
    yield db
    await close_database(db)


async def found(db: Database, path: AttributePath, value: str, *, by_index: bool) -> int:
    """By its index alone, or by whatever way there is."""
    query = SearchQuery(Level.INSTANCE, matches=(AttributeMatch(path, is_value(value)),))
    page = await search(db, query, **({"candidate_cap": 0} if by_index else {}))
    return len(page.results)


async def test_what_was_stored_before_is_found(database_url: str) -> None:
    async with started(database_url, []) as db:
        await store(db, [BEFORE])
    async with started(database_url, [DATE], incomplete=[DATE]) as db:
        await store(db, [LATER])
        assert await found(db, DATE, "20240506", by_index=False) == 2
    async with started(database_url, [DATE], incomplete=[DATE]) as db:
        assert await found(db, DATE, "20240506", by_index=False) == 2
        await begin_reindexing(db)
        await store(db, [BEFORE, LATER])
        await end_reindexing(db, {})
    async with started(database_url, [DATE]) as db:
        assert await found(db, DATE, "20240506", by_index=True) == 2


async def test_in_an_empty_archive_all_are_complete(database_url: str) -> None:
    async with started(database_url, [DATE, RANK]) as db:
        await store(db, [BEFORE])
    async with started(database_url, [RANK, DATE]) as db:
        assert await found(db, DATE, "20240506", by_index=True) == 1
        assert await found(db, RANK, "Major", by_index=True) == 1


async def test_what_was_not_searchable_for_a_time_is_incomplete(database_url: str) -> None:
    async with started(database_url, [DATE, RANK]) as db:
        await store(db, [BEFORE])
    async with started(database_url, [RANK]) as db:
        await store(db, [LATER])
    async with started(database_url, [DATE, RANK], incomplete=[DATE]) as db:
        assert await found(db, DATE, "20240506", by_index=False) == 2
        assert await found(db, RANK, "Major", by_index=True) == 2
