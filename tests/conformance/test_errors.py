"""Status codes and status reports of what fails (PS3.18 8.5, 8.6.3)."""

import contextlib
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.conformance.corpus import Corpus
from tests.support.http import (
    DICOM_MULTIPART,
    JSON,
    OCTET_MULTIPART,
    BadMessage,
    Peer,
    build_multipart,
    raw_exchange,
    store_headers,
)

UNKNOWN = "/studies/2.25.1/series/2.25.2/instances/2.25.3"
RESOURCES = [
    ("/studies/2.25.1", DICOM_MULTIPART),
    ("/studies/2.25.1/series/2.25.2", DICOM_MULTIPART),
    (UNKNOWN, DICOM_MULTIPART),
    (UNKNOWN, "application/dicom"),
    (UNKNOWN, OCTET_MULTIPART),
    ("/studies/2.25.1/metadata", JSON),
    ("/studies/2.25.1/series/2.25.2/metadata", JSON),
    (UNKNOWN + "/metadata", JSON),
    (UNKNOWN + "/frames/1", OCTET_MULTIPART),
    (UNKNOWN + "/bulkdata/7FE00010", OCTET_MULTIPART),
    ("/studies/2.25.1/rendered", "*/*"),
    ("/studies/2.25.1/series/2.25.2/rendered", "*/*"),
    (UNKNOWN + "/rendered", "*/*"),
    (UNKNOWN + "/frames/1/rendered", "*/*"),
]


@pytest.mark.proves("COM-019")
@pytest.mark.parametrize(
    "path",
    [
        "/studies",
        "/series",
        "/instances",
        "/studies/1.2.3",
        UNKNOWN,
        *(
            UNKNOWN + below
            for below in ("/metadata", "/rendered", "/frames/1", "/frames/1/rendered", "/bulkdata/7FE00010")
        ),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_method_not_allowed(peer: Peer, path: str, method: str) -> None:
    response = peer.request(method, path, content=b"")
    assert response.status_code == 405
    allowed = {name.strip() for name in response.headers["allow"].split(",")}
    assert "GET" in allowed
    assert method not in allowed
    for other in allowed & {"HEAD", "OPTIONS"}:
        assert peer.request(other, path).status_code != 405
    assert ("POST" in allowed) == (path in ("/studies", "/studies/1.2.3"))


@pytest.mark.proves("COM-023")
@pytest.mark.parametrize(("path", "accept"), RESOURCES)
def test_unknown_resource(peer: Peer, path: str, accept: str) -> None:
    assert peer.get(path, accept).status_code == 404


@pytest.mark.proves("COM-023")
@pytest.mark.parametrize("path", ["/nothing", "/studies/1.2.3/nothing", "/studies/", "//studies", UNKNOWN + "/frames"])
def test_path_outside_the_service(peer: Peer, path: str) -> None:
    assert peer.get(path).status_code in (400, 404)


@pytest.mark.proves("COM-024")
@pytest.mark.parametrize("accept", [JSON, "text/html", "text/plain", "*/*", "application/json"])
def test_report_explains(peer: Peer, accept: str) -> None:
    for path, query, status in (
        ("/studies/2.25.1/metadata", "", 404),
        ("/studies", "limit=abc", 400),
        ("/studies/abc/metadata", "", 400),
    ):
        response = peer.get(path, accept, query)
        assert response.status_code in (status, 406)
        assert len(response.text) > 20
        # 8.5: what is wrong, and whether it is a temporary or a permanent condition.
        assert re.search("temporar|permanent", response.text, re.IGNORECASE)
        assert "Traceback" not in response.text


@pytest.mark.proves("COM-025")
def test_report_is_html_when_no_text_is_acceptable(peer: Peer) -> None:
    response = peer.get("/studies/2.25.1", "application/dicom, " + DICOM_MULTIPART)
    assert response.status_code == 404
    assert response.headers["content-type"].split(";")[0] == "text/html"
    assert "<html" in response.text.lower()


@pytest.mark.proves("COM-024")
def test_report_shows_what_a_stranger_sent_as_text_only(peer: Peer) -> None:
    response = peer.get("/studies", "text/html", "limit=%3Cscript%3Ealert(1)%3C/script%3E")
    assert response.status_code in (400, 406)
    assert "<script>" not in response.text
    response = peer.get("/studies/%3Cscript%3E", "text/html")
    assert response.status_code in (400, 404)
    assert "<script>" not in response.text


@pytest.mark.proves("COM-026")
@pytest.mark.needs("head")
@pytest.mark.parametrize("path", ["/studies/2.25.1", UNKNOWN + "/metadata", "/studies/abc", "/nothing"])
def test_head_of_an_error_has_no_body(peer: Peer, path: str) -> None:
    address = urlsplit(peer.base_url)
    message = (
        f"HEAD {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    status, _, body = raw_exchange(peer.base_url, message.encode())
    assert status in (400, 404)
    assert body == b""


@pytest.mark.proves("COM-027")
@pytest.mark.needs("settings")
@pytest.mark.parametrize("chunked", [False, True])
def test_request_over_the_limit(gantry: Callable[..., Peer], corpus: Corpus, chunked: bool) -> None:
    small = gantry(max_request_bytes=20_000)
    boundary, body = build_multipart([corpus["gray"].data] * 40)
    assert len(body) > 20_000
    content = iter([body[start : start + 1000] for start in range(0, len(body), 1000)]) if chunked else body
    response = small.request("POST", "/studies", headers=store_headers(boundary), content=content)
    assert response.status_code == 413
    boundary, body = build_multipart([corpus["odd-size"].data])
    response = small.request("POST", "/studies", headers=store_headers(boundary), content=body)
    assert response.status_code == 200


def test_overlong_query_is_a_clear_refusal(peer: Peer) -> None:
    """Whatever the limit is: a list of 300 UIDs passes, a megabyte does not bring the server down."""
    uids = ",".join(f"2.25.{number:036d}" for number in range(1, 301))
    assert peer.get("/studies", JSON, f"StudyInstanceUID={uids}").status_code in (200, 204)
    address = urlsplit(peer.base_url)
    message = (
        f"GET {address.path}/studies?PatientID={'x' * 1_000_000} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Accept: {JSON}\r\nConnection: close\r\n\r\n"
    )
    # A server may also close before it has read the line; that is no 414, so nothing is proven of COM-028 here.
    with contextlib.suppress(ConnectionError, BadMessage):
        status, _, _ = raw_exchange(peer.base_url, message.encode())
        assert status in (400, 414, 431)
    assert peer.get("/studies", JSON, "limit=1").status_code in (200, 204)


@pytest.mark.proves("RET-037")
@pytest.mark.parametrize(
    "path",
    [
        "/studies/abc",
        "/studies/1.2.a/metadata",
        "/studies/1..2",
        "/studies/.1",
        "/studies/1.",
        "/studies/" + "1" * 65,
        "/studies/1.2.3/series/x%2F..",
        "/studies/1.2.3/series/1.2 /metadata",
        "/studies/1.2.3/series/1.2/instances/%00",
        "/studies/١.٢",
    ],
)
def test_malformed_uid(peer: Peer, path: str) -> None:
    assert peer.get(path).status_code in ((400, 404) if "%2F" in path else (400,))


def test_path_never_leaves_the_archive(peer: Peer) -> None:
    address = urlsplit(peer.base_url)
    for path in (
        "/studies/../../../../etc/passwd",
        "/studies/%2e%2e/%2e%2e/etc/passwd",
        "/studies/1.2.3/series/..%5c..",
    ):
        message = (
            f"GET {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        status, _, body = raw_exchange(peer.base_url, message.encode())
        assert status in (400, 404)
        assert b"root:" not in body
