"""Our additions around metadata and bulkdata: projection, and documents as what they are."""

import asyncio
import json
import threading
import zlib
from typing import Any

import httpx
import pytest
import zstandard

from app.api import metadata as metadata_api
from app.dicomweb import search_response
from app.dicomweb.metadata_projection import Projection
from tests.support.dicom_bytes import make_instance, new_uid

# Attributes of a thousand characters each, just short of what is sent by BulkDataURI.
LONG = ("ImageComments", "PatientComments", "VisitComments", "AdditionalPatientHistory", "DerivationDescription")
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


@pytest.fixture
async def series(client: httpx.AsyncClient) -> str:
    study, one = new_uid(), new_uid()
    for number in range(8):
        url = await url_of(
            client, make_instance(study, one, InstanceNumber=str(number), EncapsulatedDocument=bytes(2000))
        )
    return url.split("/instances/")[0]


async def raw(client: httpx.AsyncClient, url: str, coding: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer and its body as sent."""
    named = {"accept-encoding": coding} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", url, headers=named) as answer:
        return answer, b"".join([piece async for piece in answer.aiter_raw()])


async def test_documents_are_sent_compressed_as_they_are_kept(client: httpx.AsyncClient, series: str) -> None:
    plain, text = await raw(client, f"{series}/metadata", "identity")
    assert len(json.loads(text)) == 8
    assert plain.headers["content-length"] == str(len(text))
    assert "content-encoding" not in plain.headers
    for coding in ("gzip", "zstd, gzip;q=0.5", "br, gzip, deflate"):
        answer, body = await raw(client, f"{series}/metadata", coding)
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["content-length"] == str(len(body))
        assert "Accept-Encoding" in answer.headers["vary"]
        assert answer.headers["etag"] == f"W/{plain.headers['etag']}"
        inflater = zlib.decompressobj(wbits=31)
        assert inflater.decompress(body) == text
        assert inflater.unused_data == b""  # clients read one member only
    zstd, body = await raw(client, f"{series}/metadata", "zstd, gzip;q=0")
    assert zstd.headers["content-encoding"] == "zstd"
    assert zstandard.ZstdDecompressor().decompressobj().decompress(body) == text


async def test_one_tag_for_all_codings(client: httpx.AsyncClient, series: str) -> None:
    for first in ("identity", "gzip"):
        answer, _ = await raw(client, f"{series}/metadata", first)
        for second in ("identity", "gzip", "zstd"):
            again, body = await raw(client, f"{series}/metadata", second, if_none_match=answer.headers["etag"])
            assert (again.status_code, body) == (304, b"")


async def test_head_of_a_kept_document(client: httpx.AsyncClient, series: str) -> None:
    for coding in ("identity", "gzip"):
        answer, body = await raw(client, f"{series}/metadata", coding)
        head = await client.head(f"{series}/metadata", headers={"accept-encoding": coding})
        assert head.status_code == 200
        assert head.headers["content-length"] == str(len(body))
        assert head.headers["etag"] == answer.headers["etag"]
        assert head.content == b""


XML = 'multipart/related; type="application/dicom+xml"'


@pytest.mark.parametrize("projected", [False, True])
async def test_xml_is_made_in_threads_a_few_documents_at_a_time(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, projected: bool
) -> None:
    """Nobody else waits for it, and no more is held than what is about to be sent."""
    study, series = new_uid(), new_uid()
    for _ in range(30):
        url = await url_of(client, make_instance(study, series, **dict.fromkeys(LONG, "c" * 1000)))
    made: list[int] = []
    together: list[int] = []
    to_native_xml, to_thread = metadata_api.to_native_xml, asyncio.to_thread

    def counted(dataset: dict[str, Any]) -> bytes:
        made.append(threading.get_ident())
        return to_native_xml(dataset)

    async def counted_call(*arguments: Any) -> Any:
        before = len(made)
        result = await to_thread(*arguments)
        together.append(len(made) - before)
        return result

    monkeypatch.setattr(metadata_api, "to_native_xml", counted)
    monkeypatch.setattr(metadata_api.asyncio, "to_thread", counted_call)
    query = f"?includefield={','.join(LONG)}" if projected else ""
    answer = await client.get(f"{url.split('/series/')[0]}/metadata{query}", headers={"accept": XML})
    assert answer.content.count(b"<NativeDicomModel") == len(made) == 30
    assert threading.get_ident() not in made
    assert 1 < max(together) <= 16


async def test_projections_are_made_in_threads(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty microseconds an instance: for a whole study nobody else would be answered meanwhile."""
    study = new_uid()
    for _ in range(3):
        url = await url_of(client, make_instance(study, SeriesDescription="x"))
    made: list[int] = []
    apply = Projection.apply

    def counted(*arguments: Any) -> bytes:
        made.append(threading.get_ident())
        return apply(*arguments)

    monkeypatch.setattr(Projection, "apply", counted)
    answer = await client.get(f"{url.split('/series/')[0]}/metadata?includefield=PatientName")
    assert len(answer.json()) == len(made) == 3
    assert threading.get_ident() not in made


async def test_results_in_xml_are_made_in_threads(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        await url_of(client, make_instance())
    made: list[int] = []
    to_native_xml = search_response.to_native_xml

    def counted(dataset: dict[str, Any]) -> bytes:
        made.append(threading.get_ident())
        return to_native_xml(dataset)

    monkeypatch.setattr(search_response, "to_native_xml", counted)
    answer = await client.get("/dicomweb/studies", headers={"accept": XML})
    assert answer.content.count(b"<NativeDicomModel") == len(made) == 3
    assert threading.get_ident() not in made
