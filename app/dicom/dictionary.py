"""The data dictionary of PS3.6, and those of vendors: pydicom's tables, read without pydicom.

Importing any module of pydicom imports nearly all of it, with numpy, Pillow and an HTTP client: half a second and 30 MB that a
server does not need before it meets a file that only pydicom reads. The tables are files of plain data and are loaded as such.
"""

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

# VR, VM, name, "Retired" or "", keyword
_Entry = tuple[str, str, str, str, str]


def _pydicom_file(name: str) -> ModuleType:
    package = find_spec("pydicom")  # finds it and does not import it
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pydicom is not installed")
    spec = spec_from_file_location(f"{__name__}.{name}", Path(package.origin).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"pydicom has no {name}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_tables = _pydicom_file("_dicom_dict")
STANDARD: MappingProxyType[int, _Entry] = MappingProxyType(_tables.DicomDictionary)
# Repeating groups (50xx, 60xx, ...): the bits that count, their value, and the entry.
_REPEATING: tuple[tuple[int, int, _Entry], ...] = tuple(
    (int("".join("0" if digit == "x" else "F" for digit in mask), 16), int(mask.replace("x", "0"), 16), entry)
    for mask, entry in _tables.RepeatersDictionary.items()
)


@cache
def _vendors() -> dict[str, dict[str, Any]]:
    # When the first private element comes whose VR is not written: most archives never need these 10,000 entries.
    found: dict[str, dict[str, Any]] = _pydicom_file("_private_dict").private_dictionaries
    return found


def standard_entry(tag: int) -> _Entry:
    """Of a standard tag, repeating groups too. Raises KeyError."""
    entry = STANDARD.get(tag)
    if entry is not None:
        return entry
    if not tag >> 16 & 1:
        for bits, value, repeated in _REPEATING:
            if tag & bits == value:
                return repeated
    raise KeyError(f"{tag:08X}")


def dictionary_vr(tag: int) -> str:
    """Raises KeyError. Some entries name several: "US or SS"."""
    return standard_entry(tag)[0]


def dictionary_keyword(tag: int) -> str:
    """Empty where there is none."""
    try:
        return standard_entry(tag)[4]
    except KeyError:
        return ""


def private_dictionary_vr(tag: int, creator: str) -> str:
    """VR that a known vendor gives its element, whatever block it reserved (PS3.5 7.8.1). Raises KeyError."""
    entries = _vendors()[creator]
    digits = f"{tag:08X}"
    for key in (digits, f"{digits[:4]}xx{digits[6:]}", f"{digits[:2]}xxxx{digits[6:]}"):
        if key in entries:
            return str(entries[key][0])
    raise KeyError(digits)
