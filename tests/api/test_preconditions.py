"""If-Match and If-Unmodified-Since: 412 where there is something else than the client wants (RFC 9110 13.1.1, 13.1.4)."""

import httpx
import pytest

from app.api import caching
from tests.support.dicom_bytes import make_instance


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("", "application/dicom"),
        ("", "application/zip"),
        ("/bulkdata/7FE00010", "application/octet-stream"),
        ("/frames/1", "application/octet-stream"),
        ("/rendered", "image/png"),
        ("/thumbnail", "image/png"),
    ],
)
async def test_every_representation_with_a_strong_tag(
    client: httpx.AsyncClient, path: str, accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "SETTLED_SECONDS", -1.0)
    stored = await client.post(
        "/dicomweb/studies", content=make_instance(), headers={"content-type": "application/dicom"}
    )
    url = stored.json()["00081199"]["Value"][0]["00081190"]["Value"][0] + path

    async def status(**conditions: str) -> int:
        headers = {"accept": accept, **{name.replace("_", "-"): value for name, value in conditions.items()}}
        answer = await client.get(url, headers=headers)
        if answer.status_code == 412:
            assert answer.content == b""
            assert answer.headers["etag"] == tag
        return answer.status_code

    first = await client.get(url, headers={"accept": accept})
    tag, stored_at = first.headers["etag"], first.headers["last-modified"]
    before = "Thu, 01 Jan 2015 00:00:00 GMT"
    assert await status(if_match=tag) == 200
    assert await status(if_match=f'"other", {tag}') == 200
    assert await status(if_match="*") == 200
    assert await status(if_match='"other"') == 412
    assert await status(if_match=f"W/{tag}") == 412
    assert await status(if_match="") == 412
    assert await status(if_unmodified_since=stored_at) == 200
    assert await status(if_unmodified_since="yesterday") == 200
    # What is made of several instances has no date that says anything.
    assert await status(if_unmodified_since=before) == (200 if accept == "application/zip" else 412)
    # RFC 9110 13.2.2: the one decides before the other is looked at.
    assert await status(if_match=tag, if_unmodified_since=before) == 200
    assert await status(if_match='"other"', if_none_match=tag) == 412
    assert await status(if_match=tag, if_none_match=tag) == 304
