"""Presentation states as DCMTK's dcmp2pgm renders them: grayscale pipeline and spatial transformation.

Shutters and annotations it leaves to its viewer.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from app.dicom.rendering import needed_bulkdata, read_presentation_state, render_frame
from tests.dicom.rendering.reference import DCMP2PGM
from tests.dicom.rendering.stored import bulk_values, open_stored
from tests.support.dicom_bytes import make_instance

CURVE = np.linspace(0, 1, 256) * 0.5 + np.linspace(0, 1, 256) ** 2 * 0.5
TABLE = {"LUTDescriptor": [256, 0, 16], "LUTData": (CURVE * 65535).astype("<u2").tobytes()}
VOI_TABLE = {"LUTDescriptor": [300, 900, 12], "LUTData": np.linspace(0, 4095, 300).astype("<u2").tobytes()}

STATES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "window": {"SoftcopyVOILUTSequence": [{"WindowCenter": "40", "WindowWidth": "400"}]},
    "rescale and window": {
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "SoftcopyVOILUTSequence": [{"WindowCenter": "40", "WindowWidth": "400"}],
    },
    "inverse": {
        "PresentationLUTShape": "INVERSE",
        "SoftcopyVOILUTSequence": [{"WindowCenter": "1000", "WindowWidth": "900"}],
    },
    "presentation lut": {
        "PresentationLUTShape": None,
        "PresentationLUTSequence": [TABLE],
        "SoftcopyVOILUTSequence": [{"WindowCenter": "1000", "WindowWidth": "900"}],
    },
    "voi lut": {"SoftcopyVOILUTSequence": [{"VOILUTSequence": [VOI_TABLE]}]},
    "flipped": {
        "ImageRotation": 0,
        "ImageHorizontalFlip": "Y",
        "SoftcopyVOILUTSequence": [{"WindowCenter": "1000", "WindowWidth": "900"}],
    },
    "turned": {
        "ImageRotation": 90,
        "ImageHorizontalFlip": "N",
        "SoftcopyVOILUTSequence": [{"WindowCenter": "1000", "WindowWidth": "900"}],
    },
    "turned and flipped": {
        "ImageRotation": 270,
        "ImageHorizontalFlip": "Y",
        "SoftcopyVOILUTSequence": [{"WindowCenter": "1000", "WindowWidth": "900"}],
    },
}


def presentation_of(image: pydicom.Dataset, changes: Mapping[str, Any]) -> bytes:
    reference = {"ReferencedSOPClassUID": image.SOPClassUID, "ReferencedSOPInstanceUID": image.SOPInstanceUID}
    attributes: dict[str, Any] = {
        "Modality": "PR",
        "ContentLabel": "TEST",
        "ContentDescription": None,
        "PresentationCreationDate": "20240229",
        "PresentationCreationTime": "101530",
        "ContentCreatorName": None,
        "ReferencedSeriesSequence": [
            {"SeriesInstanceUID": image.SeriesInstanceUID, "ReferencedImageSequence": [reference]}
        ],
        "DisplayedAreaSelectionSequence": [
            {
                "ReferencedImageSequence": [reference],
                "DisplayedAreaTopLeftHandCorner": [1, 1],
                "DisplayedAreaBottomRightHandCorner": [image.Columns, image.Rows],
                "PresentationSizeMode": "SCALE TO FIT",
                "PresentationPixelAspectRatio": "1\\1",
            }
        ],
        "PresentationLUTShape": "IDENTITY",
    }
    attributes |= changes
    return make_instance(
        study=image.StudyInstanceUID,
        sop_class="1.2.840.10008.5.1.4.1.1.11.1",
        rows=0,
        **{keyword: value for keyword, value in attributes.items() if keyword != "PresentationLUTShape" or value},
    )


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("file_name", ["CT_small.dcm", "MR_small.dcm"])
def test_rendered_as_by_dcmp2pgm(name: str, file_name: str, tmp_path: Path) -> None:
    if DCMP2PGM is None:
        pytest.skip("DCMTK's dcmp2pgm is not installed: apt-get install dcmtk")
    image = Path(str(get_testdata_file(file_name)))
    state_file, target = tmp_path / "state.dcm", tmp_path / "out.pgm"
    state_file.write_bytes(presentation_of(pydicom.dcmread(image), STATES[name]))
    subprocess.run([DCMP2PGM, "-p", str(state_file), str(image), str(target)], check=True, capture_output=True)
    theirs = np.asarray(Image.open(target))

    stored, saved = open_stored(image.read_bytes()), open_stored(state_file.read_bytes())
    state = read_presentation_state(saved.attributes, bulk_values(saved, needed_bulkdata(saved.attributes)))
    ours = render_frame(stored.frame(), stored.source(), 1, presentation=state)
    assert ours.shape == theirs.shape
    # DCMTK finds the entry of a presentation LUT by cutting off, not by rounding: half an entry of a slope of 1.5.
    tolerance = 2 if name == "presentation lut" else 1
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance
    assert len(np.unique(ours)) > 5
