"""Bulkdata values one by one and together: their types and places, their bytes, what a browser may do with them."""

from typing import Any

import httpx
import pytest

from tests.support.dicom_bytes import UNDEFINED, element_header, encapsulated, make_instance, sequence
from tests.support.http import Part, parse_multipart

MARKUP = b'<html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script>' + b" " * 4000 + b"</html>"
OCTETS = 'multipart/related; type="application/octet-stream"'
CDA, BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.104.2", "1.2.840.10008.5.1.4.1.1.88.11"
EXPLICIT, JPEG_LS, MP4 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.102"
ICON = "/bulkdata/00880200.1.7FE00010"


async def stored(client: httpx.AsyncClient, data: bytes) -> str:
    """The URL of an instance that is stored."""
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    url: str = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    return url


async def get(client: httpx.AsyncClient, url: str, accept: str, **headers: str) -> httpx.Response:
    return await client.get(url, headers={"accept": accept, **headers})


def parts_of(answer: httpx.Response) -> list[Part]:
    assert answer.status_code == 200, answer.text
    return parse_multipart(answer.headers["content-type"], answer.content)


def with_icon(fragments: list[bytes]) -> bytes:
    """A JPEG-LS image whose icon is compressed as well."""
    icon = element_header(0x7FE00010, "OB", UNDEFINED) + encapsulated(fragments)
    data = make_instance(transfer_syntax=JPEG_LS)
    pixels = element_header(0x7FE00010, "OB", UNDEFINED)
    before, behind = data.split(pixels)
    return before + sequence(0x00880200, [icon]) + pixels + behind


class TestBrowsers:
    """What a stranger stored is shown and nothing more."""

    @pytest.fixture
    async def document(self, client: httpx.AsyncClient) -> str:
        data = make_instance(
            rows=0, sop_class=CDA, MIMETypeOfEncapsulatedDocument="text/xml", EncapsulatedDocument=MARKUP
        )
        return f"{await stored(client, data)}/bulkdata/00420011"

    async def test_markup_is_in_a_sandbox(self, client: httpx.AsyncClient, document: str) -> None:
        answer = await get(client, f"{document}?accept=text/xml", "text/html,*/*;q=0.8")
        assert answer.headers["content-type"] == "text/xml"
        assert answer.content.rstrip(b"\0") == MARKUP
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await get(client, document, "text/xml", **{"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        assert "sandbox" in again.headers["content-security-policy"]

    @pytest.mark.parametrize("path", ["/bulkdata/7FE00010", "/bulkdata", "/pixeldata", "/frames/1", ""])
    async def test_no_type_is_guessed(self, client: httpx.AsyncClient, path: str) -> None:
        url = f"{await stored(client, make_instance())}{path}"
        for accept in ("*/*", OCTETS):
            answer = await get(client, url, accept)
            assert answer.status_code == 200
            assert answer.headers["x-content-type-options"] == "nosniff"


class TestCompressed:
    async def test_a_video_plays(self, client: httpx.AsyncClient) -> None:
        data = make_instance(transfer_syntax=MP4, frames=5, pixel_bytes=bytes(range(200)))
        url = f"{await stored(client, data)}/bulkdata/7FE00010"
        answer = await get(client, url, "*/*")
        assert answer.headers["content-type"] == f"video/mp4; transfer-syntax={MP4}"
        assert answer.headers["content-location"] == url
        assert answer.content == bytes(range(200))
        part = await get(client, url, "*/*", range="bytes=10-19")
        assert (part.status_code, part.content) == (206, bytes(range(10, 20)))

    @pytest.mark.parametrize("frames", [1, 3])
    async def test_parts_are_named_as_what_was_asked_for(self, client: httpx.AsyncClient, frames: int) -> None:
        url = f"{await stored(client, make_instance(transfer_syntax=JPEG_LS, frames=frames))}/bulkdata/7FE00010"
        parts = parts_of(await get(client, url, 'multipart/related; type="image/jls"'))
        assert [part.location for part in parts] == [url] * frames

    async def test_frames_of_native_pixels_are_no_single_part(self, client: httpx.AsyncClient) -> None:
        url = f"{await stored(client, make_instance(frames=3))}/bulkdata/7FE00010"
        assert (await get(client, url, "image/jls")).status_code == 406
        parts = parts_of(await get(client, url, 'multipart/related; type="image/jls"'))
        assert [part.location for part in parts] == [url] * 3

    @pytest.mark.parametrize("fragments", [[b"A" * 40], [b"A" * 40, b"B" * 60], [b"A" * 100_000] * 3])
    async def test_icons_stay_as_they_are(self, client: httpx.AsyncClient, fragments: list[bytes]) -> None:
        url = f"{await stored(client, with_icon(fragments))}{ICON}"
        icon = b"".join(fragments)
        for accept in ("*/*", "image/jls", "image/*", f"image/jls; transfer-syntax={JPEG_LS}"):
            answer = await get(client, url, accept)
            assert answer.headers["content-type"] == f"image/jls; transfer-syntax={JPEG_LS}"
            assert answer.content == icon
        octets = await get(client, url, "application/octet-stream")
        assert octets.headers["content-type"] == f"application/octet-stream; transfer-syntax={JPEG_LS}"
        assert octets.content == icon
        part = await get(client, url, "*/*", range="bytes=30-69")
        assert (part.status_code, part.content) == (206, icon[30:70])
        (part_of_message,) = parts_of(await get(client, url, 'multipart/related; type="image/jls"'))
        assert (part_of_message.body, part_of_message.location) == (icon, url)
        for accept in (f"application/octet-stream; transfer-syntax={EXPLICIT}", "image/jp2"):
            assert (await get(client, url, accept)).status_code == 406


class TestCollections:
    @pytest.fixture
    async def study(self, client: httpx.AsyncClient) -> str:
        """An image that JPEG-LS can hold, and one that it cannot."""
        first = make_instance("1.2.3", "1.2.3.1", "1.2.1", rows=30, columns=50)
        second = make_instance("1.2.3", "1.2.3.1", "1.2.9", rows=30, columns=50, BitsAllocated=32, InstanceNumber="2")
        for data in (first, second):
            await stored(client, data)
        return "http://gantry.test/dicomweb/studies/1.2.3"

    @pytest.mark.parametrize("path", ["/pixeldata", "/bulkdata"])
    async def test_all_is_planned_before_the_first_byte(self, client: httpx.AsyncClient, study: str, path: str) -> None:
        assert (await get(client, study + path, 'multipart/related; type="image/jls"')).status_code == 406
        both = 'multipart/related; type="image/jls", multipart/related; type="application/octet-stream"; q=0.5'
        types = {
            part.headers["content-type"].partition(";")[0] for part in parts_of(await get(client, study + path, both))
        }
        assert types == {"image/jls", "application/octet-stream"}

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            (f'{OCTETS}; q=0.5, multipart/related; type="image/jls"', "image/jls"),
            (f'{OCTETS}, multipart/related; type="image/jls"; q=0.5', "application/octet-stream"),
            (f'multipart/related; type="image/jp2", {OCTETS}; transfer-syntax=*', "application/octet-stream"),
        ],
    )
    async def test_the_message_has_the_type_of_its_first_part(
        self, client: httpx.AsyncClient, accept: str, kind: str
    ) -> None:
        """RFC 2387 3.1."""
        url = await stored(client, make_instance(rows=8, columns=8, transfer_syntax=EXPLICIT))
        for path in ("/pixeldata", "/bulkdata/7FE00010"):
            answer = await get(client, url + path, accept)
            first = parts_of(answer)[0].headers["content-type"].partition(";")[0]
            assert f'type="{first}"' in answer.headers["content-type"]
        assert (await get(client, f"{url}/pixeldata", accept)).headers["content-type"].count(kind) == 1


class TestText:
    """Metadata is ISO_IR 192, and so are the texts that it names by URI (PS3.18 8.8)."""

    @pytest.mark.parametrize(
        ("charset", "text"),
        [
            ("ISO_IR 100", "é" * 70_000),
            ("ISO_IR 192", "é" * 70_000),
            ("ISO 2022 IR 6\\ISO 2022 IR 87", "山田\r\n" * 20_000),
        ],
    )
    async def test_bulkdata_is_utf_8(self, client: httpx.AsyncClient, charset: str, text: str) -> None:
        data = make_instance(rows=0, sop_class=BASIC_TEXT_SR, SpecificCharacterSet=charset.split("\\"), TextValue=text)
        url = await stored(client, data)
        (metadata,) = (await get(client, f"{url}/metadata", "application/json")).json()
        uri = metadata["0040A160"]["BulkDataURI"]
        whole = await get(client, uri, "application/octet-stream")
        assert whole.content.decode("utf-8").rstrip(" ") == text
        part = await get(client, uri, "application/octet-stream", range="bytes=139990-140009")
        assert part.content == whole.content[139_990:140_010]
        assert int(part.headers["content-range"].rpartition("/")[2]) == len(whole.content)
        for one in (uri, f"{url}/bulkdata"):
            (found,) = parts_of(await get(client, one, OCTETS))
            assert found.body == whole.content
            assert int(found.headers["content-length"]) == len(found.body)

    async def test_legal_texts_are_whole_in_metadata_and_found(self, client: httpx.AsyncClient) -> None:
        """LT has up to 10,240 characters (PS3.5 6.2)."""
        comments = "X" + "山" * 10_239
        data = make_instance(SpecificCharacterSet="ISO_IR 192", PatientComments=comments)
        url = await stored(client, data)
        (metadata,) = (await get(client, f"{url}/metadata", "application/json")).json()
        assert metadata["00104000"] == {"vr": "LT", "Value": [comments]}

        async def found(**query: str) -> list[dict[str, Any]]:
            answer = await client.get("/dicomweb/studies", params=query)
            return list(answer.json()) if answer.content else []

        (study,) = await found(PatientComments="X*", includefield="PatientComments")
        assert study["00104000"] == metadata["00104000"]
        assert await found(PatientComments="Y*") == []
        assert await found(PatientComments='""', emptyvaluematching="true") == []
