"""What rendering needs to know of an image: its decoded description, its attributes, and the values outside of those."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.dicom.instance import DicomJson
from app.dicom.layout import ImagePixel
from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.functional_groups import (
    PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
    SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
)

_FLOAT_PIXEL_DATA, _DOUBLE_FLOAT_PIXEL_DATA = "7FE00008", "7FE00009"

# Values that rendering reads; each may be long enough to stand outside of the metadata.
_PALETTES = tuple(f"002812{number:02X}" for number in (0x01, 0x02, 0x03, 0x21, 0x22, 0x23))
_OVERLAYS = tuple(f"60{group:02X}3000" for group in range(0, 32, 2))
_VALUES = frozenset(
    ("00283006", "00281050", "00281051", "00282000", "00181620", "00700006", "00700022", *_PALETTES, *_OVERLAYS)
)
# Sequences that lead to them: LUTs, functional groups, optical paths, and what presentation states hold.
_SEQUENCES = frozenset(
    (
        "00283000", "00283010", "00283110", "20500010", "00289132", "00289145", "00480105",
        "00700001", "00700008", "00700009", SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    )
)  # fmt: skip
_MAX_ITEMS = 10_000


@dataclass(frozen=True, slots=True)
class RenderingSource:
    """One instance of pixels.

    image       description of the native frames that are given to the renderer (of decoded ones, as `decoded_image` says)
    attributes  the instance's metadata in the DICOM JSON Model
    bulk        values that the metadata names by BulkDataURI, little endian, by path: those of `needed_bulkdata`
    """

    image: ImagePixel
    attributes: DicomJson
    bulk: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def reader(self) -> AttributeReader:
        return AttributeReader(self.attributes, self.bulk)

    @property
    def sop_instance_uid(self) -> str:
        return self.reader.text("00080018")

    @property
    def has_real_samples(self) -> bool:
        """Whether the pixels are Float or Double Float Pixel Data (PS3.3 C.7.6.24, C.7.6.25)."""
        return _FLOAT_PIXEL_DATA in self.attributes or _DOUBLE_FLOAT_PIXEL_DATA in self.attributes


def needed_bulkdata(attributes: DicomJson, frame_number: int = 1) -> tuple[str, ...]:
    """Paths of the BulkDataURI values that rendering a frame, or a presentation state, reads; pixel data not included."""
    paths: list[str] = []
    reader = AttributeReader(attributes)
    _collect(reader, paths)
    group = reader.item(PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frame_number)
    if group is not None:
        _collect(group, paths)
    return tuple(paths)


def _collect(reader: AttributeReader, paths: list[str]) -> None:
    for tag, element in reader.dataset.items():
        if tag in _VALUES and isinstance(element, Mapping) and "BulkDataURI" in element:
            paths.append(f"{reader.prefix}{tag}")
        elif tag in _SEQUENCES:
            for item in reader.items(tag)[:_MAX_ITEMS]:
                _collect(item, paths)
