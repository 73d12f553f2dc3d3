"""Servers and commands side by side, or one alone: what empties the tables must not be beside one that fills them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.db import sole_use
from app.db.engine import close_database, open_database
from app.db.postgresql import SOLE_USER, USER
from app.db.sole_use import in_use
from app.errors import DatabaseUnavailable


@asynccontextmanager
async def user(url: str, *, alone: bool = False) -> AsyncIterator[None]:
    """As app.main opens an archive."""
    db = await open_database(url, pool_size=1, alone=alone)
    try:
        async with in_use(db, alone=alone):
            yield
    finally:
        await close_database(db)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sole_use, "PAUSES", (0.05,))


async def test_users_are_side_by_side(database_url: str) -> None:
    async with user(database_url), user(database_url):
        pass


async def test_nobody_is_alone_beside_a_user(database_url: str) -> None:
    async with user(database_url):
        with pytest.raises(DatabaseUnavailable, match="stop it first"):
            async with user(database_url, alone=True):
                raise AssertionError("it was let in")


async def test_nobody_comes_beside_who_is_alone(database_url: str) -> None:
    async with user(database_url, alone=True):
        with pytest.raises(DatabaseUnavailable, match="is being reindexed"):
            async with user(database_url):
                raise AssertionError("it was let in")
        with pytest.raises(DatabaseUnavailable, match="stop it first"):
            async with user(database_url, alone=True):
                raise AssertionError("there were two")


async def test_who_has_gone_is_in_nobodys_way(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sole_use, "PAUSES", (0.1, 0.4, 1.0))
    for alone in (False, True, False, True):
        async with user(database_url, alone=alone):
            pass


@pytest.mark.parametrize("alone", [False, True])
async def test_connections_of_look_ups_have_the_same_name(database_url: str, alone: bool) -> None:
    db = await open_database(database_url, alone=alone)
    try:
        if db.look_ups is not None:
            ((name,),) = await db.look_ups.fetch("SELECT current_setting('application_name')", ())
            assert name == (SOLE_USER if alone else USER)
    finally:
        await close_database(db)
