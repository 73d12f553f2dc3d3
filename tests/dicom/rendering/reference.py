"""What pydicom, DCMTK and plain arithmetic make of a frame: independent renderings to compare with."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
DCMJ2PNM = shutil.which("dcmj2pnm")
DCMP2PGM = shutil.which("dcmp2pgm")


def samples_by_pydicom(ds: Dataset, frame_number: int) -> NDArray[Any]:
    """Stored values; colours already converted to RGB. Raises what pydicom raises."""
    if "PixelData" in ds:
        return pixel_array(ds, index=frame_number - 1)
    frames = pixel_array(ds)
    return frames[frame_number - 1] if int(ds.get("NumberOfFrames", 1)) > 1 else frames


def rendered_by_pydicom(ds: Dataset, frame_number: int, samples: NDArray[Any]) -> NDArray[np.uint8]:
    """An 8-bit image."""
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        coloured = apply_color_lut(samples, ds)
        return (coloured >> 8).astype(np.uint8) if coloured.dtype == np.uint16 else coloured
    if samples.ndim == 3:
        return np.rint(samples / (2**ds.BitsStored - 1) * 255).astype(np.uint8)
    return _grey(_flattened(ds, frame_number), samples)


def to_rgb(samples: NDArray[Any], ds: Dataset) -> NDArray[Any]:
    return convert_color_space(samples, ds.PhotometricInterpretation, "RGB")


def _flattened(ds: Dataset, frame_number: int) -> Dataset:
    """The functional groups of a frame where pydicom looks for them: at the top level."""
    flat = Dataset()
    flat.update({element.tag: element for element in ds if element.tag.group != 0x5200 and element.tag.group < 0x7FE0})
    groups = list(ds.get("SharedFunctionalGroupsSequence", []))
    groups += ds.get("PerFrameFunctionalGroupsSequence", [])[frame_number - 1 : frame_number]
    for group in groups:
        for keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(keyword, [])[:1]:
                flat.update(item)
    return flat


def has_voi(ds: Dataset) -> bool:
    return bool(ds.get("VOILUTSequence")) or ds.get("WindowWidth") not in (None, "")


def _grey(ds: Dataset, samples: NDArray[Any]) -> NDArray[np.uint8]:
    values = apply_modality_lut(samples, ds)
    if has_voi(ds):
        fractions = _voi(ds, values)
    else:
        low, high = _range(ds, samples, values)
        fractions = (values.astype(float) - low) / (high - low) if high > low else np.zeros(values.shape)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        fractions = 1 - fractions
    return np.floor(np.nan_to_num(fractions).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _voi(ds: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """pydicom's output is in the range of the stored or rescaled values: brought to 0 to 1."""
    if "BitsStored" not in ds:  # real samples, which pydicom does not window
        center, width = float(ds.WindowCenter), float(ds.WindowWidth)
        if ds.get("VOILUTFunction", "LINEAR") == "LINEAR" and width > 1:
            center, width = center - 0.5, width - 1
        return np.interp(values, [center - width / 2, center + width / 2], [0.0, 1.0])
    out = apply_voi_lut(values, ds, prefer_lut=True).astype(float)
    if ds.get("VOILUTSequence"):
        return out / (2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1)
    low, high = 0, 2**ds.BitsStored - 1
    if ds.PixelRepresentation:
        low, high = -(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1
    if ds.get("ModalityLUTSequence"):
        low, high = 0, 2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    elif ds.get("RescaleSlope") is not None:
        low, high = (end * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for end in (low, high))
    return (out - low) / (high - low)


def _range(ds: Dataset, samples: NDArray[Any], values: NDArray[Any]) -> tuple[float, float]:
    """The rule of app.dicom.rendering.voi in other words."""
    if ds.SOPClassUID in SEGMENTATIONS:
        fractional = ds.get("SegmentationType") == "FRACTIONAL"
        return 0, int(ds.MaximumFractionalValue) if fractional else max(1, int(samples.max()))
    unchanged = float(ds.get("RescaleSlope", 1)) == 1 and float(ds.get("RescaleIntercept", 0)) == 0
    unchanged = unchanged and not ds.get("ModalityLUTSequence")
    if ds.get("BitsStored", 32) <= 8 and not ds.get("PixelRepresentation", 0) and unchanged:
        return 0, 2**ds.BitsStored - 1
    kept = values[np.isfinite(values)]
    padding = ds.get("PixelPaddingValue")
    if padding is not None:
        ends = sorted((padding, ds.get("PixelPaddingRangeLimit", padding)))
        outside = (samples < ends[0]) | (samples > ends[1])
        kept = values[outside] if outside.any() else kept
    return float(kept.min()), float(kept.max())


def _is_labels(ds: Dataset) -> bool:
    return ds.SOPClassUID in SEGMENTATIONS and ds.get("SegmentationType") != "FRACTIONAL"


def rendered_by_dcmtk(
    path: Path, ds: Dataset, frame_number: int, folder: Path, *options: str
) -> NDArray[np.uint8] | None:
    """None for files that this DCMTK cannot read: JPEG 2000, JPEG-LS, deflated frames."""
    voi = ["-W"]
    if ds.get("VOILUTSequence"):
        voi = ["+Wl", "1"]
    elif ds.get("WindowWidth") not in (None, ""):
        voi = ["+Wi", "1"]
    elif ds.get("BitsStored", 16) != 8 or ds.get("PixelRepresentation") or _is_labels(ds):
        voi = ["+Wm"]
    target = folder / "out.pnm"
    command = [str(DCMJ2PNM), "-q", "-O", "+F", str(frame_number), *(options or voi), "+op", str(path), str(target)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    return np.asarray(Image.open(io.BytesIO(target.read_bytes())))
