"""Building blocks of the corpus: UIDs of this session, instances with the attributes every archive wants, pixels."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.encoder import EXPLICIT, Dataset, Fragments, Value, attributes, part10

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
MULTIFRAME_BYTE_SC = "1.2.840.10008.5.1.4.1.1.7.2"
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
VIDEO_ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"


@dataclass(frozen=True, slots=True)
class Item:
    """One instance of the corpus: its file, its names and the data set that the file was written from."""

    name: str
    data: bytes = field(repr=False)
    study: str
    series: str
    instance: str
    sop_class: str
    syntax: str
    dataset: Mapping[int, tuple[str, Value]] = field(repr=False, default_factory=dict)

    @property
    def study_path(self) -> str:
        return f"/studies/{self.study}"

    @property
    def series_path(self) -> str:
        return f"{self.study_path}/series/{self.series}"

    @property
    def path(self) -> str:
        return f"{self.series_path}/instances/{self.instance}"

    @property
    def pixels(self) -> bytes:
        """The native value of Pixel Data as it was written, little endian, without padding."""
        for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009):
            if tag in self.dataset:
                value = self.dataset[tag][1]
                assert isinstance(value, bytes)
                return value
        raise AssertionError(f"{self.name} has no native pixel data")

    @property
    def patient_id(self) -> str:
        value = self.dataset[0x00100020][1]
        assert isinstance(value, str)
        return value


class Uids:
    """UIDs and bytes that a seed makes, the same ones for the same seed (PS3.5 B.2)."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.token = f"GT{self._random.getrandbits(40):010X}"

    def new(self) -> str:
        return f"2.25.{self._random.getrandbits(126) | 1 << 125}"

    def of_length(self, length: int) -> str:
        """A UID of exactly so many characters, for putting in the place of another one."""
        if length < 4:
            raise ValueError(f"no fresh UID has {length} characters")
        if length == 4:
            return f"2.{self._random.randint(10, 99)}"
        prefix = "2.25." if length > 5 else "1.2."
        digits = length - len(prefix)
        return prefix + str(self._random.randint(10 ** (digits - 1), 10**digits - 1))

    def bytes(self, length: int) -> bytes:
        return self._random.randbytes(length)


class Maker:
    """Makes items. Every PatientID begins with the session's token, so that searches see this corpus only."""

    def __init__(self, uids: Uids) -> None:
        self.uids = uids
        self.token = uids.token

    def dataset(self, patient: str, study: str, series: str, **by_keyword: Any) -> dict[int, tuple[str, Value]]:
        named: dict[str, Value] = {
            "SOPClassUID": SECONDARY_CAPTURE,
            "SOPInstanceUID": self.uids.new(),
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "StudyDate": "20240201",
            "StudyTime": "120000",
            "AccessionNumber": "",
            "Modality": "OT",
            "ReferringPhysicianName": "",
            "PatientName": f"{self.token}^{patient}",
            "PatientID": f"{self.token}-{patient}",
            "PatientBirthDate": "",
            "PatientSex": "",
            "StudyID": "1",
            "SeriesNumber": "1",
            "InstanceNumber": "1",
        }
        named.update(by_keyword)
        return attributes(**{keyword: value for keyword, value in named.items() if value is not None})

    def item(
        self,
        name: str,
        dataset: Dataset,
        syntax: str = EXPLICIT,
        *,
        charset: str = "utf-8",
        preamble: bytes = bytes(128),
    ) -> Item:
        def uid(tag: int) -> str:
            return str(dataset[tag][1])

        data = part10(dataset, syntax, charset=charset, preamble=preamble)
        return Item(name, data, uid(0x0020000D), uid(0x0020000E), uid(0x00080018), uid(0x00080016), syntax, dataset)

    def single(
        self,
        name: str,
        extra: Dataset | None = None,
        syntax: str = EXPLICIT,
        *,
        charset: str = "utf-8",
        preamble: bytes = bytes(128),
        **by_keyword: Any,
    ) -> Item:
        """An instance in a study and a series of its own; the patient is called as the item."""
        dataset = self.dataset(name, self.uids.new(), self.uids.new(), **by_keyword)
        return self.item(name, {**dataset, **(extra or {})}, syntax, charset=charset, preamble=preamble)

    def image(
        self,
        rows: int,
        columns: int,
        *,
        bits: int = 8,
        samples: int = 1,
        frames: int | None = None,
        pixels: bytes | Fragments | None = None,
    ) -> dict[int, tuple[str, Value]]:
        """The Image Pixel Module (PS3.3 C.7.6.3) with random pixels, or with the ones given."""
        size = (rows * columns * samples * bits * (frames or 1) + 7) // 8
        module = attributes(
            SamplesPerPixel=(samples,),
            PhotometricInterpretation="RGB" if samples == 3 else "MONOCHROME2",
            Rows=(rows,),
            Columns=(columns,),
            BitsAllocated=(bits,),
            BitsStored=(bits,),
            HighBit=(bits - 1,),
            PixelRepresentation=(0,),
        )
        if samples > 1:
            module |= attributes(PlanarConfiguration=(0,))
        if frames is not None:
            module |= attributes(NumberOfFrames=str(frames))
        vr = "OW" if bits > 8 else "OB"
        return {**module, 0x7FE00010: (vr, self.uids.bytes(size) if pixels is None else pixels)}
