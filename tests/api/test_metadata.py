"""Our additions around metadata and bulkdata: projection, and documents as what they are."""

import httpx
import pytest

from tests.support.dicom_bytes import make_instance, new_uid

PDF = b"%PDF-1.4\n" + bytes(range(256)) * 20


async def url_of(client: httpx.AsyncClient, data: bytes) -> str:
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return url


async def test_only_what_is_asked_for(client: httpx.AsyncClient) -> None:
    url = await url_of(client, make_instance(PatientName="Doe^Jane", PatientID="1", SeriesDescription="x"))
    study = url.split("/series/")[0]
    whole = await client.get(f"{study}/metadata")
    some = await client.get(f"{study}/metadata?includefield=PatientName,00100020")
    (dataset,) = some.json()
    assert {"00100010", "00100020", "00080018", "0020000D"} <= set(dataset)
    assert "0008103E" not in dataset
    assert some.headers["etag"] != whole.headers["etag"]
    assert (await client.get(f"{study}/metadata?includefield=all")).content == whole.content
    assert (await client.get(f"{study}/metadata?includefield=nothing")).status_code == 400


async def test_projection_in_xml(client: httpx.AsyncClient) -> None:
    url = await url_of(client, make_instance(PatientName="Doe^Jane", SeriesDescription="x"))
    answer = await client.get(
        f"{url}/metadata?includefield=PatientName",
        headers={"accept": 'multipart/related; type="application/dicom+xml"'},
    )
    assert b'keyword="PatientName"' in answer.content
    assert b'keyword="SeriesDescription"' not in answer.content


@pytest.fixture
async def document(client: httpx.AsyncClient) -> str:
    data = make_instance(
        new_uid(),
        sop_class="1.2.840.10008.5.1.4.1.1.104.1",
        rows=None,
        columns=None,
        MIMETypeOfEncapsulatedDocument="application/pdf",
        EncapsulatedDocument=PDF,
    )
    return await url_of(client, data)


async def test_encapsulated_document_as_its_own_type(client: httpx.AsyncClient, document: str) -> None:
    (dataset,) = (await client.get(f"{document}/metadata")).json()
    uri = dataset["00420011"]["BulkDataURI"]
    answer = await client.get(uri, headers={"accept": "application/pdf"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.rstrip(b"\0") == PDF.rstrip(b"\0")
    part = await client.get(uri, headers={"accept": "application/pdf", "range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, PDF[:8])
    assert (await client.get(uri, headers={"accept": "text/xml"})).status_code == 406
    octets = await client.get(uri, headers={"accept": "*/*"})
    assert octets.headers["content-type"].startswith("application/octet-stream")


async def test_stored_syntax_is_told_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    url = await url_of(client, make_instance())
    (dataset,) = (await client.get(f"{url}/metadata?includefield=AvailableTransferSyntaxUID")).json()
    assert dataset["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    assert list(dataset) == sorted(dataset)
    (whole,) = (await client.get(f"{url}/metadata")).json()
    assert "00083002" not in whole
