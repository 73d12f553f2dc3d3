"""The whole application on both databases, its blob store counting. Costs are counted here, never timed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.support.counting_blobs import CountingBlobs, Traffic
from tests.support.databases import database_url, postgres_template, sqlite_template, statement_counter

__all__ = ["database_url", "postgres_template", "sqlite_template", "statement_counter"]

Store = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def app(database_url: str, tmp_path: Path) -> AsyncIterator[FastAPI]:
    settings = Settings(data_dir=tmp_path / "data", database_url=database_url, sync=False, log_level="warning")
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
def traffic(app: FastAPI) -> Traffic:
    """What goes to and from the blob store of the application."""
    counting = CountingBlobs(app.state.door.archive.blobs)
    app.state.door = replace(app.state.door, archive=replace(app.state.door.archive, blobs=counting))
    return counting.traffic


@pytest.fixture
async def client(app: FastAPI, traffic: Traffic) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gantry.test") as one:
        yield one


@pytest.fixture
def store(client: httpx.AsyncClient, traffic: Traffic) -> Store:
    """Stores an instance; its path. What that cost is forgotten."""

    async def store_one(data: bytes) -> str:
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        assert answer.status_code == 200, answer.text
        url: str = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        traffic.clear()
        return url.removeprefix("http://gantry.test")

    return store_one
