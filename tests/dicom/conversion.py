"""Stored files with and without their conversion to Explicit VR Little Endian, for tests: all in memory."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pydicom.data

from app.dicom.codecs import decode_frame
from app.dicom.frame_index import locate_frames
from app.dicom.header import parse_instance
from app.dicom.instance import ParsedInstance
from app.dicom.layout import ImagePixel, layout_of
from app.dicom.native_pixels import BitConcatenator, swap_bytes
from app.dicom.transcode import (
    ConversionPlan,
    Copy,
    Literal,
    Swap,
    conversion_plan,
    file_meta_of_result,
    plan_explicit_vr_little_endian,
)
from app.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax

PYDICOM_DATA = Path(pydicom.data.__file__).parent


def packaged_files() -> list[Path]:
    """Every file of the pydicom package that may be DICOM."""
    folders = ("test_files", "charset_files", "palettes")
    return sorted(path for folder in folders for path in (PYDICOM_DATA / folder).rglob("*") if path.is_file())


def plan_of(data: bytes, parsed: ParsedInstance) -> ConversionPlan:
    """The plan of a whole file."""
    layout = layout_of(parsed)
    if transfer_syntax(parsed.transfer_syntax_uid).deflated:
        dataset = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[layout.dataset_offset :])
        return conversion_plan(
            [file_meta_of_result(data[: layout.dataset_offset], {}), dataset], EXPLICIT_VR_LITTLE_ENDIAN
        )
    head = data if layout.pixel_data is None else data[: layout.pixel_data.offset]
    tail = b"" if layout.pixel_data is None else data[layout.pixel_data.end :]
    return plan_explicit_vr_little_endian(head, layout, parsed.transfer_syntax_uid, tail, size=len(data))


def stored_frames(data: bytes, parsed: ParsedInstance, count: int) -> Iterator[bytes]:
    """Codestreams of an encapsulated instance."""
    for runs in locate_frames(parsed.frame_index, range(1, count + 1)):
        yield b"".join(data[offset : offset + length] for offset, length in runs.runs)


def image_of(parsed: ParsedInstance) -> ImagePixel:
    image = layout_of(parsed).image
    assert image is not None
    return image


def execute(plan: ConversionPlan, data: bytes, parsed: ParsedInstance) -> bytes:
    """The result of a plan; asserts that every segment has the length that was announced."""
    result = []
    for segment in plan.segments:
        if isinstance(segment, Literal):
            piece = segment.data
        elif isinstance(segment, Copy):
            piece = data[segment.offset : segment.offset + segment.length]
        elif isinstance(segment, Swap):
            piece = swap_bytes(data[segment.offset : segment.offset + segment.length], segment.width)
        else:
            image = image_of(parsed)
            joined = BitConcatenator()
            frames = [
                decode_frame(frame, image, parsed.transfer_syntax_uid).data
                for frame in stored_frames(data, parsed, segment.count)
            ]
            piece = b"".join([joined.add(frame, segment.frame_bits) for frame in frames] + [joined.end()])
        assert len(piece) == segment.length
        result.append(piece)
    whole = b"".join(result)
    assert len(whole) == plan.length
    return whole


def convert(data: bytes) -> bytes:
    parsed = parse_instance(data)
    return execute(plan_of(data, parsed), data, parsed)
