"""Frames (PS3.18 10.4.1.1.6, 8.7.3.3): which, in what order, with exactly which bytes."""

import pytest

from tests.conformance.corpus import Corpus
from tests.conformance.encoder import EXPLICIT, RLE, Fragments
from tests.conformance.instances import Item, Maker
from tests.conformance.packaged import read
from tests.support.http import DICOM_MULTIPART, OCTET_MULTIPART, Peer, media_type

STORED_OCTETS = OCTET_MULTIPART + "; transfer-syntax=*"


def frame_of(item: Item, number: int) -> bytes:
    """A native frame, from 1, of an item whose frames are whole bytes."""
    count = int(str(item.dataset.get(0x00280008, ("IS", "1"))[1]))
    size = len(item.pixels) // count
    return item.pixels[(number - 1) * size : number * size]


@pytest.mark.proves("RET-022", "RET-027")
@pytest.mark.parametrize(
    "name", ["gray", "odd-size", "color", "ct1", "implicit", "big-endian", "deflated", "icon", "palette"]
)
def test_single_frame(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    for accept in (OCTET_MULTIPART, STORED_OCTETS, "*/*"):
        (part,) = peer.parts(item.path + "/frames/1", accept)
        assert part.media_type == "application/octet-stream"
        assert part.parameters["transfer-syntax"] == EXPLICIT or name == "deflated"
        assert part.body == item.pixels


@pytest.mark.proves("RET-023", "RET-027", "NEG-034")
@pytest.mark.parametrize("name", ["frames", "frames16", "big-endian-frames"])
@pytest.mark.parametrize("numbers", ["1", "3", "1,2,3", "1,3", "2,3", "3,1", "2,2", "1%2C2"])
def test_frames_in_the_order_asked(peer: Peer, corpus: Corpus, name: str, numbers: str) -> None:
    item = corpus[name]
    parts = peer.parts(f"{item.path}/frames/{numbers}", OCTET_MULTIPART)
    asked = [int(number) for number in numbers.replace("%2C", ",").split(",")]
    assert [part.body for part in parts] == [frame_of(item, number) for number in asked]
    assert [part.location for part in parts] == [peer.url(f"{item.path}/frames/{number}") for number in asked]


@pytest.mark.proves("RET-023")
def test_all_frames_of_a_study_of_frames(peer: Peer, corpus: Corpus) -> None:
    item = corpus["frames"]
    parts = peer.parts(f"{item.path}/frames/1,2,3,4,5", OCTET_MULTIPART)
    assert b"".join(part.body for part in parts) == item.pixels


@pytest.mark.proves("RET-024", "RET-026")
@pytest.mark.parametrize(
    "numbers", ["0", "a", "-1", "1.5", "1,", ",1", "1,,2", "1,b", "0,1", "1-3", "%31x", "१", " ", "+1", "1;2"]
)
def test_not_a_frame_list(peer: Peer, corpus: Corpus, numbers: str) -> None:
    assert peer.get(f"{corpus['frames'].path}/frames/{numbers}", OCTET_MULTIPART).status_code == 400


@pytest.mark.proves("RET-025")
@pytest.mark.parametrize("numbers", ["6", "9999", "1,6", "2147483647", "99999999999999999999"])
def test_frame_that_is_not_there(peer: Peer, corpus: Corpus, numbers: str) -> None:
    status = peer.get(f"{corpus['frames'].path}/frames/{numbers}", OCTET_MULTIPART).status_code
    assert status == 404 or (len(numbers) > 10 and status == 400)
    assert peer.get(f"{corpus['gray'].path}/frames/2", OCTET_MULTIPART).status_code in (400, 404)


@pytest.mark.proves("RET-025")
@pytest.mark.parametrize("name", ["no-pixels", "pdf", "sr1"])
def test_frames_of_what_has_none(peer: Peer, corpus: Corpus, name: str) -> None:
    assert peer.get(f"{corpus[name].path}/frames/1", OCTET_MULTIPART).status_code == 404


@pytest.mark.proves("RET-028")
def test_one_bit_frames(peer: Peer, corpus: Corpus) -> None:
    """15 bits a frame: alone it begins at a bit 0, together they follow without padding (PS3.5 8.1.1, PS3.18 8.7.3.3.1)."""
    item = corpus["bits"]
    stream = int.from_bytes(item.pixels, "little")

    def frame(number: int) -> bytes:
        return (stream >> 15 * (number - 1) & 0x7FFF).to_bytes(2, "little")

    for number in (1, 2, 3):
        (part,) = peer.parts(f"{item.path}/frames/{number}", OCTET_MULTIPART)
        assert part.body == frame(number)
    parts = peer.parts(f"{item.path}/frames/1,2,3", OCTET_MULTIPART)
    if len(parts) == 3:
        assert [part.body for part in parts] == [frame(1), frame(2), frame(3)]
    else:
        assert [part.body for part in parts] == [(stream & (1 << 45) - 1).to_bytes(6, "little")]


@pytest.mark.proves("RET-029", "RET-032")
@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("JPEG-lossy.dcm", b"\xff\xd8", "image/jpeg"),
        ("MR_small_jp2klossless.dcm", b"\xff\x4f\xff\x51", "image/jp2"),
        ("MR_small_jpeg_ls_lossless.dcm", b"\xff\xd8\xff\xf7", "image/jls"),
        ("MR_small_RLE.dcm", b"\2\0\0\0", "image/dicom-rle"),
    ],
)
def test_compressed_frame_is_the_bare_codestream(
    peer: Peer, corpus: Corpus, name: str, start: bytes, kind: str
) -> None:
    item = corpus[name]
    path = item.path + "/frames/1"
    (part,) = peer.parts(path, f'multipart/related; type="{kind}"; transfer-syntax={item.syntax}')
    assert part.media_type == kind
    assert part.parameters["transfer-syntax"] == item.syntax
    assert part.body.startswith(start)
    assert part.body in item.data
    for accept in (STORED_OCTETS, f"{OCTET_MULTIPART}; transfer-syntax={item.syntax}"):
        (same,) = peer.parts(path, accept)
        assert same.body == part.body
        assert same.parameters["transfer-syntax"] == item.syntax
    for accept in (
        "image/*",
        f"{kind}; transfer-syntax=*",
        f'multipart/related; type="image/*"; transfer-syntax={item.syntax}',
    ):
        assert peer.get(path, accept).status_code in (200, 406)


@pytest.mark.proves("RET-032")
@pytest.mark.parametrize(
    "accept",
    [
        "multipart/related; type=application/octet-stream; transfer-syntax=*",
        'multipart/related; type="application/octet-stream"; transfer-syntax=*, */*;q=0.1',
        'multipart/related; type="image/jls"; transfer-syntax=1.2.3, '
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        "multipart/related; type=application/octet-stream; transfer-syntax=*; q=0.5, application/dicom;q=0.1",
    ],
)
def test_what_viewers_send(peer: Peer, corpus: Corpus, accept: str) -> None:
    item = corpus["MR_small_jp2klossless.dcm"]
    (part,) = peer.parts(item.path + "/frames/1", accept)
    assert part.body == corpus.mr_codestream
    assert part.parameters["transfer-syntax"] == item.syntax


@pytest.mark.proves("RET-029", "RET-030")
def test_frames_of_several_fragments(peer: Peer, corpus: Corpus) -> None:
    stream = corpus.mr_codestream
    (part,) = peer.parts(corpus["three-fragments"].path + "/frames/1", STORED_OCTETS)
    assert part.body.rstrip(b"\0") == stream.rstrip(b"\0")
    item = corpus["fragmented-frames"]
    for numbers, count in (("1", 1), ("2", 1), ("1,2", 2)):
        parts = peer.parts(f"{item.path}/frames/{numbers}", STORED_OCTETS)
        assert [part.body.rstrip(b"\0") for part in parts] == [stream.rstrip(b"\0")] * count
        decoded = peer.parts(f"{item.path}/frames/{numbers}", OCTET_MULTIPART)
        assert [part.body for part in decoded] == [corpus.mr_pixels] * count


@pytest.mark.proves("RET-030")
@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_ways_to_find_the_frames(peer: Peer, corpus: Corpus, maker: Maker, table: str) -> None:
    """The same three frames of one, two and three fragments, by every offset table that PS3.5 A.4 knows."""
    frames = [[b"\xff\xd8" + bytes([n]) * 40 + b"\xff\xd9"][0] for n in (1, 2, 3)]
    fragments = [frames[0], frames[1][:20], frames[1][20:], frames[2][:10], frames[2][10:20], frames[2][20:]]
    starts, position = [], 0
    for index, fragment in enumerate(fragments):
        if index in (0, 1, 3):
            starts.append(position)
        position += 8 + len(fragment)
    basic = b"".join(start.to_bytes(4, "little") for start in starts) if table == "basic" else b""
    module = maker.image(4, 4, frames=3, pixels=Fragments(tuple(fragments), basic))
    if table == "extended":
        # Extended tables allow one fragment per frame only (PS3.3 C.7.6.3.1.8).
        fragments, starts = frames, [0, 8 + len(frames[0]), 16 + len(frames[0]) + len(frames[1])]
        module[0x7FE00010] = ("OB", Fragments(tuple(fragments)))
        module[0x7FE00001] = ("OV", tuple(starts))
        module[0x7FE00002] = ("OV", tuple(len(frame) for frame in frames))
    item = maker.single(f"table-{table}", module, "1.2.840.10008.1.2.4.50")
    answer = peer.store([item.data])
    assert answer.status_code == 200, answer.text
    parts = peer.parts(item.path + "/frames/1,2,3", STORED_OCTETS)
    assert [part.body for part in parts] == frames
    (part,) = peer.parts(item.path + "/frames/2", STORED_OCTETS)
    assert part.body == frames[1]


@pytest.mark.proves("RET-027")
@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "three-fragments"]
)
def test_decoded_frame(peer: Peer, corpus: Corpus, name: str) -> None:
    for accept in (OCTET_MULTIPART, f"{OCTET_MULTIPART}; transfer-syntax={EXPLICIT}"):
        (part,) = peer.parts(corpus[name].path + "/frames/1", accept)
        assert part.body == corpus.mr_pixels
        assert part.parameters["transfer-syntax"] == EXPLICIT


@pytest.mark.proves("RET-027")
def test_decoded_frame_is_that_of_the_decoded_file(peer: Peer, corpus: Corpus) -> None:
    item = corpus["SC_rgb_rle_2frame.dcm"]
    (part,) = peer.parts(item.path, DICOM_MULTIPART)
    frames = peer.parts(item.path + "/frames/1,2", OCTET_MULTIPART)
    assert b"".join(frame.body for frame in frames) == read(part.body).PixelData
    (first,) = peer.parts(item.path + "/frames/1", 'multipart/related; type="image/dicom-rle"')
    assert first.parameters["transfer-syntax"] == RLE


@pytest.mark.proves("RET-033")
@pytest.mark.needs("single-part")
def test_single_part_frame(peer: Peer, corpus: Corpus) -> None:
    item = corpus["frames"]
    response = peer.get(item.path + "/frames/2", "application/octet-stream")
    assert response.status_code == 200
    assert media_type(response.headers["content-type"])[0] == "application/octet-stream"
    assert response.content == frame_of(item, 2)
    assert int(response.headers["content-length"]) == 15
    assert peer.get(item.path + "/frames/1,2", "application/octet-stream").status_code == 406
    compressed = corpus["MR_small_jp2klossless.dcm"]
    response = peer.get(compressed.path + "/frames/1", "image/jp2; transfer-syntax=*")
    assert response.status_code == 200
    assert response.content == corpus.mr_codestream


@pytest.mark.proves("RET-040", "RET-041")
@pytest.mark.needs("ranges", "single-part")
def test_range_of_a_frame(peer: Peer, corpus: Corpus) -> None:
    item = corpus["frames"]
    path = item.path + "/frames/3"
    response = peer.get(path, "application/octet-stream", range="bytes=3-7")
    if response.status_code == 206:
        assert response.headers["content-range"] == "bytes 3-7/15"
        assert response.content == frame_of(item, 3)[3:8]
        assert peer.get(path, "application/octet-stream", range="bytes=15-").status_code == 416
    else:
        assert (response.status_code, response.content) == (200, frame_of(item, 3))
        assert response.headers.get("accept-ranges", "none") == "none"


@pytest.mark.proves("RET-034")
@pytest.mark.parametrize("name", ["float", "double"])
def test_float_frames(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    count = 2 if name == "float" else 1
    parts = peer.parts(f"{item.path}/frames/{'1,2' if count == 2 else '1'}", OCTET_MULTIPART)
    assert b"".join(part.body for part in parts) == item.pixels
    assert len(parts) == count


@pytest.mark.proves("RET-031")
def test_video(peer: Peer, corpus: Corpus) -> None:
    """The stream is one, whatever its fragments: as a frame, or as bulkdata."""
    item = corpus["video"]
    stream = b"".join(corpus.items["video"].dataset[0x7FE00010][1].fragments)  # type: ignore[union-attr]
    (dataset,) = peer.metadata(item.path)
    for accept in (
        'multipart/related; type="video/mp4"',
        'multipart/related; type="video/mp4"; transfer-syntax=*',
        f'multipart/related; type="video/mp4"; transfer-syntax={item.syntax}',
        STORED_OCTETS,
    ):
        (part,) = peer.parts(dataset["7FE00010"]["BulkDataURI"], accept)
        assert part.body == stream
        assert part.media_type in ("video/mp4", "application/octet-stream")
