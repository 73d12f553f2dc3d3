"""A blob that a row names and that is gone: said with a status, never by an answer that breaks off."""

from pathlib import Path

import httpx
import pytest

from tests.support.dicom_bytes import make_instance

DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = 'multipart/related; type="application/octet-stream"'


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", DICOM),
        ("", "application/dicom; transfer-syntax=*"),
        ("/bulkdata/7FE00010", OCTETS),
        ("/bulkdata/7FE00010", "application/octet-stream"),
        ("/frames/1", OCTETS),
        ("/frames/1", "application/octet-stream"),
    ],
)
async def test_a_lost_blob_gets_a_status(client: httpx.AsyncClient, tmp_path: Path, path: str, accept: str) -> None:
    data = make_instance(rows=700, columns=700)
    stored = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    url = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    for _ in range(3):
        assert (await client.get(f"{url}{path}", headers={"accept": accept})).status_code == 200
    (blob,) = (tmp_path / "data" / "blobs").rglob("*.dcm")
    blob.unlink()
    assert (await client.get(f"{url}{path}", headers={"accept": accept})).status_code == 500
