"""Typed reading of a data set in the DICOM JSON Model, whose large values may lie outside of it.

Nothing that a data set holds makes a reader fail: what is missing, of the wrong kind or not a number is absent.
"""

import binascii
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.dicom.character_sets import decode_text
from app.dicom.instance import DicomJson

_NUMBER_TYPES = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "OW": "H", "OF": "f"}  # of struct
MAX_NUMBERS = 1 << 17  # of one value: twice the longest look-up table


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """One data set or one item of a sequence.

    bulk    values that the metadata names by BulkDataURI, little endian, by path (see BulkdataItem)
    prefix  path of the item, with a final dot; "" for the data set itself
    """

    dataset: DicomJson
    bulk: Mapping[str, bytes] = field(default_factory=dict)
    prefix: str = ""

    def has(self, tag: str) -> bool:
        """Whether the attribute is there with a value, here or outside."""
        element = self.dataset.get(tag)
        return isinstance(element, Mapping) and any(key in element for key in ("Value", "InlineBinary", "BulkDataURI"))

    def texts(self, tag: str) -> tuple[str, ...]:
        """Values as text, empty ones as ""; of person names the alphabetic group, or whichever there is."""
        element = self.dataset.get(tag)
        if not isinstance(element, Mapping):
            return ()
        values = element.get("Value")
        if isinstance(values, list):
            return tuple(_text(value) for value in values)
        raw = self._outside(tag, element)
        # The metadata is UTF-8 whatever the file is; what stands outside of it is as in the file.
        return () if raw is None else (_decoded(raw).rstrip(" \0"),)

    def text(self, tag: str) -> str:
        values = self.texts(tag)
        return values[0].strip() if values else ""

    def numbers(self, tag: str) -> tuple[float, ...]:
        """Finite numbers; a value that is none ends the list."""
        return tuple(_finite(self._number_values(tag)))

    def number(self, tag: str) -> float | None:
        values = self.numbers(tag)
        return values[0] if values else None

    def integer(self, tag: str, default: int = 0) -> int:
        value = self.number(tag)
        return default if value is None else int(value)

    def items(self, tag: str) -> tuple["AttributeReader", ...]:
        """Items of a sequence."""
        count = self.item_count(tag)
        found = (self.item(tag, number) for number in range(1, count + 1))
        return tuple(item for item in found if item is not None)

    def item_count(self, tag: str) -> int:
        element = self.dataset.get(tag)
        values = element.get("Value") if isinstance(element, Mapping) else None
        return len(values) if isinstance(values, list) else 0

    def item(self, tag: str, number: int = 1) -> "AttributeReader | None":
        """Item `number` (from 1) of a sequence."""
        if not 1 <= number <= self.item_count(tag):
            return None
        value = self.dataset[tag]["Value"][number - 1]
        if not isinstance(value, Mapping):
            return None
        return AttributeReader(value, self.bulk, f"{self.prefix}{tag}.{number}.")

    def binary(self, tag: str) -> bytes | None:
        """The value field of a binary attribute, or of one of 16-bit numbers; None where it is absent."""
        element = self.dataset.get(tag)
        if not isinstance(element, Mapping):
            return None
        values = element.get("Value")
        if isinstance(values, list):
            numbers = [value & 0xFFFF for value in values if isinstance(value, int)][:MAX_NUMBERS]
            return struct.pack(f"<{len(numbers)}H", *numbers)
        return self._outside(tag, element)

    def _outside(self, tag: str, element: Mapping[str, Any]) -> bytes | None:
        inline = element.get("InlineBinary")
        if isinstance(inline, str):
            try:
                return binascii.a2b_base64(inline)
            except binascii.Error:
                return None
        return self.bulk.get(f"{self.prefix}{tag}") if "BulkDataURI" in element else None

    def _number_values(self, tag: str) -> Any:
        element = self.dataset.get(tag)
        if not isinstance(element, Mapping):
            return ()
        values = element.get("Value")
        if isinstance(values, list):
            return values[:MAX_NUMBERS]
        raw = self._outside(tag, element)
        vr = element.get("vr")
        if raw is None:
            return ()
        if vr in ("DS", "IS"):
            return [part.strip(" \0") for part in raw.decode("latin-1").split("\\", MAX_NUMBERS)[:MAX_NUMBERS]]
        kind = _NUMBER_TYPES.get(str(vr), "H")
        return struct.unpack_from(f"<{min(len(raw) // struct.calcsize(kind), MAX_NUMBERS)}{kind}", raw)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        groups = (value.get(group) for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return next((group for group in groups if isinstance(group, str) and group), "")
    return str(value)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return decode_text(raw, ("latin-1",))


def _finite(values: Any) -> Iterator[float]:
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return
        if not math.isfinite(number):
            return
        yield number
