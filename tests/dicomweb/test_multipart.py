"""multipart_reader and multipart_writer: one list of messages for both, every way of cutting them into chunks."""

import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser

from app.dicomweb.media_types import MediaType, parse_media_type
from app.dicomweb.multipart_reader import MultipartReader, PartBegin, PartData, PartEnd, boundary_of
from app.dicomweb.multipart_writer import closing, message_length, multipart_content_type, new_boundary, part_head
from app.errors import GantryError, MalformedMessage, TooLarge

CHUNK_SIZES = (1, 2, 7, 64 * 1024)


@dataclass
class Part:
    headers: dict[str, str]
    media_type: MediaType | None
    data: bytes
    problem: str = ""


def read(body: bytes, size: int = 64 * 1024, boundary: str = "b", **limits: int) -> list[Part]:
    reader = MultipartReader(boundary, **limits)
    events = [event for start in range(0, len(body), size) for event in reader.feed(body[start : start + size])]
    events += reader.finish()
    parts: list[Part] = []
    open_part = False
    for event in events:
        if isinstance(event, PartBegin):
            assert not open_part
            parts.append(Part(dict(event.headers), event.media_type, b""))
            open_part = True
        elif isinstance(event, PartData):
            assert open_part
            assert len(event.data) > 0
            parts[-1].data += bytes(event.data)
        else:
            assert isinstance(event, PartEnd)
            assert open_part
            parts[-1].problem = event.problem
            open_part = False
    assert not open_part
    return parts


def write(parts: list[tuple[dict[str, str], bytes]], boundary: str) -> bytes:
    pieces = []
    for number, (headers, data) in enumerate(parts):
        pieces += [part_head(boundary, headers, first=number == 0), data]
    return b"".join(pieces) + closing(boundary)


DICOM = {"Content-Type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}
ROUND_TRIPS: list[list[tuple[dict[str, str], bytes]]] = [
    [(DICOM, b"octets")],
    [(DICOM, b"")],
    [({}, b"no header at all")],
    [({}, b"")],
    [(DICOM, b"\r\n")],
    [(DICOM, b"\r\n\r\n--")],
    [(DICOM, b"\r\n--bX\r\n--b"[:-1])],
    [(DICOM, b"--b in the first line, but not alone")],
    [(DICOM, b"\r"), (DICOM, b"\n"), (DICOM, b"-")],
    [(DICOM, b"ends in CR\r"), (DICOM, b"ends in LF\n"), (DICOM, b"ends in CR LF\r\n")],
    [(DICOM, b"\r\n--b-no"), (DICOM, b"\n--b\n"), (DICOM, b"\r\r\n--")],
    [({"Content-Type": "application/octet-stream", "Content-Location": "http://x/études"}, bytes(range(256)) * 5)],
    [({"Content-Type": "image/jls", "Content-Length": "3"}, b"abc")] * 20,
]


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("parts", ROUND_TRIPS)
def test_what_is_written_is_read(parts: list[tuple[dict[str, str], bytes]], size: int) -> None:
    result = read(write(parts, "b"), size)
    assert [part.data for part in result] == [data for _, data in parts]
    assert [part.headers for part in result] == [{k.lower(): v for k, v in headers.items()} for headers, _ in parts]
    assert not any(part.problem for part in result)


@pytest.mark.parametrize("parts", ROUND_TRIPS)
def test_length_is_known_before_writing(parts: list[tuple[dict[str, str], bytes]]) -> None:
    boundary = new_boundary()
    heads = [part_head(boundary, headers, first=number == 0) for number, (headers, _) in enumerate(parts)]
    assert message_length(heads, [len(data) for _, data in parts], boundary) == len(write(parts, boundary))


def test_written_content_type_is_read() -> None:
    boundary = new_boundary()
    media_type = parse_media_type(multipart_content_type("application/dicom+xml", boundary))
    assert media_type.essence == "multipart/related"
    assert media_type.get("type") == "application/dicom+xml"
    assert boundary_of(media_type) == boundary


def test_boundaries_differ_and_need_no_quotation_marks() -> None:
    boundaries = {new_boundary() for _ in range(100)}
    assert len(boundaries) == 100
    assert all(boundary.isalnum() and len(boundary) <= 70 for boundary in boundaries)


def test_header_values_cannot_break_out() -> None:
    head = part_head("b", {"Content-Location": "http://x/\r\nSet-Cookie: a\r\n\r\n--b--"}, first=True)
    assert head.count(b"\r\n") == 3
    assert read(head + closing("b"))[0].headers["content-location"].startswith("http://x/ Set-Cookie")


DATA = b"\x00\x01 binary \r\n\r\n data"

# One part of DATA, however it is framed.
ODDLY_FRAMED = {
    "plain": b"--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b--\r\n",
    "line break before the first delimiter": b"\r\n--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b--\r\n",
    "no last line break": b"--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b--",
    "preamble": b"Hello --b\r\n--bc\r\n\r\n--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b--",
    "preamble in LF": b"Hello\n--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b--",
    "epilogue": b"--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b--\r\nBye\r\n--b\r\nA: 1\r\n\r\nX\r\n--b--",
    "padding": b"--b \t\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b-- \t\r\n",
    "header name in other case": b"--b\r\ncontent-TYPE:a/b\r\n\r\n" + DATA + b"\r\n--b--",
    "header lines in LF": b"--b\r\nContent-Type: a/b\n\n" + DATA + b"\r\n--b--",
    "LF throughout": b"--b\nContent-Type: a/b\n\n" + DATA + b"\n--b--\n",
    "LF, then CR LF at the end": b"--b\nContent-Type: a/b\n\n" + DATA + b"\r\n--b--\r\n",
    "LF, then CR LF and the end": b"--b\nContent-Type: a/b\n\n" + DATA + b"\r\n--b--",
    "LF, then CR LF without hyphens": b"--b\nContent-Type: a/b\n\n" + DATA + b"\r\n--b",
    "folded header": b"--b\r\nContent-Type:\r\n a/b\r\n\r\n" + DATA + b"\r\n--b--",
    "a header line that is none": b"--b\r\nwhat is this\r\n and this\r\nContent-Type: a/b\r\n\r\n"
    + DATA
    + b"\r\n--b--",
    "repeated header": b"--b\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n e\r\n\r\n" + DATA + b"\r\n--b--",
    "closing without hyphens": b"--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b",
    "closing without hyphens, with line break": b"--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b\r\n",
    "closing with one hyphen": b"--b\r\nContent-Type: a/b\r\n\r\n" + DATA + b"\r\n--b-",
}


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("name", ODDLY_FRAMED)
def test_odd_framing(name: str, size: int) -> None:
    [part] = read(ODDLY_FRAMED[name], size)
    assert part == Part(part.headers, MediaType("a", "b"), DATA)


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("data", [b"", b"X", b"\r", b"X\r", b"\r\r", b"X\r\n", b"\n\r", b"\r\n--c\r"])
@pytest.mark.parametrize(("first", "then"), [(b"\n", b"\n"), (b"\n", b"\r\n"), (b"\r\n", b"\r\n")])
def test_the_line_break_before_a_delimiter_is_that_behind_it(data: bytes, first: bytes, then: bytes, size: int) -> None:
    """A script that mixes echo and printf; parts may end in CR or LF themselves."""
    head = b"Content-Type: a/b"
    body = b"--b" + first + head + first + first + data
    body += then + b"--b" + then + head + then + then + data + then + b"--b--" + then
    assert [part.data for part in read(body, size)] == [data, data]


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nContent-Type: a/b\r\n\r\n--b--",
        b"--b\r\nContent-Type: a/b\r\n--b--",
        b"--b\r\nContent-Type: a/b\r\n--b",
        b"--b\nContent-Type: a/b\n\n--b--",
        b"--b\r\nContent-Type: a/b\r\n\r\n\r\n--b",
    ],
)
def test_part_without_octets(body: bytes, size: int) -> None:
    assert read(body, size) == [Part({"content-type": "a/b"}, MediaType("a", "b"), b"")]


@pytest.mark.parametrize("size", CHUNK_SIZES)
def test_part_without_octets_among_others(size: int) -> None:
    body = b"--b\r\nA: 1\r\n\r\n--b \r\n\r\n--b\r\n--b\r\n\r\nX\r\n--b--"
    assert [(part.headers, part.data) for part in read(body, size)] == [
        ({"a": "1"}, b""),
        ({}, b""),
        ({}, b""),
        ({}, b"X"),
    ]


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"--b\r\nContent-Type: a/b\r\n\r\nhalf", b"half"),
        (b"--b\r\nContent-Type: a/b\r\n\r\nhalf\r\n--", b"half\r\n--"),
        (b"--b\r\nContent-Type: a/b\r\n\r\nhalf\r", b"half\r"),
        (b"--b\r\nContent-Type: a/b\r\n\r\n", b""),
        (b"--b\r\nContent-Type: a/b\r\n", b""),
        (b"--b\r\nContent-Ty", b""),
    ],
)
def test_cut_off_part_is_told_and_the_others_are_whole(body: bytes, data: bytes, size: int) -> None:
    first, second = read(b"--b\r\n\r\nwhole\r\n" + body, size)
    assert (first.data, first.problem) == (b"whole", "")
    assert second.data == data
    assert "ends within" in second.problem


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize(
    "body", [b"", b"--b--", b"--b", b"--b\r\n", b"no delimiter", b"--c\r\n\r\nX\r\n--c--", b"x --b\r\n\r\nX\r\nx--b--"]
)
def test_message_without_parts(body: bytes, size: int) -> None:
    with pytest.raises(MalformedMessage):
        read(body, size)


@pytest.mark.parametrize("size", CHUNK_SIZES)
def test_too_long_header_spoils_only_its_part(size: int) -> None:
    body = (
        b"--b\r\nA: 1\r\n\r\none\r\n--b\r\nA: "
        + b"x" * 200
        + b"\r\n\r\ntwo\r\n--b\r\n"
        + b"B: 1\r\n" * 40
        + b"\r\nthree\r\n--b--"
    )
    first, second, third = read(body, size, max_header_bytes=100)
    assert (first.data, first.problem) == (b"one", "")
    for refused in (second, third):
        assert (refused.data, refused.headers) == (b"", {})
        assert "longer than 100 bytes" in refused.problem


def test_binary_straight_behind_the_delimiter_is_not_kept_in_memory() -> None:
    reader = MultipartReader("b")
    assert reader.feed(b"--b\r\n" + b"\x00" * 100) == []
    events = [event for _ in range(100) for event in reader.feed(b"\x00" * 1000)]
    assert events == [PartBegin({}, None)]
    assert len(reader._tail) < 200
    assert reader.feed(b"\r\n--b--")[0].problem.startswith("the header of this part is longer")


def test_cut_off_after_a_too_long_header() -> None:
    [part] = read(b"--b\r\n" + b"x" * 300, max_header_bytes=100)
    assert "longer than" in part.problem


def test_number_of_parts_is_bounded() -> None:
    body = b"--b\r\n\r\nX\r\n" * 4 + b"--b--"
    assert len(read(body, max_parts=4)) == 4
    with pytest.raises(TooLarge):
        read(body, max_parts=3)


@pytest.mark.parametrize("boundary", ["=_a/b:c", "a'()+_,-./:=?z", "with inner space", "x" * 70, "-", "--"])
def test_every_legal_boundary(boundary: str) -> None:
    content_type = parse_media_type(f'multipart/related; type="application/dicom"; boundary="{boundary}"')
    assert boundary_of(content_type) == boundary
    for size in CHUNK_SIZES:
        assert [part.data for part in read(write([(DICOM, DATA), (DICOM, b"")], boundary), size, boundary)] == [
            DATA,
            b"",
        ]


@pytest.mark.parametrize(
    "value", ["", 'boundary=""', 'boundary=" "', 'boundary="a\tb"', 'boundary="ä"', f"boundary={'x' * 201}"]
)
def test_unusable_boundary(value: str) -> None:
    with pytest.raises(MalformedMessage):
        MultipartReader(parse_media_type(f"multipart/related; {value}"))


def test_headers_in_latin_1_and_utf_8() -> None:
    [part] = read(b"--b\r\nA: \xc3\xa4\r\nB: \xe4\r\n\r\n\r\n--b--")
    assert part.headers == {"a": "ä", "b": "ä"}


def test_unreadable_content_type_is_none() -> None:
    [part] = read(b"--b\r\nContent-Type: dicom\r\n\r\nX\r\n--b--")
    assert part.media_type is None
    assert part.headers == {"content-type": "dicom"}


def test_a_whole_chunk_of_data_is_handed_on_uncopied() -> None:
    reader = MultipartReader("b")
    reader.feed(b"--b\r\n\r\n")
    reader.feed(b"start")
    chunk = b"x" * 65536
    [event] = reader.feed(chunk)
    assert event.data is chunk


pieces = st.lists(
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"--", b"-", b"b", b" ", b"--b", b"\r\n--b", b"\r\n--b--", b"A: 1", b"X", b"\r\n\r\n"]
    )
    | st.binary(max_size=5),
    max_size=40,
).map(b"".join)


@given(pieces, st.integers(1, 9))
def test_any_bytes_give_the_same_parts_in_any_chunks(body: bytes, size: int) -> None:
    def outcome(size: int) -> object:
        try:
            return read(body, size, max_header_bytes=60)
        except GantryError as error:
            return str(error)

    assert outcome(size) == outcome(len(body) + 1)


def python_multipart_parts(body: bytes) -> list[tuple[dict[str, str], bytes]]:
    parts: list[tuple[dict[str, str], bytes]] = []
    name = [b""]

    def begin() -> None:
        parts.append(({}, b""))

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1] = (parts[-1][0], parts[-1][1] + chunk[start:end])

    def field(chunk: bytes, start: int, end: int) -> None:
        name[0] = chunk[start:end]

    def value(chunk: bytes, start: int, end: int) -> None:
        parts[-1][0][name[0].decode().lower()] = chunk[start:end].decode()

    callbacks = {"on_part_begin": begin, "on_part_data": data, "on_header_field": field, "on_header_value": value}
    MultipartParser(b"b", callbacks).write(body)
    return parts


def without_delimiters(data: bytes) -> bytes:
    """Near misses stay; what RFC 2046 forbids within a part, or the two readers take differently, goes."""
    data = re.sub(rb"(^|\r\n)--b(?=--|\r?\n|[ \t]|$)", rb"\1--bX", data)
    return b"." + data if data.startswith(b"--b") else data


@given(
    st.lists(
        st.tuples(st.sampled_from([{}, DICOM, {"A": "1", "B": "2"}]), pieces | st.binary()), min_size=1, max_size=5
    )
)
def test_agrees_with_python_multipart(parts: list[tuple[dict[str, str], bytes]]) -> None:
    parts = [(headers, without_delimiters(data)) for headers, data in parts]
    body = write(parts, "b")
    expected = python_multipart_parts(body)
    assert [data for _, data in expected] == [data for _, data in parts]
    for size in (1, 3, 65536):
        assert [(part.headers, part.data) for part in read(body, size)] == expected


def corpus() -> list[Path]:
    folders = [Path(pydicom.__file__).parent / "data" / "test_files"]
    folders += [Path(os.environ["GANTRY_TEST_DATA"])] if "GANTRY_TEST_DATA" in os.environ else []
    return sorted(path for folder in folders for path in folder.rglob("*.dcm"))


@pytest.mark.parametrize("size", [4093, 64 * 1024])
def test_no_octet_of_a_real_file_is_altered(size: int) -> None:  # NEG-038
    files = [path.read_bytes() for path in corpus()]
    assert len(files) > 50
    boundary = new_boundary()
    result = read(write([(DICOM, data) for data in files], boundary), size, boundary)
    assert [hashlib.sha256(part.data).digest() for part in result] == [hashlib.sha256(data).digest() for data in files]


def test_speed_does_not_depend_on_the_data() -> None:
    # Linear on what could make a search quadratic or slow: 8 MB of delimiters that are none.
    reader = MultipartReader("b")
    reader.feed(b"--b\r\n\r\n")
    hostile = b"\r\n--bX" * (8_000_000 // 6)
    started = time.perf_counter()
    received = sum(
        len(event.data)
        for start in range(0, len(hostile), 65536)
        for event in reader.feed(hostile[start : start + 65536])
        if isinstance(event, PartData)
    )
    assert received >= len(hostile) - 10
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("count", [99, 100, 101, 5_000])
@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_data_that_is_full_of_the_boundary(count: int, size: int) -> None:
    """Nearly a delimiter line, time and again."""
    data = b"\r\n--bx" * count + b"\r\n--b\t\r"
    assert [part.data for part in read(write([(DICOM, data), (DICOM, DATA)], "b"), size)] == [data, DATA]
