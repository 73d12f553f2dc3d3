"""Look-up tables of the Standard: Modality, VOI and Presentation LUT items (PS3.3 C.11.1.1, C.11.2.1.1, C.11.6.1)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.rendering.attribute_reader import AttributeReader

LUT_DESCRIPTOR = "00283002"
LUT_DATA = "00283006"
MAX_ENTRIES = 65536

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LookupTable:
    """entries  little-endian 16-bit words, one for each entry; bytes, so that tables can be compared and cached
    first    the input value that the first entry belongs to; inputs outside of the table take its first or last entry
    bits     of an entry
    """

    entries: bytes
    first: int
    bits: int

    @property
    def values(self) -> NDArray[np.uint16]:
        return np.frombuffer(self.entries, "<u2")

    def look_up(self, inputs: Values) -> Values:
        """The entries of real inputs, which count as the integer below them; NaN as the first."""
        last = len(self.entries) // 2 - 1
        index = np.nan_to_num(inputs, nan=self.first, posinf=MAX_ENTRIES * 2, neginf=-MAX_ENTRIES * 2) - self.first
        return self.values.take(index.clip(0, last).astype(np.intp)).astype(np.float64)

    def look_up_fraction(self, inputs: Values) -> Values:
        """The entries of inputs from 0.0 to 1.0, spread over the table (PS3.3 C.11.6.1.1)."""
        last = len(self.entries) // 2 - 1
        index = np.floor(np.nan_to_num(inputs).clip(0, 1) * last + 0.5)
        return self.values.take(index.astype(np.intp)).astype(np.float64) / self.maximum

    @property
    def maximum(self) -> int:
        """The largest value that an entry may have."""
        return (1 << self.bits) - 1


def read_lookup_table(item: AttributeReader | None) -> LookupTable | None:
    """The table of an item with LUT Descriptor and LUT Data; None where it has none that can be used."""
    if item is None:
        return None
    descriptor = item.numbers(LUT_DESCRIPTOR)
    data = item.binary(LUT_DATA)
    if len(descriptor) != 3 or not data:
        return None
    count, first, bits = (int(value) for value in descriptor)
    count = count or MAX_ENTRIES  # C.11.1.1.1: 0 says 65,536
    if not (1 <= count <= MAX_ENTRIES and 1 <= bits <= 16):
        return None
    words: NDArray[Any]
    if len(data) < 2 * count and bits <= 8:
        # Two entries a word (C.11.1.1.1 allows it for 8 bits), the first one in the less significant byte.
        words = np.frombuffer(data, np.uint8)[:count].astype("<u2")
    else:
        words = np.frombuffer(data, "<u2", len(data) // 2)[:count]
    if not words.size:
        return None
    if bits < 16 and (largest := int(words.max())) >> bits:
        bits = largest.bit_length()  # descriptors that say less than the data need are met in practice
    return LookupTable(words.tobytes(), first, bits)
