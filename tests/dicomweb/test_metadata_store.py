"""Bulkdata parts found by URI: PS3.18 10.5.1.4, names as RFC 3986 and RFC 2557 have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.metadata_elements import Payload
from app.dicomweb.media_types import parse_media_type
from app.dicomweb.metadata_store import BulkdataParts, is_metadata

BASE = "https://pacs.example:8443/dicomweb/studies"


def payload(number: int = 1) -> Payload:
    return Payload("image/jpeg", "", number, 1)


def parts(*locations: str) -> BulkdataParts:
    """One part for each Content-Location; the offsets count them from 1."""
    found = BulkdataParts(BASE)
    for number, location in enumerate(locations, 1):
        found.add(location, "", payload(number))
    return found


def offsets(found: BulkdataParts, uri: str) -> list[int]:
    return [one.offset for one in found.find(uri)]


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("bulk/1", "bulk/1"),
        ("http://other/x", "http://other/x"),
        ("/a/b", "https://pacs.example:8443/a/b"),
        ("https://pacs.example:8443/dicomweb/bulk/1", "bulk/1"),
        ("bulk/1", "https://PACS.example:8443/dicomweb/bulk/1"),
        ("./bulk/../bulk/1", "bulk/1"),
        ("bulk/%41", "bulk/A"),
        ("bulk/a b", "bulk/a%20b"),
        ("bulk/ä", "bulk/%C3%A4"),
        (" bulk/1 ", "bulk/1"),
        ("bulk/1#part", "bulk/1"),
        ("bulk?x=%41&y", "bulk?x=A&y"),
        ("urn:uuid:1234", "urn:uuid:1234"),
        ("ftp://bulk1", "ftp://bulk1"),
        ("http://[broken", "http://[broken"),
        ("1234-5678", "1234-5678"),
    ],
)
def test_one_name_in_two_spellings(location: str, uri: str) -> None:
    found = parts("elsewhere", location, "elsewhere/else")
    assert offsets(found, uri) == [2]
    assert found.unreferenced() == ["elsewhere", "elsewhere/else"]


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("bulk/1", "bulk/2"),
        ("bulk/1", "bulk/1/"),
        ("bulk/1", "Bulk/1"),
        ("http://a/x", "https://a/x"),
        ("http://a/x", "http://b/x"),
        ("bulk?x=1", "bulk?x=2"),
        ("bulk%2F1", "bulk"),
    ],
)
def test_other_names(location: str, uri: str) -> None:
    found = parts(location)
    assert found.find(uri) == ()
    assert found.unreferenced() == [location]


def test_content_ids() -> None:
    found = BulkdataParts(BASE)
    found.add("", "<a@b>", payload(1))
    found.add("bulk/2", "<c%2Fd@e>", payload(2))
    assert offsets(found, "cid:a@b") == [1]
    assert offsets(found, "CID:c%2Fd@e") == [2]
    assert offsets(found, "bulk/2") == [2]
    assert found.find("cid:x") == ()


def test_parts_without_a_name_are_nobodys() -> None:
    found = BulkdataParts(BASE)
    found.add("", "", payload())
    assert found.find("") == ()
    assert found.unreferenced() == [""]


def test_frames_of_one_name_keep_their_order() -> None:
    assert offsets(parts("p", "q", "p", "p"), "p") == [1, 3, 4]


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("bulk/pixels", "bulk/pixels"),
        ("bulk/pixels/frames", "bulk/pixels"),
        ("http://x/instances/1/bulkdata/7FE00010", "http://x/instances/1"),
        ("http://x/instances/1/pixeldata", "http://x/instances/1"),
    ],
)
def test_numbered_frames_come_in_any_order(uri: str, prefix: str) -> None:
    found = parts(f"{prefix}/frames/2", f"{prefix}/frames/3", "else", f"{prefix}/frames/1", "else/frames/1")
    assert offsets(found, uri) == [4, 1, 2]
    assert not any(one.problem for one in found.find(uri))
    assert found.unreferenced() == ["else", "else/frames/1"]


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (1, 1), (0, 1), (1, 2, 2)])
def test_frames_that_are_missing_or_there_twice(numbers: tuple[int, ...]) -> None:
    found = parts(*(f"p/frames/{number}" for number in numbers))
    assert "frames of this image" in found.find("p")[0].problem


def test_a_frame_can_be_named_itself() -> None:
    found = parts("p/frames/1", "p/frames/2")
    assert offsets(found, "p/frames/2") == [2]
    assert found.unreferenced() == ["p/frames/1"]


def test_the_name_itself_wins_over_numbered_frames() -> None:
    assert offsets(parts("p/frames/1", "p"), "p") == [2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("application/dicom+json", True),
        ("Application/DICOM+XML; charset=utf-8", True),
        ("application/dicom", False),
        ("application/json", False),
        ("image/jpeg", False),
    ],
)
def test_types_of_metadata(text: str, expected: bool) -> None:
    assert is_metadata(parse_media_type(text)) is expected
    assert not is_metadata(None)


@given(st.lists(st.text(max_size=30), max_size=6), st.text(max_size=30))
def test_any_name_is_found_again(locations: list[str], uri: str) -> None:
    found = parts(*locations)
    found.find(uri)
    for number, location in enumerate(locations, 1):
        if location:
            assert number in offsets(found, location)
