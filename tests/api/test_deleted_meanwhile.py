"""What is deleted between being found and being read: a status says so, as it does a moment later."""

from typing import Any

import httpx
import pytest

from app.api import metadata as metadata_api
from app.db import metadata as metadata_rows
from app.services.metadata import metadata_version
from tests.support.dicom_bytes import make_instance, new_uid

XML = 'multipart/related; type="application/dicom+xml"'


@pytest.fixture
async def instance(client: httpx.AsyncClient) -> str:
    data = make_instance("1.2.3", "1.2.3.1", "1.2.1", ImageComments="".join(new_uid() for _ in range(9)))
    headers = {"content-type": "application/dicom"}
    assert (await client.post("/dicomweb/studies", content=data, headers=headers)).status_code == 200
    return "/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.1"


@pytest.mark.parametrize("accept", ["application/dicom+json", XML])
@pytest.mark.parametrize("level", ["study", "series", "instance"])
@pytest.mark.parametrize("query", ["", "?includefield=PatientName"])
async def test_metadata_behind_its_version(
    client: httpx.AsyncClient, instance: str, monkeypatch: pytest.MonkeyPatch, accept: str, level: str, query: str
) -> None:
    async def deleted_behind(*args: Any) -> Any:
        version = await metadata_version(*args)
        assert (await client.delete(instance)).status_code == 204
        return version

    monkeypatch.setattr(metadata_api, "metadata_version", deleted_behind)
    url = {"study": instance.split("/series")[0], "series": instance.split("/instances")[0], "instance": instance}[
        level
    ]
    answer = await client.get(f"{url}/metadata{query}", headers={"accept": accept})
    assert answer.status_code == 410, answer.text


@pytest.mark.parametrize("accept", ["application/dicom+json", XML])
async def test_metadata_whose_rows_are_found_and_gone(
    client: httpx.AsyncClient, instance: str, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    fetch = metadata_rows._fetch

    async def deleted_before(*args: Any) -> Any:
        await client.delete(instance)
        return await fetch(*args)

    monkeypatch.setattr(metadata_rows, "_fetch", deleted_before)
    series = instance.split("/instances")[0]
    answer = await client.get(f"{series}/metadata?includefield=PatientName", headers={"accept": accept})
    assert answer.status_code == 410, answer.text
