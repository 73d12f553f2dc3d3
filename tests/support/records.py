"""Instance records as the store service makes them: real bytes, read by the real reader."""

import uuid
from typing import Any

from app.blobs.digests import digest_of
from app.dicom.header import parse_instance
from app.dicom.instance import InstanceRecord
from app.dicom.references import InstanceRef
from tests.support.dicom_bytes import make_instance


def make_record(
    study: str | None = None, series: str | None = None, sop: str | None = None, **attributes: Any
) -> InstanceRecord:
    """The record of a new instance; `attributes` as for make_instance. Its blob does not exist."""
    return record_of(make_instance(study, series, sop, **attributes))


def record_of(data: bytes) -> InstanceRecord:
    """The record of the bytes of an instance."""
    parsed = parse_instance(data)
    ref = InstanceRef(parsed.text("0020000D"), parsed.text("0020000E"), parsed.text("00080018"))
    digest = digest_of(data)
    return InstanceRecord(ref, parsed.text("00080016"), parsed, blob_key_of(ref, digest), len(data), digest)


def blob_key_of(ref: InstanceRef, digest: str) -> str:
    """A key that no other blob has."""
    path = f"{ref.study_instance_uid}/{ref.series_instance_uid}/{ref.sop_instance_uid}"
    return f"instances/{path}/{digest[:16]}-{uuid.uuid4().hex[:8]}.dcm"


def multi_frame(frames: int) -> InstanceRecord:
    """JPEG: one fragment a frame, of lengths that differ."""
    fragments = [b"\xff\xd8" + bytes([number % 256]) * (2 + 2 * (number % 7)) + b"\xff\xd9" for number in range(frames)]
    return make_record(frames=frames, transfer_syntax="1.2.840.10008.1.2.4.50", pixel_bytes=fragments)
