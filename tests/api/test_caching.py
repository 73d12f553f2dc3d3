"""304 only for what the client has, and with the fields of the answer that it stands for."""

import httpx
import pytest

from app.api import caching
from tests.support.dicom_bytes import make_instance, new_uid

JSON = "application/dicom+json"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
LATER = "Fri, 31 Dec 9999 23:59:59 GMT"  # than whatever is stored


@pytest.fixture
async def stored(client: httpx.AsyncClient) -> list[str]:
    """Instances of two series of one study, in the order they came in."""
    study, urls = new_uid(), []
    for comment in "ab":
        data = make_instance(study, rows=8, columns=8, ImageComments=comment * 900)
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        urls.append(answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0])
    return urls


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
@pytest.mark.parametrize("query", ["", "?includefield=ImageComments"])
async def test_fields_are_those_of_the_answer(
    client: httpx.AsyncClient, stored: list[str], coding: str, query: str
) -> None:
    for url in (stored[0].split("/series/")[0], stored[0]):
        headers = {"accept": JSON, "accept-encoding": coding}
        whole = await client.get(f"{url}/metadata{query}", headers=headers)
        assert whole.headers.get("content-encoding", "identity") == coding or not query
        assert whole.headers["etag"].startswith("W/") == ("content-encoding" in whole.headers)
        known = {"if-none-match": f'"other", {whole.headers["etag"]}'}
        same = await client.get(f"{url}/metadata{query}", headers=headers | known)
        assert (same.status_code, same.content) == (304, b"")
        for name in ("etag", "vary", "cache-control", "content-location"):
            assert same.headers[name] == whole.headers[name], name


async def test_pixels_have_no_content_coding(client: httpx.AsyncClient, stored: list[str]) -> None:
    for suffix, accept in (("", "application/dicom"), ("/rendered", "image/png"), ("/thumbnail", "image/png")):
        headers = {"accept": accept, "accept-encoding": "gzip"}
        whole = await client.get(f"{stored[0]}{suffix}", headers=headers)
        known = {"if-none-match": "W/" + whole.headers["etag"]}
        same = await client.get(f"{stored[0]}{suffix}", headers=headers | known)
        assert same.status_code == 304
        assert (same.headers["etag"], same.headers["vary"]) == (whole.headers["etag"], whole.headers["vary"])


RESOURCES = pytest.mark.parametrize(
    ("suffix", "accept"),
    [
        ("/metadata", JSON),
        ("/rendered", 'multipart/related; type="image/png"'),
        ("/thumbnail", "image/png"),
        ("", "application/zip"),
    ],
)


@RESOURCES
async def test_a_date_says_nothing_of_several_instances(
    client: httpx.AsyncClient, stored: list[str], monkeypatch: pytest.MonkeyPatch, suffix: str, accept: str
) -> None:
    """The newest series is deleted: what is left is older than what the client has."""
    monkeypatch.setattr(caching, "SETTLED_SECONDS", -1.0)
    study, series = stored[1].split("/series/")[0], stored[1].split("/instances/")[0]
    for url in (study, series):
        before = await client.get(f"{url}{suffix}", headers={"accept": accept})
        assert before.status_code == 200
        headers = {"accept": accept, "if-modified-since": before.headers.get("last-modified", LATER)}
        assert (await client.get(f"{url}{suffix}", headers=headers)).status_code == 200
    assert (await client.delete(series)).status_code in (200, 204)
    after = await client.get(f"{study}{suffix}", headers={"accept": accept, "if-modified-since": LATER})
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("suffix", "accept"),
    [("", "application/dicom"), ("/metadata", JSON), ("/rendered", "image/png"), ("/thumbnail", "image/png")],
)
async def test_a_date_is_enough_for_one_instance(
    client: httpx.AsyncClient, stored: list[str], monkeypatch: pytest.MonkeyPatch, suffix: str, accept: str
) -> None:
    url = f"{stored[0]}{suffix}"
    young = await client.get(url, headers={"accept": accept})
    assert "last-modified" not in young.headers, "what is stored next may have the same"
    monkeypatch.setattr(caching, "SETTLED_SECONDS", -1.0)
    settled = await client.get(url, headers={"accept": accept})
    known = {"accept": accept, "if-modified-since": settled.headers["last-modified"]}
    assert (await client.get(url, headers=known)).status_code == 304


async def test_a_tag_is_found_in_whichever_line_it_stands(client: httpx.AsyncClient, stored: list[str]) -> None:
    """RFC 9110 5.3: several lines of If-None-Match are one list."""
    url = f"{stored[0]}/rendered"
    tag = (await client.get(url, headers={"accept": "image/png"})).headers["etag"]
    lines = [("accept", "image/png"), ("if-none-match", '"other"'), ("if-none-match", tag)]
    assert (await client.get(url, headers=lines)).status_code == 304


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
async def test_unchanged_capabilities_have_the_fields_of_the_answer(client: httpx.AsyncClient, coding: str) -> None:
    headers = {"accept-encoding": coding}
    whole = await client.options("/dicomweb/", headers=headers)
    same = await client.options("/dicomweb/", headers=headers | {"if-none-match": whole.headers["etag"]})
    assert (whole.status_code, same.status_code) == (200, 304)
    for name in ("etag", "vary", "cache-control"):
        assert same.headers[name] == whole.headers[name], name


@pytest.mark.parametrize("suffix", ["/frames/1", "/bulkdata/7FE00010"])
async def test_two_types_of_the_same_bytes_have_two_tags(client: httpx.AsyncClient, suffix: str) -> None:
    """RFC 9110 8.8.3: a cache that is told "not modified" finds by the tag which of its answers that was about."""
    data = make_instance(transfer_syntax=JPEG_2000)
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0] + suffix
    tags = set()
    for media_type in ("image/jp2", "application/octet-stream"):
        accept = f"{media_type}; transfer-syntax={JPEG_2000}"
        one = await client.get(url, headers={"accept": accept})
        assert one.headers["content-type"] == accept
        tags.add(one.headers["etag"])
    assert len(tags) == 2
