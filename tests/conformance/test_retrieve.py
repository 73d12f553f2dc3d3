"""Retrieve of studies, series and instances (WADO-RS, PS3.18 10.4.1.1.1)."""

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import EXPLICIT, encode
from tests.conformance.instances import Maker
from tests.conformance.packaged import read
from tests.support.http import DICOM_MULTIPART, JSON, OCTET_MULTIPART, Peer, media_type


@pytest.mark.proves("RET-001", "RET-008", "RET-015", "RET-045", "RET-046")
@pytest.mark.parametrize(("level", "count"), [("study_path", 5), ("series_path", 3), ("path", 1)])
def test_all_instances_as_files(peer: Peer, corpus: Corpus, level: str, count: int) -> None:
    path = getattr(corpus["ct1"], level)
    parts = peer.parts(path, DICOM_MULTIPART)
    assert len(parts) == count
    expected = {item.instance: item for item in corpus.study("ct1") if getattr(item, level) == path}
    for part in parts:
        assert part.media_type == "application/dicom"
        assert part.body[128:132] == b"DICM"
        dataset = read(part.body)
        item = expected.pop(str(dataset.SOPInstanceUID))
        assert part.body.endswith(encode(item.dataset))
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
        assert part.location == peer.url(item.path)
    assert expected == {}


@pytest.mark.proves("RET-045", "RET-046")
@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_implicit.dcm", "big-endian", "deflated", "fragmented-frames"]
)
def test_converted_files_are_files(peer: Peer, corpus: Corpus, name: str) -> None:
    (part,) = peer.parts(corpus[name].path, DICOM_MULTIPART)
    assert part.body[128:132] == b"DICM"
    dataset = read(part.body)
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID == corpus[name].instance
    length = int.from_bytes(part.body[140:144], "little")
    assert part.body[132:140] == b"\2\0\0\0UL\4\0"
    assert int.from_bytes(part.body[144 + length : 146 + length], "little") >= 8  # group 0002 ends where it says


@pytest.mark.proves("RET-036")
def test_path_must_fit_together(peer: Peer, corpus: Corpus) -> None:
    one, other = corpus["ct1"], corpus["gray"]
    for path in (
        f"/studies/{one.study}/series/{other.series}",
        f"/studies/{other.study}/series/{one.series}/instances/{one.instance}",
        f"/studies/{one.study}/series/{corpus['sr1'].series}/instances/{one.instance}",
        f"/studies/{one.study}/series/{one.series}/instances/{other.instance}",
    ):
        assert peer.get(path).status_code == 404
        assert peer.get(path + "/metadata").status_code == 404
        if "/instances/" in path:
            assert peer.get(path + "/frames/1").status_code == 404


@pytest.mark.proves("RET-039")
@pytest.mark.parametrize("suffix", ["", "/metadata", "/frames/1"])
def test_no_partial_content_without_a_range(peer: Peer, corpus: Corpus, suffix: str) -> None:
    assert peer.get(corpus["ct1"].path + suffix).status_code == 200
    assert peer.get(corpus["ct1"].study_path + suffix.replace("/frames/1", "")).status_code == 200


@pytest.mark.proves("RET-040", "RET-041")
@pytest.mark.needs("ranges", "single-part")
@pytest.mark.parametrize("accept", ["application/dicom; transfer-syntax=*"])
@pytest.mark.parametrize("name", ["gray", "MR_small_jp2klossless.dcm"])
def test_ranges_of_an_instance(peer: Peer, corpus: Corpus, name: str, accept: str) -> None:
    item = corpus[name]
    size = len(item.data)
    whole = peer.get(item.path, accept)
    assert whole.headers["accept-ranges"] == "bytes"
    for value, first_byte, last_byte in (
        ("0-99", 0, 99),
        ("100-199", 100, 199),
        ("0-0", 0, 0),
        (f"{size - 10}-", size - 10, size - 1),
        ("-10", size - 10, size - 1),
        (f"128-{size + 1000}", 128, size - 1),
        (f"-{size + 1000}", 0, size - 1),
    ):
        response = peer.get(item.path, accept, range=f"bytes={value}")
        assert response.status_code == 206
        assert response.headers["content-range"] == f"bytes {first_byte}-{last_byte}/{size}"
        assert response.content == item.data[first_byte : last_byte + 1]
        assert int(response.headers["content-length"]) == last_byte - first_byte + 1
    for value in ("99999999999-", f"{size}-"):
        response = peer.get(item.path, accept, range=f"bytes={value}")
        assert response.status_code == 416
        assert response.headers["content-range"] == f"bytes */{size}"
    for value in ("bytes=a-b", "items=0-5", "bytes=5-4", "bytes=", "bytes=--1"):
        response = peer.get(item.path, accept, range=value)
        assert response.status_code in (200, 416)
        if response.status_code == 200:
            assert response.content == item.data


@pytest.mark.proves("RET-040")
@pytest.mark.needs("ranges", "single-part", "conditional")
def test_range_of_what_has_changed(peer: Peer, corpus: Corpus) -> None:
    item, accept = corpus["gray"], "application/dicom; transfer-syntax=*"
    etag = peer.get(item.path, accept).headers["etag"]
    assert peer.get(item.path, accept, range="bytes=0-9", if_range=etag).status_code == 206
    assert peer.get(item.path, accept, range="bytes=0-9", if_range='"other"').status_code == 200
    assert peer.get(item.path, accept, if_none_match=etag).status_code == 304


@pytest.mark.proves("RET-042")
@pytest.mark.parametrize("level", ["study_path", "series_path", "path"])
def test_range_of_a_multipart_answer(peer: Peer, corpus: Corpus, level: str) -> None:
    path = getattr(corpus["ct1"], level)
    whole = peer.get(path, DICOM_MULTIPART)
    again = peer.get(path, DICOM_MULTIPART, range="bytes=0-99")
    assert again.status_code in (200, 206)
    if again.status_code == 206:
        assert again.content == whole.content[:100]
        assert peer.get(path, DICOM_MULTIPART).content == whole.content


@pytest.mark.proves("RET-044")
@pytest.mark.needs("head")
@pytest.mark.parametrize(
    ("suffix", "accept"),
    [
        ("", DICOM_MULTIPART),
        ("", "application/dicom"),
        ("/metadata", JSON),
        ("/metadata", 'multipart/related; type="application/dicom+xml"'),
        ("/frames/1", OCTET_MULTIPART),
        ("/frames/1", "application/octet-stream"),
    ],
)
def test_head(peer: Peer, corpus: Corpus, suffix: str, accept: str) -> None:
    path = corpus["ct1"].path + suffix
    get, head = peer.get(path, accept), peer.request("HEAD", path, accept=accept)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert media_type(head.headers["content-type"])[0] == media_type(get.headers["content-type"])[0]
    for name in ("content-length", "etag", "content-location", "accept-ranges", "vary"):
        assert head.headers.get(name) == get.headers.get(name), name
    # What was stored just now may be without (RFC 9110 8.8.2.2).
    assert len({answer.headers.get("last-modified") for answer in (get, head)} - {None}) <= 1


@pytest.mark.proves("RET-044")
@pytest.mark.needs("head", "ranges", "single-part")
@pytest.mark.parametrize("bytes_asked_for", ["0-9", "0-0,4-5", "99999999-"])
def test_head_knows_no_ranges(peer: Peer, corpus: Corpus, bytes_asked_for: str) -> None:
    """RFC 9110 14.2: Range is defined for GET alone."""
    item, accept = corpus["gray"], "application/dicom; transfer-syntax=*"
    head = peer.request("HEAD", item.path, accept=accept, headers={"range": f"bytes={bytes_asked_for}"})
    assert head.status_code == 200
    assert int(head.headers["content-length"]) == len(item.data)
    assert "content-range" not in head.headers


@pytest.mark.proves("RET-044")
@pytest.mark.needs("head")
def test_head_of_a_search(peer: Peer, corpus: Corpus) -> None:
    head = peer.request("HEAD", "/studies", accept=JSON, query=corpus.mine)
    assert (head.status_code, head.content) == (200, b"")
    assert media_type(head.headers["content-type"])[0] == JSON


@pytest.mark.proves("RET-048")
def test_preamble_is_kept_or_zeroed(peer: Peer, corpus: Corpus) -> None:
    item = corpus["dual"]
    (part,) = peer.parts(item.path, DICOM_MULTIPART + "; transfer-syntax=*")
    assert part.body[:128] in (item.data[:128], bytes(128))
    assert part.body[128:] == item.data[128:]


@pytest.mark.proves("RET-015")
@pytest.mark.parametrize("name", ["pdf", "no-pixels", "sr1", "reportsi.dcm", "rich"])
def test_objects_without_images(peer: Peer, corpus: Corpus, name: str) -> None:
    for accept in (DICOM_MULTIPART, DICOM_MULTIPART + "; transfer-syntax=*"):
        (part,) = peer.parts(corpus[name].path, accept)
        assert part.body == corpus[name].data


@pytest.mark.proves("RET-001")
def test_study_of_many_syntaxes(peer: Peer, corpus: Corpus, maker: Maker) -> None:
    """One study, one instance per syntax: decoded by default, each as stored on request."""
    study = maker.uids.new()
    sources = [corpus[name] for name in ("gray", "implicit", "big-endian", "deflated", "three-fragments")]
    items = []
    for source in sources:
        dataset = {**source.dataset, 0x0020000D: ("UI", study), 0x00080018: ("UI", maker.uids.new())}
        items.append(maker.item(source.name, dataset, source.syntax))
    assert peer.store([item.data for item in items]).status_code == 200
    decoded = peer.parts(f"/studies/{study}", DICOM_MULTIPART)
    assert {read(part.body).file_meta.TransferSyntaxUID for part in decoded} == {EXPLICIT}
    by_instance = {str(read(part.body).SOPInstanceUID): read(part.body).PixelData for part in decoded}
    assert by_instance == {
        item.instance: corpus.mr_pixels if item.name == "three-fragments" else item.pixels for item in items
    }
    as_stored = peer.parts(f"/studies/{study}", DICOM_MULTIPART + "; transfer-syntax=*")
    syntaxes = {str(read(part.body).SOPInstanceUID): part.parameters["transfer-syntax"] for part in as_stored}
    kept = {"1.2.840.10008.1.2": EXPLICIT, "1.2.840.10008.1.2.2": EXPLICIT}
    assert syntaxes == {item.instance: kept.get(item.syntax, item.syntax) for item in items}
