"""conditional, byte_ranges, charsets, urls: fields of HTTP that stand between a request and its bytes."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dicom.references import InstanceRef, SeriesRef, StudyRef
from app.dicomweb import urls
from app.dicomweb.byte_ranges import (
    MAX_RANGES,
    UNSATISFIABLE,
    ByteRange,
    byteranges_content_type,
    byteranges_heads,
    byteranges_length,
    if_range_holds,
    parse_range,
    unsatisfied_content_range,
)
from app.dicomweb.charsets import CHARACTER_SETS, UTF_8, character_set, negotiate_charset
from app.dicomweb.conditional import (
    ETag,
    http_date,
    not_modified,
    parse_entity_tag,
    parse_entity_tags,
    parse_http_date,
    strong_etag,
    weak_etag,
)
from app.dicomweb.multipart_writer import closing, new_boundary
from app.dicomweb.urls import resource_url, service_url

NOON = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
TAG = strong_etag("abc")


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-99", 1000, [(0, 100)]),
        ("bytes=0-0", 1000, [(0, 1)]),
        ("bytes=900-", 1000, [(900, 100)]),
        ("bytes=-100", 1000, [(900, 100)]),
        ("bytes=-5000", 1000, [(0, 1000)]),
        ("bytes=990-2000", 1000, [(990, 10)]),
        ("Bytes = 0-9 , 20-29,", 1000, [(0, 10), (20, 10)]),
        ("bytes=20-29,0-9", 1000, [(20, 10), (0, 10)]),
        ("bytes=0-9,5-19,15-24,50-", 60, [(0, 25), (50, 10)]),
        ("bytes=0-9,10-19", 60, [(0, 10), (10, 10)]),
        ("bytes=0-,-1", 60, [(0, 60)]),
        ("bytes=1000-,0-9", 1000, [(0, 10)]),
        # well-formed, and nothing of it there
        ("bytes=1000-", 1000, []),
        ("bytes=-0", 1000, []),
        ("bytes=0-", 0, []),
        ("bytes=-1", 0, []),
        ("bytes=9999999999999999999-", 1000, []),
        # to be ignored
        (None, 1000, None),
        ("", 1000, None),
        ("bytes=", 1000, None),
        ("bytes=5-4", 1000, None),
        ("bytes=-", 1000, None),
        ("bytes=a-b", 1000, None),
        ("bytes=0-9,x", 1000, None),
        ("bytes=1-2-3", 1000, None),
        ("items=0-9", 1000, None),
        ("0-9", 1000, None),
        ("bytes=0-99999999999999999999", 1000, None),
        ("bytes=" + ",".join(["0-1"] * (MAX_RANGES + 1)), 1000, None),
        ("bytes=0-9" + " " * 3000, 1000, None),
    ],
)
def test_range(header: str | None, size: int, expected: list[tuple[int, int]] | None) -> None:
    ranges = parse_range(header, size)
    assert (ranges if ranges is None else [(part.start, part.length) for part in ranges]) == expected


def test_unsatisfiable_is_told_from_ignored() -> None:
    assert parse_range("bytes=10-", 10) == UNSATISFIABLE
    assert unsatisfied_content_range(10) == "bytes */10"  # RET-041
    assert ByteRange(10, 5).content_range(100) == "bytes 10-14/100"


@given(st.text() | st.text("bytes=0123456789-, ").map("bytes=".__add__), st.integers(0, 1000))
def test_any_range_lies_within(header: str, size: int) -> None:
    for part in parse_range(header, size) or ():
        assert 0 <= part.start < part.end <= size


def test_multipart_byteranges() -> None:
    data, boundary = bytes(range(100)), new_boundary()
    ranges = parse_range("bytes=0-9,50-59", len(data))
    assert ranges
    heads = byteranges_heads(boundary, "video/mp4", ranges, len(data))
    body = b"".join(head + data[r.start : r.end] for head, r in zip(heads, ranges, strict=True)) + closing(boundary)
    assert byteranges_length(boundary, "video/mp4", ranges, len(data)) == len(body)
    assert body.startswith(
        b"--" + boundary.encode() + b"\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-9/100\r\n\r\n\x00"
    )
    assert byteranges_content_type(boundary) == f"multipart/byteranges; boundary={boundary}"


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        (None, True),
        ('"abc"', True),
        (' "abc" ', True),
        ('W/"abc"', False),
        ('"other"', False),
        ('"abc', False),
        ("Sun, 06 Nov 1994 08:49:37 GMT", True),
        ("Sun, 06 Nov 1994 08:49:38 GMT", False),
        ("yesterday", False),
    ],
)
def test_if_range(header: str | None, holds: bool) -> None:
    assert if_range_holds(header, TAG, NOON + 0.5) is holds


def test_if_range_without_anything_to_compare() -> None:
    assert if_range_holds('"abc"', None, None) is False
    assert if_range_holds('"abc"', weak_etag("abc"), None) is False
    assert if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", TAG, None) is False


@pytest.mark.parametrize(
    ("if_none_match", "if_modified_since", "expected"),
    [
        (None, None, False),
        ('"abc"', None, True),
        ('W/"abc"', None, True),
        ('"x", "abc"', None, True),
        ("*", None, True),
        ('"x"', None, False),
        ("abc", None, False),
        ("", None, False),
        ('"x"', "Sun, 06 Nov 1994 08:49:37 GMT", False),  # If-None-Match decides alone
        (None, "Sun, 06 Nov 1994 08:49:37 GMT", True),
        (None, "Mon, 07 Nov 1994 08:49:37 GMT", True),
        (None, "Sun, 06 Nov 1994 08:49:36 GMT", False),
        (None, "garbage", False),
    ],
)
def test_not_modified(if_none_match: str | None, if_modified_since: str | None, expected: bool) -> None:
    result = not_modified(
        if_none_match=if_none_match, if_modified_since=if_modified_since, etag=TAG, last_modified=NOON + 0.9
    )
    assert result is expected


def test_not_modified_without_anything_to_compare() -> None:
    assert not not_modified(if_none_match='"abc"', if_modified_since=None, etag=None)
    assert not not_modified(if_none_match=None, if_modified_since=http_date(NOON), etag=TAG)
    assert not_modified(if_none_match='W/"abc"', if_modified_since=None, etag=weak_etag("abc"))


@pytest.mark.parametrize("tag", [strong_etag("a1", "image/jp2; x=y"), weak_etag(7), ETag(""), ETag("é", weak=True)])
def test_entity_tags_round_trip(tag: ETag) -> None:
    assert parse_entity_tag(str(tag)) == tag
    assert parse_entity_tags(f'{tag} ,{tag},"z"') == (tag, tag, ETag("z"))


def test_entity_tag_of_anything_is_one_token() -> None:
    assert str(strong_etag('a"b', "c\r\nd", "é")) == '"a_b-c__d-_"'
    assert parse_entity_tags('"a", b, "c"') == (ETag("a"),)
    assert parse_entity_tags('"a" "b"') == (ETag("a"),)
    assert len(parse_entity_tags(",".join(['"a"'] * 1000))) == 100


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_three_forms_of_dates(text: str) -> None:
    assert parse_http_date(text) == NOON


@pytest.mark.parametrize(
    "text",
    ["", "Sun, 06 Nov 1994", "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT",
     "Sun, 06 Nov 1994 25:49:37 GMT", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 +0100"],
)  # fmt: skip
def test_no_dates(text: str) -> None:
    assert parse_http_date(text) is None


@given(st.integers(0, 4_000_000_000))
def test_dates_round_trip(seconds: int) -> None:
    text = http_date(seconds + 0.4)
    assert text == formatdate(seconds, usegmt=True)
    assert parse_http_date(text) == seconds


@given(st.text())
def test_conditions_never_fail(text: str) -> None:
    assert not_modified(if_none_match=text, if_modified_since=text, etag=ETag("\0"), last_modified=NOON) == (
        text.strip(" \t") == "*"
    )
    assert if_range_holds(text, ETag("\0"), -1) is False


def test_leap_second() -> None:
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_http_date("Sat, 31 Dec 2016 23:59:59 GMT")


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ((None, None, None), "UTF-8"),
        (("ISO-8859-1", "utf-8", None), "ISO-8859-1"),
        ((None, "gb18030", "utf-8"), "GB18030"),
        ((None, "foo", "iso-8859-15"), "ISO-8859-15"),  # COM-040
        ((None, None, "iso-8859-1;q=0.5, iso-8859-2;q=0.9, utf-8;q=0"), "ISO-8859-2"),
        ((None, None, "*, iso-8859-1;q=0.5"), "UTF-8"),
        ((None, "ISO_IR 144", None), "ISO-8859-5"),
        ((None, "ISO 2022 IR 13\\ISO 2022 IR 87", None), "ISO-2022-JP"),
        (('"utf-8"', None, None), "UTF-8"),
        (("", " ", ",;q=,"), "UTF-8"),
    ],
)
def test_charset(sources: tuple[str | None, str | None, str | None], name: str) -> None:
    assert negotiate_charset(*sources).name == name


def test_character_sets_can_be_produced() -> None:
    assert all("A".encode(entry.codec).decode(entry.codec) == "A" for entry in CHARACTER_SETS)
    assert character_set(" utf-8 ") == UTF_8
    assert character_set("EBCDIC") is None
    assert UTF_8.parameter == "charset=UTF-8"


@given(st.text())
def test_charset_never_fails(text: str) -> None:
    assert negotiate_charset(text, text, text) in CHARACTER_SETS


def url(headers: dict[str, str], **options: object) -> str:
    values = {"scheme": "http", "host": "127.0.0.1:8080", "path": "/dicomweb"} | options
    return service_url(headers, **values)  # type: ignore[arg-type]


FORWARDED = [
    ({}, "http://127.0.0.1:8080/dicomweb"),
    ({"host": "pacs:8042"}, "http://pacs:8042/dicomweb"),
    ({"host": "pacs:80"}, "http://pacs/dicomweb"),
    ({"host": "[::1]:8080"}, "http://[::1]:8080/dicomweb"),
    ({"host": "[::1]"}, "http://[::1]/dicomweb"),
    ({"host": "evil\r\nx"}, "http://127.0.0.1:8080/dicomweb"),
    ({"host": "a/b"}, "http://127.0.0.1:8080/dicomweb"),
    ({"host": "in", "forwarded": "proto=https;host=pacs.example"}, "https://pacs.example/dicomweb"),
    ({"host": "in", "forwarded": 'For="[::1]:5"; Proto=HTTPS; Host="pacs.example:8443", for=x;host=y'}, "https://pacs.example:8443/dicomweb"),
    ({"host": "in", "forwarded": "for=1.2.3.4, host=second"}, "http://in/dicomweb"),
    ({"host": "in", "forwarded": 'host="a b";proto=ftp'}, "http://in/dicomweb"),
    ({"host": "in", "forwarded": "garbage"}, "http://in/dicomweb"),
    ({"host": "in", "x-forwarded-proto": "https"}, "https://in/dicomweb"),
    ({"host": "in", "x-forwarded-proto": "https, http", "x-forwarded-host": "a.example, b"}, "https://a.example/dicomweb"),
    ({"host": "in", "x-forwarded-host": "a.example", "x-forwarded-port": "8443"}, "http://a.example:8443/dicomweb"),
    ({"host": "in", "x-forwarded-host": "a.example:1", "x-forwarded-port": "2"}, "http://a.example:1/dicomweb"),
    ({"host": "in", "x-forwarded-proto": "https", "x-forwarded-host": "a", "x-forwarded-port": "443"}, "https://a/dicomweb"),
    ({"host": "pacs.example.org", "x-forwarded-proto": "https", "x-forwarded-port": "8443"}, "https://pacs.example.org:8443/dicomweb"),
    ({"host": "pacs.example.org", "x-forwarded-proto": "https", "x-forwarded-port": "443"}, "https://pacs.example.org/dicomweb"),
    ({"host": "[::1]", "x-forwarded-port": "8443, 80"}, "http://[::1]:8443/dicomweb"),
    ({"host": "in:81", "x-forwarded-port": "8443"}, "http://in:81/dicomweb"),
    ({"x-forwarded-port": "8443"}, "http://127.0.0.1:8080/dicomweb"),
    ({"host": "in", "x-forwarded-port": "8443/x"}, "http://in/dicomweb"),
    ({"host": "in", "forwarded": "host=a.example", "x-forwarded-port": "8443"}, "http://a.example/dicomweb"),
    ({"host": "in", "x-forwarded-prefix": "/pacs/"}, "http://in/pacs/dicomweb"),
    ({"host": "in", "x-forwarded-prefix": "//evil.example"}, "http://in/dicomweb"),
    ({"host": "in", "x-forwarded-prefix": '/"><script>'}, "http://in/dicomweb"),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), FORWARDED)
def test_service_url(headers: dict[str, str], expected: str) -> None:
    assert url(headers) == expected  # COM-035


def test_configured_url_wins() -> None:
    headers = {"host": "in", "forwarded": "host=evil"}
    assert url(headers, public_url="https://pacs.example/x/") == "https://pacs.example/x/dicomweb"


def test_untrusted_forwarded_headers_are_not_read() -> None:
    headers = {"host": "in", "forwarded": "host=evil", "x-forwarded-host": "evil", "x-forwarded-prefix": "/evil"}
    assert url(headers, trust_forwarded=False) == "http://in/dicomweb"


@pytest.mark.parametrize(
    ("accepted", "host", "expected"),
    [
        ("127.0.0.1:8080", "127.0.0.1", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "LocalHost", "LocalHost:8080"),
        ("[::1]:8080", "localhost", "localhost:8080"),
        ("[::1]:8080", "[::1]", "[::1]:8080"),
        ("10.0.0.7:8080", "10.0.0.7", "10.0.0.7:8080"),
        ("127.0.0.1:80", "localhost", "localhost"),
        ("127.0.0.1:8080", "localhost:9000", "localhost:9000"),
        ("127.0.0.1:8080", "10.0.0.7", "10.0.0.7"),  # a proxy on the same machine
        ("172.17.0.2:8080", "localhost", "localhost"),  # a container, whose port 80 outside is another one inside
        ("127.0.0.1:8080", "pacs.example", "pacs.example"),
        ("/run/gantry.sock", "localhost", "localhost"),
    ],
)
def test_host_without_its_port(accepted: str, host: str, expected: str) -> None:
    assert url({"host": host}, host=accepted, trust_forwarded=False) == f"http://{expected}/dicomweb"


@given(st.dictionaries(st.sampled_from(["host", "forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix",
                                        "x-forwarded-port"]), st.text() | st.text('host=;," /:0a')))  # fmt: skip
def test_any_header_gives_a_clean_url(headers: dict[str, str]) -> None:
    result = url(headers)
    assert result.startswith(("http://", "https://"))
    assert result.endswith("/dicomweb")
    assert result.isascii()
    assert not set(result) & set(" \r\n\"'<>\\")


def test_long_hosts_are_not_remembered() -> None:
    before = urls._url_of.cache_info().currsize
    for number in range(20):
        assert url({"host": f"{number}" + "a" * 5000}, trust_forwarded=False) == "http://127.0.0.1:8080/dicomweb"
    assert urls._url_of.cache_info().currsize <= before + 1
    longest = "a" * 253 + ":65535"
    assert url({"host": longest}, trust_forwarded=False) == f"http://{longest}/dicomweb"


def test_urls_of_resources() -> None:
    assert resource_url("http://x", InstanceRef("1", "2", "3")) == "http://x/studies/1/series/2/instances/3"
    assert resource_url("http://x", StudyRef("1")) == "http://x/studies/1"
    assert resource_url("http://x", SeriesRef("1", "2")) == "http://x/studies/1/series/2"


def test_garbage_takes_no_long_time() -> None:
    started = time.perf_counter()
    for unit in ('"', "a=", ";", ",", " ", "\\", "W/", "-", "a;q=", "0"):
        garbage = unit * (1_000_000 // len(unit))
        parse_range("bytes=" + garbage, 10)
        parse_entity_tags(garbage)
        parse_http_date(garbage)
        negotiate_charset(garbage)
        url({"forwarded": garbage, "host": garbage, "x-forwarded-prefix": "/" + garbage})
    assert time.perf_counter() - started < 3
