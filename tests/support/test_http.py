"""The tests' own multipart reader and builder, against messages written by hand and against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.http import BadMessage, Part, build_multipart, media_type, parse_multipart

CONTENT_TYPE = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("application/dicom", ("application/dicom", {})),
        (' Application/DICOM ; Transfer-Syntax="1.2" ', ("application/dicom", {"transfer-syntax": "1.2"})),
        ('a/b; x="c;d"; y=e', ("a/b", {"x": "c;d", "y": "e"})),
        (r'a/b; x="q\"r"', ("a/b", {"x": 'q"r'})),
        ("a/b;x==_a/b:c", ("a/b", {"x": "=_a/b:c"})),
    ],
)
def test_media_type(text: str, expected: tuple[str, dict[str, str]]) -> None:
    assert media_type(text) == expected


@pytest.mark.parametrize("text", ['a/b; x="c', "a/b; x", "a/b; =y", "a/b;"])
def test_bad_media_type(text: str) -> None:
    with pytest.raises(BadMessage):
        media_type(text)


def test_message_written_by_hand() -> None:
    body = (
        b"--b\r\nContent-Type: application/dicom; transfer-syntax=1.2\r\nCONTENT-LENGTH: 6\r\n\r\n\r\n--a\r\r\n"
        b"--b\r\n\r\nno headers\r\n"
        b"--b\r\nContent-Location: /x\r\n\r\n\r\n"
        b"--b--\r\n"
    )
    first, second, third = parse_multipart(CONTENT_TYPE, body)
    assert first.body == b"\r\n--a\r"
    assert (first.media_type, first.parameters) == ("application/dicom", {"transfer-syntax": "1.2"})
    assert second == Part({}, b"no headers")
    assert (third.body, third.location) == (b"", "/x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"preamble\r\n--b--",
        b"--b\r\n\r\nx\r\n",
        b"--b\r\n\r\nx",
        b"--b\n\nx\n--b--",
        b"--bb--",
        b"--b\r\nContent-Type: a/b",
        b"--b\r\nContent-Type a/b\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Length: 2\r\n\r\nx\r\n--b--",
        b"--b\r\nX: 1\r\nx: 2\r\n\r\nx\r\n--b--",
        b"--b--\r\nepilogue",
    ],
)
def test_broken_messages(body: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_multipart(CONTENT_TYPE, body)


@pytest.mark.parametrize(
    "content_type",
    ["application/dicom", "multipart/related; boundary=b", 'multipart/related; type="a/b"', CONTENT_TYPE + "b" * 70],
)
def test_broken_content_types(content_type: str) -> None:
    with pytest.raises(BadMessage):
        parse_multipart(content_type, b"--b--")


@given(st.lists(st.binary(max_size=200)))
def test_what_is_built_is_read(bodies: list[bytes]) -> None:
    boundary, body = build_multipart(bodies)
    parts = parse_multipart(f'multipart/related; type="application/dicom"; boundary={boundary}', body)
    assert [part.body for part in parts] == bodies
    assert {part.media_type for part in parts} <= {"application/dicom"}
