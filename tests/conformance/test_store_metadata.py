"""Store of metadata and bulkdata (STOW-RS, PS3.18 10.5.1.4): both models, every kind of bulkdata, and what is refused."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from PIL import Image

from tests.conformance.instances import ENCAPSULATED_PDF, MULTIFRAME_BYTE_SC, SECONDARY_CAPTURE, VIDEO_ENDOSCOPIC, Maker
from tests.conformance.metadata_messages import (
    JSON_TYPE,
    XML_TYPE,
    Json,
    Part,
    code,
    encoded,
    grey,
    jpeg,
    json_part,
    metadata,
    multipart,
    native_xml,
    number,
    path_of,
    picture,
    reference,
    send,
    xml_part,
)
from tests.conformance.test_store import FAILED, OTHER_FAILURES, REFERENCED, is_cannot_understand, reasons, stored
from tests.support.http import DICOM_MULTIPART, OCTET_MULTIPART, Peer, first, integer, media_type, values
from tests.support.video_bytes import mp4, mpeg_2

WARNING_REASON, ORIGINAL_ATTRIBUTES = "00081196", "04000561"
OCTETS = "application/octet-stream"
EXPLICIT, JPEG_BASELINE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


def instance_of(dataset: Json) -> str:
    return str(first(dataset, "00080018"))


def file_of(peer: Peer, dataset: Json) -> pydicom.FileDataset:
    (part,) = peer.parts(path_of(dataset), DICOM_MULTIPART + "; transfer-syntax=*")
    return pydicom.dcmread(io.BytesIO(part.body))


def native_frames(peer: Peer, dataset: Json, frames: str = "1") -> list[bytes]:
    return [part.body for part in peer.parts(f"{path_of(dataset)}/frames/{frames}", OCTET_MULTIPART)]


def warnings(answer: httpx.Response) -> list[int | None]:
    return [first(item, WARNING_REASON) for item in values(answer.json(), REFERENCED)]


def assert_stored(response: httpx.Response, *datasets: Json) -> None:
    assert response.status_code == 200, response.text[:500]
    assert stored(response.json()) == {instance_of(dataset) for dataset in datasets}
    assert not {FAILED, OTHER_FAILURES} & response.json().keys()
    assert set(warnings(response)) == {None}


def assert_refused(peer: Peer, response: httpx.Response, dataset: Json, *expected: int) -> None:
    """Nothing of it is stored, and the answer says which instance and why."""
    assert response.status_code == 409, response.text[:500]
    (failure,) = values(response.json(), FAILED)
    assert first(failure, "00081155") == instance_of(dataset)
    assert reasons(response.json()) == list(expected)
    assert peer.get(path_of(dataset)).status_code == 404


@pytest.mark.proves("STO-030", "STO-032")
def test_json_metadata_with_bulkdata(peer: Peer, maker: Maker) -> None:
    pixels, table = maker.uids.bytes(24), maker.uids.bytes(512)
    dataset = metadata(
        maker, "jsön", **grey(4, 6), _7FE00010=reference("bulk/pixels"), _00281201=reference("bulk/red", "OW")
    )
    answer = send(peer, json_part(dataset), Part(table, OCTETS, "bulk/red"), Part(pixels, OCTETS, "bulk/pixels"))
    assert_stored(answer, dataset)
    assert native_frames(peer, dataset) == [pixels]
    (read,) = peer.metadata(path_of(dataset))
    assert first(read, "00100010") == {"Alphabetic": f"{maker.token}^jsön"}
    assert first(read, "00080005") == "ISO_IR 192"
    file = file_of(peer, dataset)
    assert file.RedPaletteColorLookupTableData == table
    assert file.PixelData == pixels
    assert file.file_meta.TransferSyntaxUID == EXPLICIT
    assert file.file_meta.MediaStorageSOPInstanceUID == instance_of(dataset)
    assert len(peer.search(f"/studies/{first(dataset, '0020000D')}/instances", "")) == 1


@pytest.mark.proves("STO-030")
def test_many_instances_in_one_array(peer: Peer, maker: Maker) -> None:
    datasets = [metadata(maker, f"many-{n}", **grey(4, 6), _7FE00010=reference(f"b/{n}")) for n in range(20)]
    pixels = [maker.uids.bytes(24) for _ in datasets]
    parts = [Part(pixels[n], OCTETS, f"b/{n}") for n in reversed(range(20))]
    answer = send(peer, json_part(*datasets), *parts)
    assert_stored(answer, *datasets)
    order = [first(item, "00081155") for item in values(answer.json(), REFERENCED)]
    assert order == [instance_of(dataset) for dataset in datasets]
    for dataset, expected in zip(datasets, pixels, strict=True):
        assert native_frames(peer, dataset) == [expected]


@pytest.mark.proves("STO-031", "STO-032")
@pytest.mark.parametrize("capitals", [False, True])
def test_xml_metadata_with_bulkdata(peer: Peer, maker: Maker, capitals: bool) -> None:
    """`capitals`: the attribute names of the example in PS3.18 Annex B.23."""
    item = {"00081155": {"vr": "UI", "Value": ["1.2.3"]}, "0040A160": {"vr": "UT", "Value": ["<&> ü"]}}
    datasets = [
        metadata(
            maker, f"xml-{n}", **grey(4, 6), _7FE00010=reference(f"b/{n}"), _00081140={"vr": "SQ", "Value": [item]}
        )
        for n in range(2)
    ]
    pixels = [maker.uids.bytes(24) for _ in datasets]
    parts = [Part(pixels[n], OCTETS, f"b/{n}") for n in range(2)]
    answer = send(peer, *(xml_part(dataset, capitals=capitals) for dataset in datasets), *parts, kind=XML_TYPE)
    assert_stored(answer, *datasets)
    for dataset, expected in zip(datasets, pixels, strict=True):
        assert native_frames(peer, dataset) == [expected]
        (read,) = peer.metadata(path_of(dataset))
        assert first(first(read, "00081140"), "0040A160") == "<&> ü"
        assert read["00100010"] == dataset["00100010"]


@pytest.mark.proves("STO-030", "STO-031")
def test_both_models_make_the_same_instance(peer: Peer, maker: Maker) -> None:
    dataset = metadata(maker, "same", _7FE00010=reference("p"), _00281050={"vr": "DS", "Value": [40.5]})
    part = Part(jpeg(picture(maker, 16, 16)), "image/jpeg", "p")
    assert_stored(send(peer, json_part(dataset), part), dataset)
    before = peer.parts(path_of(dataset), DICOM_MULTIPART + "; transfer-syntax=*")[0].body
    assert_stored(send(peer, xml_part(dataset), part, kind=XML_TYPE), dataset)
    assert peer.parts(path_of(dataset), DICOM_MULTIPART + "; transfer-syntax=*")[0].body == before


@pytest.mark.proves("STO-032")
@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("{base}/studies/bulk/1", "{base}/studies/bulk/1"),
        ("{base}/bulk/1", "bulk/1"),
        ("bulk/1", "{base}/bulk/1"),
        ("urn:uuid:0b5e4f0e-1d1b-4f0e-8a64-7f2f0b5e4f0e", "urn:uuid:0b5e4f0e-1d1b-4f0e-8a64-7f2f0b5e4f0e"),
        ("http://elsewhere.example/x?y=1", "http://elsewhere.example/x?y=1"),
    ],
)
def test_locations_are_absolute_or_relative(peer: Peer, maker: Maker, uri: str, location: str) -> None:
    dataset = metadata(maker, "located", **grey(4, 6), _7FE00010=reference(uri.format(base=peer.base_url)))
    decoy = metadata(maker, "decoy", **grey(4, 6), _7FE00010=reference("decoy"))
    pixels = maker.uids.bytes(24)
    parts = (Part(bytes(24), OCTETS, "decoy"), Part(pixels, OCTETS, location.format(base=peer.base_url)))
    assert_stored(send(peer, json_part(dataset, decoy), *parts), dataset, decoy)
    assert native_frames(peer, dataset) == [pixels]


@pytest.mark.proves("STO-033")
def test_bulkdata_before_its_metadata(peer: Peer, maker: Maker) -> None:
    dataset = metadata(maker, "reverse", **grey(4, 6), _7FE00010=reference("p"))
    pixels = maker.uids.bytes(24)
    answer = send(peer, Part(pixels, OCTETS, "p"), json_part(dataset))
    assert_stored(answer, dataset)
    assert native_frames(peer, dataset) == [pixels]


@pytest.mark.proves("STO-034")
@pytest.mark.parametrize(
    ("mode", "how", "photometric"),
    [
        ("RGB", {"subsampling": 0}, "YBR_FULL"),
        ("RGB", {"subsampling": 1}, "YBR_FULL_422"),
        ("RGB", {"subsampling": 2}, "YBR_FULL_422"),
        ("L", {}, "MONOCHROME2"),
    ],
)
def test_description_is_derived_from_a_jpeg(
    peer: Peer, maker: Maker, mode: str, how: dict[str, Any], photometric: str
) -> None:
    stream = jpeg(picture(maker, 20, 30, mode), **how)
    dataset = metadata(maker, "jpeg", _7FE00010=reference("p"))
    assert_stored(send(peer, json_part(dataset), Part(stream, "image/jpeg", "p")), dataset)
    (read,) = peer.metadata(path_of(dataset))
    samples = 3 if mode == "RGB" else 1
    assert {tag: first(read, tag) for tag in ("00280002", "00280004", "00280010", "00280011")} == {
        "00280002": samples,
        "00280004": photometric,
        "00280010": 20,
        "00280011": 30,
    }
    assert [first(read, f"002801{last}") for last in ("00", "01", "02", "03")] == [8, 8, 7, 0]
    assert first(read, "00280006") == (0 if samples == 3 else None)
    assert first(read, "00282110") == "01"
    (part,) = peer.parts(
        path_of(dataset) + "/frames/1", f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}'
    )
    assert part.body == stream
    assert file_of(peer, dataset).file_meta.TransferSyntaxUID == JPEG_BASELINE


@pytest.mark.proves("STO-034")
def test_jpeg_frames_are_parts_of_their_own(peer: Peer, maker: Maker) -> None:
    streams = [jpeg(picture(maker, 16, 24)) for _ in range(3)]
    same = metadata(maker, "frames-1", MULTIFRAME_BYTE_SC, _7FE00010=reference("p"))
    numbered = metadata(
        maker, "frames-2", MULTIFRAME_BYTE_SC, _7FE00010=reference("q"), _00280008={"vr": "IS", "Value": [3]}
    )
    parts = [Part(stream, "image/jpeg", "p") for stream in streams]
    parts += [Part(streams[n], "image/jpeg", f"q/frames/{n + 1}") for n in (2, 0, 1)]
    assert_stored(send(peer, json_part(same, numbered), *parts), same, numbered)
    accept = f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}'
    for dataset in (same, numbered):
        assert [part.body for part in peer.parts(path_of(dataset) + "/frames/1,2,3", accept)] == streams
        assert integer(peer.metadata(path_of(dataset))[0], "00280008") == 3


@pytest.mark.proves("STO-034")
@pytest.mark.parametrize("said", [{"_00280010": number(20)}, {"_00280011": number(31)}, {"_00280002": number(1)}])
def test_description_that_contradicts_the_image(peer: Peer, maker: Maker, said: dict[str, Json]) -> None:
    dataset = metadata(maker, "contradiction", _7FE00010=reference("p"), **said)
    answer = send(peer, json_part(dataset), Part(jpeg(picture(maker, 21, 30)), "image/jpeg", "p"))
    assert_refused(peer, answer, dataset, 0xA900)


@pytest.mark.proves("STO-035")
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P", "1", "RGBA", "LA"])
def test_png_is_stored_without_loss(peer: Peer, maker: Maker, mode: str) -> None:
    if mode == "I;16":
        image = Image.frombytes("I;16", (7, 5), maker.uids.bytes(70))
    elif mode == "P":
        image = picture(maker, 5, 7).convert("P", palette=Image.Palette.ADAPTIVE)
    else:
        image = picture(maker, 5, 7).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.frombytes("L", (7, 5), maker.uids.bytes(35)))
    dataset = metadata(maker, "png", _7FE00010=reference("p"))
    assert_stored(send(peer, json_part(dataset), Part(encoded(image, "PNG"), "image/png", "p")), dataset)
    opaque = image.convert({"P": "RGB", "1": "L", "RGBA": "RGB", "LA": "L"}.get(mode, mode))
    assert native_frames(peer, dataset) == [opaque.tobytes()]
    (read,) = peer.metadata(path_of(dataset))
    assert first(read, "00280004") == ("RGB" if opaque.mode == "RGB" else "MONOCHROME2")
    assert first(read, "00280100") == (16 if mode == "I;16" else 8)
    assert "00282110" not in read


@pytest.mark.proves("STO-035")
@pytest.mark.parametrize("count", [1, 4])
def test_gif_is_stored_without_loss(peer: Peer, maker: Maker, count: int) -> None:
    frames = [picture(maker, 9, 12).quantize(64) for _ in range(count)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)
    dataset = metadata(maker, "gif", _7FE00010=reference("p"))
    assert_stored(send(peer, json_part(dataset), Part(data, "image/gif", "p")), dataset)
    listed = ",".join(str(number) for number in range(1, count + 1))
    assert native_frames(peer, dataset, listed) == [frame.convert("RGB").tobytes() for frame in frames]
    assert integer(peer.metadata(path_of(dataset))[0], "00280008") == (count if count > 1 else None)


@pytest.mark.proves("STO-036")
@pytest.mark.parametrize(
    ("kind", "stream", "syntax"),
    [("video/mp4", mp4(frames=9), "1.2.840.10008.1.2.4.102"), ("video/mpeg", mpeg_2(frames=9), "1.2.840.10008.1.2.4.100")],
    ids=["mp4", "mpeg"],
)  # fmt: skip
def test_video_is_stored_unchanged(peer: Peer, maker: Maker, kind: str, stream: bytes, syntax: str) -> None:
    stream += b"\0" * (len(stream) % 2)
    dataset = metadata(maker, "video", VIDEO_ENDOSCOPIC, _7FE00010=reference("v"))
    assert_stored(send(peer, json_part(dataset), Part(stream, kind, "v")), dataset)
    (read,) = peer.metadata(path_of(dataset))
    assert (first(read, "00280010"), first(read, "00280011"), integer(read, "00280008")) == (240, 320, 9)
    file = file_of(peer, dataset)
    assert file.file_meta.TransferSyntaxUID == syntax
    fragment = file.PixelData[16 : 16 + len(stream)]
    assert hashlib.sha256(fragment).hexdigest() == hashlib.sha256(stream).hexdigest()
    response = peer.get(path_of(dataset) + "/bulkdata/7FE00010", f"{kind}; transfer-syntax={syntax}")
    assert response.status_code == 200
    assert media_type(response.headers["content-type"])[0] == kind
    assert hashlib.sha256(response.content).hexdigest() == hashlib.sha256(stream).hexdigest()


@pytest.mark.proves("STO-037")
@pytest.mark.parametrize(("length", "said"), [(1000, "application/pdf"), (1001, None)])
def test_document_as_a_part_of_its_own_type(peer: Peer, maker: Maker, length: int, said: str | None) -> None:
    document = b"%PDF-1.4\n" + maker.uids.bytes(length - 9)
    dataset = metadata(maker, "pdf", ENCAPSULATED_PDF, _00420011=reference("doc"))
    if said:
        dataset["00420012"] = {"vr": "LO", "Value": [said]}
    assert_stored(send(peer, json_part(dataset), Part(document, "application/pdf", "doc")), dataset)
    file = file_of(peer, dataset)
    assert file.EncapsulatedDocument == document + b"\0" * (length % 2)
    assert file.MIMETypeOfEncapsulatedDocument == "application/pdf"
    if length % 2:
        assert file.EncapsulatedDocumentLength == length
    other = metadata(maker, "not-pdf", ENCAPSULATED_PDF, _00420011=reference("doc"))
    other["00420012"] = {"vr": "LO", "Value": ["text/xml"]}
    assert_refused(peer, send(peer, json_part(other), Part(document, "application/pdf", "doc")), other, 0xA900)


@pytest.mark.proves("STO-023", "STO-038")
def test_group_2_and_group_lengths_are_left_out_and_told(peer: Peer, maker: Maker) -> None:
    dataset = metadata(maker, "group-2", **grey(4, 6), _7FE00010=reference("p"))
    superfluous: Json = {
        "00020002": {"vr": "UI", "Value": ["1.2.3"]},
        "00020010": {"vr": "UI", "Value": ["1.2.840.10008.1.2.4.90"]},
        "00080000": {"vr": "UL", "Value": [200]},
    }
    answer = send(peer, json_part(superfluous | dataset), Part(bytes(24), OCTETS, "p"))
    assert answer.status_code == 202
    assert warnings(answer) == [0xB006]
    file = file_of(peer, dataset)
    assert file.file_meta.TransferSyntaxUID == EXPLICIT
    assert file.file_meta.MediaStorageSOPClassUID == SECONDARY_CAPTURE
    assert not [tag for tag in peer.metadata(path_of(dataset))[0] if tag.startswith("0002") or tag.endswith("0000")]


@pytest.mark.proves("STO-022", "STO-025")
def test_what_is_corrected_is_kept_as_it_was(peer: Peer, maker: Maker) -> None:
    """The sender calls the stream of a JPEG RGB and lossless; it is YCbCr, and lossy."""
    dataset = metadata(maker, "coerced", _7FE00010=reference("p"), _00280004=code("RGB"), _00282110=code("00"))
    answer = send(peer, json_part(dataset), Part(jpeg(picture(maker, 16, 16), subsampling=1), "image/jpeg", "p"))
    assert answer.status_code == 202
    assert warnings(answer) == [0xB000]
    (read,) = peer.metadata(path_of(dataset))
    assert (first(read, "00280004"), first(read, "00282110")) == ("YBR_FULL_422", "01")
    (answered,) = values(answer.json(), REFERENCED)
    for kept in (first(read, ORIGINAL_ATTRIBUTES), first(answered, ORIGINAL_ATTRIBUTES)):
        assert first(kept, "04000550") == {"00280004": code("RGB"), "00282110": code("00")}
        assert first(kept, "04000565") in ("COERCE", "CORRECT")
        assert first(kept, "04000562")
        assert first(kept, "04000563")
    assert (
        file_of(peer, dataset).OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PhotometricInterpretation
        == "RGB"
    )


@pytest.mark.proves("STO-024")
@pytest.mark.parametrize("missing", ["00280002", "00280004", "00280101", "00280102", "00280103"])
def test_pixels_without_their_whole_description(peer: Peer, maker: Maker, missing: str) -> None:
    """Type 1 in every image (PS3.3 C.7.6.3): stored, as metadata or as a file, and told."""
    description = grey(4, 6)
    del description[f"_{missing}"]
    dataset = metadata(maker, "incomplete", **description, _7FE00010=reference("p"))
    answer = send(peer, json_part(dataset), Part(bytes(24), OCTETS, "p"))
    assert answer.status_code == 202
    assert warnings(answer) == [0xB007]
    assert missing not in peer.metadata(path_of(dataset))[0]
    item = maker.single("incomplete-file", maker.image(4, 6))
    lacking = maker.item("f", {tag: value for tag, value in item.dataset.items() if tag != int(missing, 16)})
    answer = peer.store([lacking.data])
    assert answer.status_code == 202
    assert warnings(answer) == [0xB007]
    assert peer.parts(lacking.path, DICOM_MULTIPART + "; transfer-syntax=*")[0].body == lacking.data


@pytest.mark.proves("STO-016")
def test_directory_as_metadata(peer: Peer, maker: Maker) -> None:
    dataset = metadata(maker, "directory", "1.2.840.10008.1.3.10")
    assert_refused(peer, send(peer, json_part(dataset)), dataset, 0x0122)


@pytest.mark.proves("STO-018")
@pytest.mark.parametrize("uri", ["missing", "http://127.0.0.1:9/fetch-me", "file:///etc/hostname"])
def test_bulkdata_that_did_not_come(peer: Peer, maker: Maker, uri: str) -> None:
    """A failure of processing, not of the data set: whatever it names, nothing is fetched."""
    dataset = metadata(maker, "missing", _7FE00010=reference(uri))
    good = metadata(maker, "there", **grey(4, 6), _7FE00010=reference("p"))
    assert_refused(peer, send(peer, json_part(dataset)), dataset, 0x0110)
    answer = send(peer, json_part(dataset, good), Part(bytes(24), OCTETS, "p"))
    assert answer.status_code == 202
    assert stored(answer.json()) == {instance_of(good)}
    assert reasons(answer.json()) == [0x0110]


def test_bulkdata_that_nobody_asked_for(peer: Peer, maker: Maker) -> None:
    dataset = metadata(maker, "extra", **grey(4, 6), _7FE00010=reference("p"))
    parts = (Part(bytes(24), OCTETS, "p"), Part(b"?", OCTETS, "q"), Part(b"?", OCTETS))
    answer = send(peer, json_part(dataset), *parts)
    assert answer.status_code == 202
    assert stored(answer.json()) == {instance_of(dataset)}
    assert len(values(answer.json(), OTHER_FAILURES)) == 2
    assert all(is_cannot_understand(reason) for reason in reasons(answer.json()))


def test_values_inline_need_no_parts(peer: Peer, maker: Maker) -> None:
    pixels = maker.uids.bytes(24)
    inline: Json = {"vr": "OB", "InlineBinary": base64.b64encode(pixels).decode()}
    for kind, make in ((JSON_TYPE, lambda dataset: json_part(dataset).body), (XML_TYPE, native_xml)):
        dataset = metadata(maker, "inline", **grey(4, 6), _7FE00010=inline)
        assert_stored(
            peer.request("POST", "/studies", accept=JSON_TYPE, headers={"Content-Type": kind}, content=make(dataset)),
            dataset,
        )
        assert native_frames(peer, dataset) == [pixels]


def test_type_of_the_message_may_be_missing(peer: Peer, maker: Maker) -> None:
    for kind in (None, OCTETS, "application/dicom"):
        dataset = metadata(maker, "untyped", **grey(4, 6), _7FE00010=reference("p"))
        answer = send(peer, json_part(dataset), Part(bytes(24), OCTETS, "p"), kind=kind)
        assert_stored(answer, dataset)


def test_study_of_the_path(peer: Peer, maker: Maker) -> None:
    inside, outside = metadata(maker, "inside"), metadata(maker, "outside")
    answer = send(peer, json_part(inside, outside), path=f"/studies/{first(inside, '0020000D')}")
    assert answer.status_code == 202
    assert stored(answer.json()) == {instance_of(inside)}
    assert [first(failure, "00081155") for failure in values(answer.json(), FAILED)] == [instance_of(outside)]


def test_metadata_of_a_stored_instance_stores_it_elsewhere(peer: Peer, maker: Maker) -> None:
    """What one service gives another one takes: metadata and frames, under new names."""
    frames = [jpeg(picture(maker, 16, 24)) for _ in range(3)]
    dataset = metadata(maker, "copied", MULTIFRAME_BYTE_SC, _7FE00010=reference("p"))
    assert_stored(send(peer, json_part(dataset), *(Part(frame, "image/jpeg", "p") for frame in frames)), dataset)
    accept = f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}'
    (copy,) = peer.metadata(path_of(dataset))
    for tag in ("0020000D", "0020000E", "00080018"):
        copy[tag] = {"vr": "UI", "Value": [maker.uids.new()]}
    for resource in ("/frames/1,2,3", "/bulkdata/7FE00010"):
        received = peer.parts(path_of(dataset) + resource, accept)
        assert len(received) == 3
        parts = [Part(part.body, part.headers["content-type"], part.location) for part in received]
        assert_stored(send(peer, json_part(copy), *parts), copy)
        assert [part.body for part in peer.parts(path_of(copy) + "/frames/1,2,3", accept)] == frames


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><NativeDicomModel>&b;</NativeDicomModel>'


@pytest.mark.parametrize(
    "document",
    [b"", b"[", b"x{}", b"null", b"[]", b"\xff\xfe[", b'[{"00100010":NaN}]', b"[" * 50_000, b'[{"a":' * 20_000],
)
def test_json_that_is_broken(peer: Peer, document: bytes) -> None:
    answer = send(peer, Part(document, JSON_TYPE), Part(b"x", OCTETS, "p"))
    assert answer.status_code == 400, answer.text[:300]
    assert answer.text


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<",
        b"<NativeDicomModel>",
        b"<html/>",
        BOMB.encode(),
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><NativeDicomModel/>',
        b'<DicomAttribute tag="00100010"/>',
        b"<NativeDicomModel>" + b'<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 5000,
    ],
)
def test_xml_that_is_broken(peer: Peer, document: bytes) -> None:
    """Bad syntax and nothing stored: 400, as for JSON (PS3.18 Table 10.5.3-1)."""
    answer = send(peer, Part(document, XML_TYPE), kind=XML_TYPE)
    assert answer.status_code == 400, answer.text[:300]
    assert answer.text


def test_xml_that_is_broken_beside_others(peer: Peer, maker: Maker) -> None:
    good = metadata(maker, "beside")
    answer = send(peer, Part(b"<", XML_TYPE), xml_part(good), kind=XML_TYPE)
    assert answer.status_code == 202
    assert all(is_cannot_understand(reason) for reason in reasons(answer.json()))
    assert len(reasons(answer.json())) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"00100020": "text"},
        {"00100020": {"vr": "LO", "Value": "text"}},
        {"00100020": {"vr": "ZZ", "Value": ["text"]}},
        {"00280010": {"vr": "US", "Value": [70_000]}},
        {"00280010": {"vr": "US", "Value": ["many"]}},
        {"PatientID": {"vr": "LO", "Value": ["x"]}},
        {"7FE00010": {"vr": "OB", "InlineBinary": "not base64!"}},
        {"00081140": {"vr": "SQ", "Value": ["item"]}},
    ],
)
def test_attributes_that_are_broken(peer: Peer, maker: Maker, change: Json) -> None:
    dataset = metadata(maker, "broken") | change
    good = metadata(maker, "whole")
    answer = send(peer, json_part(dataset, good))
    assert answer.status_code == 202
    assert stored(answer.json()) == {instance_of(good)}
    assert [first(failure, "00081155") for failure in values(answer.json(), FAILED)] == [instance_of(dataset)]
    assert all(is_cannot_understand(reason) for reason in reasons(answer.json()))
    assert peer.get(path_of(dataset)).status_code == 404


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image/jpeg", b"\xff\xd8\xff\xe0"),
        ("image/jpeg", b"\x89PNG\r\n\x1a\n"),
        ("image/png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x02\0\0\0"),
        ("image/gif", b"GIF89a\xff\xff\xff\xff\0\0\0," + bytes(11)),
        ("image/jp2", b"\xff\x4f\xff\x51" + bytes(60)),
        ("image/jxl", b"\xff\x0a"),
        ("video/mp4", b"\0\0\0\x10ftypisom\0\0\0\0"),
        ("video/mpeg", b"\0\0\1\xb3"),
        ("image/tiff", b"II*\0"),
        ("text/html", b"<html>"),
        ("image/jpeg", b""),
    ],
)
def test_pixels_that_are_broken(peer: Peer, maker: Maker, kind: str, data: bytes) -> None:
    dataset = metadata(maker, "pixels", _7FE00010=reference("p"))
    answer = send(peer, json_part(dataset), Part(data, kind, "p"))
    assert answer.status_code == 409
    assert all(is_cannot_understand(reason) for reason in reasons(answer.json()))
    assert peer.get(path_of(dataset)).status_code == 404


@pytest.mark.parametrize(
    ("syntax", "reason"), [("1.2.3.4", 0xC122), ("1.2.840.10008.1.2.7.1", 0xC122), ("1.2.840.10008.1.2.4.90", 0xA900)]
)
def test_transfer_syntax_of_a_part(peer: Peer, maker: Maker, syntax: str, reason: int) -> None:
    dataset = metadata(maker, "syntax", _7FE00010=reference("p"))
    part = Part(jpeg(picture(maker, 8, 8)), f"image/jpeg; transfer-syntax={syntax}", "p")
    assert_refused(peer, send(peer, json_part(dataset), part), dataset, reason)


def test_cut_off_message(peer: Peer, maker: Maker) -> None:
    """The part that was cut off is not used; what is whole is kept."""
    whole = metadata(maker, "whole", **grey(4, 6), _7FE00010=reference("p"))
    cut = metadata(maker, "cut", **grey(4, 6), _7FE00010=reference("q"))
    answer = send(peer, json_part(whole, cut), Part(bytes(24), OCTETS, "p"), Part(bytes(24), OCTETS, "q"), cut=60)
    assert answer.status_code == 202
    assert stored(answer.json()) == {instance_of(whole)}
    assert peer.get(path_of(cut)).status_code == 404
    metadata_only = send(peer, json_part(whole), cut=80)
    assert metadata_only.status_code == 400


def test_metadata_that_is_too_large(peer: Peer, maker: Maker) -> None:
    dataset = metadata(maker, "large", _00104000={"vr": "LT", "Value": ["x" * (65 << 20)]})
    assert send(peer, json_part(dataset)).status_code == 413
    assert peer.get(path_of(dataset)).status_code == 404


@pytest.mark.needs("settings")
def test_nothing_is_left_behind(
    gantry: Callable[..., Peer], maker: Maker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No spool file outlives its request, whatever came of it."""
    folder: Path = tmp_path_factory.mktemp("blobs")
    server = gantry(blob_url=str(folder))
    good = metadata(maker, "left", **grey(1000, 2000), _7FE00010=reference("p"))
    missing = metadata(maker, "left", _7FE00010=reference("q"))
    pixels = Part(maker.uids.bytes(2_000_000), OCTETS, "p")
    assert send(server, json_part(good), pixels).status_code == 200
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(before) == 1
    assert send(server, json_part(missing), pixels).status_code == 409
    assert send(server, Part(b"[", JSON_TYPE), pixels).status_code == 400
    assert send(server, pixels).status_code == 400
    assert send(server, json_part(good), pixels, cut=100_000).status_code == 409
    assert send(server, json_part(good), pixels).status_code == 200
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before


def test_boundary_inside_of_bulkdata(peer: Peer, maker: Maker) -> None:
    """Bulkdata is binary: it may hold what looks like a delimiter of another message."""
    pixels = (b"\r\n--conformance\r\n\r\n" + maker.uids.bytes(24))[:24]
    dataset = metadata(maker, "boundary", **grey(4, 6), _7FE00010=reference("p"))
    body = multipart([json_part(dataset), Part(pixels, OCTETS, "p")], "conformance-2")
    headers = {"Content-Type": f'multipart/related; type="{JSON_TYPE}"; boundary=conformance-2'}
    assert_stored(peer.request("POST", "/studies", accept=JSON_TYPE, headers=headers, content=body), dataset)
    assert native_frames(peer, dataset) == [pixels]
