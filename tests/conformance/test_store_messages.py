"""How real senders write a STOW request: framing, coding, chunks, big and many parts."""

import gzip
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.instances import Item, Maker
from tests.support.http import DICOM_MULTIPART, JSON, Peer, build_multipart, first, integer, store_headers, values


def assert_stored(peer: Peer, *items: Item) -> None:
    for item in items:
        (part,) = peer.parts(item.path, DICOM_MULTIPART + "; transfer-syntax=*")
        assert part.body == item.data


def post(peer: Peer, body: bytes | Iterator[bytes], content_type: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = peer.request("POST", "/studies", headers={"Content-Type": content_type, **named}, content=body)
    return response.status_code


@pytest.mark.proves("STO-039")
@pytest.mark.needs("single-part")
def test_single_part(peer: Peer, maker: Maker) -> None:
    item = maker.single("single-part")
    assert post(peer, item.data, "application/dicom") == 200
    assert_stored(peer, item)
    assert post(peer, b"garbage", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1") == 409


@pytest.mark.proves("STO-040")
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_chunked(peer: Peer, maker: Maker, size: int) -> None:
    item = maker.single("chunked", maker.image(8, 8))
    boundary, body = build_multipart([item.data])
    chunks = (body[start : start + size] for start in range(0, len(body), size))
    assert post(peer, chunks, f'multipart/related; type="application/dicom"; boundary={boundary}') == 200
    assert_stored(peer, item)


@pytest.mark.proves("STO-041", "STO-043")
@pytest.mark.parametrize(
    ("boundary", "content_type"),
    [
        ("plain", "multipart/related; type=application/dicom; boundary=plain"),
        ("plain", 'multipart/related; boundary="plain"; type="application/dicom"'),
        ("=_a/b:c", 'multipart/related; type="application/dicom"; boundary="=_a/b:c"'),
        ("a b'()+_,-./:=?", 'multipart/related; type="application/dicom"; boundary="a b\'()+_,-./:=?"'),
        ("----WebKitFormBoundaryX", "Multipart/Related;Type=application/dicom;Boundary=----WebKitFormBoundaryX"),
        ("q" * 70, 'multipart/related; type="application/dicom"; boundary=' + "q" * 70),
        ("ts", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1; boundary=ts'),
        ("notype", "multipart/related; boundary=notype"),
    ],
)
def test_ways_to_write_the_content_type(peer: Peer, maker: Maker, boundary: str, content_type: str) -> None:
    item = maker.single("content-type")
    _, body = build_multipart([item.data], boundary=boundary)
    assert post(peer, body, content_type) == 200
    assert_stored(peer, item)


@pytest.mark.proves("STO-042")
def test_preamble_and_epilogue(peer: Peer, maker: Maker) -> None:
    item = maker.single("epilogue")
    boundary, body = build_multipart([item.data])
    body = b"This is a message in MIME format.\r\n\r\n" + body + b"an epilogue\r\n--" + boundary.encode() + b"\r\nlate"
    assert post(peer, body, f'multipart/related; type="application/dicom"; boundary={boundary}') == 200
    assert_stored(peer, item)
    item = maker.single("line-break")
    boundary, body = build_multipart([item.data])
    assert post(peer, b"\r\n" + body.rstrip(b"\r\n"), store_headers(boundary)["Content-Type"]) == 200
    assert_stored(peer, item)


@pytest.mark.proves("STO-044")
@pytest.mark.parametrize(
    "head",
    [
        b"content-type: application/dicom\r\n\r\n",
        b"CONTENT-TYPE:application/dicom\r\n\r\n",
        b"Content-Type: Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1\r\nContent-Length: 3\r\nX-Own: 1\r\n\r\n",
        b"Content-Type: application/octet-stream\r\n\r\n",
        b"Content-Type: application/dicom\r\nContent-Location: http://example.org/1\r\nContent-ID: <1@x>\r\n\r\n",
        b"\r\n",
    ],
)
def test_part_headers(peer: Peer, maker: Maker, head: bytes) -> None:
    """Content-Length of a part may be wrong: the delimiter decides. A part without a type in a DICOM message is DICOM."""
    item = maker.single("part-headers")
    body = b"--b\r\n" + head + item.data + b"\r\n--b--\r\n"
    assert post(peer, body, 'multipart/related; type="application/dicom"; boundary=b') == 200
    assert_stored(peer, item)


@pytest.mark.proves("NEG-038")
def test_binary_parts_that_look_like_framing(peer: Peer, maker: Maker) -> None:
    """Line breaks, half delimiters and other boundaries inside of values belong to the values."""
    nasty = b"\r\n\r\n--b\r\nx\r\n--\r\n--bound\r\n--boundar\r\n\r\n--boundary-not"
    items = [
        maker.single("crlf-inside", maker.image(1, len(nasty), pixels=nasty)),
        maker.single("crlf-last", maker.image(1, 6, pixels=b"abcd\r\n")),
        maker.single("crlf-twice", maker.image(1, 6, pixels=b"ab\r\n\r\n")),
        maker.single("dashes-last", maker.image(1, 6, pixels=b"\r\n--bo")),
    ]
    _, body = build_multipart([item.data for item in items], boundary="boundary-that-is-long")
    assert post(peer, body, store_headers("boundary-that-is-long")["Content-Type"]) == 200
    assert_stored(peer, *items)


@pytest.mark.needs("gzip")
@pytest.mark.proves("NEG-041")
def test_gzip_request(peer: Peer, maker: Maker) -> None:
    item = maker.single("gzip")
    boundary, body = build_multipart([item.data])
    assert post(peer, gzip.compress(body), store_headers(boundary)["Content-Type"], Content_Encoding="gzip") == 200
    assert_stored(peer, item)
    broken = maker.single("gzip-broken")
    boundary, body = build_multipart([broken.data])
    packed = gzip.compress(body)[:-20]
    assert post(peer, packed, store_headers(boundary)["Content-Type"], Content_Encoding="gzip") in (202, 400)
    assert post(peer, b"not gzip at all", store_headers(boundary)["Content-Type"], Content_Encoding="gzip") == 400
    assert post(peer, body, store_headers(boundary)["Content-Type"], Content_Encoding="unheard-of") == 415
    assert peer.get(broken.path).status_code == 404


@pytest.mark.proves("STO-047")
def test_expect_continue(peer: Peer, maker: Maker) -> None:
    item = maker.single("expect")
    boundary, body = build_multipart([item.data])
    address = urlsplit(peer.base_url)
    head = (
        f"POST {address.path}/studies HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: {JSON}\r\n"
        f"Content-Type: {store_headers(boundary)['Content-Type']}\r\nContent-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=20) as connection:
        connection.sendall(head.encode())
        interim = connection.recv(1000)
        assert interim.startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert_stored(peer, item)


def test_client_that_vanishes(peer: Peer, maker: Maker, corpus: Corpus) -> None:
    """Half an upload is nothing: the part under way is not there, and the server goes on."""
    whole, cut = maker.single("vanish-whole"), maker.single("vanish-cut", maker.image(200, 200))
    boundary, body = build_multipart([whole.data, cut.data])
    address = urlsplit(peer.base_url)
    head = (
        f"POST {address.path}/studies HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: {store_headers(boundary)['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=20) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
    assert peer.get(cut.path).status_code == 404
    assert peer.store([cut.data]).status_code == 200
    assert_stored(peer, cut)


@pytest.mark.proves("STO-049")
def test_parallel_stores_of_one_study(peer: Peer, maker: Maker) -> None:
    study, one_series = maker.uids.new(), maker.uids.new()
    items = [
        maker.item(
            f"parallel-{number}",
            maker.dataset(
                "parallel",
                study,
                one_series if number % 2 else maker.uids.new(),
                InstanceNumber=str(number),
                Modality="MR" if number % 2 else "CT",
            ),
        )
        for number in range(40)
    ]
    batches = [items[start : start + 5] for start in range(0, len(items), 5)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda batch: peer.store([item.data for item in batch]), batches))
    assert [answer.status_code for answer in answers] == [200] * 8
    (found,) = peer.search("/studies", f"StudyInstanceUID={study}")
    assert (integer(found, "00201206"), integer(found, "00201208")) == (21, 40)
    assert sorted(values(found, "00080061")) == ["CT", "MR"]
    assert {first(one, "00080018") for one in peer.search(f"/studies/{study}/instances")} == {
        item.instance for item in items
    }
    (series,) = peer.search(f"/studies/{study}/series", f"SeriesInstanceUID={one_series}")
    assert integer(series, "00201209") == 20
    assert len(peer.parts(f"/studies/{study}", DICOM_MULTIPART)) == 40
    assert len(peer.metadata(f"/studies/{study}")) == 40


@pytest.mark.proves("STO-049")
def test_parallel_stores_of_the_same_instance(peer: Peer, maker: Maker) -> None:
    item = maker.single("race", maker.image(16, 16))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: peer.store([item.data] * 2), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len(peer.search(item.study_path + "/instances")) == 1
    assert_stored(peer, item)


def test_many_small_parts(peer: Peer, maker: Maker) -> None:
    study, series = maker.uids.new(), maker.uids.new()
    items = [
        maker.item(f"many-{n}", maker.dataset("many", study, series, InstanceNumber=str(n))) for n in range(1, 301)
    ]
    answer = peer.store([item.data for item in items])
    assert answer.status_code == 200
    assert [first(one, "00081155") for one in values(answer.json(), "00081199")] == [item.instance for item in items]
    assert {part.body for part in peer.parts(items[0].series_path, DICOM_MULTIPART + "; transfer-syntax=*")} == {
        item.data for item in items
    }
    assert len(peer.metadata(f"/studies/{study}")) == 300
