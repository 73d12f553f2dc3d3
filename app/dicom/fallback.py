"""The slow reader for odd files: pydicom finds the elements, everything behind that is as in the fast one.

pydicom goes on where a VR is unknown, where single elements are written in Implicit VR, where items lack their tags. What it
finds is given to the same DataSetReader with true offsets, so that JSON, bulkdata and pixel data come out alike.
"""

import io
import struct
import threading
import warnings
from collections.abc import Iterable
from typing import Any, BinaryIO, cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator
from pydicom.values import convert_SQ

from app.dicom.character_sets import DEFAULT_ENCODINGS
from app.dicom.data_set_reader import UNDEFINED, DataSetReader, Odd
from app.dicom.element_heads import (
    DELIMITER,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    NOT_HERE,
    SEQUENCE,
    Encoding,
    Place,
)
from app.dicom.json_model import in_tag_order
from app.dicom.vr_lookup import STANDARD_VRS, public_vr
from app.errors import MalformedDicom, TruncatedDicom

# All that pydicom is known to raise on bytes it cannot follow.
_PYDICOM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # of recursion that is too deep, and of what it knows and does not read
    TypeError,
    ValueError,
    struct.error,
)
_DEFER_SIZE = 1 << 16
# Filters of warnings belong to the whole process, and pydicom warns about much of what is read here.
_QUIET = threading.Lock()

_Found = RawDataElement | DataElement


def read_with_pydicom(reader: DataSetReader, offset: int, encoding: Encoding) -> dict[str, Any]:
    """As DataSetReader.read_top_level. Raises TruncatedDicom, MalformedDicom."""
    place = Place(encoding, DEFAULT_ENCODINGS, "", 0, len(reader.data), delimited=False)
    file = _File(reader.data, reader.limits.max_fallback_bytes)
    file.seek(offset)
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = list(
                data_element_generator(
                    cast(BinaryIO, file), encoding.implicit, not encoding.big_endian, defer_size=_DEFER_SIZE
                )
            )
            if len(reader.data) - file.tell() >= 8 and not reader.is_padding(file.tell()):
                raise MalformedDicom("the data set ends before the file does")
            return _SlowReader(reader, file).read(found, place, 0)
        except Odd as error:
            raise MalformedDicom(str(error)) from None
        except _PYDICOM_ERRORS:
            raise MalformedDicom("the data set cannot be followed") from None


class _SlowReader:
    """Gives what pydicom found to a DataSetReader. `base` is always what the offsets of pydicom's elements count from."""

    def __init__(self, reader: DataSetReader, file: "_File") -> None:
        self._reader = reader
        self._file = file

    def read(self, found: Iterable[_Found], place: Place, base: int) -> dict[str, Any]:
        reader = self._reader
        if place.depth > reader.limits.max_depth:
            raise MalformedDicom(f"sequences nested deeper than {reader.limits.max_depth}")
        dataset: dict[str, Any] = {}
        first_pending = len(reader.pending)
        # Of several elements with one tag the last counts. In tag order, so that the character set is known before texts.
        elements = {int(element.tag): element for element in found}
        for tag in sorted(elements):
            element = elements[tag]
            if isinstance(element, RawDataElement):
                self._read_raw(element, place, base, dataset)
            elif element.VR == "SQ":
                self._add_items(f"{tag:08X}", element.value or (), place, base, dataset)
            else:
                # pydicom converts empty elements of unknown VR at once; all others come raw.
                head = place.encoding.classify(tag, element.VR if element.VR in STANDARD_VRS else "UN")
                if not element.is_empty or head.special in (NOT_HERE, DELIMITER):
                    raise MalformedDicom(f"{head.key} cannot be followed")
                reader.add(head, 0, 0, place, dataset)
        reader.finish(dataset, 0, first_pending)
        return in_tag_order(dataset)

    def _read_raw(self, raw: RawDataElement, place: Place, base: int, dataset: dict[str, Any]) -> None:
        if raw.value is not None and raw.length != UNDEFINED and len(raw.value) < raw.length:
            raise TruncatedDicom("the file ends within an element")
        encoding = EXPLICIT_LITTLE_ENDIAN if raw.is_little_endian else EXPLICIT_BIG_ENDIAN
        if raw.is_implicit_VR and raw.is_little_endian:
            encoding = IMPLICIT_LITTLE_ENDIAN
        vr = raw.VR or public_vr(int(raw.tag))
        head = encoding.classify(int(raw.tag), vr if vr in STANDARD_VRS or " or " in vr else "UN")
        offset = base + raw.value_tell
        if head.special == SEQUENCE and raw.length != UNDEFINED:
            self._file.charge(raw.length)
            value = self._reader.data[offset : offset + raw.length].tobytes()
            items = convert_SQ(value, raw.is_implicit_VR, raw.is_little_endian)
            self._add_items(head.key, items, place, offset, dataset)
        elif head.special not in (NOT_HERE, DELIMITER):
            self._reader.add(head, offset, raw.length, place, dataset)

    def _add_items(self, key: str, items: Iterable[Dataset], place: Place, base: int, dataset: dict[str, Any]) -> None:
        read: list[dict[str, Any]] = []
        for item in items:
            prefix = f"{place.prefix}{key}.{len(read) + 1}."
            inner = Place(place.encoding, place.encodings, prefix, place.depth + 1, place.end, delimited=False)
            read.append(self.read(item.elements(), inner, base))
        dataset[key] = {"vr": "SQ", "Value": read} if read else {"vr": "SQ"}


class _File(io.RawIOBase):
    """A view as a file that gives out no more than a budget: parsing with pydicom is fifty times as slow."""

    def __init__(self, data: memoryview, budget: int) -> None:
        super().__init__()
        self._data = data
        self._offset = 0
        self._budget = budget

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: len(self._data)}[whence]
        self._offset = max(0, start + offset)
        return self._offset

    def read(self, size: int | None = -1) -> bytes:
        stop = len(self._data) if size is None or size < 0 else min(len(self._data), self._offset + size)
        piece = self._data[self._offset : stop].tobytes()
        self._offset += len(piece)
        self.charge(len(piece))
        return piece

    def charge(self, size: int) -> None:
        """Raises MalformedDicom when the budget is used up."""
        self._budget -= size
        if self._budget < 0:
            raise MalformedDicom("too large for a file that does not follow its own encoding")
