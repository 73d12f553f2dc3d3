"""The Image Pixel Description and the image: completed, kept, corrected or refused (PS3.18 Table 10.5.2-1)."""

import struct
from dataclasses import replace
from typing import Any

import pytest

from app.dicom.image_attributes import ImageMismatch, Pixels, Settled, number_of, settle
from app.dicom.json_reader import read_metadata
from app.dicom.metadata_elements import BulkReference, DataSet, MetadataElement
from app.dicom.original_attributes import to_json

GREY = Pixels(4, 6, 1, 8, None, "MONOCHROME2", frozenset(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")), 1)
COLOUR = Pixels(4, 6, 3, 8, None, "YBR_FULL_422", frozenset(("YBR_FULL_422", "YBR_FULL")), 1, "ISO_10918_1", 36)
DEEP = replace(GREY, bits=12)


def data_set(**attributes: Any) -> DataSet:
    """By `_tag`: numbers as US, texts as CS."""
    said = {
        tag.lstrip("_"): {
            "vr": "IS" if tag == "_00280008" else "US" if isinstance(value, int) else "CS",
            "Value": [value],
        }
        for tag, value in attributes.items()
    }
    return read_metadata(said).data_set


def settled(pixels: Pixels, **attributes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """First values by tag: of the result, and of what was corrected."""
    result = Settled(data_set(**attributes))
    settle(result, pixels)
    return values(result.data_set), values(result.originals)


def values(elements: DataSet) -> dict[str, Any]:
    return {tag: element["Value"][0] for tag, element in to_json(elements).items()}


def test_nothing_said_everything_taken_from_the_image() -> None:
    assert settled(GREY) == (
        {
            "00280002": 1,
            "00280004": "MONOCHROME2",
            "00280010": 4,
            "00280011": 6,
            "00280100": 8,
            "00280101": 8,
            "00280102": 7,
            "00280103": 0,
        },
        {},
    )


def test_lossy_colour_of_several_frames() -> None:
    result, originals = settled(replace(COLOUR, number_of_frames=5))
    assert originals == {}
    assert (result["00280002"], result["00280004"], result["00280006"], result["00280008"]) == (3, "YBR_FULL_422", 0, 5)
    assert (result["00282110"], result["00282112"], result["00282114"]) == ("01", 10.0, "ISO_10918_1")


@pytest.mark.parametrize(
    ("bits", "expected"), [(1, (8, 1, 0)), (8, (8, 8, 7)), (10, (16, 10, 9)), (16, (16, 16, 15)), (20, (32, 20, 19))]
)
def test_bits(bits: int, expected: tuple[int, int, int]) -> None:
    result, _ = settled(replace(GREY, bits=bits))
    assert (result["00280100"], result["00280101"], result["00280102"]) == expected


def test_signed_streams() -> None:
    assert settled(replace(DEEP, is_signed=True))[0]["00280103"] == 1
    assert settled(replace(DEEP, is_signed=True), _00280103=0)[0]["00280103"] == 0, "the sender is believed"


@pytest.mark.parametrize(
    "said",
    [
        {"_00280004": "MONOCHROME1"},
        {"_00280004": "PALETTE COLOR"},
        {"_00280010": 4, "_00280011": 6, "_00280002": 1},
        {"_00280100": 16},
        {"_00280100": 16, "_00280101": 10, "_00280102": 9},
        {"_00280101": 12, "_00280102": 15},
        {"_00280103": 1},
        {"_00280008": "1"},
    ],
)
def test_what_can_be_true_is_kept(said: dict[str, Any]) -> None:
    result, originals = settled(DEEP, **said)
    assert originals == {}
    for tag, value in said.items():
        assert str(result[tag.lstrip("_")]) == str(value)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"_00280010": 5}, "Rows is 5 in the metadata and 4 in the image"),
        ({"_00280011": 5}, "Columns is 5"),
        ({"_00280002": 3}, "Samples per Pixel is 3"),
        ({"_00280004": "RGB"}, "Photometric Interpretation is RGB"),
        ({"_00280100": 8}, "Bits Allocated is 8"),
        ({"_00280100": 12}, "Bits Allocated is 12"),
        ({"_00280101": 17}, "Bits Stored is 17"),
        ({"_00280101": 0}, "Bits Stored is 0"),
        ({"_00280102": 10}, "High Bit is 10"),
        ({"_00280102": 16}, "High Bit is 16"),
        ({"_00280103": 2}, "Pixel Representation is 2"),
        ({"_00280008": "2"}, "Number of Frames is 2 in the metadata, and there are 1"),
        ({"_00280010": "four"}, "Rows is not a number"),
    ],
)
def test_what_cannot_be_true_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ImageMismatch, match=why):
        settled(DEEP, **said)


def test_grey_said_of_colour_is_refused() -> None:
    with pytest.raises(ImageMismatch, match="MONOCHROME2 in the metadata, and the image has 3 samples"):
        settled(COLOUR, _00280004="MONOCHROME2")


def test_facts_of_the_bytes_are_corrected() -> None:
    result, originals = settled(COLOUR, _00280004="RGB", _00280006=1, _00282110="00")
    assert originals == {"00280004": "RGB", "00280006": 1, "00282110": "00"}
    assert (result["00280004"], result["00280006"], result["00282110"]) == ("YBR_FULL_422", 0, "01")


def test_other_names_of_the_same_colour_are_kept() -> None:
    result, originals = settled(COLOUR, _00280004="YBR_FULL", _00280006=0, _00282110="01", _00282114="ISO_10918_1")
    assert originals == {}
    assert result["00280004"] == "YBR_FULL"
    assert "00282112" not in result, "who tells the method tells the ratio, or has a reason not to"


def test_frames_that_nobody_counts() -> None:
    video = replace(COLOUR, number_of_frames=None)
    assert settled(video, _00280008="90")[0]["00280008"] == 90
    with pytest.raises(ImageMismatch, match="how many frames"):
        settled(video)


def test_numbers_of_a_data_set() -> None:
    elements: DataSet = {
        0x00280010: MetadataElement("US", struct.pack("<2H", 7, 8)),
        0x00280011: MetadataElement("US", b""),
        0x00280008: MetadataElement("IS", b" 12 "),
        0x00280002: MetadataElement("US", BulkReference("x")),
        0x00280100: MetadataElement("LO", b"many"),
    }
    assert number_of(elements, 0x00280010) == 7
    assert number_of(elements, 0x00280011) is None
    assert number_of(elements, 0x00280008) == 12
    assert number_of(elements, 0x00280101) is None
    for tag in (0x00280002, 0x00280100):
        with pytest.raises(ImageMismatch, match="not a number"):
            number_of(elements, tag)
