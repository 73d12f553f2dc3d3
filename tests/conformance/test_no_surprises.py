"""Every real file that is at hand, through every door: no 5xx, no undocumented status, every stored byte given back.

The files of the pydicom package always; with GANTRY_TEST_DATA the files of that folder too, judged by its MANIFEST.csv.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.errors import InvalidDicomError

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import BIG_ENDIAN, IMPLICIT
from tests.conformance.native_model import comparable, read_native_model
from tests.conformance.packaged import package_files, with_fresh_uids
from tests.conformance.test_bulkdata import bulkdata_uris
from tests.conformance.test_metadata import check_dataset
from tests.support.http import (
    DICOM_MULTIPART,
    JSON,
    OCTET_MULTIPART,
    XML_MULTIPART,
    Peer,
    first,
    media_type,
    parse_multipart,
    values,
)

AS_STORED = DICOM_MULTIPART + "; transfer-syntax=*"
ACCEPTS = (
    "*/*",
    DICOM_MULTIPART,
    "application/dicom",
    f'{DICOM_MULTIPART}; transfer-syntax="1.2.840.10008.1.2.4.90"',
    OCTET_MULTIPART,
    OCTET_MULTIPART + "; transfer-syntax=*",
    "application/octet-stream",
    'multipart/related; type="image/*"',
    'multipart/related; type="image/jpeg"; transfer-syntax=*',
    "image/jp2, image/jpeg, image/jls, image/dicom-rle",
    'multipart/related; type="video/mp4"',
    JSON,
    XML_MULTIPART,
    "text/html,image/webp,*/*;q=0.8",
)


def folder() -> Path | None:
    name = os.environ.get("GANTRY_TEST_DATA")
    return Path(name) if name else None


def manifest() -> dict[str, str]:
    """What a server should do with each file of the folder: `accept` or `either`."""
    path = folder() / "MANIFEST.csv" if folder() else None
    if path is None or not path.exists():
        return {}
    with path.open(newline="") as lines:
        return {row["file"]: row["expect"] for row in csv.DictReader(lines)}


def cases() -> Iterator[Any]:
    root = folder()
    if root is None:
        for path in package_files():
            yield pytest.param(path, "either", id=path.name)
        return
    for name, expect in manifest().items():  # the files of the package are among them
        yield pytest.param(root / name, expect, id=name)


def documented(response: httpx.Response, *statuses: int) -> bool:
    assert response.status_code in statuses, (
        f"{response.request.method} {response.request.url} Accept: {response.request.headers.get('accept')}: "
        f"{response.status_code} {response.text[:300]}"
    )
    return response.status_code == 200


def answer_to(peer: Peer, target: str, accept: str) -> httpx.Response:
    try:
        return peer.get(target, accept)
    except httpx.TransportError as error:
        raise AssertionError(f"GET {target} Accept: {accept}: {error}") from error


def check_body(response: httpx.Response) -> None:
    kind, _ = media_type(response.headers["content-type"])
    if kind == "multipart/related":
        assert parse_multipart(response.headers["content-type"], response.content)
    elif kind == JSON:
        assert json.loads(response.content, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    else:
        assert response.content


def through_every_door(peer: Peer, path: str) -> None:
    """Instance, series, study, metadata, frames and each bulkdata item, each with every Accept."""
    series, study = path.partition("/instances/")[0], path.partition("/series/")[0]
    (dataset,) = peer.metadata(path)
    number = str(first(dataset, "00280008") or 1)
    last = max(int(number), 2) if number.isdigit() else 2
    targets = [path, series, study, path + "/metadata", path + "/frames/1", f"{path}/frames/1,{last}"]
    targets += list(bulkdata_uris(dataset).values())[:4]
    for target in targets:
        for accept in ACCEPTS:
            # 404: frames or bulkdata that the object has not; 406: not in this form.
            response = answer_to(peer, target, accept)
            if documented(response, 200, 404, 406):
                check_body(response)
    for uri in bulkdata_uris(dataset).values():
        assert documented(peer.get(uri, OCTET_MULTIPART + "; transfer-syntax=*"), 200)


def check_metadata(peer: Peer, path: str, features: set[str]) -> None:
    (dataset,) = peer.metadata(path)
    check_dataset(dataset, peer.base_url)
    if "xml" in features:
        (part,) = peer.parts(path + "/metadata", XML_MULTIPART)
        written = read_native_model(part.body)
        assert written.keys() == comparable(dataset).keys()
    (result,) = peer.search("/instances", f"SOPInstanceUID={first(dataset, '00080018')}&includefield=all")
    assert first(result, "0020000D") == first(dataset, "0020000D")


@pytest.mark.proves("NEG-015", "MET-001", "STO-026")
@pytest.mark.parametrize(("file", "expect"), list(cases()))
def test_file(peer: Peer, corpus: Corpus, features: set[str], file: Path, expect: str) -> None:
    data, syntax = file.read_bytes(), ""
    try:
        item = with_fresh_uids(file.name, data, corpus.uids)
        data, syntax = item.data, item.syntax
    except (InvalidDicomError, ValueError):
        pass  # UIDs missing, or unreadable in deflated bytes: sent as it is
    response = peer.store([data])
    documented(response, 200, 202, 409)
    answer = response.json()
    if response.status_code == 409:
        assert expect != "accept", answer
        assert "00081199" not in answer
        return
    (reference,) = values(answer, "00081199")
    path = first(reference, "00081190").removeprefix(peer.base_url)
    try:
        own = syntax in (IMPLICIT, BIG_ENDIAN)
        if not own or "own-syntax" in features:
            accept = f"{DICOM_MULTIPART}; transfer-syntax={syntax}" if own else AS_STORED
            (part,) = peer.parts(path, accept)
            assert hashlib.sha256(part.body).digest() == hashlib.sha256(data).digest()
        check_metadata(peer, path, features)
        through_every_door(peer, path)
    finally:
        if "delete" in features:
            assert peer.delete(path.partition("/series/")[0]).status_code == 204


def test_some_files_are_there() -> None:
    assert len(list(cases())) >= 90
    if manifest():
        assert set(manifest().values()) == {"accept", "either"}
