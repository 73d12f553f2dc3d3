"""Native DICOM Model XML (PS3.19 A.1.5) read back into DICOM JSON (PS3.18 F.3.1), to compare the two representations.

Strict: whatever PS3.19 forbids is an AssertionError.
"""

import re
from typing import Any
from xml.etree import ElementTree

NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
XML_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_NUMBERS = {"DS", "FD", "FL", "IS", "SL", "SS", "UL", "US"}
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

Json = dict[str, Any]


def read_native_model(document: bytes) -> Json:
    root = ElementTree.fromstring(document)  # noqa: S314 - our own server's answer
    assert root.tag == f"{NAMESPACE}NativeDicomModel", root.tag
    assert root.get(XML_SPACE) == "preserve", "xml:space is not preserve"
    return _dataset(root)


def _dataset(parent: ElementTree.Element) -> Json:
    dataset: Json = {}
    for attribute in parent:
        assert attribute.tag == f"{NAMESPACE}DicomAttribute", attribute.tag
        tag = attribute.get("tag", "")
        assert re.fullmatch("[0-9A-F]{8}", tag), f"tag {tag!r}"
        creator = attribute.get("privateCreator")
        if int(tag[:4], 16) % 2 == 0:
            assert creator is None, f"{tag} has a privateCreator"
            key = tag
        elif _reserves_a_block(tag, attribute):
            continue
        elif creator is None:
            key = tag  # right only where the data set reserves no block for it
        else:
            assert tag[4:6] == "00", f"{tag} keeps its block number"
            key = f"{tag}@{creator}"
        assert key not in dataset, f"{key} twice"
        dataset[key] = _element(attribute)
    return dataset


def _reserves_a_block(tag: str, attribute: ElementTree.Element) -> bool:
    """Whether this is a private creator element (PS3.5 7.8.1): the model may hold it, but says the creator elsewhere."""
    return (
        re.fullmatch("00[1-9A-F][0-9A-F]", tag[4:]) is not None
        and attribute.get("vr") == "LO"
        and not (attribute.get("privateCreator"))
    )


def _element(attribute: ElementTree.Element) -> Json:
    vr = attribute.get("vr", "")
    element: Json = {"vr": vr}
    kinds = {child.tag.removeprefix(NAMESPACE) for child in attribute}
    assert len(kinds) <= 1, f"{attribute.get('tag')} mixes {kinds}"
    if not kinds:
        return element
    kind = kinds.pop()
    if kind in ("Value", "Item", "PersonName"):
        assert [child.get("number") for child in attribute] == [str(n) for n in range(1, len(attribute) + 1)]
    if kind == "BulkData":
        element["BulkDataURI"] = attribute[0].attrib["uri"]
    elif kind == "InlineBinary":
        element["InlineBinary"] = attribute[0].text or ""
    elif kind == "Item":
        assert vr == "SQ"
        element["Value"] = [_dataset(item) for item in attribute]
    elif kind == "PersonName":
        assert vr == "PN"
        element["Value"] = [_name(name) for name in attribute]
    else:
        assert kind == "Value", kind
        element["Value"] = [_value(vr, child.text) for child in attribute]
    return element


def _value(vr: str, text: str | None) -> Any:
    if text is None:
        return None
    return _number(vr, text)


def _number(vr: str, value: Any) -> Any:
    """Numbers compare as numbers: JSON may write DS, IS, SV and UV as number or as text (PS3.18 Table F.2.3-1)."""
    try:
        if vr in ("SV", "UV"):
            return int(value)
        number = float(value) if vr in _NUMBERS else value
        return "NaN" if number != number else number  # a NaN is not equal to itself
    except ValueError:
        return value


def _name(person: ElementTree.Element) -> Json | None:
    groups: Json = {}
    for group in person:
        kind = group.tag.removeprefix(NAMESPACE)
        assert kind in ("Alphabetic", "Ideographic", "Phonetic"), kind
        parts = {part.tag.removeprefix(NAMESPACE): part.text or "" for part in group}
        assert parts.keys() <= set(_COMPONENTS), parts
        groups[kind] = "^".join(parts.get(component, "") for component in _COMPONENTS).rstrip("^")
    return groups or None


def comparable(dataset: Json) -> Json:
    """A DICOM JSON data set in the form of `read_native_model`: private keys by creator, creators left out."""
    creators = {
        key[:4] + key[6:]: (element.get("Value") or [""])[0] for key, element in dataset.items() if _is_creator(key)
    }
    result: Json = {}
    for key, element in dataset.items():
        if _is_creator(key):
            continue
        creator = creators.get(key[:6]) if int(key[:4], 16) % 2 else None
        result[f"{key[:4]}00{key[6:]}@{creator}" if creator else key] = _comparable_element(element)
    return result


def _is_creator(key: str) -> bool:
    return int(key[:4], 16) % 2 == 1 and re.fullmatch("00[1-9A-F][0-9A-F]", key[4:]) is not None


def _comparable_element(element: Json) -> Json:
    if "Value" not in element:
        return dict(element)
    vr = element["vr"]
    values = []
    for value in element["Value"]:
        if vr == "SQ":
            value = comparable(value)
        elif vr == "PN" and value is not None:
            value = {group: name.rstrip("^") for group, name in value.items()}
        elif value is not None:
            value = _number(vr, value)
        values.append(value)
    return {"vr": vr, "Value": values}
