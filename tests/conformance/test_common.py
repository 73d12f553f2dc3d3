"""Rules common to all transactions (PS3.18 chapter 8): query parameters, headers, character sets, URLs."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.packaged import read
from tests.support.http import (
    DICOM_MULTIPART,
    JSON,
    OCTET_MULTIPART,
    Peer,
    first,
    json_array,
    parse_multipart,
    raw_exchange,
    values,
)


def studies_of(results: list[dict[str, Any]]) -> set[str]:
    return {first(result, "0020000D") for result in results}


@pytest.mark.proves("COM-006")
@pytest.mark.needs("settings")
@pytest.mark.parametrize("path", ["/studies", "/series", "/instances", "/studies/1.2.3", "/studies/1.2.3/metadata"])
def test_without_accept_in_strict_mode(gantry: Callable[..., Peer], path: str) -> None:
    strict = gantry(strict_accept=1)
    assert strict.get(path, None).status_code == 406
    assert strict.get(path, "*/*").status_code in (200, 404)


def test_without_accept_the_answer_is_a_406_or_the_default(peer: Peer, corpus: Corpus) -> None:
    response = peer.get(corpus["gray"].path + "/metadata", None)
    assert response.status_code in (200, 406)
    if response.status_code == 200:
        assert len(json_array(response)) == 1


@pytest.mark.proves("COM-007")
@pytest.mark.parametrize("unknown", ["foo=bar", "foo", "x-y=1", "_=1700000000", "limits=1", "ａ=1"])
def test_unknown_parameter_is_ignored(peer: Peer, corpus: Corpus, unknown: str) -> None:
    expected = studies_of(peer.search("/studies", corpus.mine))
    assert expected
    assert studies_of(peer.search("/studies", f"{corpus.mine}&{quote(unknown, safe='=%')}")) == expected


@pytest.mark.proves("COM-008", "COM-009", "COM-010")
@pytest.mark.parametrize(
    "parameter",
    [
        "limit=abc",
        "limit=-1",
        "limit=1.5",
        "limit=",
        "limit=1e3",
        "limit=%2B1",
        "limit=99999999999999999999999",
        "limit=%EF%BC%91",
        "offset=1.5",
        "offset=-1",
        "offset=x",
        "fuzzymatching=1",
        "emptyvaluematching=TRUE",
        "multiplevaluematching=yes",
    ],
)
def test_supported_parameter_with_unusable_value(peer: Peer, parameter: str) -> None:
    response = peer.get("/studies", JSON, parameter)
    if parameter == "limit=99999999999999999999999":
        assert response.status_code in (200, 400)  # an unsigned integer, if a large one
    else:
        assert response.status_code == 400, response.text


@pytest.mark.proves("COM-011")
def test_parameter_names_are_case_sensitive(peer: Peer, corpus: Corpus) -> None:
    everything = studies_of(peer.search("/studies", corpus.mine))
    assert len(everything) > 1
    assert studies_of(peer.search("/studies", f"{corpus.mine}&LIMIT=1")) == everything
    assert studies_of(peer.search("/studies", f"{corpus.mine}&Offset=1")) == everything


@pytest.mark.proves("COM-012")
def test_keywords_are_case_sensitive(peer: Peer, corpus: Corpus) -> None:
    everything = studies_of(peer.search("/studies", corpus.mine))
    assert studies_of(peer.search("/studies", f"{corpus.mine}&studyid=none&STUDYDATE=19000101")) == everything


@pytest.mark.proves("COM-013")
def test_tag_and_keyword_are_the_same_key(peer: Peer, corpus: Corpus) -> None:
    item = corpus["beta"]
    by_keyword = peer.search("/studies", f"PatientID={item.patient_id}")
    assert studies_of(by_keyword) == {item.study}
    assert peer.search("/studies", f"00100020={item.patient_id}") == by_keyword
    assert peer.search("/studies", f"0020000d={item.study}")[:1] in ([], by_keyword)  # lower case hex is not foreseen


@pytest.mark.proves("COM-014")
@pytest.mark.parametrize(
    "path",
    [
        "OtherPatientIDsSequence.00100020",
        "OtherPatientIDsSequence.PatientID",
        "00101002.00100020",
        "00101002.PatientID",
    ],
)
def test_sequence_path(peer: Peer, corpus: Corpus, path: str) -> None:
    found = peer.search("/studies", f"{path}={corpus.token}-OTHER")
    assert studies_of(found) == {corpus["other-ids"].study}
    assert peer.search("/studies", f"{path}={corpus.token}-NOBODY") == []


@pytest.mark.proves("COM-015")
@pytest.mark.parametrize(
    "key",
    [
        "RequestAttributesSequence=x",
        "00400275=x",
        "OtherPatientIDsSequence.00101002=x",
        "PatientID.PatientName=x",
    ],
)
def test_path_that_ends_in_a_sequence_or_passes_through_a_value(peer: Peer, key: str) -> None:
    assert peer.get("/series", JSON, key).status_code == 400


@pytest.mark.proves("COM-015")
@pytest.mark.parametrize("value", ["", "*"])
def test_sequence_without_a_value(peer: Peer, corpus: Corpus, value: str) -> None:
    """PS3.4 C.2.2.2.6: universal matching, and the sequence is returned."""
    series = corpus["ct1"].study_path + "/series"
    response = peer.get(series, JSON, f"00400275={value}")
    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert len(response.json()) == len(peer.search(series, ""))
        assert any(values(result, "00400275") for result in response.json())


@pytest.mark.proves("COM-016")
def test_separators_in_values_are_data_when_encoded(peer: Peer, corpus: Corpus) -> None:
    item = corpus["separators"]
    mine = f"{corpus.mine}&"
    assert studies_of(peer.search("/studies", f"{mine}PatientName=A%26B%5EJim")) == {item.study}
    assert studies_of(peer.search("/studies", f"{mine}PatientName=A%26B*")) == {item.study}
    exact = quote("a&b,c#d[e]=f", safe="")
    assert studies_of(peer.search("/studies", f"{mine}StudyDescription={exact}")) == {item.study}
    assert peer.search("/studies", f"{mine}StudyDescription={quote('a&b', safe='')}") == []
    # Clients that encode everything, wildcards too, mean the same (RFC 3986 2.3).
    assert studies_of(peer.search("/studies", f"PatientID={corpus.token}%2A&PatientName=A%26B%2a")) == {item.study}


@pytest.mark.proves("COM-017")
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("umlaut", "Äpfel^Öse"),
        ("umlaut", "Äp*"),
        ("latin1", "Müller*"),
        ("greek", "Διον*"),
        ("arabic", "قباني^لنزار"),
        ("japanese", "*山田*"),
    ],
)
def test_values_are_utf_8(peer: Peer, corpus: Corpus, name: str, pattern: str) -> None:
    found = peer.search("/studies", f"{corpus.mine}&PatientName={quote(pattern, safe='*')}")
    assert studies_of(found) == {corpus[name].study}


@pytest.mark.proves("COM-018")
def test_uids_are_not_padded(peer: Peer, corpus: Corpus) -> None:
    def uids(dataset: dict[str, Any]) -> list[str]:
        found = []
        for element in dataset.values():
            if element["vr"] == "UI":
                found += element.get("Value", [])
            elif element["vr"] == "SQ":
                for nested in element.get("Value", []):
                    found += uids(nested)
        return found

    results = peer.search("/instances", f"{corpus.mine}&includefield=all") + peer.metadata(corpus["rich"].path)
    listed = [uid for result in results for uid in uids(result)]
    assert len(listed) > len(results) * 4
    assert [uid for uid in listed if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid)] == []
    item = next(item for item in corpus.items.values() if len(item.instance) % 2)
    assert studies_of(peer.search("/instances", f"SOPInstanceUID={item.instance}")) == {item.study}


@pytest.mark.proves("COM-031", "COM-032")
@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("{study}", DICOM_MULTIPART),
        ("{instance}", DICOM_MULTIPART),
        ("{instance}", OCTET_MULTIPART),
        ("{instance}/frames/1", OCTET_MULTIPART),
        ("{instance}/metadata", JSON),
        ("{study}/metadata", "multipart/related; type=application/dicom+xml"),
        ("/studies", JSON),
        ("/studies/1.2.3/metadata", JSON),
        ("/studies/abc", DICOM_MULTIPART),
    ],
)
def test_type_and_length_of_every_answer(peer: Peer, corpus: Corpus, path: str, accept: str) -> None:
    item = corpus["ct1"]
    path = urlsplit(peer.base_url).path + path.format(study=item.study_path, instance=item.path)
    host = urlsplit(peer.base_url).netloc
    message = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    status, headers, body = raw_exchange(peer.base_url, message.encode())
    assert status in (200, 400, 404)
    names = [name for name, _ in headers]
    assert names.count("content-type") == 1
    assert names.count("content-length") + names.count("transfer-encoding") == 1
    if "content-length" in names:
        assert int(dict(headers)["content-length"]) == len(body)
    else:
        assert body.endswith(b"0\r\n\r\n")


@pytest.mark.proves("COM-033")
@pytest.mark.needs("single-part")
def test_single_part_names_its_resource(peer: Peer, corpus: Corpus) -> None:
    item = corpus["ct1"]
    (dataset,) = peer.metadata(item.path)
    bulkdata = dataset["7FE00010"]["BulkDataURI"]
    for path, accept, resource in (
        (item.path, "application/dicom", item.path),
        (item.path + "/frames/1", "application/octet-stream", item.path + "/frames/1"),
        (bulkdata, "application/octet-stream", bulkdata),
        # One document for all instances: a representation of the metadata, not a list of things found.
        *((level + "/metadata", JSON, level + "/metadata") for level in (item.path, item.series_path, item.study_path)),
        (item.path + "/rendered", "image/png", item.path),  # 8.6.1.2: of what was rendered
    ):
        response = peer.get(path, accept)
        assert response.status_code == 200
        assert response.headers["content-location"] == peer.url(resource)


@pytest.mark.proves("COM-034")
@pytest.mark.needs("conditional")
def test_not_modified_has_no_payload(peer: Peer, corpus: Corpus) -> None:
    path = corpus["ct1"].path + "/metadata"
    etag = peer.get(path, JSON).headers["etag"]
    address = urlsplit(peer.base_url)
    message = (
        f"GET {address.path}{path} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: {JSON}\r\n"
        f"If-None-Match: {etag}\r\nConnection: close\r\n\r\n"
    )
    status, headers, body = raw_exchange(peer.base_url, message.encode())
    assert (status, body) == (304, b"")
    assert "transfer-encoding" not in dict(headers)
    assert dict(headers).get("content-length", "0") == "0"
    assert dict(headers)["etag"] == etag


@pytest.mark.proves("COM-034")
@pytest.mark.needs("delete")
def test_no_content_has_no_payload(peer: Peer, maker: Any) -> None:
    item = maker.single("no-content")
    assert peer.store([item.data]).status_code == 200
    address = urlsplit(peer.base_url)
    message = f"DELETE {address.path}{item.study_path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n\r\n"
    status, headers, body = raw_exchange(peer.base_url, message.encode())
    assert (status, body) == (204, b"")
    assert not {"content-length", "transfer-encoding"} & dict(headers).keys()


@pytest.mark.proves("COM-037", "COM-038")
@pytest.mark.parametrize("accept", [DICOM_MULTIPART, DICOM_MULTIPART + "; transfer-syntax=*"])
@pytest.mark.parametrize(
    "name", ["implicit", "big-endian", "big-endian-frames", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"]
)
def test_two_syntaxes_never_go_on_the_wire(peer: Peer, corpus: Corpus, name: str, accept: str) -> None:
    item = corpus[name]
    (part,) = peer.parts(item.path, accept)
    assert part.parameters.get("transfer-syntax", "1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    sent, stored = read(part.body), read(item.data)
    assert sent.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert sent.PixelData == (corpus.mr_pixels if name.startswith("MR") else item.pixels)
    assert sent.keys() == stored.keys()
    for element in stored:
        if element.VR not in ("OW", "OB", "UN", "SQ"):
            assert sent[element.tag].value == element.value, element


@pytest.mark.proves("COM-040")
def test_unusable_charset_is_ignored(peer: Peer, corpus: Corpus) -> None:
    item = corpus["japanese"]
    plain = peer.get(item.path + "/metadata", JSON)
    for query, headers in (("charset=foo", {}), ("", {"accept_charset": "foo;q=1"}), ("charset=utf-8", {})):
        response = peer.get(item.path + "/metadata", JSON, query, **headers)
        assert response.status_code == 200
        assert response.json() == plain.json()
        assert peer.get("/studies", JSON, f"{corpus.mine}&{query}".rstrip("&"), **headers).status_code == 200


@pytest.mark.proves("COM-035")
@pytest.mark.needs("settings")
@pytest.mark.parametrize(
    ("settings", "headers", "expected"),
    [
        ({"public_url": "https://pacs.example.org/gantry"}, {}, "https://pacs.example.org/gantry/dicomweb"),
        (
            {"trust_forwarded": 1},
            {"x_forwarded_proto": "https", "x_forwarded_host": "pacs.example.org", "x_forwarded_prefix": "/gantry"},
            "https://pacs.example.org/gantry/dicomweb",
        ),
        (
            {"trust_forwarded": 1},
            {"forwarded": "proto=https;host=pacs.example.org"},
            "https://pacs.example.org/dicomweb",
        ),
        ({}, {"x_forwarded_proto": "https", "x_forwarded_host": "evil.example"}, None),
    ],
)
def test_urls_are_those_of_the_outside(
    gantry: Callable[..., Peer], corpus: Corpus, settings: dict[str, Any], headers: dict[str, str], expected: str | None
) -> None:
    server = gantry(**settings)
    expected = expected or server.base_url
    item = corpus["rich"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    boundary = "bound"
    body = b"--bound\r\nContent-Type: application/dicom\r\n\r\n" + item.data + b"\r\n--bound--"
    stored = server.request(
        "POST",
        "/studies",
        headers={"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}', **named},
        content=body,
    )
    assert stored.status_code == 200, stored.text
    assert first(stored.json(), "00081190") == expected + item.study_path
    assert first(values(stored.json(), "00081199")[0], "00081190") == expected + item.path
    (result,) = json_array(server.get("/studies", JSON, f"StudyInstanceUID={item.study}", **headers))
    assert first(result, "00081190") == expected + item.study_path
    (dataset,) = json_array(server.get(item.path + "/metadata", JSON, **headers))
    bulkdata = dataset["7FE00010"]["BulkDataURI"]
    assert bulkdata.startswith(expected + item.path)
    response = server.get(bulkdata.replace(expected, ""), OCTET_MULTIPART, **headers)
    (part,) = parse_multipart(response.headers["content-type"], response.content)
    assert part.location == bulkdata
    assert part.body == item.pixels


@pytest.mark.proves("COM-016")
def test_plus_is_a_plus_or_a_blank(peer: Peer, corpus: Corpus, maker: Any) -> None:
    """RFC 3986 leaves `+` alone, HTML forms mean a blank: an encoded one is always itself."""
    item = maker.single("plus", PatientID=f"{corpus.token}-a+b c")
    assert peer.store([item.data]).status_code == 200
    assert studies_of(peer.search("/studies", f"PatientID={corpus.token}-a%2Bb%20c")) == {item.study}
