"""An archive on both databases, with blobs in a real folder."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.blobs.local import LocalBlobStore
from app.db.engine import Database
from app.db.ingest import DuplicatePolicy
from app.services.archive import Archive
from app.services.codec_threads import CodecThreads
from app.services.derived_cache import DerivedCache
from tests.support.databases import database_url, db, postgres_template, sqlite_template, statement_counter

__all__ = ["database_url", "db", "postgres_template", "sqlite_template", "statement_counter"]


@pytest.fixture
def threads() -> Iterator[CodecThreads]:
    with CodecThreads(2) as pool:
        yield pool


@pytest.fixture
async def archive(db: Database, tmp_path: Path, threads: CodecThreads) -> AsyncIterator[Archive]:
    blobs = LocalBlobStore(tmp_path / "blobs", sync=False)
    cache = DerivedCache(tmp_path / "cache", 1 << 30)
    yield Archive(db, blobs, threads, retention=timedelta(days=30), cache=cache)
    await blobs.close()


@pytest.fixture
def keeping(archive: Archive) -> Archive:
    """The same archive with GANTRY_DUPLICATES=keep."""
    return replace(archive, duplicates=DuplicatePolicy.KEEP)
