"""The Image Pixel Description of an instance made to agree with its pixels (PS3.18 10.5.1.4, PS3.3 C.7.6.3).

What the metadata leaves out is taken from the image. What it says is kept where it can be true. Where it cannot, the instance is
refused, but for three things that are facts of the bytes and not of the picture, which are corrected: how colour is coded in the
stream, how its planes lie, and that it is lossy.
"""

import struct
from dataclasses import dataclass, field

from app.dicom.metadata_elements import DataSet, MetadataElement, text_of
from app.dicom.stream_headers.description import GRAYSCALE, StreamDescription
from app.errors import DicomError

SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = (
    0x00280002,
    0x00280004,
    0x00280006,
    0x00280008,
    0x00280010,
    0x00280011,
)
BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION = 0x00280100, 0x00280101, 0x00280102, 0x00280103
LOSSY, LOSSY_RATIO, LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114
_NAMES = {
    SAMPLES: "Samples per Pixel",
    FRAMES: "Number of Frames",
    ROWS: "Rows",
    COLUMNS: "Columns",
    BITS_ALLOCATED: "Bits Allocated",
    BITS_STORED: "Bits Stored",
    HIGH_BIT: "High Bit",
    PIXEL_REPRESENTATION: "Pixel Representation",
}
# Colours that only a codestream has: its decoder gives RGB (PS3.3 C.7.6.3.1.2).
CODESTREAM_COLOURS = frozenset(("YBR_RCT", "YBR_ICT", "XYB"))


class ImageMismatch(DicomError):
    """The metadata and the image contradict each other."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """What the pixels of an instance are, whoever said it: one stream or several that are alike, or decoded images.

    Fields as in StreamDescription; bytes_stored is what all frames take as they are stored, for the compression ratio.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    is_signed: bool | None
    photometric: str
    photometrics: frozenset[str]
    number_of_frames: int | None
    method: str = ""
    bytes_stored: int = 0


@dataclass(slots=True)
class Settled:
    """data_set    with the description completed
    originals   elements that were corrected, as they were
    """

    data_set: DataSet
    originals: DataSet = field(default_factory=dict)

    def correct(self, tag: int, vr: str, value: bytes) -> None:
        """Put `value` into the place of what was said."""
        self.originals.setdefault(tag, self.data_set[tag])
        self.data_set[tag] = MetadataElement(vr, value)


def pixels_of(description: StreamDescription, number_of_frames: int | None, bytes_stored: int) -> Pixels:
    """Of streams that are all like `description`."""
    return Pixels(
        description.rows,
        description.columns,
        description.samples,
        description.bits,
        description.is_signed,
        description.photometric,
        description.photometrics,
        number_of_frames,
        description.method,
        bytes_stored,
    )


def settle(settled: Settled, pixels: Pixels) -> None:
    """Complete and correct the description of `settled.data_set`. Raises ImageMismatch."""
    data_set = settled.data_set
    _agree(data_set, SAMPLES, pixels.samples)
    _settle_colour(settled, pixels)
    _agree(data_set, ROWS, pixels.rows)
    _agree(data_set, COLUMNS, pixels.columns)
    _settle_bits(data_set, pixels)
    _settle_frames(data_set, pixels)
    if pixels.method:
        _settle_compression(settled, pixels)


def number_of(data_set: DataSet, tag: int) -> int | None:
    """The first value of a US or IS attribute; None where it is absent or empty. Raises ImageMismatch for no number."""
    found = data_set.get(tag)
    if found is None or found.value == b"":
        return None
    if not isinstance(found.value, bytes):
        raise ImageMismatch(f"{_NAMES.get(tag, f'{tag:08X}')} is not a number")
    if found.vr == "US" and len(found.value) >= 2:
        return int(struct.unpack_from("<H", found.value)[0])
    try:
        return int(text_of(data_set, tag))
    except ValueError:
        raise ImageMismatch(f"{_NAMES.get(tag, f'{tag:08X}')} is not a number") from None


def _us(number: int) -> MetadataElement:
    return MetadataElement("US", struct.pack("<H", number))


def _agree(data_set: DataSet, tag: int, number: int) -> None:
    said = number_of(data_set, tag)
    if said is None:
        data_set[tag] = _us(number)
    elif said != number:
        raise ImageMismatch(f"{_NAMES[tag]} is {said} in the metadata and {number} in the image")


def _settle_colour(settled: Settled, pixels: Pixels) -> None:
    data_set = settled.data_set
    said = text_of(data_set, PHOTOMETRIC).upper()
    if not said:
        data_set[PHOTOMETRIC] = MetadataElement("CS", pixels.photometric.encode("ascii"))
    elif (said in GRAYSCALE) != (pixels.samples == 1):
        raise ImageMismatch(
            f"Photometric Interpretation is {said} in the metadata, and the image has {pixels.samples} samples"
        )
    elif said not in pixels.photometrics:
        settled.correct(PHOTOMETRIC, "CS", pixels.photometric.encode("ascii"))
    if pixels.samples > 1:
        planar = number_of(data_set, PLANAR)
        if planar is None:
            data_set[PLANAR] = _us(0)
        elif planar:
            settled.correct(PLANAR, "US", b"\0\0")


def _settle_bits(data_set: DataSet, pixels: Pixels) -> None:
    """A sender may allocate more bits than are needed, and may know that fewer than the stream has are used."""
    allocated = number_of(data_set, BITS_ALLOCATED)
    needed = 8 if pixels.bits <= 8 else 16 if pixels.bits <= 16 else 32
    if allocated is None:
        allocated = needed
        data_set[BITS_ALLOCATED] = _us(allocated)
    elif allocated < pixels.bits or allocated not in (1, 8, 16, 32):
        raise ImageMismatch(
            f"Bits Allocated is {allocated} in the metadata, and the image has {pixels.bits} bits a sample"
        )
    stored = number_of(data_set, BITS_STORED)
    if stored is None:
        stored = min(pixels.bits, allocated)
        data_set[BITS_STORED] = _us(stored)
    elif not 1 <= stored <= allocated:
        raise ImageMismatch(f"Bits Stored is {stored} in the metadata, and Bits Allocated {allocated}")
    high = number_of(data_set, HIGH_BIT)
    if high is None:
        data_set[HIGH_BIT] = _us(stored - 1)
    elif not stored - 1 <= high < allocated:
        raise ImageMismatch(f"High Bit is {high} in the metadata, and Bits Stored {stored}")
    representation = number_of(data_set, PIXEL_REPRESENTATION)
    if representation is None:
        data_set[PIXEL_REPRESENTATION] = _us(1 if pixels.is_signed else 0)
    elif representation not in (0, 1):
        raise ImageMismatch(f"Pixel Representation is {representation} in the metadata: it is 0 or 1")


def _settle_frames(data_set: DataSet, pixels: Pixels) -> None:
    said, found = number_of(data_set, FRAMES), pixels.number_of_frames
    if found is None:
        if said is None:
            raise ImageMismatch("neither the metadata nor the stream says how many frames there are")
    elif said is None:
        if found != 1:
            data_set[FRAMES] = MetadataElement("IS", str(found).encode("ascii"))
    elif said != found:
        raise ImageMismatch(f"Number of Frames is {said} in the metadata, and there are {found}")


def _settle_compression(settled: Settled, pixels: Pixels) -> None:
    """PS3.3 C.7.6.1.1.5: what was once lossy is said to be, by which method, and how much."""
    data_set = settled.data_set
    said = text_of(data_set, LOSSY)
    if not said:
        data_set[LOSSY] = MetadataElement("CS", b"01")
    elif said != "01":
        settled.correct(LOSSY, "CS", b"01")
    if text_of(data_set, LOSSY_METHOD) or text_of(data_set, LOSSY_RATIO):
        return
    frames = pixels.number_of_frames or number_of(data_set, FRAMES) or 1
    allocated = number_of(data_set, BITS_ALLOCATED) or 8
    native = pixels.rows * pixels.columns * pixels.samples * (allocated // 8) * frames
    data_set[LOSSY_METHOD] = MetadataElement("CS", pixels.method.encode("ascii"))
    if pixels.bytes_stored:
        data_set[LOSSY_RATIO] = MetadataElement("DS", f"{native / pixels.bytes_stored:.2f}"[:16].encode("ascii"))
