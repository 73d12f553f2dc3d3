"""Pixel data without the size of its frames: a value like any other, its BulkDataURI leads to it (PS3.18 10.4.1.1.5)."""

import io
from urllib.parse import urlsplit

import httpx
import pydicom
import pytest

from tests.dicom.encoded import encode_rle, picture
from tests.support.dicom_bytes import make_instance
from tests.support.http import Part, parse_multipart

EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
OCTETS = 'multipart/related; type="application/octet-stream"'
ANY = 'multipart/related; type="*/*"'
URL = "/dicomweb/studies/1.2.3/series/1.2.3.1/instances/1.2.1"


async def store_without_rows(client: httpx.AsyncClient, syntax: str, pixels: bytes | list[bytes]) -> str:
    """The BulkDataURI of the pixel data."""
    data = make_instance(
        "1.2.3", "1.2.3.1", "1.2.1", rows=16, columns=16, frames=3, transfer_syntax=syntax, pixel_bytes=pixels
    )
    file, buffer = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    del file.Rows
    file.save_as(buffer)
    headers = {"content-type": "application/dicom"}
    assert (await client.post("/dicomweb/studies", content=buffer.getvalue(), headers=headers)).status_code == 202
    (metadata,) = (await client.get(f"{URL}/metadata")).json()
    return urlsplit(metadata["7FE00010"]["BulkDataURI"]).path


def parts_of(answer: httpx.Response) -> list[Part]:
    assert answer.status_code == 200, answer.text
    return parse_multipart(answer.headers["content-type"], answer.content)


async def test_native(client: httpx.AsyncClient) -> None:
    pixels = picture(8, (16, 16)).tobytes() * 3
    uri = await store_without_rows(client, EXPLICIT, pixels)
    for accept in ("*/*", "*/*; transfer-syntax=*", "application/octet-stream"):
        answer = await client.get(uri, headers={"accept": accept})
        assert (answer.status_code, answer.content) == (200, pixels)
    for path in (uri, f"{URL}/pixeldata", f"{URL}/bulkdata"):
        for accept in (OCTETS, ANY, f"{ANY}; transfer-syntax=*"):
            (part,) = parts_of(await client.get(path, headers={"accept": accept}))
            assert part.body == pixels
    assert (await client.get(uri, headers={"accept": "image/jpeg"})).status_code == 406


async def test_compressed(client: httpx.AsyncClient) -> None:
    """Its fragments are joined, in the transfer syntax that they have (8.7.3.3.2)."""
    code = encode_rle(picture(8, (16, 16)))
    code += b"\0" * (len(code) % 2)
    uri = await store_without_rows(client, RLE, [code] * 3)
    for accept in ("*/*", "*/*; transfer-syntax=*", "image/dicom-rle", "application/octet-stream; transfer-syntax=*"):
        answer = await client.get(uri, headers={"accept": accept})
        assert (answer.status_code, answer.content) == (200, code * 3)
        assert answer.headers["content-type"].endswith(f"; transfer-syntax={RLE}")
    part_of_it = await client.get(uri, headers={"range": f"bytes={len(code) - 2}-{len(code) + 1}"})
    assert (part_of_it.status_code, part_of_it.content) == (206, code[-2:] + code[:2])
    for path in (uri, f"{URL}/pixeldata", f"{URL}/bulkdata"):
        for accept in (ANY, f"{OCTETS}; transfer-syntax=*"):
            (part,) = parts_of(await client.get(path, headers={"accept": accept}))
            assert part.body == code * 3


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
async def test_there_are_no_frames_all_the_same(client: httpx.AsyncClient, syntax: str) -> None:
    await store_without_rows(client, syntax, bytes(768) if syntax == EXPLICIT else [bytes(80)] * 3)
    assert (await client.get(f"{URL}/frames/1")).status_code == 404
    assert (await client.get(f"{URL}/rendered")).status_code == 406
