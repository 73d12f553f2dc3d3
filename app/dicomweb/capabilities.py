"""Retrieve Capabilities (PS3.18 8.9, Annex G and H): what this service can do, as WADL and as the same tree in JSON.

The door describes its operations; here they become one `application` with one `resources` element, whose `resource` tree
follows the path segments.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import orjson

WADL = "application/vnd.sun.wadl+xml"
NAMESPACE = "http://wadl.dev.java.net/2009/02"


@dataclass(frozen=True, slots=True)
class Parameter:
    """style is `query`, `header` or `template`, as WADL names them; `type` an XML Schema type; `options` known values."""

    name: str
    style: str = "query"
    type: str = "xs:string"
    description: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one resource.

    path       below the service root, e.g. `/studies/{study}/series`
    name       of the transaction
    responses  media types by status
    """

    path: str
    method: str
    name: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    request_types: tuple[str, ...] = ()
    responses: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Resource:
    segment: str
    operations: list[Operation] = field(default_factory=list)
    children: dict[str, "_Resource"] = field(default_factory=dict)


def _tree(operations: Sequence[Operation]) -> _Resource:
    root = _Resource("/")
    for operation in operations:
        resource = root
        for segment in operation.path.strip("/").split("/"):
            if segment:
                resource = resource.children.setdefault(segment, _Resource(segment))
        resource.operations.append(operation)
    return root


def to_wadl(base_url: str, operations: Sequence[Operation]) -> bytes:
    """One WADL document, UTF-8."""
    ElementTree.register_namespace("", NAMESPACE)
    application = ElementTree.Element(f"{{{NAMESPACE}}}application")
    resources = ElementTree.SubElement(application, f"{{{NAMESPACE}}}resources", base=base_url)
    _append(resources, _plain(_tree(operations)))
    ElementTree.indent(application)
    return bytes(ElementTree.tostring(application, encoding="utf-8", xml_declaration=True))


def to_json(base_url: str, operations: Sequence[Operation]) -> bytes:
    """The same tree in JSON: attributes as strings, children as arrays under their element's name."""
    tree = {"base": base_url, "resource": [_plain(_tree(operations))]}
    return orjson.dumps({"application": {"resources": tree}}, option=orjson.OPT_INDENT_2)


def _plain(resource: _Resource) -> dict[str, Any]:
    """Strings are attributes, lists are child elements."""
    plain: dict[str, Any] = {"path": resource.segment}
    if resource.segment.startswith("{"):
        plain["param"] = [
            {"name": resource.segment[1:-1], "style": "template", "type": "xs:string", "required": "true"}
        ]
    plain["method"] = [_method(operation) for operation in resource.operations]
    plain["resource"] = [_plain(child) for child in resource.children.values()]
    return {name: value for name, value in plain.items() if value}


def _method(operation: Operation) -> dict[str, Any]:
    request = {
        "param": [_parameter(one) for one in operation.parameters],
        "representation": [{"mediaType": kind} for kind in operation.request_types],
    }
    method: dict[str, Any] = {"name": operation.method, "id": operation.name}
    if operation.description:
        method["doc"] = [{"title": operation.description}]
    if any(request.values()):
        method["request"] = [{name: value for name, value in request.items() if value}]
    method["response"] = [
        {"status": str(status)} | ({"representation": [{"mediaType": kind} for kind in kinds]} if kinds else {})
        for status, kinds in sorted(operation.responses.items())
    ]
    return method


def _parameter(one: Parameter) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": one.name, "style": one.style, "type": one.type}
    if one.description:
        plain["doc"] = [{"title": one.description}]
    if one.options:
        plain["option"] = [{"value": value} for value in one.options]
    return plain


def _append(parent: ElementTree.Element, plain: Mapping[str, Any], name: str = "resource") -> None:
    attributes = {key: value for key, value in plain.items() if isinstance(value, str)}
    element = ElementTree.SubElement(parent, f"{{{NAMESPACE}}}{name}", attributes)
    for child_name, children in _children(plain):
        for child in children:
            _append(element, child, child_name)


def _children(plain: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    # The schema of WADL wants documentation first and nested resources last.
    order = {
        "doc": 0, "option": 1, "param": 1, "representation": 2, "request": 2, "response": 3, "method": 4, "resource": 5,
    }  # fmt: skip
    lists = [(name, value) for name, value in plain.items() if isinstance(value, list)]
    yield from sorted(lists, key=lambda item: order[item[0]])
