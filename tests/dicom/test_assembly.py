"""Metadata and bulkdata put together: which file comes of it, and what is refused (PS3.18 10.5.1.4, 10.5.2)."""

import base64
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from rle.rle import encode_frame

from app.dicom.assembly import Assembled, MissingBulkdata, assemble
from app.dicom.codecs import decode_frame
from app.dicom.frame_index import frame_count, locate_frames
from app.dicom.header import parse_instance
from app.dicom.image_attributes import ImageMismatch
from app.dicom.json_reader import read_metadata
from app.dicom.metadata_elements import Payload
from app.dicom.stream_headers.description import UnusableStream
from app.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    RLE_LOSSLESS,
)
from app.errors import DicomError, MalformedDicom, TruncatedDicom, UnsupportedTransferSyntax
from tests.dicom.conversion import image_of
from tests.dicom.metadata_copies import NOW, execute, plain_json
from tests.dicom.test_raster_images import png
from tests.support.video_bytes import mp4

UID = "1.2.840.10008.1.2.4."
OCTETS = "application/octet-stream"
RANDOM = np.random.default_rng(3)
PICTURES = [(np.arange(20 * 30 * 3).reshape(20, 30, 3) // 8 + 40 * number).astype(np.uint8) for number in range(4)]
Part = tuple[str, str, bytes]  # media type, transfer syntax, bytes


def metadata(**attributes: Any) -> dict[str, Any]:
    """An instance with pixel data at `pixels`; attributes by `_tag`, as elements or as first values of US or CS."""
    dataset: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3.4"]},
        "7FE00010": {"vr": "OB", "BulkDataURI": "pixels"},
    }
    for tag, value in attributes.items():
        vr = "IS" if tag == "_00280008" else "US" if isinstance(value, int) else "CS"
        dataset[tag.lstrip("_")] = value if isinstance(value, dict) else {"vr": vr, "Value": [value]}
    return dataset


def image(
    rows: int = 4, columns: int = 6, samples: int = 1, bits: int = 8, frames: int = 1, **more: Any
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "_00280002": samples,
        "_00280004": "RGB" if samples == 3 else "MONOCHROME2",
        "_00280010": rows,
        "_00280011": columns,
        "_00280100": bits,
        "_00280101": bits,
        "_00280102": bits - 1,
        "_00280103": 0,
    }
    if samples == 3:
        described["_00280006"] = 0
    if frames > 1:
        described["_00280008"] = str(frames)
    return metadata(**{**described, **more})


def put_together(
    dataset: dict[str, Any], *parts: Part, max_bytes: int = 1 << 24, **named: Part
) -> tuple[bytes, Assembled]:
    """`parts` are all called `pixels`, the others by their name."""
    spool = b"what came before"
    places: dict[str, list[Payload]] = {}
    for name, (media_type, syntax, data) in [*(("pixels", part) for part in parts), *named.items()]:
        places.setdefault(name, []).append(Payload(media_type, syntax, len(spool), len(data)))
        spool += data
    assembled = assemble(
        read_metadata(dataset),
        lambda uri: places.get(uri, ()),
        memoryview(spool),
        max_decoded_bytes=max_bytes,
        now=NOW,
    )
    return execute(assembled, spool), assembled


def frames_of(data: bytes) -> list[bytes]:
    parsed = parse_instance(data)
    count = frame_count(parsed.frame_index)
    return [
        b"".join(data[offset : offset + length] for offset, length in runs.runs)
        for runs in locate_frames(parsed.frame_index, range(1, count + 1))
    ]


def jpegs(count: int, **how: Any) -> list[Part]:
    return [("image/jpeg", "", bytes(imagecodecs.jpeg8_encode(one, level=90, **how))) for one in PICTURES[:count]]


def first(data: bytes, tag: str) -> Any:
    return (plain_json(data)[tag].get("Value") or [None])[0]


def test_file_meta_information_is_the_servers_own() -> None:
    data, assembled = put_together(metadata(_00020010={"vr": "UI", "Value": ["1.2"]}), *jpegs(1))
    assert assembled.discarded == ("00020010",)
    meta = pydicom.dcmread(DicomBytesIO(data)).file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert meta.TransferSyntaxUID == UID + "50"
    assert meta.ImplementationVersionName == "GANTRY"
    assert str(meta.ImplementationClassUID).startswith("2.25.")
    assert data[:128] == bytes(128)
    body = data.index(b"\x02\0\1\0OB")
    assert meta.FileMetaInformationGroupLength == data.index(b"\x08\0\x16\0UI") - body


@pytest.mark.parametrize("count", [1, 3, 4])
def test_jpeg_frames_stay_as_they_are(count: int) -> None:
    parts = jpegs(count)
    data, assembled = put_together(metadata(), *parts)
    assert [frame.removesuffix(b"\0") for frame in frames_of(data)] == [part[2] for part in parts]
    assert parse_instance(data).transfer_syntax_uid == UID + "50"
    assert assembled.originals is None
    assert first(data, "00280010") == 20
    read = pydicom.dcmread(DicomBytesIO(data))
    assert int(read.get("NumberOfFrames", 1)) == count
    table = read.PixelData[8 : 8 + int.from_bytes(read.PixelData[4:8], "little")]
    assert len(table) == (4 * count if count > 1 else 0)


STREAMS = {
    "50": ("image/jpeg", imagecodecs.jpeg8_encode(PICTURES[0], level=90)),
    "70": ("image/jpeg", imagecodecs.jpeg8_encode(PICTURES[0], lossless=True, predictor=1)),
    "57": ("image/jpeg", imagecodecs.jpeg8_encode(PICTURES[0], lossless=True, predictor=3)),
    "80": ("image/jls", imagecodecs.jpegls_encode(PICTURES[0])),
    "90": ("image/jp2", imagecodecs.jpeg2k_encode(PICTURES[0], codecformat="j2k", reversible=True)),
    "91": ("image/jp2", imagecodecs.jpeg2k_encode(PICTURES[0], codecformat="jp2", reversible=False, level=30)),
    "201": ("image/jphc", imagecodecs.htj2k_encode(PICTURES[0], reversible=True)),
    "110": ("image/jxl", imagecodecs.jpegxl_encode(PICTURES[0], lossless=True)),
    "112": ("image/jxl", imagecodecs.jpegxl_encode(PICTURES[0], lossless=False, level=80)),
}


@pytest.mark.parametrize("number", STREAMS)
def test_every_kind_of_image_gets_its_syntax(number: str) -> None:
    media_type, stream = STREAMS[number]
    data, _ = put_together(metadata(), (media_type, "", bytes(stream)))
    parsed = parse_instance(data)
    assert parsed.transfer_syntax_uid == UID + number
    assert (first(data, "00280010"), first(data, "00280011"), first(data, "00280002")) == (20, 30, 3)
    (frame,) = frames_of(data)
    kept = bytes(stream)[bytes(stream).find(b"\xff\x4f\xff\x51") :] if number == "91" else bytes(stream)
    assert frame.removesuffix(b"\0") == kept.removesuffix(b"\0")
    assert ("00282110" in plain_json(data)) is (number in ("50", "91", "112"))


@pytest.mark.parametrize("number", STREAMS)
def test_the_derived_description_is_right_for_decoding(number: str) -> None:
    media_type, stream = STREAMS[number]
    data, _ = put_together(metadata(), (media_type, "", bytes(stream)))
    frame = decode_frame(frames_of(data)[0], image_of(parse_instance(data)), UID + number)
    assert frame.photometric_interpretation == "RGB"
    decoded = np.frombuffer(frame.data, np.uint8).reshape(20, 30, 3).astype(int)
    lossy = number in ("50", "91", "112")
    assert np.abs(decoded - PICTURES[0]).max() <= (40 if lossy else 0)


@pytest.mark.parametrize(
    ("number", "named"), [("50", "51"), ("70", "57"), ("80", "81"), ("90", "91"), ("201", "203"), ("110", "112")]
)
def test_a_part_may_name_another_syntax_that_fits(number: str, named: str) -> None:
    media_type, stream = STREAMS[number]
    for kind in (media_type, OCTETS):
        data, _ = put_together(metadata(), (kind, UID + named, bytes(stream)))
        assert parse_instance(data).transfer_syntax_uid == UID + named


@pytest.mark.parametrize(
    ("number", "named", "error"),
    [
        ("50", UID + "70", ImageMismatch),
        ("57", UID + "70", ImageMismatch),
        ("91", UID + "90", ImageMismatch),
        ("90", UID + "201", ImageMismatch),
        ("50", EXPLICIT_VR_LITTLE_ENDIAN, ImageMismatch),
        ("50", RLE_LOSSLESS, ImageMismatch),
        ("50", "1.2.3", UnsupportedTransferSyntax),
        ("50", "1.2.840.10008.1.2.7.1", UnsupportedTransferSyntax),
    ],
)
def test_a_part_that_names_a_syntax_that_does_not_fit(number: str, named: str, error: type[DicomError]) -> None:
    media_type, stream = STREAMS[number]
    with pytest.raises(error):
        put_together(metadata(), (media_type, named, bytes(stream)))


def test_frames_of_two_kinds_of_the_same_family_find_a_common_syntax() -> None:
    lossless = ("image/jls", "", bytes(imagecodecs.jpegls_encode(PICTURES[0])))
    near = ("image/jls", "", bytes(imagecodecs.jpegls_encode(PICTURES[1], level=2)))
    for parts in ((lossless, near), (near, lossless)):
        data, _ = put_together(metadata(), *parts)
        assert parse_instance(data).transfer_syntax_uid == UID + "81"
        assert first(data, "00282110") == "01"


@pytest.mark.parametrize(
    "other",
    [
        ("image/jls", "", bytes(imagecodecs.jpegls_encode(PICTURES[0]))),
        ("image/jpeg", UID + "50", jpegs(1)[0][2]),
        ("image/jpeg", "", bytes(imagecodecs.jpeg8_encode(PICTURES[0][:10], level=90))),
        ("image/jpeg", "", bytes(imagecodecs.jpeg8_encode(PICTURES[0][..., 0].copy(), level=90))),
        (OCTETS, "", jpegs(1)[0][2]),
    ],
)
def test_frames_that_are_not_alike(other: Part) -> None:
    with pytest.raises(ImageMismatch, match="the frames of one image"):
        put_together(metadata(), *jpegs(1), other)


def test_number_of_frames_has_to_be_right() -> None:
    put_together(metadata(_00280008="2"), *jpegs(2))
    for said, there in (("3", 2), ("1", 2), ("2", 1)):
        with pytest.raises(ImageMismatch, match="Number of Frames"):
            put_together(metadata(_00280008=said), *jpegs(there))


def test_a_video_is_one_fragment() -> None:
    stream = mp4(frames=12)
    data, _ = put_together(metadata(), ("video/mp4", "", stream))
    parsed = parse_instance(data)
    assert parsed.transfer_syntax_uid == UID + "102"
    assert first(data, "00280008") == 12
    read = pydicom.dcmread(DicomBytesIO(data))
    assert read.PixelData == b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0" + len(stream).to_bytes(4, "little") + stream
    with pytest.raises(ImageMismatch, match="a video is one part"):
        put_together(metadata(), ("video/mp4", "", stream), ("video/mp4", "", stream))
    with pytest.raises(ImageMismatch, match="Number of Frames"):
        put_together(metadata(_00280008="13"), ("video/mp4", "", stream))


def test_a_video_too_long_for_one_fragment_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = mp4(frames=12)
    monkeypatch.setattr("app.dicom.assembly.MAX_LENGTH", 500)
    monkeypatch.setattr("app.dicom.assembly._FRAGMENT", 400)
    data, _ = put_together(metadata(), ("video/mp4", "", stream))
    assert parse_instance(data).transfer_syntax_uid == UID + "102.1"
    assert frames_of(data) == [stream]
    with pytest.raises(ImageMismatch, match="transfer syntax"):
        put_together(metadata(), ("video/mp4", UID + "102", stream))


def test_uncompressed_pixels_are_explicit_vr_little_endian() -> None:
    pixels = RANDOM.integers(0, 256, 24, dtype=np.uint8).tobytes()
    for syntax in ("", EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN):
        data, assembled = put_together(image(), (OCTETS, syntax, pixels))
        assert parse_instance(data).transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        assert frames_of(data) == [pixels]
        assert assembled.originals is None
    with pytest.raises(UnsupportedTransferSyntax):
        put_together(image(), (OCTETS, EXPLICIT_VR_BIG_ENDIAN, pixels))


@pytest.mark.parametrize(
    ("bits", "given", "written"), [(8, "OB", "OB"), (8, "OW", "OW"), (8, "UN", "OB"), (16, "OB", "OW")]
)
def test_vr_of_uncompressed_pixels(bits: int, given: str, written: str) -> None:
    """PS3.5 A.2: more than eight bits are OW."""
    described = image(bits=bits, _7FE00010={"vr": given, "BulkDataURI": "pixels"})
    data, _ = put_together(described, (OCTETS, "", bytes(24 * bits // 8)))
    pixel_data = parse_instance(data).pixel_data
    assert pixel_data is not None
    assert pixel_data.vr == written


def test_uncompressed_frames_in_parts_of_their_own() -> None:
    frames = [RANDOM.integers(0, 256, 24, dtype=np.uint8).tobytes() for _ in range(3)]
    data, _ = put_together(image(frames=3), *((OCTETS, "", frame) for frame in frames))
    assert frames_of(data) == frames
    for wrong in ([frames[0], frames[1][:-1], frames[2]], [frames[0] + b"\0", frames[1], frames[2]]):
        with pytest.raises(UnusableStream, match="one part for each frame"):
            put_together(image(frames=3), *((OCTETS, "", frame) for frame in wrong))
    with pytest.raises(UnusableStream, match="one part for each frame"):  # three pixels of one bit
        put_together(image(rows=1, columns=3, bits=1, frames=2), (OCTETS, "", b"\7"), (OCTETS, "", b"\7"))


@pytest.mark.parametrize("said", ["YBR_RCT", "YBR_ICT", "XYB"])
def test_colours_that_only_codestreams_have_are_rgb_when_uncompressed(said: str) -> None:
    data, assembled = put_together(image(samples=3, _00280004=said), (OCTETS, "", bytes(72)))
    assert first(data, "00280004") == "RGB"
    assert assembled.originals is not None
    original = plain_json(data)["04000561"]["Value"][0]
    assert original["04000550"]["Value"][0]["00280004"]["Value"] == [said]
    assert original["04000562"]["Value"] == ["20260201123000.000000+0000"]
    assert original["04000563"]["Value"] == ["GANTRY"]
    assert original["04000565"]["Value"] == ["CORRECT"]


def test_pixels_inline() -> None:
    pixels = bytes(range(24))
    inline = {"vr": "OB", "InlineBinary": base64.b64encode(pixels).decode()}
    data, _ = put_together(image(_7FE00010=inline))
    assert frames_of(data) == [pixels]
    assert parse_instance(data).transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN


def rle(pixels: Any) -> bytes:
    return bytes(encode_frame(pixels.tobytes(), *pixels.shape, 1, 8, "<"))


def test_rle_needs_a_description() -> None:
    frames = [rle(np.full((4, 6), number, np.uint8)) for number in range(2)]
    for media_type, syntax in (("image/dicom-rle", ""), ("image/x-dicom-rle", RLE_LOSSLESS), (OCTETS, RLE_LOSSLESS)):
        data, _ = put_together(image(frames=2), *((media_type, syntax, frame) for frame in frames))
        assert parse_instance(data).transfer_syntax_uid == RLE_LOSSLESS
        assert [frame.rstrip(b"\0") for frame in frames_of(data)] == [frame.rstrip(b"\0") for frame in frames]
    with pytest.raises(ImageMismatch, match="Number of Frames"):
        put_together(image(frames=3), *(("image/dicom-rle", "", frame) for frame in frames))
    with pytest.raises(ImageMismatch, match="RLE of 2 segments"):
        put_together(image(bits=16), ("image/dicom-rle", "", frames[0]))
    with pytest.raises(ImageMismatch, match="RLE of 1 segments"):
        put_together(image(), ("image/dicom-rle", "", b"short"))
    with pytest.raises(ImageMismatch):
        put_together(image(), ("image/dicom-rle", UID + "50", frames[0]))


def test_encapsulated_and_deflated_frames() -> None:
    frame = bytes(range(24))
    for syntax, stored in (("1.2.840.10008.1.2.1.98", frame), ("1.2.840.10008.1.2.8.1", b"\x03\0")):
        data, _ = put_together(image(), (OCTETS, syntax, stored))
        assert parse_instance(data).transfer_syntax_uid == syntax
        assert frames_of(data) == [stored]
        with pytest.raises(ImageMismatch):
            put_together(image(), ("image/jpeg", syntax, stored))


def test_png_becomes_native() -> None:
    lines = [RANDOM.integers(0, 256, 18, dtype=np.uint8).tobytes() for _ in range(4)]
    data, _ = put_together(metadata(), ("image/png", "", png(6, 4, 8, 2, lines)))
    assert frames_of(data) == [b"".join(lines)]
    assert parse_instance(data).transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    assert (first(data, "00280004"), first(data, "00280006")) == ("RGB", 0)
    assert "00282110" not in plain_json(data)


def test_several_png_are_frames() -> None:
    pictures = [png(2, 1, 8, 0, [bytes((number, 9))]) for number in range(3)]
    data, _ = put_together(metadata(), *(("image/png", "", one) for one in pictures))
    assert frames_of(data) == [bytes((number, 9)) for number in range(3)]
    with pytest.raises(ImageMismatch, match="sizes or kinds"):
        put_together(metadata(), ("image/png", "", pictures[0]), ("image/png", "", png(2, 1, 8, 2, [bytes(6)])))


def test_png_of_sixteen_bits_and_a_description_of_twelve() -> None:
    data, assembled = put_together(
        image(1, 2, bits=16, _00280101=12, _00280102=11), ("image/png", "", png(2, 1, 16, 0, [b"\1\2\3\4"]))
    )
    assert frames_of(data) == [b"\2\1\4\3"]
    assert first(data, "00280101") == 12
    assert assembled.originals is None
    with pytest.raises(ImageMismatch, match="Bits Allocated is 16"):
        put_together(image(1, 2, bits=16), ("image/png", "", png(2, 1, 8, 0, [b"\1\2"])))


def test_grey_pictures_are_grey_where_the_sender_says_so() -> None:
    grey_rgb = png(2, 1, 8, 2, [b"\5\5\5\6\6\6"])
    assert frames_of(put_together(metadata(), ("image/png", "", grey_rgb))[0]) == [b"\5\5\5\6\6\6"]
    assert frames_of(put_together(metadata(_00280002=1), ("image/png", "", grey_rgb))[0]) == [b"\5\6"]
    assert frames_of(put_together(metadata(_00280004="MONOCHROME1"), ("image/png", "", grey_rgb))[0]) == [b"\5\6"]
    with pytest.raises(ImageMismatch):
        put_together(metadata(_00280002=1), ("image/png", "", png(1, 1, 8, 2, [b"\1\2\3"])))


def test_decoded_size_is_bounded_over_all_frames() -> None:
    picture = ("image/png", "", png(10, 10, 8, 0, [bytes(10)] * 10))
    put_together(metadata(), *[picture] * 4, max_bytes=400)
    with pytest.raises(UnusableStream, match="decodes up to"):
        put_together(metadata(), *[picture] * 5, max_bytes=400)
    with pytest.raises(UnusableStream, match="do not begin"):
        put_together(metadata(), ("image/gif", "", picture[2]))


@pytest.mark.parametrize("media_type", ["image/tiff", "application/pdf", "text/plain"])
def test_types_that_pixels_cannot_be(media_type: str) -> None:
    with pytest.raises(UnusableStream, match=media_type):
        put_together(metadata(), (media_type, "", b"x"))


def test_bulkdata_that_is_missing_cut_off_or_there_twice() -> None:
    with pytest.raises(MissingBulkdata, match="pixels"):
        put_together(metadata())
    dataset = metadata(_7FE00010={"vr": "OB"}, _00420011={"vr": "OB", "BulkDataURI": "other"})
    with pytest.raises(MissingBulkdata, match="other"):
        put_together(dataset)
    cut = Payload(OCTETS, "", 0, 1, "the message ends within this part")
    with pytest.raises(TruncatedDicom, match="ends within"):
        assemble(read_metadata(dataset), lambda _: (cut,), memoryview(b"x"), max_decoded_bytes=1, now=NOW)
    whole = Payload(OCTETS, "", 0, 1)
    with pytest.raises(UnusableStream, match="several parts"):
        assemble(read_metadata(dataset), lambda _: (whole, whole), memoryview(b"x"), max_decoded_bytes=1, now=NOW)


def test_bulkdata_everywhere() -> None:
    nested = {"vr": "SQ", "Value": [{"7FE00010": {"vr": "OB", "BulkDataURI": "icon"}}, {}]}
    dataset = image(
        _00880200=nested,
        _00281201={"vr": "OW", "BulkDataURI": "red"},
        _00189321={"vr": "SQ"},
        _0040A160={"vr": "UT", "BulkDataURI": "text"},
        _00091010={"vr": "UN", "BulkDataURI": "private"},
    )
    parts: dict[str, Part] = {
        "icon": (OCTETS, "", b"12345"),
        "red": (OCTETS, "", bytes(512)),
        "text": ("text/plain", "", b"some words."),
        "private": ("", "", b"\1\2\3"),
    }
    data, _ = put_together(dataset, (OCTETS, "", bytes(24)), **parts)
    read = pydicom.dcmread(DicomBytesIO(data))
    assert read.IconImageSequence[0].PixelData == b"12345\0"
    assert len(read.IconImageSequence[1]) == 0
    assert read.RedPaletteColorLookupTableData == bytes(512)
    assert read.TextValue == "some words."
    assert read[0x00091010].value == b"\1\2\3\0"


def test_values_too_long_for_their_length_field_are_un() -> None:
    long = {"vr": "DS", "BulkDataURI": "numbers"}
    numbers = b"\\".join([b"1.25"] * 20_000)
    data, _ = put_together(metadata(_7FE00010={"vr": "OB"}, _00186070=long), numbers=(OCTETS, "", numbers))
    assert b"\x18\0\x70\x60UN\0\0" in data
    assert data.endswith(b"\xe0\x7f\x10\0OB" + bytes(6))
    assert numbers in data


@pytest.mark.parametrize(
    ("said", "part", "stored"),
    [
        (None, "application/pdf", "application/pdf"),
        ("application/pdf", "application/pdf", "application/pdf"),
        ("application/pdf", OCTETS, "application/pdf"),
        ("APPLICATION/PDF", "application/pdf", "APPLICATION/PDF"),
        ("text/xml", "", "text/xml"),
        (None, "model/stl", "model/stl"),
        (None, OCTETS, None),
    ],
)
def test_documents(said: str | None, part: str, stored: str | None) -> None:
    dataset = metadata(_00420011={"vr": "OB", "BulkDataURI": "document"})
    del dataset["7FE00010"]
    if said:
        dataset["00420012"] = {"vr": "LO", "Value": [said]}
    document = b"%PDF-1.7 of odd length"[: 21 if stored else 22]
    data, _ = put_together(dataset, document=(part, "", document))
    read = pydicom.dcmread(DicomBytesIO(data))
    assert read.get("MIMETypeOfEncapsulatedDocument") == stored
    assert read.EncapsulatedDocument == document + b"\0" * (len(document) % 2)
    assert read.get("EncapsulatedDocumentLength") == (len(document) if len(document) % 2 else None)


def test_a_document_of_another_type() -> None:
    dataset = metadata(_00420011={"vr": "OB", "BulkDataURI": "d"}, _00420012={"vr": "LO", "Value": ["application/pdf"]})
    with pytest.raises(ImageMismatch, match="text/html"):
        put_together(dataset, *jpegs(1), d=("text/html", "", b"<html>"))


def text(value: str, charset: str | None = None, *, nested: str | None = None) -> dict[str, Any]:
    dataset = image(_00100010={"vr": "PN", "Value": [{"Alphabetic": value}]})
    if charset is not None:
        dataset["00080005"] = {"vr": "CS", "Value": charset.split("\\")}
    if nested is not None:
        item = {"00080005": {"vr": "CS", "Value": [nested]}, "00081155": {"vr": "UI", "Value": ["1.2"]}}
        dataset["00081140"] = {"vr": "SQ", "Value": [item]}
    return dataset


@pytest.mark.parametrize(
    ("dataset", "stored", "corrected", "discarded"),
    [
        (text("Doe"), None, False, ()),
        (text("Doe", "ISO_IR 100"), "ISO_IR 100", False, ()),
        (text("Doe", "ISO_IR 100", nested="ISO_IR 13"), "ISO_IR 100", False, ()),
        (text("Döe"), "ISO_IR 192", False, ()),
        (text("Döe", "ISO_IR 192"), "ISO_IR 192", False, ()),
        (text("Döe", ""), "ISO_IR 192", False, ()),
        (text("Döe", "ISO_IR 100"), "ISO_IR 192", True, ()),
        (text("山田", "\\ISO 2022 IR 87"), "ISO_IR 192", True, ()),
        (text("Döe", nested="ISO_IR 100"), "ISO_IR 192", False, ("00081140.1.00080005",)),
        (text("Döe", nested="ISO_IR 192"), "ISO_IR 192", False, ()),
    ],
)
def test_character_sets(dataset: Any, stored: str | None, corrected: bool, discarded: Sequence[str]) -> None:
    data, assembled = put_together(dataset, (OCTETS, "", bytes(24)))
    read = pydicom.dcmread(DicomBytesIO(data))
    assert read.get("SpecificCharacterSet") == stored
    assert str(read.PatientName) == dataset["00100010"]["Value"][0]["Alphabetic"]
    assert (assembled.originals is not None) is corrected
    assert assembled.discarded == tuple(discarded)


def test_earlier_corrections_are_kept() -> None:
    earlier = {"vr": "SQ", "Value": [{"04000563": {"vr": "LO", "Value": ["ELSEWHERE"]}}]}
    data, _ = put_together(image(samples=3, _00280004="YBR_RCT", _04000561=earlier), (OCTETS, "", bytes(72)))
    read = pydicom.dcmread(DicomBytesIO(data))
    assert [item.ModifyingSystem for item in read.OriginalAttributesSequence] == ["ELSEWHERE", "GANTRY"]


def test_offset_tables_of_another_file_are_left_out() -> None:
    tables = {"_7FE00001": {"vr": "OV", "InlineBinary": "AAAAAAAAAAA="}, "_7FE00002": {"vr": "OV", "BulkDataURI": "x"}}
    data, assembled = put_together(metadata(**tables), *jpegs(2))
    assert assembled.discarded == ("7FE00001", "7FE00002")
    assert not {"7FE00001", "7FE00002"} & plain_json(data).keys()


def test_an_extended_offset_table_where_the_basic_one_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dicom.part10_writer._MAX_OFFSET", 1000)
    parts = jpegs(3)
    data, _ = put_together(metadata(), *parts)
    assert frames_of(data) == [part[2] for part in parts], "lengths in the table are exact"
    read = pydicom.dcmread(DicomBytesIO(data))
    assert len(read.ExtendedOffsetTable) == len(read.ExtendedOffsetTableLengths) == 24
    assert read.PixelData[:8] == b"\xfe\xff\0\xe0\0\0\0\0"


def test_lengths_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dicom.part10_writer.MAX_LENGTH", 200)
    with pytest.raises(MalformedDicom, match="7FE00010 has 300 bytes"):
        put_together(image(10, 30), (OCTETS, "", bytes(300)))
    with pytest.raises(MalformedDicom, match="fragment"):
        put_together(metadata(), *jpegs(1))
    icons = {"vr": "SQ", "Value": [{"7FE00010": {"vr": "OB", "BulkDataURI": "icon"}}] * 3}
    data, _ = put_together(image(_00880200=icons), (OCTETS, "", bytes(24)), icon=(OCTETS, "", bytes(150)))
    assert b"\x88\0\0\2SQ\0\0\xff\xff\xff\xff" in data, "a sequence too long for its length field ends with a delimiter"
    assert len(pydicom.dcmread(DicomBytesIO(data)).IconImageSequence) == 3
