"""Stored files as rendering gets them: decoded frames, attributes, and the bulkdata that it asks for."""

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.frame_index import frame_count, locate_frames
from app.dicom.header import parse_instance
from app.dicom.instance import INSTANCE_URL_MARK, DicomJson, ParsedInstance
from app.dicom.json_model import to_little_endian
from app.dicom.layout import layout_of
from app.dicom.native_pixels import extract_bits, swap_bytes, swap_width
from app.dicom.rendering import RenderingSource, needed_bulkdata
from app.dicom.transfer_syntaxes import transfer_syntax
from tests.dicom.conversion import packaged_files


@dataclass(slots=True)
class StoredImage:
    """A file whose frames can be rendered."""

    data: bytes
    parsed: ParsedInstance
    attributes: DicomJson

    @property
    def number_of_frames(self) -> int:
        return frame_count(self.parsed.frame_index)

    def source(self, frame_number: int = 1) -> RenderingSource:
        image = layout_of(self.parsed).image
        assert image is not None
        syntax = transfer_syntax(self.parsed.transfer_syntax_uid)
        if syntax.encapsulated:
            image = decoded_image(image, syntax.uid)
        return RenderingSource(
            image, self.attributes, bulk_values(self, needed_bulkdata(self.attributes, frame_number))
        )

    def frame(self, number: int = 1) -> bytes:
        """A native little-endian frame."""
        syntax = transfer_syntax(self.parsed.transfer_syntax_uid)
        (runs,) = locate_frames(self.parsed.frame_index, [number])
        data, image = self.dataset_bytes, layout_of(self.parsed).image
        assert image is not None
        if syntax.encapsulated:
            stream = b"".join(data[offset : offset + length] for offset, length in runs.runs)
            return decode_frame(stream, image, syntax.uid).data
        pixel_data = self.parsed.pixel_data
        assert pixel_data is not None
        if syntax.big_endian:
            end = pixel_data.offset + (pixel_data.length or 0)
            value = swap_bytes(data[pixel_data.offset : end], swap_width(pixel_data.vr, image.bits_allocated))
            data = data[: pixel_data.offset] + value
        ((offset, length),) = runs.runs
        return extract_bits(data[offset : offset + length], runs.first_bit, runs.bit_length)

    @property
    def dataset_bytes(self) -> bytes:
        """What offsets count from: the file, or its inflated data set."""
        if transfer_syntax(self.parsed.transfer_syntax_uid).deflated:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.data[self.parsed.dataset_offset :])
        return self.data


def bulk_values(stored: StoredImage, paths: tuple[str, ...]) -> dict[str, bytes]:
    """Little-endian values of bulkdata."""
    data = stored.dataset_bytes
    big_endian = transfer_syntax(stored.parsed.transfer_syntax_uid).big_endian
    items = {item.path: item for item in stored.parsed.bulkdata}
    values = {}
    for path in paths:
        item = items[path]
        raw = data[item.offset : item.offset + item.length]
        values[path] = to_little_endian(raw, item.vr) if big_endian else raw
    return values


def open_stored(data: bytes) -> StoredImage:
    """As the archive would keep it. Raises DicomError."""
    parsed = parse_instance(data)
    return StoredImage(data, parsed, json.loads(parsed.json.replace(INSTANCE_URL_MARK, b"http://archive")))


def corpus() -> list[Path]:
    """The files of the pydicom package, and those of the folder that GANTRY_TEST_DATA names."""
    folder = os.environ.get("GANTRY_TEST_DATA")
    return [*packaged_files(), *(sorted(Path(folder).rglob("*.dcm")) if folder else [])]
