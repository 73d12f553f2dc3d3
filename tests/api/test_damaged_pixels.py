"""Pixels that cannot be decoded: what is acceptable as stored comes so, and others come all the same (PS3.18 8.7.8.1)."""

import io
from pathlib import Path

import httpx
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from tests.dicom.encoded import encode_j2k, picture
from tests.support.dicom_bytes import make_instance
from tests.support.http import Part, parse_multipart

JPEG_2000, EXPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1"
OCTETS = 'multipart/related; type="application/octet-stream"'
DICOM = 'multipart/related; type="application/dicom"'
DAMAGED = b"\xff\x4f\xff\x51" + bytes(60)
STUDY = "http://gantry.test/dicomweb/studies/1.2.3"


def codestream() -> bytes:
    code = encode_j2k(picture(8, (16, 16)), 8)
    return code + b"\0" * (len(code) % 2)


def image(*frames: bytes, sop: str) -> bytes:
    return make_instance(
        "1.2.3",
        "1.2.3.1",
        sop,
        rows=16,
        columns=16,
        frames=len(frames),
        transfer_syntax=JPEG_2000,
        pixel_bytes=list(frames),
    )


async def store(client: httpx.AsyncClient, *files: bytes) -> None:
    for data in files:
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        assert answer.status_code == 200


async def get(client: httpx.AsyncClient, url: str, accept: str, **headers: str) -> httpx.Response:
    return await client.get(url, headers={"accept": accept, **headers})


def parts_of(answer: httpx.Response) -> list[Part]:
    assert answer.status_code == 200, answer.text
    return parse_multipart(answer.headers["content-type"], answer.content)


def syntax_of(content_type: str) -> str:
    return content_type.rpartition("transfer-syntax=")[2]


async def test_a_real_file_that_cannot_be_decoded(client: httpx.AsyncClient) -> None:
    path = get_testdata_file("JPEG2000-embedded-sequence-delimiter.dcm")
    data = Path(str(path)).read_bytes()
    await store(client, data)
    study = f"http://gantry.test/dicomweb/studies/{pydicom.dcmread(io.BytesIO(data)).StudyInstanceUID}"
    for accept in ("*/*", DICOM):
        (part,) = parts_of(await get(client, study, accept))
        assert part.body == data


class TestInstances:
    @pytest.fixture
    async def study(self, client: httpx.AsyncClient) -> dict[str, bytes]:
        """A damaged image first, then one that is whole."""
        files = {"1.2.1": image(DAMAGED, sop="1.2.1"), "1.2.2": image(codestream(), sop="1.2.2")}
        await store(client, *files.values())
        return files

    async def test_among_others_it_comes_as_stored(self, client: httpx.AsyncClient, study: dict[str, bytes]) -> None:
        for url in (STUDY, f"{STUDY}/series/1.2.3.1"):
            for accept in ("*/*", DICOM, f"{DICOM}; transfer-syntax={EXPLICIT}, {DICOM}; transfer-syntax=*; q=0.5"):
                parts = {part.location.rpartition("/")[2]: part for part in parts_of(await get(client, url, accept))}
                assert {sop: syntax_of(part.headers["content-type"]) for sop, part in parts.items()} == {
                    "1.2.1": JPEG_2000,
                    "1.2.2": EXPLICIT,
                }
                assert parts["1.2.1"].body == study["1.2.1"]
        only = await get(client, STUDY, f"{DICOM}; transfer-syntax={EXPLICIT}")
        assert only.status_code == 406

    async def test_one_of_its_frames_is_enough(self, client: httpx.AsyncClient) -> None:
        files = [
            image(codestream(), codestream(), DAMAGED, sop="1.2.1"),
            image(codestream(), codestream(), sop="1.2.2"),
        ]
        await store(client, *files)
        for accept in ("*/*", DICOM):
            parts = {part.location.rpartition("/")[2]: part for part in parts_of(await get(client, STUDY, accept))}
            assert parts["1.2.1"].body == files[0]
            shown = pydicom.dcmread(io.BytesIO(parts["1.2.2"].body))
            assert shown.file_meta.TransferSyntaxUID == EXPLICIT
            assert shown.PixelData == picture(8, (16, 16)).tobytes() * 2

    @pytest.mark.parametrize("syntax", [EXPLICIT, "1.2.840.10008.1.2.4.80"])
    async def test_one_alone(self, client: httpx.AsyncClient, study: dict[str, bytes], syntax: str) -> None:
        url = f"{STUDY}/series/1.2.3.1/instances/1.2.1"
        named = f"application/dicom; transfer-syntax={syntax}"
        assert (await get(client, url, named)).status_code == 406
        single = await get(client, url, f"{named}, application/dicom; transfer-syntax=*; q=0.5")
        assert (syntax_of(single.headers["content-type"]), single.content) == (JPEG_2000, study["1.2.1"])
        again = await get(client, url, "application/dicom", **{"if-none-match": single.headers["etag"]})
        assert again.status_code == 304
        # The alternative may be of another container than what was tried.
        (part,) = parts_of(await get(client, url, f"{named}, {DICOM}; transfer-syntax=*; q=0.5"))
        assert part.body == study["1.2.1"]
        uri = "/dicomweb/wado?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3.1&objectUID=1.2.1"
        as_it_is = await get(client, f"{uri}&contentType=application/dicom", "*/*")
        assert as_it_is.content == study["1.2.1"]
        assert (
            await get(client, f"{uri}&contentType=application/dicom&transferSyntax={EXPLICIT}", "*/*")
        ).status_code == 406


class TestFrames:
    @pytest.fixture
    async def url(self, client: httpx.AsyncClient) -> str:
        await store(client, image(DAMAGED, sop="1.2.1"))
        return f"{STUDY}/series/1.2.3.1/instances/1.2.1"

    @pytest.mark.parametrize("path", ["/frames/1", "/bulkdata/7FE00010", "/pixeldata", "/bulkdata"])
    async def test_the_next_that_is_acceptable(self, client: httpx.AsyncClient, url: str, path: str) -> None:
        named = f"{OCTETS}; transfer-syntax={EXPLICIT}"
        assert (await get(client, url + path, named)).status_code == 406
        for other in (f"{OCTETS}; transfer-syntax=*; q=0.5", 'multipart/related; type="image/jp2"; q=0.5'):
            (part,) = parts_of(await get(client, url + path, f"{named}, {other}"))
            assert (syntax_of(part.headers["content-type"]), part.body) == (JPEG_2000, DAMAGED)
        (part,) = parts_of(await get(client, url + path, "multipart/related"))
        assert part.body == DAMAGED

    async def test_the_same_words_again(self, client: httpx.AsyncClient, url: str) -> None:
        bodies = {(await get(client, f"{url}/frames/1", "*/*")).content.count(DAMAGED) for _ in range(4)}
        assert bodies == {1}


class TestRendered:
    @pytest.fixture
    async def url(self, client: httpx.AsyncClient) -> str:
        whole = codestream()
        await store(client, image(whole, DAMAGED, whole, sop="1.2.1"), image(DAMAGED, DAMAGED, sop="1.2.2"))
        return f"{STUDY}/series/1.2.3.1/instances/1.2.1"

    @pytest.mark.parametrize("path", ["/rendered", "/frames/1,2,3/rendered"])
    async def test_damaged_frames_are_left_out(self, client: httpx.AsyncClient, url: str, path: str) -> None:
        for accept in ('multipart/related; type="image/png"', 'multipart/related; type="image/jpeg"'):
            parts = parts_of(await get(client, url + path, accept))
            assert [part.location for part in parts] == [f"{url}/frames/1", f"{url}/frames/3"]

    async def test_of_animations_too(self, client: httpx.AsyncClient, url: str) -> None:
        answer = await get(client, f"{url}/rendered", "image/gif")
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert shown.size == (16, 16)
        assert answer.content.endswith(b";")  # the trailer of a whole file

    async def test_where_all_are_damaged_that_is_said(self, client: httpx.AsyncClient, url: str) -> None:
        other = url.replace("1.2.1", "1.2.2")
        for accept in ("image/gif", 'multipart/related; type="image/png"'):
            assert (await get(client, f"{other}/rendered", accept)).status_code == 406
        parts = parts_of(await get(client, f"{STUDY}/rendered", 'multipart/related; type="image/png"'))
        assert [part.location for part in parts] == [f"{url}/frames/1", f"{url}/frames/3"]
