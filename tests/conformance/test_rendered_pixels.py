"""Pixels of rendered images against pydicom and plain arithmetic: photometric interpretations, depths, signs, frames."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from tests.conformance.corpus import Corpus
from tests.conformance.displayed import close, decoded, grey_item, linear, png, ramp, stored, structural_similarity
from tests.conformance.encoder import BIG_ENDIAN, EXPLICIT, IMPLICIT, attributes
from tests.conformance.instances import Item, Maker
from tests.conformance.packaged import packaged, read
from tests.support.http import Peer

GREY = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "693_J2KI.dcm",
    "examples_overlay.dcm",
    "rtdose.dcm",
    "rtdose_expb_1frame.dcm",
    "rtdose_rle_1frame.dcm",
)
COLOUR = (
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_rgb_rle_32bit.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_jpeg2k.dcm",
    "examples_rgb_color.dcm",
    "examples_ybr_color.dcm",
    "ExplVR_BigEnd.dcm",
)
# One image in every syntax, some of which pydicom has no decoder for here.
SAME_IMAGE = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
)


def samples(dataset: Dataset) -> NDArray[Any]:
    """Of the first frame, colours as RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pixel_array(dataset, index=0)


@pytest.mark.proves("REN-009", "REN-008")
@pytest.mark.parametrize("name", GREY)
def test_grey_files(peer: Peer, corpus: Corpus, name: str) -> None:
    item = stored(peer, packaged(name, corpus.uids))
    dataset = read(item.data)
    values = apply_modality_lut(samples(dataset), dataset).astype(np.float64)
    low, high = float(np.percentile(values, 5)), float(np.percentile(values, 95))
    center, width = round((low + high) / 2), max(2, round(high - low))
    shown = png(peer, f"{item.path}/frames/1/rendered", f"window={center},{width},linear")
    assert np.ptp(shown) > 100
    assert close(shown, linear(values, center, width))
    plain = decoded(peer.get(f"{item.path}/frames/1/rendered", "image/png").content)
    assert np.ptp(plain) > 20


@pytest.mark.proves("REN-009")
def test_one_image_in_every_syntax(peer: Peer, corpus: Corpus) -> None:
    for query in ("", "window=600,1200,linear", "viewport=100,100", "window=600,1200,sigmoid&viewport=20,20,,,-40,40"):
        shown = [png(peer, f"{corpus[name].path}/rendered", query).tobytes() for name in SAME_IMAGE]
        assert len(set(shown)) == 1


@pytest.mark.proves("REN-008", "REN-009")
@pytest.mark.parametrize("name", COLOUR)
def test_colour_files(peer: Peer, corpus: Corpus, name: str) -> None:
    item = stored(peer, packaged(name, corpus.uids))
    dataset = read(item.data)
    expected = samples(dataset).astype(np.float64) / (2**dataset.BitsStored - 1) * 255
    shown = png(peer, f"{item.path}/frames/1/rendered")
    assert shown.shape == (dataset.Rows, dataset.Columns, 3)
    is_subsampled = "422" in dataset.PhotometricInterpretation or "s4" in name
    if is_subsampled:  # chroma is interpolated in more than one right way
        assert structural_similarity(shown, np.clip(expected, 0, 255).astype(np.uint8)) > 0.98
    else:
        assert close(shown, expected, 2)


@pytest.mark.proves("REN-008")
def test_palette_colour(peer: Peer, corpus: Corpus) -> None:
    item = stored(peer, packaged("examples_palette.dcm", corpus.uids))
    dataset = read(item.data)
    expected = apply_color_lut(samples(dataset), dataset)
    scale = 257 if expected.dtype == np.uint16 else 1
    assert close(png(peer, f"{item.path}/rendered"), expected / scale)


@pytest.mark.proves("REN-008")
def test_monochrome1_is_the_other_way_round(peer: Peer, maker: Maker) -> None:
    values = ramp(20, 30, 0, 4095, "<u2")
    shown = {}
    for name in ("MONOCHROME1", "MONOCHROME2"):
        item = grey_item(
            maker, f"grey-{name[-1]}", values, PhotometricInterpretation=name, BitsStored=(12,), HighBit=(11,)
        )
        path = f"{stored(peer, item).path}/rendered"
        shown[name] = png(peer, path, "window=2048,4096,linear")
        assert np.ptp(png(peer, path)) > 200
    assert close(shown["MONOCHROME2"], linear(values, 2048, 4096))
    assert close(shown["MONOCHROME1"], 255 - linear(values, 2048, 4096))


@pytest.mark.proves("REN-008")
def test_planar_colour(peer: Peer, maker: Maker) -> None:
    colours = np.stack([ramp(6, 8, 0, 255, "u1"), ramp(6, 8, 255, 0, "u1"), ramp(6, 8, 50, 60, "u1")], axis=-1)
    for planar, order in ((0, (0, 1, 2)), (1, (2, 0, 1))):
        module = maker.image(6, 8, samples=3, pixels=colours.transpose(order).tobytes())
        item = maker.single(f"planar-{planar}", module | attributes(PlanarConfiguration=(planar,)))
        assert (png(peer, f"{stored(peer, item).path}/rendered") == colours).all()


@pytest.mark.proves("REN-008")
def test_ybr_full(peer: Peer, maker: Maker) -> None:
    luma = ramp(6, 8, 20, 230, "u1")
    samples = np.stack([luma, np.full_like(luma, 128), np.full_like(luma, 128)], axis=-1)
    module = maker.image(6, 8, samples=3, pixels=samples.tobytes())
    item = maker.single("ybr", module | attributes(PhotometricInterpretation="YBR_FULL"))
    assert close(png(peer, f"{stored(peer, item).path}/rendered"), np.repeat(luma[..., None], 3, axis=-1))


@pytest.mark.proves("REN-009")
@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", "<u4", "<i4"])
def test_depths_and_signs(peer: Peer, maker: Maker, dtype: str) -> None:
    limits = np.iinfo(dtype)
    values = ramp(16, 16, max(limits.min, -70_000), min(limits.max, 70_000), dtype)
    center, width = 10, max(2, int(np.ptp(values.astype("i8"))) // 2)
    # The encoder of the tests swaps 16-bit words; for 32 bits in big endian there is a file of the package above.
    for syntax in (EXPLICIT, IMPLICIT, *([BIG_ENDIAN] if values.itemsize < 4 else [])):
        plain = grey_item(maker, f"depth-{dtype[-2:]}-{syntax[-1]}", values)
        item = maker.single(f"{plain.name}-x", dict(plain.dataset), syntax)
        path = f"{stored(peer, item).path}/rendered"
        shown = png(peer, path, f"window={center},{width},linear")
        assert close(shown, linear(values.astype(np.float64), center, width))
        assert np.ptp(png(peer, path)) > 200


def test_bits_that_are_not_stored_mean_nothing(peer: Peer, maker: Maker) -> None:
    """12 bits of 16, the others filled with what an overlay or a careless writer left (PS3.5 8.1.1)."""
    values = ramp(16, 16, 0, 4095, "<u2")
    item = grey_item(maker, "dirty", values | 0xF000, BitsStored=(12,), HighBit=(11,))
    assert close(
        png(peer, f"{stored(peer, item).path}/rendered", "window=2048,4096,linear"), linear(values, 2048, 4096)
    )


def test_one_bit_frames(peer: Peer, corpus: Corpus) -> None:
    """Frames of 15 bits, which do not end at a byte."""
    item: Item = corpus["bits"]
    bits = np.unpackbits(np.frombuffer(item.pixels, "u1"), bitorder="little")[:45].reshape(3, 5, 3)
    for number in (1, 2, 3):
        shown = png(peer, f"{item.path}/frames/{number}/rendered", "window=0.5,1,linear-exact")
        assert (shown == bits[number - 1] * 255).all()


@pytest.mark.parametrize("name", ["float", "double"])
def test_real_samples(peer: Peer, corpus: Corpus, name: str) -> None:
    item = corpus[name]
    dtype, count = ("<f4", 2) if name == "float" else ("<f8", 1)
    values = np.frombuffer(item.pixels, dtype).reshape(count, 2, 3)[0]
    kept = values[np.isfinite(values)]
    response = peer.get(f"{item.path}/frames/1/rendered", "image/png", "window=0,1000,linear-exact")
    assert response.status_code == 200
    shown = decoded(response.content)
    with np.errstate(invalid="ignore"):  # a signalling NaN is told of when it is converted
        exact = values.astype(np.float64)
    expected = np.clip(np.nan_to_num(exact, posinf=1e300, neginf=-1e300) / 1000 + 0.5, 0, 1) * 255
    assert close(shown[np.isfinite(values)], expected[np.isfinite(values)])
    assert kept.size


def test_functional_groups(peer: Peer, maker: Maker) -> None:
    """Windows and rescaling of an enhanced multi-frame image, shared and for each frame (PS3.3 C.7.6.16.2)."""
    values = ramp(8, 8, 0, 1000, "<u2")
    shared = attributes(
        PixelValueTransformationSequence=[attributes(RescaleIntercept="-500", RescaleSlope="1", RescaleType="HU")]
    )
    windows = [(0, 200), (300, 100)]
    frames = [
        attributes(FrameVOILUTSequence=[attributes(WindowCenter=str(center), WindowWidth=str(width))])
        for center, width in windows
    ]
    item = grey_item(
        maker,
        "enhanced",
        np.stack([values, values]),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )
    path = stored(peer, item).path
    for number, (center, width) in enumerate(windows, start=1):
        shown = png(peer, f"{path}/frames/{number}/rendered")
        assert close(shown, linear(values.astype(float) - 500, center, width))
    assert close(
        png(peer, f"{path}/frames/2/rendered", "window=0,1000,linear"), linear(values.astype(float) - 500, 0, 1000)
    )


def test_lookup_tables(peer: Peer, maker: Maker) -> None:
    """A modality LUT and a VOI LUT in place of slope and window (PS3.3 C.11.1, C.11.2)."""
    values = ramp(16, 16, 0, 255, "u1")
    modality = (np.arange(256) ** 2).astype("<u2")
    voi = np.linspace(255, 0, 256).round().astype("<u2")
    tables = attributes(
        ModalityLUTSequence=[
            attributes(LUTDescriptor=(256, 0, 16), ModalityLUTType="US") | {0x00283006: ("OW", modality.tobytes())}
        ],
        VOILUTSequence=[attributes(LUTDescriptor=(256, 0, 8)) | {0x00283006: ("OW", voi.tobytes())}],
    )
    plain = grey_item(maker, "tables-plain", values)
    item = stored(peer, maker.single("tables", {**plain.dataset, **tables}))
    shown = png(peer, f"{item.path}/rendered")
    expected = voi[np.minimum(modality[values], 255)]
    assert close(shown, expected.astype(float))
    # A window that is asked for works on the output of the modality LUT.
    windowed = png(peer, f"{item.path}/rendered", "window=30000,40000,linear")
    assert close(windowed, linear(modality[values].astype(float), 30000, 40000))
