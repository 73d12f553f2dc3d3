"""Reads the answer to a Store transaction (PS3.18 section 10.5.3, Annex I) and finds the file behind each item. Pure."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.dicom.store_status import BY_CODE, CANNOT_UNDERSTAND, DATA_SET_MISMATCH, OUT_OF_RESOURCES
from app.dicomweb.store_response import (
    FAILED_SOP_SEQUENCE,
    FAILURE_REASON,
    OTHER_FAILURES_SEQUENCE,
    REFERENCED_SOP_INSTANCE_UID,
    REFERENCED_SOP_SEQUENCE,
    WARNING_REASON,
)

# Other servers use the whole of each range (PS3.18 Table I.2-2).
_RANGES = ((0xFF00, OUT_OF_RESOURCES), (0xFF00, DATA_SET_MISMATCH), (0xF000, CANNOT_UNDERSTAND))

File = TypeVar("File")


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """stored    (SOP Instance UID, Warning Reason or None) of each instance
    failed    (SOP Instance UID, Failure Reason) of each; the reason is None when the server left it out
    other     Failure Reasons of what had no readable SOP Instance UID
    """

    stored: tuple[tuple[str, int | None], ...]
    failed: tuple[tuple[str, int | None], ...]
    other: tuple[int | None, ...]

    @property
    def count(self) -> int:
        return len(self.stored) + len(self.failed) + len(self.other)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[File]):
    """What became of one file: `code` is the Failure Reason, or the Warning Reason of what was stored."""

    file: File
    stored: bool
    code: int | None = None
    text: str = ""


def describe_status(code: int) -> str:
    """Failure Reason or Warning Reason in words."""
    if status := BY_CODE.get(code):
        return f"{_plain(status.name)}: {status.meaning}"
    status = next((status for mask, status in _RANGES if code & mask == status.code & mask), None)
    return _plain(status.name) if status else "a reason unknown to the Standard"


def _plain(name: str) -> str:
    return name.removeprefix("Error: ").removeprefix("Refused: ")


def parse_store_answer(content: bytes) -> StoreAnswer | None:
    """The Store Instances Response Module in `content`, DICOM JSON; None when it names no instance or is something else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    dataset = value[0] if isinstance(value, list) and value else value
    if not isinstance(dataset, dict):
        return None
    failed = [(_uid(item), _code(item, FAILURE_REASON)) for item in _items(dataset, FAILED_SOP_SEQUENCE)]
    other = [_code(item, FAILURE_REASON) for item in _items(dataset, OTHER_FAILURES_SEQUENCE)]
    answer = StoreAnswer(
        tuple((_uid(item), _code(item, WARNING_REASON)) for item in _items(dataset, REFERENCED_SOP_SEQUENCE)),
        tuple((uid, code) for uid, code in failed if uid),
        tuple(code for uid, code in failed if not uid) + tuple(other),
    )
    return answer if answer.count else None


def attribute(
    files: Sequence[File], answer: StoreAnswer, uid_of: Callable[[File], str]
) -> tuple[list[Verdict[File]], list[File]]:
    """A verdict for each file, and the files that the answer leaves in doubt.

    Instances are named by UID. A failure without UID belongs to a file that no other item names: certain when there are as
    many of the one as of the other, since both stand in the order of the parts. `uid_of` reads the file and is only called
    when it matters.
    """
    if len(answer.stored) == len(files) == answer.count and not any(warning for _, warning in answer.stored):
        return [Verdict(file, stored=True) for file in files], []
    if len(files) == 1 == answer.count:
        return [_only_verdict(files[0], answer)], []
    stored, failed = _by_uid(answer.stored), _by_uid(answer.failed)
    verdicts: list[Verdict[File]] = []
    unnamed: list[File] = []
    for file in files:
        uid = uid_of(file)
        if failed.get(uid):
            verdicts.append(_refused(file, failed[uid].pop(0)))
        elif stored.get(uid):
            verdicts.append(_stored(file, stored[uid].pop(0)))
        else:
            unnamed.append(file)
    if len(unnamed) == len(answer.other):
        verdicts += [_refused(file, code) for file, code in zip(unnamed, answer.other, strict=True)]
        unnamed = []
    return verdicts, unnamed


def _only_verdict(file: File, answer: StoreAnswer) -> Verdict[File]:
    if answer.stored:
        return _stored(file, answer.stored[0][1])
    return _refused(file, answer.failed[0][1] if answer.failed else answer.other[0])


def _stored(file: File, warning: int | None) -> Verdict[File]:
    return Verdict(file, stored=True, code=warning, text=describe_status(warning) if warning else "")


def _refused(file: File, code: int | None) -> Verdict[File]:
    return Verdict(file, stored=False, code=code, text="no reason given" if code is None else describe_status(code))


def _by_uid(items: Sequence[tuple[str, int | None]]) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = defaultdict(list)
    for uid, code in items:
        if uid:
            found[uid].append(code)
    return found


def _items(dataset: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _first(item: Mapping[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _uid(item: Mapping[str, Any]) -> str:
    value = _first(item, REFERENCED_SOP_INSTANCE_UID)
    return value if isinstance(value, str) else ""


def _code(item: Mapping[str, Any], tag: str) -> int | None:
    value = _first(item, tag)
    try:
        return int(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
