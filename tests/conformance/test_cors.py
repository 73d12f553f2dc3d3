"""Viewers on another origin (WHATWG Fetch; PS3.18 says nothing about it)."""

import pytest

from tests.conformance.corpus import Corpus
from tests.support.http import DICOM_MULTIPART, JSON, Peer, store_headers

pytestmark = pytest.mark.needs("cors")
ORIGIN = "https://viewer.example.org"


def names(header: str) -> set[str]:
    return {name.strip().lower() for name in header.split(",")}


def allows_origin(headers: dict[str, str]) -> bool:
    return headers.get("access-control-allow-origin") in ("*", ORIGIN)


@pytest.mark.proves("SEC-001")
@pytest.mark.parametrize(
    ("path", "method", "asked"),
    [
        ("/studies", "GET", "accept"),
        ("/studies", "POST", "content-type,authorization"),
        ("/studies/1.2.3", "DELETE", "authorization"),
        ("/studies/1.2.3/series/1.2/instances/1.2/frames/1", "GET", "accept,range,if-none-match"),
        ("", "GET", "accept"),
        ("/", "GET", "accept,cache-control"),
    ],
)
def test_preflight(peer: Peer, path: str, method: str, asked: str) -> None:
    response = peer.request(
        "OPTIONS",
        path,
        headers={"Origin": ORIGIN, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": asked},
    )
    assert response.status_code in (200, 204)
    assert allows_origin(dict(response.headers))
    assert method in response.headers["access-control-allow-methods"]
    allowed = names(response.headers["access-control-allow-headers"])
    assert "*" in allowed or set(asked.split(",")) <= allowed | {"accept"}
    assert int(response.headers["access-control-max-age"]) >= 600
    assert b"application" not in response.content


@pytest.mark.proves("SEC-002")
def test_exposed_headers(peer: Peer, corpus: Corpus) -> None:
    wanted = {"content-location", "location", "warning", "content-range", "etag", "accept-ranges", "content-length"}
    for path, accept in (
        ("/studies", JSON),
        (corpus["ct1"].path, DICOM_MULTIPART),
        (corpus["ct1"].path + "/metadata", JSON),
    ):
        response = peer.get(path, accept, origin=ORIGIN)
        assert response.status_code == 200
        assert allows_origin(dict(response.headers))
        assert wanted <= names(response.headers["access-control-expose-headers"])
    response = peer.request("POST", "/studies", headers={"Origin": ORIGIN, **store_headers("b")}, content=b"")
    assert allows_origin(dict(response.headers))


@pytest.mark.proves("SEC-003")
@pytest.mark.parametrize(
    ("method", "path", "accept", "status"),
    [
        ("GET", "/studies/2.25.1", DICOM_MULTIPART, 404),
        ("GET", "/studies/abc", DICOM_MULTIPART, 400),
        ("GET", "/studies", "image/tiff", 406),
        ("PUT", "/studies", JSON, 405),
        ("POST", "/studies", JSON, 415),
        ("GET", "/nothing", JSON, 404),
    ],
)
def test_errors_too(peer: Peer, method: str, path: str, accept: str, status: int) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": "text/plain"}
    response = peer.request(method, path, accept=accept, headers=headers, content=b"x" if method != "GET" else None)
    assert response.status_code == status
    assert allows_origin(dict(response.headers))


def test_without_origin_no_headers(peer: Peer) -> None:
    assert "access-control-allow-credentials" not in peer.get("/studies", JSON).headers
