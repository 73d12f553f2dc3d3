"""store_response, search_response, status_report, warning_headers: what goes out."""

import json
from xml.etree import ElementTree

import orjson
import pytest

from app.dicom import store_status as reasons
from app.dicom.matching import Level
from app.dicom.references import InstanceRef
from app.dicom.search_result import result_of
from app.dicomweb import search_response, warning_headers
from app.dicomweb.search_response import search_to_json, search_to_xml_parts, texts_of
from app.dicomweb.status_report import status_report
from app.dicomweb.store_response import StoreResponse
from app.dicomweb.warning_headers import warning_header

BASE = "https://pacs.example/dicomweb"
CT = "1.2.840.10008.5.1.4.1.1.2"
ONE, TWO, OTHER_STUDY = (
    InstanceRef("1.1", "1.2", "1.3"),
    InstanceRef("1.1", "1.2", "1.4"),
    InstanceRef("2.1", "2.2", "2.3"),
)


def response(study: str | None = None) -> StoreResponse:
    return StoreResponse(BASE, study)


def test_all_stored() -> None:
    answer = response()
    answer.stored(ONE, CT)
    answer.stored(TWO, CT)
    assert answer.status == 200  # STO-003
    assert answer.location == f"{BASE}/studies/1.1/series/1.2"
    assert json.loads(answer.to_json()) == {
        "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.1"]},
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": [sop]},
                    "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.1/series/1.2/instances/{sop}"]},
                }
                for sop in ("1.3", "1.4")
            ],
        },
    }  # STO-009 to -011, -014, -015


def test_some_stored() -> None:
    answer = response()
    answer.stored(ONE, CT)
    answer.failed(CT, "1.9", reasons.SOP_CLASS_NOT_SUPPORTED)
    answer.failed("", "", reasons.CANNOT_UNDERSTAND)
    assert answer.status == 202  # STO-004
    dataset = answer.dataset()
    assert list(dataset) == sorted(dataset)
    assert dataset["00081198"]["Value"] == [
        {
            "00081150": {"vr": "UI", "Value": [CT]},
            "00081155": {"vr": "UI", "Value": ["1.9"]},
            "00081197": {"vr": "US", "Value": [290]},
        }
    ]  # STO-012, STO-016
    assert dataset["0008119A"]["Value"] == [{"00081197": {"vr": "US", "Value": [0xC000]}}]  # STO-013


def test_none_stored() -> None:
    answer = response("1.1")
    answer.failed(CT, "2.3", reasons.STUDY_MISMATCH)
    assert answer.status == 409  # STO-002, STO-005
    assert set(answer.dataset()) == {"00081190", "00081198"}
    assert answer.dataset()["00081190"] == {"vr": "UR"}
    assert answer.location is None


def test_nothing_sent_and_nothing_understood() -> None:
    assert response().status == 400  # STO-008
    answer = response()
    answer.failed("", "", reasons.CANNOT_UNDERSTAND)
    assert answer.status == 409
    answer.stored(ONE, CT)
    assert answer.status == 202


def test_warning() -> None:
    answer = response()
    item = {"04000565": {"vr": "CS", "Value": ["COERCE"]}}
    answer.stored(ONE, CT, warning=reasons.COERCION_OF_DATA_ELEMENTS, original_attributes=[item])
    assert answer.status == 202
    stored = answer.dataset()["00081199"]["Value"][0]
    assert stored["00081196"] == {"vr": "US", "Value": [45056]}  # STO-022
    assert stored["04000561"] == {"vr": "SQ", "Value": [item]}
    assert list(stored) == sorted(stored)


def test_retrieve_url_of_several_studies_is_empty() -> None:
    answer = response()
    answer.stored(ONE, CT)
    answer.stored(OTHER_STUDY, CT)
    assert answer.dataset()["00081190"] == {"vr": "UR"}


def test_location_is_the_smallest_resource_that_holds_all_that_is_new() -> None:
    """PS3.18 10.5.3.2, STO-027."""
    answer = response("1.1")
    answer.stored(ONE, CT, is_new=False)
    assert answer.location is None
    expected = (
        (TWO, "/studies/1.1/series/1.2/instances/1.4"),
        (TWO, "/studies/1.1/series/1.2/instances/1.4"),
        (InstanceRef("1.1", "1.2", "1.5"), "/studies/1.1/series/1.2"),
        (InstanceRef("1.1", "1.3", "1.6"), "/studies/1.1"),
        (OTHER_STUDY, "/studies"),
    )
    for ref, path in expected:
        answer.stored(ref, CT)
        assert answer.location == BASE + path


def test_failure_of_an_instance_without_name_is_another_failure() -> None:
    answer = response()
    answer.failed("", "1.3", reasons.DATA_SET_MISMATCH)
    answer.failed(CT, "not a uid", reasons.INVALID_SOP_INSTANCE)
    codes = [item["00081197"]["Value"][0] for item in answer.dataset()["0008119A"]["Value"]]
    assert codes == [0xA900, 0x0117]
    assert "00081198" not in answer.dataset()


def test_codes_lie_in_their_ranges() -> None:
    assert all(0xB000 <= status.code <= 0xBFFF for status in reasons.WARNINGS)
    for status, first, last in (
        (reasons.OUT_OF_RESOURCES, 0xA700, 0xA7FF),
        (reasons.DATA_SET_MISMATCH, 0xA900, 0xA9FF),
        (reasons.STUDY_MISMATCH, 0xA900, 0xA9FF),
        (reasons.CANNOT_UNDERSTAND, 0xC000, 0xCFFF),
        (reasons.TRUNCATED, 0xC000, 0xCFFF),
    ):
        assert first <= status.code <= last  # STO-019 to -021
    assert reasons.TRANSFER_SYNTAX_NOT_SUPPORTED.code == 49442  # STO-017
    assert reasons.PROCESSING_FAILURE.code == 272  # STO-018
    assert len(reasons.BY_CODE) == len(reasons.WARNINGS) + len(reasons.FAILURES)
    assert str(reasons.PROCESSING_FAILURE).startswith("0110H Processing failure: ")


def ui(*uids: str) -> dict[str, object]:
    return {"vr": "UI", "Value": list(uids)}


STUDY = {"00080020": {"vr": "DA"}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada"}]}, "0020000D": ui("1.1")}
SERIES = {"00080060": {"vr": "CS", "Value": ["CT"]}, "0020000E": ui("1.2")}
INSTANCE = {"00080016": ui(CT), "00080018": ui("1.3")}


@pytest.mark.parametrize(
    ("result", "level", "above", "path"),
    [
        (STUDY, Level.STUDY, (), "/studies/1.1"),
        (SERIES, Level.SERIES, ("9.1",), "/studies/9.1/series/1.2"),
        (STUDY | SERIES, Level.SERIES, (), "/studies/1.1/series/1.2"),
        (INSTANCE, Level.INSTANCE, ("9.1", "9.2"), "/studies/9.1/series/9.2/instances/1.3"),
        (SERIES | INSTANCE, Level.INSTANCE, ("9.1",), "/studies/9.1/series/1.2/instances/1.3"),
        (STUDY | SERIES | INSTANCE, Level.INSTANCE, (), "/studies/1.1/series/1.2/instances/1.3"),
    ],
)
def test_retrieve_url_of_a_result(result: dict[str, object], level: Level, above: tuple[str, ...], path: str) -> None:
    (text,) = texts_of([result_of(dict(sorted(result.items())))], BASE, level, *above)
    completed = orjson.loads(text)
    assert completed["00081190"] == {"vr": "UR", "Value": [BASE + path]}  # QID-023
    assert list(completed) == sorted(completed)
    assert {tag: value for tag, value in completed.items() if tag != "00081190"} == result


@pytest.mark.parametrize("result", [{}, {"0020000D": {"vr": "UI"}}, {"0020000D": ui("../x")}])
@pytest.mark.parametrize("above", [(), ("../x",), ("",)])
def test_no_retrieve_url_without_uids(result: dict[str, object], above: tuple[str, ...]) -> None:
    held = dict(sorted((result | {"00081190": {"vr": "UR"}}).items()))
    (text,) = texts_of([result_of(held)], BASE, Level.SERIES, *above)
    assert orjson.loads(text) == result


@pytest.mark.parametrize("base", ["http://h/a%20b", "http://h/%s%b%%", 'http://h/"\\{}', "http://h/\u00fc"])
def test_retrieve_urls_hold_the_address_as_it_is(base: str) -> None:
    (text,) = texts_of([result_of(STUDY)], base, Level.STUDY)
    assert orjson.loads(text)["00081190"]["Value"] == [f"{base}/studies/1.1"]


def test_search_as_json() -> None:
    assert list(search_to_json([], BASE, level=Level.STUDY)) == [b"[]"]  # QID-009
    (whole,) = search_to_json([result_of(SERIES)] * 2, BASE, level=Level.SERIES, study_instance_uid="9.1")
    results = orjson.loads(whole)
    assert len(results) == 2
    assert results[1]["00081190"]["Value"] == [f"{BASE}/studies/9.1/series/1.2"]


@pytest.mark.parametrize("size", [1, 300, 10**6])
def test_search_as_json_comes_in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(search_response, "PIECE", size)
    for count in (1, 2, 3, 7):
        pieces = list(search_to_json([result_of(STUDY)] * count, BASE, level=Level.STUDY))
        assert len(orjson.loads(b"".join(pieces))) == count
        assert len(pieces) == (count + 1 if size == 1 else 1 + count // 2 if size == 300 else 1)


def test_search_as_xml() -> None:
    parts = list(
        search_to_xml_parts(
            [result_of(INSTANCE), result_of(dict(sorted((STUDY | INSTANCE).items())))],
            BASE,
            level=Level.INSTANCE,
            study_instance_uid="9.1",
            series_instance_uid="9.2",
        )
    )
    assert len(parts) == 2  # QID-008
    namespace = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
    root = ElementTree.fromstring(parts[0])  # noqa: S314 - made by ourselves
    assert root.tag == f"{namespace}NativeDicomModel"
    url = root.find(f"{namespace}DicomAttribute[@tag='00081190']/{namespace}Value")
    assert url is not None
    assert url.text == f"{BASE}/studies/9.1/series/9.2/instances/1.3"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("application/dicom", "text/html; charset=utf-8"),  # COM-025
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/html;q=0.1, text/plain", "text/plain; charset=utf-8"),
        ("application/json", "application/problem+json"),
        ("application/problem+json, text/html;q=0.9", "application/problem+json"),
        ("text/plain, */*", "text/plain; charset=utf-8"),
        ("text/html;q=0", "text/html; charset=utf-8"),
        ("application/json;q=0, application/dicom", "text/html; charset=utf-8"),
        ("text/plain;q=0, application/json;q=0.1", "application/problem+json"),
    ],
)
def test_status_report_type(accept: str | None, content_type: str) -> None:
    report = status_report(404, "no such study", accept=accept)
    assert report.content_type == content_type
    assert b"404" in report.body
    assert b"no such study" in report.body


def test_status_report_says_whether_to_try_again() -> None:  # COM-024
    assert b"temporary" in status_report(503, "busy", temporary=True).body
    assert b"permanent" in status_report(400, "wrong", accept="text/plain").body
    problem = json.loads(status_report(503, "busy", accept="application/json", temporary=True).body)
    assert problem == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "busy",
        "temporary": True,
    }


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "application/json"])
def test_status_report_of_hostile_text(accept: str) -> None:
    report = status_report(400, "<script>alert('1')</script> \udcff é", accept=accept)
    text = report.body.decode("utf-8")
    assert ("<script>" in text) == (accept != "text/html")
    assert "é" in text


def test_status_report_of_an_unknown_status() -> None:
    assert b"499 Failure" in status_report(499, "x").body


def test_warning_header() -> None:
    assert warning_header(BASE, "text") == '299 pacs.example "text"'
    assert warning_header("http://[::1]:8080/x", warning_headers.additional_results(7)) == (
        '299 [::1]:8080 "There are 7 additional results that can be requested"'
    )  # QID-013
    assert (
        warning_headers.unsupported_annotations(["a", "b"]) == "The following annotation values are not supported: a, b"
    )


def test_warning_header_of_hostile_text() -> None:
    header = warning_header("https://me@host", 'x"\r\nSet-Cookie: \\é' + "y" * 1000)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith('299 host "x\\"?Set-Cookie: \\\\?y')
    assert len(header) < 600


def test_warnings_are_not_repeated() -> None:
    assert len(warning_headers.warning_headers(BASE, ["a", "b", "a"])) == 2
