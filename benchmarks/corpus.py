"""The files that are stored and asked for: made from a seed, encoded once, kept in a cache folder."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from rle import encode_pixel_data

from benchmarks.dicom_files import Template, encode, image, template_of, uid

VERSION = 1  # of what is generated: another number makes it anew

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_CT, MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.2"
ULTRASOUND_CINE = "1.2.840.10008.5.1.4.1.1.3.1"
BYTE_FRAMES, WORD_FRAMES = "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3"
JPEG_BASELINE, JPEG_LS, JPEG_2000, RLE = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each; `studies` of the archives that are searched."""

    ct: int
    mr: int
    many: int
    cine_frames: int
    enhanced_frames: int
    long_frames: int
    studies: int


SIZES = {
    "full": Size(ct=200, mr=1000, many=5000, cine_frames=100, enhanced_frames=200, long_frames=100_000, studies=10_000),
    "small": Size(ct=40, mr=100, many=500, cine_frames=20, enhanced_frames=20, long_frames=10_000, studies=1000),
}


@dataclass(frozen=True, slots=True)
class Series:
    """Instances of one template. A new `edition` has new UIDs throughout."""

    name: str
    template: Template
    count: int
    study: str
    series: str
    kind: int
    modality: str
    first: int = 0

    def sop(self, index: int) -> str:
        return uid(self.kind, self.first + index + 1)

    def header(self, index: int) -> bytes:
        return self.template.stamp(
            study=self.study,
            series=self.series,
            sop=self.sop(index),
            patient_name="Benchmark^Patient^" + self.name.partition("-")[0].title(),
            patient_id=f"B{self.kind % 10**8:08d}",
            accession=f"A{self.kind % 10**8:08d}",
            study_date="20240229",
            modality=self.modality,
            series_number=str(self.first // max(self.count, 1) + 1),
            number=str(index + 1),
            position=f"{-index * 1.25:.2f}",
            time=f"{10 + index // 3600 % 10:02d}{index // 60 % 60:02d}{index % 60:02d}.{index % 1000:03d}000",
        )

    def files(self) -> Iterator[tuple[bytes, bytes]]:
        """Header and body of each instance."""
        return ((self.header(index), self.template.body) for index in range(self.count))

    @property
    def path(self) -> str:
        return f"/studies/{self.study}/series/{self.series}"

    def instance_path(self, index: int) -> str:
        return f"{self.path}/instances/{self.sop(index)}"


class Corpus:
    """`series(name)` are the series of a data set: ct, mr, many, enhanced, cine, mammogram, j2k, jpegls, ladder-N."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        self.size = size
        folder.mkdir(parents=True, exist_ok=True)

    def template(self, name: str) -> Template:
        if name not in self._templates:
            self._templates[name] = template_of(self._cached(name))
        return self._templates[name]

    @property
    def _templates(self) -> dict[str, Template]:
        return _loaded.setdefault(str(self.folder), {})

    def _cached(self, name: str) -> bytes:
        kind, _, number = name.partition("-")
        path = self.folder / f"{name}-v{VERSION}-{self._frames(name)}.dcm"
        if not path.exists():
            data = MAKERS[kind](int(number) if number else self._frames(name))
            partial = path.with_suffix(".part")
            partial.write_bytes(data)
            partial.rename(path)
        return path.read_bytes()

    def _frames(self, name: str) -> int:
        return {"cine": self.size.cine_frames, "j2k": self.size.cine_frames, "enhanced": self.size.enhanced_frames}.get(
            name, 1
        )

    def series(self, name: str, edition: int = 0) -> list[Series]:
        kind = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10**6 * 10**6 + edition
        modality = {"mr": "MR", "cine": "US", "mammogram": "MG"}.get(name, "CT")
        counts = {"ct": [self.size.ct], "mr": [self.size.mr // 5] * 5, "many": [self.size.many], "jpegls": [20]}
        counts["ladder-1"] = [50]
        return [
            Series(
                name, self.template(name), count, uid(1, kind), uid(2, kind * 10 + place), kind, modality, place * count
            )
            for place, count in enumerate(counts.get(name, [1]))
        ]


_loaded: dict[str, dict[str, Template]] = {}


@cache
def _slices(rows: int, columns: int, count: int, bits: int = 12) -> Sequence[np.ndarray[Any, Any]]:
    """Images that compress like those of a scanner: soft shapes, and noise of a few grey levels."""
    random = np.random.default_rng(rows * 7919 + columns)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    frames = []
    for index in range(count):
        body = np.where(x**2 / 0.8 + y**2 / 0.6 < 1, 0.55, 0.02)
        organ = 0.2 * np.exp(-((x - 0.3 * np.sin(index)) ** 2 + (y + 0.2) ** 2) * 12)
        noise = random.normal(0, 0.004, (rows, columns))
        frames.append(np.clip((body + organ + noise) * 2**bits, 0, 2**bits - 1).astype(np.uint16))
    return frames


def _cycle(frames: Sequence[bytes], count: int) -> list[bytes]:
    return [frames[index % len(frames)] for index in range(count)]


def _native(sop_class: str, rows: int, columns: int, modality: str = "QQ") -> Callable[[int], bytes]:
    def make(_: int) -> bytes:
        return encode(image(modality, sop_class, rows, columns), _slices(rows, columns, 1)[0].tobytes())

    return make


def _enhanced(frames: int) -> bytes:
    dataset = image("QQ", ENHANCED_CT, 512, 512, frames=frames)
    groups = []
    for index in range(frames):
        position, content, item = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = ["-180.0", "-180.0", f"{index * 1.25:.2f}"]
        content.FrameAcquisitionNumber, content.DimensionIndexValues = 1, [1, index + 1]
        item.PlanePositionSequence, item.FrameContentSequence = [position], [content]
        groups.append(item)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["0.703125", "0.703125"], "1.25"
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    return encode(dataset, _cycle([frame.tobytes() for frame in _slices(512, 512, 4)], frames))


def _cine(frames: int) -> bytes:
    dataset = image("QQ", ULTRASOUND_CINE, 480, 640, bits=8, stored=8, frames=frames, FrameTime="33.3")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    grey = [(frame >> 4).astype(np.uint8) for frame in _slices(480, 640, 8)]
    colour = [np.stack([one, one, np.roll(one, 9)], axis=-1) for one in grey]
    coded = [imagecodecs.jpeg_encode(one, level=85, subsampling="422") for one in colour]
    return encode(dataset, _cycle(coded, frames), JPEG_BASELINE)


def _j2k(frames: int) -> bytes:
    dataset = image("QQ", WORD_FRAMES, 512, 512, frames=frames)
    coded = [
        imagecodecs.jpeg2k_encode(one, level=0, codecformat="j2k", bitspersample=12) for one in _slices(512, 512, 4)
    ]
    return encode(dataset, _cycle(coded, frames), JPEG_2000)


def _jpegls(_: int) -> bytes:
    return encode(image("QQ", CT, 512, 512), [imagecodecs.jpegls_encode(_slices(512, 512, 1)[0])], JPEG_LS)


def _ladder(frames: int) -> bytes:
    """Frames of one size, one or many of them in an object: what a frame costs must not depend on its companions.

    RLE of noise: the least that an offset table is needed for, and no frame is like another codec's easy case.
    """
    dataset = image("QQ", BYTE_FRAMES, 64, 64, bits=8, stored=8, frames=frames)
    noise = np.random.default_rng(64).integers(0, 255, (64, 64, 64), dtype=np.uint8)
    coded = [bytes(encode_pixel_data(one.tobytes(), dataset, ">")) for one in noise]
    return encode(dataset, _cycle(coded, frames), RLE)


MAKERS: dict[str, Callable[[int], bytes]] = {
    "ct": _native(CT, 512, 512),
    "mr": _native(MR, 256, 256),
    "many": _native(CT, 16, 16),
    "mammogram": _native(MAMMOGRAM, 4000, 3000),
    "enhanced": _enhanced,
    "cine": _cine,
    "j2k": _j2k,
    "jpegls": _jpegls,
    "ladder": _ladder,
}
