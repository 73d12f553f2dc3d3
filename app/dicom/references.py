"""What a study, a series, an instance and its frames are called (PS3.18 section 10.1.1, PS3.5 section 9.1)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from app.errors import InvalidFrameList, InvalidUid

MAX_UID_LENGTH = 64
MAX_FRAME_NUMBER = 2**31 - 1  # NumberOfFrames is IS
_MAX_DIGITS = 12  # an IS has no more characters (PS3.5 section 6.2)
# Leading zeros are forbidden by PS3.5 9.1, but they occur in the field and compare as text: they are let through.
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)


def is_uid(text: str) -> bool:
    """Whether `text` can be used as a UID: dot-separated digits, at most 64 characters."""
    return len(text) <= MAX_UID_LENGTH and _UID.fullmatch(text) is not None


def validate_uid(text: str) -> str:
    """`text` itself. Raises InvalidUid."""
    if not is_uid(text):
        raise InvalidUid(f"{text[:80]!r} is not a DICOM UID")
    return text


@dataclass(frozen=True, slots=True, order=True)
class StudyRef:
    study_instance_uid: str


@dataclass(frozen=True, slots=True, order=True)
class SeriesRef:
    study_instance_uid: str
    series_instance_uid: str

    @property
    def study(self) -> StudyRef:
        return StudyRef(self.study_instance_uid)


@dataclass(frozen=True, slots=True, order=True)
class InstanceRef:
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str

    @property
    def study(self) -> StudyRef:
        return StudyRef(self.study_instance_uid)

    @property
    def series(self) -> SeriesRef:
        return SeriesRef(self.study_instance_uid, self.series_instance_uid)


Reference = StudyRef | SeriesRef | InstanceRef


@lru_cache(maxsize=1024)  # a viewer asks for frame after frame of one instance
def reference_of(study: str, series: str | None = None, instance: str | None = None) -> Reference:
    """The reference that URI segments name, each checked. Raises InvalidUid."""
    validate_uid(study)
    if series is None:
        return StudyRef(study)
    validate_uid(series)
    if instance is None:
        return SeriesRef(study, series)
    return InstanceRef(study, series, validate_uid(instance))


def resource_path(ref: Reference) -> str:
    """The path of a resource below the service root, e.g. `/studies/1.2/series/1.2.3`."""
    path = f"/studies/{ref.study_instance_uid}"
    if isinstance(ref, SeriesRef | InstanceRef):
        path += f"/series/{ref.series_instance_uid}"
    if isinstance(ref, InstanceRef):
        path += f"/instances/{ref.sop_instance_uid}"
    return path


def parse_frame_list(text: str, *, limit: int = 100_000) -> tuple[int, ...]:
    """Frame numbers of a `/frames/{frames}` segment, 1-based, in the order given.

    The Standard asks for ascending order; clients that ask otherwise get what they asked for.
    Raises InvalidFrameList for anything but comma-separated positive integers, or more than `limit` of them.
    """
    items = text.split(",")
    if len(items) > limit:
        raise InvalidFrameList(f"more than {limit} frames in one request")
    numbers = []
    for item in items:
        item = item.strip()
        number = int(item) if len(item) <= _MAX_DIGITS and item.isascii() and item.isdigit() else 0
        if not 1 <= number <= MAX_FRAME_NUMBER:
            raise InvalidFrameList(f"{item[:20]!r} is not a frame number: they are integers from 1")
        numbers.append(number)
    return tuple(numbers)
