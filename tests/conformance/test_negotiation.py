"""Content negotiation (PS3.18 8.7, 8.3.3.1): what Accept and `accept=` choose, and when nothing can be chosen."""

from urllib.parse import quote

import pytest

from tests.conformance.corpus import Corpus
from tests.support.http import DICOM_MULTIPART, JSON, OCTET_MULTIPART, XML_MULTIPART, Peer, media_type, parse_multipart

EXPLICIT = "1.2.840.10008.1.2.1"


def answer(peer: Peer, path: str, accept: str | None, query: str = "") -> tuple[int, str, str]:
    """Status, media type and type parameter of the answer."""
    response = peer.get(path, accept, query)
    kind, parameters = media_type(response.headers.get("content-type", ""))
    return response.status_code, kind, parameters.get("type", "")


IS_JSON = (200, JSON, "")
IS_XML = (200, "multipart/related", "application/dicom+xml")
IS_DICOM = (200, "multipart/related", "application/dicom")
IS_OCTETS = (200, "multipart/related", "application/octet-stream")


@pytest.mark.proves("NEG-001")
@pytest.mark.parametrize(
    ("suffix", "accept"),
    [
        ("/metadata", f"{JSON}, image/png"),
        ("/metadata", f"text/html, {JSON}"),
        ("/metadata", f"{XML_MULTIPART}, image/gif;q=0.1"),
        ("", f"{DICOM_MULTIPART}, text/html"),
    ],
)
def test_dicom_and_rendered_types_do_not_mix(peer: Peer, corpus: Corpus, suffix: str, accept: str) -> None:
    assert answer(peer, corpus["ct1"].path + suffix, accept)[0] == 400
    assert answer(peer, corpus["ct1"].path + suffix, accept.replace("text/html", "*/*").replace("image/png", "*/*"))[
        0
    ] in (
        200,
        400 if "gif" in accept else 200,
    )


@pytest.mark.proves("NEG-002")
@pytest.mark.parametrize(
    ("suffix", "accept"),
    [
        ("/metadata", "image/tiff"),
        ("/metadata", "application/dicom"),
        ("/metadata", DICOM_MULTIPART),
        ("", "application/pdf"),
        ("", JSON),
        ("/frames/1", "application/dicom"),
        ("/frames/1", JSON),
        ("/frames/1", "video/mp4"),
    ],
)
def test_nothing_acceptable(peer: Peer, corpus: Corpus, suffix: str, accept: str) -> None:
    assert answer(peer, corpus["ct1"].path + suffix, accept)[0] == 406


@pytest.mark.proves("NEG-002")
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances"])
def test_nothing_acceptable_for_a_search(peer: Peer, path: str) -> None:
    for accept in ("image/tiff", "application/dicom", DICOM_MULTIPART):
        assert answer(peer, path, accept)[0] == 406


@pytest.mark.proves("NEG-003")
@pytest.mark.parametrize(
    "accept",
    [
        f"foo/bar, {JSON}",
        f"{JSON}, foo/bar;q=1",
        f"nonsense, {JSON}",
        f", ,{JSON},",
        f"image/x-unheard-of, {JSON}",
        f"{JSON};q=0.5, application/dicom+json;q=abc",
        f'multipart/related; type="foo/bar", {JSON}',
    ],
)
def test_unsupported_entries_are_ignored(peer: Peer, corpus: Corpus, accept: str) -> None:
    assert answer(peer, corpus["ct1"].path + "/metadata", accept) == IS_JSON


@pytest.mark.proves("NEG-004")
@pytest.mark.parametrize(
    ("suffix", "expected"),
    [("/metadata", IS_JSON), ("", IS_DICOM), ("/frames/1", IS_OCTETS)],
    ids=["json", "dicom", "octets"],
)
def test_wildcard_chooses_the_default(peer: Peer, corpus: Corpus, suffix: str, expected: tuple[int, str, str]) -> None:
    path = corpus["ct1"].path + suffix
    assert answer(peer, path, "*/*") == expected
    assert answer(peer, path, "foo/bar, */*;q=0.1") == expected
    if expected[1] == "multipart/related":
        assert answer(peer, path, "multipart/related") == expected
        assert answer(peer, path, 'multipart/related; type="*/*"') == expected
        assert answer(peer, path, "multipart/related; type=*/*") == expected
        assert answer(peer, path, "multipart/*") == expected


@pytest.mark.proves("NEG-004")
def test_browser_accept(peer: Peer, corpus: Corpus) -> None:
    """A browser's own Accept has a wildcard among rendered types only: the default, not a refusal as a mixture."""
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    assert answer(peer, corpus["ct1"].path + "/metadata", accept)[0] == 200
    assert answer(peer, "/studies", accept, corpus.mine)[:2] == (200, JSON)


@pytest.mark.proves("NEG-004", "QID-007", "NEG-027")
def test_search_default(peer: Peer, corpus: Corpus) -> None:
    for path in ("/studies", "/series", "/instances"):
        for accept in ("*/*", "application/*", JSON, f"application/json, {JSON}", f"{JSON}, application/json"):
            assert answer(peer, path, accept, corpus.mine) == IS_JSON
        # The name of no DICOM media type, but what many clients say: it may be answered in its own words.
        for accept in ("application/json", "application/json, text/plain, */*"):
            status, kind, _ = answer(peer, path, accept, corpus.mine)
            assert (status, kind) in ((200, JSON), (200, "application/json"))


@pytest.mark.proves("NEG-005")
@pytest.mark.needs("xml")
def test_q_orders_preference(peer: Peer, corpus: Corpus) -> None:
    path = corpus["ct1"].path + "/metadata"
    assert answer(peer, path, f"{JSON};q=0.1, {XML_MULTIPART}") == IS_XML
    assert answer(peer, path, f"{JSON};q=0.9, {XML_MULTIPART};q=0.8") == IS_JSON
    assert answer(peer, path, f"{XML_MULTIPART};q=0.001, {JSON};q=0") == IS_XML
    assert answer(peer, "/studies", f"{JSON};q=0.1, {XML_MULTIPART}", corpus.mine) == IS_XML


@pytest.mark.proves("NEG-006")
@pytest.mark.needs("xml")
def test_most_specific_range_decides(peer: Peer, corpus: Corpus) -> None:
    path = corpus["ct1"].path + "/metadata"
    assert answer(peer, path, f"*/*;q=0.9, {JSON};q=0.1") == IS_XML
    assert answer(peer, path, f"*/*;q=0.9, {XML_MULTIPART};q=0.1") == IS_JSON
    assert answer(peer, path, f"application/*;q=0.2, multipart/*;q=0.1, {JSON};q=0.05") == IS_XML


@pytest.mark.proves("NEG-007")
def test_q_zero_excludes(peer: Peer, corpus: Corpus) -> None:
    path = corpus["ct1"].path + "/metadata"
    assert answer(peer, path, f"{JSON};q=0")[0] == 406
    assert answer(peer, path, "*/*;q=0")[0] == 406
    assert answer(peer, path, f"{JSON};q=0, {XML_MULTIPART};q=0.0, */*;q=0")[0] == 406


@pytest.mark.proves("NEG-008")
@pytest.mark.needs("xml")
def test_accept_parameter_comes_first(peer: Peer, corpus: Corpus) -> None:
    path = corpus["ct1"].path + "/metadata"
    xml = quote(XML_MULTIPART, safe="")
    assert answer(peer, path, "*/*", f"accept={xml}") == IS_XML
    assert answer(peer, path, f"{JSON}, {XML_MULTIPART};q=0.1", f"accept={xml}") == IS_XML
    assert answer(peer, path, "*/*", "accept=multipart/related;type=%22application/dicom%2Bxml%22") == IS_XML
    assert answer(peer, path, "*/*", f"accept={quote(JSON)}") == IS_JSON
    assert answer(peer, path, "*/*", f"Accept={xml}") == IS_JSON  # another parameter, unknown


@pytest.mark.proves("NEG-009")
@pytest.mark.parametrize("value", ["*/*", "application/*", 'multipart/related; type="*/*"', "nonsense"])
def test_accept_parameter_without_wildcards(peer: Peer, corpus: Corpus, value: str) -> None:
    assert answer(peer, corpus["ct1"].path + "/metadata", "*/*", f"accept={quote(value, safe='')}")[0] == 400


@pytest.mark.proves("NEG-010")
@pytest.mark.needs("xml")
def test_accept_parameter_must_fit_the_header(peer: Peer, corpus: Corpus) -> None:
    path, xml = corpus["ct1"].path + "/metadata", quote(XML_MULTIPART, safe="")
    assert answer(peer, path, JSON, f"accept={xml}")[:2] in ((400, "text/html"), (406, "text/html"), (200, JSON))
    assert answer(peer, path, f"{XML_MULTIPART};q=0, */*", f"accept={xml}") != IS_XML
    rendered = corpus["ct1"].path + "/rendered"
    assert answer(peer, rendered, "image/jpeg", "accept=image/png")[1] != "image/png"
    for header in ("image/png", "image/*", "*/*"):
        assert answer(peer, rendered, header, "accept=image/png")[:2] == (200, "image/png")


@pytest.mark.proves("NEG-011", "NEG-012", "NEG-013", "NEG-014")
@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"',
        "multipart/related; type=application/dicom",
        'Multipart/Related; Type="Application/DICOM"',
        'multipart/related;type="application/dicom";transfer-syntax=*',
        "multipart/related;type=application/dicom;transfer-syntax=*",
        'multipart/related ; type="application/dicom" ; transfer-syntax="*"',
        'multipart/related;\ttype="application/dicom"; Transfer-Syntax=*',
        'multipart/related; transfer-syntax=*; type="application/dicom"',
        'multipart/related; type="application/dicom; transfer-syntax=*"',
        'multipart/related; type="application/dicom"; boundary=x',
        'multipart/related; type="application/dicom"; transfer-syntax=*; q=0.3',
    ],
)
def test_ways_to_write_a_multipart_range(peer: Peer, corpus: Corpus, accept: str) -> None:
    item = corpus["JPEG-lossy.dcm"]
    response = peer.get(item.path, accept)
    assert response.status_code == 200, response.text
    (part,) = parse_multipart(response.headers["content-type"], response.content)
    if "*" in accept:
        assert part.body == item.data


@pytest.mark.proves("NEG-028")
@pytest.mark.parametrize("level", ["study_path", "series_path"])
@pytest.mark.parametrize("name", ["ct1", "gray"])
def test_single_part_type_on_many(peer: Peer, corpus: Corpus, level: str, name: str) -> None:
    """Also where the study happens to hold one instance (PS3.18 10.4.4, note 3)."""
    path = getattr(corpus[name], level)
    assert answer(peer, path, "application/dicom")[0] == 406
    assert answer(peer, path, "application/octet-stream")[0] == 406
    assert answer(peer, path, f"application/dicom, {DICOM_MULTIPART};q=0.1") == IS_DICOM


@pytest.mark.proves("NEG-029")
@pytest.mark.needs("single-part")
def test_single_part_instance(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    response = peer.get(item.path, "application/dicom; transfer-syntax=*")
    assert response.status_code == 200
    assert media_type(response.headers["content-type"])[0] == "application/dicom"
    assert response.content == item.data
    # Viewers list both; the single part is worth more here, then the multipart.
    assert answer(peer, item.path, f"application/dicom, {DICOM_MULTIPART};q=0.5")[1] == "application/dicom"
    assert answer(peer, item.path, f"application/dicom;q=0.5, {DICOM_MULTIPART}") == IS_DICOM


@pytest.mark.proves("NEG-042")
@pytest.mark.parametrize("suffix", ["", "/metadata", "/frames/1"])
def test_vary(peer: Peer, corpus: Corpus, suffix: str) -> None:
    response = peer.get(corpus["ct1"].path + suffix)
    assert "accept" in [name.strip().lower() for name in response.headers["vary"].split(",")]


@pytest.mark.proves("NEG-042")
def test_vary_of_a_search(peer: Peer, corpus: Corpus) -> None:
    assert "accept" in peer.get("/studies", JSON, corpus.mine).headers["vary"].lower()


@pytest.mark.proves("NEG-041")
@pytest.mark.needs("gzip")
def test_gzip(peer: Peer, corpus: Corpus) -> None:
    path = corpus["ct1"].series_path + "/metadata"
    plain, packed = peer.get(path, JSON), peer.get(path, JSON, accept_encoding="gzip")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # httpx has unpacked it
    assert "accept-encoding" in packed.headers["vary"].lower()
    assert "content-encoding" not in peer.get(path, JSON, accept_encoding="gzip;q=0, identity").headers


@pytest.mark.proves("NEG-031", "NEG-032", "NEG-033", "NEG-036")
@pytest.mark.parametrize(
    ("suffix", "accept", "kind"),
    [
        ("", DICOM_MULTIPART, "application/dicom"),
        ("/metadata", XML_MULTIPART, "application/dicom+xml"),
        ("/frames/1", OCTET_MULTIPART, "application/octet-stream"),
    ],
)
def test_multipart_framing(peer: Peer, corpus: Corpus, suffix: str, accept: str, kind: str) -> None:
    response = peer.get(corpus["ct1"].path + suffix, accept)
    name, parameters = media_type(response.headers["content-type"])
    assert (name, parameters["type"]) == ("multipart/related", kind)
    assert f'type="{kind}"' in response.headers["content-type"]  # quoted: RFC 2387 needs it for the slash
    boundary = parameters["boundary"]
    assert set(boundary) <= set("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=?")
    parts = parse_multipart(response.headers["content-type"], response.content)
    assert [part.media_type for part in parts] == [kind]
    assert response.content.count(b"--" + boundary.encode()) == 2
    assert response.content.rstrip(b"\r\n").endswith(b"--" + boundary.encode() + b"--")


@pytest.mark.proves("NEG-034", "NEG-035", "NEG-038")
@pytest.mark.parametrize("level", ["path", "series_path", "study_path"])
def test_parts_name_their_resource_and_keep_every_byte(peer: Peer, corpus: Corpus, level: str) -> None:
    expected = {
        item.path: item.data for item in corpus.study("ct1") if getattr(item, level) == getattr(corpus["ct1"], level)
    }
    response = peer.get(getattr(corpus["ct1"], level), DICOM_MULTIPART + "; transfer-syntax=*")
    parts = parse_multipart(response.headers["content-type"], response.content)
    assert {part.location.removeprefix(peer.base_url): part.body for part in parts} == expected
    if "content-length" in response.headers:
        assert all(int(part.headers["content-length"]) == len(part.body) for part in parts)
