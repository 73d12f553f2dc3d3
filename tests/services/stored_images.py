"""Images of every kind stored in every syntax that can hold them, and what comes back read by the rules of PS3.5."""

import io
import zlib
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataset import FileDataset

from app.dicom.codecs import decode_frame, decoded_image
from app.dicom.codecs.encoding import encode_frame, encoded_image
from app.dicom.codecs.recompression import recompress_frame
from app.dicom.codecs.samples import frame_samples
from app.dicom.frame_index import locate_frames
from app.dicom.header import parse_instance
from app.dicom.layout import ImagePixel, layout_of
from app.dicom.native_pixels import extract_bits, swap_bytes
from app.dicom.transfer_syntaxes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from tests.dicom.native_images import Native, can_encode, concatenate_bits
from tests.support.dicom_bytes import make_instance

_P = "1.2.840.10008.1.2."
NATIVE = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
_SUFFIXES = "1.98 4.50 4.51 4.57 4.70 4.80 4.81 4.90 4.91 4.201 4.202 4.203 4.110 4.111 4.112 5 8.1"
ENCAPSULATED = tuple(_P + suffix for suffix in _SUFFIXES.split())
SYNTAXES = (*NATIVE, *ENCAPSULATED)
TARGETS = (EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, *ENCAPSULATED)
BASELINE, RECOMPRESSED = _P + "4.50", _P + "4.111"


@dataclass(frozen=True, slots=True)
class Read:
    """A PS3.10 file as it came back: its data set, its samples frame by frame, and the native description of these."""

    dataset: FileDataset
    image: ImagePixel
    samples: tuple[np.ndarray, ...]

    @property
    def transfer_syntax_uid(self) -> str:
        return str(self.dataset.file_meta.TransferSyntaxUID)


def stored_file(kind: Native, uid: str, **attributes: object) -> bytes | None:
    """A file of this kind in this syntax; None where the syntax cannot hold it."""
    image, frames = kind.image, list(kind.frames)
    if uid == RECOMPRESSED:
        if not can_encode(image, BASELINE):
            return None
        frames = [recompress_frame(encode_frame(frame, image, BASELINE), BASELINE, uid) for frame in frames]
        image = encoded_image(image, BASELINE)
    elif uid in ENCAPSULATED:
        if not can_encode(image, uid):
            return None
        frames = [encode_frame(frame, image, uid) for frame in frames]
        image = encoded_image(image, uid)
    return make_instance(
        transfer_syntax=uid,
        rows=image.rows,
        columns=image.columns,
        frames=len(frames),
        pixel_bytes=frames if uid in ENCAPSULATED else _native(image, frames, uid),
        **_described(image),
        **attributes,
    )


def _described(image: ImagePixel) -> dict[str, object]:
    described: dict[str, object] = {
        "SamplesPerPixel": image.samples_per_pixel,
        "PhotometricInterpretation": image.photometric_interpretation,
        "BitsAllocated": image.bits_allocated,
        "BitsStored": image.bits_stored,
        "HighBit": image.high_bit,
        "PixelRepresentation": image.pixel_representation,
    }
    if image.samples_per_pixel > 1:
        described["PlanarConfiguration"] = image.planar_configuration
    return described


def _native(image: ImagePixel, frames: list[bytes], uid: str) -> bytes:
    data = concatenate_bits(frames, image.frame_bits) if image.bits_allocated == 1 else b"".join(frames)
    data += b"\0" * (len(data) % 2)
    # 8-bit and 1-bit samples are strings of bytes (OB) in these files: nothing to be reversed.
    return swap_bytes(data, max(1, image.bits_allocated // 8)) if uid == EXPLICIT_VR_BIG_ENDIAN else data


def read_back(data: bytes) -> Read:
    """Raises whatever pydicom or our reader find wrong."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.FileMetaInformationGroupLength > 0
    parsed = parse_instance(data)
    layout, uid = layout_of(parsed), parsed.transfer_syntax_uid
    assert layout.image is not None
    numbers = range(1, layout.image.number_of_frames + 1)
    source = data
    if transfer_syntax(uid).deflated:
        source = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[parsed.dataset_offset :])
    image, frames = layout.image, []
    for runs in locate_frames(parsed.frame_index, numbers):
        frame = b"".join(source[offset : offset + length] for offset, length in runs.runs)
        if transfer_syntax(uid).encapsulated:
            image = decoded_image(layout.image, uid)
            frame = decode_frame(frame, layout.image, uid).data
        else:
            frame = extract_bits(frame, runs.first_bit, runs.bit_length)
            if uid == EXPLICIT_VR_BIG_ENDIAN:
                frame = swap_bytes(frame, max(1, image.bits_allocated // 8))
        frames.append(frame_samples(frame, image))
    return Read(dataset, image, tuple(frames))


def rgb(samples: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.3.1.2, for 8 bits."""
    y, cb, cr = (samples[..., number].astype(float) for number in range(3))
    parts = [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)]
    return np.rint(np.stack(parts, -1)).clip(0, 255).astype("u1")
