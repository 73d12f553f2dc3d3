"""The Native DICOM Model in XML (PS3.19 section A.1) from the DICOM JSON Model (PS3.18 F.3.1 maps one to the other).

Characters that XML 1.0 cannot hold: form feed and vertical tab become line feeds, all others are left out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import orjson

from app.dicom.dictionary import dictionary_keyword
from app.dicom.instance import DicomJson

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
)
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LINE_BREAKS = {"\x0b": "\n", "\x0c": "\n"}
# A bare carriage return would be read back as a line feed (XML 1.0 section 2.11).
_TEXT_ENTITIES = {"\r": "&#13;"}
_ATTRIBUTE_ENTITIES = {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
_NAME_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_COMPONENT_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def to_native_xml(dataset: DicomJson) -> bytes:
    """One document in UTF-8 for one data set, as parsed by app.dicom.header or loaded from JSON text."""
    return "".join((_HEAD, *_attributes(dataset), "</NativeDicomModel>")).encode("utf-8")


def _attributes(dataset: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(dataset):
        element = dataset[key]
        tag, creator = _private_tag(key, dataset)
        yield f'<DicomAttribute tag="{tag}" vr="{_attribute(str(element.get("vr", "UN")))}"'
        if creator:
            yield f' privateCreator="{_attribute(creator)}"'
        elif keyword := dictionary_keyword(int(key, 16)):
            yield f' keyword="{keyword}"'
        content = "".join(_content(element))
        yield f">{content}</DicomAttribute>" if content else "/>"


def _private_tag(key: str, dataset: Mapping[str, Any]) -> tuple[str, str]:
    """`gggg00ee` and the creator of a private attribute; the key itself and "" for all others.

    Creator elements (gggg,0010-00FF) are kept as attributes of their own; an attribute whose creator is missing keeps its
    block number, as there is no other name for it.
    """
    block = key[4:6]
    if int(key[:4], 16) % 2 == 0 or block == "00":
        return key, ""
    values = dataset.get(f"{key[:4]}00{block}", {}).get("Value") or [None]
    if not isinstance(values[0], str):
        return key, ""
    return f"{key[:4]}00{key[6:]}", values[0]


def _content(element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f'<BulkData uri="{_attribute(_uri(element["BulkDataURI"]))}"/>'
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{_text(str(element['InlineBinary']))}</InlineBinary>"
    vr = element.get("vr")
    for number, value in enumerate(element.get("Value") or (), start=1):
        if vr == "SQ":
            yield f'<Item number="{number}">{"".join(_attributes(value or {}))}</Item>'
        elif vr == "PN":
            yield f'<PersonName number="{number}">{"".join(_person_name(value))}</PersonName>'
        elif value is None:
            yield f'<Value number="{number}"/>'
        else:
            yield f'<Value number="{number}">{_text(str(value))}</Value>'


def _uri(value: Any) -> str:
    if isinstance(value, orjson.Fragment):
        return orjson.dumps(value).decode("utf-8").strip('"')
    return str(value)


def _person_name(value: Any) -> Iterator[str]:
    """Component groups; a sixth component, which PS3.5 6.2.1 does not know, stays with the suffix."""
    if not isinstance(value, Mapping):
        return
    for group in _COMPONENT_GROUPS:
        text = value.get(group)
        if not text:
            continue
        parts = zip(_NAME_COMPONENTS, str(text).split("^", len(_NAME_COMPONENTS) - 1), strict=False)
        components = "".join(f"<{name}>{_text(part)}</{name}>" for name, part in parts if part)
        yield f"<{group}>{components}</{group}>"


def _text(text: str) -> str:
    return escape(_legal(text), _TEXT_ENTITIES)


def _attribute(text: str) -> str:
    return escape(_legal(text), _ATTRIBUTE_ENTITIES)


def _legal(text: str) -> str:
    return _ILLEGAL.sub(lambda found: _LINE_BREAKS.get(found[0], ""), text)
