"""Bulkdata and pixel data (PS3.18 10.4.1.1.5, 10.4.1.1.6): every BulkDataURI answers with exactly the bytes it stands for."""

from typing import Any

import pytest

from tests.conformance.corpus import PDF, Corpus
from tests.support.http import OCTET_MULTIPART, Peer, first, media_type, parse_multipart, values

AS_STORED = OCTET_MULTIPART + "; transfer-syntax=*"


def bulkdata_uris(dataset: dict[str, Any]) -> dict[str, str]:
    """Every BulkDataURI by the path of its attribute."""
    uris = {}
    for tag, element in dataset.items():
        if "BulkDataURI" in element:
            uris[tag] = element["BulkDataURI"]
        for number, item in enumerate(element.get("Value", []) if element["vr"] == "SQ" else [], 1):
            uris.update({f"{tag}.{number}.{path}": uri for path, uri in bulkdata_uris(item).items()})
    return uris


@pytest.mark.proves("MET-016", "MET-018")
@pytest.mark.parametrize(
    "accept", [OCTET_MULTIPART, AS_STORED, "*/*", "multipart/related; type=application/octet-stream"]
)
def test_uris_resolve(peer: Peer, corpus: Corpus, accept: str) -> None:
    item = corpus["rich"]
    (dataset,) = peer.metadata(item.path)
    uris = bulkdata_uris(dataset)
    waveform = item.dataset[0x54000100][1][0][0x54001010][1]  # type: ignore[index]
    expected = {"7FE00010": item.pixels, "00091010": item.dataset[0x00091010][1], "54000100.1.54001010": waveform}
    assert expected.keys() <= uris.keys()
    for path, uri in uris.items():
        response = peer.get(uri, accept)
        assert response.status_code == 200, uri
        body, location = response.content, response.headers.get("content-location")
        if accept != "*/*" or media_type(response.headers["content-type"])[0] == "multipart/related":
            (part,) = parse_multipart(response.headers["content-type"], response.content)
            body, location = part.body, part.location
        assert location == uri
        if path in expected:
            assert body == expected[path]


@pytest.mark.proves("MET-016", "RET-040")
@pytest.mark.needs("single-part")
def test_single_part(peer: Peer, corpus: Corpus) -> None:
    item = corpus["rich"]
    (dataset,) = peer.metadata(item.path)
    uri, value = dataset["00091010"]["BulkDataURI"], item.dataset[0x00091010][1]
    response = peer.get(uri, "application/octet-stream")
    assert media_type(response.headers["content-type"])[0] == "application/octet-stream"
    assert response.content == value
    assert response.headers["content-location"] == uri
    part = peer.get(uri, "application/octet-stream", range="bytes=10-19")
    assert part.status_code in (200, 206)
    if part.status_code == 206:
        assert part.content == value[10:20]  # type: ignore[index]
        assert part.headers["content-range"] == "bytes 10-19/5000"


@pytest.mark.proves("MET-016")
@pytest.mark.parametrize(
    "name", ["deflated", "big-endian", "implicit", "MR_small_bigendian.dcm", "float", "double", "bits"]
)
def test_pixel_data_is_little_endian(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    (dataset,) = peer.metadata(item.path)
    tag = {"float": "7FE00008", "double": "7FE00009"}.get(name, "7FE00010")
    (part,) = peer.parts(dataset[tag]["BulkDataURI"], OCTET_MULTIPART)
    expected = corpus.mr_pixels if name.startswith("MR") else item.pixels
    assert part.body[: len(expected)] == expected
    assert len(part.body) - len(expected) in (0, 1)


@pytest.mark.proves("MET-016", "RET-029")
def test_compressed_pixel_data(peer: Peer, corpus: Corpus) -> None:
    item = corpus["fragmented-frames"]
    (dataset,) = peer.metadata(item.path)
    uri = dataset["7FE00010"]["BulkDataURI"]
    parts = peer.parts(uri, f'multipart/related; type="image/jp2"; transfer-syntax={item.syntax}')
    assert [part.body.rstrip(b"\0") for part in parts] == [corpus.mr_codestream.rstrip(b"\0")] * 2
    decoded = peer.parts(uri, OCTET_MULTIPART)
    assert b"".join(part.body for part in decoded) == corpus.mr_pixels * 2


@pytest.mark.needs("single-part")
@pytest.mark.parametrize("accept", ["application/pdf", "*/*", "application/octet-stream", OCTET_MULTIPART])
def test_encapsulated_document(peer: Peer, corpus: Corpus, accept: str) -> None:
    item = corpus["pdf"]
    (dataset,) = peer.metadata(item.path)
    element = dataset["00420011"]
    if "BulkDataURI" not in element:
        assert "InlineBinary" in element
        return
    response = peer.get(element["BulkDataURI"], accept)
    assert response.status_code == 200
    body = response.content
    if media_type(response.headers["content-type"])[0] == "multipart/related":
        (part,) = parse_multipart(response.headers["content-type"], response.content)
        body = part.body
    assert body.rstrip(b"\0") == PDF


@pytest.mark.parametrize(
    "path", ["00100010", "99999999", "7FE00010.1", "%2e%2e%2fx", "7fe00010x", "54000100.9.54001010", "0"]
)
def test_bulkdata_that_is_not_there(peer: Peer, corpus: Corpus, path: str) -> None:
    (dataset,) = peer.metadata(corpus["rich"].path)
    uri = dataset["7FE00010"]["BulkDataURI"]
    assert uri.count("7FE00010") == 1
    assert peer.get(uri.replace("7FE00010", path), OCTET_MULTIPART).status_code in (400, 404)


@pytest.mark.proves("NEG-030")
@pytest.mark.parametrize("level", ["path", "series_path", "study_path"])
def test_octets_of_a_resource_are_its_bulkdata(peer: Peer, corpus: Corpus, level: str) -> None:
    for name in ("ct1", "rich"):
        path = getattr(corpus[name], level)
        uris = [uri for dataset in peer.metadata(path) for uri in bulkdata_uris(dataset).values()]
        parts = peer.parts(path, OCTET_MULTIPART)
        assert sorted(part.location for part in parts) == sorted(uris)
        assert any(part.body == corpus[name].pixels for part in parts)


@pytest.mark.proves("RET-006", "RET-013", "RET-020", "MET-018")
@pytest.mark.needs("bulk-resources")
@pytest.mark.parametrize("level", ["path", "series_path", "study_path"])
def test_bulkdata_resource(peer: Peer, corpus: Corpus, level: str) -> None:
    for name in ("ct1", "rich"):
        path = getattr(corpus[name], level)
        uris = [uri for dataset in peer.metadata(path) for uri in bulkdata_uris(dataset).values()]
        parts = peer.parts(path + "/bulkdata", OCTET_MULTIPART)
        assert sorted(part.location for part in parts) == sorted(uris)
        for part in parts:
            (single,) = peer.parts(part.location, OCTET_MULTIPART)
            assert single.body == part.body


@pytest.mark.proves("RET-007", "RET-014", "RET-021", "RET-034", "RET-035", "MET-018")
@pytest.mark.needs("bulk-resources")
@pytest.mark.parametrize("level", ["path", "series_path", "study_path"])
@pytest.mark.parametrize("name", ["icon", "rich", "float", "double", "gray"])
def test_pixeldata_resource(peer: Peer, corpus: Corpus, name: str, level: str) -> None:
    """The top-level pixel data and nothing else: no icon, no waveform."""
    item = corpus[name]
    parts = peer.parts(getattr(item, level) + "/pixeldata", OCTET_MULTIPART)
    assert b"".join(part.body for part in parts) == item.pixels
    (dataset,) = peer.metadata(item.path)
    uri = next(dataset[tag]["BulkDataURI"] for tag in ("7FE00008", "7FE00009", "7FE00010") if tag in dataset)
    assert {part.location for part in parts} == {uri}


@pytest.mark.proves("RET-035")
@pytest.mark.needs("bulk-resources")
def test_study_without_pixel_data(peer: Peer, corpus: Corpus) -> None:
    for name in ("pdf", "no-pixels"):
        assert peer.get(corpus[name].path + "/pixeldata", OCTET_MULTIPART).status_code in (404, 406)
    assert peer.get(corpus["no-pixels"].path, OCTET_MULTIPART).status_code in (200, 404, 406)


@pytest.mark.proves("MET-016")
def test_icon_is_bulkdata_or_inline(peer: Peer, corpus: Corpus) -> None:
    (dataset,) = peer.metadata(corpus["icon"].path)
    (icon,) = values(dataset, "00880200")
    assert first(icon, "00280010") == 2
    element = icon["7FE00010"]
    if "BulkDataURI" in element:
        (part,) = peer.parts(element["BulkDataURI"], OCTET_MULTIPART)
        assert part.body == b"ICON"
    else:
        assert element["InlineBinary"] == "SUNPTg=="
