"""application/zip: studies, series and instances as one file, as stored."""

import io
import zipfile

import httpx
import pytest

from tests.support.dicom_bytes import BIG_ENDIAN, IMPLICIT, make_instance, new_uid


@pytest.fixture
async def stored(client: httpx.AsyncClient) -> dict[str, bytes]:
    """URL of each instance of one study -> its bytes."""
    study, series = new_uid(), [new_uid(), new_uid()]
    found = {}
    for number, syntax in enumerate((None, IMPLICIT, BIG_ENDIAN)):
        more = {"transfer_syntax": syntax} if syntax else {}
        data = make_instance(study, series[number % 2], rows=700, columns=700, **more)
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        found[answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]] = data
    return found


async def test_every_level_as_stored_bit_for_bit(client: httpx.AsyncClient, stored: dict[str, bytes]) -> None:
    for url, data in stored.items():
        study, series = url.split("/series/")[0], url.split("/instances/")[0]
        for level in (study, series, url):
            expected = {
                "/".join(one.split("/")[-5::2]) + ".dcm": content
                for one, content in stored.items()
                if one.startswith(level)
            }
            answer = await client.get(level, headers={"accept": "application/zip"})
            assert answer.headers["content-type"] == "application/zip"
            assert answer.headers["content-disposition"].endswith('.zip"')
            with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
                assert file.testzip() is None
                assert {name: file.read(name) for name in file.namelist()} == expected
                assert all(entry.compress_type == zipfile.ZIP_STORED for entry in file.infolist())
        assert data


async def test_unchanged_zip_is_not_sent_again(client: httpx.AsyncClient, stored: dict[str, bytes]) -> None:
    study = next(iter(stored)).split("/series/")[0]
    first = await client.get(study, headers={"accept": "application/zip"})
    again = await client.get(study, headers={"accept": "application/zip", "if-none-match": first.headers["etag"]})
    assert again.status_code == 304


async def test_wildcards_never_lead_to_a_zip(client: httpx.AsyncClient, stored: dict[str, bytes]) -> None:
    study = next(iter(stored)).split("/series/")[0]
    for accept in ("*/*", "application/*"):
        answer = await client.get(study, headers={"accept": accept})
        assert not answer.headers["content-type"].startswith("application/zip")


async def test_a_zip_with_other_times_in_it_has_another_tag(client: httpx.AsyncClient) -> None:
    """The same file stored again: the archive says when, so its bytes are others."""
    data = make_instance()
    found = []
    for _ in range(2):
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        study = answer.json()["00081190"]["Value"][0]
        found.append((await client.get(study, headers={"accept": "application/zip"})).headers["etag"])
        assert (await client.delete(study)).status_code == 204
    assert len(set(found)) == 2
