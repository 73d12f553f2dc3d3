"""The very headers and URLs that viewers and libraries send, letter for letter (no client runs here, see tests/clients)."""

import time
from urllib.parse import quote

import pytest

from tests.conformance.corpus import PDF, Corpus
from tests.conformance.encoder import attributes
from tests.conformance.instances import ENCAPSULATED_PDF, Item, Maker
from tests.support.http import JSON, Peer, first, json_array, media_type, parse_multipart, values

EXPLICIT = "1.2.840.10008.1.2.1"
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
COMPRESSED = ("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "JPEG-lossy.dcm")

# cornerstoneWADOImageLoader, OHIF (with and without omitQuotationForMultipartRequest) and older forks of both.
CORNERSTONE = [
    "multipart/related; type=application/octet-stream; transfer-syntax=*",
    'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
    "multipart/related;type=application/octet-stream;transfer-syntax=*",
    'multipart/related; type="application/octet-stream; transfer-syntax=*"',
]


@pytest.mark.proves("NEG-012", "NEG-015", "NEG-022", "RET-032")
@pytest.mark.parametrize("accept", CORNERSTONE)
@pytest.mark.parametrize("name", [*COMPRESSED, "ct1"])
def test_frames_of_cornerstone(peer: Peer, corpus: Corpus, accept: str, name: str) -> None:
    """Decoding in the browser follows from the part's own transfer-syntax: without it the frame is useless."""
    item = corpus[name]
    (part,) = peer.parts(item.path + "/frames/1", accept)
    assert part.parameters["transfer-syntax"] == item.syntax
    assert part.location == f"{peer.base_url}{item.path}/frames/1"
    if name == "ct1":
        assert part.body == item.pixels
    else:
        assert part.body.rstrip(b"\0") in item.data


# dicomweb-client of Python writes `type="*/*"` where no media type is wanted; that of JavaScript lists one range a type.
PYTHON_CLIENT = 'multipart/related; type="*/*"'
JS_LIST = (
    'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80, '
    'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.81, '
    'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90, '
    'multipart/related; type="image/dicom-rle"; transfer-syntax=1.2.840.10008.1.2.5, '
    'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
)


@pytest.mark.proves("NEG-020", "NEG-022")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "image/jls"),
        ("MR_small_jp2klossless.dcm", "image/jp2"),
        ("MR_small_RLE.dcm", "image/dicom-rle"),
        ("ct1", "application/octet-stream"),
    ],
)
def test_frames_of_the_javascript_client(peer: Peer, corpus: Corpus, name: str, kind: str) -> None:
    item = corpus[name]
    (part,) = peer.parts(item.path + "/frames/1", JS_LIST)
    assert (part.media_type, part.parameters["transfer-syntax"]) == (kind, item.syntax)


@pytest.mark.proves("NEG-004")
@pytest.mark.parametrize("name", ["ct1", "MR_small_jp2klossless.dcm"])
def test_frames_of_the_python_client(peer: Peer, corpus: Corpus, name: str) -> None:
    (part,) = peer.parts(corpus[name].path + "/frames/1", PYTHON_CLIENT)
    assert part.media_type in ("application/octet-stream", "image/jp2")
    assert part.parameters["transfer-syntax"] in (EXPLICIT, corpus[name].syntax)


@pytest.mark.proves("NEG-026")
@pytest.mark.parametrize(
    ("name", "accept"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", 'multipart/related; type="image/x-jls"'),
        ("MR_small_RLE.dcm", 'multipart/related; type="image/x-dicom-rle"'),
        ("JPEG-lossy.dcm", 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50'),
        ("JPEG-lossy.dcm", 'multipart/related; type="image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.51"'),
    ],
)
def test_names_of_old(peer: Peer, corpus: Corpus, name: str, accept: str) -> None:
    """static-wado, the microscopy viewer and old clients; either the frame as stored or a plain 406, no 400 and no 500."""
    item = corpus[name]
    response = peer.get(item.path + "/frames/1", accept)
    if item.syntax[-3:] in accept or "x-" in accept:
        assert response.status_code == 200, response.text
        (part,) = parse_multipart(response.headers["content-type"], response.content)
        assert part.parameters["transfer-syntax"] == item.syntax
    else:
        assert response.status_code in (200, 406)


@pytest.mark.proves("QID-035", "QID-036", "QID-033")
def test_study_list_of_ohif(peer: Peer, corpus: Corpus) -> None:
    """With counts and descriptions; Modality, which it also names, is no attribute of a study and does no harm."""
    query = (
        f"PatientID={corpus.token}-alpha&limit=101&offset=0&fuzzymatching=false"
        "&includefield=00081030%2C00080060&includefield=00081030%2C00080060"
    )
    response = peer.get("/studies", "application/dicom+json", query)
    assert response.status_code == 200, response.text
    (study,) = json_array(response)
    assert first(study, "00081030") == f"{corpus.token} Thorax"
    assert (int(first(study, "00201206")), int(first(study, "00201208"))) == (3, 5)
    assert "00080060" not in study
    series = peer.search(f"/studies/{corpus['ct1'].study}/series", "includefield=0008103E%2C00200011%2C00080021")
    assert sorted(int(first(one, "00201209")) for one in series) == [1, 1, 3]


@pytest.mark.parametrize(
    ("filters", "is_found"),
    [
        ("ModalitiesInStudy=CT%2CMR", True),
        ("ModalitiesInStudy=MR%2CCT%2CUS", True),
        ("ModalitiesInStudy=MG%2CXA", False),
        ("PatientName=*doe*&ModalitiesInStudy=CT%2CMR", True),
        ("StudyDate=19000101-20991231&ModalitiesInStudy=CT%2CMR", True),
    ],
)
def test_filters_of_ohif(peer: Peer, corpus: Corpus, filters: str, is_found: bool) -> None:
    """Several modalities are several boxes that are ticked in its list: any of them."""
    query = f"PatientID={corpus.token}-alpha&{filters}&limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060"
    found = json_array(peer.get("/studies", "application/dicom+json", query))
    assert [first(study, "0020000D") for study in found] == ([corpus["ct1"].study] if is_found else [])


@pytest.mark.proves("COM-016", "QID-045")
@pytest.mark.parametrize("name", ["%2Adoe%2A", "*doe*", "Doe%5EJo%2A", "doe^john", "Doe%5EJohn"])
def test_names_that_clients_encode(peer: Peer, corpus: Corpus, name: str) -> None:
    """Both dicomweb-clients percent-encode `^` and `*`; browsers do not."""
    response = peer.get("/studies", JSON, f"PatientID={quote(corpus.token)}%2Dalpha&PatientName={name}")
    assert [first(study, "0020000D") for study in json_array(response)] == [corpus["ct1"].study]


@pytest.mark.proves("QID-029")
@pytest.mark.parametrize("name", ["ct1", *COMPRESSED, "implicit"])
@pytest.mark.parametrize("field", ["AvailableTransferSyntaxUID", "00083002"])
def test_available_transfer_syntaxes(peer: Peer, corpus: Corpus, name: str, field: str) -> None:
    """wsidicom and ez-wsi-dicomweb ask instead of probing: what the answer names can be had, file and frame."""
    item = corpus[name]
    (found,) = peer.search(f"{item.series_path}/instances", f"SOPInstanceUID={item.instance}&includefield={field}")
    available = values(found, "00083002")
    assert available
    for syntax in available:
        (part,) = peer.parts(item.path, f'multipart/related; type="application/dicom"; transfer-syntax={syntax}')
        assert part.parameters["transfer-syntax"] == syntax
        octets = f'multipart/related; type="application/octet-stream"; transfer-syntax={syntax}'
        if syntax != "1.2.840.10008.1.2":
            assert peer.get(item.path + "/frames/1", octets).status_code == 200


@pytest.mark.proves("NEG-019")
def test_probing_of_wsidicom(peer: Peer, corpus: Corpus) -> None:
    """One frame asked for in one syntax after the other: each answer is a frame or 406, and none takes long."""
    item = corpus["MR_small_jp2klossless.dcm"]
    answers = {}
    for syntax in ("4.90", "4.50", "4.106", "4.80", "4.92", "4.202", "4.100", "5"):
        uid = f"1.2.840.10008.1.2.{syntax}"
        started = time.monotonic()
        response = peer.get(
            item.path + "/frames/1", f'multipart/related; type="application/octet-stream"; transfer-syntax={uid}'
        )
        assert time.monotonic() - started < 10
        answers[syntax] = response.status_code
    assert answers["4.90"] == 200
    assert answers["4.106"] == answers["4.100"] == 406
    assert set(answers.values()) <= {200, 406}


@pytest.mark.needs("single-part")
@pytest.mark.proves("NEG-029")
@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom",  # dwv
        "application/dicom; transfer-syntax=*",
        'application/dicom, multipart/related; type="application/dicom";q=0.9',  # Weasis, MONAI Label
        'application/dicom;q=1.0, multipart/related;type="application/dicom";q=0.5, */*;q=0.1',
    ],
)
def test_single_instance(peer: Peer, corpus: Corpus, accept: str) -> None:
    response = peer.get(corpus["ct1"].path, accept)
    assert response.status_code == 200, response.text
    assert media_type(response.headers["content-type"])[0] == "application/dicom"
    assert response.content == corpus["ct1"].data


@pytest.mark.proves("RET-008", "NEG-020")
@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related;type="application/dicom";transfer-syntax=*',
        'multipart/related;type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1;q=0.9,'
        'multipart/related;type="application/dicom";transfer-syntax=*;q=0.5',
        'application/dicom, multipart/related; type="application/dicom"; transfer-syntax=*',
        "multipart/related; type=application/dicom; transfer-syntax=*",
    ],
)
def test_whole_series(peer: Peer, corpus: Corpus, accept: str) -> None:
    """Weasis, 3D Slicer and MONAI Label take a series at once, and mix forms of which one cannot serve a series."""
    parts = peer.parts(corpus["ct1"].series_path, accept)
    assert sorted(part.body for part in parts) == sorted(corpus[f"ct{number}"].data for number in (1, 2, 3))


@pytest.mark.needs("single-part")
@pytest.mark.proves("NEG-008", "MET-016")
def test_direct_url_of_a_document(peer: Peer, maker: Maker) -> None:
    """A browser's own viewer loads what OHIF links to: `accept=` in the URL, the browser's Accept header, one part."""
    pdf = PDF + bytes(1) + maker.uids.bytes(20_000)
    document = attributes(EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf")
    item = maker.single("brochure", document, SOPClassUID=ENCAPSULATED_PDF, Modality="DOC")
    assert peer.store([item.data]).status_code == 200
    assert direct_url(peer, item, "00420011", "application/pdf")[: len(pdf)] == pdf


@pytest.mark.needs("single-part")
@pytest.mark.proves("NEG-008", "MET-016")
def test_direct_url_of_a_video(peer: Peer, corpus: Corpus) -> None:
    content = direct_url(peer, corpus["video"], "7FE00010", "video/mp4")
    assert content[4:12] == b"ftypmp42"
    assert content.rstrip(b"\0") in corpus["video"].data.replace(b"\xfe\xff\x00\xe0\x2c\x01\x00\x00", b"")


def direct_url(peer: Peer, item: Item, tag: str, kind: str) -> bytes:
    """What the link to a bulkdata value leads to, whole and in a range."""
    (metadata,) = peer.metadata(item.path)
    url = metadata[tag]["BulkDataURI"]
    whole = peer.get(url, CHROME, f"accept={kind}")
    assert whole.status_code == 200, whole.text
    assert media_type(whole.headers["content-type"])[0] == kind
    part = peer.get(url, "*/*", f"accept={kind}", range="bytes=2-9")
    assert part.status_code == 206
    assert part.content == whole.content[2:10]
    return whole.content


@pytest.mark.proves("NEG-004")
@pytest.mark.parametrize("accept", [CHROME, "*/*", None, "application/json, text/plain, */*", "application/json"])
def test_browsers_and_curl(peer: Peer, corpus: Corpus, accept: str | None) -> None:
    """Every resource that is JSON by default opens in a browser and with curl; without any Accept header too."""
    item = corpus["ct1"]
    for path in ("/studies", f"{item.study_path}/series", f"{item.path}/metadata"):
        response = peer.get(path, accept, corpus.mine if path == "/studies" else "")
        assert response.status_code == 200, path
        assert media_type(response.headers["content-type"])[0] in (JSON, "application/json")
        assert isinstance(response.json(), list)


@pytest.mark.proves("COM-035")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_host_without_its_port(peer: Peer, corpus: Corpus, host: str) -> None:
    """dicomweb-client of Python leaves the port out of Host: the answer is complete, whatever its URLs then are."""
    response = peer.get(corpus["rich"].path + "/metadata", JSON, host=host)
    assert response.status_code == 200
    (dataset,) = json_array(response)
    assert all("//" in uri for uri in _uris(dataset))


def _uris(dataset: dict[str, object]) -> list[str]:
    found: list[str] = []
    for element in dataset.values():
        assert isinstance(element, dict)
        if "BulkDataURI" in element:
            found.append(element["BulkDataURI"])
        for item in element.get("Value", []) if element["vr"] == "SQ" else []:
            found += _uris(item)
    return found


def weasis(item: Item, **more: str) -> str:
    named = {
        "requestType": "WADO",
        "studyUID": item.study,
        "seriesUID": item.series,
        "objectUID": item.instance,
        **more,
    }
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in named.items())


@pytest.mark.needs("uri-service")
@pytest.mark.proves("URI-004", "URI-005")
@pytest.mark.parametrize(
    "accept", ["*/*", "application/dicom", None, "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"]
)
def test_wado_uri_of_weasis(peer: Peer, corpus: Corpus, accept: str | None) -> None:
    """A whole file, its Accept header being that of Java's HTTP client, which names images."""
    item = corpus["MR_small_jp2klossless.dcm"]
    response = peer.get("/wado", accept, weasis(item, contentType="application/dicom"))
    assert response.status_code == 200, response.text
    assert media_type(response.headers["content-type"])[0] == "application/dicom"
    assert response.content[128:132] == b"DICM"
    assert b"1.2.840.10008.1.2.1\0" in response.content[:600]


@pytest.mark.needs("uri-service")
@pytest.mark.proves("URI-003")
def test_wado_uri_thumbnail_of_weasis(peer: Peer, corpus: Corpus) -> None:
    query = weasis(corpus["MR_small.dcm"], contentType="image/jpeg", imageQuality="70", rows="128", columns="128")
    response = peer.get("/wado", "*/*", query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].split(";")[0] == "image/jpeg"
    assert response.content[:3] == b"\xff\xd8\xff"
