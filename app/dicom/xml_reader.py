"""Metadata in the Native DICOM Model (PS3.19 section A.1) as the DICOM JSON Model (PS3.18 F.3.1 maps one to the other).

Expat does the parsing. Document type declarations are refused, and entities with them, so that nothing is ever expanded or fetched;
depth and counts are bounded. Names of elements are looked at without their namespace; attributes may begin with a capital
(`Tag=`, `VR=`), as an example of PS3.18 Annex B.23 has them.
"""

import re
from typing import Any
from xml.parsers import expat

from app.dicom.instance import DicomJson
from app.dicom.parse_limits import ParseLimits
from app.errors import MalformedDicom

_DEFAULT_LIMITS = ParseLimits()
_STEP = 1 << 20
_MAX_BLOCK = 0xFF
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_TAG = re.compile("[0-9A-Fa-f]{8}")
# What may stand in what.
_CHILDREN: dict[str, tuple[str, ...]] = {
    "": ("NativeDicomModel",),
    "NativeDicomModel": ("DicomAttribute",),
    "Item": ("DicomAttribute",),
    "DicomAttribute": ("Value", "Item", "PersonName", "BulkData", "InlineBinary"),
    "PersonName": _GROUPS,
    **dict.fromkeys(_GROUPS, _COMPONENTS),
}


class _Node:
    """One element of the document that is still open. `found` collects what its children were folded to."""

    __slots__ = ("attributes", "found", "kind", "text")

    def __init__(self, kind: str, attributes: dict[str, str]) -> None:
        self.kind = kind
        self.attributes = attributes
        self.found: list[tuple[str, dict[str, str], Any]] = []  # kind, attributes, value of each child
        self.text: list[str] = []


def read_native_xml(document: bytes | memoryview, limits: ParseLimits = _DEFAULT_LIMITS) -> DicomJson:
    """The data set of one document, private blocks assigned, nothing else judged. Raises MalformedDicom."""
    reader = _Reader(limits)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = _refuse_declaration
    parser.EntityDeclHandler = _refuse_declaration
    try:
        for start in range(0, len(document), _STEP):
            parser.Parse(bytes(document[start : start + _STEP]), False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise MalformedDicom(f"the metadata is not XML: {expat.ErrorString(error.code)}, line {error.lineno}") from None
    except (ValueError, LookupError):
        raise MalformedDicom("the metadata is not XML in an encoding that can be read") from None
    return reader.dataset


def _refuse_declaration(*_: object) -> None:
    raise MalformedDicom("the XML metadata has a document type declaration, which is not read here")


class _Reader:
    def __init__(self, limits: ParseLimits) -> None:
        self.dataset: dict[str, Any] = {}
        self._limits = limits
        self._stack = [_Node("", {})]
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(" ")[2]
        parent = self._stack[-1]
        if kind not in _CHILDREN.get(parent.kind, ()):
            raise MalformedDicom(
                f"<{kind[:40]}> in {'<' + parent.kind + '>' if parent.kind else 'front of everything'}"
            )
        self._count += 1
        if self._count > self._limits.max_elements:
            raise MalformedDicom(f"more than {self._limits.max_elements} elements of XML")
        if len(self._stack) > 2 * self._limits.max_depth + 6:  # an attribute and an item for each level
            raise MalformedDicom(f"sequences nested deeper than {self._limits.max_depth}")
        if kind == "DicomAttribute" and not _TAG.fullmatch(_attribute(attributes, "tag")):
            raise MalformedDicom(f"{_attribute(attributes, 'tag')[:40]!r} is not a tag of 8 hexadecimal digits")
        self._stack.append(_Node(kind, attributes))

    def characters(self, text: str) -> None:
        if self._stack[-1].kind not in ("NativeDicomModel", "Item", "DicomAttribute", "PersonName"):
            self._stack[-1].text.append(text)

    def end(self, _name: str) -> None:
        node = self._stack.pop()
        kind = node.kind
        value: Any = None
        if kind in ("NativeDicomModel", "Item"):
            value = _data_set(node)
        elif kind == "DicomAttribute":
            value = _element(node)
        elif kind == "PersonName":
            value = {group: text for group, _, text in node.found if text} or None
        elif kind in _GROUPS:
            value = _group(node)
        elif kind == "BulkData":
            value = _attribute(node.attributes, "uri") or _attribute(node.attributes, "uuid")
        else:
            value = "".join(node.text) or None
        if kind == "NativeDicomModel":
            self.dataset = value
        self._stack[-1].found.append((kind, node.attributes, value))


def _attribute(attributes: dict[str, str], name: str) -> str:
    """By its name in any case: `tag`, `Tag`, `VR`."""
    value = attributes.get(name)
    if value is None:
        value = next((text for given, text in attributes.items() if given.lower() == name.lower()), "")
    return value


def _element(node: _Node) -> dict[str, Any]:
    vr = _attribute(node.attributes, "vr")
    element: dict[str, Any] = {"vr": vr} if vr else {}
    kinds = {kind for kind, _, _ in node.found}
    if len(kinds) > 1:
        raise MalformedDicom(f"{_attribute(node.attributes, 'tag')}: {' and '.join(sorted(kinds))} in one attribute")
    if not kinds:
        return element
    kind = kinds.pop()
    if kind in ("BulkData", "InlineBinary"):
        if len(node.found) > 1:
            raise MalformedDicom(f"{_attribute(node.attributes, 'tag')}: several <{kind}>")
        element["BulkDataURI" if kind == "BulkData" else kind] = node.found[0][2] or ""
        return element
    if kind == "Item" and not vr:
        element["vr"] = "SQ"
    element["Value"] = _in_order(node)
    return element


def _in_order(node: _Node) -> list[Any]:
    """The values by their `number`, or as they come where none has one (PS3.19 Table A.1.5-2: from 1, rising by 1)."""
    numbers = [_attribute(attributes, "number") for _, attributes, _ in node.found]
    values = [value for _, _, value in node.found]
    if not any(numbers):
        return values
    if not all(number.isascii() and number.isdecimal() and len(number) < 9 for number in numbers):
        raise MalformedDicom(f"{_attribute(node.attributes, 'tag')}: values that are not numbered from 1")
    places = [int(number) for number in numbers]
    if sorted(places) != list(range(1, len(places) + 1)):
        raise MalformedDicom(f"{_attribute(node.attributes, 'tag')}: values that are not numbered from 1")
    return [values[place] for place in sorted(range(len(places)), key=places.__getitem__)]


def _group(node: _Node) -> str:
    """A component group: its components joined, or its own text where it has none."""
    parts: dict[str, str] = {}
    for kind, _, text in node.found:
        if kind in parts:
            raise MalformedDicom(f"several <{kind}> in one component group")
        parts[kind] = text or ""
    if not parts:
        return "".join(node.text).strip()
    return "^".join(parts.get(component, "") for component in _COMPONENTS).rstrip("^")


def _data_set(node: _Node) -> dict[str, Any]:
    """Attributes by tag. Private ones are given as `gggg00ee` with their creator (PS3.19 Table A.1.5-2): those get the block
    that the creator has in this data set, or the next free one (PS3.5 7.8.1).
    """
    dataset: dict[str, Any] = {}
    private: list[tuple[str, str, Any]] = []
    for _, attributes, element in node.found:
        tag, creator = _attribute(attributes, "tag").upper(), _attribute(attributes, "privateCreator")
        if creator and int(tag[:4], 16) % 2:
            private.append((tag, creator, element))
        elif tag in dataset:
            raise MalformedDicom(f"{tag} appears twice")
        else:
            dataset[tag] = element
    if not private:
        return dict(sorted(dataset.items()))
    blocks, taken = _blocks(dataset)
    for tag, creator, element in private:
        group = tag[:4]
        block = blocks.get((group, creator))
        if block is None:
            block = blocks[group, creator] = _free_block(taken.setdefault(group, set()), creator, tag)
            dataset[f"{group}{block:04X}"] = {"vr": "LO", "Value": [creator]}
        key = f"{group}{block:02X}{tag[6:]}"
        if key in dataset:
            raise MalformedDicom(f"{tag} of {creator[:64]!r} appears twice")
        dataset[key] = element
    return dict(sorted(dataset.items()))


def _blocks(dataset: dict[str, Any]) -> tuple[dict[tuple[str, str], int], dict[str, set[int]]]:
    """Blocks by group and creator, as the creator elements of the data set say, the first one where there are several; and
    by group the blocks that are reserved or used.
    """
    blocks: dict[tuple[str, str], int] = {}
    taken: dict[str, set[int]] = {}
    for key in sorted(dataset):
        group, number = key[:4], int(key[4:], 16)
        if int(group, 16) % 2 == 0:
            continue
        taken.setdefault(group, set()).add(number if number <= _MAX_BLOCK else number >> 8)
        values = dataset[key].get("Value")
        if 0x10 <= number <= _MAX_BLOCK and values and isinstance(values[0], str):
            blocks.setdefault((group, values[0]), number)
    return blocks, taken


def _free_block(taken: set[int], creator: str, tag: str) -> int:
    """The block that the tag itself names, where nobody else has it; else the next free one."""
    wished: list[int] = [int(tag[4:6], 16), *range(0x10, _MAX_BLOCK + 1)]
    for block in wished:
        if block >= 0x10 and block not in taken:
            taken.add(block)
            return block
    raise MalformedDicom(f"group {tag[:4]} has no block left for {creator[:64]!r}")
