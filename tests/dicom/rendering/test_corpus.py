"""Every displayable file, compared with renderings that are not ours: pydicom with numpy, and DCMTK."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from app.dicom.rendering import IMAGE_MEDIA_TYPES, RenderingParameters, Viewport, Window, encode_image, render_frame
from app.errors import CodecError, DicomError
from tests.dicom.rendering.reference import (
    DCMJ2PNM,
    SEGMENTATIONS,
    has_voi,
    rendered_by_dcmtk,
    rendered_by_pydicom,
    samples_by_pydicom,
    to_rgb,
)
from tests.dicom.rendering.stored import StoredImage, corpus, open_stored

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of what is odd in these files

# Its SIZ marker segment was overwritten on purpose: no decoder reads it.
UNDECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}
# Number of Frames is "1A" on purpose, which pydicom refuses to read.
UNREADABLE = {"badVR.dcm"}
# pydicom 3.0.2 takes the entries of an 8-bit palette in big-endian OW words in the wrong order. DCMTK agrees with us.
WRONG_PALETTE_IN_PYDICOM = {"OBXXXX1A_expb.dcm", "OBXXXX1A_expb_2frame.dcm"}
# DCMTK 3.6.7 swaps 32-bit cells of big-endian OW as 16-bit words (see app.dicom.native_pixels.swap_width).
WRONG_ORDER_IN_DCMTK = {"rtdose_expb.dcm", "rtdose_expb_1frame.dcm"}
SUPPLEMENTAL = {"eCT_Supplemental.dcm"}  # neither of the two knows supplemental palettes


def displayable() -> list[Path]:
    found = []
    for path in corpus():
        try:
            stored = open_stored(path.read_bytes())
        except DicomError:
            continue  # not accepted, so never rendered
        if stored.parsed.frame_index:
            found.append(path)
    return found


FILES = displayable()


def first_and_last(stored: StoredImage) -> list[int]:
    return sorted({1, stored.number_of_frames})


def samples_of(stored: StoredImage, ds: pydicom.Dataset, number: int) -> np.ndarray:
    """By pydicom; by our codecs, which have tests of their own, where pydicom has none for a transfer syntax."""
    try:
        return samples_by_pydicom(ds, number)
    except (RuntimeError, NotImplementedError, AttributeError):
        image = stored.source(number).image
        if image.bits_allocated == 1:
            bits = np.unpackbits(np.frombuffer(stored.frame(number), np.uint8), bitorder="little")
            return bits[: image.rows * image.columns].reshape(image.rows, image.columns)
        kind = "f" if "PixelData" not in ds else "i" if image.pixel_representation else "u"
        samples = np.frombuffer(stored.frame(number), f"<{kind}{image.bits_allocated // 8}")
        if image.samples_per_pixel == 1:
            return samples.reshape(image.rows, image.columns)
        ds.PhotometricInterpretation = image.photometric_interpretation
        return to_rgb(samples.reshape(image.rows, image.columns, -1), ds)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_rendered_as_by_pydicom(path: Path) -> None:
    if path.name in UNREADABLE | WRONG_PALETTE_IN_PYDICOM | SUPPLEMENTAL:
        return
    stored = open_stored(path.read_bytes())
    ds = pydicom.dcmread(io.BytesIO(stored.data), force=True)
    for number in first_and_last(stored):
        if path.name in UNDECODABLE:
            with pytest.raises(CodecError):
                stored.frame(number)
            continue
        ours = render_frame(stored.frame(number), stored.source(number), number)
        theirs = rendered_by_pydicom(ds, number, samples_of(stored, ds, number))
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_rendered_as_by_dcmtk(path: Path, tmp_path: Path) -> None:
    if DCMJ2PNM is None:
        pytest.skip("DCMTK's dcmj2pnm is not installed: apt-get install dcmtk")
    if path.name in UNDECODABLE | UNREADABLE | WRONG_ORDER_IN_DCMTK | SUPPLEMENTAL:
        return
    stored = open_stored(path.read_bytes())
    ds = pydicom.dcmread(io.BytesIO(stored.data), force=True)
    for number in first_and_last(stored):
        theirs = rendered_by_dcmtk(path, ds, number, tmp_path)
        if theirs is None:
            continue
        options = RenderingParameters()
        if "SharedFunctionalGroupsSequence" in ds and ds.SOPClassUID not in SEGMENTATIONS and ds.SamplesPerPixel == 1:
            # DCMTK 3.6.7 does not look into functional groups: both are told the window.
            if ds.get("PixelPresentation") == "COLOR" or ds.PhotometricInterpretation == "PALETTE COLOR":
                continue
            theirs = rendered_by_dcmtk(path, ds, number, tmp_path, "-M", "+Ww", "400", "700")
            stored.attributes = {k: v for k, v in stored.attributes.items() if k[:4] != "5200"}
            options = RenderingParameters(window=Window(400, 700))
        ours = render_frame(stored.frame(number), stored.source(number), number, options)
        # DCMTK rounds the three products of YCbCr one by one.
        tolerance = 2 if ds.PhotometricInterpretation.startswith("YBR") else 1
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).max() <= tolerance


def test_the_comparison_is_not_empty() -> None:
    assert len(FILES) >= 80
    assert {path.name for path in FILES} >= UNDECODABLE


def test_supplemental_palette_of_enhanced_ct() -> None:
    """Below the first mapped value grey, from there on coloured (PS3.3 C.7.6.19)."""
    for path in FILES:
        if path.name not in SUPPLEMENTAL:
            continue
        stored = open_stored(path.read_bytes())
        ds = pydicom.dcmread(path)
        pixels = render_frame(stored.frame(2), stored.source(2), 2)
        values = ds.pixel_array[1]
        count, first, bits = ds.RedPaletteColorLookupTableDescriptor
        grey = values < first
        assert (pixels[grey] == pixels[grey][:, :1]).all()
        entries = np.frombuffer(ds.RedPaletteColorLookupTableData, "<u2")
        red = entries[(values[~grey].astype(int) - first).clip(0, (count or 65536) - 1)] >> (bits - 8)
        assert (pixels[~grey][:, 0] == red).all()
        assert not (pixels[~grey] == pixels[~grey][:, :1]).all()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_becomes_a_thumbnail_of_every_type(path: Path) -> None:
    if path.name in UNDECODABLE:
        return
    stored = open_stored(path.read_bytes())
    small = render_frame(stored.frame(), stored.source(), 1, RenderingParameters(viewport=Viewport(48, 32)))
    assert small.dtype == np.uint8
    assert small.shape[0] == 32 or small.shape[1] == 48
    assert small.shape[0] <= 32
    assert small.shape[1] <= 48
    for media_type in IMAGE_MEDIA_TYPES:
        assert len(encode_image(small, media_type)) > 20


def test_files_without_a_window_use_the_whole_scale() -> None:
    """REN-009: 12, 16 and 32 bits, signed and unsigned."""
    checked = 0
    for path in FILES:
        if path.name in UNDECODABLE | UNREADABLE:
            continue
        stored = open_stored(path.read_bytes())
        image = stored.source().image
        ds = pydicom.dcmread(path, force=True)
        is_plain = image.samples_per_pixel == 1 and image.photometric_interpretation.startswith("MONO")
        if is_plain and image.bits_stored > 8 and not has_voi(ds) and "SharedFunctionalGroupsSequence" not in ds:
            pixels = render_frame(stored.frame(), stored.source())
            assert (pixels.min(), pixels.max()) == (0, 255)
            checked += 1
    assert checked >= 10
