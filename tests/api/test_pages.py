"""The pages for people: whole, and nothing in them comes from another server."""

import re

import httpx
import pytest

FILES = ("docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/favicon-32x32.png")


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    """A script from elsewhere could read the archive, and a hospital network often does not reach it."""
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    loaded = re.findall(r"""(?:src=|href=|url: ?|url\()["']?([^"' >)]+)""", answer.text)
    loads = [one for one in re.findall(r"<(?:script|link|img|iframe)[^>]*>", answer.text) if "://" in one]
    assert not loads
    if path == "/docs":
        assert set(loaded) == {*FILES, "openapi.json"}


async def test_what_the_reference_loads_is_there(client: httpx.AsyncClient) -> None:
    for name, media_type in zip(FILES, ("text/javascript", "text/css", "image/png"), strict=True):
        answer = await client.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)
        assert len(answer.content) > 500
    assert b"SwaggerUIBundle" in (await client.get("/docs/swagger-ui-bundle.js")).content
    assert len((await client.get("/openapi.json")).json()["paths"]) > 20


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/__init__.py", "/docs/..%2fmain.py"])
async def test_nothing_else_is_there(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404
