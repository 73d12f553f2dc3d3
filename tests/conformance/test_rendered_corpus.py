"""Every real file that is at hand, rendered in every way: a documented status, and a body that is what it says. Never a 500.

The files of the pydicom package always; with GANTRY_TEST_DATA the files of that folder too.
"""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pydicom.errors import InvalidDicomError

from tests.conformance.corpus import Corpus
from tests.conformance.displayed import decoded
from tests.conformance.packaged import with_fresh_uids
from tests.conformance.test_no_surprises import answer_to, cases, documented
from tests.support.http import Peer, first, media_type, parse_multipart, values

ACCEPTS = (
    "*/*",
    "image/jpeg",
    "image/png",
    "image/gif",
    'multipart/related; type="image/jpeg"',
    'multipart/related; type="*/*"',
    "text/html",
    "video/*, application/pdf, text/xml",
    "application/dicom",
)
QUERIES = (
    "",
    "window=40,400,linear",
    "viewport=32,32,1,1,-20,20&annotation=patient,technique&quality=50",
    "viewport=3000,20&iccprofile=no",
    "viewport=16,16,99999",
)


def check_body(response: httpx.Response) -> None:
    kind, _ = media_type(response.headers["content-type"])
    if kind == "multipart/related":
        for part in parse_multipart(response.headers["content-type"], response.content):
            check_content(part.media_type, part.body)
            assert part.location.startswith("http")
    else:
        check_content(kind, response.content)


def check_content(kind: str, content: bytes) -> None:
    assert content
    if kind in ("image/jpeg", "image/png"):
        assert min(decoded(content).shape[:2]) >= 1
    elif kind == "image/gif":
        movie = Image.open(BytesIO(content))
        movie.seek(movie.n_frames - 1)  # type: ignore[attr-defined]
        movie.load()
    elif kind in ("text/html", "text/plain", "text/xml"):
        assert content.decode("utf-8")
    else:
        assert kind in ("application/pdf", "application/dicom", "video/mp4", "video/mpeg"), kind


def render(peer: Peer, path: str) -> None:
    series, study = path.partition("/instances/")[0], path.partition("/series/")[0]
    for target in (path, series, study, f"{path}/frames/1", f"{path}/frames/1,2"):
        for accept in ACCEPTS:
            response = answer_to(peer, f"{target}/rendered", accept)
            if documented(response, 200, 404, 406):
                check_body(response)
    for query in QUERIES:
        response = peer.get(f"{path}/frames/1/rendered", "image/png", query)
        if documented(response, 200, 400, 404, 406):
            check_body(response)


def thumbnails(peer: Peer, path: str) -> None:
    series, study = path.partition("/instances/")[0], path.partition("/series/")[0]
    for target in (path, series, study):
        for accept in ("*/*", "image/png"):
            response = answer_to(peer, f"{target}/thumbnail", accept)
            assert documented(response, 200)
            shown = decoded(response.content)
            assert max(shown.shape[:2]) <= 256
        assert documented(peer.get(f"{target}/thumbnail", "text/html"), 406) is False
    documented(peer.get(f"{path}/frames/1/thumbnail"), 200, 404)


def by_uri(peer: Peer, path: str) -> None:
    _, _, study, _, series, _, instance = path.split("/")
    named = f"requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
    for more in (
        "",
        "&contentType=image/png",
        "&contentType=application/dicom",
        "&rows=20&region=0,0,0.5,0.5",
        "&frameNumber=1",
    ):
        response = answer_to(peer, f"/wado?{named}{more}", "*/*")
        if documented(response, 200, 400, 406):
            check_body(response)
        assert response.status_code != 400 or "frameNumber" in more


@pytest.mark.parametrize(("file", "expect"), list(cases()))
def test_file(peer: Peer, corpus: Corpus, features: set[str], file: Path, expect: str) -> None:
    data = file.read_bytes()
    with suppress(InvalidDicomError, ValueError):  # UIDs missing, or unreadable in deflated bytes: sent as it is
        data = with_fresh_uids(file.name, data, corpus.uids).data
    response = peer.store([data])
    if response.status_code == 409:
        assert expect != "accept", response.text
        return
    (reference,) = values(response.json(), "00081199")
    path = first(reference, "00081190").removeprefix(peer.base_url)
    try:
        render(peer, path)
        if "thumbnails" in features:
            thumbnails(peer, path)
        if "uri-service" in features:
            by_uri(peer, path)
    finally:
        if "delete" in features:
            assert peer.delete(path.partition("/series/")[0]).status_code == 204
