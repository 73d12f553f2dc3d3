"""Softcopy presentation states: what they refer to and what they say of one image (PS3.3 A.33, C.11.11, PS3.4 Annex N)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.dicom.instance import DicomJson
from app.dicom.rendering.attribute_reader import AttributeReader
from app.dicom.rendering.colour import Palette, read_palette
from app.dicom.rendering.grayscale import GrayscaleTransform, Rescale
from app.dicom.rendering.lookup_tables import read_lookup_table
from app.dicom.rendering.samples import SampleFormat
from app.dicom.rendering.voi import full_range, read_modality, read_voi
from app.errors import NotAcceptable

GRAYSCALE_SOFTCOPY = "1.2.840.10008.5.1.4.1.1.11.1"
COLOR_SOFTCOPY = "1.2.840.10008.5.1.4.1.1.11.2"
PSEUDO_COLOR_SOFTCOPY = "1.2.840.10008.5.1.4.1.1.11.3"
SUPPORTED_PRESENTATION_STATES = (GRAYSCALE_SOFTCOPY, COLOR_SOFTCOPY, PSEUDO_COLOR_SOFTCOPY)

_REFERENCED_SERIES_SEQUENCE, _REFERENCED_IMAGE_SEQUENCE = "00081115", "00081140"
_REFERENCED_SOP_CLASS_UID, _REFERENCED_SOP_INSTANCE_UID = "00081150", "00081155"
_REFERENCED_FRAME_NUMBER, _SERIES_INSTANCE_UID = "00081160", "0020000E"
_SOFTCOPY_VOI_LUT_SEQUENCE, _PRESENTATION_LUT_SEQUENCE = "00283110", "20500010"
_DISPLAYED_AREA_SELECTION_SEQUENCE, GRAPHIC_ANNOTATION_SEQUENCE = "0070005A", "00700001"
MAX_REFERENCES = 100_000
_LIMIT = 1 << 24  # of coordinates of a displayed area


@dataclass(frozen=True, slots=True)
class ReferencedImage:
    """frame_numbers  from 1; empty = all"""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DisplayedArea:
    """Part of an image, and how it is turned (PS3.3 C.10.4, C.10.6).

    left, top      of its first pixel, from 0; may lie outside of the image
    width, height  in pixels
    aspect         height of a pixel by its width
    magnification  output pixels for each pixel; None = as the viewport asks
    rotation       clockwise, in quarters of a turn; before the flip
    """

    left: int
    top: int
    width: int
    height: int
    aspect: float = 1.0
    magnification: float | None = None
    rotation: int = 0
    flips: bool = False


@dataclass(frozen=True, slots=True)
class PresentationState:
    """references  in the order of the presentation state"""

    sop_class_uid: str
    attributes: AttributeReader
    references: tuple[ReferencedImage, ...]

    def items_for(self, sequence: str, sop_instance_uid: str, frame_number: int) -> Iterator[AttributeReader]:
        """The items of a sequence that concern a frame: those that refer to it, or to no image at all."""
        for item in self.attributes.items(sequence):
            images = item.items(_REFERENCED_IMAGE_SEQUENCE)
            if not images or any(_refers(image, sop_instance_uid, frame_number) for image in images):
                yield item

    def grayscale(
        self, sample: SampleFormat | None, sop_instance_uid: str, frame_number: int, real_range: tuple[float, float]
    ) -> GrayscaleTransform:
        """The grayscale transformations of a frame: the presentation state's, never those of the image (PS3.4 N.2.1).

        real_range  smallest and largest sample, for images of real samples
        """
        modality = read_modality(self.attributes) or Rescale()
        items = self.items_for(_SOFTCOPY_VOI_LUT_SEQUENCE, sop_instance_uid, frame_number)
        voi = next((found for item in items if (found := read_voi(item, is_real=sample is None)) is not None), None)
        if voi is None:
            full = SampleFormat(16, 16, 15, False) if sample is None else sample
            voi = full_range(full, modality)
            if sample is None:
                voi = type(voi)(*real_range)
        table = read_lookup_table(self.attributes.item(_PRESENTATION_LUT_SEQUENCE))
        inverts = table is None and self.attributes.text("20500020") == "INVERSE"
        return GrayscaleTransform(modality, voi, table, inverts)

    @property
    def palette(self) -> Palette | None:
        """What a pseudo-color presentation state shows the greys as."""
        return read_palette(self.attributes) if self.sop_class_uid == PSEUDO_COLOR_SOFTCOPY else None

    def displayed_area(self, sop_instance_uid: str, frame_number: int, columns: int, rows: int) -> DisplayedArea:
        """The area of a frame; the whole image where the presentation state selects none."""
        items = self.items_for(_DISPLAYED_AREA_SELECTION_SEQUENCE, sop_instance_uid, frame_number)
        item = next(items, AttributeReader({}))
        first, last = item.numbers("00700052")[:2], item.numbers("00700053")[:2]
        if len(first) == len(last) == 2:
            left, right = sorted((first[0], last[0]))
            top, bottom = sorted((first[1], last[1]))
        else:
            left, top, right, bottom = 1, 1, columns, rows
        left, top, right, bottom = (int(max(-_LIMIT, min(edge, _LIMIT))) for edge in (left, top, right, bottom))
        magnification = item.number("00700103") if item.text("00700100") == "MAGNIFY" else None
        return DisplayedArea(
            left=left - 1,
            top=top - 1,
            width=right - left + 1,
            height=bottom - top + 1,
            aspect=_aspect(item),
            magnification=magnification if magnification is not None and magnification > 0 else None,
            rotation=self.attributes.integer("00700042") // 90 % 4,
            flips=self.attributes.text("00700041") == "Y",
        )


def read_presentation_state(attributes: DicomJson, bulk: Mapping[str, bytes] | None = None) -> PresentationState:
    """Raises NotAcceptable for kinds that cannot be rendered: blending, volumetric, and those with mask subtraction."""
    reader = AttributeReader(attributes, bulk or {})
    sop_class_uid = reader.text("00080016")
    if sop_class_uid not in SUPPORTED_PRESENTATION_STATES:
        raise NotAcceptable(
            "presentation states of this kind cannot be rendered: only grayscale, color and pseudo-color"
        )
    references = []
    for series in reader.items(_REFERENCED_SERIES_SEQUENCE):
        for image in series.items(_REFERENCED_IMAGE_SEQUENCE):
            frames = tuple(int(number) for number in image.numbers(_REFERENCED_FRAME_NUMBER) if number >= 1)
            references.append(
                ReferencedImage(
                    series.text(_SERIES_INSTANCE_UID),
                    image.text(_REFERENCED_SOP_CLASS_UID),
                    image.text(_REFERENCED_SOP_INSTANCE_UID),
                    frames,
                )
            )
    if not references or len(references) > MAX_REFERENCES:
        raise NotAcceptable("the presentation state refers to no images, or to too many")
    return PresentationState(sop_class_uid, reader, tuple(references))


def _refers(image: AttributeReader, sop_instance_uid: str, frame_number: int) -> bool:
    frames = image.numbers(_REFERENCED_FRAME_NUMBER)
    return image.text(_REFERENCED_SOP_INSTANCE_UID) == sop_instance_uid and (not frames or frame_number in frames)


def _aspect(item: AttributeReader) -> float:
    """Presentation Pixel Spacing, else Presentation Pixel Aspect Ratio: vertical by horizontal, within reason."""
    for tag in ("00700101", "00700102"):
        values = item.numbers(tag)
        if len(values) == 2 and min(values) > 0:
            return max(0.01, min(values[0] / values[1], 100.0))
    return 1.0


def display_order(dataset: DicomJson, frame_number: int) -> tuple[tuple[float, ...], ...]:
    """A key that sorts rendered frames as PS3.18 8.3.5.1.6 asks, where their order of reference settles the rest.

    Dimension Index Values, Image Position (Patient) along the normal of the image where that is known, Image Position
    (Volume). Frames without one of these come behind those that have it.
    """
    attributes = AttributeReader(dataset)
    dimensions: tuple[float, ...] = ()
    volume: tuple[float, ...] = ()
    position = attributes.numbers("00200032")
    orientation = attributes.numbers("00200037")
    for tag, number in (("52009229", 1), ("52009230", frame_number)):
        group = attributes.item(tag, number)
        if group is None:
            continue
        dimensions = _macro_numbers(group, "00209111", "00209157") or dimensions
        position = _macro_numbers(group, "00209113", "00200032") or position
        orientation = _macro_numbers(group, "00209116", "00200037") or orientation
        volume = _macro_numbers(group, "0020930E", "00209301") or volume
    return dimensions or (math.inf,), _along_normal(position, orientation) or (math.inf,), volume or (math.inf,)


def _macro_numbers(group: AttributeReader, sequence: str, tag: str) -> tuple[float, ...]:
    macro = group.item(sequence)
    return () if macro is None else macro.numbers(tag)


def _along_normal(position: tuple[float, ...], orientation: tuple[float, ...]) -> tuple[float, ...]:
    if len(position) != 3 or len(orientation) != 6:
        return position
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    return (sum(x * y for x, y in zip(position, normal, strict=True)),)
