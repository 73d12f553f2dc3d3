"""Metadata in the DICOM JSON Model (PS3.18 Annex F) as a data set, validated and bounded (PS3.18 10.5.1.4).

Two steps, so that one faulty instance does not harm the others: `read_json_instances` follows the JSON text, one instance at a
time, `read_metadata` makes a data set of each. Native DICOM Model XML takes the second step too (app.dicom.xml_reader).

Left out, and told: group 0002 and group 0000, which are not part of a data set; group lengths (F.2.2); groups that PS3.5 7.1
forbids.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from app.dicom.instance import DicomJson
from app.dicom.json_model import BULKDATA_VRS
from app.dicom.metadata_elements import BulkReference, DataSet, MetadataElement, ReadMetadata
from app.dicom.parse_limits import ParseLimits
from app.dicom.value_encoding import decode_inline_binary, encode_values
from app.dicom.vr_lookup import LUT_DESCRIPTORS, STANDARD_VRS, US_OR_OW, US_OR_SS, is_private_creator, public_vr
from app.errors import MalformedDicom, MalformedMessage

MAX_URI_LENGTH = 8192
_DEFAULT_LIMITS = ParseLimits()
_KEY = re.compile("[0-9A-Fa-f]{8}")
_TEXT_VRS = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_NOT_IN_DATA_SETS = frozenset((0x0000, 0x0001, 0x0002, 0x0003, 0x0005, 0x0007, 0xFFFE, 0xFFFF))
_CONTENTS = ("Value", "BulkDataURI", "InlineBinary")
_SETTLED = {US_OR_SS: "US", US_OR_OW: "US"}
_BLANKS = re.compile(r"[ \t\r\n]*")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def read_json_instances(text: str) -> Iterator[DicomJson]:
    """Each object of the array, or the one object; what is behind it is not held in memory.

    Raises MalformedMessage where the text stops being JSON, or an array of objects.
    """
    position = _behind_blanks(text, 0)
    if text[position : position + 1] != "[":
        instance, position = _value(text, position)
        yield instance
    else:
        position = _behind_blanks(text, position + 1)
        while text[position : position + 1] != "]":
            instance, position = _value(text, position)
            yield instance
            position = _behind_blanks(text, position)
            follows = text[position : position + 1]
            if follows == ",":
                position = _behind_blanks(text, position + 1)
                if text[position : position + 1] == "]":
                    raise MalformedMessage(f"the metadata is not JSON: a comma before ] at character {position}")
            elif follows != "]":
                raise MalformedMessage(f"the metadata is not JSON: no comma and no ] at character {position}")
        position += 1
    if _behind_blanks(text, position) != len(text):
        raise MalformedMessage(f"the metadata is not JSON: it goes on behind its end, at character {position}")


def _behind_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    return found.end() if found else position


def _value(text: str, position: int) -> tuple[DicomJson, int]:
    try:
        value, end = _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise MalformedMessage(f"the metadata is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]
        raise MalformedMessage(f"the metadata is not JSON that can be read: {reason}") from None
    if not isinstance(value, dict):
        raise MalformedMessage(f"the metadata is not an array of objects: see character {position}")
    return value, end


def read_metadata(dataset: DicomJson, limits: ParseLimits = _DEFAULT_LIMITS) -> ReadMetadata:
    """The data set of one instance. Raises MalformedDicom, naming the attribute."""
    reader = _Reader(limits)
    elements = reader.read(dataset, "", 0)
    return ReadMetadata(elements, tuple(reader.discarded), reader.ascii)


class _Reader:
    def __init__(self, limits: ParseLimits) -> None:
        self.limits = limits
        self.discarded: list[str] = []
        self.ascii = True
        self._elements = 0

    def read(self, dataset: Any, prefix: str, depth: int) -> DataSet:
        if not isinstance(dataset, dict):
            raise MalformedDicom(f"{prefix.rstrip('.') or 'the instance'} is not an object of attributes")
        if depth > self.limits.max_depth:
            raise MalformedDicom(f"sequences nested deeper than {self.limits.max_depth}")
        self._elements += len(dataset) + 1
        if self._elements > self.limits.max_elements:
            raise MalformedDicom(f"more than {self.limits.max_elements} attributes and items")
        elements: DataSet = {}
        for key, element in dataset.items():
            if not _KEY.fullmatch(key):
                raise MalformedDicom(f"{prefix}{key[:40]!r} is not a tag of 8 hexadecimal digits")
            tag, path = int(key, 16), prefix + key.upper()
            if tag >> 16 in _NOT_IN_DATA_SETS or tag & 0xFFFF == 0:
                self.discarded.append(path)
                continue
            if tag in elements:
                raise MalformedDicom(f"{path} appears twice")
            try:
                elements[tag] = self._element(tag, element, path, depth)
            except MalformedDicom as error:
                text = str(error)
                raise MalformedDicom(text if text.startswith(prefix + key[:8].upper()) else f"{path}: {text}") from None
        return elements

    def _element(self, tag: int, element: Any, path: str, depth: int) -> MetadataElement:
        if not isinstance(element, dict):
            raise MalformedDicom("not an object")
        given = [name for name in _CONTENTS if element.get(name) is not None]
        if len(given) > 1:
            raise MalformedDicom(f"both {given[0]} and {given[1]}")
        kind = given[0] if given else "Value"
        vr = _vr(tag, element.get("vr"), kind)
        if kind == "BulkDataURI":
            uri = element["BulkDataURI"]
            if not isinstance(uri, str) or not 0 < len(uri) <= MAX_URI_LENGTH:
                raise MalformedDicom("BulkDataURI is not a URI")
            if vr not in BULKDATA_VRS:
                raise MalformedDicom(f"VR {vr} is not given by BulkDataURI")
            return MetadataElement(vr, BulkReference(uri))
        if kind == "InlineBinary":
            return MetadataElement(vr, decode_inline_binary(vr, element["InlineBinary"]))
        values = element.get("Value") or []
        if not isinstance(values, list):
            raise MalformedDicom("Value is not an array")
        if vr == "SQ":
            items = [
                self.read({} if item is None else item, f"{path}.{number}.", depth + 1)
                for number, item in enumerate(values, start=1)
            ]
            return MetadataElement("SQ", tuple(items))
        if vr == "SS" and tag in LUT_DESCRIPTORS:
            values = _signed_first(values)
        encoded = encode_values(vr, values)
        if vr in _TEXT_VRS and not encoded.isascii():
            self.ascii = False
        return MetadataElement(vr, encoded)


def _vr(tag: int, given: Any, kind: str) -> str:
    """The VR said, or that of the dictionary where none is (PS3.19 A.1.5.2 leaves it away)."""
    if given is None or given == "":
        if is_private_creator(tag):
            return "LO"
        vr = public_vr(tag)
        if vr == US_OR_OW and kind != "Value":
            return "OW"
        return _SETTLED.get(vr, vr)
    if not isinstance(given, str) or given not in STANDARD_VRS:
        raise MalformedDicom(f"{str(given)[:20]!r} is not a VR")
    return given


def _signed_first(values: list[Any]) -> list[Any]:
    """The first value of a LUT Descriptor is unsigned, whatever its VR (PS3.3 C.11.1.1.1): the same 16 bits as SS."""
    if values and isinstance(values[0], int) and 0x8000 <= values[0] <= 0xFFFF:
        return [values[0] - 0x10000, *values[1:]]
    return values
