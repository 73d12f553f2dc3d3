"""Data sets that can be stored and read, but not written anew: they come as stored where that is acceptable (PS3.18 8.7.3.4)."""

import httpx
import pytest

from tests.dicom.encoded import encode_j2k, picture
from tests.support.dicom_bytes import make_instance
from tests.support.http import Part, parse_multipart

JPEG_2000, EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DICOM = 'multipart/related; type="application/dicom"'
STUDY = "http://gantry.test/dicomweb/studies/1.2.3"
TRAILING = (
    b"\x55\x7f\x10\x00OB\x00\x00\xff\x00\x00\x00lost"  # behind the pixel data: an element longer than what follows
)


def image(sop: str, syntax: str = JPEG_2000, trailing: bytes = b"") -> bytes:
    samples = picture(8, (16, 16))
    code = encode_j2k(samples, 8)
    pixels = [code + b"\0" * (len(code) % 2)] if syntax == JPEG_2000 else samples.tobytes()
    return (
        make_instance("1.2.3", "1.2.3.1", sop, rows=16, columns=16, transfer_syntax=syntax, pixel_bytes=pixels)
        + trailing
    )


async def store(client: httpx.AsyncClient, *files: bytes) -> None:
    for data in files:
        answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
        assert answer.status_code == 200


async def get(client: httpx.AsyncClient, url: str, accept: str) -> httpx.Response:
    return await client.get(url, headers={"accept": accept})


def parts_of(answer: httpx.Response) -> list[Part]:
    assert answer.status_code == 200, answer.text
    return parse_multipart(answer.headers["content-type"], answer.content)


async def test_one_among_others(client: httpx.AsyncClient) -> None:
    files = {"1.2.1": image("1.2.1"), "1.2.2": image("1.2.2", trailing=TRAILING), "1.2.3": image("1.2.3")}
    await store(client, *files.values())
    for accept in ("*/*", DICOM):
        parts = {part.location.rpartition("/")[2]: part for part in parts_of(await get(client, STUDY, accept))}
        syntaxes = {sop: part.headers["content-type"].rpartition("transfer-syntax=")[2] for sop, part in parts.items()}
        assert syntaxes == {"1.2.1": EXPLICIT, "1.2.2": JPEG_2000, "1.2.3": EXPLICIT}
        assert parts["1.2.2"].body == files["1.2.2"]


async def test_one_alone(client: httpx.AsyncClient) -> None:
    data = image("1.2.2", trailing=TRAILING)
    await store(client, data)
    url = f"{STUDY}/series/1.2.3.1/instances/1.2.2"
    assert (await get(client, url, "application/dicom")).content == data
    (part,) = parts_of(await get(client, url, DICOM))
    assert part.body == data
    uri = (
        "/dicomweb/wado?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3.1&objectUID=1.2.2&contentType=application/dicom"
    )
    assert (await get(client, uri, "*/*")).content == data


@pytest.mark.parametrize("stored", [JPEG_2000, IMPLICIT])
async def test_nothing_is_wrong_with_the_request(client: httpx.AsyncClient, stored: str) -> None:
    """Where it has no acceptable form that is 406 (8.7.8.1), as it is for pixels that cannot be decoded."""
    data = image("1.2.2", stored, TRAILING)
    await store(client, data)
    url = f"{STUDY}/series/1.2.3.1/instances/1.2.2"
    for target in (EXPLICIT, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.80"):
        for accept in (f"application/dicom; transfer-syntax={target}", f"{DICOM}; transfer-syntax={target}"):
            assert (await get(client, url, accept)).status_code == 406
    as_stored = await get(client, url, f"application/dicom; transfer-syntax={stored}")
    assert (as_stored.status_code, as_stored.content) == (200, data)
