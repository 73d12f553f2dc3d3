"""curl: form uploads that are not multipart/related, hand-made multipart from a file, chunked and compressed uploads."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.corpus import Corpus
from tests.support.http import build_multipart, parse_multipart
from tests.support.server import Server


def curl(*arguments: str, data: bytes | None = None) -> tuple[int, bytes]:
    """Status and body."""
    program = shutil.which("curl")
    if program is None:
        pytest.fail("curl is not installed: these tests need it")
    finished = subprocess.run(
        [program, "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}", *arguments],
        input=data,
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert finished.returncode == 0, finished.stderr
    body, _, status = finished.stdout.rpartition(b"\n")
    return int(status), body


@pytest.fixture
def message(corpus: Corpus, tmp_path: Path) -> Path:
    """A multipart body of three instances in a file, boundary `b`."""
    _, body = build_multipart([corpus[name].data for name in ("ct1", "ct2", "MR_small.dcm")], boundary="b")
    path = tmp_path / "message"
    path.write_bytes(body)
    return path


CONTENT_TYPE = 'Content-Type: multipart/related; type="application/dicom"; boundary=b'


def assert_stored(server: Server, corpus: Corpus, *names: str) -> None:
    for name in names:
        item = corpus[name]
        status, body = curl("-H", "Accept: application/dicom; transfer-syntax=*", server.base_url + item.path)
        assert (status, body) == (200, item.data)


@pytest.mark.parametrize(
    "extra",
    [
        [],
        ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Expect: 100-continue"],
        ["-H", "Accept:"],
        ["--http1.1", "-H", "Connection: close"],
        ["--limit-rate", "20k"],
    ],
    ids=["plain", "chunked", "expect", "no-accept", "close", "slow"],
)
def test_store(server: Server, corpus: Corpus, message: Path, extra: list[str]) -> None:
    status, body = curl("-H", CONTENT_TYPE, *extra, "--data-binary", f"@{message}", f"{server.base_url}/studies")
    assert status == 200, body
    assert len(json.loads(body)["00081199"]["Value"]) == 3
    assert_stored(server, corpus, "ct1", "ct2", "MR_small.dcm")


def test_upload_from_a_pipe(server: Server, corpus: Corpus, message: Path) -> None:
    """-T - knows no length: chunked, with Expect: 100-continue of curl's own."""
    status, body = curl(
        "-X", "POST", "-T", "-", "-H", CONTENT_TYPE, f"{server.base_url}/studies", data=message.read_bytes()
    )
    assert status == 200, body
    assert_stored(server, corpus, "ct1")


def test_compressed_upload(server: Server, corpus: Corpus, message: Path) -> None:
    status, body = curl(
        *("-H", CONTENT_TYPE, "-H", "Content-Encoding: gzip", "--data-binary", "@-", f"{server.base_url}/studies"),
        data=gzip.compress(message.read_bytes()),
    )
    assert status == 200, body
    assert_stored(server, corpus, "ct2")


def test_single_file(server: Server, corpus: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "one.dcm"
    file.write_bytes(corpus["gray"].data)
    status, body = curl(
        "-H", "Content-Type: application/dicom", "--data-binary", f"@{file}", f"{server.base_url}/studies"
    )
    assert status == 200, body
    assert_stored(server, corpus, "gray")


def test_form_upload(server: Server, corpus: Corpus, tmp_path: Path) -> None:
    """-F makes multipart/form-data: not a Store request, and refused as such. Told to be multipart/related it is one."""
    files = []
    for name in ("ct1", "ct2"):
        path = tmp_path / name
        path.write_bytes(corpus[name].data)
        files += ["-F", f"file=@{path};type=application/dicom"]
    assert curl(*files, f"{server.base_url}/studies")[0] == 415
    status, body = curl(
        *files, "-H", 'Content-Type: multipart/related; type="application/dicom"', f"{server.base_url}/studies"
    )
    assert status == 200, body
    assert_stored(server, corpus, "ct1", "ct2")


def test_wrong_type_of_the_body(server: Server) -> None:
    """--data-binary alone says application/x-www-form-urlencoded."""
    assert curl("--data-binary", "x=1", f"{server.base_url}/studies")[0] == 415


def test_retrieve(server: Server, corpus: Corpus, message: Path) -> None:
    assert curl("-H", CONTENT_TYPE, "--data-binary", f"@{message}", f"{server.base_url}/studies")[0] == 200
    url = server.base_url + corpus["ct1"].path
    status, body = curl("--compressed", url + "/metadata")
    assert (status, json.loads(body)[0]["00080018"]["Value"]) == (200, [corpus["ct1"].instance])
    status, body = curl("-r", "128-131", "-H", "Accept: application/dicom", url)
    assert (status, body) == (206, b"DICM")
    status, body = curl("--include", url)
    head, _, content = body.partition(b"\r\n\r\n")
    kind = next(line for line in head.decode().split("\r\n") if line.lower().startswith("content-type:"))
    assert len(parse_multipart(kind.partition(":")[2], content)) == 1
    assert curl("-I", url)[0] == 200
    assert (
        curl("-G", "--data-urlencode", f"PatientID={corpus['ct1'].patient_id}", f"{server.base_url}/studies")[0] == 200
    )
    assert curl("-X", "DELETE", url)[0] == 204
    assert curl(url)[0] == 410
