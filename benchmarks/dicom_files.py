"""Files with headers as scanners write them, stamped with new identities without being encoded again."""

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

# Fields of fixed width, so that a new value takes the place of the old one. UIDs have an even length: no padding.
FIELDS = {
    "study": "2.25.10000000000000000000000000000000001",
    "series": "2.25.20000000000000000000000000000000002",
    "sop": "2.25.30000000000000000000000000000000003",
    "patient_name": "Benchmark^Placeholder^One^Two ",
    "patient_id": "PLACEHOLD1",
    "accession": "PLACEHOLD2",
    "study_date": "19010203",
    "modality": "QQ",
    "series_number": "9001",
    "number": "900002",
    "position": "-9003.25",
    "time": "235957.123456",
}
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_WIDTH = {name: len(value) for name, value in FIELDS.items()}


def uid(kind: int, number: int) -> str:
    """The UID of something of this suite: `kind` tells apart what numbers alone would not. 40 characters, as in FIELDS."""
    return f"2.25.{4:1d}{kind:014d}{number:020d}"


@dataclass(frozen=True, slots=True)
class Template:
    """A file, cut in two: a header with places to fill in, and the pixel data that all its instances share."""

    header: bytes
    body: bytes
    places: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.header) + len(self.body)

    def stamp(self, **values: str) -> bytes:
        """The header with other values. Shorter ones are padded with spaces."""
        header = bytearray(self.header)
        for name, value in values.items():
            text = value.encode().ljust(_WIDTH[name])
            if len(text) != _WIDTH[name]:
                raise ValueError(f"{name} {value!r} is too long")
            for place in self.places[name]:
                header[place : place + len(text)] = text
        return bytes(header)

    def file(self, **values: str) -> bytes:
        return self.stamp(**values) + self.body


def template_of(data: bytes) -> Template:
    """Cut a file made by `encode` in two and find its places."""
    cut = data.find(_PIXEL_DATA) if _PIXEL_DATA in data else len(data)
    header = data[:cut]
    places = {}
    for name, value in FIELDS.items():
        found, at = [], header.find(value.encode())
        while at >= 0:
            found.append(at)
            at = header.find(value.encode(), at + 1)
        places[name] = tuple(found)
    return Template(header, data[cut:], places)


def encode(
    dataset: Dataset, pixels: bytes | Sequence[bytes] | None = None, transfer_syntax: str = ExplicitVRLittleEndian
) -> bytes:
    """A PS3.10 file; `pixels` native, or the frames of encapsulated pixel data."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID = "2.25.5"
    file = FileDataset(None, dataset, preamble=bytes(128), file_meta=meta)
    if pixels is not None:
        encapsulated = UID(transfer_syntax).is_encapsulated
        if isinstance(pixels, bytes):
            value = pixels
        else:
            value = encapsulate(list(pixels)) if encapsulated else b"".join(pixels)
        element = DataElement(0x7FE00010, "OB" if encapsulated or dataset.BitsAllocated == 8 else "OW", value)
        element.is_undefined_length = encapsulated
        file.add(element)
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


def image(
    modality: str,
    sop_class: str,
    rows: int,
    columns: int,
    *,
    bits: int = 16,
    stored: int = 12,
    frames: int = 1,
    **more: Any,
) -> Dataset:
    """A header of about 200 elements, a third of them private, as CT and MR scanners write them."""
    dataset = _identity(sop_class, modality)
    _add_equipment(dataset)
    _add_acquisition(dataset)
    _add_procedure(dataset)
    _add_private(dataset)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, stored, stored - 1
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def small(modality: str = FIELDS["modality"], sop_class: str = "1.2.840.10008.5.1.4.1.1.7") -> Dataset:
    """A header alone, for archives of many studies."""
    dataset = _identity(sop_class, modality)
    dataset.Manufacturer = "Gantry Benchmark Devices"
    dataset.ConversionType = "WSD"
    return dataset


def _identity(sop_class: str, modality: str) -> Dataset:
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 100"
    one.SOPClassUID, one.SOPInstanceUID = sop_class, FIELDS["sop"]
    one.StudyInstanceUID, one.SeriesInstanceUID = FIELDS["study"], FIELDS["series"]
    one.StudyDate = one.SeriesDate = FIELDS["study_date"]
    one.StudyTime, one.SeriesTime, one.ContentTime = "101112", "101314", FIELDS["time"]
    one.AccessionNumber, one.Modality = FIELDS["accession"], modality
    one.PatientName, one.PatientID = FIELDS["patient_name"].strip(), FIELDS["patient_id"]
    one[0x00100010].value = FIELDS["patient_name"]  # the trailing space is part of the field's width
    one.PatientBirthDate, one.PatientSex, one.PatientAge = "19560708", "O", "068Y"
    one.ReferringPhysicianName = "Referrer^Robin"
    one.StudyDescription, one.SeriesDescription = "CT ABDOMEN PELVIS W CONTRAST", "AXIAL 1.25 SOFT TISSUE"
    one.StudyID, one.SeriesNumber, one.InstanceNumber = "S0000001", FIELDS["series_number"], FIELDS["number"]
    return one


def _add_equipment(one: Dataset) -> None:
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.InstanceCreationDate, one.InstanceCreationTime = "20240229", FIELDS["time"]
    one.AcquisitionDate = one.ContentDate = "20240229"
    one.AcquisitionTime = FIELDS["time"]
    one.Manufacturer, one.ManufacturerModelName = "Gantry Benchmark Devices", "Revolution 64"
    one.InstitutionName, one.InstitutionAddress = "General Hospital", "1 Main Street, Springfield"
    one.StationName, one.InstitutionalDepartmentName = "CT0042", "RADIOLOGY"
    one.PerformingPhysicianName, one.OperatorsName = "Performer^Pat", "Operator^Oli"
    one.NameOfPhysiciansReadingStudy = "Reader^Rene"
    one.DeviceSerialNumber, one.SoftwareVersions = "0012345678", ["sw.7.1", "gen.42"]
    one.PatientWeight, one.PatientSize, one.AdditionalPatientHistory = "81.5", "1.79", "follow-up after resection"
    one.PatientComments, one.EthnicGroup, one.Occupation = "", "", ""
    one.DateOfLastCalibration, one.TimeOfLastCalibration = "20240101", "080000"


def _add_acquisition(one: Dataset) -> None:
    one.ScanOptions, one.BodyPartExamined, one.ProtocolName = "HELICAL MODE", "ABDOMEN", "6.12 ABD/PEL ROUTINE"
    one.SliceThickness, one.KVP, one.DataCollectionDiameter = "1.25", "120", "500.0"
    one.ReconstructionDiameter, one.DistanceSourceToDetector, one.DistanceSourceToPatient = "360.0", "949.0", "541.0"
    one.GantryDetectorTilt, one.TableHeight, one.RotationDirection = "0.0", "156.2", "CW"
    one.ExposureTime, one.XRayTubeCurrent, one.Exposure = "500", "380", "190"
    one.FilterType, one.GeneratorPower, one.FocalSpots, one.ConvolutionKernel = (
        "BODY FILTER",
        "45600",
        "0.7",
        "STANDARD",
    )
    one.PatientPosition, one.RevolutionTime, one.SingleCollimationWidth = "FFS", 0.5, 0.625
    one.TotalCollimationWidth, one.TableSpeed, one.SpiralPitchFactor = 40.0, 39.37, 0.984375
    one.CTDIvol, one.AcquisitionNumber = 12.5, "1"
    one.ContrastBolusAgent, one.ContrastBolusRoute = "OMNIPAQUE 350", "IV"
    one.FrameOfReferenceUID, one.PositionReferenceIndicator = uid(7, 7), "XY"
    one.ImagePositionPatient = ["-180.0", "-180.0", FIELDS["position"]]
    one.ImageOrientationPatient = ["1.0", "0.0", "0.0", "0.0", "1.0", "0.0"]
    one.SliceLocation, one.PixelSpacing = FIELDS["position"], ["0.703125", "0.703125"]
    one.WindowCenter, one.WindowWidth, one.WindowCenterWidthExplanation = (
        ["40", "300"],
        ["400", "1500"],
        ["SOFT", "BONE"],
    )
    one.RescaleIntercept, one.RescaleSlope, one.RescaleType = "-1024", "1", "HU"
    one.ImageComments, one.LossyImageCompression, one.BurnedInAnnotation = "", "00", "NO"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _reference(sop_class: str, number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid(8, number)
    return item


def _add_procedure(one: Dataset) -> None:
    one.ProcedureCodeSequence = [_code("CTABDPELW", "99LOCAL", "CT ABDOMEN PELVIS W CONTRAST")]
    one.AnatomicRegionSequence = [_code("113345001", "SCT", "Abdomen")]
    one.ReferencedStudySequence = [_reference("1.2.840.10008.3.1.2.3.1", 1)]
    one.ReferencedPerformedProcedureStepSequence = [_reference("1.2.840.10008.3.1.2.3.3", 2)]
    one.ReferencedImageSequence = [_reference("1.2.840.10008.5.1.4.1.1.2", number) for number in (3, 4)]
    one.PerformedProcedureStepStartDate, one.PerformedProcedureStepStartTime = "20240229", "101011"
    one.PerformedProcedureStepID, one.PerformedProcedureStepDescription = "PPS0001", "CT ABDOMEN PELVIS"
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP0001", "SPS0001"
    request.ScheduledProcedureStepDescription = "CT ABDOMEN PELVIS"
    request.ScheduledProtocolCodeSequence = [_code("CTABD", "99LOCAL", "CT ABDOMEN")]
    one.RequestAttributesSequence = [request]
    one.RequestingPhysician, one.RequestedProcedureDescription = "Requester^Ray", "CT ABDOMEN PELVIS"


def _add_private(one: Dataset) -> None:
    values = random.Random(7)  # noqa: S311 - the same file each time
    for group, creator, count in (
        (0x0009, "BENCH_IDEN_01", 12),
        (0x0019, "BENCH_ACQU_01", 40),
        (0x0043, "BENCH_PARM_01", 28),
    ):
        block = one.private_block(group, creator, create=True)
        for number in range(count):
            kind = number % 5
            if kind == 0:
                block.add_new(number, "LO", f"VALUE {values.randrange(10**6)}")
            elif kind == 1:
                block.add_new(number, "DS", [f"{values.uniform(-500, 500):.4f}" for _ in range(3)])
            elif kind == 2:
                block.add_new(number, "SL", values.randrange(10**6))
            elif kind == 3:
                block.add_new(number, "FD", values.random())
            else:
                block.add_new(number, "SH", f"{values.randrange(10**8):08d}")
    one.private_block(0x0029, "BENCH_CSA_01", create=True).add_new(0x10, "OB", values.randbytes(6144))
