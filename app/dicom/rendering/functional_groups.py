"""Where the attributes of one frame are: its own functional groups, the shared ones, the data set (PS3.3 C.7.6.16)."""

from collections.abc import Iterator

from app.dicom.rendering.attribute_reader import AttributeReader

SHARED_FUNCTIONAL_GROUPS_SEQUENCE = "52009229"
PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE = "52009230"

PIXEL_VALUE_TRANSFORMATION_SEQUENCE = "00289145"
FRAME_VOI_LUT_SEQUENCE = "00289132"


def frame_groups(attributes: AttributeReader, frame_number: int) -> Iterator[AttributeReader]:
    """The functional groups that hold for a frame, its own before the shared ones."""
    for sequence, number in (
        (PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, frame_number),
        (SHARED_FUNCTIONAL_GROUPS_SEQUENCE, 1),
    ):
        group = attributes.item(sequence, number)
        if group is not None:
            yield group


def frame_macro(attributes: AttributeReader, frame_number: int, sequence: str) -> AttributeReader:
    """The first item of a functional group macro for a frame; the data set itself where no group holds it."""
    for group in frame_groups(attributes, frame_number):
        macro = group.item(sequence)
        if macro is not None:
            return macro
    return attributes


def frame_text(attributes: AttributeReader, frame_number: int, tag: str) -> str:
    """Text of an attribute wherever it stands: in the data set, or in a macro of the frame's functional groups."""
    found = attributes.text(tag)
    if found:
        return found
    for group in frame_groups(attributes, frame_number):
        for sequence in group.dataset:
            macro = group.item(sequence)
            if macro is not None and (found := macro.text(tag)):
                return found
    return ""
