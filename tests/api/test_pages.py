"""The pages for people: complete, and nothing in them comes from another server."""

import re
from html import escape

import httpx
import pytest


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing(client: httpx.AsyncClient, path: str) -> None:
    """A script from elsewhere could read the archive, and a hospital network often does not reach it."""
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"<(script|link|img|iframe)|src=|url\(", answer.text)


async def test_the_reference_names_every_request(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    description = (await client.get("/openapi.json")).json()
    requests = [
        (f"{method.upper()} {path}", operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    assert len(requests) > 30
    for line, operation in requests:
        assert page.count(f"<code>{escape(line)}</code>") == 1
        for parameter in operation.get("parameters", ()):
            assert escape(parameter["description"]) in page


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
async def test_the_pages_of_the_framework_are_off(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404
