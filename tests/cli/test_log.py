"""What goes wrong amid an answer is logged once, with the request that it happened to; and all that is logged has one format."""

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.cli.test_serve import get_when_ready, root_of, serving
from tests.support.dicom_bytes import make_instance, new_uid
from tests.support.http import build_multipart


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_answer_that_breaks_off_is_logged_once(tmp_path: Path, log_format: str) -> None:
    study = new_uid()
    with serving(tmp_path, port=0, log_format=log_format) as (_, said):
        get_when_ready(f"{root_of(said)}/studies")
        boundary, body = build_multipart([make_instance(study, rows=600, columns=600) for _ in range(2)])
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        assert httpx.post(f"{root_of(said)}/studies", content=body, headers=headers, trust_env=False).status_code == 200
        for blob in (tmp_path / "data" / "blobs").rglob("*.dcm"):
            os.truncate(blob, blob.stat().st_size - 1000)
        accept = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{root_of(said)}/studies/{study}", headers=accept, trust_env=False)
    logged = (tmp_path / "log").read_text()
    assert logged.count("request.failed") == 1
    assert logged.count("Traceback (most recent call last)") == 1


def test_what_libraries_say_of_odd_files_is_not_logged(tmp_path: Path) -> None:
    with serving(tmp_path, port=0, log_format="json") as (_, said):
        get_when_ready(f"{root_of(said)}/studies")
        odd = make_instance(SpecificCharacterSet="ISO_IR 100", PatientName="M\xfcller", PatientID="1")
        odd = odd.replace(b"IR 100", b"IR 999").replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00ZZ")
        headers = {"Content-Type": "application/dicom"}
        assert httpx.post(f"{root_of(said)}/studies", content=odd, headers=headers, trust_env=False).status_code == 200
    logged = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in logged if line["level"] == "warning"] == []
    assert any(line["event"] == "request" for line in logged)
