"""Plans of encapsulated instances: offset tables, header, what a lossy step adds."""

import io
import struct

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from app.dicom.conversion_plan import ConversionPlan, Copy, EncodedFrames, Literal, Swap
from app.dicom.encapsulate import EncapsulatedResult, fragment, offset_tables, plan_encapsulated
from app.dicom.header import parse_instance
from app.dicom.layout import ImagePixel, InstanceLayout, layout_of
from app.dicom.lossy_compression import LossyCompression, derived_uid
from app.dicom.native_pixels import swap_bytes
from app.errors import CodecError, MalformedDicom, TooLarge
from tests.support.dicom_bytes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    element,
    elements_of,
    item,
    make_instance,
    part10,
    pixel_data,
    sequence,
    sequence_delimiter,
)

JPEG_2000 = "1.2.840.10008.1.2.4.90"
JPEG_2000_LOSSY = "1.2.840.10008.1.2.4.91"
FRAMES = (b"codestream 1", b"another one", b"3")


def planned(
    data: bytes, frames: tuple[bytes, ...] = FRAMES, *, lossy: bool = False, target: str = JPEG_2000
) -> tuple[ConversionPlan, bytes]:
    """The plan for `data`, and the file that it makes of `frames`."""
    parsed = parse_instance(data)
    layout = layout_of(parsed)
    assert layout.pixel_data is not None
    assert layout.image is not None
    step = None
    if lossy:
        target = JPEG_2000_LOSSY
        step = LossyCompression(target, parsed.text("00080016"), parsed.text("00080018"), "d1", 12.345678, True)
    result = EncapsulatedResult(target, layout.image, [len(frame) for frame in frames], step)
    head, tail = data[: layout.pixel_data.offset], data[layout.pixel_data.end :]
    plan = plan_encapsulated(head, layout, parsed.transfer_syntax_uid, tail, result)
    written = b""
    for segment in plan.segments:
        if isinstance(segment, Literal):
            written += segment.data
        elif isinstance(segment, EncodedFrames):
            pieces = b"".join(before + frame + after for frame in frames for before, after in [fragment(frame)])
            assert len(pieces) == segment.length
            written += pieces
        elif isinstance(segment, Copy):
            written += data[segment.offset : segment.offset + segment.length]
        else:
            assert isinstance(segment, Swap)
            written += swap_bytes(data[segment.offset : segment.offset + segment.length], segment.width)
    assert len(written) == plan.length
    return plan, written


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_everything_but_the_pixel_data_is_as_it_was(syntax: str) -> None:
    data = make_instance(
        transfer_syntax=syntax,
        frames=3,
        BitsAllocated=16,
        PatientName="Doe^Jane",
        SmallestImagePixelValue=3,
        RedPaletteColorLookupTableData=bytes(100_000),
        ReferencedImageSequence=[{"ReferencedSOPInstanceUID": "1.2.3"}],
    ) + element(0xFFFCFFFC, "OB", b"padding!", syntax)
    before, after = read(data), read(planned(data)[1])
    assert after.file_meta.TransferSyntaxUID == JPEG_2000
    assert after.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID
    for one in before:
        if one.keyword != "PixelData":
            assert after[one.tag] == one
    assert set(after.keys()) == set(before.keys())
    assert after["PixelData"].VR == "OB"
    assert after["PixelData"].is_undefined_length


def test_fragments_are_even_and_the_table_says_where_they_are() -> None:
    value = read(planned(make_instance(frames=3))[1]).PixelData
    assert struct.unpack_from("<HHI3I", value) == (0xFFFE, 0xE000, 12, 0, 20, 40)
    assert value[20:] == item(b"codestream 1") + item(b"another one\0") + item(b"3\0")


def test_large_values_are_ranges_of_the_stored_file() -> None:
    plan, _ = planned(make_instance(frames=3, RedPaletteColorLookupTableData=bytes(200_000)))
    assert any(isinstance(segment, Copy) and segment.length == 200_000 for segment in plan.segments)


def test_an_extended_table_comes_when_offsets_do_not_fit() -> None:
    quarter = 1 << 30
    tables, basic = offset_tables([quarter] * 4)
    assert tables == {}
    assert struct.unpack("<4I", basic) == tuple(number * (quarter + 8) for number in range(4))
    sizes = [quarter, quarter + 1, quarter, quarter, 7]
    tables, basic = offset_tables(sizes)
    assert basic == b""  # PS3.5 A.4: empty when there is an extended one
    offsets = [0, quarter + 8, 2 * quarter + 18, 3 * quarter + 26, 4 * quarter + 34]
    assert tables[0x7FE00001] == element(0x7FE00001, "OV", offsets)
    assert tables[0x7FE00002] == element(0x7FE00002, "OV", sizes)
    assert offset_tables([]) == ({}, b"")
    with pytest.raises(TooLarge):
        offset_tables([0xFFFFFFFE])


def test_stored_tables_of_other_frames_are_left_out() -> None:
    stored = make_instance(transfer_syntax="1.2.840.10008.1.2.5", frames=3)
    table = element(0x7FE00001, "OV", [0, 1, 2]) + element(0x7FE00002, "OV", [1, 1, 1])
    parsed = parse_instance(stored)
    assert parsed.pixel_data is not None
    position = parsed.pixel_data.offset - 12
    data = stored[:position] + table + stored[position:]
    after = read(planned(data)[1])
    assert "ExtendedOffsetTable" not in after
    assert "ExtendedOffsetTableLengths" not in after


def test_an_instance_without_image_has_no_plan() -> None:
    layout = InstanceLayout(132, None, None)
    result = EncapsulatedResult(JPEG_2000, ImagePixel(1, 1, 1, "MONOCHROME2", 0, 8, 8, 7, 0, 1), [1])
    with pytest.raises(CodecError):
        plan_encapsulated(b"", layout, EXPLICIT, b"", result)


# A lossy step


def test_a_lossy_step_is_told() -> None:
    data = make_instance(frames=3, ImageType=["ORIGINAL", "SECONDARY"])
    before, after = read(data), read(planned(data, lossy=True)[1])
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID == derived_uid("d1", JPEG_2000_LOSSY)
    assert list(after.ImageType) == ["DERIVED", "SECONDARY"]
    assert after.LossyImageCompression == "01"
    assert str(after["LossyImageCompressionRatio"].value) == "12.35"
    assert after.LossyImageCompressionMethod == "ISO_15444_1"
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert after.SeriesInstanceUID == before.SeriesInstanceUID
    tags = [one.tag for one in after]
    assert tags == sorted(tags)


def test_an_image_type_is_made_where_there_is_none() -> None:
    after = read(planned(make_instance(frames=3), lossy=True)[1])
    assert list(after.ImageType) == ["DERIVED", "PRIMARY"]


def test_a_description_that_is_there_stays() -> None:
    data = make_instance(frames=3, DerivationDescription="Made by hand")
    assert read(planned(data, lossy=True)[1]).DerivationDescription == "Made by hand"


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("undefined", [False, True])
def test_sources_are_added_to_those_that_are_there(syntax: str, undefined: bool) -> None:
    known = elements_of({"ReferencedSOPClassUID": "1.2.3", "ReferencedSOPInstanceUID": "1.2.3.4"}, syntax)
    data = with_sequence(sequence(0x00082112, [known, known], syntax, undefined=undefined), syntax)
    after = read(planned(data, (b"x",), lossy=True)[1])
    assert [one.ReferencedSOPInstanceUID for one in after.SourceImageSequence] == ["1.2.3.4", "1.2.3.4", "1.2.9"]


def test_an_empty_sequence_of_sources_is_filled() -> None:
    for stored in (sequence(0x00082112, []), sequence(0x00082112, [], undefined=True)):
        after = read(planned(with_sequence(stored), (b"x",), lossy=True)[1])
        assert [one.ReferencedSOPInstanceUID for one in after.SourceImageSequence] == ["1.2.9"]


def test_a_source_sequence_of_unknown_form_is_replaced() -> None:
    data = with_sequence(element(0x00082112, "LO", "nonsense"))
    after = read(planned(data, (b"x",), lossy=True)[1])
    assert [one.ReferencedSOPInstanceUID for one in after.SourceImageSequence] == ["1.2.9"]


def test_a_source_sequence_of_megabytes_is_refused() -> None:
    big = element(0x00082112, "UN", bytes(100_000))
    with pytest.raises(MalformedDicom):
        planned(with_sequence(big), (b"x",), lossy=True)


def test_the_predecessor_of_a_lossy_image_is_not_called_uncompressed() -> None:
    data = make_instance(frames=3)
    layout = layout_of(parse_instance(data))
    assert layout.image is not None
    assert layout.pixel_data is not None
    step = LossyCompression(JPEG_2000_LOSSY, "1.2", "1.2.9", "d1", 2000.4, False)
    result = EncapsulatedResult(JPEG_2000_LOSSY, layout.image, [1, 1, 1], step)
    plan = plan_encapsulated(data[: layout.pixel_data.offset], layout, EXPLICIT, b"", result)
    first = plan.segments[0]
    assert isinstance(first, Literal)
    dataset = dcmread(io.BytesIO(first.data), stop_before_pixels=True)
    assert "PurposeOfReferenceCodeSequence" not in dataset.SourceImageSequence[0]
    assert str(dataset["LossyImageCompressionRatio"].value) == "2000"


def with_sequence(stored: bytes, syntax: str = EXPLICIT) -> bytes:
    """A small image with (0008,2112) as given."""
    before = elements_of({"SOPClassUID": "1.2", "SOPInstanceUID": "1.2.9"}, syntax)
    after = elements_of(
        {
            "StudyInstanceUID": "1.2.7",
            "SeriesInstanceUID": "1.2.8",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": 2,
            "Columns": 2,
            "BitsAllocated": 8,
            "BitsStored": 8,
            "HighBit": 7,
            "PixelRepresentation": 0,
        },
        syntax,
    )
    pixels = pixel_data(bytes(4), syntax, vr="OW" if syntax == IMPLICIT else "OB")
    return part10(before + stored + after + pixels, syntax, sop_instance="1.2.9")


def test_delimiters_are_where_they_belong() -> None:
    _, written = planned(make_instance(frames=3))
    assert written.endswith(item(b"3\0") + sequence_delimiter())
    assert struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED) in written
