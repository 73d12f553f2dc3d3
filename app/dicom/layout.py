"""Where the parts of a stored file are and what its frames look like: all that reading needs besides the blob.

Prepared at store time and kept as one small JSON text per instance, so that frames, bulkdata and converted instances are
answered without parsing the file again.
"""

from dataclasses import dataclass
from functools import lru_cache

import orjson

from app.dicom.instance import ParsedInstance, PixelData


@dataclass(frozen=True, slots=True)
class ImagePixel:
    """The Image Pixel Module (PS3.3 C.7.6.3) as far as decoding needs it."""

    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    number_of_frames: int

    @property
    def frame_bits(self) -> int:
        """Size of one native frame, in bits: frames of 1-bit images need not end at a byte (PS3.5 8.1.1)."""
        samples = self.samples_per_pixel
        if self.photometric_interpretation == "YBR_FULL_422" and samples == 3:
            # Native 4:2:2 holds two luma and one pair of chroma samples per two pixels (PS3.3 C.7.6.3.1.2).
            return self.rows * self.columns * 2 * self.bits_allocated
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def sign_bit(self) -> int:
        """Number (from 1) of the bit that holds the sign, for codestreams that do not know signs."""
        return min(max(self.high_bit + 1, self.bits_stored), self.bits_allocated)


@dataclass(frozen=True, slots=True)
class InstanceLayout:
    dataset_offset: int
    pixel_data: PixelData | None
    image: ImagePixel | None

    def to_json(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, text: bytes) -> "InstanceLayout":
        return _read_layout(text)


@lru_cache(maxsize=4096)  # instances of a series mostly have the same, and are asked for one after the other
def _read_layout(text: bytes) -> InstanceLayout:
    value = orjson.loads(text)
    return InstanceLayout(
        value["dataset_offset"],
        PixelData(**value["pixel_data"]) if value["pixel_data"] else None,
        ImagePixel(**value["image"]) if value["image"] else None,
    )


def layout_of(parsed: ParsedInstance) -> InstanceLayout:
    """The layout of an instance just parsed."""
    return InstanceLayout(parsed.dataset_offset, parsed.pixel_data, image_pixel_of(parsed))


def image_pixel_of(parsed: ParsedInstance) -> ImagePixel | None:
    """None where Rows or Columns are missing: no frames then."""
    keyword = parsed.pixel_data.keyword if parsed.pixel_data else "PixelData"
    texts = tuple(map(parsed.text, _IMAGE_PIXEL_TAGS))
    make = _image_pixel if sum(map(len, texts)) <= _SHORT else _image_pixel.__wrapped__
    return make(keyword, *texts)


_SHORT = 256  # characters of all; what is longer is not remembered


_IMAGE_PIXEL_TAGS = (
    "00280010", "00280011", "00280002", "00280004", "00280006", "00280100", "00280101", "00280102", "00280103",
    "00280008",
)  # fmt: skip


@lru_cache(maxsize=256)
def _image_pixel(
    keyword: str,
    rows_text: str,
    columns_text: str,
    samples: str,
    photometric: str,
    planar: str,
    allocated: str,
    stored: str,
    high: str,
    representation: str,
    frames: str,
) -> ImagePixel | None:
    rows, columns = _number(rows_text), _number(columns_text)
    if rows <= 0 or columns <= 0:
        return None
    # Float images have no Bits Stored (PS3.3 C.7.6.24); test files exist without Bits Allocated.
    default_bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword, 8)
    bits_allocated = _number(allocated, default_bits) or default_bits
    bits_stored = _number(stored, bits_allocated) or bits_allocated
    return ImagePixel(
        rows=rows,
        columns=columns,
        samples_per_pixel=_number(samples, 1) or 1,
        photometric_interpretation=photometric.strip().upper(),
        planar_configuration=_number(planar),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_number(high, bits_stored - 1),
        pixel_representation=_number(representation),
        number_of_frames=max(1, _number(frames, 1)),
    )


def _number(text: str, default: int = 0) -> int:
    try:
        return int(float(text or default))
    except (ValueError, OverflowError):
        return default
