"""Fragments without a byte in encapsulated pixel data: damaged, but readable as all that is damaged."""

import httpx
import pytest

from tests.dicom.encoded import encode_j2k, picture
from tests.support.dicom_bytes import make_instance
from tests.support.http import parse_multipart

JPEG_2000, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
OCTETS = 'multipart/related; type="application/octet-stream"'
URL = "http://gantry.test/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.1"


def codestream() -> bytes:
    code = encode_j2k(picture(8, (16, 16)), 8)
    return code + b"\0" * (len(code) % 2)


async def store(client: httpx.AsyncClient, frames: int, *fragments: bytes, syntax: str = JPEG_2000) -> bytes:
    pixels = {"frames": frames, "transfer_syntax": syntax, "pixel_bytes": list(fragments)}
    data = make_instance("1.2.3", "1.2.3.1", "1.2.1", rows=16, columns=16, **pixels)
    answer = await client.post("/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    assert answer.status_code == 200
    return data


async def bodies(client: httpx.AsyncClient, path: str, accept: str) -> list[bytes]:
    answer = await client.get(URL + path, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    return [part.body for part in parse_multipart(answer.headers["content-type"], answer.content)]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_frame_without_a_byte_comes_as_it_is_stored(client: httpx.AsyncClient, place: int) -> None:
    stored = [codestream()] * 3
    stored[place] = b""
    await store(client, 3, *stored)
    for path in ("/frames/1,2,3", "/bulkdata/7FE00010", "/pixeldata", "/bulkdata"):
        assert await bodies(client, path, f"{OCTETS}; transfer-syntax=*") == stored
    for number, frame in enumerate(stored, 1):
        assert await bodies(client, f"/frames/{number}", f"{OCTETS}; transfer-syntax=*") == [frame]
    single = await client.get(
        f"{URL}/frames/{place + 1}", headers={"accept": "application/octet-stream; transfer-syntax=*"}
    )
    assert (single.status_code, single.content) == (200, b"")


async def test_what_would_have_to_be_decoded(client: httpx.AsyncClient) -> None:
    """As other frames that cannot be decoded: as stored where that is acceptable, 406 elsewhere, left out of pictures."""
    data = await store(client, 2, b"", codestream())
    whole = await client.get(URL, headers={"accept": "application/dicom"})
    assert (whole.status_code, whole.content) == (200, data)
    named = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert (await client.get(f"{URL}/frames/1", headers={"accept": named})).status_code == 406
    assert (await client.get(f"{URL}/frames/1/rendered")).status_code == 406
    assert (await client.get(f"{URL}/thumbnail")).status_code == 200
    assert len(await bodies(client, "/rendered", 'multipart/related; type="image/png"')) == 1


async def test_a_frame_of_several_fragments_lacks_nothing(client: httpx.AsyncClient) -> None:
    code = codestream()
    cut = len(code) // 4 * 2
    await store(client, 1, code[:cut], b"", code[cut:])
    assert await bodies(client, "/frames/1", f"{OCTETS}; transfer-syntax=*") == [code]
    assert await bodies(client, "/frames/1", OCTETS) == [picture(8, (16, 16)).tobytes()]
