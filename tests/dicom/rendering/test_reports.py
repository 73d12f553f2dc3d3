"""Structured reports, key object selections and documents (PS3.18 8.7.4; REN-006, REN-007, REN-034)."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from app.dicom.rendering import (
    Category,
    category_of,
    encapsulated_document,
    representative_frame,
    sr_bulkdata,
    sr_to_html,
    sr_to_text,
    stock_label,
    stock_thumbnail,
    thumbnail_viewport,
    video_media_type,
)
from app.dicom.rendering.parameters import Viewport
from app.dicom.rendering.sr_content import MAX_DEPTH, is_report, read_report
from app.errors import InvalidParameter, TooLarge
from tests.dicom.rendering.images import json_of
from tests.dicom.rendering.stored import bulk_values, corpus, open_stored

EXPLICIT = "1.2.840.10008.1.2.1"
ALLOWED_TAGS = {
    "html", "head", "meta", "title", "style", "body", "table", "tr", "th", "td", "ul", "li", "span",
    *(f"h{level}" for level in range(1, 7)),
}  # fmt: skip


class Collector(HTMLParser):
    """What a browser would see: tags, attributes, text; and whether tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


def code(meaning: str) -> list[dict[str, str]]:
    return [{"CodeValue": "1", "CodingSchemeDesignator": "99", "CodeMeaning": meaning}]


def content(kind: str, name: str, relation: str = "CONTAINS", **value: Any) -> dict[str, Any]:
    return {"ValueType": kind, "RelationshipType": relation, "ConceptNameCodeSequence": code(name)} | value


def report(*items: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return json_of(
        **{
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33",
            "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": code("Imaging Report"),
            "ContentSequence": list(items),
        }
        | attributes
    )


def text_of(page: str) -> str:
    return " ".join("".join(Collector(page).texts).split())


EVERY_KIND = (
    content("TEXT", "Finding", TextValue="Two lines\r\nof text"),
    content(
        "NUM",
        "Diameter",
        MeasuredValueSequence=[
            {"NumericValue": 12.5, "MeasurementUnitsCodeSequence": [{"CodeValue": "mm", "CodeMeaning": "millimeter"}]}
        ],
    ),
    content("NUM", "Ratio", MeasuredValueSequence=[{"NumericValue": 2, "MeasurementUnitsCodeSequence": code("no units")}]),
    content("NUM", "Lost", NumericValueQualifierCodeSequence=code("Measurement failure")),
    content("CODE", "Side", ConceptCodeSequence=code("Left")),
    content("PNAME", "Observer", "HAS OBS CONTEXT", PersonName="Doe^Jane"),
    content("DATE", "Day", Date="20240229"),
    content("TIME", "Hour", Time="101530"),
    content("DATETIME", "Moment", DateTime="20240229101530"),
    content("UIDREF", "Tracked", UID="1.2.3"),
    content("IMAGE", "Source", ReferencedSOPSequence=[{"ReferencedSOPInstanceUID": "1.2.9", "ReferencedFrameNumber": [3, 4]}]),
    content("COMPOSITE", "Basis", ReferencedSOPSequence=[{"ReferencedSOPInstanceUID": "1.2.8"}]),
    content("WAVEFORM", "Curve"),
    content("SCOORD", "Outline", GraphicType="POLYLINE", GraphicData=[float(n) for n in range(60)]),
    content("SCOORD3D", "Spot", GraphicType="POINT", GraphicData=[1.5, 2.0, 3.0]),
    content("TCOORD", "When", TemporalRangeType="POINT", ReferencedTimeOffsets=[0.5]),
    content("TABLE", "Grid"),
    content("CONTAINER", "Section", ContentSequence=[content("TEXT", "Inner", TextValue="deep")]),
    {"RelationshipType": "INFERRED FROM", "ReferencedContentItemIdentifier": [1, 2]},
)  # fmt: skip
EXPECTED = (
    "Two lines", "of text", "12.5 mm", "Ratio: 2", "Measurement failure", "Left", "Doe Jane", "2024-02-29", "10:15:30",
    "2024-02-29 10:15:30", "1.2.3", "Image 1.2.9 frames 3, 4", "Object 1.2.8", "Waveform", "and 36 more", "point 1.5, 2, 3",
    "point 0.5", "(TABLE)", "Section", "deep", "see item 1.2",
)  # fmt: skip


@pytest.mark.parametrize("expected", EXPECTED)
def test_every_value_type_is_shown(expected: str) -> None:
    attributes = report(*EVERY_KIND)
    assert expected in text_of(sr_to_html(attributes))
    assert expected in sr_to_text(attributes)


def test_the_page_is_whole() -> None:
    page = sr_to_html(report(*EVERY_KIND, PatientName="Doe^Jane", PatientID="4711", StudyDate="20240229"))
    assert page.startswith("<!DOCTYPE html>")
    seen = Collector(page)
    assert seen.open == []
    assert set(seen.tags) <= ALLOWED_TAGS
    assert seen.attributes <= {"lang", "charset", "class", "id"}
    assert text_of(page).startswith("Imaging Report")
    for fact in ("Patient", "Doe Jane", "4711", "2024-02-29"):
        assert fact in text_of(page)


def test_plain_text_is_indented() -> None:
    lines = sr_to_text(report(*EVERY_KIND)).splitlines()
    assert lines[0] == "Imaging Report"
    assert lines[1] == "=" * len(lines[0])
    position = lines.index("Section")
    assert lines[position + 1] == "  Inner: deep"
    assert "Finding: Two lines" in lines
    assert lines[lines.index("Finding: Two lines") + 1] == "  of text"


ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><script>1</script>",
    "</style><script>1</script>",
    "' onmouseover='alert(1)",
    "&lt;b&gt;<!-- <![CDATA[ -->",
    "javascript:alert(1)",
    "<\0script>",
    "\ud800<svg/onload=1>",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_stranger_wrote_is_only_text(attack: str) -> None:
    """Stored cross-site scripting: in every place that shows a text of the object."""
    item = content("TEXT", attack, TextValue=attack)
    measured = content(
        "NUM",
        attack,
        MeasuredValueSequence=[{"NumericValue": attack, "MeasurementUnitsCodeSequence": code(attack)}],
    )
    places = (
        "PatientName",
        "PatientID",
        "PatientSex",
        "StudyDescription",
        "CompletionFlag",
        "Manufacturer",
        "AccessionNumber",
    )
    attributes = report(
        item,
        measured,
        content(attack, attack),
        content("PNAME", attack, PersonName=attack),
        content("UIDREF", attack, UID=attack),
        content("DATE", attack, Date=attack),
        content("CODE", attack, attack, ConceptCodeSequence=code(attack)),
        content("SCOORD", attack, GraphicType=attack),
        content("IMAGE", attack, ReferencedSOPSequence=[{"ReferencedSOPInstanceUID": attack}]),
        content("TCOORD", attack, TemporalRangeType=attack, ReferencedDateTime=attack),
        content("CONTAINER", attack, ContentSequence=[item]),
        ConceptNameCodeSequence=code(attack),
        VerifyingObserverSequence=[{"VerifyingObserverName": attack, "VerifyingOrganization": attack}],
        **dict.fromkeys(places, attack),
    )
    seen = Collector(sr_to_html(attributes))
    assert set(seen.tags) <= ALLOWED_TAGS
    assert seen.attributes <= {"lang", "charset", "class", "id"}
    assert seen.tags.count("style") == seen.tags.count("title") == 1
    sr_to_html(attributes).encode("utf-8")
    sr_to_text(attributes).encode("utf-8")
    assert "\0" not in sr_to_text(attributes)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["vr", "Value", "InlineBinary", "BulkDataURI", "0040A730", "0040A160"]), inner
        )
    ),
    max_leaves=12,
)
SR_TAGS = ["0040A043", "0040A160", "0040A300", "0040A730", "0040A040", "00100010", "0040A073", "00081199", "0040DB73"]


@given(st.dictionaries(st.sampled_from(SR_TAGS), st.fixed_dictionaries({"vr": st.just("SQ"), "Value": json_values})))
def test_no_report_is_too_strange(attributes: dict[str, Any]) -> None:
    seen = Collector(sr_to_html(attributes))
    assert seen.open == []
    assert sr_to_text(attributes).endswith("\n")


def test_depth_is_bounded() -> None:
    item = content("TEXT", "end", TextValue="x")
    for _ in range(MAX_DEPTH + 2):
        item = content("CONTAINER", "level", ContentSequence=[item])
    with pytest.raises(TooLarge):
        sr_to_html(report(item))


def test_number_of_items_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dicom.rendering.sr_content.MAX_ITEMS", 10)
    assert sr_to_text(report(*EVERY_KIND[:9]))
    with pytest.raises(TooLarge):
        sr_to_text(report(*EVERY_KIND[:10]))


def test_long_texts_come_as_bulkdata() -> None:
    attributes = report(content("CONTAINER", "A", ContentSequence=[content("TEXT", "B", TextValue="x")]))
    inner = attributes["0040A730"]["Value"][0]["0040A730"]["Value"][0]
    inner["0040A160"] = {"vr": "UT", "BulkDataURI": "http://archive/1"}
    (path,) = sr_bulkdata(attributes)
    assert path == "0040A730.1.0040A730.1.0040A160"
    assert "Grüße" in sr_to_text(attributes, {path: "Grüße ".encode()})
    assert "Grüße" in sr_to_text(attributes, {path: "Grüße".encode("latin-1")})
    assert "B" in sr_to_text(attributes)


def report_files() -> list[Path]:
    found = []
    for path in corpus():
        if path.suffix == ".dcm":
            try:
                stored = open_stored(path.read_bytes())
            except Exception:  # noqa: BLE001, S112 - whatever is not accepted is not rendered
                continue
            if is_report(stored.attributes):
                found.append(path)
    return found


@pytest.mark.parametrize("path", report_files(), ids=lambda path: path.name)
def test_real_reports(path: Path) -> None:
    stored = open_stored(path.read_bytes())
    bulk = bulk_values(stored, sr_bulkdata(stored.attributes))
    page, text = sr_to_html(stored.attributes, bulk), sr_to_text(stored.attributes, bulk)
    assert Collector(page).open == []
    names = [item.name for item in read_report(stored.attributes, bulk).root.children if item.name]
    assert names
    for name in names:
        assert " ".join(name.split()) in text_of(page)
        assert " ".join(name.split()) in text
    assert category_of(stored.attributes, EXPLICIT, 0) is Category.TEXT


def test_a_known_report() -> None:
    path = Path(str(get_testdata_file("test-SR.dcm")))
    text = sr_to_text(open_stored(path.read_bytes()).attributes)
    assert text.startswith("Diagnosis\n=========\n\nPatient: Test S R\n")
    assert "see item 1.2.2.1" in text


def encapsulated(sop_class: str, **attributes: Any) -> dict[str, Any]:
    return json_of(SOPClassUID=sop_class, EncapsulatedDocument=b"%PDF", **attributes)


@pytest.mark.parametrize(
    ("suffix", "media_type", "label"),
    [
        (1, "application/pdf", "PDF"),
        (2, "text/xml", "CDA"),
        (3, "model/stl", "STL"),
        (4, "model/obj", "OBJ"),
        (5, "model/mtl", "MTL"),
    ],
)
def test_encapsulated_documents(suffix: int, media_type: str, label: str) -> None:
    sop_class = f"1.2.840.10008.5.1.4.1.1.104.{suffix}"
    attributes = encapsulated(sop_class, MIMETypeOfEncapsulatedDocument="text/html", EncapsulatedDocumentLength=3)
    document = encapsulated_document(attributes)
    assert document is not None
    assert (document.media_type, document.path, document.length) == (media_type, "00420011", 3)
    assert stock_label(attributes) == label
    assert category_of(attributes, EXPLICIT, 0) is Category.DOCUMENT
    assert encapsulated_document(encapsulated(sop_class)).length is None


def test_documents_that_are_none() -> None:
    assert encapsulated_document(encapsulated("1.2.840.10008.5.1.4.1.1.7")) is None
    assert encapsulated_document(json_of(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")) is None


@pytest.mark.parametrize(
    ("uid", "media_type"),
    [("1.2.840.10008.1.2.4.100", "video/mpeg"), ("1.2.840.10008.1.2.4.102.1", "video/mp4"),
     ("1.2.840.10008.1.2.4.107", "video/H265"), (EXPLICIT, None), ("1.2", None)],
)  # fmt: skip
def test_video(uid: str, media_type: str | None) -> None:
    assert video_media_type(uid) == media_type
    assert (category_of({}, uid, 1) is Category.VIDEO) == (media_type is not None)


def test_categories() -> None:
    assert category_of({}, EXPLICIT, 1) is Category.SINGLE_FRAME
    assert category_of({}, EXPLICIT, 2) is Category.MULTI_FRAME
    assert category_of({}, EXPLICIT, 0) is Category.NONE
    assert category_of(json_of(SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1"), EXPLICIT, 0) is Category.PRESENTATION_STATE


def test_thumbnails() -> None:
    """REN-031."""
    assert [representative_frame(count) for count in (0, 1, 2, 3, 10)] == [1, 1, 2, 2, 6]
    assert thumbnail_viewport(None) == Viewport(200, 200)
    assert thumbnail_viewport(Viewport(64, 48)) == Viewport(64, 48)
    for refused in (Viewport(64, 48, 1), Viewport(64, 48, 0, 0, 5, 5)):
        with pytest.raises(InvalidParameter):
            thumbnail_viewport(refused)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 300), (300, 5), (64, 64), (1000, 1000)])
@pytest.mark.parametrize("label", ["SR", "", "ABCDEFGHIJKLMNOP", "\0<x>"])
def test_stock_thumbnails_of_any_size(size: tuple[int, int], label: str) -> None:
    pixels = stock_thumbnail(label, Viewport(*size))
    assert pixels.shape[0] <= size[1]
    assert pixels.shape[1] <= size[0]
