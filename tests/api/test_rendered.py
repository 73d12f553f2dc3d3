"""Rendered resources: what tags depend on, what is said about letters, and what comes as it is."""

import httpx
import pytest

from tests.support.dicom_bytes import make_instance

BASIC_TEXT_SR, ENCAPSULATED_STL = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.104.3"
BOXES = "Characters of the annotation cannot be drawn. They are shown as boxes."


async def stored(client: httpx.AsyncClient, data: bytes) -> str:
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    url: str = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return url


async def test_character_sets_have_tags_of_their_own(client: httpx.AsyncClient) -> None:
    url = await stored(client, make_instance(rows=0, sop_class=BASIC_TEXT_SR, ValueType="CONTAINER"))
    headers = {"accept": 'multipart/related; type="text/html"'}
    for level in (url.partition("/series/")[0], url.partition("/instances/")[0]):
        answers = [
            await client.get(f"{level}/rendered", headers=headers | {"accept-charset": charset})
            for charset in ("utf-8", "iso-8859-1")
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert [b"charset=ISO-8859-1" in answer.content for answer in answers] == [False, True]
        tags = [answer.headers["etag"] for answer in answers]
        assert tags[0] != tags[1]
        known = {"accept-charset": "iso-8859-1", "if-none-match": tags[0]}
        assert (await client.get(f"{level}/rendered", headers=headers | known)).status_code == 200


async def test_parts_that_name_another_host_have_another_tag(client: httpx.AsyncClient) -> None:
    url = await stored(client, make_instance(rows=0, sop_class=BASIC_TEXT_SR, ValueType="CONTAINER"))
    study = url.partition("/series/")[0].partition("/dicomweb")[2]
    headers = {"accept": 'multipart/related; type="text/html"'}
    first, other = [
        await client.get(f"/dicomweb{study}/rendered", headers=headers | {"host": host})
        for host in ("a.test", "b.test")
    ]
    assert b"http://a.test/" in first.content
    assert b"http://b.test/" in other.content
    assert first.headers["etag"] != other.headers["etag"]


@pytest.mark.parametrize(
    ("name", "is_legible"),
    [
        ("Mueller^Asa-Leon", True),
        ("Müller^Åsa", False),
        ("Wang^XiaoDong=王^小東", True),
        ("김희중", False),
        ("山田^太郎", False),
    ],
)
async def test_letters_that_the_font_lacks_are_said(client: httpx.AsyncClient, name: str, is_legible: bool) -> None:
    data = make_instance(rows=64, columns=64, frames=2, SpecificCharacterSet="ISO_IR 192", PatientName=name)
    url = await stored(client, data)
    for path, accept in (
        ("/frames/1/rendered", "image/png"),
        ("/rendered", "image/gif"),
        ("/rendered", 'multipart/related; type="image/png"'),
    ):
        for annotation, expected in (
            ("patient", not is_legible),
            ("technique", False),
            ("foo,patient", not is_legible),
        ):
            answer = await client.get(f"{url}{path}?annotation={annotation}", headers={"accept": accept})
            assert answer.status_code == 200
            assert (f'"{BOXES}"' in answer.headers.get("warning", "")) == expected
            assert ("foo" in answer.headers.get("warning", "")) == annotation.startswith("foo")


async def test_models_come_as_they_are_by_uri(client: httpx.AsyncClient) -> None:
    """PS3.18 Table 9.3-1: a model for printing cannot be rendered."""
    data = make_instance(
        "1.2.3",
        "1.2.3.1",
        "1.2.3.1.1",
        ENCAPSULATED_STL,
        rows=0,
        MIMETypeOfEncapsulatedDocument="model/stl",
        EncapsulatedDocument=b"solid" * 1000,
    )
    await stored(client, data)
    uri = "/dicomweb/wado?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3.1&objectUID=1.2.3.1.1"
    for accept in ("*/*", "application/dicom", "text/html,application/xml;q=0.9,*/*;q=0.8"):
        answer = await client.get(uri, headers={"accept": accept})
        assert answer.headers["content-type"].startswith("application/dicom;")
        assert answer.content == data
