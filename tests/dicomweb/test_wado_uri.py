"""The query of the URI service: values, and everything that is 400 (PS3.18 chapter 9)."""

import random
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.references import InstanceRef
from app.dicom.rendering import Viewport, VoiFunction, Window
from app.dicomweb.wado_uri import UriQuery, parse_uri_query
from app.errors import InvalidParameter, InvalidRequest, InvalidUid

BASE = "requestType=WADO&studyUID=1.2&seriesUID=1.2.3&objectUID=1.2.3.4"
NAMES = (
    "requestType", "studyUID", "seriesUID", "objectUID", "contentType", "charset", "anonymize", "annotation",
    "imageAnnotation", "rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber", "imageQuality",
    "presentationUID", "presentationSeriesUID", "transferSyntax",
)  # fmt: skip


def parse(more: str = "", base: str = BASE) -> UriQuery:
    return parse_uri_query(parse_qsl(f"{base}&{more}", keep_blank_values=True))


def refused(more: str) -> bool:
    with pytest.raises(InvalidRequest):
        parse(more)
    return True


def test_only_what_is_mandatory() -> None:
    found = parse()
    assert found.ref == InstanceRef("1.2", "1.2.3", "1.2.3.4")
    assert (found.content_type, found.transfer_syntax, found.region, found.frame_number) == (None,) * 4
    assert not found.anonymizes
    assert found.presentation is None
    assert found.rendering.parameters.viewport is None


def test_in_any_order() -> None:
    pairs = parse_qsl(f"{BASE}&rows=10&columns=20&frameNumber=2")
    expected = parse_uri_query(pairs)
    for seed in range(10):
        random.Random(seed).shuffle(pairs)
        assert parse_uri_query(pairs) == expected


@pytest.mark.parametrize("name", ["requestType", "studyUID", "seriesUID", "objectUID"])
def test_mandatory_ones(name: str) -> None:
    pairs = parse_qsl(BASE)
    for broken in (
        [pair for pair in pairs if pair[0] != name],
        [(key.upper() if key == name else key, value) for key, value in pairs],
        [(key, "" if key == name else value) for key, value in pairs],
        [*pairs, *(pair for pair in pairs if pair[0] == name)],
    ):
        with pytest.raises(InvalidParameter):
            parse_uri_query(broken)


def test_request_type_and_uids() -> None:
    for base in (BASE.replace("WADO", "FOO"), BASE.replace("WADO", "wado")):
        with pytest.raises(InvalidParameter):
            parse(base=base)
    for uid in ("abc", "1..2", "1.2.", "1" * 65, "1.2/../3", "*"):
        with pytest.raises(InvalidUid):
            parse(base=BASE.replace("objectUID=1.2.3.4", f"objectUID={uid}"))


def test_content_type() -> None:
    assert parse("contentType=application/dicom").content_type == "application/dicom"
    assert parse("contentType=application%2Fdicom").content_type == "application/dicom"
    assert parse("contentType=image/png,image/jpeg;q=0.5").content_type == "image/png,image/jpeg;q=0.5"
    assert parse("contentType=image/png&contentType=image/gif").content_type == "image/png,image/gif"
    for text in (
        "",
        ",",
        "image",
        "image/*",
        "*/*",
        "application/dicom;transfer-syntax=1.2.840.10008.1.2.1",
        "text/html;charset=utf-8",
        "image/png,nonsense",
        "a/b," * 3000,
    ):
        assert refused(f"contentType={text.replace(';', '%3B')}")


def test_anonymize() -> None:
    assert parse("anonymize=yes").anonymizes
    assert all(refused(more) for more in ("anonymize=no", "anonymize=", "anonymize=YES", "anonymize=yes&anonymize=yes"))


def test_transfer_syntax() -> None:
    assert parse("transferSyntax=1.2.840.10008.1.2.4.90").transfer_syntax == "1.2.840.10008.1.2.4.90"
    for more in ("transferSyntax=abc", "transferSyntax=", "transferSyntax=*", "transferSyntax=1.2&transferSyntax=1.2"):
        assert refused(more)


def test_frame_number() -> None:
    assert parse("frameNumber=3").frame_number == 3
    for more in ("frameNumber=0", "frameNumber=-1", "frameNumber=x", "frameNumber=1.5", "frameNumber="):
        assert refused(more)
    assert refused("frameNumber=1&frameNumber=2")
    assert refused(f"frameNumber={'9' * 30}")


def test_annotation_under_both_names() -> None:
    for name in ("annotation", "imageAnnotation"):
        found = parse(f"{name}=patient,foo").rendering
        assert found.parameters.annotation == ("patient",)
        assert found.unsupported_annotations == ("foo",)
        assert refused(f"{name}=")
    assert refused("annotation=patient&imageAnnotation=patient")


def test_quality() -> None:
    assert parse("imageQuality=100").rendering.parameters.quality == 100
    assert all(refused(f"imageQuality={text}") for text in ("0", "101", "x", ""))


def test_size() -> None:
    assert parse("rows=100&columns=400").rendering.parameters.viewport == Viewport(400, 100)
    assert parse("rows=100").rendering.parameters.viewport == Viewport(32768, 100)
    assert parse("columns=30000").rendering.parameters.viewport == Viewport(30000, 2236)
    for name in ("rows", "columns"):
        assert all(refused(f"{name}={text}") for text in ("0", "-1", "x", "", "40000", "1.5"))
    assert refused("rows=30000&columns=30000")


def test_region() -> None:
    assert parse("region=0,0.25,0.5,1").region == (0, 0.25, 0.5, 1)
    assert parse("region=0.0,0.0,1.0,1.0").region == (0, 0, 1, 1)
    for text in (
        "", "0,0,1", "0,0,1,1,1", "0.5,0,0.2,1", "0,0.5,1,0.5", "0,0,2,1", "-0.1,0,1,1", "a,0,1,1", "nan,0,1,1",
        "0,0,1,", "0;0;1;1",
    ):  # fmt: skip
        assert refused(f"region={text.replace(';', '%3B')}")


def test_window() -> None:
    found = parse("windowCenter=40&windowWidth=400").rendering.parameters.window
    assert found == Window(40, 400, VoiFunction.LINEAR)
    assert parse("windowWidth=1.5&windowCenter=-3.5e1").rendering.parameters.window == Window(-35, 1.5)
    for more in (
        "windowCenter=40", "windowWidth=400", "windowCenter=a&windowWidth=400", "windowCenter=40&windowWidth=",
        "windowCenter=40&windowWidth=0", "windowCenter=40&windowWidth=400&windowWidth=400",
    ):  # fmt: skip
        assert refused(more)


def test_presentation_state() -> None:
    named = "presentationSeriesUID=1.9&presentationUID=1.9.1"
    assert parse(named).presentation == InstanceRef("1.2", "1.9", "1.9.1")
    together = parse(f"{named}&annotation=patient&imageQuality=3&region=0,0,1,1&rows=1&columns=1")
    assert together.presentation is not None
    for more in (
        "presentationUID=1.9",
        "presentationSeriesUID=1.9",
        "presentationUID=x&presentationSeriesUID=1.2",
        f"{named}&windowCenter=1&windowWidth=1",
        f"{named}&frameNumber=1",
    ):
        assert refused(more)


@given(st.lists(st.tuples(st.sampled_from(NAMES[4:]), st.text(max_size=40)), max_size=4))
def test_any_text_is_values_or_one_kind_of_error(more: list[tuple[str, str]]) -> None:
    try:
        found = parse_uri_query([*parse_qsl(BASE), *more])
    except InvalidRequest:
        return
    assert found.ref.study_instance_uid == "1.2"
