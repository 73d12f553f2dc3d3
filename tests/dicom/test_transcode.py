"""Plans of whole instances: header, pixel data element, limits. Real files: test_transcode_corpus.py."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.dicom.file_meta import read_file_meta
from app.dicom.header import parse_instance
from app.dicom.instance import PixelData
from app.dicom.layout import ImagePixel, InstanceLayout
from app.dicom.transcode import (
    Copy,
    DecodedFrames,
    Literal,
    Swap,
    plan_explicit_vr_little_endian,
)
from app.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_IMAGE_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    RLE_LOSSLESS,
)
from app.errors import CodecError, MalformedDicom, TooLarge, TruncatedDicom, UnsupportedTransferSyntax
from tests.dicom.conversion import convert, plan_of
from tests.dicom.encoded import JPEG_BASELINE, JPEG_LS, encode_rle, picture
from tests.dicom.native_images import concatenate_bits
from tests.support.dicom_bytes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    element,
    elements_of,
    encapsulated,
    extended_offset_table,
    file_meta,
    make_instance,
    part10,
    pixel_data,
    sequence,
)

VIDEO = "1.2.840.10008.1.2.4.102"


def image(rows: int, columns: int, bits: int = 8, *, samples: int = 1, frames: int = 1) -> ImagePixel:
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    return ImagePixel(rows, columns, samples, photometric, 0, bits, bits, bits - 1, 0, frames)


def read(data: bytes) -> Dataset:
    dataset = dcmread(io.BytesIO(data))
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
    return dataset


# The element around native pixel data


def test_what_is_explicit_vr_little_endian_is_copied_whole() -> None:
    data = make_instance() + b"\0\0"
    assert plan_of(data, parse_instance(data)).segments == (Copy(0, len(data)),)
    assert convert(data) == data


@pytest.mark.parametrize(("bits", "width"), [(8, 2), (16, 2), (32, 4)])
def test_big_endian_words_are_swapped_without_being_read(bits: int, width: int) -> None:
    values = np.arange(12, dtype=f"u{bits // 8}").reshape(3, 4) + (1 << bits - 2)
    stored = values.astype(f"<u{bits // 8}").tobytes()
    big = values.astype(f">u{bits // 8}").tobytes()
    if bits == 8:
        big = np.frombuffer(stored, "<u2").byteswap().tobytes()
    options = {"rows": 3, "columns": 4, "BitsAllocated": bits}
    data = make_instance(transfer_syntax=BIG_ENDIAN, pixel_bytes=b"", **options)
    data = data[: -len(pixel_data(b"", BIG_ENDIAN))] + pixel_data(big, BIG_ENDIAN, vr="OW")
    plan = plan_of(data, parse_instance(data))
    assert plan.segments[1] == Swap(len(data) - len(big), len(big), width)
    assert read(convert(data)).PixelData == stored


def test_big_endian_bytes_are_copied() -> None:
    data = make_instance(transfer_syntax=BIG_ENDIAN, rows=2, columns=5)
    plan = plan_of(data, parse_instance(data))
    assert isinstance(plan.segments[1], Copy)
    assert read(convert(data))["PixelData"].VR == "OB"


@pytest.mark.parametrize(
    ("keyword", "tag", "vr", "bits"),
    [("FloatPixelData", 0x7FE00008, "OF", 32), ("DoubleFloatPixelData", 0x7FE00009, "OD", 64)],
)
def test_floating_point_pixel_data_is_swapped_by_its_own_words(keyword: str, tag: int, vr: str, bits: int) -> None:
    values = np.arange(6, dtype=f">f{bits // 8}")
    dataset = elements_of({"SOPInstanceUID": "1.2", "Rows": 2, "Columns": 3, "BitsAllocated": bits}, BIG_ENDIAN)
    data = part10(dataset + element(tag, vr, values.tobytes(), BIG_ENDIAN), BIG_ENDIAN)
    assert read(convert(data))[keyword].value == values.astype(f"<f{bits // 8}").tobytes()


def test_two_gigabytes_of_pixels_are_a_range() -> None:
    length = 3_000_000_000
    start = make_instance(transfer_syntax=BIG_ENDIAN, rows=60000, columns=25000, pixel_bytes=b"", BitsAllocated=16)
    tail = element(0xFFFCFFFC, "OB", b"\0\0", BIG_ENDIAN)
    pixels = PixelData("PixelData", "OW", len(start), length, len(start) + length)
    layout = InstanceLayout(parse_instance(make_instance()).dataset_offset, pixels, image(60000, 25000, 16))
    dataset_offset = 132 + len(file_meta(BIG_ENDIAN, read_file_meta(start).media_storage_sop_instance_uid))
    layout = InstanceLayout(dataset_offset, pixels, layout.image)
    plan = plan_explicit_vr_little_endian(start, layout, BIG_ENDIAN, tail, size=pixels.end + len(tail))
    kinds = [type(segment) for segment in plan.segments]
    assert kinds == [Literal, Swap, Literal]
    assert plan.segments[1] == Swap(len(start), length, 2)
    assert plan.segments[2] == Literal(element(0xFFFCFFFC, "OB", b"\0\0"))
    assert plan.length == sum(segment.length for segment in plan.segments) > length


def test_pixel_data_of_odd_length_is_padded() -> None:
    dataset = elements_of({"SOPInstanceUID": "1.2", "Rows": 1, "Columns": 3, "BitsAllocated": 8}, IMPLICIT)
    head = part10(dataset, IMPLICIT) + struct.pack("<HHI", 0x7FE0, 0x10, 3)
    pixels = PixelData("PixelData", "OW", len(head), 3, len(head) + 3)
    offset = 132 + len(file_meta(IMPLICIT, "1.2.3.4"))
    plan = plan_explicit_vr_little_endian(
        head, InstanceLayout(offset, pixels, image(1, 3)), IMPLICIT, size=len(head) + 3
    )
    assert plan.segments[1:] == (Copy(len(head), 3), Literal(b"\0"))
    first = plan.segments[0]
    assert isinstance(first, Literal)
    assert first.data.endswith(b"\xe0\x7f\x10\x00OW\0\0\x04\0\0\0")


def test_pixel_data_beyond_the_file_is_refused() -> None:
    data = make_instance(transfer_syntax=IMPLICIT)
    parsed = parse_instance(data)
    assert parsed.pixel_data is not None
    pixels = PixelData("PixelData", "OW", parsed.pixel_data.offset, 5000, parsed.pixel_data.offset + 5000)
    layout = InstanceLayout(parsed.dataset_offset, pixels, image(4, 4))
    with pytest.raises(TruncatedDicom):
        plan_explicit_vr_little_endian(data[: pixels.offset], layout, IMPLICIT, size=len(data))


# Encapsulated pixel data


def jpeg_instance(**attributes: object) -> bytes:
    frames = [imagecodecs.jpeg8_encode(picture(8, (5, 7, 3)) // (1 + k), 98, subsampling="444") for k in range(3)]
    return make_instance(
        transfer_syntax=JPEG_BASELINE,
        rows=5,
        columns=7,
        frames=3,
        pixel_bytes=frames,
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
        LossyImageCompression="01",
        LossyImageCompressionMethod="ISO_10918_1",
        **attributes,
    )


@pytest.mark.parametrize("planar", [{}, {"PlanarConfiguration": 0}, {"PlanarConfiguration": 1}])
def test_decompression_changes_what_describes_the_pixels(planar: dict[str, int]) -> None:
    data = jpeg_instance(**planar)
    plan = plan_of(data, parse_instance(data))
    assert [type(segment) for segment in plan.segments] == [Literal, DecodedFrames, Literal]
    assert plan.segments[1:] == (DecodedFrames(3, 5 * 7 * 3 * 8), Literal(b"\0"))
    before, after = dcmread(io.BytesIO(data)), read(convert(data))
    assert (after.PhotometricInterpretation, after.PlanarConfiguration) == ("RGB", 0)
    assert after["PixelData"].VR == "OB"
    assert len(after.PixelData) == 5 * 7 * 3 * 3 + 1
    assert after.LossyImageCompression == "01"
    assert after.LossyImageCompressionMethod == "ISO_10918_1"
    assert after.SOPInstanceUID == before.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
    assert [e.tag for e in after] == sorted(e.tag for e in after)
    expected = [picture(8, (5, 7, 3)) // (1 + k) for k in range(3)]
    assert np.abs(after.pixel_array.astype(int) - expected).max() < 15


def test_the_extended_offset_table_goes() -> None:
    frames = [encode_rle(picture(16, (4, 4))), encode_rle(picture(16, (4, 4)) >> 1)]
    attributes = {"SOPInstanceUID": "1.2", "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME1"}
    attributes |= {"NumberOfFrames": "2", "Rows": 4, "Columns": 4, "BitsAllocated": 16, "BitsStored": 16}
    attributes |= {"HighBit": 15, "PixelRepresentation": 0}
    dataset = elements_of(attributes) + extended_offset_table(frames)
    dataset += element(0x7FE00003, "UV", [sum(map(len, frames))]) + pixel_data(frames)
    after = read(convert(part10(dataset, RLE_LOSSLESS)))
    assert [e.tag for e in after if e.tag.group == 0x7FE0] == [0x7FE00010]
    assert after["PixelData"].VR == "OW"
    assert after.PixelData == picture(16, (4, 4)).tobytes() + (picture(16, (4, 4)) >> 1).tobytes()
    assert "PlanarConfiguration" not in after


def test_frames_of_single_bits_follow_each_other_without_padding() -> None:
    frames = [bytes([0xA5, 0x01]), bytes([0x5A, 0x00]), bytes([0xFF, 0x01])]  # 3 x 3 pixels each
    data = make_instance(
        transfer_syntax=ENCAPSULATED_UNCOMPRESSED, rows=3, columns=3, frames=3, pixel_bytes=frames, BitsAllocated=1
    )
    plan = plan_of(data, parse_instance(data))
    assert plan.segments[1] == DecodedFrames(3, 9)
    assert DecodedFrames(3, 9).is_bit_packed
    after = read(convert(data))
    assert after.PixelData == concatenate_bits(frames, 9)
    assert after.pixel_array.shape == (3, 3, 3)


def test_an_icon_is_decoded_as_well() -> None:
    icon = picture(8, (4, 6, 3), noise=0)
    described = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 1}
    described |= {"Rows": 4, "Columns": 6, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    item = elements_of(described) + pixel_data([imagecodecs.jpeg8_encode(icon, 98, subsampling="444")])
    for undefined in (False, True):
        data = jpeg_instance()
        parsed = parse_instance(data)
        assert parsed.pixel_data is not None
        start = parsed.pixel_data.offset - 12
        icons = sequence(0x00880200, [item], undefined=undefined)
        after = read(convert(data[:start] + icons + data[start:]))
        (result,) = after.IconImageSequence
        assert (result.PhotometricInterpretation, result.PlanarConfiguration) == ("RGB", 0)
        assert result["PixelData"].VR == "OB"
        pixels = np.frombuffer(result.PixelData, "u1").reshape(icon.shape)
        assert np.abs(pixels.astype(int) - icon).max() < 12
        assert after.pixel_array.shape == (3, 5, 7, 3)
    broken = elements_of(described) + pixel_data([b"no JPEG"])
    with pytest.raises(CodecError):
        convert(data[:start] + sequence(0x00880200, [broken]) + data[start:])


def test_a_native_icon_stays() -> None:
    described = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": 1, "Columns": 2}
    item = elements_of(described) + element(0x7FE00010, "OW", b"\1\2")
    data = jpeg_instance()
    parsed = parse_instance(data)
    assert parsed.pixel_data is not None
    start = parsed.pixel_data.offset - 12
    after = read(convert(data[:start] + sequence(0x00880200, [item]) + data[start:]))
    assert after.IconImageSequence[0].PixelData == b"\1\2"


def test_a_compressed_syntax_without_pixel_data_is_only_relabelled() -> None:
    data = make_instance(rows=0, transfer_syntax=JPEG_LS)
    before, after = dcmread(io.BytesIO(data)), read(convert(data))
    assert after == before


# What cannot be had


def test_syntaxes_that_cannot_be_converted() -> None:
    layout = InstanceLayout(0, None, None)
    for uid in (VIDEO, "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.7.1", "1.2.3", DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN):
        with pytest.raises(UnsupportedTransferSyntax):
            plan_explicit_vr_little_endian(b"", layout, uid, size=0)


def test_results_beyond_the_length_field_are_refused() -> None:
    pixels = PixelData("PixelData", "OB", 200, None, 300)
    for rows, frames, fits in ((65534, 1, True), (65535, 2, False), (65535, 40000, False)):
        layout = InstanceLayout(0, pixels, image(rows, 65535 if rows == 65535 else 65534, frames=frames))
        head = elements_of({"SOPInstanceUID": "1.2"})
        if fits:
            plan = plan_explicit_vr_little_endian(head, layout, RLE_LOSSLESS, size=300)
            assert plan.length > 65534 * 65534
            continue
        with pytest.raises(TooLarge):
            plan_explicit_vr_little_endian(head, layout, RLE_LOSSLESS, size=300)
    stored = PixelData("PixelData", "OW", 200, 2**32 - 1, 2**32 + 199)
    with pytest.raises(TooLarge):
        plan_explicit_vr_little_endian(b"", InstanceLayout(0, stored, None), IMPLICIT, size=2**33)


def test_descriptions_that_contradict_the_syntax_are_refused() -> None:
    native, packed = PixelData("PixelData", "OW", 20, 8, 28), PixelData("PixelData", "OB", 20, None, 28)
    with pytest.raises(CodecError):
        plan_explicit_vr_little_endian(b"", InstanceLayout(0, native, image(2, 2)), JPEG_LS, size=28)
    with pytest.raises(MalformedDicom):
        plan_explicit_vr_little_endian(b"", InstanceLayout(0, packed, image(2, 2)), IMPLICIT, size=28)
    with pytest.raises(CodecError):
        plan_explicit_vr_little_endian(b"", InstanceLayout(0, packed, None), JPEG_LS, size=28)
    with pytest.raises(CodecError):
        plan_explicit_vr_little_endian(b"", InstanceLayout(0, packed, image(2, 2, samples=4)), JPEG_LS, size=28)


# File meta information


def test_preamble_and_group_0002_are_kept() -> None:
    preamble = b"II*\0" + bytes(range(124))
    extra = element(0x00020016, "AE", "SENDER") + element(0x00020100, "UI", "1.2.3") + element(0x00020102, "OB", b"ab")
    meta = file_meta(IMPLICIT, "1.2.3.4", extra=extra)
    data = preamble + b"DICM" + meta + elements_of({"SOPInstanceUID": "1.2.3.4"}, IMPLICIT)
    result = convert(data)
    assert result.startswith(preamble + b"DICM")
    expected = file_meta(EXPLICIT, "1.2.3.4", extra=extra)
    assert result[132 : 132 + len(expected)] == expected


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_a_bare_data_set_gets_a_header(syntax: str) -> None:
    data = elements_of({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "1.2.5"}, syntax)
    result = read(convert(data))
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID == "1.2.5"
    assert result.file_meta.MediaStorageSOPClassUID == result.SOPClassUID
    assert result.file_meta.FileMetaInformationVersion == b"\0\1"


def test_a_missing_transfer_syntax_is_put_in_its_place() -> None:
    meta = file_meta(None, "1.2.3.4")
    data = bytes(128) + b"DICM" + meta + elements_of({"SOPInstanceUID": "1.2.3.4", "PatientID": "x"}, IMPLICIT)
    result = convert(data)
    expected = file_meta(EXPLICIT, "1.2.3.4")
    assert result[132 : 132 + len(expected)] == expected
    assert read(result).PatientID == "x"


def test_a_wrong_group_length_is_put_right() -> None:
    data = bytearray(make_instance(transfer_syntax=IMPLICIT))
    data[140:144] = struct.pack("<I", 7)
    result = convert(bytes(data))
    assert result[140:144] != struct.pack("<I", 7)
    assert read(result).Rows == 4


# Deflated


def test_deflated_data_sets_are_written_inflated() -> None:
    data = make_instance(transfer_syntax=DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, PatientName="Bürger")
    plain = make_instance(PatientName="Bürger")
    assert read(convert(data)).PixelData == read(plain).PixelData


def test_deflated_frames_are_not_a_deflated_data_set() -> None:
    frame = bytes(range(16))
    stream = zlib.compress(frame, wbits=-15)
    data = make_instance(transfer_syntax=DEFLATED_IMAGE_FRAME, pixel_bytes=[stream])
    assert read(convert(data)).PixelData == frame


def test_fragments_end_where_they_say() -> None:
    assert encapsulated([b"ab"]).endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
