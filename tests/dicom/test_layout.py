"""What is kept of an instance for reading its pixels."""

from typing import Any

import pytest

from app.dicom.header import parse_instance
from app.dicom.layout import InstanceLayout, image_pixel_of, layout_of
from tests.support.dicom_bytes import element, make_instance, part10


def test_round_trip() -> None:
    for data in (make_instance(frames=7), make_instance(rows=0)):
        layout = layout_of(parse_instance(data))
        assert InstanceLayout.from_json(layout.to_json()) == layout


def test_of_an_image() -> None:
    data = make_instance(
        rows=3,
        columns=5,
        frames=2,
        SamplesPerPixel=3,
        PhotometricInterpretation="rgb",
        PlanarConfiguration=1,
        BitsAllocated=16,
        BitsStored=12,
        PixelRepresentation=1,
    )
    layout = layout_of(parse_instance(data))
    image = layout.image
    assert image is not None
    assert (image.rows, image.columns, image.number_of_frames, image.samples_per_pixel) == (3, 5, 2, 3)
    assert (image.photometric_interpretation, image.planar_configuration, image.pixel_representation) == ("RGB", 1, 1)
    assert (image.bits_allocated, image.bits_stored, image.high_bit) == (16, 12, 11)
    assert image.frame_bits == 3 * 5 * 3 * 16
    assert data[layout.dataset_offset :][:4] == b"\x08\x00\x16\x00"


def test_no_image_without_size() -> None:
    assert layout_of(parse_instance(make_instance(rows=0))).image is None
    assert image_pixel_of(parse_instance(make_instance(rows=0, Rows=4, Columns=0))) is None


@pytest.mark.parametrize(
    ("photometric", "samples", "bits"),
    [("YBR_FULL_422", 3, 4 * 4 * 2 * 8), ("YBR_FULL", 3, 4 * 4 * 3 * 8), ("MONOCHROME2", 1, 4 * 4 * 8)],
)
def test_frame_bits(photometric: str, samples: int, bits: int) -> None:
    data = make_instance(PhotometricInterpretation=photometric, SamplesPerPixel=samples)
    image = layout_of(parse_instance(data)).image
    assert image is not None
    assert image.frame_bits == bits


@pytest.mark.parametrize("frames", ["1A", "", "0", "-3", "1e999", "nan"])
def test_unusable_number_of_frames_means_one(frames: str) -> None:
    image = layout_of(parse_instance(make_instance(NumberOfFrames=frames))).image
    assert image is not None
    assert image.number_of_frames == 1


@pytest.mark.parametrize(("tag", "vr", "bits"), [(0x7FE00008, "OF", 32), (0x7FE00009, "OD", 64), (0x7FE00010, "OB", 8)])
def test_bits_of_images_that_do_not_say(tag: int, vr: str, bits: int) -> None:
    size: Any = element(0x00280010, "US", [1]) + element(0x00280011, "US", [1])
    parsed = parse_instance(part10(element(0x00080016, "UI", "1.2") + size + element(tag, vr, bytes(8))))
    image = image_pixel_of(parsed)
    assert image is not None
    assert (image.bits_allocated, image.bits_stored) == (bits, bits)
